"""Predicting."""

import json
from typing import Any

import pytest
from ml_base import MLModel
from ml_base.ml_model import MLModelSchemaValidationException
from models_api.hosting.loading import ModelStack
from pydantic import BaseModel, ValidationError

from models_api.configuration.sections import ModelConfiguration
from models_api.exceptions import (
    InvalidInput,
    ModelNotReady,
    PredictionFailed,
    SchemaRejected,
)
from models_api.hosting.hosted_model import HostedModel
from models_api.prediction.predictor import Predictor


class Everything(BaseModel):
    text: str
    x: float = 0.0


class Out(BaseModel):
    x: float
    label: str
    anything: Any = None


class EchoModel(MLModel):
    """Does what its input says."""

    display_name = "Echo"
    qualified_name = "echo"
    description = "Does what its input says."
    version = "1.0.0"
    input_schema = Everything
    output_schema = Out

    def __init__(self) -> None:
        pass

    def predict(self, data: Everything) -> Any:
        if data.text == "reject":
            raise MLModelSchemaValidationException("Out of season.")
        if data.text == "fail":
            raise ZeroDivisionError("division by zero in the model")
        if data.text == "nonsense":
            return "nonsense"
        if data.text == "validation":
            raise InvalidInput([])
        return {"x": data.x, "label": data.text}


@pytest.fixture
def hosted_model() -> HostedModel:
    configuration = ModelConfiguration(class_path=f"{__name__}.EchoModel")
    return HostedModel(configuration, ModelStack.from_configuration(configuration))


@pytest.fixture
def predictor(hosted_model: HostedModel) -> Predictor:
    hosted_model.load()
    return Predictor(hosted_model)


def test_a_prediction_is_json_in_and_json_out(predictor: Predictor) -> None:
    assert predictor(b'{"x": 2, "text": "a"}') == b'{"x":2.0,"label":"a","anything":null}'


def test_a_model_that_is_not_loaded_takes_no_predictions(hosted_model: HostedModel) -> None:
    with pytest.raises(ModelNotReady, match=r"^The model echo is not loaded yet\.$"):
        Predictor(hosted_model)(b"no JSON either")


def test_input_that_does_not_fit_never_reaches_the_model(predictor: Predictor) -> None:
    with pytest.raises(InvalidInput):
        predictor(b'{"x": "a", "text": "fail"}')


def test_a_model_that_refuses_the_data_says_why(predictor: Predictor) -> None:
    with pytest.raises(SchemaRejected, match=r"^Out of season\.$") as caught:
        predictor(b'{"text": "reject"}')
    assert caught.value.qualified_name == "echo"


@pytest.mark.parametrize(
    ("text", "cause"),
    [("fail", ZeroDivisionError), ("nonsense", ValidationError), ("validation", InvalidInput)],
)
def test_whatever_goes_wrong_in_a_model_is_its_own_failure(
    predictor: Predictor, text: str, cause: type[Exception]
) -> None:
    with pytest.raises(
        PredictionFailed, match=r"^The model echo failed to make a prediction\.$"
    ) as caught:
        predictor(json.dumps({"text": text}).encode())
    assert isinstance(caught.value.__cause__, cause)
