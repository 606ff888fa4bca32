"""The example models, decorators and configuration files."""

import json
import logging
import logging.config
import re
from collections.abc import Callable, Iterator
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
import yaml
from ml_base import MLModel
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sklearn.datasets import load_diabetes, load_digits, load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from examples.crashing import CrashingModel, DivisionInput
from examples.diabetes import DiabetesModel, DiabetesModelInput
from examples.digits import DigitsModel, DigitsModelInput
from examples.iris import IrisModel, IrisModelInput
from examples.logging_decorator import LoggingDecorator
from examples.prediction_id import PredictionIDDecorator
from examples.torch_digits import TorchDigitsModel
from tests.test_docs import is_torch_wanted

ROOT = Path(__file__).parent.parent
YAML_FILES = [ROOT / "rest_config.yaml", *sorted((ROOT / "examples").glob("*.yaml"))]
MODELS: list[Any] = [IrisModel, DiabetesModel, DigitsModel]
SENT_ID = "8a3f0c3e-6f1b-4a57-9d0e-0b1f6f0a7c11"


def iris_bodies() -> list[dict[str, Any]]:
    fields = list(IrisModelInput.model_fields)
    return [dict(zip(fields, row, strict=True)) for row in load_iris().data.tolist()]


def diabetes_bodies() -> list[dict[str, Any]]:
    fields = list(DiabetesModelInput.model_fields)
    rows = load_diabetes(scaled=False).data.tolist()
    return [dict(zip(fields, row, strict=True)) for row in rows]


def digits_bodies() -> list[dict[str, Any]]:
    return [{"image": image} for image in load_digits().images.tolist()]


BODIES: dict[Any, Callable[[], list[dict[str, Any]]]] = {
    IrisModel: iris_bodies,
    DiabetesModel: diabetes_bodies,
    DigitsModel: digits_bodies,
}


def inputs(model: Any) -> list[Any]:
    """Every row of the model's data set, parsed from JSON as a request would be."""
    return [model.input_schema.model_validate_json(json.dumps(b)) for b in BODIES[model]()]


def example(schema: type[BaseModel]) -> dict[str, Any]:
    """What a documentation page offers as the first body to try."""
    properties = schema.model_json_schema()["properties"]
    return {name: properties[name]["examples"][0] for name in properties}


@pytest.fixture(scope="module")
def instances() -> dict[Any, Any]:
    return {model: model() for model in MODELS}


# The models


def test_iris_predicts_what_scikit_learn_predicts(instances: dict[Any, Any]) -> None:
    data = load_iris()
    reference = LogisticRegression(max_iter=1000).fit(data.data, data.target)
    for row, flower in list(zip(data.data, inputs(IrisModel), strict=True))[::7]:
        output = instances[IrisModel].predict(flower)
        assert output.species == data.target_names[reference.predict([row])[0]]
        assert output.probability == pytest.approx(reference.predict_proba([row]).max())


def test_diabetes_predicts_what_scikit_learn_predicts(instances: dict[Any, Any]) -> None:
    rows, progressions = load_diabetes(return_X_y=True, scaled=False)
    reference = make_pipeline(StandardScaler(), Ridge(alpha=1.0)).fit(rows, progressions)
    for row, patient in list(zip(rows, inputs(DiabetesModel), strict=True))[::7]:
        output = instances[DiabetesModel].predict(patient)
        assert output.progression == pytest.approx(reference.predict([row])[0])


def test_digits_predicts_what_scikit_learn_predicts(instances: dict[Any, Any]) -> None:
    rows, digits = load_digits(return_X_y=True)
    reference = RandomForestClassifier(n_estimators=100, random_state=0).fit(rows, digits)
    for row, image in list(zip(rows, inputs(DigitsModel), strict=True))[::61]:
        output = instances[DigitsModel].predict(image)
        assert output.digit == reference.predict([row])[0]
        assert output.probability == reference.predict_proba([row]).max()


@pytest.mark.parametrize("model", MODELS)
def test_a_batch_of_the_whole_data_set_equals_its_rows(
    model: Any, instances: dict[Any, Any]
) -> None:
    rows = inputs(model)
    batch = instances[model].predict_batch(rows)
    assert len(batch) == len(rows)
    for row, prediction in list(zip(rows, batch, strict=True))[::23]:
        alone = instances[model].predict(row).model_dump()
        # A product of matrices may round otherwise than the product of one row.
        assert {k: v if isinstance(v, str) else pytest.approx(v) for k, v in alone.items()} == (
            prediction.model_dump()
        )


@pytest.mark.parametrize("model", MODELS)
def test_outputs_are_python_values_that_fit_the_output_schema(
    model: Any, instances: dict[Any, Any]
) -> None:
    for prediction in instances[model].predict_batch(inputs(model)):
        assert type(prediction) is model.output_schema
        assert model.output_schema.model_validate_json(prediction.model_dump_json()) == prediction
        assert not any(isinstance(value, np.generic) for _, value in prediction)


@pytest.mark.parametrize("model", MODELS)
def test_the_documented_example_is_the_first_row_of_the_data_set(model: Any) -> None:
    assert example(model.input_schema) == BODIES[model]()[0]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("bound", ["low", "high"])
def test_the_most_extreme_accepted_input_is_predicted(
    model: Any, bound: str, instances: dict[Any, Any]
) -> None:
    if model is DigitsModel:
        body: dict[str, Any] = {"image": [[0 if bound == "low" else 16] * 8] * 8}
    else:
        properties = model.input_schema.model_json_schema()["properties"].values()
        low = [p.get("minimum", 5e-324) for p in properties]
        high = [p["maximum"] for p in properties]
        fields = model.input_schema.model_fields
        body = dict(zip(fields, low if bound == "low" else high, strict=True))
    prediction = instances[model].predict(model.input_schema.model_validate(body))
    model.output_schema.model_validate_json(prediction.model_dump_json())


@pytest.mark.parametrize("model", [IrisModel, DiabetesModel])
@pytest.mark.parametrize("nonsense", [-1, 1e6, float("nan"), float("inf"), None, "long", []])
def test_each_number_is_bounded(model: Any, nonsense: object) -> None:
    for name in model.input_schema.model_fields:
        with pytest.raises(ValidationError, match=name):
            model.input_schema.model_validate({**example(model.input_schema), name: nonsense})


@pytest.mark.parametrize("model", MODELS)
def test_each_field_is_required(model: Any) -> None:
    for name in model.input_schema.model_fields:
        body = example(model.input_schema)
        del body[name]
        with pytest.raises(ValidationError, match="Field required"):
            model.input_schema.model_validate(body)


@pytest.mark.parametrize(
    "image",
    [
        [],
        [[0] * 8] * 7,
        [[0] * 8] * 9,
        [[0] * 7] * 8,
        [[0] * 9] * 8,
        [[0] * 8] * 7 + [[0] * 7],
        [0] * 64,
        [[17] * 8] * 8,
        [[-1] * 8] * 8,
        [[float("nan")] * 8] * 8,
        [[None] * 8] * 8,
        None,
    ],
)
def test_an_image_is_eight_rows_of_eight_pixels(image: object) -> None:
    with pytest.raises(ValidationError):
        DigitsModelInput.model_validate({"image": image})


def test_parameters_change_the_model(instances: dict[Any, Any]) -> None:
    patients, images = inputs(DiabetesModel)[:10], inputs(DigitsModel)[:50]
    shrunk = DiabetesModel(regularisation=1000.0).predict_batch(patients)
    assert shrunk != instances[DiabetesModel].predict_batch(patients)
    votes = {round(3 * each.probability, 9) for each in DigitsModel(trees=3).predict_batch(images)}
    assert votes <= {1, 2, 3}


@pytest.mark.parametrize("model", MODELS)
def test_a_class_describes_itself_without_running_init(model: Any) -> None:
    described = model.__new__(model)
    assert re.fullmatch(r"[a-z]+", described.qualified_name)
    assert all([described.display_name, described.description, described.version])
    for schema in (described.input_schema, described.output_schema):
        assert schema.__name__.startswith(model.__name__)
        properties = schema.model_json_schema()["properties"].values()
        assert all("description" in each for each in properties)


def test_the_model_that_crashes_divides_as_python_does_otherwise() -> None:
    model = CrashingModel()
    for dividend, divisor in ((7, 2), (-7, 2), (0, 5), (1000, -1)):
        data = DivisionInput(dividend=dividend, divisor=divisor)
        assert model.predict(data).quotient == dividend // divisor


@pytest.mark.long
@pytest.mark.skipif(not is_torch_wanted(), reason="requirements/cookbook.txt has PyTorch")
def test_the_network_recognises_digits_alone_and_in_batches() -> None:
    model, digits = TorchDigitsModel(), load_digits().target.tolist()
    images = inputs(DigitsModel)
    found = model.predict_batch(images)
    right = [one.digit == digit for one, digit in zip(found, digits, strict=True)]
    assert sum(right) / len(right) > 0.95
    for image, one in list(zip(images, found, strict=True))[:20]:
        assert model.predict(image).digit == one.digit
        assert model.predict(image).probability == pytest.approx(one.probability, abs=1e-5)


# The decorators


def uninitialised(model: Any, *decorators: Any) -> Any:
    """A stack as a service builds it to read descriptions, without running any ``__init__``."""
    stack = model.__new__(model)
    for decorator in decorators:
        outer = decorator.__new__(decorator)
        outer.__dict__["_model"] = stack
        stack = outer
    return stack


@pytest.fixture(params=["given", "set"])
def decorated(request: pytest.FixtureRequest, instances: dict[Any, Any]) -> Any:
    if request.param == "given":
        return PredictionIDDecorator(instances[IrisModel])
    return PredictionIDDecorator().set_model(instances[IrisModel])


def test_an_id_that_is_sent_comes_back_with_the_prediction(decorated: Any) -> None:
    body = {**example(IrisModelInput), "prediction_id": SENT_ID}
    output = decorated.predict(decorated.input_schema.model_validate(body))
    assert type(output) is decorated.output_schema
    assert output.model_dump(mode="json") == {
        "species": "setosa",
        "probability": pytest.approx(0.98, abs=0.01),
        "prediction_id": SENT_ID,
    }


def test_an_id_is_made_for_each_prediction_without_one(decorated: Any) -> None:
    bodies = [decorated.input_schema.model_validate(example(IrisModelInput)) for _ in range(2)]
    first, second = (decorated.predict(body).prediction_id for body in bodies)
    assert isinstance(first, UUID)
    assert first != second


@pytest.mark.parametrize("nonsense", ["", "1", 1, None, "8a3f0c3e-6f1b-4a57-9d0e"])
def test_an_id_that_is_no_uuid_is_rejected(decorated: Any, nonsense: object) -> None:
    with pytest.raises(ValidationError, match="prediction_id"):
        decorated.input_schema.model_validate(
            {**example(IrisModelInput), "prediction_id": nonsense}
        )


@pytest.mark.parametrize("model", MODELS)
def test_the_id_is_optional_in_and_always_there_out(model: Any) -> None:
    stack = uninitialised(model, PredictionIDDecorator)
    sent = stack.input_schema.model_json_schema()
    received = stack.output_schema.model_json_schema(mode="serialization")
    assert sent["properties"]["prediction_id"]["type"] == "string"
    assert sent["properties"]["prediction_id"]["format"] == "uuid"
    assert "prediction_id" not in sent["required"]
    assert "prediction_id" in received["required"]


@pytest.mark.parametrize("model", MODELS)
def test_the_extended_schemas_keep_what_the_model_documents(model: Any) -> None:
    stack = uninitialised(model, PredictionIDDecorator)
    for extended, schema in [
        (stack.input_schema.model_json_schema(), model.input_schema.model_json_schema()),
        (stack.output_schema.model_json_schema(), model.output_schema.model_json_schema()),
    ]:
        assert extended["title"] != schema["title"]
        assert extended["description"] == schema["description"]
        assert extended["properties"].items() >= schema["properties"].items()


def test_the_extended_schemas_are_the_same_classes_at_each_access(decorated: Any) -> None:
    stack = uninitialised(IrisModel, PredictionIDDecorator)
    assert stack.input_schema is stack.input_schema is decorated.input_schema
    assert stack.output_schema is stack.output_schema is decorated.output_schema
    assert stack.input_schema is not stack.output_schema


@pytest.mark.parametrize(
    "decorators",
    [
        (PredictionIDDecorator, LoggingDecorator),
        (LoggingDecorator, PredictionIDDecorator),
        (LoggingDecorator, PredictionIDDecorator, LoggingDecorator),
    ],
)
def test_decorators_stack_in_any_order(
    decorators: tuple[Any, ...], instances: dict[Any, Any]
) -> None:
    stack = instances[IrisModel]
    for decorator in decorators:
        stack = decorator().set_model(stack)
    described = uninitialised(IrisModel, *decorators)
    assert described.qualified_name == stack.qualified_name == "iris"
    assert described.input_schema is stack.input_schema
    body = {**example(IrisModelInput), "prediction_id": SENT_ID}
    output = stack.predict(stack.input_schema.model_validate(body))
    assert type(output) is described.output_schema
    assert output.prediction_id == UUID(SENT_ID)


class Parcel(BaseModel):
    """A schema with an alias, an extra key and a default, which the echo must get as sent."""

    model_config = ConfigDict(extra="allow")

    weight: float = Field(alias="parcelWeight")
    fragile: bool = False


class Echo(MLModel):
    """Answers with its input, as an instance or as a dict keyed by alias."""

    display_name = qualified_name = description = version = "echo"
    input_schema = output_schema = Parcel
    seen: Parcel

    def __init__(self, *, as_dict: bool) -> None:
        self.as_dict = as_dict

    def predict(self, data: Parcel) -> Any:
        self.seen = data
        return data.model_dump(by_alias=True) if self.as_dict else data


@pytest.mark.parametrize("as_dict", [True, False])
def test_the_wrapped_model_gets_its_own_schema_without_the_id(as_dict: bool) -> None:
    echo = Echo(as_dict=as_dict)
    decorated = PredictionIDDecorator(echo)
    body = {"parcelWeight": 2.5, "note": "up", "prediction_id": SENT_ID}
    output = decorated.predict(decorated.input_schema.model_validate(body))
    assert type(echo.seen) is Parcel
    assert echo.seen == Parcel.model_validate({"parcelWeight": 2.5, "note": "up"})
    assert echo.seen.model_fields_set == {"weight", "note"}
    assert output.model_dump(mode="json", by_alias=True) == {**body, "fragile": False}


def test_schemas_extended_for_input_and_for_output_have_distinct_names() -> None:
    stack = uninitialised(Echo, PredictionIDDecorator)
    assert stack.input_schema.__name__ != stack.output_schema.__name__


@pytest.mark.parametrize("level", ["DEBUG", "WARNING"])
def test_a_prediction_is_logged_at_the_level_configured_and_without_data(
    level: str, instances: dict[Any, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    decorated = LoggingDecorator(level=level).set_model(instances[IrisModel])
    flower = IrisModelInput(**example(IrisModelInput))
    assert decorated.predict(flower) == instances[IrisModel].predict(flower)
    [record] = caplog.records
    assert record.levelname == level
    assert re.fullmatch(r"iris: predicted in \d+\.\d\d ms", record.getMessage())


def test_a_level_that_does_not_exist_is_named_when_the_decorator_is_made() -> None:
    with pytest.raises(ValueError, match=r"level: 'LOUD' is none of .*DEBUG"):
        LoggingDecorator(level="LOUD")


# The configuration files


def load(path: Path) -> dict[str, Any]:
    """The file's contents, as if no environment variable were set."""
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", path.read_text())
    configuration: dict[str, Any] = yaml.safe_load(text)
    return configuration


def named(class_path: str) -> Any:
    module, _, name = class_path.rpartition(".")
    return getattr(import_module(module), name)


def entries(configuration: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every model and decorator that the file names."""
    for model in configuration["models"]:
        yield model
        yield from model.get("decorators", [])


def test_there_is_a_file_for_each_capability() -> None:
    assert {path.stem for path in YAML_FILES} == {
        "ray",
        "rest_config",
        "decorators",
        "environment",
        "logging",
        "metrics",
        "model_configuration",
        "no_endpoint",
        "open_inference",
        "torch_digits",
        "crashing",
    }


def test_the_file_of_a_fresh_clone_serves_every_model() -> None:
    assert [named(entry["class_path"]) for entry in load(YAML_FILES[0])["models"]] == MODELS


@pytest.mark.parametrize("path", YAML_FILES, ids=lambda path: path.name)
def test_a_file_begins_by_saying_how_to_run_it(path: Path) -> None:
    comment = path.read_text().partition("service_title")[0]
    assert all(line.startswith("#") for line in comment.splitlines())
    assert "python manage.py runserver" in comment
    if path.parent.name == "examples":
        assert f"REST_CONFIG=examples/{path.name} python manage.py runserver" in comment


@pytest.mark.parametrize("path", YAML_FILES, ids=lambda path: path.name)
def test_a_file_names_classes_that_take_its_configuration(path: Path) -> None:
    for entry in entries(load(path)):
        made = named(entry["class_path"])
        assert issubclass(made, MLModel)
        signature(made).bind(**entry.get("configuration", {}))


@pytest.mark.parametrize(
    "path",
    [
        # PyTorch takes seconds to import.
        pytest.param(path, marks=[pytest.mark.long] * ("torch" in path.stem), id=path.name)
        for path in YAML_FILES
    ],
)
def test_every_model_of_a_file_predicts_its_documented_example(path: Path) -> None:
    if "torch" in path.stem and not is_torch_wanted():
        pytest.skip("there is no PyTorch; requirements/cookbook.txt has it")
    for entry in load(path)["models"]:
        model_class = named(entry["class_path"])
        stack = model_class(**entry.get("configuration", {}))
        for decorator in entry.get("decorators", []):
            made = named(decorator["class_path"])(**decorator.get("configuration", {}))
            stack = made.set_model(stack)
        body = example(model_class.input_schema)
        output = stack.predict(stack.input_schema.model_validate(body))
        assert type(output) is stack.output_schema


def test_the_logging_example_is_a_configuration_that_python_takes() -> None:
    configuration = load(ROOT / "examples" / "logging.yaml")["logging"]
    configurator = logging.config.DictConfigurator(configuration)
    assert configuration["version"] == 1
    for formatter in configuration["formatters"].values():
        configurator.configure_formatter(formatter)
    for handler in configuration["handlers"].values():
        assert issubclass(configurator.resolve(handler["class"]), logging.Handler)
        assert handler["formatter"] in configuration["formatters"]
