"""A property that raises AttributeError is not absent: nobody else answers in its place."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import yaml

from models_api.configuration.file import ConfigurationFile
from models_api.exceptions import ModelNotReady
from models_api.hosting.assembly import build_registry
from models_api.hosting.hosted_model import HostedModel, LoadState
from models_api.hosting.registry import ModelRegistry

FAKES = "tests.fakes.broken_properties"
DOUBLING = "tests.fakes.models.DoublingModel"
FORWARDING = "tests.fakes.decorators.Plain"
CASES = {
    "of a decorator": (
        [DOUBLING, f"{FAKES}.OldFieldsDecorator"],
        "OldFieldsDecorator.input_schema raised AttributeError: "
        "'FieldInfo' object has no attribute 'outer_type_'",
    ),
    "inherited": (
        [DOUBLING, f"{FAKES}.InheritingDecorator"],
        "InheritingDecorator.input_schema raised AttributeError: "
        "'FieldInfo' object has no attribute 'outer_type_'",
    ),
    "under other decorators": (
        [DOUBLING, f"{FAKES}.OldFieldsDecorator", FORWARDING, FORWARDING],
        "OldFieldsDecorator.input_schema raised AttributeError: "
        "'FieldInfo' object has no attribute 'outer_type_'",
    ),
    "over other decorators": (
        [DOUBLING, FORWARDING, f"{FAKES}.RenamingDecorator", f"{FAKES}.MissingAttributeDecorator"],
        "MissingAttributeDecorator.output_schema raised AttributeError: "
        "'DoublingModel' object has no attribute 'schema_that_nobody_made'",
    ),
    "of a name": (
        [DOUBLING, f"{FAKES}.RaisingNameDecorator"],
        "RaisingNameDecorator.qualified_name raised AttributeError: the registry of names is away",
    ),
    "that raises something else": (
        [DOUBLING, FORWARDING, f"{FAKES}.RaisingVersionDecorator", FORWARDING],
        "RaisingVersionDecorator.version raised LookupError: no such release",
    ),
    "of a model that answers for every name": (
        [f"{FAKES}.DelegatingModel", FORWARDING],
        "DelegatingModel.input_schema raised AttributeError: no_such_attribute",
    ),
    "of a plain model": (
        [f"{FAKES}.BrokenVersionModel", FORWARDING, FORWARDING],
        "BrokenVersionModel.version raised AttributeError: release",
    ),
}


@pytest.fixture
def registry_of(tmp_path: Path) -> Any:
    def registry_of(class_path: str, *decorators: str) -> ModelRegistry:
        around = [{"class_path": each} for each in decorators]
        model = {"class_path": class_path, "decorators": around}
        path = tmp_path / "service.yaml"
        path.write_text(yaml.safe_dump({"models": [model]}), encoding="utf-8")
        return build_registry(ConfigurationFile(path))

    return registry_of


@pytest.mark.parametrize(("stack", "message"), CASES.values(), ids=CASES)
def test_a_property_that_raises_fails_the_loading_by_its_name(
    registry_of: Any, stack: list[str], message: str
) -> None:
    (model,) = registry_of(*stack)
    model.load()
    assert (model.state, model.failure) == (LoadState.FAILED, f"DescriptionFailed: {message}")


@pytest.mark.parametrize(("stack", "message"), CASES.values(), ids=CASES)
def test_nobody_else_answers_before_the_model_is_loaded(
    registry_of: Any, stack: list[str], message: str
) -> None:
    (model,) = registry_of(*stack)
    assert not model.is_described
    if "schema" in message:
        with pytest.raises(ModelNotReady):
            _ = model.schemas
    else:
        assert model.version is None


def test_the_log_has_what_the_property_raised_with_its_traceback(
    registry_of: Any, caplog: pytest.LogCaptureFixture
) -> None:
    (model,) = registry_of(*CASES["of a decorator"][0])
    with caplog.at_level(logging.ERROR):
        model.load()
    assert caplog.records[-1].exc_info
    error = caplog.records[-1].exc_info[1]
    assert error is not None
    assert isinstance(error.__cause__, AttributeError)


@pytest.mark.parametrize(
    ("name", "key_path"),
    [
        ("of a decorator", "models[0].decorators[0].class_path"),
        ("under other decorators", "models[0].decorators[0].class_path"),
        ("of a model that answers for every name", "models[0].class_path"),
        ("of a plain model", "models[0].class_path"),
    ],
)
def test_what_cannot_be_for_want_of_an_init_is_known_without_loading(
    registry_of: Any, name: str, key_path: str
) -> None:
    stack, message = CASES[name]
    registry = registry_of(*stack)
    ((problem),) = registry.defects
    assert (problem.id, problem.key_path, problem.message) == (
        "models_api.E006",
        key_path,
        message,
    )


def test_a_decorator_that_needs_its_init_is_described_once_it_is_loaded(registry_of: Any) -> None:
    registry = registry_of(DOUBLING, f"{FAKES}.LateDecorator", FORWARDING)
    (model,) = registry
    assert (model.is_described, registry.defects) == (False, ())
    assert "late" in model.schemas.output.model_fields
    assert model.state is LoadState.READY


def test_what_an_outer_decorator_says_instead_is_not_asked_of_the_model(registry_of: Any) -> None:
    registry = registry_of(f"{FAKES}.BrokenVersionModel", f"{FAKES}.RenamingDecorator")
    model: HostedModel
    (model,) = registry
    assert (model.version, registry.defects) == ("2.0.0", ())
    model.load()
    assert model.state is LoadState.READY
