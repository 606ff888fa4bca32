"""The items of an array in JSON as they were written, so that they can be put together anew.

What is parsed and written again may be another number: 0.10000000000000001, say, for a Decimal.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

_SPACE = re.compile(r"[ \t\r\n]*")
_raw_decode = json.JSONDecoder().raw_decode


class Item(NamedTuple):
    """An item of an array."""

    text: str
    """As it was written."""
    value: object
    """As it is parsed."""


def array_items(body: bytes, key: str) -> list[Item] | None:
    """Return the items of the array that is under a key of an object; None if there is no such.

    Nor if there are two, or the body is no JSON.
    """
    try:
        return _Reader(body.decode(), key).read()
    except (ValueError, IndexError, RecursionError):
        return None


def write_array(key: str, items: Iterable[str]) -> bytes:
    """Return an object that has nothing but an array of items as they were written."""
    return f'{{"{key}":[{",".join(items)}]}}'.encode()


def in_order(parts: Iterable[tuple[Sequence[int], Sequence[str]]], length: int) -> list[str]:
    """Return the items of several arrays, each with the indexes that its items are to have."""
    found = [""] * length
    for indexes, items in parts:
        for index, item in zip(indexes, items, strict=True):
            found[index] = item
    return found


class _Reader:
    def __init__(self, text: str, key: str) -> None:
        self._text = text
        self._key = key
        self._position = 0

    def read(self) -> list[Item] | None:
        found: list[Item] | None = None
        self._take("{")
        while True:
            key = self._value()
            if not isinstance(key, str):
                return None
            self._take(":")
            if key != self._key:
                self._value()
            elif found is not None:
                return None
            else:
                found = self._array()
            if self._take("},") == "}":
                break
        self._skip()
        return found if self._position == len(self._text) else None

    def _array(self) -> list[Item]:
        items: list[Item] = []
        self._take("[")
        self._skip()
        if self._text[self._position] == "]":
            self._position += 1
            return items
        while True:
            self._skip()
            start = self._position
            value = self._value()
            items.append(Item(self._text[start : self._position], value))
            if self._take("],") == "]":
                return items

    def _value(self) -> object:
        self._skip()
        value, self._position = _raw_decode(self._text, self._position)
        return value

    def _take(self, characters: str) -> str:
        self._skip()
        found = self._text[self._position]
        if found not in characters:
            raise ValueError(f"Another character than {characters}")
        self._position += 1
        return found

    def _skip(self) -> None:
        match = _SPACE.match(self._text, self._position)
        assert match is not None  # noqa: S101 (it may be empty)
        self._position = match.end()
