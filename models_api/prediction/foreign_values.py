"""Values of numpy and pandas as Python's, by what they mean; neither need be installed.

Pydantic takes some of them for others: a duration for a number, a missing date for the year 1.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from math import nan
from typing import Any

_LIBRARIES = {"numpy", "pandas"}
_WITHOUT_LENGTH = {"Y", "M", "generic"}
"""Units of durations that are no number of seconds."""
_DAYS = {"Y", "M", "W", "D"}
_LIMITS = "dates are of the years 1 to 9999, and times are whole microseconds; round it."
_YEARS = ("0001-01-01", "9999-12-31T23:59:59.999999")


class Unwritable:
    """Stands for a value that JSON cannot have as it is; whatever validates or writes it fails."""

    def __init__(self, value: object, reason: str) -> None:
        """Make it of the value and what is wrong with it."""
        kind = type(value)
        described = f"{kind.__module__}.{kind.__qualname__}"
        self.message = f"This value of {described} has no exact JSON: {reason}"

    def __repr__(self) -> str:
        """Return what errors show of it."""
        return self.message


# A service has few types, and a loaded model may make its own.
@lru_cache(maxsize=1024)
def is_foreign(kind: type) -> bool:
    """Return whether a type is one of numpy's or pandas', or made of one."""
    return any(base.__module__.partition(".")[0] in _LIBRARIES for base in kind.__mro__)


def python_value(value: object) -> object:
    """Return the value of an array, a tensor or a scalar of any library; others as they are.

    A missing value is None or NaN. What has no exact equal becomes `Unwritable`. Arrays of objects
    become lists of these.
    """
    if is_foreign(type(value)):  # type: ignore[arg-type]
        found = _from_pandas(value)
        return _from_numpy(value) if found is value else found
    return value.tolist() if hasattr(value, "tolist") else value


def by_name(value: Any) -> dict[Any, Any] | None:
    """Return a row or a table with names as a dictionary; None if it has none."""
    if not is_foreign(type(value)):  # type: ignore[arg-type]
        return None
    names = getattr(getattr(value, "dtype", None), "names", None)
    if names:
        return {name: value[name] for name in names}
    return dict(value.items()) if hasattr(value, "items") else None


def _from_pandas(value: Any) -> object:
    pandas: Any = sys.modules.get("pandas")
    # While it is being imported, there are no values of it.
    if pandas is None or not hasattr(pandas, "NaT"):
        return value
    if value is pandas.NaT or value is pandas.NA:
        return nan
    if isinstance(value, pandas.Timestamp | pandas.Timedelta):
        return _from_pandas_time(value)
    # Its own arrays have types that numpy does not know.
    is_array = type(value).__module__.startswith("pandas") and hasattr(value, "tolist")
    return _each(value.tolist()) if is_array else value


def _from_pandas_time(value: Any) -> object:
    try:
        if hasattr(value, "to_pytimedelta"):
            return Unwritable(value, _LIMITS) if value.nanoseconds else value.to_pytimedelta()
        found = value.to_pydatetime(warn=False)
    except (ValueError, OverflowError):
        return Unwritable(value, _LIMITS)
    return Unwritable(value, _LIMITS) if value.nanosecond else found


def _from_numpy(value: Any) -> object:
    numpy: Any = sys.modules["numpy"]
    if not hasattr(value, "dtype") or not hasattr(value, "tolist"):
        return value
    if value is numpy.ma.masked:
        return None
    kind = value.dtype.kind
    if kind in "VOT" or isinstance(value, numpy.ma.MaskedArray):
        return _each_from_numpy(value)
    if kind in "mM":
        return _time(value, numpy)
    if value.dtype.char in "gG":
        return _narrowed(value, numpy)
    return value.tolist()


def _each_from_numpy(value: Any) -> object:
    if getattr(value, "ndim", 0):
        return [_each(item) for item in value]
    if value.dtype.names:
        return tuple(_each(value[name]) for name in value.dtype.names)
    held = value.tolist()
    return held if held is value else _each(held)


def _time(value: Any, numpy: Any) -> object:
    """Return dates, times and durations; numpy's own `tolist` makes integers of the finer ones."""
    unit, _ = numpy.datetime_data(value.dtype)
    kind = value.dtype.kind
    missing = numpy.isnat(value)
    if not numpy.all(missing) and unit in (_WITHOUT_LENGTH if kind == "m" else {"generic"}):
        return Unwritable(value, f"its unit is {unit}.")
    target = f"{kind}8[{'D' if kind == 'M' and unit in _DAYS else 'us'}]"
    try:
        converted = value.astype(target)
    except OverflowError:
        return Unwritable(value, _LIMITS)
    if kind == "M":
        first, last = numpy.array(_YEARS, target)
        if not numpy.all(missing | ((converted >= first) & (converted <= last))):
            return Unwritable(value, _LIMITS)
    if not numpy.all(missing | (converted.astype(value.dtype) == value)):
        return Unwritable(value, _LIMITS)
    return converted.tolist()


def _narrowed(value: Any, numpy: Any) -> object:
    """Return numbers of more than double precision in that."""
    with numpy.errstate(over="ignore"):
        narrow = value.astype("f8" if value.dtype.char == "g" else "c16")
    if not numpy.all(numpy.isfinite(narrow) | ~numpy.isfinite(value)):
        return Unwritable(value, "it is too large for double precision.")
    return narrow.tolist()


def _each(value: object) -> object:
    if isinstance(value, list):
        return [_each(item) for item in value]
    return python_value(value)
