"""The throttle by model, which counts rows."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client, override_settings

from models_api.api.views import ModelsAPIView, PredictionView
from models_api.open_inference.views import InferView
from models_api.throttling import ModelRateThrottle
from tests.in_process import InProcessService
from tests.test_permissions import CONFIGURATION, client_of

RATES = {"doubling": "5/hour", "obedient": None, "*": "1/hour"}
BATCH, SINGLE = "/api/models/doubling/prediction/batch", "/api/models/doubling/prediction"
INFER = "/v2/models/doubling/infer"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def service() -> InProcessService:
    return InProcessService(CONFIGURATION)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(ModelRateThrottle, "timer", clock)
    return clock


@pytest.fixture
def client(
    service: InProcessService, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Client]:
    cache.clear()
    monkeypatch.setattr(ModelsAPIView, "throttle_classes", [ModelRateThrottle])
    with (
        override_settings(MODELS_API_THROTTLE_RATES=RATES),
        client_of(service, monkeypatch, []) as client,
    ):
        yield client


def batch(rows: int) -> bytes:
    return json.dumps({"inputs": [{"value": 1}] * rows}).encode()


def tensors(rows: int) -> bytes:
    tensor = {"name": "value", "datatype": "FP64", "shape": [rows], "data": [1] * rows}
    return json.dumps({"inputs": [tensor]}).encode()


def post(client: Client, path: str, body: bytes, who: str = "ada", **headers: str) -> Any:
    headers = {"x-user": who, **headers}
    return client.generic("POST", path, body, "application/json", headers=headers)


def statuses(client: Client, *requests: tuple[str, bytes]) -> list[int]:
    return [post(client, *each).status_code for each in requests]


def test_each_row_counts_and_what_is_refused_counts_for_nothing(client: Client) -> None:
    found = statuses(client, (BATCH, batch(3)), (BATCH, batch(3)), (BATCH, batch(2)))
    assert found == [200, 429, 200]
    assert post(client, SINGLE, b'{"value": 1}').status_code == 429


def test_rows_of_tensors_count(client: Client) -> None:
    found = statuses(client, (INFER, tensors(4)), (INFER, tensors(2)), (INFER, tensors(1)))
    assert found == [200, 429, 200]


def test_a_refusal_says_when_so_many_rows_are_free_again(client: Client, clock: Clock) -> None:
    post(client, BATCH, batch(2))
    clock.now += 600
    post(client, BATCH, batch(3))
    refused = post(client, BATCH, batch(2))
    assert (refused.status_code, refused["Retry-After"]) == (429, "3000")
    assert post(client, BATCH, batch(4))["Retry-After"] == "3600"
    clock.now += 3000.5
    assert statuses(client, (BATCH, batch(3)), (BATCH, batch(2))) == [429, 200]


def test_more_rows_than_the_rate_allows_are_told_without_a_time_to_wait(client: Client) -> None:
    response = post(client, BATCH, batch(6))
    assert response.status_code == 429
    assert "Retry-After" not in response
    assert json.loads(response.content) == {
        "type": "Throttled",
        "messages": ["6 rows are more than 5/hour, which you may have."],
    }


def test_users_and_models_have_counts_of_their_own(client: Client) -> None:
    assert statuses(client, (BATCH, batch(5)), (SINGLE, b'{"value": 1}')) == [200, 429]
    assert post(client, BATCH, batch(5), "").status_code == 200
    assert post(client, BATCH, batch(1), "").status_code == 429
    for _ in range(7):
        response = post(client, "/api/models/obedient/prediction", b'{"x": 1}')
        assert response.status_code == 200


def test_only_predictions_count(client: Client) -> None:
    for _ in range(7):
        for path in ("/api/models", "/api/models/doubling/metadata", SINGLE, INFER):
            client.get(path)
            client.options(path)
        post(client, "/api/models/nobody/prediction", b"{}")
    assert post(client, BATCH, batch(5)).status_code == 200


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"inputs": 3}', b'{"inputs": []}'])
def test_a_body_without_rows_counts_as_one_and_is_answered_as_ever(
    client: Client, body: bytes
) -> None:
    for path in (BATCH, INFER):
        assert post(client, path, body).status_code in (200, 400)
    assert post(client, BATCH, batch(4)).status_code == 429
    assert post(client, BATCH, batch(3)).status_code == 200


def test_a_packed_body_is_counted_and_read(client: Client) -> None:
    packed = gzip.compress(batch(4))
    answer = post(client, BATCH, packed, **{"content-encoding": "gzip"})
    assert json.loads(answer.content)["predictions"] == [{"value": 2.0}] * 4
    assert post(client, BATCH, packed, **{"content-encoding": "gzip"}).status_code == 429


def test_too_large_a_body_is_told_of_before_it_is_counted(client: Client) -> None:
    with override_settings(DATA_UPLOAD_MAX_MEMORY_SIZE=20):
        assert post(client, BATCH, batch(3)).status_code == 413
    assert post(client, BATCH, batch(5)).status_code == 200


@pytest.mark.parametrize("view", [PredictionView, InferView])
def test_nobody_reads_the_body_for_a_throttle_that_does_not_ask(view: Any) -> None:
    assert view(registry=None).hosted_model is None
    assert "number_of_rows" not in vars(view(registry=None))
