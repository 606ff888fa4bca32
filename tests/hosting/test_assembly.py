"""From a file to a registry (tests/broken_configurations has the files that lead to none)."""

import sys
from pathlib import Path
from typing import Any

import pytest

from models_api.configuration.file import ConfigurationFile
from models_api.exceptions import ConfigurationError
from models_api.hosting.assembly import build_registry
from models_api.hosting.hosted_model import LoadState


@pytest.fixture
def read(tmp_path: Path) -> Any:
    def read(text: str) -> ConfigurationFile:
        path = tmp_path / "service.yaml"
        path.write_text(text, encoding="utf-8")
        return ConfigurationFile(path)

    return read


def problems(file: ConfigurationFile) -> list[tuple[int | None, str, str, str]]:
    with pytest.raises(ConfigurationError) as caught:
        build_registry(file)
    return [(each.line, each.id, each.key_path, each.message) for each in caught.value.problems]


def test_models_keep_the_order_of_the_file_and_none_is_loaded(read: Any) -> None:
    registry = build_registry(
        read(
            "models:\n"
            "  - class_path: tests.fakes.models.TreblingModel\n"
            "  - class_path: tests.fakes.models.LateModel\n"
            "  - class_path: tests.fakes.models.FailingModel\n"
            "    decorators: [{class_path: tests.fakes.decorators.Failing}]\n"
        )
    )
    assert [model.label for model in registry] == [
        "trebling",
        "tests.fakes.models.LateModel",
        "failing",
    ]
    assert {model.state for model in registry} == {LoadState.NOT_LOADED}


def test_a_service_may_have_no_model(read: Any) -> None:
    assert len(build_registry(read("service_title: Empty"))) == 0


def test_open_inference_without_numpy_says_what_to_install(
    read: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # This is how Python itself notes a module that cannot be imported.
    monkeypatch.setitem(sys.modules, "numpy", None)
    assert len(build_registry(read("open_inference: {enabled: false}"))) == 0
    with pytest.raises(ConfigurationError) as caught:
        build_registry(read("open_inference:\n  enabled: true\n"))
    (problem,) = caught.value.problems
    assert (problem.line, problem.id, problem.key_path, problem.message, problem.hint) == (
        2,
        "models_api.E008",
        "open_inference.enabled",
        "the Open Inference Protocol needs numpy, which is not installed",
        'Install it: pip install "modelhost[open-inference]"',
    )


@pytest.mark.parametrize(
    "needs",
    [
        ("urllib3", "modelhost", "kind", "remote"),
        ("numpy", "open_inference", "protocol", "open-inference"),
    ],
)
def test_a_remote_model_says_what_to_install(
    read: Any, monkeypatch: pytest.MonkeyPatch, needs: tuple[str, str, str, str]
) -> None:
    package, protocol, key, extra = needs
    configuration = f"""
models:
  - qualified_name: iris
    execution:
      kind: remote
      protocol: {protocol}
      url: http://127.0.0.1:1
"""
    (model,) = build_registry(read(configuration))
    assert model.known_name == "iris"
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigurationError) as caught:
        build_registry(read(configuration))
    (problem,) = caught.value.problems
    assert (problem.id, problem.key_path, problem.hint) == (
        "models_api.E008",
        f"models[0].execution.{key}",
        f'Install it: pip install "modelhost[{extra}]"',
    )
    assert f"needs {package}, which is not installed" in problem.message


@pytest.mark.parametrize("token", ["a b", "a\n", "\xe4"])
def test_a_token_that_no_header_can_hold_is_a_problem(
    read: Any, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("MODELS_TOKEN", token)
    with pytest.raises(ConfigurationError) as caught:
        build_registry(
            read(
                "models:\n- qualified_name: iris\n  execution: "
                "{kind: remote, url: 'http://a', token_env: MODELS_TOKEN}\n"
            )
        )
    (problem,) = caught.value.problems
    assert "has a character that no token can have" in problem.message
    assert token not in str(problem)


def test_problems_come_in_the_order_of_the_lines(read: Any) -> None:
    file = read(
        "models:\n"
        "  - class_path: tests.fakes.models.DoublingModel\n"
        "    decorators:\n"
        "      - class_path: tests.fakes.decorators.Missing\n"
        "  - class_path: tests.fakes.broken.NumericVersion\n"
        "version: 1.0\n"
        "port: 80\n"
    )
    assert problems(file) == [
        (
            4,
            "models_api.E005",
            "models[0].decorators[0].class_path",
            'the module tests.fakes.decorators has no name "Missing"',
        ),
        (5, "models_api.E006", "models[1].class_path", "version is 1.1, which is not a string"),
        (6, "models_api.E003", "version", "this should be a string, not the number 1.0"),
        (7, "models_api.E003", "port", 'unknown key "port"'),
    ]


def test_a_name_that_is_configured_twice_is_taken_whatever_the_classes_say(read: Any) -> None:
    file = read(
        "models:\n"
        "  - class_path: tests.fakes.models.LateModel\n"
        "    qualified_name: doubling\n"
        "  - class_path: tests.fakes.models.DoublingModel\n"
    )
    assert problems(file) == [
        (
            4,
            "models_api.E006",
            "models[1].class_path",
            'models[0] has the qualified name "doubling" already',
        )
    ]


def test_the_third_of_a_name_is_told_of_the_first(read: Any) -> None:
    file = read("models:\n" + "  - class_path: tests.fakes.models.DoublingModel\n" * 3)
    assert [message for *_, message in problems(file)] == [
        'models[0] has the qualified name "doubling" already'
    ] * 2


def test_a_class_that_cannot_be_made_uninitialised_is_left_for_later(read: Any) -> None:
    registry = build_registry(
        read(
            "models:\n"
            "  - class_path: tests.fakes.models.ParameterisedNewModel\n"
            "    configuration: {factor: 3}\n"
        )
    )
    (model,) = registry
    assert not model.is_described
    assert model.qualified_name == "new"
    assert model.state is LoadState.READY


@pytest.mark.parametrize(
    ("listed", "is_decorator"), [("WronglyListed", False), ("WronglyListedDecorator", True)]
)
def test_refusals_that_are_none_are_a_problem_of_the_file(
    read: Any, listed: str, is_decorator: bool
) -> None:
    model = "QuietModel" if is_decorator else listed
    around = f"[{{class_path: tests.fakes.refusing.{listed}}}]" if is_decorator else "[]"
    file = read(
        f"models:\n  - class_path: tests.fakes.refusing.{model}\n    decorators: {around}\n"
    )
    assert problems(file) == [
        (
            2,
            "models_api.E006",
            "models[0].class_path",
            f"{listed}.refusals should be a tuple of refusals",
        )
    ]
