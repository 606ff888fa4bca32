"""Bodies that clients have compressed, unpacked no further than they may grow."""

from __future__ import annotations

import zlib

from models_api.exceptions import InputProblem, InvalidInput, PayloadTooLarge

_GZIP = 16 + zlib.MAX_WBITS
_PIECE_BYTES = 65536
MAXIMUM_MEMBERS = 1000
"""A file of gzip may consist of several. An empty one has 20 bytes, and each takes its time."""


def unpack_gzip(packed: bytes, limit: int | None) -> bytes:
    """Return what a body holds that is compressed by gzip; nothing if it is empty.

    Args:
        packed: The body, of one or more members.
        limit: Bytes that it may grow to; None for any number.

    Raises:
        PayloadTooLarge: it grows to more, or has too many members.
        InvalidInput: it is no gzip, breaks off, or has something else behind it.
    """
    content, left, members = bytearray(), memoryview(packed), 0
    while left:
        members += 1
        if members > MAXIMUM_MEMBERS:
            raise PayloadTooLarge.of_members(MAXIMUM_MEMBERS)
        try:
            left = _unpack_member(left, content, limit)
        except zlib.error:
            raise _malformed() from None
    return bytes(content)


def _unpack_member(packed: memoryview, content: bytearray, limit: int | None) -> memoryview:
    """Append what the first member holds to the content; return what is behind it."""
    member = zlib.decompressobj(_GZIP)
    for end in range(_PIECE_BYTES, len(packed) + _PIECE_BYTES, _PIECE_BYTES):
        piece: bytes | memoryview = packed[end - _PIECE_BYTES : end]
        grown = _PIECE_BYTES
        # What came may be read, and not yet written, once a piece of the content is full.
        while (piece or grown == _PIECE_BYTES) and not member.eof:
            found = member.decompress(piece, _PIECE_BYTES)
            piece, grown = member.unconsumed_tail, len(found)
            content += found
            if limit is not None and len(content) > limit:
                raise PayloadTooLarge.of_bytes(limit)
        if member.eof:
            return packed[min(end, len(packed)) - len(member.unused_data) :]
    raise _malformed()


def _malformed() -> InvalidInput:
    message = "The body is no well-formed gzip, as its Content-Encoding says that it is."
    return InvalidInput([InputProblem((), "parse_error", message)])
