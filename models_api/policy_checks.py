"""System checks of the settings that say who may ask which model, and how often."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import cast

from django.apps import AppConfig, apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register
from django.core.checks import Warning as CheckWarning
from rest_framework.throttling import SimpleRateThrottle

from models_api.conf import is_for, model_permissions, model_throttle_rates
from models_api.exceptions import ConfigurationError
from models_api.hosting.registry import OwnsRegistry
from models_api.permissions import ModelPermission, problem_of_rule
from models_api.throttling import ModelRateThrottle

INVALID_POLICY = "models_api.E020"
UNUSED_PATTERN = "models_api.W020"
MODEL_WITHOUT_A_RULE = "models_api.W021"
UNUSED_SETTING = "models_api.W022"
UNKNOWN_NAME = "models_api.W023"

PERMISSIONS, RATES = "MODELS_API_PERMISSIONS", "MODELS_API_THROTTLE_RATES"

Problem = tuple[str, str]
"""The rest of a sentence, and the remedy."""


@register("models_api")
def check_policies(
    app_configs: Sequence[AppConfig] | None, **_kwargs: object
) -> list[CheckMessage]:
    """Report rules and rates that are malformed, are for no model, or that nothing asks for."""
    if app_configs is not None and apps.get_app_config("models_api") not in app_configs:
        return []
    names = _known_names()
    return [
        *_check_setting(PERMISSIONS, problem_of_rule, names),
        *_check_setting(RATES, _problem_of_rate, names),
        *_check_use(),
        *(_without_a_rule(name) for name in names or () if _lacks_a_rule(name)),
    ]


def _known_names() -> list[str] | None:
    """Return the names of the models; None while some of them are not known."""
    try:
        registry = cast(OwnsRegistry, apps.get_app_config("models_api")).registry
    except ConfigurationError:
        return None
    names = [model.known_name for model in registry]
    return None if None in names else [name for name in names if name is not None]


def _check_setting(
    setting: str, problem_of: Callable[[object], Problem | None], names: list[str] | None
) -> Iterator[CheckMessage]:
    value = getattr(settings, setting, {})
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        hint = "Let its keys be patterns of qualified names, such as credit_*."
        yield Error(f"{setting} is no dictionary of strings", hint=hint, id=INVALID_POLICY)
        return
    for pattern, each in value.items():
        if (problem := problem_of(each)) is not None:
            text = f"{setting}[{pattern!r}] {problem[0]}"
            yield Error(text, hint=problem[1], id=INVALID_POLICY)
    if names is not None:
        yield from _check_patterns(setting, list(value), names)


def _check_patterns(setting: str, patterns: list[str], names: list[str]) -> Iterator[CheckMessage]:
    left = names
    for pattern in patterns:
        matching = [name for name in names if is_for(pattern, name)]
        taken = [name for name in left if is_for(pattern, name)]
        left = [name for name in left if name not in taken]
        if not matching and pattern != "*":
            nearest = get_close_matches(pattern, names, 1)
            hint = f"Did you mean {nearest[0]}?" if nearest else f"Models: {', '.join(names)}."
            text = f"{setting}[{pattern!r}] is for no model"
            yield CheckWarning(text, hint=hint, id=UNUSED_PATTERN)
        elif not taken and pattern != "*":
            text = f"{setting}[{pattern!r}] never counts: all its models have an earlier pattern"
            yield CheckWarning(text, hint="Write it further up.", id=UNUSED_PATTERN)


def _problem_of_rate(rate: object) -> Problem | None:
    try:
        requests, seconds = SimpleRateThrottle.parse_rate(ModelRateThrottle(), cast(str, rate))
    except (ValueError, KeyError, AttributeError, IndexError):
        requests, seconds = 0, 0
    is_rate = rate is None or bool(requests and requests > 0 and seconds)
    hint = 'Write a number of rows and s, m, h or d, such as "100/hour"; None for any number.'
    return None if is_rate else (f"is {rate!r}, which is no rate", hint)


def _check_use() -> Iterator[CheckMessage]:
    # Late, because the framework's views want settings and apps to be there.
    from models_api.api.views import ModelsAPIView  # noqa: PLC0415

    asks = _uses(ModelsAPIView.permission_classes, ModelPermission)
    if asks and not model_permissions():
        text = f"ModelPermission is in force, and {PERMISSIONS} has no rule: it refuses everybody"
        hint = f'Set {PERMISSIONS}, such as {{"*": {{"authenticated": True}}}}.'
        yield Error(text, hint=hint, id=INVALID_POLICY)
    if model_permissions() and not asks:
        yield _unused(PERMISSIONS, "PERMISSION", "models_api.permissions.ModelPermission")
    if model_throttle_rates() and not _uses(ModelsAPIView.throttle_classes, ModelRateThrottle):
        yield _unused(RATES, "THROTTLE", "models_api.throttling.ModelRateThrottle")


def _uses(classes: Sequence[object], wanted: type) -> bool:
    """Whether a class is among those of a view, be it with `&` or `|`."""
    return any(
        issubclass(each, wanted)
        if isinstance(each, type)
        else _uses([getattr(each, "op1_class", object), getattr(each, "op2_class", object)], wanted)
        for each in classes
    )


def _unused(setting: str, kind: str, path: str) -> CheckMessage:
    hint = f'Put "{path}" into DEFAULT_{kind}_CLASSES of REST_FRAMEWORK.'
    return CheckWarning(f"nothing heeds {setting}", hint=hint, id=UNUSED_SETTING)


def _lacks_a_rule(name: str) -> bool:
    rules = model_permissions()
    return bool(rules) and not any(is_for(pattern, name) for pattern in rules)


def _without_a_rule(name: str) -> CheckMessage:
    text = f'{PERMISSIONS} has no rule for the model "{name}": it is for superusers only'
    return CheckWarning(text, hint='Give it one, or write one for "*".', id=MODEL_WITHOUT_A_RULE)


@register(Tags.database)
def check_names_of_rules(
    databases: Sequence[str] | None = None, **_kwargs: object
) -> list[CheckMessage]:
    """Warn of groups and permissions that the database lacks, with `check --database default`."""
    if not databases or not model_permissions() or not apps.is_installed("django.contrib.auth"):
        return []
    # Late, because a project may do without them.
    from django.contrib.auth.models import Group, Permission  # noqa: PLC0415

    if Group._meta.db_table not in _tables(databases):
        return []
    groups = list(Group.objects.values_list("name", flat=True))
    found = Permission.objects.values_list("content_type__app_label", "codename")
    permissions = [f"{label}.{codename}" for label, codename in found]
    return [
        *_check_names("groups", "group", groups),
        *_check_names("permissions", "permission", permissions),
    ]


def _tables(databases: Sequence[str]) -> set[str]:
    from django.db import connections  # noqa: PLC0415

    return {table for name in databases for table in connections[name].introspection.table_names()}


def _check_names(key: str, word: str, known: Sequence[str]) -> Iterator[CheckMessage]:
    for pattern, rule in model_permissions().items():
        for name in rule.get(key, []) if problem_of_rule(rule) is None else []:
            if name not in known:
                nearest = get_close_matches(name, known, 1)
                hint = f"Did you mean {nearest[0]}?" if nearest else f"Make that {word}."
                text = f"{PERMISSIONS}[{pattern!r}] names the {word} {name!r}, which is not there"
                yield CheckWarning(text, hint=hint, id=UNKNOWN_NAME)
