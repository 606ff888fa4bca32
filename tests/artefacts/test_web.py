"""Artefacts at URLs, from a real web server that does not always do as it should."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from models_api.artefacts import downloads
from models_api.artefacts.cache import ArtefactCache
from models_api.artefacts.revisions import revision
from models_api.artefacts.source import Temporary
from models_api.exceptions import ArtefactError
from tests.artefacts.web_server import WebServer, running

CONTENT = bytes(range(256)) * 5_000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(scope="module")
def shared_server() -> Iterator[WebServer]:
    with running() as server:
        yield server


@pytest.fixture
def server(shared_server: WebServer, monkeypatch: pytest.MonkeyPatch) -> WebServer:
    monkeypatch.setattr(downloads, "FIRST_PAUSE_SECONDS", 0.001)
    shared_server.files.clear()
    shared_server.requests.clear()
    shared_server.authorizations.clear()
    return shared_server


def debris(cache: ArtefactCache) -> list[Path]:
    return list((cache.folder / "partial").iterdir())


def kept(cache: ArtefactCache) -> list[Path]:
    return [path for path in (cache.folder / "content").rglob("*") if path.is_file()]


def test_a_file_is_downloaded_once_and_again_when_it_changes(
    server: WebServer, cache: ArtefactCache
) -> None:
    address = f"{server.url}/models/iris.onnx"
    server.add("/models/iris.onnx", CONTENT)
    first = cache.fetch(address)
    assert first.path.read_bytes() == CONTENT
    assert first.path.name == "iris.onnx"
    assert first.path.parent.name == DIGEST
    assert cache.fetch(address) == first
    assert [requested for _, requested in server.requests] == ["bytes=0-0", "", "bytes=0-0"]
    server.add("/models/iris.onnx", b"another")
    assert revision(address) != first.revision
    second = cache.fetch(address)
    assert second.path.read_bytes() == b"another"
    assert first.path.read_bytes() == CONTENT
    assert cache.cached(address) == second.path
    server.add("/models/iris.onnx", CONTENT)
    server.requests.clear()
    assert cache.fetch(address) == first
    assert len(server.requests) == 1  # it is here still
    assert not debris(cache)


def test_what_its_sha256_names_is_asked_for_once(server: WebServer, cache: ArtefactCache) -> None:
    server.add("/a.bin", CONTENT)
    path = cache.fetch(f"{server.url}/a.bin", DIGEST).path
    server.requests.clear()
    assert cache.fetch(f"{server.url}/a.bin", DIGEST).path == path
    assert cache.fetch("https://no-such-host.invalid/a.bin", DIGEST).path == path
    assert not server.requests
    path.write_bytes(b"damaged")
    assert cache.fetch(f"{server.url}/a.bin", DIGEST).path.read_bytes() == CONTENT
    assert not debris(cache)


def test_what_has_another_sha256_is_not_kept(server: WebServer, cache: ArtefactCache) -> None:
    server.add("/a.bin", CONTENT)
    cache.fetch(f"{server.url}/a.bin")
    server.add("/a.bin", b"evil")
    with pytest.raises(ArtefactError, match=r"has the SHA-256 [0-9a-f]{64}, and not") as raised:
        cache.fetch(f"{server.url}/a.bin", "0" * 64)
    assert raised.value.key == "sha256"
    assert "write that one as sha256" in raised.value.hint
    assert [path.read_bytes() for path in kept(cache)] == [CONTENT]
    assert not debris(cache)


@pytest.mark.parametrize("has_ranges", [True, False])
@pytest.mark.parametrize("has_tags", [True, False])
@pytest.mark.parametrize("has_length", [True, False])
def test_a_download_that_breaks_off_goes_on_or_begins_again(
    server: WebServer, cache: ArtefactCache, has_ranges: bool, has_tags: bool, has_length: bool
) -> None:
    file = server.add("/a.bin", CONTENT)
    file.has_ranges, file.has_tags, file.has_length = has_ranges, has_tags, has_length
    # Without a length nobody can tell the end from a break, but by ranges, or the SHA-256.
    if has_length:
        file.cuts = [300_000, 500_000, 1]
    assert cache.fetch(f"{server.url}/a.bin").path.read_bytes() == CONTENT
    if has_length and has_ranges and has_tags:
        requested = [each for _, each in server.requests]
        assert requested[:2] == ["bytes=0-0", ""]
        assert requested[2].removeprefix("bytes=").rstrip("-") != "0"


def test_a_truncated_download_without_a_length_is_noticed_by_what_was_said_before(
    server: WebServer, cache: ArtefactCache
) -> None:
    file = server.add("/a.bin", CONTENT)
    file.has_length, file.cuts = False, [100_000]
    assert cache.fetch(f"{server.url}/a.bin").path.read_bytes() == CONTENT


def test_a_server_that_always_breaks_off_leaves_what_is_here_alone(
    server: WebServer, cache: ArtefactCache, caplog: pytest.LogCaptureFixture
) -> None:
    address = f"{server.url}/a.bin"
    server.add("/a.bin", b"good")
    before = cache.fetch(address)
    file = server.add("/a.bin", CONTENT)
    file.has_ranges, file.cuts = False, [0] * 100
    with pytest.raises(Temporary, match="IncompleteRead"):
        cache.fetch(address, or_latest=False)
    assert cache.fetch(address) == before
    assert "What was downloaded from there before is taken." in caplog.text
    assert not debris(cache)
    file.cuts = []
    assert cache.fetch(address).path.read_bytes() == CONTENT


def test_a_busy_server_is_asked_again(
    server: WebServer, cache: ArtefactCache, caplog: pytest.LogCaptureFixture
) -> None:
    file = server.add("/a.bin", CONTENT)
    file.statuses = [503, 429, 500, 200, 502]
    file.headers = {"Retry-After": "0.002"}
    with caplog.at_level(logging.INFO):
        assert cache.fetch(f"{server.url}/a.bin").path.read_bytes() == CONTENT
    assert "it answers 503; trying again in" in caplog.text
    assert "(1.3 MB) ..." in caplog.text
    assert "1.3 MB in" in caplog.text


def test_what_changes_while_it_is_read_is_read_anew(
    server: WebServer, cache: ArtefactCache
) -> None:
    file = server.add("/a.bin", CONTENT)
    file.cuts = [500_000]
    old_tag = file.tag

    def change() -> None:
        if len(server.requests) == 3:
            file.content = CONTENT[::-1]

    file.before = change
    found = cache.fetch(f"{server.url}/a.bin")
    assert found.path.read_bytes() == CONTENT[::-1]
    assert found.revision == file.tag != old_tag


def test_what_changes_all_the_time_comes_to_an_end(server: WebServer, cache: ArtefactCache) -> None:
    file = server.add("/a.bin", b"0")

    def change() -> None:
        file.content = str(len(server.requests)).encode()

    file.before = change
    with pytest.raises(Temporary, match="changes faster than it can be read"):
        cache.fetch(f"{server.url}/a.bin")
    assert not debris(cache)


@pytest.mark.parametrize(
    ("status", "message", "hint"),
    [
        (404, "there is no http", "address is right"),
        (410, "there is no http", "address is right"),
        (401, "may not be read: the server answers 401", "environment variables"),
        (403, "may not be read: the server answers 403", "may have expired"),
        (418, "cannot be read: the server answers 418", "Ask its owner"),
    ],
)
def test_a_refusal_says_what_to_do_and_no_secret(
    server: WebServer, cache: ArtefactCache, status: int, message: str, hint: str
) -> None:
    file = server.add("/a.bin", CONTENT)
    file.statuses = [status] * 9
    address = server.url.replace("//", "//me:passw0rd@") + "/a.bin?signature=s3cret#frag"
    with pytest.raises(ArtefactError, match=message) as raised:
        cache.fetch(address)
    text = f"{raised.value} {raised.value.hint}"
    assert hint in text
    assert f"{server.url}/a.bin?..." in text
    assert "passw0rd" not in text
    assert "s3cret" not in text
    assert server.authorizations == ["Basic bWU6cGFzc3cwcmQ="]


def test_an_empty_file_is_none(server: WebServer, cache: ArtefactCache) -> None:
    server.add("/a.bin", b"")
    with pytest.raises(ArtefactError, match="is empty"):
        cache.fetch(f"{server.url}/a.bin")


def test_a_vanished_file_leaves_what_was_there_before(
    server: WebServer, cache: ArtefactCache, caplog: pytest.LogCaptureFixture
) -> None:
    address = f"{server.url}/a.bin"
    server.add("/a.bin", CONTENT)
    before = cache.fetch(address)
    server.files.clear()
    with pytest.raises(ArtefactError, match="there is no"):
        revision(address)
    assert cache.fetch(address) == before
    assert "there is no" in caplog.text
    with pytest.raises(ArtefactError, match="there is no"):
        cache.fetch(address, or_latest=False)


def test_what_was_there_before_is_not_taken_for_what_is_known_to_be_newer(
    server: WebServer, cache: ArtefactCache
) -> None:
    address = f"{server.url}/a.bin"
    server.add("/a.bin", b"old")
    before = cache.fetch(address)
    file = server.add("/a.bin", CONTENT)
    file.cuts, file.has_ranges = [0] * 100, False
    cache.revisions.latest(address, 0)
    with pytest.raises(Temporary):
        cache.fetch(address)
    server.files.clear()
    with pytest.raises(ArtefactError, match="there is no"):
        cache.fetch(address)
    # Nobody has heard of a newer one after a restart.
    assert ArtefactCache(cache.folder).fetch(address) == before


def test_that_a_source_does_not_tell_what_it_has_is_logged_once(
    server: WebServer, cache: ArtefactCache, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    address, known = f"{server.url}/a.bin?signature=s3cret", cache.revisions
    server.add("/a.bin", CONTENT)
    found = known.latest(address, 0)
    server.files.clear()
    assert {known.latest(address, 0) for _ in range(3)} == {found}
    assert "there is no" in (known.doubt(address) or "")
    assert caplog.text.count("something newer is not known") == 1
    assert "s3cret" not in caplog.text
    server.add("/a.bin", CONTENT)
    assert known.latest(address, 0) == found
    assert known.doubt(address) is None
    assert "tells again" in caplog.text


def test_a_host_that_is_not_there_is_named_with_the_reason(
    cache: ArtefactCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "FIRST_PAUSE_SECONDS", 0.001)
    with pytest.raises(Temporary, match=r"http://127\.0\.0\.1:1/a\.bin.* refused"):
        cache.fetch("http://127.0.0.1:1/a.bin")


def test_a_proxy_of_the_environment_is_used(
    server: WebServer, cache: ArtefactCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.delenv("no_proxy", raising=False)
    server.add("http://models.invalid/a.bin", CONTENT)
    assert cache.fetch("http://models.invalid/a.bin").path.read_bytes() == CONTENT


def test_a_name_that_no_file_can_have_is_changed(server: WebServer, cache: ArtefactCache) -> None:
    server.add("/a%2Fb%00%0A%C3%A9.bin", CONTENT)
    path = cache.fetch(f"{server.url}/a%2Fb%00%0A%C3%A9.bin").path
    assert path.name == "b__é.bin"
    assert path.read_bytes() == CONTENT
