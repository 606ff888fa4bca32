"""What happens in forked children, which have none of the threads that were using an object."""

from __future__ import annotations

import os
import sys
import traceback
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from itertools import count
from types import MethodType
from typing import Any, NoReturn, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


_numbers = count()
_in_children: dict[int, tuple[weakref.ref[Any], Callable[[Any], None]]] = {}
"""What to call with which objects, in this order."""


def call_after_fork(method: Callable[[], None]) -> None:
    """Call a bound method in each forked child; it keeps no reference to the method's object.

    Nor does it keep anything else once that object has gone, which Python itself would.
    """
    _follow_forks()
    assert isinstance(method, MethodType)  # noqa: S101 (for the type checker)
    number = next(_numbers)
    # Bound here, as at the end of a process modules may have lost what they knew.
    forget = partial(_forget, _in_children, number)
    _in_children[number] = weakref.ref(method.__self__, forget), method.__func__


@cache
def _follow_forks() -> None:
    if hasattr(os, "register_at_fork"):  # Windows forks nothing
        os.register_at_fork(after_in_child=_call_methods)


def _call_methods() -> None:
    for reference, function in list(_in_children.values()):
        found = reference()
        if found is not None:
            function(found)


def _forget(known: dict[int, Any], number: int, _reference: weakref.ref[Any]) -> None:
    known.pop(number, None)


class ForkGuard:
    """Ends the children that code of a model forks, where they come out of that code.

    There they would go on as this service does: answer the parent's request a second time, and
    keep its port.
    """

    def __init__(self) -> None:
        self.forks = 0
        """Between the first process and this one, since the guard was made."""
        call_after_fork(self._count)

    def call(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what the work returns, in the process that called it."""
        forks = self.forks
        try:
            result = work(*args, **kwargs)
        except BaseException as error:
            self.end_child(forks, error)
            raise
        if self.forks != forks:
            self.end_child(forks)
        return result

    def end_child(self, forks: int, error: BaseException | None = None) -> None:
        """End this process if it was forked meanwhile; see `end_process`.

        Args:
            forks: Those that there were when the code of the model began.
            error: What it raised.
        """
        if self.forks != forks:
            end_process(error)

    def _count(self) -> None:
        self.forks += 1


def flush_output() -> None:
    """Write what is still in the buffers of standard output and standard error."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # it may be closed, or not be there
            stream.flush()


def end_process(error: BaseException | None) -> NoReturn:
    """End this process, a child of one that serves, as Python ends after an error or none."""
    status: object = 0 if error is None else 1
    with suppress(Exception):
        if isinstance(error, SystemExit):
            status = error.code or 0
            if not isinstance(status, int):
                print(status, file=sys.stderr)  # noqa: T201
        elif error is not None:
            traceback.print_exception(error)
    flush_output()
    # Without the handlers for the end of a process: they are those of the parent.
    os._exit(status & 0xFF if isinstance(status, int) else 1)
