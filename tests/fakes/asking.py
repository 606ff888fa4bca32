"""Models and decorators that ask for what is known of their request."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextvars import copy_context
from threading import Thread
from typing import Any

from ml_base import MLModel, MLModelDecorator
from pydantic import BaseModel

from models_api.for_models import CurrentRequest, current_request, current_requests


class Question(BaseModel):
    value: int = 0


class Answer(BaseModel):
    value: int
    id: str
    tenant: str
    names: str
    principal: str
    deadline: bool
    rows: int
    decorated: str = ""


def answer(value: int, request: CurrentRequest, rows: int = 1) -> Answer:
    left = request.seconds_left
    assert (left is None) == (request.deadline is None)
    return Answer(
        value=value,
        id=request.id,
        tenant=request.headers.get("X-TENANT", "-"),
        names=",".join(sorted(request.headers)),
        principal=repr(request.principal),
        deadline=left is not None and 0 < left <= 20,
        rows=rows,
    )


class AskingModel(MLModel):
    """Says whom it works for."""

    display_name = "Asking"
    qualified_name = "asking"
    description = "Says whom it works for."
    version = "1.0.0"
    input_schema: Any = Question
    output_schema: Any = Answer

    def __init__(self) -> None:
        # Nobody asks yet.
        assert current_request() == CurrentRequest()
        assert list(current_requests(2)) == [CurrentRequest()] * 2

    def predict(self, data: Question) -> Answer:
        return answer(data.value, current_request())


class Headers(BaseModel):
    headers: dict[str, str]


class HeadersModel(AskingModel):
    """Says which of the headers that are listed its request has."""

    qualified_name = "headers"
    output_schema: Any = Headers

    def predict(self, data: Question) -> Any:
        return Headers(headers=dict(current_request().headers))


class AskingBatchModel(AskingModel):
    """Takes a moment for each call, so that the next one grows; -1 has the call fail."""

    qualified_name = "asking_batch"

    def predict_batch(self, data: list[Question]) -> list[Answer]:
        time.sleep(0.02)
        if any(row.value == -1 for row in data):
            raise RuntimeError("this row is never predicted with others")
        requests = current_requests(len(data))
        return [
            answer(row.value, request, len(data))
            for row, request in zip(data, requests, strict=True)
        ]


class CarelessBatchModel(AskingBatchModel):
    """Asks for one request, however many there are."""

    qualified_name = "careless"

    def predict_batch(self, data: list[Question]) -> list[Answer]:
        time.sleep(0.02)
        request = current_request()
        return [answer(row.value, request, len(data)) for row in data]


class ColumnsModel(AskingModel):
    """Takes columns."""

    qualified_name = "asking_columns"
    input_schema: Any = type("Row", (BaseModel,), {"__annotations__": {"value": int}})

    def predict_columns(self, columns: Mapping[str, Any]) -> Mapping[str, Any]:
        values = [int(value) for value in columns["value"]]
        requests = current_requests(len(values))
        answers = [
            answer(value, request, len(values))
            for value, request in zip(values, requests, strict=True)
        ]
        return {name: [getattr(each, name) for each in answers] for name in Answer.model_fields}


class ThreadingModel(AskingModel):
    """Asks in a thread of its own, with the context and without."""

    qualified_name = "threading"

    def predict(self, data: Question) -> Answer:
        found: list[CurrentRequest] = []
        context = copy_context()
        for ask in (lambda: context.run(current_request), current_request):
            thread = Thread(target=lambda ask=ask: found.append(ask()))
            thread.start()
            thread.join()
        assert found[1] == CurrentRequest()
        return answer(data.value, found[0])


class TenantDecorator(MLModelDecorator):
    """Asks, too."""

    def predict(self, data: Question) -> Any:
        prediction = self._model.predict(data)
        return prediction.model_copy(update={"decorated": current_request().headers["x-tenant"]})
