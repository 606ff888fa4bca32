"""Tensors as bytes: the data of the protocol's binary tensor extension.

Little-endian, row-major, without padding; each element of BYTES follows its length in 4 bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct

import numpy

from models_api.exceptions import TensorError
from models_api.open_inference.datatypes import (
    Array,
    Datatype,
    narrow_to_bfloat16,
    refuse_infinity,
    widen_bfloat16,
)

_LENGTH = Struct("<I")


def read_binary(body: bytes, start: int, size: int, datatype: Datatype, count: int) -> Array:
    """Read `count` elements from `size` bytes that begin at `start`; they must be there.

    Numbers are not copied: the array is a read-only view of the body.

    Raises:
        TensorError: the bytes are more or fewer, or are no such elements.
    """
    if datatype.name == "BYTES":
        return numpy.array(_read_strings(body, start, start + size, count), dtype=object)
    expected = count * datatype.wire.itemsize
    if size != expected:
        raise TensorError(
            f"the shape has {count} elements of {datatype.name}, which are {expected} bytes, "
            f"but binary_data_size is {size}."
        )
    if datatype.name == "BOOL":
        return _read_booleans(body, start, count)
    array: Array = numpy.frombuffer(body, datatype.wire, count, start)
    if datatype.name == "BF16":
        array = widen_bfloat16(array)
    refuse_infinity(array, datatype)
    return array


def write_binary(array: Array, datatype: Datatype) -> bytes:
    """Write the elements of the array."""
    if datatype.name == "BYTES":
        return b"".join(_written_strings(array))
    if datatype.name == "BF16":
        array = narrow_to_bfloat16(array)
    return array.astype(datatype.wire, copy=False).tobytes()


def _read_booleans(body: bytes, start: int, count: int) -> Array:
    elements = numpy.frombuffer(body, "u1", count, start)
    wrong = elements > 1
    if wrong.any():
        raise TensorError(f"data[{wrong.argmax()}] is neither 0 nor 1, as a BOOL should be.")
    return elements.view("?")


def _read_strings(body: bytes, start: int, end: int, count: int) -> list[bytes]:
    # Before the loop, lest a large count with little data make it long.
    if count * _LENGTH.size > end - start:
        raise TensorError(
            f"the shape has {count} elements of BYTES, which are at least "
            f"{count * _LENGTH.size} bytes, but binary_data_size is {end - start}."
        )
    elements = []
    position = start
    for index in range(count):
        element = position + _LENGTH.size
        if element > end:
            raise TensorError(f"the binary data ends before data[{index}].")
        (length,) = _LENGTH.unpack_from(body, position)
        position = element + length
        if position > end:
            raise TensorError(f"the binary data ends within data[{index}], of {length} bytes.")
        elements.append(body[element:position])
    if position != end:
        left = end - position
        raise TensorError(f"the binary data goes on for {left} bytes after its {count} elements.")
    return elements


def _written_strings(array: Array) -> Iterator[bytes]:
    for element in array.flat:
        yield _LENGTH.pack(len(element))
        yield element
