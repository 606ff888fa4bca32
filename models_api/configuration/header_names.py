"""Names of headers, and where WSGI has what requests say under them."""

from __future__ import annotations

from functools import cache

HEADER_NAME_PATTERN = r"^[A-Za-z0-9-]+$"


@cache
def environ_key(header: str) -> str:
    """Return the key under which a request's environ has a header."""
    key = header.upper().replace("-", "_")
    return key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"
