"""The least that a WSGI application does for the constant model: pydantic in, pydantic out.

No routes, ids, limits, errors or metrics: an upper bound for what stands on the same server.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from benchmarks.models import ConstantModel, Flower, Prediction

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_MODEL = ConstantModel()
_PARSE = Flower.__pydantic_validator__.validate_json
_WRITE = Prediction.__pydantic_serializer__.to_json


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer a request for a prediction, whatever its path."""
    length = int(environ.get("CONTENT_LENGTH") or 0)
    if not length:
        start_response("200 OK", [("Content-Type", "application/json")])
        return [b"{}"]
    body = _WRITE(_MODEL.predict(_PARSE(environ["wsgi.input"].read(length))))
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    start_response("200 OK", headers)
    return [body]
