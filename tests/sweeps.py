"""How many of countless cases are tried: all on a developer's machine, some of each kind in CI.

CI runs on each landing, and what a sweep finds there is found by any part of it, sooner or later.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

IN_CI = "CI" in os.environ


def share(cases: Sequence[T], one_of: int = 3) -> Sequence[T]:
    """Return all cases; in CI one of so many, from the first on."""
    return cases[::one_of] if IN_CI else cases


def number(count: int, one_of: int = 3) -> int:
    """Return a number of examples; in CI one of so many."""
    return count // one_of if IN_CI else count
