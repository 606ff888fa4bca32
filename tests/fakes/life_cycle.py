"""Models that load slowly, badly, or say late what they are.

A model whose name is that of a file missing from the folder LIFE_CYCLE_GATES goes on loading until
somebody makes the file: so a test can look at each moment of a start for as long as it likes.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import time
from pathlib import Path
from typing import Any

from ml_base import MLModel, MLModelDecorator
from pydantic import BaseModel, create_model


class Number(BaseModel):
    """What the models take."""

    number: float


class Doubled(BaseModel):
    """What the models give."""

    doubled: float


def pass_gate(name: str) -> None:
    """Wait until the gate of that name is open; where there are no gates, all are."""
    folder = os.environ.get("LIFE_CYCLE_GATES")
    while folder is not None and not Path(folder, name).exists():
        time.sleep(0.02)


class Quick(MLModel):
    """Says all that it is on its class, and loads at once."""

    display_name = "Quick"
    qualified_name = "quick"
    description = "Doubles a number."
    version = "1.2.3"
    input_schema: Any = Number
    output_schema: Any = Doubled

    def __init__(self) -> None:
        pass

    def predict(self, data: Any) -> Any:
        """Double the number."""
        return self.output_schema(doubled=2 * data.number)


class Slow(Quick):
    """Loads until its gate opens."""

    display_name = "Slow"
    qualified_name = "slow"

    def __init__(self) -> None:
        pass_gate("slow")


class Plain(Quick):
    """Has decorators around it."""

    display_name = "Plain"
    qualified_name = "plain"


class Last(Quick):
    """Comes after the slow one."""

    display_name = "Last"
    qualified_name = "last"


class Broken(Quick):
    """Cannot be loaded."""

    display_name = "Broken"
    qualified_name = "broken"

    def __init__(self) -> None:
        raise RuntimeError("the artefact is missing")


class Cancelled(Quick):
    """Cannot be loaded, and says so by something that is no Exception."""

    display_name = "Cancelled"
    qualified_name = "cancelled"

    def __init__(self) -> None:
        raise asyncio.CancelledError


class OwnSchemas(Quick):
    """Has its schemas only once it is loaded."""

    display_name = "Own schemas"
    qualified_name = "own_schemas"
    input_schema = None
    output_schema = None

    def __init__(self) -> None:
        pass_gate("own_schemas")
        self.input_schema = create_model("OwnNumber", number=(float, ...))
        self.output_schema = create_model("OwnDoubled", doubled=(float, ...))


class Nameless(Quick):
    """Has a name only once it is loaded."""

    display_name: Any = None
    qualified_name: Any = None

    def __init__(self, name: str) -> None:
        pass_gate(name)
        self.display_name = name.title()
        self.qualified_name = name


class BrokenNameless(Nameless):
    """Never gets as far as its name."""

    def __init__(self) -> None:
        raise RuntimeError("the artefact is missing")


class OwnNew(Quick):
    """Cannot even be made without its arguments."""

    display_name = "Own new"
    qualified_name = "own_new"

    def __new__(cls, size: int) -> OwnNew:
        """Make the one instance."""
        assert size > 0
        return super().__new__(cls)

    def __init__(self, size: int) -> None:
        self.size = size


class ProcessIDs(BaseModel):
    """Which process loaded the model, and which one answers."""

    loaded: int
    answering: int


class Process(Quick):
    """Tells its processes apart."""

    display_name = "Process"
    qualified_name = "process"
    output_schema = ProcessIDs

    def __init__(self) -> None:
        pass_gate("process")
        self._loaded = os.getpid()

    def predict(self, data: Any) -> ProcessIDs:
        """Name both processes."""
        return ProcessIDs(loaded=self._loaded, answering=os.getpid())


class Pool(Quick):
    """Loads with the help of forked processes, as models with joblib or multiprocessing do.

    One task each: the later ones are forked by a thread of the pool, not by the one that loads. Ten
    pools, because how each ends is a race between its threads.
    """

    display_name = "Pool"
    qualified_name = "pool"

    def __init__(self) -> None:
        for _ in range(10):
            with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
                self.squares = pool.map(_square, range(3), chunksize=1)


def _square(number: int) -> int:
    return number**2


class _Traced(MLModelDecorator):
    mark = ""

    @property
    def display_name(self) -> str:
        """The model's name with the decorator's mark behind it."""
        return f"{self._model.display_name}{self.mark}"

    @property
    def description(self) -> str:
        """The model's description with the decorator's mark behind it."""
        return f"{self._model.description}{self.mark}"

    @property
    def output_schema(self) -> type[BaseModel]:
        """The model's output with one field more."""
        return _with_field(self._model.output_schema, f"seen_by{self.mark}")

    def predict(self, data: Any) -> Any:
        """Add the number of the fields that were there before."""
        inner = dict(self._model.predict(data))
        return self.output_schema(**inner, **{f"seen_by{self.mark}": len(inner)})


class DecoratorA(_Traced):
    """Marks with an a."""

    mark = "_a"


class DecoratorB(_Traced):
    """Marks with a b."""

    mark = "_b"


class DecoratorC(_Traced):
    """Marks with a c."""

    mark = "_c"


_SCHEMAS: dict[tuple[type[BaseModel], str], type[BaseModel]] = {}


def _with_field(schema: type[BaseModel], field: str) -> type[BaseModel]:
    # The same class each time, or an instance of one would be none of the next.
    if (schema, field) not in _SCHEMAS:
        extra: Any = {field: (int, ...)}
        _SCHEMAS[schema, field] = create_model(f"Doubled_{field}", __base__=schema, **extra)
    return _SCHEMAS[schema, field]


class NoteAndProcess(BaseModel):
    """What the configuration said, and which process answers."""

    note: str
    process: int


class Noted(Quick):
    """Tells what it was configured with."""

    display_name = "Noted"
    qualified_name = "noted"
    output_schema = NoteAndProcess

    def __init__(self, note: str = "") -> None:
        self._note = note

    def predict(self, data: Any) -> NoteAndProcess:
        """Repeat the note."""
        return NoteAndProcess(note=self._note, process=os.getpid())
