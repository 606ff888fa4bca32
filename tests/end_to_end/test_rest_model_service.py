"""This service beside rest_model_service 0.6.0: same files, same requests, same answers.

Where the answers differ, `DIFFERENCES` says how and why. A difference that it does not name fails a
test, and so does one that it names and that is no longer there.
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.end_to_end.rest_model_service.matching import ANYTHING, Matching
from tests.end_to_end.rest_model_service.requests import REQUESTS, Request
from tests.end_to_end.rest_model_service.server import RestModelService
from tests.end_to_end.server import REPOSITORY, Server

FILES = Path(__file__).parent / "rest_model_service"


@dataclass(frozen=True)
class Answer:
    """What is compared of a response."""

    status: int
    content_type: str
    """Without parameters; empty where there is no body."""
    body: Any
    """The JSON, or the text; pages are all alike."""
    location: str
    allow: str
    """In the order of the alphabet."""


@dataclass(frozen=True)
class Exchange:
    """One request, and what the two services answered."""

    request: Request
    theirs: Answer
    ours: Answer


# One service's side: the fields of Answer that differ; functions make them from the exchange.
Side = Mapping[str, Any | Callable[[Exchange], Any]]


@dataclass(frozen=True)
class Difference:
    """Something that this service does otherwise, and means to."""

    requests: tuple[str, ...]
    """By file and name."""
    theirs: Side
    ours: Side
    why: str


def _in_their_words(exchange: Exchange) -> Any:
    messages = [
        "Field '{}' has error '{}', {}.".format(
            ", ".join(["body", *details["location"]]), details["type"], details["message"]
        )
        for details in exchange.ours.body["details"]
    ]
    return {"type": "ValidationError", "messages": messages}


def _in_our_words(exchange: Exchange) -> Any:
    """Only the form: what it says, `_in_their_words` compares."""
    details = [
        {"location": ANYTHING, "type": Matching(".+"), "message": Matching(".+")}
        for _ in exchange.theirs.body["messages"]
    ]
    messages = [Matching(".+")] * len(details)
    return {"type": "ValidationError", "messages": messages, "details": details}


def _with_states(listed: Any) -> Any:
    return {"models": [{**model, "state": "ready"} for model in listed["models"]]}


def _nothing_there(exchange: Exchange) -> Any:
    path = exchange.request.path.partition("?")[0].replace("%2F", "/")
    slash = " Leave out the slash at its end." if path.endswith("/") else ""
    message = f"There is nothing at {path}.{slash} GET openapi.json says what there is."
    return {"type": "NotFound", "messages": [message]}


def _method_not_allowed(exchange: Exchange) -> Any:
    if exchange.request.method == "HEAD":
        return ""
    message = f'Method "{exchange.request.method}" not allowed; use '
    return {"type": "MethodNotAllowed", "messages": [Matching(f"{re.escape(message)}.+")]}


def _invalid(location: list[str | int], type_: str, message: str | Matching) -> Any:
    path = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in location)
    place = f"{path.removeprefix('.')}: " if location else ""
    said = message.pattern if isinstance(message, Matching) else re.escape(message)
    text = Matching(f"{re.escape(place)}{said}(; .+)?")  # what the client may have meant
    details = [{"location": location, "type": type_, "message": message}]
    return {"type": "ValidationError", "messages": [text], "details": details}


def _problem(text: str) -> Any:
    return {"type": "ValidationError", "messages": [text]}


def _service_error(text: str) -> Any:
    return {"type": "ServiceError", "messages": [text]}


def _not_json_compliant(number: float) -> str:
    """What Python says of the number; since 3.12 it names it."""
    with pytest.raises(ValueError, match="JSON compliant") as caught:
        json.dumps(number, allow_nan=False)
    return str(caught.value)


NOT_FOUND = {"detail": "Not Found"}
INTERNAL_SERVER_ERROR: Side = {
    "status": 500,
    "content_type": "text/plain",
    "body": "Internal Server Error",
}
INVALID_JSON = _invalid([], "json_invalid", Matching("Invalid JSON: .+ at line 1 column [0-9]+"))
NO_OBJECT = "Input should be a valid dictionary or object to extract fields from."
NOT_JSON_BY_TYPE = _problem(f"Field 'body' has error 'model_attributes_type', {NO_OBJECT}")
FAILED_PREDICTION = _service_error(
    Matching(
        "The model outcomes failed to make a prediction. "
        "The log has the reason under the request id [0-9a-f]{32}."
    )  # type: ignore[arg-type]
)
ECHO = {
    "display_name": "Echo",
    "qualified_name": "echo",
    "description": "Says what it was *called* with: größer, 更大.",
    "version": "1.2.3",
}
GZIP = "The body is no well-formed gzip, as its Content-Encoding says that it is."
FAILING = {**ECHO, "qualified_name": "failing"}
FAILED = {**FAILING, "state": "failed", "reason": "RuntimeError"}
READY_ECHO = {**ECHO, "state": "ready"}
OUTCOMES = {
    "display_name": "Outcomes",
    "qualified_name": "outcomes",
    "description": "Ends in every way that a prediction can.",
    "version": "0.0.1",
}
PLAIN_OUTCOME = {"name": "plain", "number": None, "when": None, "colour": None, "anything": None}

DIFFERENCES: tuple[Difference, ...] = (
    # what the model returns
    Difference(
        ("plain: datetime out",),
        {
            "status": 500,
            "body": _service_error("Object of type datetime is not JSON serializable"),
        },
        {"status": 200, "body": {**PLAIN_OUTCOME, "when": "2026-11-22T10:00:00+01:00"}},
        "A prediction is serialised as its schema documents it, not with the json module.",
    ),
    Difference(
        ("plain: enum out",),
        {"status": 500, "body": _service_error("Object of type Colour is not JSON serializable")},
        {"status": 200, "body": {**PLAIN_OUTCOME, "colour": "green"}},
        "As with datetimes.",
    ),
    Difference(
        ("plain: numpy array out",),
        {"status": 500, "body": _service_error("Object of type ndarray is not JSON serializable")},
        {"status": 200, "body": {**PLAIN_OUTCOME, "anything": [0, 1, 2]}},
        "As with datetimes: what libraries for models return becomes JSON.",
    ),
    Difference(
        ("decorators: prediction id",),
        {"status": 500, "body": _service_error("Object of type UUID is not JSON serializable")},
        {
            "status": 200,
            "body": {
                "sepalWidth": 1.5,
                "double": 3.0,
                "prediction_id": "8a3f0c3e-6f1b-4a57-9d0e-0b1f6f0a7c11",
            },
        },
        "As with datetimes.",
    ),
    Difference(
        ("plain: NaN out",),
        {
            "status": 500,
            "body": _service_error(_not_json_compliant(math.nan)),
        },
        {"status": 200, "body": PLAIN_OUTCOME},
        "JSON has no NaN; it goes out as null, so that the rest of the prediction is not lost.",
    ),
    Difference(
        ("plain: infinity out",),
        {
            "status": 500,
            "body": _service_error(_not_json_compliant(-math.inf)),
        },
        {"status": 200, "body": {**PLAIN_OUTCOME, "anything": [None]}},
        "As with NaN.",
    ),
    Difference(
        ("plain: dict out",),
        {"status": 500, "body": _service_error("'dict' object has no attribute 'model_dump'")},
        {"status": 200, "body": {**PLAIN_OUTCOME, "name": "a dict"}},
        "What fits the output schema is a prediction, an instance of it or not.",
    ),
    Difference(
        ("plain: stranger out",),
        {"status": 200, "body": {"name": 1, "other": "does not fit"}},
        {"status": 500, "body": FAILED_PREDICTION},
        "What does not fit the output schema is no prediction: clients rely on the document.",
    ),
    Difference(
        ("plain: unvalidated out",),
        {"status": 200, "body": {**PLAIN_OUTCOME, "name": ["not", "a", "string"]}},
        {"status": 500, "body": FAILED_PREDICTION},
        "As with strangers: model_construct does not make a list a string.",
    ),
    Difference(
        ("plain: subclass out",),
        {"body": {**PLAIN_OUTCOME, "detail": "more than the schema says"}},
        {"body": PLAIN_OUTCOME},
        "Fields that the output schema does not document do not go out.",
    ),
    Difference(
        ("plain: aliased",),
        {"body": {"width": 1.5, "double": 3.0}},
        {"body": {"sepalWidth": 1.5, "double": 3.0}},
        "It documents the alias and sends the name of the Python attribute.",
    ),
    # what the model raises
    Difference(
        ("plain: another exception",),
        {"body": _service_error("password=hunter2")},
        {"body": FAILED_PREDICTION},
        "The text of an exception is for the log; it can hold what is no client's business.",
    ),
    Difference(
        ("plain: pydantic's exception",),
        {"body": _service_error(Matching("1 validation error for Outcome\n.+"))},  # type: ignore[arg-type]
        {"body": FAILED_PREDICTION},
        "As with every other exception.",
    ),
    Difference(
        ("plain: unknown outcome",),
        {"body": _service_error("'OutcomesModel' object has no attribute 'none'")},
        {"body": FAILED_PREDICTION},
        "As with every other exception.",
    ),
    Difference(
        ("plain: None out",),
        {"body": _service_error("'NoneType' object has no attribute 'model_dump'")},
        {"body": FAILED_PREDICTION},
        "As with every other exception.",
    ),
    # what does not fit the input schema
    Difference(
        (
            "plain: missing field",
            "plain: wrong type",
            "plain: fraction for int",
            "plain: null for what is not optional",
            "plain: two problems",
            "plain: too long",
            "plain: own validator",
            "plain: not in the enum",
            "plain: not in the integer enum",
            "plain: not a date",
            "plain: not a uuid",
            "plain: no decimal",
            "plain: nested and missing",
            "plain: nested and wrong",
            "plain: key of a mapping",
            "plain: discriminator unknown",
            "plain: discriminator missing",
            "plain: inside the union",
            "plain: no branch of the union",
            "plain: strict number as string",
            "plain: strict extra field",
            "plain: aliased by name",
            "model_configuration: iris out of bounds",
            "model_configuration: diabetes without age",
            "model_configuration: digits too small",
            "decorators: field of the decorator",
            "service: problem",
        ),
        {"body": _in_their_words},
        {"body": _in_our_words},
        "The same problems in the same order, in words for people and in details for programs.",
    ),
    Difference(
        ("plain: not an object where one belongs",),
        {"body": _problem(f"Field 'body, place' has error 'model_attributes_type', {NO_OBJECT}")},
        {"body": _invalid(["place"], "model_type", "Input should be an object")},
        "The words of JSON, not those of Python.",
    ),
    Difference(
        ("plain: a list", "plain: a string", "plain: a number", "plain: null"),
        {"body": NOT_JSON_BY_TYPE},
        {"body": _invalid([], "model_type", "Input should be an object")},
        "The words of JSON, not those of Python.",
    ),
    Difference(
        ("plain: rooted and wrong",),
        {"body": _problem("Field 'body' has error 'list_type', Input should be a valid list.")},
        {"body": _invalid([], "list_type", "Input should be a valid array")},
        "The words of JSON, not those of Python.",
    ),
    Difference(
        ("plain: inside a list",),
        INTERNAL_SERVER_ERROR,
        {
            "status": 400,
            "content_type": "application/json",
            "body": _invalid(["places", 1, "city"], "missing", "Field required"),
        },
        "It fails to join the problem's location, which holds a number; the client is at fault.",
    ),
    Difference(
        ("plain: inside a list of lists",),
        INTERNAL_SERVER_ERROR,
        {
            "status": 400,
            "content_type": "application/json",
            "body": _invalid(
                ["matrix", 1, 1],
                "float_parsing",
                "Input should be a valid number, unable to parse string as a number",
            ),
        },
        "As inside a list.",
    ),
    Difference(
        ("plain: inside a tuple",),
        INTERNAL_SERVER_ERROR,
        {
            "status": 400,
            "content_type": "application/json",
            "body": _invalid(["pair", 1], "missing", "Field required"),
        },
        "As inside a list.",
    ),
    Difference(
        ("plain: rooted and wrong inside",),
        INTERNAL_SERVER_ERROR,
        {
            "status": 400,
            "content_type": "application/json",
            "body": _invalid(
                [1],
                "float_parsing",
                "Input should be a valid number, unable to parse string as a number",
            ),
        },
        "As inside a list.",
    ),
    Difference(
        ("model_configuration: digits too bright",),
        INTERNAL_SERVER_ERROR,
        {"status": 400, "content_type": "application/json", "body": ANYTHING},
        "As inside a list.",
    ),
    Difference(
        ("plain: strict datetime",),
        {
            "status": 400,
            "body": _problem(
                "Field 'body, when' has error 'datetime_type', Input should be a valid datetime."
            ),
        },
        {"status": 200, "body": {"received": Matching(r".*datetime\(2026, 11, 22, 10, 0, .*")}},
        "A strict schema takes datetimes in the only way that JSON has for them.",
    ),
    Difference(
        ("plain: strict tuple",),
        {
            "status": 400,
            "body": _problem(
                "Field 'body, pair' has error 'tuple_type', Input should be a valid tuple."
            ),
        },
        {"status": 200, "body": {"received": "{'number': 1.5, 'when': None, 'pair': (1, 2)}"}},
        "As with datetimes.",
    ),
    # what is no JSON
    Difference(
        (
            "plain: white space",
            "plain: malformed",
            "plain: truncated",
            "plain: two values",
            "plain: trailing comma",
            "plain: single quotes",
            "plain: chunked and malformed",
        ),
        INTERNAL_SERVER_ERROR,
        {"status": 400, "content_type": "application/json", "body": INVALID_JSON},
        "Malformed JSON is the client's fault; the location of the problem is a number there too.",
    ),
    Difference(
        ("plain: empty body", "plain: no body at all"),
        {"body": _problem("Field 'body' has error 'missing', Field required.")},
        {"body": INVALID_JSON},
        "No body is no JSON, and is answered like every other body that is none.",
    ),
    Difference(
        ("plain: not UTF-8", "plain: digits without end", "plain: nested too deep"),
        {"body": {"detail": "There was an error parsing the body"}},
        {"body": INVALID_JSON},
        "Every error has the same form.",
    ),
    Difference(
        ("plain: lone surrogate",),
        {
            "body": _problem(
                "Field 'body, text' has error 'string_unicode', Input should be a valid string, "
                "unable to parse raw data as a unicode string."
            )
        },
        {"body": INVALID_JSON},
        "Half a surrogate pair is no text in any JSON that can be stored.",
    ),
    Difference(
        ("plain: NaN", "plain: infinity"),
        {"status": 200, "body": {"received": Matching(r".*'ratio': (nan|-inf).*")}},
        {"status": 400, "body": INVALID_JSON},
        "NaN and Infinity are no JSON, and few models are made for them.",
    ),
    Difference(
        ("plain: larger than a float",),
        {"status": 200, "body": {"received": Matching(r".*'ratio': inf.*")}},
        {
            "status": 400,
            "body": _invalid(["ratio"], "finite_number", "Input should be a finite number"),
        },
        "A number that no float holds must not become infinity silently.",
    ),
    Difference(
        ("plain: byte order mark",),
        {"status": 200, "body": {"received": Matching(r"\{'count': 1, .*")}},
        {"status": 400, "body": INVALID_JSON},
        "RFC 8259 forbids the mark in JSON that is sent.",
    ),
    # content types
    Difference(
        ("plain: no content type",),
        {"status": 400, "body": NOT_JSON_BY_TYPE},
        {"status": 200, "body": {"received": Matching(r"\{'count': 1, .*")}},
        "A body that does not say what it is is taken for the only thing that it can be.",
    ),
    Difference(
        ("plain: no content type and a problem",),
        {"body": NOT_JSON_BY_TYPE},
        {
            "body": _invalid(
                ["count"],
                "int_parsing",
                "Input should be a valid integer, unable to parse string as an integer",
            )
        },
        "As above.",
    ),
    Difference(
        ("plain: plain text", "plain: a form"),
        {"status": 400, "body": NOT_JSON_BY_TYPE},
        {
            "status": 415,
            "body": {
                "type": "UnsupportedMediaType",
                "messages": [
                    Matching(r'Unsupported media type "[a-z/-]+"; send application/json\.')
                ],
            },
        },
        "415 is what HTTP has for it, and says what is wrong.",
    ),
    # other headers
    Difference(
        ("plain: compressed",),
        {"body": {"detail": "There was an error parsing the body"}},
        {
            "body": {
                "type": "ValidationError",
                "messages": [GZIP],
                "details": [{"location": [], "type": "parse_error", "message": GZIP}],
            },
        },
        "The other one unpacks no bodies; this one does, and says what is wrong with it.",
    ),
    Difference(
        ("plain: eleven megabytes",),
        {"status": 200, "body": {"received": Matching(".*x{11000000}.*")}},
        {
            "status": 413,
            "body": {
                "type": "PayloadTooLarge",
                "messages": [
                    "The body is larger than the limit of 10485760 bytes. Send less at a time, or "
                    "have MODELHOST_MAX_BODY_BYTES raised."
                ],
            },
        },
        "A body has a limit, which MODELHOST_MAX_BODY_BYTES raises.",
    ),
    Difference(
        ("plain: very many values",),
        {"status": 200, "body": ANYTHING},
        {
            "status": 413,
            "body": {
                "type": "PayloadTooLarge",
                "messages": [
                    "The body holds 1 objects and 1500002 other values, which count 1500013 by the "
                    "model's input schema; the limit is 1500000. Send less at a time, or have the "
                    "model's max_values raised, or MODELHOST_MAX_JSON_VALUES."
                ],
            },
        },
        "What is small as JSON must not take gigabytes; MODELHOST_MAX_JSON_VALUES is the limit.",
    ),
    Difference(
        ("plain: another host",),
        {"status": 200, "body": ANYTHING},
        {
            "status": 400,
            "body": {
                "type": "BadRequest",
                "messages": [
                    "This service does not answer to the request's Host header; "
                    "whoever runs it lists its names in MODELHOST_ALLOWED_HOSTS."
                ],
            },
        },
        "A page elsewhere must not reach a service on somebody's machine by another name for it.",
    ),
    # routes
    Difference(
        ("plain: root",),
        {"status": 307},
        {"status": 302},
        "A redirect of a GET, either way.",
    ),
    Difference(
        ("plain: metadata of an unknown model",),
        {
            "status": 500,
            "body": _service_error("Instance of model 'none' not found in ModelManager."),
        },
        {"status": 404, "body": {"type": "NotFound", "messages": ['There is no model "none".']}},
        "A name that does not exist is the client's fault.",
    ),
    Difference(
        (
            "plain: prediction of an unknown model",
            "plain: prediction of a name in capitals",
            "renaming: prediction by the old name",
        ),
        {"body": NOT_FOUND},
        {
            "body": {
                "type": "NotFound",
                "messages": [
                    Matching('There is no model "(none|ECHO|echo)"; GET api/models lists them.')
                ],
            }
        },
        "Every error has the same form, and says what to do.",
    ),
    Difference(
        ("no_endpoint: prediction", "no_endpoint: GET its prediction"),
        {"body": NOT_FOUND},
        {
            "body": {
                "type": "NotFound",
                "messages": ['The model "outcomes" has no prediction endpoint.'],
            }
        },
        "Every error has the same form, and says what is wrong.",
    ),
    Difference(
        (
            "plain: unknown path",
            "plain: unknown file",
            "plain: api alone",
            "plain: one model",
            "plain: metrics",
            "plain: slash in a name",
            "plain: OPTIONS unknown path",
        ),
        {"body": NOT_FOUND},
        {"body": _nothing_there},
        "Every error has the same form.",
    ),
    Difference(
        (
            "plain: models with a slash",
            "plain: docs with a slash",
            "plain: health with a slash",
            "plain: prediction with a slash",
            "plain: metadata with a slash and a query",
        ),
        {
            "status": 307,
            "content_type": "",
            "body": "",
            "location": lambda exchange: exchange.request.path.replace("/?", "?").rstrip("/"),
        },
        {
            "status": 404,
            "content_type": "application/json",
            "body": _nothing_there,
            "location": "",
        },
        "A URL has one spelling, without a slash at its end.",
    ),
    Difference(
        ("service: metrics",),
        {"body": Matching(".*requests_in_progress.*")},
        {"body": Matching(".*requests_in_progress.*model_ready.*")},
        "The metrics of the models come on top; test_rest_model_service_metrics compares the rest.",
    ),
    # methods
    Difference(
        (
            "plain: GET a prediction",
            "plain: PUT a prediction",
            "plain: DELETE a prediction",
            "plain: PATCH a prediction",
            "plain: invented method",
        ),
        {"body": {"detail": "Method Not Allowed"}, "allow": "POST"},
        {"body": _method_not_allowed, "allow": "OPTIONS, POST"},
        "Every error has the same form; OPTIONS is allowed.",
    ),
    Difference(
        ("plain: HEAD a prediction",),
        {"allow": "POST"},
        {"allow": "OPTIONS, POST"},
        "OPTIONS is allowed.",
    ),
    Difference(
        (
            "plain: POST models",
            "plain: POST health",
            "plain: POST ready",
            "plain: PUT metadata",
            "plain: PUT root",
            "plain: POST to an unknown model's metadata",
        ),
        {"body": {"detail": "Method Not Allowed"}, "allow": "GET"},
        {"body": _method_not_allowed, "allow": "GET, HEAD, OPTIONS"},
        "Every error has the same form; HEAD and OPTIONS are allowed.",
    ),
    Difference(
        (
            "plain: HEAD models",
            "plain: HEAD health",
            "plain: HEAD ready",
            "plain: HEAD startup",
            "plain: HEAD metadata",
        ),
        {"status": 405, "allow": "GET"},
        {"status": 200, "allow": ""},
        "HTTP asks for HEAD wherever there is GET.",
    ),
    Difference(
        ("plain: POST docs", "plain: DELETE document"),
        {"body": {"detail": "Method Not Allowed"}, "allow": "GET, HEAD"},
        {"body": _method_not_allowed, "allow": "GET, HEAD, OPTIONS"},
        "As above; its pages, unlike its other routes, know HEAD.",
    ),
    Difference(
        ("plain: OPTIONS docs",),
        {
            "status": 405,
            "content_type": "application/json",
            "body": {"detail": "Method Not Allowed"},
            "allow": "GET, HEAD",
        },
        {"status": 204, "content_type": "", "body": "", "allow": "GET, HEAD, OPTIONS"},
        "OPTIONS says what is allowed.",
    ),
    Difference(
        ("plain: HEAD metadata of an unknown model",),
        {"status": 405, "allow": "GET"},
        {"status": 404, "allow": ""},
        "HEAD answers what GET does.",
    ),
    Difference(
        ("plain: HEAD root",),
        {"status": 405, "allow": "GET", "location": ""},
        {"status": 302, "allow": "", "location": "/docs"},
        "As above.",
    ),
    Difference(
        ("plain: OPTIONS a prediction",),
        {
            "status": 405,
            "content_type": "application/json",
            "body": {"detail": "Method Not Allowed"},
            "allow": "POST",
        },
        {"status": 204, "content_type": "", "body": "", "allow": "OPTIONS, POST"},
        "OPTIONS says what is allowed.",
    ),
    Difference(
        ("plain: OPTIONS models",),
        {
            "status": 405,
            "content_type": "application/json",
            "body": {"detail": "Method Not Allowed"},
            "allow": "GET",
        },
        {"status": 204, "content_type": "", "body": "", "allow": "GET, HEAD, OPTIONS"},
        "OPTIONS says what is allowed.",
    ),
    # metadata
    Difference(
        ("plain: metadata of aliased", "decorators: metadata of aliased"),
        {"body": lambda exchange: _with_output(exchange, _without_computed_fields, _finite)},
        {"body": ANYTHING},
        "The output schema describes what goes out: computed fields, and NaN as null.",
    ),
    Difference(
        ("plain: metadata of rooted",),
        {"body": lambda exchange: _with_output(exchange, _finite)},
        {"body": ANYTHING},
        "The output schema describes what goes out: NaN as null.",
    ),
    Difference(
        ("plain: metadata of outcomes", "no_endpoint: metadata"),
        {"body": lambda exchange: _with_output(exchange, _without_required_defaults)},
        {"body": ANYTHING},
        "The output schema describes what goes out: a field with a default is always there.",
    ),
    Difference(
        ("plain: metadata of payment",),
        {"body": lambda exchange: _with_pydantics_types(exchange.ours.body)},
        {"body": ANYTHING},
        "The schemas describe JSON: bytes are text there and no file, a decimal may be text.",
    ),
    # models that do not load
    Difference(
        ("failing: models",),
        {"body": {"models": [ECHO]}},
        {"body": {"models": [READY_ECHO, FAILED, {**OUTCOMES, "state": "ready"}]}},
        "Every configured model is listed, whether it loads or not, with its state.",
    ),
    Difference(
        (
            *(f"{file}: models" for file in REQUESTS if file != "failing"),
            *("plain: models with a query", "plain: answer in XML", "plain: another origin"),
            "plain: method override",
        ),
        {"body": ANYTHING},
        {"body": lambda exchange: _with_states(exchange.theirs.body)},
        "The list says how each model is.",
    ),
    Difference(
        ("failing: prediction of the model behind",),
        {"status": 404, "body": NOT_FOUND},
        {"status": 200, "body": ANYTHING},
        "One model's failure leaves the others serving.",
    ),
    Difference(
        ("failing: metadata of the model behind",),
        {
            "status": 500,
            "body": _service_error("Instance of model 'outcomes' not found in ModelManager."),
        },
        {"status": 200, "body": ANYTHING},
        "One model's failure leaves the others serving.",
    ),
    Difference(
        ("failing: prediction of the model that fails",),
        {"status": 404, "body": NOT_FOUND},
        {"status": 503, "body": ANYTHING},
        "The model is configured and cannot serve: that is 503, with a word where to look.",
    ),
    Difference(
        ("failing: metadata of the model that fails",),
        {
            "status": 500,
            "body": _service_error("Instance of model 'failing' not found in ModelManager."),
        },
        {"status": 200, "body": ANYTHING},
        "What a model says about itself does not depend on its weights.",
    ),
    Difference(
        ("renaming: ready",),
        {"status": 503, "body": {"readiness_status": "REFUSING_TRAFFIC"}},
        {"status": 200, "body": {"readiness_status": "ACCEPTING_TRAFFIC"}},
        "It looks the decorated model up by the name that it had before.",
    ),
    Difference(
        ("renaming: health",),
        {"status": 503, "body": {"health_status": "NOT_HEALTHY"}},
        {"status": 200, "body": {"health_status": "HEALTHY"}},
        "As above.",
    ),
    Difference(
        ("renaming: prediction",),
        {"status": 404, "body": NOT_FOUND},
        {"status": 200, "body": {"received": Matching(r"\{'count': 1, .*")}},
        "As above.",
    ),
)


def _with_output(exchange: Exchange, *changes: Callable[[Any], Any]) -> Any:
    schema = exchange.ours.body["output_schema"]
    for change in changes:
        schema = change(schema)
    return {**exchange.ours.body, "output_schema": schema}


def _without_computed_fields(schema: Any) -> Any:
    properties = {
        name: field for name, field in schema["properties"].items() if not field.get("readOnly")
    }
    required = [name for name in schema["required"] if name in properties]
    return {**schema, "properties": properties, "required": required}


def _finite(schema: Any) -> Any:
    """The schema where no number may be null."""
    if not isinstance(schema, dict):
        return schema
    if schema.get("anyOf") == [{"type": "number"}, {"type": "null"}]:
        others = {key: value for key, value in schema.items() if key != "anyOf"}
        return {"type": "number", **others}
    return {key: _finite(value) for key, value in schema.items()}


def _without_required_defaults(schema: Any) -> Any:
    assert schema["required"] == [*schema["properties"]]
    assert all("default" in field for field in schema["properties"].values())
    return {key: value for key, value in schema.items() if key != "required"}


def _with_pydantics_types(body: Any) -> Any:
    from tests.fakes.compatibility import PaymentInput

    return {**body, "input_schema": PaymentInput.model_json_schema()}


BY_REQUEST = {request: entry for entry in DIFFERENCES for request in entry.requests}
CASES = [(file, name) for file, requests in REQUESTS.items() for name in requests]
FIELDS = [field.name for field in fields(Answer)]


@dataclass(frozen=True)
class Pair:
    """Both services, running on the same file."""

    theirs: httpx.Client
    ours: httpx.Client

    def ask(self, request: Request) -> Exchange:
        return Exchange(request, _answer(self.theirs, request), _answer(self.ours, request))


def _answer(client: httpx.Client, request: Request) -> Answer:
    # A connection that is kept may be closed by an idle server just as the next request is sent.
    headers = {"Connection": "close", **request.headers}
    if request.content_type:
        headers["Content-Type"] = request.content_type
    content = iter([request.body or b""]) if request.chunked else request.body
    response = client.request(request.method, request.path, content=content, headers=headers)
    content_type = response.headers.get("Content-Type", "").partition(";")[0]
    body: Any = response.text
    if body and content_type == "application/json":
        body = response.json()
    elif body and content_type == "text/html":
        body = "a page"
    return Answer(
        status=response.status_code,
        content_type=content_type if response.content else "",
        body=body,
        location=response.headers.get("Location", "").removeprefix(
            str(client.base_url).rstrip("/")
        ),
        allow=", ".join(sorted(response.headers.get("Allow", "").split(", "))),
    )


class Pairs:
    """The pair of services on each file; one pair runs at a time."""

    def __init__(self, running: ExitStack) -> None:
        self._running = running
        self._file = ""
        self._documents: dict[str, tuple[Any, Any]] = {}

    def on(self, file: str) -> Pair:
        if file != self._file:
            self._running.close()
            self._pair = self._running.enter_context(_running_pair(FILES / f"{file}.yaml"))
            clients = (self._pair.theirs, self._pair.ours)
            theirs, ours = (client.get("/openapi.json").json() for client in clients)
            self._file, self._documents[file] = file, (theirs, ours)
        return self._pair

    def documents(self, file: str) -> tuple[Any, Any]:
        """Their document and ours."""
        if file not in self._documents:
            self.on(file)
        return self._documents[file]


@contextmanager
def _running_pair(path: Path) -> Iterator[Pair]:
    with (
        RestModelService(path) as theirs,
        Server(path, ready_path="/api/health/startup") as ours,
    ):
        theirs.wait()
        yield Pair(theirs.client, ours.client)


@pytest.fixture(scope="module")
def pairs() -> Iterator[Pairs]:
    with ExitStack() as running:
        yield Pairs(running)


@pytest.mark.parametrize(("file", "name"), CASES, ids=[f"{file}: {name}" for file, name in CASES])
def test_both_services_answer_alike_but_for_the_listed_differences(
    pairs: Pairs, file: str, name: str
) -> None:
    exchange = pairs.on(file).ask(REQUESTS[file][name])
    entry = BY_REQUEST.get(f"{file}: {name}")
    if entry is None:
        assert exchange.ours == exchange.theirs
        return
    for field in FIELDS:
        theirs, ours = getattr(exchange.theirs, field), getattr(exchange.ours, field)
        if field not in entry.theirs:
            assert ours == theirs, field
            continue
        assert theirs != ours, f"{field} no longer differs"
        assert theirs == _expected(entry.theirs[field], exchange), field
        assert ours == _expected(entry.ours[field], exchange), field


def _expected(value: Any, exchange: Exchange) -> Any:
    return value(exchange) if callable(value) else value


def test_the_list_of_differences_names_each_request_once_and_only_requests_that_are_made() -> None:
    named = Counter(request for entry in DIFFERENCES for request in entry.requests)
    assert [request for request, count in named.items() if count > 1] == []
    assert set(named) <= {f"{file}: {name}" for file, name in CASES}
    assert all(entry.theirs.keys() == entry.ours.keys() <= set(FIELDS) for entry in DIFFERENCES)
    assert all(entry.why for entry in DIFFERENCES)


# What the OpenAPI documents say


@dataclass(frozen=True)
class DocumentDifference:
    """Something that this service documents otherwise, at each place that the pattern matches."""

    place: str
    theirs: Any
    ours: Any
    why: str


ABSENT = "(absent)"

DOCUMENT_DIFFERENCES: tuple[DocumentDifference, ...] = (
    DocumentDifference(
        "/ get 200.*",
        ANYTHING,
        ABSENT,
        "The redirect to the documentation is for people, and no JSON.",
    ),
    DocumentDifference(
        ".* (post|get) 422",
        "HTTPValidationError",
        ABSENT,
        "It never answers 422.",
    ),
    DocumentDifference(
        "(?!.*/batch ).* (post|get) (404|411|413|415|503|504)",
        ABSENT,
        "Error",
        "Every status that a route can give is documented.",
    ),
    DocumentDifference(
        ".*/prediction/batch post .*",
        ABSENT,
        ANYTHING,
        "It has no predictions in batches.",
    ),
    DocumentDifference(
        "/api/health.* 200 properties .* enum 2",
        "UNKNOWN",
        ABSENT,
        "No status is ever unknown.",
    ),
    DocumentDifference(
        "/api/health/ready get 200 properties unhealthy_models .*",
        ABSENT,
        ANYTHING,
        "It knows no model that is loaded and unwell.",
    ),
    DocumentDifference(
        "/api/models get 200 properties models items (properties (state|reason) .*|required 4)",
        ABSENT,
        ANYTHING,
        "The list says how each model is.",
    ),
    DocumentDifference(
        "/api/models(/{}/metadata)? get 200 properties "
        "((models items properties )?(aliases|traffic|taken_back)|reload) .*",
        ABSENT,
        ANYTHING,
        "A model has versions, and another configuration may take the place of the one that is.",
    ),
    DocumentDifference(
        "/api/models/{}/ready get (200 .*|503)",
        ABSENT,
        ANYTHING,
        "Its models have no readiness of their own.",
    ),
    DocumentDifference(
        "/api/models/(aliased|rooted)/prediction post 200 (properties .*|items) type",
        "number",
        ABSENT,
        "A number that may be NaN goes out as null then, and the document says so.",
    ),
    DocumentDifference(
        "/api/models/(aliased|rooted)/prediction post 200 (properties .*|items) anyOf [01] type",
        ABSENT,
        Matching("number|null"),
        "As above.",
    ),
    DocumentDifference(
        "/api/models/outcomes/prediction post 200 required [0-4]",
        ABSENT,
        Matching("name|number|when|colour|anything"),
        "A field with a default is always in what goes out.",
    ),
    DocumentDifference(
        ".*/prediction post (request|200) .* default",
        ABSENT,
        None,
        "A default of null is a default like any other.",
    ),
    DocumentDifference(
        "/api/models/strict-model.v2/prediction post description",
        Matching("Callable class that hosts an instance of a model.+"),
        "",
        "Where a model has no description it shows the docstring of its own class.",
    ),
    DocumentDifference(
        "/api/models/payment/prediction post request properties amount anyOf 1 pattern",
        Matching(".+"),
        Matching(".+"),
        "The pattern takes every decimal that the model takes.",
    ),
    DocumentDifference(
        "/api/models/payment/prediction post request properties receipt contentMediaType",
        "application/octet-stream",
        ABSENT,
        "Bytes are text in JSON, and no file.",
    ),
)


def _places(document: Any) -> dict[str, Any]:
    """What the document says of each operation, by the place where it says it.

    References are followed, but for errors. Left out are operationIds, tags, all prose that is not
    the models' own, and the names of components and of parameters in paths.
    """
    places = _leaves(document["info"], "info")
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            place = f"{re.sub('{.*}', '{}', path)} {method}"
            is_prediction = path.endswith("/prediction")
            if is_prediction:
                places[f"{place} description"] = operation.get("description", "")
            bodies = {"request": operation.get("requestBody", {}), **operation["responses"]}
            if bodies["request"]:
                places[f"{place} request required"] = bodies["request"].get("required")
            for name, body in bodies.items():
                if not body.get("content"):
                    continue
                schema = body["content"]["application/json"]["schema"]
                if name not in ("request", "200"):
                    places[f"{place} {name}"] = schema["$ref"].rpartition("/")[2]
                    continue
                resolved = _resolved(schema, document)
                if not is_prediction:
                    resolved = _without_prose(resolved)
                places |= _leaves(resolved, f"{place} {name}")
    return places


def _resolved(schema: Any, document: Any) -> Any:
    if isinstance(schema, list):
        return [_resolved(item, document) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        component = dict(document["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
        component.pop("title", None)
        others = {key: value for key, value in schema.items() if key != "$ref"}
        return _resolved({**component, **others}, document)
    # The mapping of a discriminator names the components, which stand beside it.
    return {key: _resolved(value, document) for key, value in schema.items() if key != "mapping"}


def _without_prose(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return schema
    return {
        key: _without_prose(value)
        for key, value in schema.items()
        if key != "description" or not isinstance(value, str)
    }


def _leaves(value: Any, place: str) -> dict[str, Any]:
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    if not items:
        return {place: value}
    found: dict[str, Any] = {}
    for key, item in items:
        found |= _leaves(item, f"{place} {key}")
    return found


def _check_documents(theirs: Any, ours: Any) -> set[str]:
    """Fail where they differ in what is not listed; return the patterns of what is."""
    their_places, our_places = _places(theirs), _places(ours)
    found, unlisted = set(), {}
    for place in their_places.keys() | our_places.keys():
        sides = their_places.get(place, ABSENT), our_places.get(place, ABSENT)
        if sides[0] == sides[1]:
            continue
        entries = [
            entry
            for entry in DOCUMENT_DIFFERENCES
            if re.fullmatch(entry.place, place) and sides == (entry.theirs, entry.ours)
        ]
        if len(entries) == 1:
            found.add(entries[0].place)
        else:
            unlisted[place] = sides
    assert unlisted == {}
    return found


@pytest.mark.parametrize("file", [file for file in REQUESTS if file not in ("failing", "renaming")])
def test_both_documents_say_the_same_but_for_the_listed_differences(
    pairs: Pairs, file: str
) -> None:
    _check_documents(*pairs.documents(file))


def test_each_listed_difference_of_the_documents_is_there(pairs: Pairs) -> None:
    found = _check_documents(*pairs.documents("plain"))
    assert [entry.place for entry in DOCUMENT_DIFFERENCES if entry.place not in found] == []


@pytest.mark.long
def test_the_commands_that_write_documents_agree_as_the_services_do(tmp_path: Path) -> None:
    configuration = FILES / "decorators.yaml"
    theirs, ours = tmp_path / "theirs.yaml", tmp_path / "ours.yaml"
    their_command = ["-m", "rest_model_service.generate_openapi"]
    their_options = [f"--configuration_file={configuration}", f"--output_file={theirs}"]
    _run(*their_command, *their_options)
    _run("manage.py", "spectacular", "--file", str(ours), REST_CONFIG=str(configuration))
    _check_documents(*(yaml.safe_load(path.read_text("utf-8")) for path in (theirs, ours)))


def _run(*arguments: str, **environment: str) -> None:
    subprocess.run(
        [sys.executable, *arguments],
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        check=True,
        capture_output=True,
        timeout=100,
    )
