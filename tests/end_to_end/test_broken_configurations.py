"""A server with a broken configuration refuses to start, and says why."""

from pathlib import Path
from typing import Any

import pytest

from tests.broken_configurations import FILES, expected
from tests.end_to_end.server import Server, serve

FAST = ("many_problems", "logging_with_an_unknown_level", "wrong_indentation")


def _cases() -> list[Any]:
    return [
        pytest.param(path, id=path.stem, marks=() if path.stem in FAST else pytest.mark.long)
        for path in FILES
    ]


@pytest.mark.parametrize("arguments", [(), ("--preload",)], ids=["plain", "preload"])
@pytest.mark.parametrize("path", _cases())
def test_gunicorn_does_not_start(path: Path, arguments: tuple[str, ...]) -> None:
    with Server(path, *arguments, wait_for="exit") as server:
        assert server.process.returncode != 0
        assert expected(path) in server.log.replace(str(path), path.name)
        assert "Traceback" not in server.log


@pytest.mark.parametrize("preload", ["1", "0"])
@pytest.mark.parametrize(
    "path", [path for path in FILES if path.stem in FAST], ids=lambda p: p.stem
)
def test_serve_does_not_start(path: Path, preload: str) -> None:
    with serve(path, environment={"MODELHOST_PRELOAD": preload}, wait_for="exit") as server:
        assert server.process.returncode == 3
        assert expected(path) in server.log.replace(str(path), path.name)
        assert "Traceback" not in server.log


def test_two_workers_do_not_start_over_and_over() -> None:
    path = next(path for path in FILES if path.stem == "unknown_key")
    with Server(path, "--workers", "2", wait_for="exit") as server:
        assert server.process.returncode != 0
        assert 1 <= server.log.count("Booting worker") <= 2
        assert "Traceback" not in server.log


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "nowhere.yaml"
    with Server(path, wait_for="exit") as server:
        assert server.process.returncode != 0
        assert (
            f"{path}: there is no such file (looked for {path})\n"
            "    Name an existing file in the environment variable REST_CONFIG."
        ) in server.log
