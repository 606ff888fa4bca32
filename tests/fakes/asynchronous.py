"""Models and decorators made of coroutines and of generators."""

from __future__ import annotations

import asyncio
import functools
import os
import threading
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any

from ml_base import MLModel, MLModelDecorator
from pydantic import BaseModel

from models_api.prediction.request_context import current_request
from tests.fakes.changing import ERRORS

spoken: ContextVar[str] = ContextVar("spoken", default="")


class Task(BaseModel):
    """What to do."""

    number: int
    do: str = ""
    """Name of an error that is to be raised, or one of the methods of the model."""


class Answer(BaseModel):
    """What came of it, and where."""

    doubled: int
    rows: int = 1
    """Of the call."""
    thread: str = ""
    loop: int = 0
    process: int = 0
    request: str = ""
    spoken: str = ""


class AsyncModel(MLModel):
    """Doubles numbers on an event loop."""

    display_name = "Asynchronous"
    qualified_name = "asynchronous"
    description = "Doubles numbers on an event loop."
    version = "1.0.0"
    input_schema = Task
    output_schema = Answer

    def __init__(self) -> None:
        self.waiting = 0
        self.most_waiting = 0
        self.left_behind: list[asyncio.Task[None]] = []

    async def predict(self, data: Task) -> Answer:
        """Do it."""
        if data.do in ERRORS:
            await asyncio.sleep(0)
            raise ERRORS[data.do]("secret")
        if data.do:
            await getattr(self, f"_{data.do}")()
        return self._answer(data)

    def _answer(self, data: Task, rows: int = 1) -> Answer:
        request = current_request.get()
        return Answer(
            doubled=2 * data.number,
            rows=rows,
            thread=threading.current_thread().name,
            loop=id(asyncio.get_running_loop()),
            process=os.getpid(),
            request=request.id if request else "",
            spoken=spoken.get(),
        )

    async def _wait(self) -> None:
        self.waiting += 1
        self.most_waiting = max(self.most_waiting, self.waiting)
        await asyncio.sleep(0.2)
        self.waiting -= 1

    async def _meet(self) -> None:
        """Go on once four requests are here."""
        self.waiting += 1
        while self.waiting % 4:
            await asyncio.sleep(0.001)

    async def _hang(self) -> None:
        await asyncio.sleep(3600)

    async def _cancel(self) -> None:
        for task in asyncio.all_tasks():
            task.cancel()
        await asyncio.sleep(0)

    async def _stop(self) -> None:
        asyncio.get_running_loop().stop()
        await asyncio.sleep(0)

    async def _leave(self) -> None:
        async def exit_() -> None:
            raise SystemExit(5)

        task = asyncio.create_task(exit_())
        # Or asyncio complains of its error whenever the task is collected.
        task.add_done_callback(lambda done: done.exception())
        self.left_behind.append(task)
        await asyncio.sleep(0)

    async def _fork(self) -> None:
        await asyncio.sleep(0)
        child = os.fork()
        if child:
            _, status = os.waitpid(child, 0)
            assert status == 0


class AsyncRowsModel(AsyncModel):
    """The same for many rows."""

    qualified_name = "asynchronous_rows"

    async def predict_batch(self, data: list[Task]) -> list[Answer]:
        """Do it for all."""
        await asyncio.sleep(0)
        for task in data:
            if task.do in ERRORS:
                raise ERRORS[task.do]("secret")
        return [self._answer(task, len(data)) for task in data]


class AsyncColumnsModel(AsyncModel):
    """The same for columns."""

    qualified_name = "asynchronous_columns"

    async def predict_columns(self, columns: Mapping[str, Any]) -> Mapping[str, Any]:
        """Do it for all."""
        await asyncio.sleep(0)
        rows = len(columns["number"])
        one = self._answer(Task(number=0)).model_dump()
        names = [name for name in one if name not in ("doubled", "rows")]
        constant = {name: [one[name]] * rows for name in names}
        return {"doubled": columns["number"] * 2, "rows": [rows] * rows, **constant}


def passing_on(method: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a method, as many libraries do: what it returns may be a coroutine."""

    @functools.wraps(method)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return method(*args, **kwargs)

    return wrapper


class WrappedModel(AsyncModel):
    """Its method is wrapped."""

    predict = passing_on(AsyncModel.predict)


class DisguisedModel(AsyncModel):
    """Returns a coroutine, and nothing tells before."""

    def predict(self, data: Task) -> Any:
        """Leave it to another method."""
        return super().predict(data)


class PlainModel(AsyncModel):
    """No coroutines here."""

    qualified_name = "plain"

    def predict(self, data: Task) -> Any:
        """Do it."""
        if data.do in ERRORS:
            raise ERRORS[data.do]("secret")
        return Answer(doubled=2 * data.number, thread=threading.current_thread().name)

    def predict_batch(self, data: list[Task]) -> Any:
        """Do it for all."""
        return [Answer(doubled=2 * task.number, rows=len(data)) for task in data]


class ReadingDecorator(MLModelDecorator):
    """Reads what its model predicts, as decorators have always done."""

    def predict(self, data: Any) -> Any:
        """Add one."""
        found = self._model.predict(data)
        return found.model_copy(update={"doubled": found.doubled + 1})


class ForwardingDecorator(MLModelDecorator):
    """Hands on what its model gives."""

    def predict(self, data: Any) -> Any:
        """Predict."""
        return self._model.predict(data)


class AwaitingDecorator(MLModelDecorator):
    """Awaits what its model predicts."""

    async def predict(self, data: Any) -> Any:
        """Add a hundred."""
        found = await self._model.predict(data)
        await asyncio.sleep(0)
        return found.model_copy(update={"doubled": found.doubled + 100})


class AsyncDecorator(MLModelDecorator):
    """Awaits something else, around a model that has nothing to await."""

    async def predict(self, data: Any) -> Any:
        """Add a hundred."""
        await asyncio.sleep(0)
        found = self._model.predict(data)
        return found.model_copy(update={"doubled": found.doubled + 100})


class GeneratorModel(PlainModel):
    """Yields."""

    qualified_name = "generator"

    def predict(self, data: Task) -> Any:
        """Yield parts."""
        yield Answer(doubled=1)
        yield Answer(doubled=2)


class AsyncGeneratorModel(PlainModel):
    """Yields on a loop."""

    qualified_name = "asynchronous"

    async def predict(self, data: Task) -> Any:
        """Yield parts."""
        yield Answer(doubled=1)


class GeneratorColumnsModel(PlainModel):
    """Yields columns."""

    qualified_name = "generator_columns"

    def predict_columns(self, columns: Mapping[str, Any]) -> Any:
        """Yield parts."""
        yield columns


class AsyncGeneratorRowsModel(PlainModel):
    """Yields rows on a loop."""

    qualified_name = "asynchronous_generator_rows"

    async def predict_batch(self, data: list[Task]) -> Any:
        """Yield parts."""
        for task in data:
            yield Answer(doubled=2 * task.number)


class YieldingRowsModel(PlainModel):
    """Yields a prediction for each row, which is as good as a list."""

    qualified_name = "yielding_rows"

    def predict_batch(self, data: list[Task]) -> Any:
        """Yield predictions."""
        for task in data:
            yield Answer(doubled=2 * task.number, rows=len(data))


class GeneratorDecorator(MLModelDecorator):
    """Yields what its model predicts."""

    def predict(self, data: Any) -> Any:
        """Yield it."""
        yield self._model.predict(data)
