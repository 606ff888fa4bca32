"""Google's and Azure's object stores: servers that answer as those do, as far as is asked here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from models_api.artefacts import downloads
from models_api.artefacts.cache import ArtefactCache
from models_api.artefacts.revisions import revision
from models_api.exceptions import ArtefactError
from tests.artefacts.web_server import WebServer, running

pytestmark = [pytest.mark.long, pytest.mark.measured]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    monkeypatch.setattr(downloads, "FIRST_PAUSE_SECONDS", 0.01)
    with running() as server:
        monkeypatch.setenv("GOOGLE_BASE_URL", server.url)
        monkeypatch.setenv("GOOGLE_SKIP_SIGNATURE", "true")
        monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", server.url)
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
        monkeypatch.setenv("AZURE_SKIP_SIGNATURE", "true")
        yield server


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("gs://models/net/x.onnx", "/models/net%2Fx%2Eonnx"),
        ("az://models/net/x.onnx", "/models/net/x.onnx"),
    ],
)
def test_an_object_is_downloaded_goes_on_where_it_broke_off_and_may_vanish(
    server: WebServer, tmp_path: Path, address: str, path: str
) -> None:
    cache, content = ArtefactCache(tmp_path), b"0123456789" * 300_000
    file = server.add(path, content)
    file.cuts = [2_000_000]
    found = cache.fetch(address)
    assert found.path.read_bytes() == content
    assert found.path.name == "x.onnx"
    assert server.requests[-1][1] != "bytes=0-2999999"
    assert revision(address) == found.revision
    file.content = b"newer"
    assert cache.fetch(address).path.read_bytes() == b"newer"
    server.files.clear()
    with pytest.raises(ArtefactError, match=f"there is no {address}"):
        revision(address)


@pytest.mark.parametrize(
    ("address", "variable", "value"),
    [
        ("gs://models/x", "GOOGLE_APPLICATION_CREDENTIALS", "/nowhere/key.json"),
        ("az://models/x", "AZURE_STORAGE_ACCOUNT_NAME", ""),
    ],
)
def test_an_environment_that_cannot_be_right_fails_at_once(
    server: WebServer, tmp_path: Path, address: str, variable: str, value: str
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("GOOGLE_SKIP_SIGNATURE")
        patch.setenv(variable, value) if value else patch.delenv(variable)
        with pytest.raises(ArtefactError, match=f"{address} cannot be read: ") as raised:
            ArtefactCache(tmp_path).fetch(address)
    assert variable in raised.value.hint
    assert not server.requests
