"""The models as a site's own code uses them: `models_api.get_model`."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy
import pandas  # type: ignore[import-untyped]
import pytest
from ml_base.ml_model import MLModelSchemaValidationException
from pydantic import BaseModel, Field

from models_api import get_model
from models_api.apps import ModelsAPIConfig
from models_api.configuration.file import ConfigurationFile
from models_api.exceptions import (
    ConfigurationError,
    InvalidInput,
    ModelLoadFailed,
    ModelNotFound,
    ModelNotReady,
    PredictionFailed,
    SchemaRejected,
    Unprocessable,
)
from models_api.for_models import CurrentRequest, current_request
from models_api.loaded_model import LoadedModel
from models_api.prediction.request_context import RequestContext
from models_api.signals import prediction_made
from tests.end_to_end.server import REPOSITORY
from tests.fakes.models import Doubled, DoublingModel, Number

FILE = """
models:
  - class_path: tests.fakes.models.DoublingModel
  - class_path: tests.fakes.models.TreblingModel
  - class_path: tests.fakes.models.FailingModel
  - class_path: tests.fakes.models.LateModel
    configuration: {name: late}
  - class_path: tests.fakes.batching.BatchingModel
    create_endpoint: false
  - class_path: tests.test_loaded_model.HouseModel
    timeout_seconds: 30
"""


class House(BaseModel):
    area: float = Field(gt=0, alias="Area")
    rooms: int = 1
    tags: list[str] = []


class Price(BaseModel):
    euros: float = Field(serialization_alias="€")


class HouseModel(DoublingModel):
    """Does something else for houses of some numbers of rooms."""

    qualified_name, version = "house", "2.0"
    input_schema: Any = House
    output_schema: Any = Price
    made = 0
    requests: ClassVar[list[CurrentRequest]] = []

    def __init__(self) -> None:
        type(self).made += 1

    def predict(self, data: Any) -> Any:
        self.requests.append(current_request())
        data.tags.append("changed")
        match data.rooms:
            case 13:
                raise MLModelSchemaValidationException("no such house")
            case 14:
                raise Unprocessable("nothing can be said")
            case 15:
                raise ValueError("a bug")
            case 16:
                return {"euros": "much"}
            case 17:
                return {"euros": numpy.float32(0.5)}
        return Price(euros=10 * data.area)


@pytest.fixture(autouse=True)
def configure(app_config: ModelsAPIConfig, tmp_path: Path) -> Callable[[str], None]:
    def configure(text: str) -> None:
        path = tmp_path / "rest_config.yaml"
        path.write_text(text, encoding="utf-8")
        app_config.configuration_file = ConfigurationFile(path)
        vars(app_config).pop("service", None)

    configure(FILE)
    HouseModel.made = 0
    HouseModel.requests.clear()
    return configure


def states(app_config: ModelsAPIConfig) -> list[str]:
    return [model.label for model in app_config.registry if model.state.value != "not loaded"]


def test_one_model_is_loaded_and_no_other(app_config: ModelsAPIConfig) -> None:
    model = get_model("doubling")
    assert states(app_config) == ["doubling"]
    assert model.predict({"value": 2}) == Doubled(value=4)
    assert (model.input_schema, model.output_schema) == (Number, Doubled)
    assert (model.names.qualified_name, model.names.version) == ("doubling", "1.0.0")
    assert isinstance(model.instance, DoublingModel)
    assert repr(model) == "<LoadedModel doubling 1.0.0>"
    assert get_model("doubling").instance is model.instance


@pytest.mark.parametrize(
    "house",
    [
        {"Area": 2, "rooms": 1},
        {"Area": "2"},
        House(Area=2),
        '{"Area": 2}',
        b'{"Area": 2}',
        {"Area": numpy.float32(2), "rooms": numpy.int64(1)},
        pandas.DataFrame({"Area": [2.0], "rooms": [1]}).to_dict("records")[0],
    ],
)
def test_a_row_is_given_as_it_comes(house: Any) -> None:
    model = get_model("house")
    assert model.predict(house) == Price(euros=20)
    assert model.predict_batch([house, house]) == [Price(euros=20)] * 2
    assert model.predict_batch(iter([house])) == [Price(euros=20)]
    assert model.predict_batch([]) == []


def test_what_the_caller_has_given_stays_as_it_is() -> None:
    house, mapping = House(Area=2), {"Area": 2, "tags": ["a"]}
    get_model("house").predict(house)
    get_model("house").predict_batch([house, mapping])
    assert house.tags == []
    assert mapping == {"Area": 2, "tags": ["a"]}


@pytest.mark.parametrize(
    ("house", "message"),
    [
        ({}, "Area: Field required"),
        ({"Area": -1, "rooms": "x"}, "Area: Input should be greater than 0; rooms: Input should"),
        ({"Area": float("inf")}, "Area: Input should be a finite number"),
        ("{", "Invalid JSON: EOF while parsing"),
        (None, "Input should be a valid dictionary"),
        (Number(value=1), "Area: Field required"),
        ([1], "Input should be a valid dictionary"),
    ],
)
def test_data_that_does_not_fit_is_told_field_by_field(house: Any, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        get_model("house").predict(house)
    assert str(caught.value).startswith(message)
    with pytest.raises(InvalidInput) as of_many:
        get_model("house").predict_batch([{"Area": 1}, house])
    assert of_many.value.problems[0].location[:2] == ("rows", 1)
    assert HouseModel.requests == []


@pytest.mark.parametrize(
    ("rooms", "error", "message", "cause"),
    [
        (13, SchemaRejected, "no such house", MLModelSchemaValidationException),
        (14, Unprocessable, "nothing can be said", Unprocessable),
        (15, PredictionFailed, "The model house failed to make a prediction.", ValueError),
        (16, PredictionFailed, "The model house failed to make a prediction.", ValueError),
    ],
)
def test_what_the_model_raises_is_the_error_that_the_api_knows_with_its_cause(
    rooms: int, error: type[Exception], message: str, cause: type[Exception]
) -> None:
    with pytest.raises(error) as caught:
        get_model("house").predict({"Area": 1, "rooms": rooms})
    assert str(caught.value) == message
    assert isinstance(caught.value.__cause__, cause)
    with pytest.raises(error) as of_many:
        get_model("house").predict_batch([{"Area": 1}, {"Area": 1, "rooms": rooms}])
    assert str(of_many.value) == f"rows[1]: {message}"


def test_what_is_no_instance_becomes_one() -> None:
    found = get_model("house").predict({"Area": 1, "rooms": 17})
    assert found == Price(euros=0.5)
    assert type(found.euros) is float


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("doublin", 'There is no model "doublin". Did you mean "doubling"?'),
        ("Trebling", 'There is no model "Trebling". Did you mean "trebling"?'),
        ("xyz", 'There is no model "xyz". There are: batching, doubling, failing, house, late, '
         "trebling."),
    ],
)  # fmt: skip
def test_an_unknown_name_is_told_the_nearest(name: str, message: str) -> None:
    with pytest.raises(ModelNotFound) as caught:
        get_model(name)
    assert str(caught.value) == message


def test_a_model_that_tells_its_name_late_is_found() -> None:
    assert get_model("late").predict({"value": 2}).value == 4


def test_a_model_without_an_endpoint_is_for_code_alone() -> None:
    batching = get_model("batching")
    rows = batching.predict_batch([{"value": 1}, {"value": 2}])
    assert [(row.value, row.batch_size) for row in rows] == [(2, 2), (4, 2)]


def test_a_model_that_fails_to_load_says_why_each_time() -> None:
    for _ in range(2):
        with pytest.raises(ModelLoadFailed) as caught:
            get_model("failing")
        assert isinstance(caught.value, ModelNotReady)
        assert str(caught.value) == (
            "The model failing failed to load: RuntimeError: the weights are not there "
            "(tests/fakes/models.py, line 69). The log "
            "has the traceback; mend it, and start this process anew."
        )
    assert get_model("doubling").predict({"value": 1}).value == 2


def test_the_problems_of_a_broken_file_are_told(configure: Callable[[str], None]) -> None:
    configure("models: [{class_path: no.Such}]")
    with pytest.raises(ConfigurationError, match='there is no module "no"'):
        get_model("iris")


def test_a_version_has_to_be_that_of_the_model() -> None:
    assert get_model("house", version="2.0").names.version == "2.0"
    with pytest.raises(ModelNotFound, match=r'has no version "1\.0", but "2\.0"'):
        get_model("house", version="1.0")


def test_threads_that_ask_at_once_get_one_instance(app_config: ModelsAPIConfig) -> None:
    found: list[LoadedModel] = []
    barrier = threading.Barrier(8)

    def ask() -> None:
        barrier.wait()
        found.append(get_model("house"))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(each.instance) for each in found}) == 1
    assert HouseModel.made == 1
    assert states(app_config) == ["house"]


def test_a_model_that_is_being_loaded_in_the_background_is_waited_for(
    app_config: ModelsAPIConfig,
) -> None:
    app_config.registry.start_loading()
    assert get_model("house").predict({"Area": 1}).euros == 10


def test_a_prediction_has_the_request_of_the_code_that_asks_and_leaves_it_as_it_was(
    context: RequestContext,
) -> None:
    get_model("house").predict({"Area": 1}, user="ada")
    get_model("house").predict({"Area": 1})
    first, second = HouseModel.requests
    assert (first.id, first.principal, second.principal) == ("mine", "ada", None)
    assert first.deadline is not None
    assert (context.rows, context.deadline, context.model) == (None, None, None)


def test_outside_of_requests_each_prediction_has_an_id() -> None:
    for _ in range(2):
        get_model("house").predict({"Area": 1})
    assert len({each.id for each in HouseModel.requests} - {""}) == 2


def test_receivers_hear_of_it_in_the_same_form_as_of_requests() -> None:
    heard: list[dict[str, Any]] = []

    def hear(**given: Any) -> None:
        heard.append(given)

    prediction_made.connect(hear)
    try:
        model = get_model("house")
        for row in ({"Area": 1, "tags": ["a"]}, House(Area=1, tags=["a"]), '{"Area": 1}'):
            model.predict(row, user="ada")
        model.predict_batch([{"Area": numpy.int64(1)}, {"Area": 2}])
    finally:
        prediction_made.disconnect(hear)
    assert [each["input"] for each in heard] == [
        {"Area": 1, "tags": ["a"]},
        {"Area": 1.0, "rooms": 1, "tags": ["a"]},
        {"Area": 1},
        {"Area": 1},
        {"Area": 2},
    ]
    assert [each["output"] for each in heard] == [{"€": 10.0}] * 4 + [{"€": 20.0}]
    assert [each["user"] for each in heard] == ["ada"] * 3 + [None] * 2
    assert [(each["row"], each["rows"]) for each in heard[-2:]] == [(0, 2), (1, 2)]


def test_importing_the_package_needs_nothing_and_does_nothing() -> None:
    program = "import sys, models_api; print(sorted(set(sys.modules) & {'django', 'pydantic'}))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
