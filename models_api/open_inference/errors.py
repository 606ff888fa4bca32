"""Every error as the protocol has it: `{"error": "..."}`."""

from __future__ import annotations

import json
from collections.abc import Mapping

from django.http import HttpResponse

from models_api.api.answers import Answer, Error
from models_api.api.errors import describe_exception, to_response


def to_answer(error: Error) -> Answer:
    """Return an error as the other routes do, but with the protocol's body."""
    text = "; ".join(error.body.messages)
    content = json.dumps({"error": text}, ensure_ascii=False, separators=(",", ":"))
    # Text can hold lone surrogates; replaced by backslashes, they are JSON's escapes.
    body = content.encode("utf-8", "backslashreplace")
    return Answer(error.status, {"Content-Type": "application/json", **error.headers}, body)


def respond_to_error(exception: Exception, context: Mapping[str, object]) -> HttpResponse:
    """Answer an exception of one of the protocol's views, in the way of DRF's EXCEPTION_HANDLER."""
    return to_response(to_answer(describe_exception(exception, context)))
