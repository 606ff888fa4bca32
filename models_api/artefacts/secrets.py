"""Texts of other programs, without the secrets that may be in them."""

from __future__ import annotations

import os
import re

_LONGEST_TEXT = 300
_QUERY = re.compile(r"(https?://[^\s?\"'<>)]+)\?[^\s\"'<>)]*")
_USER = re.compile(r"(https?://)[^\s/@\"']+@")
_MARKUP = re.compile(r"<\?xml.*|<!?\w.*", re.DOTALL)
_SECRET = re.compile(r"KEY|SECRET|TOKEN|PASSWORD|SIGNATURE|CREDENTIAL|SAS")
_SHORTEST_SECRET = 6
_PATHS = ("GOOGLE_APPLICATION_CREDENTIALS",)


def without_secrets(text: str) -> str:
    """Return a text for the log: no queries and users of URLs, no values of secret variables."""
    text = _MARKUP.sub("", _USER.sub(r"\1", _QUERY.sub(r"\1", text)))
    for name, value in os.environ.items():
        is_secret = _SECRET.search(name.upper()) and name not in _PATHS
        if is_secret and len(value) >= _SHORTEST_SECRET:
            text = text.replace(value, "***")
    return " ".join(text.split())[:_LONGEST_TEXT].rstrip(" :")
