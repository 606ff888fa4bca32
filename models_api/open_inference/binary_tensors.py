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


def require_size(size: int, datatype: Datatype, count: int) -> None:
    """Refuse a size that is not that of `count` elements, or cannot be, without a look at them.

    Raises:
        TensorError: it is not.
    """
    if datatype.name == "BYTES":
        least = count * _LENGTH.size
        fits, described = least <= size, f"at least {least}"
    else:
        exact = count * datatype.wire.itemsize
        fits, described = exact == size, f"{exact}"
    if not fits:
        raise TensorError(
            f"the shape has {count} elements of {datatype.name}, which are {described} bytes, "
            f"but binary_data_size is {size}."
        )


def read_binary(body: bytes, start: int, size: int, datatype: Datatype, count: int) -> Array:
    """Read `count` elements from `size` bytes that begin at `start`, after `require_size`.

    Numbers are not copied: the array is a read-only view of the body.

    Raises:
        TensorError: the bytes are no such elements.
    """
    if datatype.name == "BYTES":
        return numpy.array(_read_strings(body, start, start + size, count), dtype=object)
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
