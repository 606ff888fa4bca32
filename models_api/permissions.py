"""Permissions by model, for a project's `DEFAULT_PERMISSION_CLASSES`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from models_api.conf import model_permissions, of_model

if TYPE_CHECKING:
    # Imports the classes of the settings, and so this module.
    from rest_framework.views import APIView

KEYS = ("groups", "permissions", "authenticated", "anyone")
"""Of a rule."""


class ModelPermission(BasePermission):
    """Lets those ask a model who fulfil the first rule of MODELS_API_PERMISSIONS for its name.

    A model without a rule, or with a malformed one, is for superusers only, and so is a name that
    no model has. Routes that name no model are open; what they list is what the user may ask.
    """

    _groups: frozenset[str] | None = None

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Return whether the user of a request may ask the model that its route names."""
        name = view.kwargs.get("qualified_name")
        if name is None:
            return True
        self.message = f'You may not use the model "{name}".'
        rule = of_model(model_permissions(), name)
        is_sound = rule is not None and problem_of_rule(rule) is None
        user: Any = request.user
        if not getattr(user, "is_authenticated", False) or not getattr(user, "is_active", True):
            return is_sound and "anyone" in rule
        is_superuser: bool = getattr(user, "is_superuser", False)
        return is_superuser or (is_sound and self._fulfils(rule, user))

    def _fulfils(self, rule: Any, user: Any) -> bool:
        is_member = "groups" not in rule or not self._groups_of(user).isdisjoint(rule["groups"])
        return is_member and ("permissions" not in rule or user.has_perms(rule["permissions"]))

    def _groups_of(self, user: Any) -> frozenset[str]:
        if self._groups is None:  # asked once for all models of a list
            self._groups = frozenset(user.groups.values_list("name", flat=True))
        return self._groups


def problem_of_rule(rule: object) -> tuple[str, str] | None:
    """Return what is wrong with a rule, as the rest of a sentence, and its remedy."""
    if not isinstance(rule, dict) or not rule:
        return "is no rule", 'Write a dictionary, such as {"groups": ["risk"]}.'
    unknown = [key for key in rule if key not in KEYS]
    if unknown:
        return f"has an unknown key {unknown[0]!r}", f"Known keys here: {', '.join(KEYS)}."
    flags = [key for key in ("authenticated", "anyone") if key in rule]
    if flags and rule != {flags[0]: True}:
        return f"has {flags[0]!r} with something else", f"Write {{{flags[0]!r}: True}} alone."
    for key, names in rule.items():
        if key not in flags and not _is_list_of_names(names):
            return f"has {names!r} for {key!r}", f"Write a list of names: {{{key!r}: [...]}}."
    lacking = [name for name in rule.get("permissions", []) if "." not in name]
    if lacking:
        hint = "Write the app's label before it, as in shop.score_credit."
        return f"has {lacking[0]!r}, which is no permission", hint
    return None


def _is_list_of_names(names: object) -> bool:
    is_list = isinstance(names, list | tuple) and bool(names)
    return is_list and all(isinstance(name, str) for name in names)  # type: ignore[attr-defined]
