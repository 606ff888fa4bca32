"""Which names models may have, so that clients reach each of them by its own."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from typing import Annotated

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

MAXIMUM_BYTES = 200
"""In UTF-8; the files of generated clients have more in their names, of 255 bytes at most."""
RESERVED_BY_OPEN_INFERENCE = "stats"
"""`/v2/models/stats` is a route of the protocol."""
INVALID_NAME = "qualified_name"
"""The kind of pydantic's error of such a name; its context has `reason` and `hint`."""

_FORBIDDEN = '/\\?#%:;{}<>|^`"'
_PATTERN = r"^[^\x00-\x1f\x7f-\xa0/\\?#%:;{}<>|^`" + '"]+$'
_HINT = (
    "Use letters and digits of any alphabet, blanks between them, and characters such as . _ - "
    f"but none of {' '.join(_FORBIDDEN)}"
)
_SHOWN = 60


def problem_of_name(name: str) -> tuple[str, str] | None:
    """Return what is wrong with a qualified name, as the rest of a sentence, and its remedy."""
    size = len(name.encode(errors="replace"))
    if size > MAXIMUM_BYTES:
        remedy = f"Use {MAXIMUM_BYTES} letters at most; those beyond ASCII count two or more times."
        return f"is too long: it has {size} bytes, and may have {MAXIMUM_BYTES}", remedy
    if name in (".", ".."):
        return "cannot stand in a URL: there it is a step from folder to folder", _HINT
    if "/" in name:
        reason = "cannot stand in a URL: servers and proxies take its slash for the end of the name"
        return reason, _HINT
    if name != name.strip():
        return "cannot stand in a URL: it begins or ends with a blank", "Remove that blank."
    if not name or not name.isprintable() or set(_FORBIDDEN).intersection(name):
        return "cannot stand in a URL", _HINT
    return None


def shortened(name: str) -> str:
    """Return a name for messages, which may be too long for them."""
    return name if len(name) <= _SHOWN else f"{name[:_SHOWN]}..."


def quoted(names: Iterable[str]) -> str:
    """Write names one behind the other: "a" and "b"."""
    *others, last = [f'"{name}"' for name in names]
    return f"{', '.join(others)} and {last}" if others else last


def merged_by_clients(names: Iterable[str]) -> list[list[str]]:
    """Return groups of names that differ in punctuation and capitals only.

    Client generators make of such names one of their language.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        groups[re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", name).casefold())].append(name)
    return [group for group in groups.values() if len(group) > 1]


def _checked(name: object) -> object:
    problem = problem_of_name(name) if isinstance(name, str) else None
    if problem is not None:
        reason, hint = problem
        raise PydanticCustomError(INVALID_NAME, "{reason}", {"reason": reason, "hint": hint})
    return name


# The pattern is for editors, which know the schema alone.
QualifiedName = Annotated[
    str, Field(pattern=_PATTERN, max_length=MAXIMUM_BYTES), BeforeValidator(_checked)
]
