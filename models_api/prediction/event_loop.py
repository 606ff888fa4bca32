"""An event loop for the coroutines of one model."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, ParamSpec, TypeVar

from models_api.fork import ForkGuard, call_after_fork
from models_api.logs import SafeLogger
from models_api.threads import cleanup

logger = SafeLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

_SECONDS_TO_CANCEL = 5.0


class EventLoop:
    """Runs in a thread of its own, which starts with the first coroutine.

    Safe to use from many threads, but for its own. A forked child begins with another loop.
    """

    def __init__(self) -> None:
        self._guard = ForkGuard()
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._of_parent: asyncio.AbstractEventLoop | None = None
        self._finalizer: weakref.finalize[..., Any] | None = None
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
                is_unused = threading.Event()
                threading.Thread(
                    target=_run, args=(loop, is_unused), name="event-loop", daemon=True
                ).start()
                self._finalizer = weakref.finalize(self, _end, loop, is_unused)
                self._finalizer.atexit = False  # type: ignore[misc]
                self._loop = loop
            return self._loop

    def _forget_loop(self) -> None:
        # Kept, because whatever closes it would change what the parent's loop waits for.
        self._of_parent, self._loop = self._loop, None
        if self._finalizer is not None:
            self._finalizer.detach()
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


def _end(loop: asyncio.AbstractEventLoop, is_unused: threading.Event) -> None:
    is_unused.set()
    with suppress(RuntimeError):  # a model has closed it
        loop.call_soon_threadsafe(loop.stop)


def _run(loop: asyncio.AbstractEventLoop, is_unused: threading.Event) -> None:
    """Run a loop until nobody uses it any more."""
    asyncio.set_event_loop(loop)
    while not (loop.is_closed() or is_unused.is_set()):
        try:
            loop.run_forever()
        except BaseException:
            # A task that a model has left behind may raise what ends a loop.
            logger.exception("A task of a model raised what would end its event loop")
    if not loop.is_closed():
        _close(loop)


def _close(loop: asyncio.AbstractEventLoop) -> None:
    """End the tasks that a model has left behind, then the loop."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks, timeout=_SECONDS_TO_CANCEL))
    loop.close()
