"""Every error as the protocol has it: `{"error": "..."}`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from django.http import HttpResponse

from models_api.api.errors import exception_handler


def respond_to_error(exception: Exception, context: Mapping[str, Any]) -> HttpResponse:
    """Answer as the other routes do, status and headers alike, but with the protocol's body."""
    response = exception_handler(exception, context)
    text = "; ".join(json.loads(response.content)["messages"])
    content = json.dumps({"error": text}, ensure_ascii=False, separators=(",", ":"))
    # As in the original, text can hold lone surrogates.
    response.content = content.encode("utf-8", "backslashreplace")
    return response
