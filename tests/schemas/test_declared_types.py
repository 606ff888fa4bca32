"""Whether an instance holds exactly what its class declares."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import Any, Literal

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import pytest
from pydantic import BaseModel, ConfigDict, RootModel, computed_field, field_serializer

from models_api.schemas.declared_types import declared_types

NOON = datetime(2026, 1, 2, 12)  # noqa: DTZ001 (numpy's have no time zone)


class Colour(Enum):
    RED = "red"


class Inner(BaseModel):
    score: float
    label: str = ""


class Outer(BaseModel):
    inner: Inner = Inner(score=1)
    many: list[Inner] = []
    numbers: list[float] = [0.5]
    named: dict[str, float] = {"a": 0.5}
    colours: dict[str, list[Colour]] = {"a": [Colour.RED]}
    when: datetime | None = NOON
    count: int = 0
    maybe: list[Inner | None] | None = None
    perhaps: dict[str, list[float | None]] = {"a": [None, 0.5], "b": []}
    children: list[Outer] = []
    kind: Literal["a", "b"] = "a"
    level: Literal[1, 2, None] = None


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"many": [Inner(score=2)], "when": None},
        {"children": [Outer(), Outer(children=[Outer()])]},
        {"numbers": [], "named": {}},
        {"maybe": [None, Inner(score=2), None], "perhaps": {}},
        {"inner": Inner.model_construct(score=float("nan"))},
        {"kind": "b", "level": 2},
    ],
)
def test_what_is_declared_is_found_so(values: dict[str, Any]) -> None:
    check = declared_types(Outer)
    assert check is not None
    assert check([Outer(**values)])
    assert check([Outer(**values), Outer(), Outer(**values)])


NOTHING: Any = None
LACKING = Inner(score=1)
del LACKING.score


class MoreInner(Inner):
    secret: str = ""


@pytest.mark.parametrize(
    "values",
    [
        {"inner": None},
        {"inner": {"score": 1.0, "label": ""}},
        {"inner": MoreInner(score=1)},
        {"inner": Inner.model_construct(score=np.float64(1))},
        {"inner": LACKING},
        {"many": (Inner(score=1),)},
        {"many": [Inner(score=1), Inner.model_construct(score=1)]},
        {"numbers": [0.5, 1]},
        {"numbers": np.array([0.5])},
        {"numbers": [np.timedelta64(5, "ns")]},
        {"named": {np.str_("a"): 0.5}},
        {"named": {"a": np.datetime64(5, "ns")}},
        {"colours": {"a": ["red"]}},
        {"when": pd.NaT},
        {"when": pd.Timestamp(NOON)},
        {"count": True},
        {"maybe": [Inner(score=1), None, "x"]},
        {"maybe": [None, Inner.model_construct(score=NOTHING)]},
        {"maybe": ()},
        {"kind": "c"},
        {"kind": np.str_("a")},
        {"kind": None},
        {"level": True},
        {"level": 3},
        {"level": [1]},
        {"perhaps": {"a": [None, 1]}},
        {"perhaps": {"a": None}},
        {"perhaps": {1: [0.5]}},
        {"children": [Outer.model_construct(count=NOTHING)]},
    ],
)
def test_anything_else_is_not(values: dict[str, Any]) -> None:
    check = declared_types(Outer)
    assert check is not None
    assert not check([Outer.model_construct(**values)])
    assert not check([Outer(), Outer.model_construct(**values), Outer()])


class Computed(BaseModel):
    @computed_field  # type: ignore[prop-decorator]
    @property
    def x(self) -> float:
        return 1.0


class Written(BaseModel):
    x: int = 0

    @field_serializer("x")
    def write(self, value: int) -> str:
        return str(value)


class Extra(BaseModel):
    model_config = ConfigDict(extra="allow")


class Anything(BaseModel):
    x: Any = 0


class Several(BaseModel):
    x: int | str = 0


class Mixed(BaseModel):
    x: Literal[1, True] = 1


@pytest.mark.parametrize(
    "schema", [Computed, Written, Extra, Anything, Several, Mixed, RootModel[int]]
)
def test_of_some_schemas_nobody_knows(schema: type[BaseModel]) -> None:
    assert declared_types(schema) is None
