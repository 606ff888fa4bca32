from __future__ import annotations

import gc
import os
import warnings
import weakref

from models_api import fork
from models_api.fork import call_after_fork


class Counter:
    def __init__(self) -> None:
        self.count = 0
        call_after_fork(self.begin)

    def begin(self) -> None:
        self.count += 1


def status_of_child(counter: Counter | None) -> int:
    with warnings.catch_warnings():
        # Newer Pythons warn of forks beside threads, which the test runner may have.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        os._exit(counter.count if counter is not None else 0)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def test_the_method_is_called_in_the_child_alone() -> None:
    counter = Counter()
    assert status_of_child(counter) == 1
    assert counter.count == 0


def test_an_object_that_nobody_else_holds_is_forgotten() -> None:
    counter = Counter()
    reference = weakref.ref(counter)
    del counter
    gc.collect()
    assert reference() is None
    assert status_of_child(None) == 0


def test_nothing_is_kept_of_an_object_that_has_gone() -> None:
    before = len(fork._in_children)
    for _ in range(100):
        Counter()
    gc.collect()
    assert len(fork._in_children) <= before
