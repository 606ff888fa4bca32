"""The system checks of who may ask which model, and how often."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings
from rest_framework.permissions import IsAuthenticated

from models_api.api.views import ModelsAPIView
from models_api.apps import ModelsAPIConfig
from models_api.configuration.file import ConfigurationFile
from models_api.permissions import ModelPermission
from models_api.policy_checks import check_names_of_rules, check_policies
from models_api.throttling import ModelRateThrottle

ALL = {"*": {"authenticated": True}}
HOSTED = """\
models:
  - class_path: tests.fakes.models.DoublingModel
  - class_path: tests.fakes.misbehaving.ObedientModel
"""


@pytest.fixture(autouse=True)
def hosted(app_config: ModelsAPIConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "service.yaml"
    path.write_text(HOSTED, encoding="utf-8")
    app_config.configuration_file = ConfigurationFile(path)
    monkeypatch.setattr(ModelsAPIView, "permission_classes", [IsAuthenticated & ModelPermission])
    monkeypatch.setattr(ModelsAPIView, "throttle_classes", [ModelRateThrottle])


def said(**settings: Any) -> list[tuple[str | None, str, str | None]]:
    with override_settings(**{"MODELS_API_PERMISSIONS": ALL, **settings}):
        return [(each.id, each.msg, each.hint) for each in check_policies(None)]


def test_sound_rules_and_rates_pass() -> None:
    rules = {"doub*": {"groups": ["risk"]}, **ALL}
    rates = {"obedient": "10/min", "doub*": None, "*": "1000/day"}
    assert said(MODELS_API_PERMISSIONS=rules, MODELS_API_THROTTLE_RATES=rates) == []


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (
            {"doubling": {"group": ["risk"]}, **ALL},
            (
                "models_api.E020",
                "MODELS_API_PERMISSIONS['doubling'] has an unknown key 'group'",
                "Known keys here: groups, permissions, authenticated, anyone.",
            ),
        ),
        (
            {"doublng": {"groups": ["risk"]}, **ALL},
            (
                "models_api.W020",
                "MODELS_API_PERMISSIONS['doublng'] is for no model",
                "Did you mean doubling?",
            ),
        ),
        (
            {**ALL, "doubling": {"groups": ["risk"]}},
            (
                "models_api.W020",
                "MODELS_API_PERMISSIONS['doubling'] never counts: all its models have an earlier "
                "pattern",
                "Write it further up.",
            ),
        ),
        (
            {"doubling": {"groups": ["risk"]}},
            (
                "models_api.W021",
                'MODELS_API_PERMISSIONS has no rule for the model "obedient": it is for superusers '
                "only",
                'Give it one, or write one for "*".',
            ),
        ),
        (
            {},
            (
                "models_api.E020",
                "ModelPermission is in force, and MODELS_API_PERMISSIONS has no rule: it refuses "
                "everybody",
                'Set MODELS_API_PERMISSIONS, such as {"*": {"authenticated": True}}.',
            ),
        ),
    ],
)
def test_a_rule_that_is_not_as_meant_is_told(rules: Any, expected: Any) -> None:
    assert said(MODELS_API_PERMISSIONS=rules) == [expected]


@pytest.mark.parametrize("rules", [["doubling"], "doubling", {1: {"anyone": True}}])
def test_a_setting_that_is_no_dictionary_is_an_error(rules: Any) -> None:
    found = said(MODELS_API_PERMISSIONS=rules)
    assert found[0][:2] == (
        "models_api.E020",
        "MODELS_API_PERMISSIONS is no dictionary of strings",
    )


@pytest.mark.parametrize("rate", ["ten/min", "10", "10/fortnight", "0/min", "-1/s", 10, "", "5/"])
def test_a_malformed_rate_is_an_error(rate: Any) -> None:
    [(id_, message, hint)] = said(MODELS_API_THROTTLE_RATES={"*": rate})
    assert id_ == "models_api.E020"
    assert message == f"MODELS_API_THROTTLE_RATES['*'] is {rate!r}, which is no rate"
    assert hint is not None
    assert "100/hour" in hint


def test_settings_that_no_class_heeds_are_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ModelsAPIView, "permission_classes", [IsAuthenticated])
    monkeypatch.setattr(ModelsAPIView, "throttle_classes", [])
    found = said(MODELS_API_THROTTLE_RATES={"*": "1/s"})
    assert [each[:2] for each in found] == [
        ("models_api.W022", "nothing heeds MODELS_API_PERMISSIONS"),
        ("models_api.W022", "nothing heeds MODELS_API_THROTTLE_RATES"),
    ]


def test_patterns_are_left_alone_while_the_models_are_not_known(
    app_config: ModelsAPIConfig, tmp_path: Path
) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text("models: 3", encoding="utf-8")
    app_config.configuration_file = ConfigurationFile(path)
    assert said(MODELS_API_PERMISSIONS={"nobody": {"anyone": True}}) == []


def test_without_the_settings_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ModelsAPIView, "permission_classes", [IsAuthenticated])
    monkeypatch.setattr(ModelsAPIView, "throttle_classes", [])
    assert check_policies(None) == []
    assert check_names_of_rules(["default"]) == []
