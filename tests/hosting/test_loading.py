"""Importing classes, describing them without running them, and building the decorated model."""

import sys
from pathlib import Path
from typing import Any

import pytest
from ml_base import MLModel, MLModelDecorator

from models_api.configuration.sections import DecoratorConfiguration, ModelConfiguration
from models_api.exceptions import ClassPathError, DescriptionError, DescriptionFailed
from models_api.hosting.class_paths import import_class
from models_api.hosting.description import read_names, read_schemas
from models_api.hosting.model_stack import Layer, ModelStack
from models_api.logs import one_line
from models_api.prediction.description import ModelNames
from models_api.prediction.instruments import Instruments
from tests.fakes import broken, decorators, models
from tests.fakes.executing import UnspeakableError

MODELS = "tests.fakes.models"
DECORATORS = "tests.fakes.decorators"


def stack(
    model: str, *decorators: str | tuple[str, dict[str, Any]], **configuration: Any
) -> ModelStack:
    layers = [each if isinstance(each, tuple) else (each, {}) for each in decorators]
    return ModelStack.from_configuration(
        ModelConfiguration(
            class_path=f"{MODELS}.{model}",
            configuration=configuration,
            decorators=[
                DecoratorConfiguration(class_path=f"{DECORATORS}.{name}", configuration=given)
                for name, given in layers
            ],
        )
    )


# Class paths (tests/broken_configurations has those that lead nowhere)


def test_a_class_path_leads_to_the_class() -> None:
    assert import_class(f"{MODELS}.DoublingModel", MLModel) is models.DoublingModel
    assert import_class(f"{DECORATORS}.Plain", MLModelDecorator) is decorators.Plain


@pytest.mark.parametrize(
    "class_path", ["Model", ".Model", "a..Model", "a.b.", "a b.Model", "a-b.Model", "1.Model", ""]
)
def test_what_is_no_class_path_is_not_imported(class_path: str) -> None:
    with pytest.raises(ClassPathError) as caught:
        import_class(class_path, MLModel)
    assert str(caught.value) == f'"{class_path}" is not a class path'
    assert caught.value.hint == (
        "Write module and class with dots between, such as my_package.models.MyModel."
    )


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def predict(self)\n", "raised SyntaxError: expected ':' (faulty_module.py, line 1)"),
        ("1 / 0\n", "raised ZeroDivisionError: division by zero"),
        ("raise ImportError('no\\n\\n  luck')\n", "raised ImportError: no luck"),
        ("raise ModuleNotFoundError('nameless')\n", "raised ModuleNotFoundError: nameless"),
        ("from os import nothing\n", "raised ImportError: cannot import name 'nothing' from 'os'"),
        ("import sys; sys.exit()\n", "raised SystemExit:"),
        ("raise GeneratorExit\n", "raised GeneratorExit:"),
        ("class P(BaseException): ...\nraise P('x')\n", "raised P: x"),
        ("import asyncio\nraise asyncio.CancelledError\n", "raised CancelledError:"),
        ("raise KeyboardInterrupt\n", None),
    ],
)
def test_a_module_may_raise_anything_but_an_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, message: str | None
) -> None:
    (tmp_path / "faulty_module.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ClassPathError if message else BaseException) as caught:
        import_class("faulty_module.Model", MLModel)
    assert "faulty_module" not in sys.modules
    if message:
        assert isinstance(caught.value, ClassPathError)
        assert str(caught.value).startswith(f"importing faulty_module {message}")
        assert caught.value.hint == (
            "Check that the module can be imported: `python -c 'import faulty_module'`."
        )
    else:
        assert not isinstance(caught.value, ClassPathError)


def test_a_missing_module_of_a_package_is_named_with_the_nearest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "team_of_models").mkdir()
    (tmp_path / "team_of_models" / "__init__.py").write_text("", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ClassPathError) as caught:
        import_class("team_of_model.iris.Model", MLModel)
    assert str(caught.value) == 'there is no module "team_of_model"'
    assert caught.value.hint == "Did you mean team_of_models?"
    with pytest.raises(ClassPathError) as caught:
        import_class("team_of_models.iris.Model", MLModel)
    assert str(caught.value) == 'there is no module "team_of_models.iris"'
    assert caught.value.hint == (
        "Install the package, or start the service in the folder that holds the module."
    )


def test_an_error_is_written_on_one_line() -> None:
    assert one_line(ValueError("a\n  b\n")) == "ValueError: a b"
    assert one_line(UnspeakableError()) == "UnspeakableError: (it cannot be written)"


# Arguments


@pytest.mark.parametrize(
    ("cls", "arguments", "message"),
    [
        (models.DoublingModel, {}, None),
        (models.DoublingModel, {"factor": 3}, None),
        (models.TreblingModel, {"factor": 3}, "got an unexpected keyword argument 'factor'"),
        (models.DoublingModel, {"self": 3}, "multiple values for argument 'self'"),
        (decorators.Plain, {"anything": 1}, None),
        (decorators.Plain, {"model": 1}, 'the argument "model" is taken'),
        (decorators.Suffix, {"suffix": "?"}, None),
        (decorators.KeywordOnly, {"level": "a"}, None),
        (decorators.KeywordOnly, {}, "missing a required argument: 'level'"),
        (decorators.Anything, {"a": 1}, None),
        (decorators.WithoutModel, {"level": 2}, None),
        (decorators.WithoutModel, {"model": 2}, "got an unexpected keyword argument 'model'"),
    ],
)
def test_arguments_are_checked_before_anything_runs(
    cls: Any, arguments: dict[str, Any], message: str | None
) -> None:
    layer = Layer(cls, arguments)
    if message is None:
        layer.check_arguments()
        return
    with pytest.raises(ClassPathError) as caught:
        layer.check_arguments()
    assert str(caught.value) == (
        f"the configuration does not fit {cls.__name__}.__init__: {message}"
    )


# Building


def test_a_model_gets_its_configuration() -> None:
    model = stack("DoublingModel", factor=5).build(Instruments())
    assert model.predict(models.Number(value=2)) == models.Doubled(value=10)


@pytest.mark.parametrize(
    "decorator",
    [
        "Plain",
        "Suffix",
        ("KeywordOnly", {"level": "a"}),
        ("Anything", {"a": 1}),
        ("WithoutModel", {"level": 3}),
        "ForgetfulSetModel",
        ("Counting", {"start": 3}),
    ],
)
def test_a_decorator_gets_its_model_whatever_way_it_takes_it(decorator: Any) -> None:
    model = stack("DoublingModel", decorator).build(Instruments())
    assert isinstance(model, MLModelDecorator)
    assert type(model._model) is models.DoublingModel
    assert model.qualified_name == "doubling"
    assert model.predict(models.Number(value=2)) == models.Doubled(value=4)


def test_decorators_are_applied_in_order_the_last_one_outermost() -> None:
    built = stack(
        "DoublingModel", ("Suffix", {"suffix": "1"}), ("Suffix", {"suffix": "2"}), "Plain"
    ).build(Instruments())
    assert built.display_name == "Doubling12"
    assert type(built) is decorators.Plain


def test_what_a_model_or_a_decorator_raises_comes_out() -> None:
    with pytest.raises(RuntimeError, match="the weights are"):
        stack("FailingModel").build(Instruments())
    with pytest.raises(ValueError, match="this decorator never works"):
        stack("DoublingModel", "Failing").build(Instruments())


# Describing


@pytest.mark.parametrize(
    "decorated", [(), ("Failing",), ("Plain", "Counting", "WithoutModel"), ("KeywordOnly",)]
)
def test_a_stack_says_what_it_is_without_running_any_init(decorated: tuple[str, ...]) -> None:
    model = stack("FailingModel", *decorated).build_uninitialised()
    assert read_names(model) == ModelNames(
        display_name="Doubling",
        qualified_name="failing",
        description="Doubles a number.",
        version="1.0.0",
    )
    assert read_schemas(model) == (models.Number, models.Doubled)


def test_a_decorator_that_changes_schemas_changes_them_uninitialised_too() -> None:
    model = stack("FailingModel", "Negative").build_uninitialised()
    assert read_schemas(model) == (models.Number, decorators.Negative.Output)


def test_properties_speak_for_an_uninitialised_model() -> None:
    model = stack("PropertiesModel", "Plain").build_uninitialised()
    assert read_names(model).qualified_name == "propertiesmodel"
    assert read_names(model).version == "1.2"


def test_an_uninitialised_decorator_has_its_configuration() -> None:
    model = stack("DoublingModel", ("Plain", {"level": 3})).build_uninitialised()
    assert model._configuration == {"level": 3}


def test_a_model_that_says_nothing_yet_gives_no_answer() -> None:
    model = stack("LateModel").build_uninitialised()
    with pytest.raises(DescriptionFailed, match=r"LateModel\.display_name is None"):
        read_names(model)
    with pytest.raises(DescriptionFailed, match=r"LateModel\.input_schema is None"):
        read_schemas(model)


def variant(**attributes: Any) -> Any:
    return type("Variant", (models.DoublingModel,), attributes)()


@pytest.mark.parametrize(
    ("attributes", "message", "hint"),
    [
        (
            {"version": 1},
            "version is 1, which is not a string",
            'Write version = "1" in the class.',
        ),
        (
            {"display_name": ["a"]},
            "display_name is ['a'], which is not a string",
            'Write display_name = "..." in the class.',
        ),
        (
            {"description": {"long": "text " * 100}},
            "description is {'long': 'text text text text text text text te"
            "...xt text text text text text text text '}, which is not a string",
            'Write description = "..." in the class.',
        ),
        *(
            (
                {"qualified_name": name},
                f'the qualified name "{name}" cannot stand in a URL{reason}',
                "Use letters and digits of any alphabet, blanks between them, and characters such "
                'as . _ - but none of / \\ ? # % : ; { } < > | ^ ` "',
            )
            for name, reason in (
                ("", ""),
                ("a\nb", ""),
                ("<name>", ""),
                (".", ": there it is a step from folder to folder"),
                ("a/b", ": servers and proxies take its slash for the end of the name"),
            )
        ),
    ],
)
def test_unusable_names_are_explained(attributes: Any, message: str, hint: str) -> None:
    with pytest.raises(DescriptionError) as caught:
        read_names(variant(**attributes))
    assert str(caught.value) == message
    assert caught.value.hint == hint
    assert caught.value.key == "class_path"


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"input_schema": dict}, "input_schema is <class 'dict'>, which is not a pydantic model"),
        ({"output_schema": {}}, "output_schema is {}, which is not a pydantic model"),
        (
            {"output_schema": list[models.Number]},
            "output_schema is list[tests.fakes.models.Number], which is not a pydantic model",
        ),
    ],
)
def test_unusable_schemas_are_explained(attributes: Any, message: str) -> None:
    with pytest.raises(DescriptionError) as caught:
        read_schemas(variant(**attributes))
    assert str(caught.value) == message
    name = next(iter(attributes))
    assert caught.value.hint == f"Set {name} to a subclass of pydantic.BaseModel."


def test_a_schema_that_is_an_instance_is_told_its_class() -> None:
    with pytest.raises(DescriptionError) as caught:
        read_schemas(variant(input_schema=models.Number(value=1)))
    assert str(caught.value) == "input_schema is Number(value=1.0), which is not a pydantic model"
    assert caught.value.hint == "Name the class, without brackets: input_schema = Number"


def test_the_fakes_that_are_broken_stay_so() -> None:
    with pytest.raises(TypeError, match="abstract"):
        broken.NoInit()
