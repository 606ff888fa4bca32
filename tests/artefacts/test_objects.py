"""Artefacts in an object store: a real server that speaks as S3 does."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from models_api.artefacts.cache import ArtefactCache
from models_api.artefacts.revisions import revision
from models_api.artefacts.source import Temporary
from models_api.exceptions import ArtefactError
from tests.artefacts.servers import NEEDS_PROGRAMS, ObjectServer, object_server, use_server

pytestmark = [NEEDS_PROGRAMS, pytest.mark.long, pytest.mark.measured]

CONTENT = os.urandom(3_000_000)


@pytest.fixture(scope="module")
def shared_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    with object_server(tmp_path_factory.mktemp("objects")) as server:
        yield server


@pytest.fixture
def store(shared_store: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> ObjectServer:
    use_server(shared_store.environment, monkeypatch)
    return shared_store


def test_an_object_is_downloaded_once_and_again_when_it_changes(
    store: ObjectServer, cache: ArtefactCache
) -> None:
    store.put("a/price é.bin", CONTENT)
    first = cache.fetch("s3://models/a/price é.bin")
    assert first.path.read_bytes() == CONTENT
    assert first.path.name == "price é.bin"
    assert cache.fetch("s3://models/a/price é.bin") == first
    assert revision("s3://models/a/price é.bin") == first.revision
    store.put("a/price é.bin", b"newer")
    assert revision("s3://models/a/price é.bin") != first.revision
    assert cache.fetch("s3://models/a/price é.bin").path.read_bytes() == b"newer"
    store.delete("a/price é.bin")
    with pytest.raises(ArtefactError, match=r"there is no s3://models/a/price é\.bin"):
        revision("s3://models/a/price é.bin")
    assert cache.fetch("s3://models/a/price é.bin").path.read_bytes() == b"newer"


def test_a_folder_has_the_sha256_that_the_shell_finds(
    store: ObjectServer, cache: ArtefactCache
) -> None:
    files = {"config.json": b"{}", "weights/a b.bin": CONTENT, "weights/Z": b"z", ".hidden": b"h"}
    for name, content in files.items():
        store.put(f"net/{name}", content)
    store.put("net/", b"")  # as consoles mark folders
    store.put("network", b"another")
    found = cache.fetch("s3://models/net/")
    assert found.path.name == "net"
    read = {p.relative_to(found.path).as_posix(): p for p in found.path.rglob("*") if p.is_file()}
    assert {name: path.read_bytes() for name, path in read.items()} == files
    command = (
        "find -L . -type f -printf '%P\\0' | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum"
    )
    said = subprocess.run(
        ["bash", "-c", command], cwd=found.path, capture_output=True, text=True, check=True
    )
    digest = said.stdout.split()[0]
    assert found.path.parent.name == digest
    assert cache.fetch("s3://models/net/", digest).path == found.path
    store.put("net/weights/Z", b"y")
    assert revision("s3://models/net/") != found.revision
    assert (cache.fetch("s3://models/net/").path / "weights/Z").read_bytes() == b"y"
    assert (found.path / "weights/Z").read_bytes() == b"z"
    shutil.rmtree(found.path)
    with pytest.raises(ArtefactError, match="has the SHA-256"):
        cache.fetch("s3://models/net/", digest)


@pytest.mark.parametrize(
    "address", ["s3://models/nothing.bin", "s3://models/nothing/", "s3://no-bucket/", "s3://no/a"]
)
def test_what_is_not_there_is_named(
    store: ObjectServer, cache: ArtefactCache, address: str
) -> None:
    with pytest.raises(ArtefactError, match=f"there is no(thing at)? {address}") as raised:
        cache.fetch(address)
    assert "capitals" in raised.value.hint


def test_a_folder_cannot_write_elsewhere(store: ObjectServer, cache: ArtefactCache) -> None:
    store.put("evil/a%5Cb", b"evil")
    with pytest.raises(ArtefactError, match="cannot be written here"):
        cache.fetch("s3://models/evil/")


def test_a_store_that_does_not_answer_is_asked_later_and_no_secret_is_told(
    cache: ArtefactCache, store: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(Temporary, match=r"s3://models/a\.bin cannot be read") as raised:
        cache.fetch("s3://models/a.bin")
    assert "secret-of-the-test" not in str(raised.value)
    assert "key-of-the-test" not in str(raised.value)


def test_processes_that_want_the_same_download_it_once(store: ObjectServer, tmp_path: Path) -> None:
    store.put("shared.bin", CONTENT)
    program = (
        "import logging, pathlib, sys; logging.basicConfig(level=logging.INFO);"
        "from models_api.artefacts.cache import ArtefactCache;"
        "print(ArtefactCache(pathlib.Path(sys.argv[1])).fetch('s3://models/shared.bin').path)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "cache")]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    outputs = [process.communicate() for process in processes]
    assert len({path for path, _ in outputs}) == 1
    logs = "".join(log for _, log in outputs)
    assert logs.count("Downloading s3://models/shared.bin (3.0 MB)") == 1
    path = Path(outputs[0][0].strip())
    assert path.parent.name == hashlib.sha256(CONTENT).hexdigest()


def test_a_forked_worker_asks_after_its_parent_has(
    store: ObjectServer, cache: ArtefactCache
) -> None:
    store.put("forked.bin", b"1")
    found = cache.fetch("s3://models/forked.bin")
    pid = os.fork()
    if not pid:
        os._exit(revision("s3://models/forked.bin") != found.revision)
    assert os.waitpid(pid, 0)[1] == 0
