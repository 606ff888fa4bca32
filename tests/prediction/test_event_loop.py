"""The event loop of a model's coroutines ends with the model."""

from __future__ import annotations

import asyncio
import threading

from models_api.prediction.event_loop import EventLoop

cancelled = threading.Event()


async def _answer() -> int:
    return 42


async def _leave_a_task_behind() -> None:
    async def wait() -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    asyncio.get_running_loop().left = asyncio.create_task(wait())  # type: ignore[attr-defined]
    await asyncio.sleep(0)


def test_its_thread_ends_with_it_and_so_do_tasks_that_were_left_behind() -> None:
    before = set(threading.enumerate())
    loop = EventLoop()
    assert loop.run(_answer()) == 42
    loop.run(_leave_a_task_behind())
    (thread,) = set(threading.enumerate()) - before
    del loop
    thread.join(10)
    assert not thread.is_alive()
    assert cancelled.is_set()
