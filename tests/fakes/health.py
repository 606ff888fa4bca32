"""Models and decorators that know whether they are healthy."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from ml_base import MLModel, MLModelDecorator

from tests.fakes.models import DoublingModel, Number


def _folder() -> Path:
    return Path(os.environ["HEALTH_FOLDER"])


class SickModel(DoublingModel):
    """Is as its file says; writes a line for each time that it is asked."""

    qualified_name = "sick"

    def is_healthy(self) -> Any:
        with (_folder() / "asked").open("a", encoding="utf-8") as asked:
            asked.write(f"{os.getpid()}\n")
        state = self._state()
        if state == "raise":
            raise RuntimeError("the database is away")
        if state == "exit":
            raise SystemExit(3)
        while state == "hang" and self._state() == "hang":
            time.sleep(0.01)
        return state != "sick"

    def _state(self) -> str:
        state = (_folder() / "state").read_text(encoding="utf-8")
        return self.qualified_name if state == "as each is called" else state


class RaisingModel(SickModel):
    qualified_name = "raise"


class ExitingModel(SickModel):
    qualified_name = "exit"


class HangingModel(SickModel):
    qualified_name = "hang"


class HealthyModel(DoublingModel):
    """Is always well."""

    @staticmethod
    def is_healthy() -> bool:
        return True


class SickDecorator(MLModelDecorator):
    """Is as another file says."""

    def is_healthy(self) -> bool:
        return not (_folder() / "decorator is sick").exists()


class PlantModel(DoublingModel):
    """Has a method of that name for something else."""

    def is_healthy(self, data: Number) -> bool:
        return data.value > 0


class AsyncHealthModel(DoublingModel):
    async def is_healthy(self) -> bool:
        return True


class GeneratingDecorator(MLModelDecorator):
    def is_healthy(self) -> Any:
        yield True


class PropertyHealthModel(DoublingModel):
    @property
    def is_healthy(self) -> bool:
        return True


class AwaitableHealthModel(DoublingModel):
    """Returns what somebody would have to await."""

    def is_healthy(self) -> Any:
        class Later:
            def __await__(self) -> Any:
                yield

        return Later()


class ForgetfulModel(DoublingModel):
    """Returns nothing."""

    def is_healthy(self) -> None:
        return None


UNUSABLE: tuple[type[MLModel], ...] = (AsyncHealthModel, GeneratingDecorator, PropertyHealthModel)
