"""The protocol's tensor datatypes, and the numpy types that hold them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy
from numpy.typing import NDArray

from models_api.exceptions import TensorError

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Datatype:
    """How the elements of one datatype travel, and how they are held."""

    name: str
    wire: numpy.dtype[Any]
    """In binary data. Elements of BYTES have no one size; there it says nothing."""
    held: numpy.dtype[Any]
    """In an array in memory. The same, but for BF16, which numpy does not know."""

    @property
    def is_float(self) -> bool:
        """Whether elements may have a fraction."""
        return self.held.kind == "f"


def datatype(name: Any) -> Datatype:
    """Find a datatype by the name that the protocol gives it.

    Raises:
        TensorError: there is none.
    """
    found = DATATYPES.get(name) if isinstance(name, str) else None
    if found is None:
        raise TensorError(f"the datatype should be one of {', '.join(DATATYPES)}.")
    return found


def widen_bfloat16(bits: Array) -> Array:
    """Make float32 of the 16 bits of BF16, which are the upper half of a float32."""
    return (bits.astype("<u4") << 16).view("<f4")


def narrow_to_bfloat16(values: Array) -> Array:
    """Round float32 to the nearest BF16, ties to even, as 16 bits."""
    bits = numpy.ascontiguousarray(values, "<f4").view("<u4")
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    # Rounding would make a number of some NaNs.
    return numpy.where(numpy.isnan(values), 0x7FC0, rounded).astype("<u2")


def refuse_infinity(array: Array, datatype: Datatype) -> None:
    """Refuse infinities in floats, which a prediction's JSON may not hold either.

    NaN is left to whoever knows whether a value may be missing.

    Raises:
        TensorError: there is one; it says where, counted in row-major order.
    """
    if not datatype.is_float:
        return
    finite = numpy.isfinite(array)
    # Several times faster than all() where there is little data.
    if numpy.count_nonzero(finite) == finite.size:
        return
    finite |= numpy.isnan(array)
    if numpy.count_nonzero(finite) != finite.size:
        raise TensorError(f"data[{finite.argmin()}] is not a finite number of {datatype.name}.")


def missing(array: Array) -> Array | None:
    """Return where values are missing, being NaN or None; None if nowhere."""
    if array.dtype.kind == "f":
        found = numpy.isnan(array)
    elif array.dtype.kind == "O":
        found = numpy.equal(array, None)  # type: ignore[call-overload]
    else:
        return None
    return found if numpy.count_nonzero(found) else None


DATATYPES = {
    name: Datatype(name, numpy.dtype(wire), numpy.dtype(held))
    for name, wire, held in [
        ("BOOL", "?", "?"),
        ("UINT8", "u1", "u1"),
        ("UINT16", "<u2", "<u2"),
        ("UINT32", "<u4", "<u4"),
        ("UINT64", "<u8", "<u8"),
        ("INT8", "i1", "i1"),
        ("INT16", "<i2", "<i2"),
        ("INT32", "<i4", "<i4"),
        ("INT64", "<i8", "<i8"),
        ("FP16", "<f2", "<f2"),
        ("FP32", "<f4", "<f4"),
        ("FP64", "<f8", "<f8"),
        ("BF16", "<u2", "<f4"),
        ("BYTES", "O", "O"),
    ]
}
