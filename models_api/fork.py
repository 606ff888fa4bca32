"""What objects do about a fork: its child has none of the threads that were using them."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable


def call_after_fork(method: Callable[[], None]) -> None:
    """Call a bound method in each forked child, for as long as its object lives.

    It keeps the object from being forgotten no longer than others do.
    """
    reference = weakref.WeakMethod(method)

    def call() -> None:
        found = reference()
        if found is not None:
            found()

    os.register_at_fork(after_in_child=call)
