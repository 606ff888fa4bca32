"""The requests that both services get, by the configuration file that the services run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

JSON = "application/json"


@dataclass(frozen=True)
class Request:
    """One request; a body goes out as it is."""

    method: str
    path: str
    body: bytes | None = None
    content_type: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    chunked: bool = False


def get(path: str, **headers: str) -> Request:
    return Request("GET", path, headers=headers)


def post(model: str, body: Any, content_type: str | None = JSON, **options: Any) -> Request:
    """Ask a model for a prediction; a body that is not bytes goes out as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    path = f"/api/models/{model}/prediction"
    return Request("POST", path, content, content_type, **options)


def echo(**fields: Any) -> Request:
    return post("echo", {"count": 1, **fields})


def outcome(name: str) -> Request:
    return post("outcomes", {"outcome": name})


PREDICTION = "/api/models/echo/prediction"
IRIS = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}
DIABETES = {
    "age": 59,
    "sex": 2,
    "body_mass_index": 32.1,
    "blood_pressure": 101,
    "total_cholesterol": 157,
    "ldl": 93.2,
    "hdl": 38,
    "cholesterol_ratio": 4,
    "log_triglycerides": 4.8598,
    "glucose": 87,
}
IMAGE = [[(7 * row + column) % 17 for column in range(8)] for row in range(8)]
UUID = "8a3f0c3e-6f1b-4a57-9d0e-0b1f6f0a7c11"

PLAIN: Mapping[str, Request] = {
    # routes
    "root": get("/"),
    "docs": get("/docs"),
    "redoc": get("/redoc"),
    "health": get("/api/health"),
    "ready": get("/api/health/ready"),
    "startup": get("/api/health/startup"),
    "models": get("/api/models"),
    "models with a query": get("/api/models?page=2"),
    "metadata of echo": get("/api/models/echo/metadata"),
    "metadata of strict": get("/api/models/strict-model.v2/metadata"),
    "metadata of aliased": get("/api/models/aliased/metadata"),
    "metadata of rooted": get("/api/models/rooted/metadata"),
    "metadata of outcomes": get("/api/models/outcomes/metadata"),
    "metadata of payment": get("/api/models/payment/metadata"),
    "metadata of an unknown model": get("/api/models/none/metadata"),
    "prediction of an unknown model": post("none", {}),
    "prediction of a name in capitals": post("ECHO", {"count": 1}),
    "unknown path": get("/api/none"),
    "unknown file": get("/favicon.ico"),
    "api alone": get("/api"),
    "one model": get("/api/models/echo"),
    "metrics": get("/metrics"),
    "escaped path": get("/api/models/%65cho/metadata"),
    "slash in a name": get("/api/models/a%2Fb/metadata"),
    # trailing slashes
    "models with a slash": get("/api/models/"),
    "docs with a slash": get("/docs/"),
    "health with a slash": get("/api/health/"),
    "metadata with a slash and a query": get("/api/models/echo/metadata/?a=1"),
    "prediction with a slash": Request("POST", f"{PREDICTION}/", b'{"count": 1}', JSON),
    # methods
    "GET a prediction": get(PREDICTION),
    "PUT a prediction": Request("PUT", PREDICTION, b'{"count": 1}', JSON),
    "DELETE a prediction": Request("DELETE", PREDICTION),
    "PATCH a prediction": Request("PATCH", PREDICTION, b"{}", JSON),
    "POST models": Request("POST", "/api/models", b"{}", JSON),
    "POST health": Request("POST", "/api/health"),
    "PUT metadata": Request("PUT", "/api/models/echo/metadata", b"{}", JSON),
    "PUT root": Request("PUT", "/", b"{}", JSON),
    "POST docs": Request("POST", "/docs"),
    "DELETE document": Request("DELETE", "/openapi.json"),
    "POST ready": Request("POST", "/api/health/ready"),
    "POST to an unknown model's metadata": Request("POST", "/api/models/none/metadata"),
    "invented method": Request("PREDICT", PREDICTION, b'{"count": 1}', JSON),
    "HEAD root": Request("HEAD", "/"),
    "HEAD ready": Request("HEAD", "/api/health/ready"),
    "HEAD startup": Request("HEAD", "/api/health/startup"),
    "HEAD metadata": Request("HEAD", "/api/models/echo/metadata"),
    "HEAD metadata of an unknown model": Request("HEAD", "/api/models/none/metadata"),
    "HEAD redoc": Request("HEAD", "/redoc"),
    "HEAD unknown path": Request("HEAD", "/api/none"),
    "OPTIONS docs": Request("OPTIONS", "/docs"),
    "OPTIONS unknown path": Request("OPTIONS", "/api/none"),
    "HEAD models": Request("HEAD", "/api/models"),
    "HEAD health": Request("HEAD", "/api/health"),
    "HEAD docs": Request("HEAD", "/docs"),
    "HEAD document": Request("HEAD", "/openapi.json"),
    "HEAD a prediction": Request("HEAD", PREDICTION),
    "OPTIONS a prediction": Request("OPTIONS", PREDICTION),
    "OPTIONS models": Request("OPTIONS", "/api/models"),
    # what fits
    "least": echo(),
    "null for what is optional": echo(colour=None, when=None, place=None, either=None),
    "extra field": echo(unheard_of={"a": [1]}),
    "field name of an alias": echo(class_="ignored"),
    "alias": echo(**{"class": "first"}),
    "unicode": echo(text="größer 更大 𝄞 \u0000"),
    "unicode not escaped": post("echo", '{"count": 1, "text": "größer 更大 𝄞"}'.encode()),
    "everything": echo(
        ratio=0.5,
        flag=True,
        colour="green",
        level=2,
        when="2026-11-22T10:00:00+01:00",
        day="2026-11-22",
        lasting="P1DT2H",
        id=UUID,
        place={"city": "Bâle", "codes": [4000, 4001]},
        places=[{"city": "a"}, {"city": "b", "codes": []}],
        matrix=[[1, 2.5], []],
        names=["b", "a", "b"],
        pair=[1, "one"],
        scores={"a": 1, "b": 2.5},
        pet={"kind": "dog", "name": "Rex"},
        either="5",
        anything={"deep": [{"er": None}]},
    ),
    # coercions
    "number as string": echo(count="5", ratio="5.1"),
    "int for float": echo(ratio=2),
    "float for int": echo(count=3.0),
    "boolean for number": echo(count=True, ratio=False),
    "number for boolean": echo(flag=1),
    "string for boolean": echo(flag="yes"),
    "number for datetime": echo(when=1700000000),
    "datetime without zone": echo(when="2026-11-22 10:00"),
    "datetime for date": echo(day="2026-11-22T00:00:00"),
    "number for timedelta": echo(lasting=90.5),
    "string for decimal": post("payment", {"amount": "12.340", "receipt": "größer"}),
    "float for decimal": post("payment", {"amount": 0.1}),
    "large int for decimal": post("payment", {"amount": 10**30}),
    "no decimal": post("payment", {"amount": "1,5"}),
    "integer for enum": echo(level=1),
    "int in a union": echo(either=5),
    "float in a union": echo(either=5.0),
    "boolean in a union": echo(either=True),
    "large int": echo(count=2**70),
    "exponent": post("echo", b'{"count": 1e2, "ratio": 1E-7}'),
    "negative zero": echo(ratio=-0.0),
    "duplicate keys": post("echo", b'{"count": 1, "count": 2}'),
    "other JSON type": post("echo", {"count": 1}, "application/vnd.team+json"),
    "charset": post("echo", {"count": 1}, "application/json; charset=utf-8"),
    "capitals in the type": post("echo", {"count": 1}, "Application/JSON"),
    "white space around": post("echo", b' \r\n\t{"count": 1}\n'),
    # what does not fit
    "missing field": post("echo", {}),
    "wrong type": post("echo", {"count": "many"}),
    "fraction for int": echo(count=1.5),
    "null for what is not optional": echo(ratio=None),
    "two problems": post("echo", {"count": None, "flag": "perhaps"}),
    "too long": echo(text="x" * 21),
    "own validator": echo(text="LOUD"),
    "not in the enum": echo(colour="blue"),
    "not in the integer enum": echo(level=3),
    "not a date": echo(day="2026-02-30"),
    "not a uuid": echo(id="x"),
    "nested and missing": echo(place={}),
    "nested and wrong": echo(place={"city": 1}),
    "not an object where one belongs": echo(place=[]),
    "key of a mapping": echo(scores={"a": "x"}),
    "discriminator unknown": echo(pet={"kind": "fish"}),
    "discriminator missing": echo(pet={}),
    "inside the union": echo(pet={"kind": "dog"}),
    "no branch of the union": echo(either=[]),
    "inside a list": echo(places=[{"city": "a"}, {}]),
    "inside a list of lists": echo(matrix=[[1], [2, "x"]]),
    "inside a tuple": echo(pair=[1]),
    "a list": post("echo", []),
    "a string": post("echo", "text"),
    "a number": post("echo", 5),
    "null": post("echo", None),
    # what is no JSON
    "empty body": post("echo", b""),
    "no body at all": Request("POST", PREDICTION),
    "white space": post("echo", b"  "),
    "malformed": post("echo", b"{not json"),
    "truncated": post("echo", b'{"count": 1'),
    "two values": post("echo", b'{"count": 1} {"count": 2}'),
    "trailing comma": post("echo", b'{"count": 1,}'),
    "single quotes": post("echo", b"{'count': 1}"),
    "byte order mark": post("echo", b'\xef\xbb\xbf{"count": 1}'),
    "not UTF-8": post("echo", b'{"count": 1, "text": "\xff"}'),
    "lone surrogate": post("echo", b'{"count": 1, "text": "\\ud800"}'),
    "NaN": post("echo", b'{"count": 1, "ratio": NaN}'),
    "infinity": post("echo", b'{"count": 1, "ratio": -Infinity}'),
    "larger than a float": post("echo", b'{"count": 1, "ratio": 1e999}'),
    "digits without end": post("echo", b'{"count": 1%s}' % (5000 * b"0")),
    "nested too deep": post("echo", b'{"count": 1, "anything": %s}' % (5000 * b"[" + 5000 * b"]")),
    # content types
    "no content type": post("echo", {"count": 1}, None),
    "plain text": post("echo", {"count": 1}, "text/plain"),
    "a form": post("echo", b"count=1", "application/x-www-form-urlencoded"),
    "no content type and a problem": post("echo", {"count": "many"}, None),
    # other headers
    "answer in XML": get("/api/models", Accept="application/xml"),
    "prediction in XML": post("echo", {"count": 1}, headers={"Accept": "text/xml"}),
    "another host": get("/api/models", Host="models.example.com"),
    "status for another host": get("/api/health/ready", Host="10.1.2.3:8000"),
    "another origin": get("/api/models", Origin="https://example.com"),
    "method override": get("/api/models", **{"X-HTTP-Method-Override": "DELETE"}),
    "compressed": post("echo", b"\x1f\x8b", headers={"Content-Encoding": "gzip"}),
    "chunked": post("echo", {"count": 1}, chunked=True),
    "chunked and malformed": post("echo", b"{not json", chunked=True),
    "eleven megabytes": echo(anything="x" * 11_000_000),
    "very many values": post(
        "echo", b'{"count": 1, "unknown": [%b]}' % b",".join([b"0"] * 1_500_001)
    ),
    # strict schema
    "strict": post("strict-model.v2", {"number": 1.5}),
    "strict int for float": post("strict-model.v2", {"number": 1}),
    "strict number as string": post("strict-model.v2", {"number": "1"}),
    "strict extra field": post("strict-model.v2", {"number": 1.5, "extra": 1}),
    "strict datetime": post("strict-model.v2", {"number": 1.5, "when": "2026-11-22T10:00:00Z"}),
    "strict tuple": post("strict-model.v2", {"number": 1.5, "pair": [1, 2]}),
    # aliases and roots
    "aliased": post("aliased", {"sepalWidth": 1.5}),
    "aliased by name": post("aliased", {"width": 1.5}),
    "rooted": post("rooted", [3, 1, 2.5]),
    "rooted and empty": post("rooted", []),
    "rooted and wrong": post("rooted", {"root": [1]}),
    "rooted and wrong inside": post("rooted", [1, "x"]),
    # what the model does
    "plain outcome": outcome("plain"),
    "tiny and huge numbers": outcome("tiny_and_huge"),
    "MLModelSchemaValidationException": outcome("schema_exception"),
    "MLModelSchemaValidationException without text": outcome("schema_exception_without_text"),
    "another exception": outcome("exception"),
    "pydantic's exception": outcome("validation_error"),
    "unknown outcome": outcome("none"),
    "NaN out": outcome("not_a_number"),
    "infinity out": outcome("infinity"),
    "datetime out": outcome("date_and_time"),
    "enum out": outcome("plain_enum"),
    "numpy array out": outcome("numpy_array"),
    "numpy float out": outcome("numpy_float"),
    "dict out": outcome("mapping"),
    "None out": outcome("nothing"),
    "twin out": outcome("twin"),
    "stranger out": outcome("stranger"),
    "subclass out": outcome("subclass"),
    "unvalidated out": outcome("unvalidated"),
}

MODEL_CONFIGURATION: Mapping[str, Request] = {
    "models": get("/api/models"),
    "metadata of iris": get("/api/models/iris/metadata"),
    "metadata of diabetes": get("/api/models/diabetes/metadata"),
    "metadata of digits": get("/api/models/digits/metadata"),
    "metadata of configured": get("/api/models/configured/metadata"),
    "iris": post("iris", IRIS),
    "iris as strings": post("iris", {name: str(value) for name, value in IRIS.items()}),
    "iris out of bounds": post("iris", {**IRIS, "petal_width": 0}),
    "diabetes": post("diabetes", DIABETES),
    "diabetes without age": post("diabetes", {"sex": 1}),
    "digits": post("digits", {"image": IMAGE}),
    "digits too small": post("digits", {"image": IMAGE[:7]}),
    "digits too bright": post("digits", {"image": [[17] * 8] * 8}),
    "configured": post("configured", {"outcome": ""}),
}

DECORATORS: Mapping[str, Request] = {
    "models": get("/api/models"),
    "metadata of echo": get("/api/models/echo/metadata"),
    "metadata of strict": get("/api/models/strict-model.v2/metadata"),
    "metadata of configured": get("/api/models/configured/metadata"),
    "first call": echo(call_id="42", text="count: 1, count: 2"),
    "second call": echo(),
    "field of the decorator": echo(call_id=42),
    "no decorators": post("strict-model.v2", {"number": 0.5}),
    "refused": post("configured", {"outcome": "secret"}),
    "not refused": post("configured", {"outcome": "open"}),
    "metadata of aliased": get("/api/models/aliased/metadata"),
    "prediction id": post("aliased", {"sepalWidth": 1.5, "prediction_id": UUID}),
}

SERVICE: Mapping[str, Request] = {
    "models": get("/api/models"),
    "prediction": echo(),
    "problem": post("echo", {}),
    "docs": get("/docs"),
    "metrics": get("/metrics"),
}

NO_ENDPOINT: Mapping[str, Request] = {
    "models": get("/api/models"),
    "metadata": get("/api/models/outcomes/metadata"),
    "prediction": outcome("plain"),
    "GET its prediction": get("/api/models/outcomes/prediction"),
    "through the ModelManager": post("delegate", {"outcome": "plain"}),
}

FAILING: Mapping[str, Request] = {
    "health": get("/api/health"),
    "ready": get("/api/health/ready"),
    "startup": get("/api/health/startup"),
    "models": get("/api/models"),
    "prediction of the model before": echo(),
    "prediction of the model that fails": post("failing", {"count": 1}),
    "prediction of the model behind": outcome("plain"),
    "metadata of the model that fails": get("/api/models/failing/metadata"),
    "metadata of the model behind": get("/api/models/outcomes/metadata"),
}

RENAMING: Mapping[str, Request] = {
    "health": get("/api/health"),
    "ready": get("/api/health/ready"),
    "models": get("/api/models"),
    "prediction": post("renamed", {"count": 1}),
    "prediction by the old name": echo(),
}

REQUESTS: Mapping[str, Mapping[str, Request]] = {
    "plain": PLAIN,
    "model_configuration": MODEL_CONFIGURATION,
    "decorators": DECORATORS,
    "service": SERVICE,
    "no_endpoint": NO_ENDPOINT,
    "failing": FAILING,
    "renaming": RENAMING,
}
