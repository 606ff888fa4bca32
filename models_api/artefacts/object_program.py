"""Speaks with an object store, for `ObjectStore`: runs as a program.

obstore has threads of its own, which a forked worker would lack, and wait for without end. So none
of it is in a process that serves.
"""

from __future__ import annotations

import os
import pickle
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any

import obstore
from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, S3Store

from models_api.artefacts.source import CHUNK_BYTES, Moved

UNUSABLE = "UnusableStore"
_STORES: dict[str, Any] = {"s3": S3Store, "gs": GCSStore, "az": AzureStore}
_ENDPOINTS = {
    "s3": ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT"),
    "gs": ("GOOGLE_BASE_URL",),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}
_PART_BYTES = 64 << 20
"""That are read by one request."""
_PART_SECONDS = 120
_STATUS = re.compile(r"status code: (\d{3})")
Answer = tuple[str, Any]


def main() -> None:
    """Answer the requests that come from standard input, until there are no more."""
    scheme, bucket = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what else is printed is no answer
    while True:
        try:
            request = pickle.load(sys.stdin.buffer)  # noqa: S301 (of our own process)
        except EOFError:
            return
        for answer in _answers(scheme, bucket, *request):
            pickle.dump(answer, answers)
            answers.flush()


def _answers(scheme: str, bucket: str, operation: str, *given: Any) -> Iterator[Answer]:
    try:
        store = _store(scheme, bucket)
    except Exception as error:  # noqa: BLE001 (it is reported)
        # No server was asked: the environment is what is wrong.
        _, text, _ = _reported(error)
        yield "error", (UNUSABLE, text, None)
        return
    try:
        yield from _OPERATIONS[operation](store, *given)
        yield "end", None
    except Exception as error:  # noqa: BLE001 (it is reported)
        yield "error", _reported(error)


def _store(scheme: str, bucket: str) -> Any:
    endpoints = [os.environ[name] for name in _ENDPOINTS[scheme] if os.environ.get(name)]
    return _STORES[scheme](
        bucket,
        client_options={
            "allow_http": any(each.startswith("http:") for each in endpoints),
            "timeout": timedelta(seconds=_PART_SECONDS),
        },
        # Whoever asks tries again, and says so in the log.
        retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=_PART_SECONDS)},
    )


def _head(store: Any, path: str) -> Iterator[Answer]:
    yield "file", _described(obstore.head(store, path))


def _list(store: Any, prefix: str) -> Iterator[Answer]:
    for chunk in obstore.list(store, prefix=prefix or None):
        for each in chunk:
            yield "file", _described(each)


def _read(store: Any, path: str, size: int, tag: str, start: int) -> Iterator[Answer]:
    while start < size:
        options: Any = {"range": (start, min(start + _PART_BYTES, size))}
        answer = obstore.get(store, path, options=options)
        if _described(answer.meta)[1:] != (size, tag):
            raise Moved
        for chunk in answer.stream(min_chunk_size=CHUNK_BYTES):
            yield "chunk", bytes(chunk)
            start += len(chunk)


_OPERATIONS: Mapping[str, Callable[..., Iterator[Answer]]] = {
    "head": _head,
    "list": _list,
    "read": _read,
}


def _described(meta: Any) -> tuple[str, int, str]:
    tag = meta["e_tag"] or meta["version"] or meta["last_modified"].isoformat()
    return meta["path"], meta["size"], tag


def _reported(error: Exception) -> tuple[str, str, int | None]:
    """Return name, text and status of an error."""
    text = str(error).partition("\n\nDebug source")[0]
    status = _STATUS.search(text)
    is_known = isinstance(error, BaseError | OSError | Moved)
    name = type(error).__name__ if is_known else UNUSABLE
    return name, " ".join(text.split()), int(status[1]) if status else None


main()
