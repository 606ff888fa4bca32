"""Versions of registered models of MLflow, by its REST interface."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import urllib3

from models_api.artefacts.objects import ObjectStore
from models_api.artefacts.secrets import without_secrets
from models_api.artefacts.source import (
    Listing,
    RemoteFile,
    Source,
    checked_path,
    name_at,
    no_files,
)
from models_api.artefacts.web import Refused, Web, chunks_of
from models_api.configuration.artefact_addresses import (
    MLFLOW_MODEL,
    OBJECT_STORES,
    shown_address,
)
from models_api.exceptions import ArtefactError

_CREDENTIALS = "MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"


class MLflowModel:
    """The folder of one version of a registered model, which a number or an alias names."""

    def __init__(self, address: str) -> None:
        uri = os.environ.get("MLFLOW_TRACKING_URI", "").rstrip("/")
        if urlsplit(uri).scheme not in ("http", "https"):
            what = "is not set" if not uri else "is no URL of a server"
            hint = "Set it to where MLflow's server is: http://mlflow.internal:5000"
            raise ArtefactError(f"the environment variable MLFLOW_TRACKING_URI {what}", hint)
        found = MLFLOW_MODEL.fullmatch(address)
        assert found is not None  # noqa: S101 (the configuration was checked)
        self._model, self._version, self._alias = found.groups()
        parts = urlsplit(uri)
        user, has_user, host = parts.netloc.rpartition("@")
        self._server = parts._replace(netloc=host).geturl()
        ca_file = os.environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH", "")
        self._web = Web(self._server, _authorization(user if has_user else ""), ca_file)
        self._folder: Source | None = None
        self.shown = address
        self.identity = f"{shown_address(uri)} {address}"
        self.name = name_at(address)

    def revision(self) -> str:
        """Return the number of the version, and when that was made."""
        version = self._found_version()
        return f"{version['version']} of {version.get('creation_timestamp', '')}"

    def listing(self) -> Listing:
        """Return the files of the version."""
        version = self._found_version()
        asked = {"name": self._model, "version": version["version"]}
        location = self._call("mlflow/model-versions/get-download-uri", asked)["artifact_uri"]
        self._folder = self._artifacts(location)
        revision = f"{version['version']} of {version.get('creation_timestamp', '')}"
        return self._folder.listing()._replace(revision=revision)

    def read(self, file: RemoteFile, start: int) -> Iterator[bytes]:
        """Yield the content of a file."""
        assert self._folder is not None  # noqa: S101 (it was listed)
        yield from self._folder.read(file, start)

    def close(self) -> None:
        """Close all connections."""
        self._web.close()
        if self._folder is not None:
            self._folder.close()

    def _found_version(self) -> dict[str, Any]:
        if self._alias is not None:
            asked = {"name": self._model, "alias": self._alias}
            found = self._call("mlflow/registered-models/alias", asked)
        else:
            asked = {"name": self._model, "version": self._version}
            found = self._call("mlflow/model-versions/get", asked)
        version: dict[str, Any] = found["model_version"]
        return version

    def _call(self, path: str, asked: dict[str, str]) -> dict[str, Any]:
        url = f"{self._server}/api/2.0/{path}?{urlencode(asked)}"
        try:
            with self._web.opened(url) as response:
                found: dict[str, Any] = json.loads(response.read())
                return found
        except Refused as error:
            raise _refusal(self.shown, shown_address(self._server), error) from None
        except ValueError:
            message = f"what answers at {shown_address(self._server)} is no server of MLflow"
            raise ArtefactError(message, "See that MLFLOW_TRACKING_URI is right.") from None

    def _artifacts(self, location: str) -> Source:
        parts = urlsplit(location)
        if parts.scheme in OBJECT_STORES:
            return ObjectStore(f"{location.rstrip('/')}/")
        if parts.scheme == "mlflow-artifacts":
            server = f"{urlsplit(self._server).scheme}://{parts.netloc}" if parts.netloc else ""
            return _Proxy(self._web, server or self._server, parts.path.strip("/"), self.shown)
        where = parts.scheme or location
        message = f"the files of {self.shown} are where only MLflow's server is: {where}"
        hint = (
            "Start that with --serve-artifacts, or with --default-artifact-root in s3://, gs:// or "
            "az://, and log the model anew."
        )
        raise ArtefactError(message, hint)


class _Proxy:
    """A folder of artefacts that MLflow's server passes on."""

    def __init__(self, web: Web, server: str, path: str, shown: str) -> None:
        self.shown = self.identity = self.name = shown
        self._web = web
        self._url = f"{server}/api/2.0/mlflow-artifacts/artifacts"
        self._path = path

    def revision(self) -> str:
        """Return what changes with names and sizes."""
        return self.listing().revision

    def listing(self) -> Listing:
        """Return all files."""
        files = sorted(self._files(""))
        if not files:
            raise no_files(self.shown)
        revision = hashlib.sha256(repr(files).encode()).hexdigest()
        return Listing(revision, files, is_folder=True)

    def _files(self, folder: str) -> Iterator[RemoteFile]:
        with self._opened(f"?{urlencode({'path': self._path + folder})}") as body:
            listed = json.loads(b"".join(body)).get("files", [])
        for each in listed:
            path = f"{folder}/{checked_path(each['path'], self.shown)}"
            if each.get("is_dir"):
                yield from self._files(path)
            else:
                size = each.get("file_size")
                yield RemoteFile(path[1:], None if size is None else int(size), "")

    def read(self, file: RemoteFile, start: int) -> Iterator[bytes]:
        """Yield the content of a file."""
        with self._opened(f"/{quote(f'{self._path}/{file.path}')}") as body:
            yield from body

    def close(self) -> None:
        """Leave the connections to whoever has made them."""

    @contextmanager
    def _opened(self, rest: str) -> Iterator[Iterator[bytes]]:
        try:
            with self._web.opened(self._url + rest) as response:
                yield chunks_of(response)
        except Refused as error:
            raise _refusal(self.shown, shown_address(self._url), error) from None


def _authorization(user: str) -> dict[str, str]:
    token = os.environ.get("MLFLOW_TRACKING_TOKEN")
    if token:
        return {"Authorization": f"Bearer {token}"}
    name = os.environ.get("MLFLOW_TRACKING_USERNAME")
    if name:
        user = f"{name}:{os.environ.get('MLFLOW_TRACKING_PASSWORD', '')}"
    return urllib3.make_headers(basic_auth=user) if user else {}


def _refusal(shown: str, server: str, error: Refused) -> ArtefactError:
    if error.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        message = f"{shown} may not be read: {server} answers {error.status}"
        return ArtefactError(message, f"The environment has to have {_CREDENTIALS}.")
    try:
        reason = str(json.loads(error.body)["message"])
    except (ValueError, LookupError, TypeError):
        reason = f"it answers {error.status}"
    message = f"MLflow at {server} does not give {shown}: {without_secrets(reason)}"
    hint = "See in its registry which models, versions and aliases there are."
    return ArtefactError(message, hint)
