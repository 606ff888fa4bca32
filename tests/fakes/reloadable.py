"""Models that are changed while a service runs: each answers who it is."""

import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from ml_base import MLModel
from pydantic import BaseModel, ConfigDict


class Question(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"number": 1.0}]})

    number: float


class Answer(BaseModel):
    made_by: str
    number: float


class VersionedModel(MLModel):
    """Multiplies by a factor, and can be made to fail where a reload must notice it."""

    display_name = "Versioned"
    qualified_name = "versioned"
    description = "Says which version of it predicts."
    version = "0"
    input_schema = Question
    output_schema = Answer
    may_end = threading.Event()

    def __init__(
        self,
        *,
        mark: str = "",
        factor: float = 1.0,
        fails: str = "",
        mebibytes: int = 0,
        seconds: float = 0.0,
        is_circular: bool = False,
    ) -> None:
        if fails == "load":
            raise RuntimeError("This version cannot be loaded.")
        if fails == "exit":
            sys.exit("This version ends the process.")
        if fails == "interrupt":
            raise KeyboardInterrupt
        time.sleep(seconds)
        self._mark, self._factor, self._fails = mark, factor, fails
        self._weights = np.ones(mebibytes << 17)
        self._itself = self if is_circular else None

    def predict(self, data: Question) -> Answer:
        if self._fails == "predict":
            raise RuntimeError("This version cannot predict.")
        if self._fails == "exit while it predicts":
            sys.exit("This version ends the process.")
        if self._fails == "hang":
            self.may_end.wait(60)
        return Answer(made_by=self._mark, number=data.number * self._factor)


class HeldModel(VersionedModel):
    """Predicts no sooner than it may."""

    qualified_name = "held"
    has_begun = threading.Event()
    may_end = threading.Event()

    def predict(self, data: Question) -> Answer:
        if data.number == 0:
            self.has_begun.set()
            self.may_end.wait(60)
        return super().predict(data)


class AwaitedModel(VersionedModel):
    """Predicts in a coroutine."""

    qualified_name = "awaited"

    async def predict(self, data: Question) -> Any:  # type: ignore[override]
        return super().predict(data)


class ThreadsModel(VersionedModel):
    """Tells the threads of its process that are not those by which its server answers."""

    qualified_name = "threads"

    def predict(self, data: Question) -> Answer:
        of_servers = ("ThreadPoolExecutor-", "Dummy-", "MainThread")
        names = sorted(thread.name for thread in threading.enumerate())
        own = [
            name
            for name in names
            if not name.startswith(of_servers) and "process_request" not in name
        ]
        return Answer(made_by=", ".join(own), number=len(own))


class FileModel(VersionedModel):
    """Is what a file says, and cannot be loaded where that says so."""

    qualified_name = "file"

    def __init__(self, *, path: str, predict_seconds: float = 0.0) -> None:
        content = Path(path).read_text(encoding="utf-8").strip()
        if content == "bad":
            raise RuntimeError("The file is bad.")
        super().__init__(mark=content)
        self._predict_seconds = predict_seconds

    def predict(self, data: Question) -> Answer:
        if data.number == 0:
            time.sleep(self._predict_seconds)
        return super().predict(data)
