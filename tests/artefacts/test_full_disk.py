"""A disk without room: nothing is left of the download, and what is here stays."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.artefacts.web_server import WebServer, running

pytestmark = [pytest.mark.long, pytest.mark.measured]

CONTENT = os.urandom(3_000_000)
FETCHES = """
import json, pathlib, resource, sys
from models_api.artefacts import downloads
from models_api.artefacts.cache import ArtefactCache
from models_api.exceptions import ArtefactError
address, folder, bytes_of_a_file, kept_free = sys.argv[1:]
downloads._KEPT_FREE_BYTES = int(kept_free)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(bytes_of_a_file), resource.RLIM_INFINITY))
try:
    ArtefactCache(pathlib.Path(folder)).fetch(address)
except ArtefactError as error:
    print(json.dumps([str(error), error.hint]))
"""
ON_A_SMALL_DISK = (
    'mount -t tmpfs -o size=2m tmpfs "$0" && "$@"; status=$?; ls -R "$0"; exit $status'
)


def fetch(server: WebServer, folder: Path, limit: int, kept_free: int = 1 << 20) -> list[str]:
    command = [*("-c", FETCHES, f"{server.url}/a.bin", str(folder), str(limit), str(kept_free))]
    ended = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=True)
    found: list[str] = json.loads(ended.stdout) if ended.stdout else []
    return found


@pytest.mark.parametrize("has_length", [True, False])
def test_a_write_that_fails_half_way_leaves_nothing(tmp_path: Path, has_length: bool) -> None:
    with running() as server:
        server.add("/a.bin", b"small")
        assert not fetch(server, tmp_path, 1_000_000)
        file = server.add("/a.bin", CONTENT)
        file.has_length = has_length
        # What was there before is taken, so that the service goes on.
        assert not fetch(server, tmp_path, 1_000_000)
        fresh = tmp_path / "fresh"
        message, hint = fetch(server, fresh, 1_000_000)
        assert f"there is no room for {server.url}/a.bin in {fresh}" in message
        assert "File too large" in message
        assert "MODELHOST_ARTEFACT_CACHE" in hint
        assert not list((fresh / "partial").iterdir())
        assert not (fresh / "content").exists()
        kept = [path for path in (tmp_path / "content").rglob("*") if path.is_file()]
        assert [path.read_bytes() for path in kept] == [b"small"]
        assert not fetch(server, fresh, 10_000_000)


def test_what_is_larger_than_the_room_there_is_is_not_begun(tmp_path: Path) -> None:
    with running() as server:
        server.add("/a.bin", CONTENT)
        message, _ = fetch(server, tmp_path, 10_000_000, kept_free=1 << 60)
        assert "it has 3.0 MB, and " in message
        assert [requested for _, requested in server.requests] == ["bytes=0-0"]


def test_a_small_disk_is_left_as_it_was(tmp_path: Path) -> None:
    tried = subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip("this kernel lets no user have a disk of their own; the others do without")
    with running() as server:
        file = server.add("/a.bin", CONTENT)
        file.has_length = file.has_ranges = False
        arguments = [sys.executable, "-c", FETCHES, f"{server.url}/a.bin"]
        command = ["unshare", "-rm", "bash", "-c", ON_A_SMALL_DISK, str(tmp_path), *arguments]
        ended = subprocess.run(
            [*command, str(tmp_path / "cache"), "100000000", "0"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert "No space left on device" in ended.stdout
        assert "a.bin" not in ended.stdout.partition("\n")[2]
