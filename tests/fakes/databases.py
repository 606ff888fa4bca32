"""Models and decorators that use Django's ORM, on a table that each PostgreSQL has."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from asgiref.sync import sync_to_async
from django.db import connection, models
from ml_base import MLModel, MLModelDecorator
from pydantic import BaseModel


class Setting(models.Model):
    """A setting of the database server."""

    name = models.TextField(primary_key=True)
    setting = models.TextField()
    objects: models.Manager[Setting] = models.Manager()

    class Meta:
        """It is there without us."""

        app_label = "fakes"
        db_table = "pg_settings"
        managed = False

    def __str__(self) -> str:
        return f"{self.name}={self.setting}"


class SecondsInput(BaseModel):
    """How long a prediction takes."""

    seconds: float = 0.0


class BackendOutput(BaseModel):
    """Which of its processes the database server used for it."""

    backend: int


def ask() -> int:
    """Return the id of the database server's process for the connection of this thread."""
    assert Setting.objects.get(name="server_version_num").setting
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


class PlainModel(MLModel):
    """Asks the database where it is loaded, and on the thread that predicts."""

    display_name = "Database"
    qualified_name = "plain"
    description = "Asks a database."
    version = "1.0.0"
    input_schema = SecondsInput
    output_schema = BackendOutput

    def __init__(self) -> None:
        ask()

    def predict(self, data: Any) -> Any:
        """Ask once, and again after a while."""
        ask()
        time.sleep(data.seconds)
        return BackendOutput(backend=ask())

    def is_healthy(self) -> bool:
        """Ask the database as well."""
        return ask() > 0


class TimedModel(PlainModel):
    """The same, to be configured with a deadline."""

    qualified_name = "timed"


class BatchedModel(PlainModel):
    """The same, to be configured with batching."""

    qualified_name = "batched"

    def predict_batch(self, data: Sequence[Any]) -> list[BackendOutput]:
        """Ask once for all."""
        return [BackendOutput(backend=ask()) for _ in data]


class TimedBatchedModel(BatchedModel):
    """The same, to be configured with both."""

    qualified_name = "timed_batched"


class ConstantModel(PlainModel):
    """Asks nothing by itself."""

    qualified_name = "decorated"

    def __init__(self) -> None:
        pass

    def predict(self, data: Any) -> Any:
        """Return no process's id."""
        return BackendOutput(backend=0)

    def is_healthy(self) -> bool:
        """Ask nobody."""
        return True


class AskingDecorator(MLModelDecorator):
    """Asks the database for a model that does not."""

    def predict(self, data: Any) -> Any:
        """Ask, and predict."""
        return self._model.predict(data).model_copy(update={"backend": ask()})


class CoroutineModel(PlainModel):
    """Asks by Django's own coroutines, and for the process on the thread that these use."""

    qualified_name = "coroutine"

    async def predict(self, data: Any) -> Any:
        """Read a table in pieces, for a while."""
        found = []
        async for setting in Setting.objects.order_by("name").aiterator(chunk_size=100):
            found.append(setting.name)
            await asyncio.sleep(data.seconds / 100)
        assert len(found) > 200
        return BackendOutput(backend=await sync_to_async(ask)())


class TimedCoroutineModel(CoroutineModel):
    """The same, to be configured with a deadline."""

    qualified_name = "timed_coroutine"


class ThreadedModel(PlainModel):
    """Asks on threads of the event loop."""

    qualified_name = "threaded"

    async def predict(self, data: Any) -> Any:
        """Ask twice."""
        await asyncio.to_thread(ask)
        await asyncio.sleep(data.seconds)
        return BackendOutput(backend=await asyncio.to_thread(ask))


class UnsafeModel(PlainModel):
    """Asks on the thread of the event loop, as DJANGO_ALLOW_ASYNC_UNSAFE lets it."""

    qualified_name = "unsafe"

    async def predict(self, data: Any) -> Any:
        """Ask once, and again after a while."""
        ask()
        await asyncio.sleep(data.seconds)
        return BackendOutput(backend=ask())
