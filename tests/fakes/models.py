"""Models that load, in the ways that models are written."""

import os
import time
from pathlib import Path
from typing import Any

from ml_base import MLModel
from pydantic import BaseModel


class Number(BaseModel):
    """One number."""

    value: float


class Doubled(BaseModel):
    """Twice the number."""

    value: float


class DoublingModel(MLModel):
    """Says everything about itself on the class."""

    display_name = "Doubling"
    qualified_name = "doubling"
    description = "Doubles a number."
    version = "1.0.0"
    input_schema = Number
    output_schema = Doubled

    def __init__(self, factor: float = 2.0) -> None:
        self.factor = factor

    def predict(self, data: Number) -> Doubled:
        """Multiply the number by the factor."""
        return Doubled(value=data.value * self.factor)


class TreblingModel(DoublingModel):
    """Another model of the same shape."""

    qualified_name = "trebling"
    display_name = "Trebling"

    def __init__(self) -> None:
        super().__init__(3.0)


class MarkingModel(DoublingModel):
    """Appends a line to the file that an environment variable names when its `__init__` runs."""

    qualified_name = "marking"

    def __init__(self) -> None:
        super().__init__()
        with Path(os.environ["MARKER_FILE"]).open("a", encoding="utf-8") as marker:
            marker.write("initialised\n")


class FailingModel(DoublingModel):
    """Describes itself on the class, and cannot be made."""

    qualified_name = "failing"

    def __init__(self) -> None:
        raise RuntimeError("the weights are\nnot there")


class ExitingModel(DoublingModel):
    """Calls sys.exit while it loads."""

    qualified_name = "exiting"

    def __init__(self) -> None:
        raise SystemExit("no licence")


class SlowModel(DoublingModel):
    """Takes a while to load."""

    qualified_name = "slow"

    def __init__(self, seconds: float = 0.3) -> None:
        time.sleep(seconds)
        super().__init__()


class HeavyModel(DoublingModel):
    """Takes some memory once it is loaded."""

    qualified_name = "heavy"

    def __init__(self, mebibytes: int) -> None:
        super().__init__()
        self.weights = b"\x01" * (mebibytes * 1024 * 1024)


class LateModel(MLModel):
    """Says nothing about itself before it is loaded."""

    display_name: Any = None
    qualified_name: Any = None
    description: Any = None
    version: Any = None
    input_schema: Any = None
    output_schema: Any = None

    def __init__(self, name: str = "late") -> None:
        self.display_name = "Late"
        self.qualified_name = name
        self.description = "Says late what it is."
        self.version = "1.0.0"
        self.input_schema = Number
        self.output_schema = Doubled

    def predict(self, data: Number) -> Doubled:
        """Double the number."""
        return Doubled(value=data.value * 2)


class LateFailingModel(LateModel):
    """Says nothing about itself, and cannot be made either."""

    def __init__(self) -> None:
        raise RuntimeError("the weights are not there")


class LateSchemasModel(LateModel):
    """Has its names on the class, and its schemas only once it is loaded."""

    display_name = "Late schemas"
    qualified_name = "late_schemas"
    description = "Has late schemas."
    version = "1.0.0"

    def __init__(self) -> None:
        self.input_schema = Number
        self.output_schema = Doubled


class PropertiesModel(MLModel):
    """Computes what it says, without anything that only `__init__` sets."""

    display_name = "Properties"
    description = "Has properties."
    input_schema = Number
    output_schema = Doubled

    @property
    def qualified_name(self) -> str:
        """A name made from another."""
        return type(self).__name__.lower()

    @property
    def version(self) -> str:
        """A version made from numbers."""
        return ".".join(["1", "2"])

    def __init__(self) -> None:
        raise RuntimeError("nobody needs to run this")

    def predict(self, data: Number) -> Doubled:
        """Double the number."""
        return Doubled(value=data.value * 2)


class ParameterisedNewModel(DoublingModel):
    """Cannot be made without `__init__`'s arguments, not even an uninitialised instance."""

    qualified_name = "new"

    def __new__(cls, factor: float) -> "ParameterisedNewModel":  # noqa: ARG004
        return super().__new__(cls)

    def __init__(self, factor: float) -> None:
        super().__init__(factor)


class RenamingModel(DoublingModel):
    """Calls itself something else once it is loaded."""

    qualified_name = "before"

    def __init__(self) -> None:
        super().__init__()
        self.qualified_name = "after"


class ForkingModel(DoublingModel):
    """Runs a process of its own while it loads."""

    qualified_name = "forking"

    def __init__(self) -> None:
        super().__init__()
        child = os.fork()
        if child == 0:
            os._exit(7)
        self.exit_status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
