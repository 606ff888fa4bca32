"""What a request says of whose it is, by which it stays with one version of a model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic_core import CoreSchema, SchemaValidator, core_schema

from models_api.configuration.header_names import environ_key
from models_api.exceptions import PayloadTooLarge
from models_api.prediction.value_limit import ValueLimit
from models_api.schemas.costs import PLAIN


class TrafficKey:
    """A header of requests or a field of their rows, or neither: then chance alone decides."""

    def __init__(self, text: str | None = None, maximum_values: int | None = None) -> None:
        """Make it.

        Args:
            text: What the configuration has, such as `header:X-User` or `field:customer.id`.
            maximum_values: That a row may hold of which the field is read; None for any number.
        """
        kind, _, name = (text or "").partition(":")
        self._header = environ_key(name) if kind == "header" else None
        self._path = tuple(name.split(".")) if kind == "field" else ()
        self._read = SchemaValidator(_field_schema(self._path)).validate_json
        self._limit = plain_limit(maximum_values)
        self._harmless_bytes = self._limit.harmless_bytes

    def of_request(self, environ: Mapping[str, object], body: bytes) -> bytes | None:
        """Return the key of a request for one row, by its environ or JSON; None if it has none."""
        if not self._path:
            return self.of_header(environ)
        try:
            if len(body) > self._harmless_bytes:
                self._limit.check(body)
            row = self._read(body)
            for name in self._path:
                row = row[name]
        except (ValueError, LookupError, PayloadTooLarge):  # the model says what is wrong
            return None
        return key_of(row)

    def of_header(self, environ: Mapping[str, object]) -> bytes | None:
        """Return the key that a header of a request is; None if it has none, or an empty one."""
        value = None if self._header is None else environ.get(self._header)
        return str(value).encode("latin-1", "replace") if value else None

    def of_row(self, row: Any) -> bytes | None:
        """Return the key that a field of a row is; None if the row has no such field."""
        return _key_in(row, self._path) if self._path else None

    def of_column(self, value: Any) -> bytes | None:
        """Return the key of a row of which only the outermost field is given, with all in it."""
        return _key_in(value, self._path[1:])

    @property
    def column(self) -> str | None:
        """Name of the outermost field; None if no field is the key."""
        return self._path[0] if self._path else None


def _key_in(row: Any, path: tuple[str, ...]) -> bytes | None:
    for name in path:
        row = row.get(name) if isinstance(row, dict) else None
    return key_of(row)


def key_of(value: object) -> bytes | None:
    """Return the key that a value is: 7, 7.0 and "7" are the same; None for null and empty text."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass") or None
    if value is None:
        return None
    if isinstance(value, float):
        return repr(int(value) if value.is_integer() else value).encode()
    if type(value) is int:
        return repr(value).encode()
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _field_schema(path: tuple[str, ...]) -> CoreSchema:
    """Return a schema that reads one field, and makes nothing of all others."""
    schema: CoreSchema = core_schema.any_schema()
    for name in reversed(path):
        field = core_schema.typed_dict_field(schema, required=False)
        schema = core_schema.typed_dict_schema({name: field})
    return schema


@cache
def plain_limit(maximum_values: int | None) -> ValueLimit:
    """Return the limit of JSON of which plain values are made."""
    return ValueLimit(PLAIN, maximum_values)
