"""A class without `__init__` is served as any other, and stays what it is."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest
from ml_base import MLModel

from tests.fakes import beginners
from tests.in_process import InProcessService

BEGINNERS = "tests.fakes.beginners"


def load(name: str, **entry: Any) -> InProcessService:
    return InProcessService({"models": [{"class_path": f"{BEGINNERS}.{name}", **entry}]})


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"decorators": [{"class_path": "ml_base.MLModelDecorator"}]},
        {"timeout_seconds": 5},
    ],
)
def test_it_predicts(entry: dict[str, Any]) -> None:
    service = load("DoublingModel", **entry)
    response = service.predict("doubling", b'{"square_metres": 2}')
    assert json.loads(response.content) == {"value": 4.0}


def test_it_is_an_instance_of_the_very_class_and_can_be_copied_and_pickled() -> None:
    (hosted,) = load("DoublingModel").registry
    model = hosted.ready_model()
    assert type(model) is beginners.DoublingModel
    assert isinstance(model, MLModel)
    unpickled = pickle.loads(pickle.dumps(model))  # noqa: S301
    for other in (copy.copy(model), copy.deepcopy(model), unpickled):
        assert type(other) is beginners.DoublingModel
        assert other.predict(beginners.Flat(square_metres=2)) == beginners.Rent(value=4)


def test_what_stands_behind_mlmodel_in_its_bases_is_initialised() -> None:
    (hosted,) = load("PreparedModel").registry
    assert hosted.ready_model().is_prepared is True


def test_mlmodel_itself_is_left_as_it_is() -> None:
    load("DoublingModel")
    assert "__init__" in MLModel.__abstractmethods__
    with pytest.raises(TypeError, match="abstract"):
        MLModel()
