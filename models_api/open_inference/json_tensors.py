"""Tensors as JSON: their elements in an array, flat in row-major order or nested as the shape."""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy

from models_api.exceptions import TensorError
from models_api.open_inference.datatypes import (
    Array,
    Datatype,
    narrow_to_bfloat16,
    refuse_infinity,
    widen_bfloat16,
)

_KINDS = {
    type(None): "null",
    bool: "a boolean",
    int: "a whole number",
    float: "a number with a fraction or exponent",
    str: "a string",
    list: "an array",
    dict: "an object",
}


def flat_elements(data: Any, shape: tuple[int, ...], count: int) -> list[Any]:
    """List the `count` elements of the shape, from what JSON was parsed to.

    Raises:
        TensorError: they are more or fewer, or nested otherwise.
    """
    if not isinstance(data, list):
        raise TensorError(f"data should be an array, not {_KINDS[type(data)]}.")
    elements = _unnested(data, shape) if data and type(data[0]) is list else data
    if len(elements) != count:
        raise TensorError(f"the shape has {count} elements, but data has {len(elements)}.")
    return elements


def read_json(elements: list[Any], datatype: Datatype) -> Array:
    """Make an array of elements that JSON was parsed to.

    Null is NaN among floats; with it, others become objects.

    Raises:
        TensorError: they are no such elements.
    """
    if datatype.is_float:
        return _floats(elements, datatype)
    if None in elements:
        return _with_nulls(elements, datatype)
    if datatype.name == "BYTES":
        _require_kinds(elements, {str}, "strings", datatype)
        return numpy.array(list(map(str.encode, elements)), dtype=object)
    if datatype.name == "BOOL":
        _require_kinds(elements, {bool}, "true and false", datatype)
        return numpy.array(elements, dtype=bool)
    return _integers(elements, datatype)


def write_json(array: Array, datatype: Datatype) -> list[Any]:
    """List the elements in row-major order, as values that have JSON; BYTES as UTF-8."""
    elements: list[Any] = array.ravel().tolist()
    if datatype.name == "BYTES":
        return [element.decode("utf-8", "replace") for element in elements]
    return elements


def _unnested(data: list[Any], shape: tuple[int, ...]) -> list[Any]:
    """Flatten arrays in arrays one dimension at a time, which takes no loop over elements."""
    values = [data]
    for dimension, length in enumerate(shape):
        if set(map(type, values)) - {list} or set(map(len, values)) - {length}:
            raise TensorError(
                f"data is nested otherwise than the shape says: along dimension {dimension} each "
                f"array should have {length} elements."
            )
        values = list(chain.from_iterable(values))
    return values


def _with_nulls(elements: list[Any], datatype: Datatype) -> Array:
    fillers: dict[str, object] = {"BYTES": "", "BOOL": False}
    filler = fillers.get(datatype.name, 0)
    filled = [filler if element is None else element for element in elements]
    array = read_json(filled, datatype).astype(object)
    array[[index for index, element in enumerate(elements) if element is None]] = None
    return array


def _integers(elements: list[Any], datatype: Datatype) -> Array:
    _require_kinds(elements, {int}, "whole numbers", datatype)
    limits = numpy.iinfo(datatype.held)
    for extreme in (min(elements), max(elements)) if elements else ():
        if not limits.min <= extreme <= limits.max:
            index = elements.index(extreme)
            raise TensorError(
                f"data[{index}] is out of range; {datatype.name} takes whole numbers from "
                f"{limits.min} to {limits.max}."
            )
    return numpy.array(elements, dtype=datatype.held)


def _floats(elements: list[Any], datatype: Datatype) -> Array:
    _require_kinds(elements, {int, float, type(None)}, "numbers", datatype)
    try:
        array: Array = numpy.array(elements, dtype=numpy.float64)
    except OverflowError:
        raise TensorError(f"data holds a number that is too large for {datatype.name}.") from None
    if array.dtype != datatype.held:
        # What is too large becomes infinite, and is refused as such.
        with numpy.errstate(over="ignore"):
            array = array.astype(datatype.held)
    if datatype.name == "BF16":
        array = widen_bfloat16(narrow_to_bfloat16(array))
    refuse_infinity(array, datatype)
    return array


def _require_kinds(
    elements: list[Any], kinds: set[type], described: str, datatype: Datatype
) -> None:
    others = set(map(type, elements)) - kinds
    if others:
        types = list(map(type, elements))
        index = min(map(types.index, others))
        raise TensorError(
            f"data[{index}] is {_KINDS[types[index]]}; {datatype.name} takes {described}."
        )
