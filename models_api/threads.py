"""What is cleaned up where code of models has run: on threads of the service, and in event loops.

The thread of a request is the affair of whoever answers requests.
"""

from __future__ import annotations

from collections.abc import Callable


class Cleanup:
    """Cleans up after the code of models, and by itself does nothing. It must not raise."""

    def between_requests(self) -> None:
        """Hear that the current thread begins to work for a request, or has done so."""

    def at_the_end(self) -> None:
        """Hear that the current thread is about to end."""

    async def before_coroutine(self) -> None:
        """Hear, in its own context, that a coroutine of a model is about to begin."""

    async def after_coroutine(self) -> None:
        """Hear that it has ended."""


_current = Cleanup()


def cleanup() -> Cleanup:
    """Return what cleans up in this process."""
    return _current


def use_cleanup(chosen: Cleanup) -> None:
    """Have something clean up from now on; like a handler of `atexit`, it is the process's."""
    global _current  # noqa: PLW0603
    _current = chosen


def cleaned_up(work: Callable[[], object]) -> Callable[[], None]:
    """Return what a thread does that is there for this work alone."""

    def run() -> None:
        try:
            work()
        finally:
            cleanup().at_the_end()

    return run
