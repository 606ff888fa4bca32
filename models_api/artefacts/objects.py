"""Artefacts in object stores: S3 and what speaks as it does, Google's, Azure's."""

from __future__ import annotations

import hashlib
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from http import HTTPStatus
from typing import IO, Any, NoReturn

from models_api.artefacts.secrets import without_secrets
from models_api.artefacts.source import (
    Listing,
    Moved,
    RemoteFile,
    Temporary,
    checked_path,
    name_at,
    no_files,
    require_package,
)
from models_api.configuration.artefact_addresses import scheme_of
from models_api.exceptions import ArtefactError

PROGRAM = "models_api.artefacts.object_program"
_PATIENCE_SECONDS = 2
_VARIABLES = {
    "s3": "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and AWS_ENDPOINT_URL",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
_TEMPORARY = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)


class ObjectStore:
    """A file, or all files of a folder, in a bucket."""

    def __init__(self, address: str) -> None:
        require_package(address)
        self.shown = address
        self._scheme = scheme_of(address)
        self._bucket, _, self._key = address.partition("://")[2].partition("/")
        self.name = name_at(address)
        endpoint = os.environ.get("AWS_ENDPOINT_URL", "") if self._scheme == "s3" else ""
        self.identity = f"{endpoint} {address}"
        self._program: subprocess.Popen[bytes] | None = None

    @property
    def _is_folder(self) -> bool:
        return not self._key or self._key.endswith("/")

    def revision(self) -> str:
        """Return the entity tag of a file, or what changes with those of a folder's files."""
        return self.listing().revision

    def listing(self) -> Listing:
        """Return what there is."""
        if not self._is_folder:
            ((_, size, tag),) = self._ask("head", self._key)
            return Listing(tag, [RemoteFile("", size, tag)], is_folder=False)
        files = sorted(
            RemoteFile(checked_path(path.removeprefix(self._key), self.shown), size, tag)
            for path, size, tag in self._ask("list", self._key)
            # Consoles mark folders by empty objects.
            if not path.endswith("/") and path != self._key.rstrip("/")
        )
        if not files:
            raise no_files(self.shown)
        revision = hashlib.sha256(repr(files).encode()).hexdigest()
        return Listing(revision, files, is_folder=True)

    def read(self, file: RemoteFile, start: int) -> Iterator[bytes]:
        """Yield the content of a file."""
        yield from self._ask("read", self._key + file.path, file.size, file.tag, start)

    def close(self) -> None:
        """End the program that speaks with the store."""
        program, self._program = self._program, None
        if program is None:
            return
        for stream in (program.stdin, program.stdout):
            with suppress(OSError):
                stream.close()  # type: ignore[union-attr] # they are pipes
        try:
            program.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            program.kill()
            program.wait()

    def _ask(self, *request: Any) -> Iterator[Any]:
        answers = self._send(request)
        is_at_end = False
        try:
            while not is_at_end:
                try:
                    kind, content = pickle.load(answers)  # noqa: S301 (of our own program)
                except (EOFError, pickle.UnpicklingError, OSError):
                    raise Temporary("the program that asks the store has ended") from None
                is_at_end = kind in ("end", "error")
                if kind == "error":
                    self._fail(*content)
                if kind != "end":
                    yield content
        finally:
            if not is_at_end:
                self.close()  # what is still to come would be taken for the next answer

    def _send(self, request: Any) -> IO[bytes]:
        if self._program is None:
            paths = os.pathsep.join(filter(None, sys.path))
            self._program = subprocess.Popen(  # noqa: S603 (this Python)
                [sys.executable, "-m", PROGRAM, self._scheme, self._bucket],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": paths},
                start_new_session=True,  # a signal from the keyboard is for the server
            )
        assert self._program.stdin is not None  # noqa: S101 (for the type checker)
        assert self._program.stdout is not None  # noqa: S101 (for the type checker)
        try:
            pickle.dump(request, self._program.stdin)
            self._program.stdin.flush()
        except OSError:
            self.close()
            raise Temporary("the program that asks the store has ended") from None
        return self._program.stdout

    def _fail(self, name: str, text: str, status: int | None) -> NoReturn:
        reason = without_secrets(text)
        if name == "Moved":
            raise Moved
        if name in ("NotFoundError", "FileNotFoundError") or status == HTTPStatus.NOT_FOUND:
            raise ArtefactError(
                f"there is no {self.shown}",
                "See that bucket and path are written as they are there, capitals included.",
            )
        is_denied = status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
        if name in ("PermissionDeniedError", "UnauthenticatedError") or is_denied:
            hint = f"The environment has to have credentials that may: {_VARIABLES[self._scheme]}."
            raise ArtefactError(f"{self.shown} may not be read ({reason})", hint)
        is_final = name == "UnusableStore" or (
            status is not None
            and HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR
            and status not in _TEMPORARY
        )
        if is_final:
            hint = f"See that the environment is right: {_VARIABLES[self._scheme]}."
            raise ArtefactError(f"{self.shown} cannot be read: {reason}", hint)
        raise Temporary(reason)
