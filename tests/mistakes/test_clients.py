"""What a client may do wrong, and the sentence for it: what, where, how to mend it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from django.test import Client, override_settings
from ml_base import MLModel
from pydantic import BaseModel, ConfigDict, Field, create_model

from models_api.configuration.sections import ServiceConfiguration
from models_api.exceptions import InvalidInput
from models_api.hosting.hosted_model import Resources
from models_api.prediction.codec import parse
from models_api.urls import api_patterns, open_inference_patterns
from tests.in_process import InProcessService


class Place(BaseModel):
    """A part of what a client sends."""

    city: str


class Flat(BaseModel):
    """What a client sends."""

    square_metres: float = Field(gt=0, le=1000)
    rooms: int = Field(ge=1)
    place: Place | None = None


class StrictFlat(Flat):
    """The same, without further keys."""

    model_config = ConfigDict(extra="forbid")


class Rent(BaseModel):
    """What it gets."""

    euros: float


class RentModel(MLModel):
    """Has no `__init__`."""

    display_name, qualified_name, version, description = "Rent", "rent", "1.0.0", ""
    input_schema, output_schema = Flat, Rent

    def predict(self, data: Any) -> Rent:
        """Tell the rent."""
        return Rent(euros=data.square_metres * data.rooms)


class StrictModel(RentModel):
    """Takes no further keys."""

    qualified_name = "strict_rent"
    input_schema = StrictFlat


class Matrix(BaseModel):
    """What the protocol has as a tensor of a row."""

    values: list[float] = Field(min_length=2, max_length=2)


class MatrixModel(RentModel):
    """Takes vectors."""

    qualified_name = "matrix"
    input_schema: Any = Matrix


class Mistake(NamedTuple):
    """One mistake, and what the answer says."""

    body: bytes
    status: int
    parts: tuple[str, ...]
    """What is wrong, where, and how to mend it."""
    path: str = "/api/models/rent/prediction"
    method: str = "POST"
    headers: dict[str, str] = {}  # noqa: RUF012


def wrong(body: bytes | object, *parts: str, status: int = 400, **more: Any) -> Mistake:
    """A mistake in the body of a prediction's request."""
    written = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Mistake(written, status, parts, **more)


def tensors(*parts: str, outputs: Any = None, **changed: Any) -> Mistake:
    """A mistake in a request of the Open Inference Protocol."""
    given = [
        {"name": "square_metres", "shape": [1], "datatype": "FP64", "data": [60.0]},
        {"name": "rooms", "shape": [1], "datatype": "INT64", "data": [2]},
    ]
    request: dict[str, Any] = {"inputs": [{**given[0], **changed}, given[1]]}
    if outputs is not None:
        request["outputs"] = outputs
    return wrong(request, *parts, path="/v2/models/rent/infer")


GOOD = {"square_metres": 60, "rooms": 2}
FIELDS = "send an object with the fields square_metres, rooms, place"
STRICT = "/api/models/strict_rent/prediction"
BATCH = "/api/models/rent/prediction/batch"

MISTAKES = {
    # No JSON.
    "an empty body": wrong(b"", "Invalid JSON", "the body is empty", FIELDS),
    "a form": wrong(b"square_metres=60&rooms=2", "Invalid JSON", "looks like a form", FIELDS),
    "single quotes": wrong(b"{'rooms': 2}", "at line 1 column 2", "in double quotes"),
    "a trailing comma": wrong(b'{"rooms": 2,}', "at line 1 column", "remove that comma"),
    "a body that breaks off": wrong(b'{"rooms": 2', "at line 1 column", "close what is open"),
    "two objects": wrong(b"{}{}", "trailing characters at line 1", "send one JSON value"),
    "NaN": wrong(b'{"square_metres": NaN}', "Invalid JSON", "line 1 column", "send null, or leave"),
    "True as Python has it": wrong(b'{"rooms": True}', "line 1 column", "write true for True"),
    "None as Python has it": wrong(b'{"rooms": None}', "line 1 column", "write null for None"),
    "a number with a zero before it": wrong(b'{"rooms": 02}', "line 1 column", "such as 0.5, 12"),
    "another encoding": wrong(b'{"place": "K\xf6ln"}', "line 1 column", "encode the body in UTF-8"),
    "a byte order mark": wrong(b"\xef\xbb\xbf{}", "line 1 column 1", "remove the byte order mark"),
    "gzip without saying so": wrong(gzip.compress(b"{}"), "Content-Encoding: gzip"),
    "a line break in a string": wrong(b'{"place": "a\nb"}', "line 2 column 0", "as \\n and \\t"),
    # JSON that does not fit.
    "an array": wrong([GOOD], "Input should be an object", FIELDS),
    "a string": wrong('"60"', "Input should be an object", FIELDS),
    "an object in quotes": wrong(json.dumps(GOOD), "Input should be an object", FIELDS),
    "null": wrong(b"null", "Input should be an object", FIELDS),
    "a missing field": wrong({"rooms": 2}, "square_metres: Field required"),
    "a misspelt field": wrong(
        {"square_meters": 60, "rooms": 2},
        "square_metres: Field required", 'did you mean it by "square_meters"?',
    ),
    "a field in capitals": wrong(
        {"square_metres": 60, "Rooms": 2}, "rooms: Field required", 'did you mean it by "Rooms"?'
    ),
    "a key that there is not": wrong(
        {**GOOD, "plce": {}}, "plce: Extra inputs", 'did you mean "place"?', path=STRICT
    ),
    "a key like no other": wrong(
        {**GOOD, "zip": 1}, "zip: Extra inputs", "there are the fields square_metres, rooms, place",
        path=STRICT,
    ),
    "a word for a number": wrong(
        {**GOOD, "rooms": "two"}, "rooms: Input should be a valid integer"
    ),
    "a fraction for a whole number": wrong(
        {**GOOD, "rooms": 1.5}, "rooms: Input should be a valid integer"
    ),
    "null for a number": wrong({**GOOD, "rooms": None}, "rooms: Input should be a valid integer"),
    "a number beyond its bound": wrong({**GOOD, "rooms": 0}, "rooms: Input should be greater than"),
    "a number that is too large": wrong(
        b'{"rooms": 2, "square_metres": 1e999}', "Input should be a finite number"
    ),
    "a string for an object": wrong(
        {**GOOD, "place": "Köln"}, "place: Input should be an object",
        "send an object with the field city",
    ),
    "a misspelt field within": wrong(
        {**GOOD, "place": {"citty": "Köln"}}, "place.city: Field required",
        'did you mean it by "citty"?',
    ),
    # Many rows.
    "a batch that is an array": wrong(
        [GOOD], "Input should be an object", "send an object with the field inputs", path=BATCH
    ),
    "a batch without inputs": wrong(
        {"input": [GOOD]}, "inputs: Field required", 'did you mean it by "input"?', path=BATCH
    ),
    "a batch of one row that is none": wrong(
        {"inputs": GOOD}, "inputs: Input should be a valid array", path=BATCH
    ),
    "a bad row": wrong(
        {"inputs": [GOOD, {"square_meters": 1, "rooms": 1}]}, "inputs[1].square_metres: Field",
        'did you mean it by "square_meters"?', path=BATCH,
    ),
    "too many rows": wrong({"inputs": [GOOD] * 4}, "inputs: ", "at most 3 items", path=BATCH),
    "too large a body": wrong(
        b" " * 70_000, "larger than the limit of 65536 bytes", "Send less at a time", status=413
    ),
    # Around the body.
    "another media type": wrong(
        b"a,b", 'Unsupported media type "text/csv"', "send application/json", status=415,
        headers={"CONTENT_TYPE": "text/csv"},
    ),
    "a form by its media type": wrong(
        b"rooms=2", "application/x-www-form-urlencoded", "send application/json", status=415,
        headers={"CONTENT_TYPE": "application/x-www-form-urlencoded"},
    ),
    "another compression": wrong(
        b"{}", 'Unsupported content encoding "br"', "send the body uncompressed", status=415,
        headers={"HTTP_CONTENT_ENCODING": "br"},
    ),
    "no gzip where it says so": wrong(
        b"{}", "no well-formed gzip", "Content-Encoding", headers={"HTTP_CONTENT_ENCODING": "gzip"}
    ),
    "GET": Mistake(b"", 405, ('Method "GET" not allowed', "use POST"), method="GET"),
    "POST of a list": Mistake(b"{}", 405, ('Method "POST" not allowed', "use GET"), "/api/models"),
    "a slash at the end": wrong(
        GOOD, "There is nothing at /api/models/rent/prediction/.", "Leave out the slash at its end",
        status=404, path="/api/models/rent/prediction/",
    ),
    "a path that there is not": Mistake(
        b"", 404, ("There is nothing at /models.", "openapi.json says"), "/models", "GET"
    ),
    "predict for prediction": wrong(
        GOOD, "There is nothing at /api/models/rent/predict.", "openapi.json", status=404,
        path="/api/models/rent/predict",
    ),
    "a model that there is not": wrong(
        GOOD, 'There is no model "flat"', "GET api/models lists them", status=404,
        path="/api/models/flat/prediction",
    ),
    "a model that is misspelt": wrong(
        GOOD, 'There is no model "rnt"', 'Did you mean "rent"?', status=404,
        path="/api/models/rnt/prediction",
    ),
    "a model in capitals, in a batch": wrong(
        {"inputs": []}, 'There is no model "Rent"', 'Did you mean "rent"?', status=404,
        path="/api/models/Rent/prediction/batch",
    ),
    "the metadata of a misspelt model": Mistake(
        b"", 404, ('There is no model "stric_rent"', 'Did you mean "strict_rent"?'),
        "/api/models/stric_rent/metadata", "GET",
    ),
    # The Open Inference Protocol.
    "tensors for a misspelt model": wrong(
        {}, 'There is no model "rents"', 'Did you mean "rent"?', status=404,
        path="/v2/models/rents/infer",
    ),
    "a version that there is not": wrong(
        {}, 'has no version "2"', 'but "1.0.0"', status=404, path="/v2/models/rent/versions/2/infer"
    ),
    "no inputs": wrong({}, "inputs should be an array of at least", path="/v2/models/rent/infer"),
    "a tensor with another name": tensors('Input "square_metres" is missing', name="square_meters"),
    "a tensor without data": tensors('Input "square_metres"', "either data", data=None),
    "another datatype": tensors('Input "square_metres"', "datatype", "FP64", datatype="FLOAT"),
    "strings for numbers": tensors('Input "square_metres"', "data[0]", "FP64 takes", data=["60"]),
    "a length that is not the shape's": tensors(
        'Input "square_metres"', "the shape has 1 elements, but data has 2", data=[60.0, 61.0]
    ),
    "a shape that is none": tensors(
        'Input "square_metres"', "shape should be an array of whole numbers", shape=1
    ),
    "a negative dimension": tensors('Input "square_metres"', "shape[0] should be", shape=[-1]),
    "rows of different number": tensors(
        "rows", "square_metres", shape=[2], data=[60.0, 61.0]
    ),
    "a dimension too many": tensors("square_metres", "shape", shape=[1, 2], data=[60.0, 61.0]),
    "a row that is out of bounds": tensors(
        'Input "square_metres", row 0', "greater than 0", data=[-1.0]
    ),
    "another output": tensors('"rent"', "euros", outputs=[{"name": "rent"}]),
    "a vector of another length": wrong(
        {"inputs": [{"name": "values", "shape": [1, 3], "datatype": "FP64", "data": [1.0, 2, 3]}]},
        'Input "values"', "2", path="/v2/models/matrix/infer",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def urls() -> tuple[Any, ...]:
    here = __name__
    names = ("RentModel", "StrictModel", "MatrixModel")
    configuration = {"models": [{"class_path": f"{here}.{name}"} for name in names]}
    registry = InProcessService(configuration, Resources(maximum_rows=3)).registry
    wanted = ServiceConfiguration.model_validate({"open_inference": {"enabled": True}})
    return (*api_patterns(registry), *open_inference_patterns(registry, wanted))


@pytest.fixture
def client(urls: tuple[Any, ...]) -> Iterator[Client]:
    with override_settings(ROOT_URLCONF=urls, DATA_UPLOAD_MAX_MEMORY_SIZE=65536):
        yield Client(raise_request_exception=False)


def ask(client: Client, mistake: Mistake) -> Any:
    headers = {"CONTENT_TYPE": "application/json", **mistake.headers}
    return client.generic(
        mistake.method,
        mistake.path,
        mistake.body,
        content_type=headers.pop("CONTENT_TYPE"),
        **headers,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("name", MISTAKES)
def test_each_mistake_of_a_client_gets_its_sentence(name: str, client: Client) -> None:
    mistake = MISTAKES[name]
    response = ask(client, mistake)
    body = response.json()
    assert response.status_code == mistake.status, body
    sentence = " ".join(body["messages"]) if "messages" in body else body["error"]
    assert [part for part in mistake.parts if part not in sentence] == [], sentence


def test_what_programs_read_has_no_hints(client: Client) -> None:
    body = ask(client, MISTAKES["a misspelt field"]).json()
    assert body["details"] == [
        {"location": ["square_metres"], "type": "missing", "message": "Field required"}
    ]


def test_a_prediction_without_a_mistake_has_its_answer(client: Client) -> None:
    assert ask(client, wrong(GOOD)).json() == {"euros": 120.0}


def test_there_are_plenty_of_them() -> None:
    assert len(MISTAKES) >= 50


def test_where_much_is_wrong_nothing_is_guessed() -> None:
    fields: dict[str, Any] = {f"field_{index}": (int, ...) for index in range(50)}
    wide = create_model("Wide", **fields)
    body = json.dumps({f"feild_{index}": 1 for index in range(50)}).encode()
    with pytest.raises(InvalidInput) as caught:
        parse(body, wide)
    assert {problem.text.partition(": ")[2] for problem in caught.value.problems} == {
        "Field required"
    }
