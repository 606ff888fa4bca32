"""How many values a request may hold: for one row and for many, by model and by service."""

from __future__ import annotations

import gzip
import json
from functools import cache
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import RequestFactory

from models_api.api.views import BatchPredictionView, PredictionView
from models_api.hosting.hosted_model import Resources
from tests.in_process import InProcessService


@cache
def service() -> InProcessService:
    models: list[dict[str, object]] = [
        {"class_path": "tests.fakes.costly.PointsModel"},
        {"class_path": "tests.fakes.costly.NumbersModel", "max_values": 100_000},
        {"class_path": "tests.fakes.costly.ShapesModel", "max_values": 150},
        {"class_path": "tests.fakes.costly.FormulaModel"},
    ]
    return InProcessService({"models": models}, Resources(maximum_values=1000))


def predict(name: str, body: Any) -> Any:
    return service().predict(name, json.dumps(body).encode())


def predict_batch(name: str, *rows: Any) -> HttpResponse:
    view = BatchPredictionView.as_view(registry=service().registry, qualified_name=name)
    content = json.dumps({"inputs": rows})
    response: HttpResponse = view(
        RequestFactory().post("/", content, content_type="application/json")
    )
    return response


def test_the_limit_of_the_service_holds_for_every_model_without_its_own() -> None:
    assert predict("points", {"points": [{}] * 100}).status_code == 200
    assert predict("points", {"points": [{}] * 300}).status_code == 413


@pytest.mark.parametrize(
    ("model", "body", "status"),
    [
        ("numbers", {"numbers": [0] * 99_000}, 200),
        ("numbers", {"numbers": [0] * 101_000}, 413),
        ("shapes", {"shapes": [{"a0": 1, "a1": 1, "a2": 1}]}, 200),
        ("shapes", {"shapes": [{"a0": 1, "a1": 1, "a2": 1}] * 5}, 413),
    ],
)
def test_a_model_may_have_a_limit_of_its_own(model: str, body: Any, status: int) -> None:
    assert predict(model, body).status_code == status


def test_all_rows_of_a_batch_count_together() -> None:
    row: dict[str, Any] = {"points": [{}] * 20}
    assert predict_batch("points", *[row] * 3).status_code == 200
    refused = predict_batch("points", *[row] * 12)
    assert refused.status_code == 413
    body = json.loads(refused.content)
    assert body["type"] == "PayloadTooLarge"
    assert body["messages"][0].startswith("The body holds 253 objects and ")


@pytest.mark.parametrize(("count", "status"), [(99_000, 200), (101_000, 413)])
def test_the_values_of_a_compressed_body_count_as_if_it_was_not(count: int, status: int) -> None:
    view = PredictionView.as_view(registry=service().registry, qualified_name="numbers")
    packed = gzip.compress(json.dumps({"numbers": [0] * count}).encode())
    headers = {"Content-Encoding": "gzip"}
    request = RequestFactory().post("/", packed, "application/json", headers=headers)
    assert view(request).status_code == status


def test_a_short_body_that_unions_would_read_over_and_over_is_refused() -> None:
    formula: dict[str, Any] = {}
    for _ in range(40):
        formula = {"terms": [formula]}
    assert predict("formula", {"formula": formula}).status_code == 413


def test_a_large_body_is_told_its_first_problem_and_that_there_may_be_more() -> None:
    large = InProcessService({"models": [{"class_path": "tests.fakes.costly.ShapesModel"}]})
    response = large.predict("shapes", json.dumps({"shapes": ["a"] * 100_000}).encode())
    assert response.status_code == 400
    details = json.loads(response.content)["details"]
    assert len(details) == 7
    assert details[0]["location"] == ["shapes", 0, "A"]
    assert details[-1] == {
        "location": [],
        "type": "perhaps_more_problems",
        "message": (
            "There may be more problems: of a list in so large a body, only the first is looked "
            "for."
        ),
    }


def test_a_small_body_is_told_all_of_its_problems() -> None:
    response = predict("points", {"points": [None] * 50})
    assert len(json.loads(response.content)["details"]) == 50
