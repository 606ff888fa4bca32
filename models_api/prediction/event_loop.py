"""An event loop for the coroutines of one model."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable
from typing import TypeVar

from models_api.fork import ForkGuard, call_after_fork
from models_api.logs import SafeLogger

logger = SafeLogger(__name__)

T = TypeVar("T")


class EventLoop:
    """Runs in a thread of its own, which starts with the first coroutine.

    Safe to use from many threads, but for its own. A forked child begins with another loop.
    """

    def __init__(self) -> None:
        self._guard = ForkGuard()
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._of_parent: asyncio.AbstractEventLoop | None = None
        # The thread is not in a forked child.
        call_after_fork(self._forget_loop)

    def run(self, awaitable: Awaitable[T]) -> T:
        """Return what comes of it in the end; it sees the context variables of the caller.

        Raises:
            BaseException: whatever it raises.
        """
        loop = self._running_loop()
        results, error = asyncio.run_coroutine_threadsafe(self._outcome(awaitable), loop).result()
        if error is None:
            return results[0]
        try:
            raise error
        finally:
            # Its traceback holds this frame.
            del error

    async def _outcome(self, awaitable: Awaitable[T]) -> tuple[list[T], BaseException | None]:
        """Return a result or an error, as some of those that a loop sees would end it."""
        forks = self._guard.forks
        try:
            result = await awaitable
        except BaseException as error:  # noqa: BLE001 (it belongs to the caller)
            self._guard.end_child(forks, error)
            return [], error
        self._guard.end_child(forks)
        return [result], None

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None or self._loop.is_closed():
                loop = asyncio.new_event_loop()
                threading.Thread(
                    target=_run_for_ever, args=(loop,), name="event-loop", daemon=True
                ).start()
                self._loop = loop
            return self._loop

    def _forget_loop(self) -> None:
        # Kept, because whatever closes it would change what the parent's loop waits for.
        self._of_parent, self._loop = self._loop, None
        self._lock = threading.Lock()


def _run_for_ever(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    while not loop.is_closed():
        try:
            loop.run_forever()
        except BaseException:
            # A task that a model has left behind may raise what ends a loop.
            logger.exception("A task of a model raised what would end its event loop")
