"""Unpacking what clients have compressed."""

from __future__ import annotations

import gzip
import os
import tracemalloc
import zlib

import pytest

from models_api.api.gzip_body import MAXIMUM_MEMBERS, unpack_gzip
from models_api.exceptions import InvalidInput, PayloadTooLarge

NOISE = os.urandom(300_000)
CONTENTS = {
    "nothing": b"",
    "a byte": b"a",
    "a piece": b" " * 65536,
    "a byte more": b" " * 65537,
    "a byte less": b" " * 65535,
    "what shrinks": b"abc" * 400_000,
    "what does not": NOISE,
    "some of each": NOISE + b" " * 1_000_000 + NOISE,
}
PACKED = gzip.compress(b'{"x": 1}', mtime=0)


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
@pytest.mark.parametrize("level", [0, 1, 9])
def test_what_was_packed_is_unpacked(content: bytes, level: int) -> None:
    packed = gzip.compress(content, level)
    assert unpack_gzip(packed, None) == content
    assert unpack_gzip(packed, len(content)) == content
    assert unpack_gzip(packed + packed + gzip.compress(b"", mtime=0) + packed, None) == content * 3


@pytest.mark.parametrize("content", list(CONTENTS.values())[1:], ids=list(CONTENTS)[1:])
def test_what_grows_to_a_byte_too_many_is_refused(content: bytes) -> None:
    with pytest.raises(PayloadTooLarge):
        unpack_gzip(gzip.compress(content), len(content) - 1)
    with pytest.raises(PayloadTooLarge):
        unpack_gzip(gzip.compress(content) + gzip.compress(b"a", mtime=0), len(content))


def test_an_empty_body_holds_nothing() -> None:
    assert unpack_gzip(b"", 0) == b""


@pytest.mark.parametrize(
    "packed",
    [
        *(b"{}", b"\x1f\x8b", b"\x00", PACKED[:-1], PACKED[:-8], PACKED[:12], PACKED[1:]),
        *(PACKED + b"a", PACKED + b"\x00", PACKED + PACKED[:5], PACKED + b" " * 100_000),
        PACKED[:-8] + bytes(4) + PACKED[-4:],
        PACKED[:-4] + bytes(4),
        zlib.compress(b"{}"),
        zlib.compress(b"{}")[2:-4],
        b"\x1f\x8b\x07" + PACKED[3:],
        b"\x1f\x8b\x08\x08" + bytes(6) + b"a" * 200_000,  # a name without an end
    ],
)
def test_what_is_no_gzip_is_invalid(packed: bytes) -> None:
    with pytest.raises(InvalidInput) as caught:
        unpack_gzip(packed, 10_000_000)
    [problem] = caught.value.problems
    assert (problem.location, problem.type) == ((), "parse_error")
    assert "no well-formed gzip" in problem.message


def test_a_body_may_have_many_members_but_not_any_number() -> None:
    member = gzip.compress(b"a", mtime=0)
    assert unpack_gzip(member * MAXIMUM_MEMBERS, None) == b"a" * MAXIMUM_MEMBERS
    for empty in (member, gzip.compress(b"", mtime=0)):
        with pytest.raises(PayloadTooLarge, match="1000 members"):
            unpack_gzip(empty * (MAXIMUM_MEMBERS + 1), None)


def test_a_bomb_takes_no_more_memory_than_it_may_grow_to() -> None:
    bomb = gzip.compress(bytes(200_000_000), 9)
    tracemalloc.start()
    try:
        with pytest.raises(PayloadTooLarge):
            unpack_gzip(bomb, 1_000_000)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()
