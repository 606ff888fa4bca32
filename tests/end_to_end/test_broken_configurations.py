"""A server with a broken configuration refuses to start, and says why."""

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.broken_configurations import FILES, expected
from tests.end_to_end.development_server import DevelopmentServer
from tests.end_to_end.server import REPOSITORY, Server, gunicorn, serve
from tests.sweeps import share

FAST = ("many_problems", "logging_with_an_unknown_level", "wrong_indentation")


WAYS: dict[str, tuple[str, ...]] = {"plain": (), "preload": ("--preload",)}


def _cases() -> Iterator[Any]:
    """Yield a few files with each way to start, and the others with one of the ways, in turn."""
    files = [path for path in FILES if path.stem in FAST or path in share(FILES, 6)]
    for path, usual in zip(files, itertools.cycle(WAYS), strict=False):
        for way, arguments in WAYS.items():
            if path.stem in FAST or way == usual:
                marks = () if path.stem in FAST else (pytest.mark.long,)
                yield pytest.param(path, arguments, id=f"{path.stem}-{way}", marks=marks)


@pytest.mark.parametrize(("path", "arguments"), list(_cases()))
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


@pytest.mark.long
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


# Where the log is JSON


MANY = next(path for path in FILES if path.stem == "many_problems")
JSON = {"MODELHOST_LOG_FORMAT": "json", "MODELHOST_WORKERS": "1"}
STARTS: dict[str, Any] = {
    "gunicorn": (gunicorn, {}),
    "gunicorn, each worker for itself": (gunicorn, {"MODELHOST_PRELOAD": "0"}),
    "plain gunicorn": (Server, {}),
    "serve": (serve, {}),
    "serve, each worker for itself": (serve, {"MODELHOST_PRELOAD": "0"}),
    "runserver": (DevelopmentServer, {}),
}
QUICK = ("gunicorn", "serve, each worker for itself")


def problems_in(log: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    return [entry for entry in found if "problem" in entry]


def check_problems(log: str) -> None:
    found = problems_in(log)
    told = [entry["message"].replace(str(MANY), MANY.name) for entry in found]
    heading, *texts = expected(MANY).strip().split("\n\n")
    assert heading == f"The configuration has {len(found)} problems:"
    assert told == [text.strip() for text in texts]
    for entry in found:
        assert (entry["level"], entry["logger"]) == ("ERROR", "modelhost")
        assert entry["file"] == str(MANY) or entry["file"] == MANY.name
        assert entry["message"].endswith(entry["hint"])
        assert entry.keys() >= {"time", "line", "key"}
    assert heading not in log


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in QUICK else pytest.mark.long) for name in STARTS],
)
def test_a_server_with_a_json_log_tells_each_problem_by_a_record(name: str) -> None:
    start, variables = STARTS[name]
    with start(MANY, environment={**JSON, **variables}, wait_for="exit") as server:
        assert server.process.returncode != 0
        check_problems(server.log)


def manage(command: str, path: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", command],
        cwd=REPOSITORY,
        env={**os.environ, "REST_CONFIG": str(path), **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.long
def test_a_command_that_logs_tells_them_so_too_and_check_in_words() -> None:
    done = manage("load_models", MANY, **JSON)
    assert done.returncode == 1
    check_problems(done.stderr)
    assert not problems_in(manage("check", MANY, **JSON).stderr)


@pytest.mark.long
def test_a_log_that_is_json_by_the_yaml_file_is_heeded(tmp_path: Path) -> None:
    path = tmp_path / "rest_config.yaml"
    logging = (
        "logging: {version: 1, formatters: {j: {(): models_api.log_records.JSONFormatter}},"
        " handlers: {j: {class: logging.StreamHandler, formatter: j}}, root: {handlers: [j]}}\n"
    )
    path.write_text(f"{logging}models: [{{class_path: nowhere.Model}}]\n", encoding="utf-8")
    with gunicorn(path, wait_for="exit") as server:
        (problem,) = problems_in(server.log)
    assert (problem["problem"], problem["line"]) == ("models_api.E005", 2)


@pytest.mark.parametrize("start", [gunicorn, pytest.param(serve, marks=pytest.mark.long)])
def test_a_wrong_variable_is_a_record_too(start: Any) -> None:
    variables = {**JSON, "MODELHOST_MAX_BODY_BYTES": "many"}
    with start({"models": []}, environment=variables, wait_for="exit") as server:
        assert server.process.returncode != 0
        (found,) = [
            json.loads(line) for line in server.log.splitlines() if "MODELHOST_MAX_BODY" in line
        ]
    assert found["message"] == "MODELHOST_MAX_BODY_BYTES is 'many'; write a whole number."
