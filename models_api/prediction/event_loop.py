"""An event loop for the coroutines of one model."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from models_api.fork import ForkGuard, call_after_fork
from models_api.logs import SafeLogger
from models_api.threads import cleanup

logger = SafeLogger(__name__)

P = ParamSpec("P")
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
        await cleanup().before_coroutine()
        try:
            return await self._own_outcome(awaitable)
        finally:
            await cleanup().after_coroutine()

    async def _own_outcome(self, awaitable: Awaitable[T]) -> tuple[list[T], BaseException | None]:
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
                loop.set_default_executor(_Executor(thread_name_prefix="asyncio"))
                threading.Thread(
                    target=_run_for_ever, args=(loop,), name="event-loop", daemon=True
                ).start()
                self._loop = loop
            return self._loop

    def _forget_loop(self) -> None:
        # Kept, because whatever closes it would change what the parent's loop waits for.
        self._of_parent, self._loop = self._loop, None
        self._lock = threading.Lock()


class _Executor(ThreadPoolExecutor):
    """The threads of `asyncio.to_thread`."""

    def submit(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        return super().submit(partial(_cleaned_up, work, *args, **kwargs))


def _cleaned_up(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    cleanup().between_requests()
    try:
        return work(*args, **kwargs)
    finally:
        cleanup().between_requests()


def _run_for_ever(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    while not loop.is_closed():
        try:
            loop.run_forever()
        except BaseException:
            # A task that a model has left behind may raise what ends a loop.
            logger.exception("A task of a model raised what would end its event loop")
