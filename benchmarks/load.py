"""The load: wrk, and what it says afterwards."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.rows import ROWS, expected_text
from benchmarks.servers import Server

SCRIPTS = Path(__file__).parent / "wrk"
MISSING = (
    "The load comes from wrk, which is not installed. On Debian and Ubuntu: apt-get install wrk"
)
_TIMEOUT_SECONDS = 10


class LoadFailed(Exception):
    """Wrk ended with an error; the text is what it said."""


@dataclass(frozen=True)
class Load:
    """What one run of wrk saw."""

    per_second: float
    """Right answers only."""
    p50_ms: float
    p99_ms: float
    errors: int
    """Answers with another status than 2xx and 3xx, broken connections and timeouts."""
    wrong: int
    """Answers with status 200 that were not the row's."""


def is_installed() -> bool:
    """Say whether there is a wrk."""
    return shutil.which("wrk") is not None


def predict_command(
    server: Server, url: str, model: str, connections: int, seconds: int
) -> list[str]:
    """Return the command that posts rows on that many connections."""
    threads = min(len(ROWS), connections)
    arguments: list[str] = []
    for row in ROWS[:threads]:
        body = json.dumps(server.body(row), separators=(",", ":"))
        arguments += [expected_text(model, row), body]
    return [*_wrk("predict.lua", threads, connections, seconds), url, "--", *arguments]


def tensor_command(url: str, arguments: list[str], connections: int, seconds: int) -> list[str]:
    """Return the command that posts what is in a file: see wrk/tensors.lua for the arguments."""
    command = _wrk("tensors.lua", min(2, connections), connections, seconds)
    return [*command, url, "--", *arguments]


def health_command(url: str, seconds: int) -> list[str]:
    """Return the command that asks after the server's health now and then."""
    return [*_wrk("health.lua", 1, 1, seconds), url]


def run(command: list[str], seconds: int, meanwhile: list[str] | None = None) -> list[Load]:
    """Run wrk, and a second one beside it if there is a command for it.

    Raises:
        LoadFailed: one of them failed.
    """
    commands = [command, meanwhile] if meanwhile else [command]
    running = [
        subprocess.Popen(one, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for one in commands
    ]
    try:
        outputs = [one.communicate(timeout=seconds + 2 * _TIMEOUT_SECONDS) for one in running]
    except subprocess.TimeoutExpired as error:
        raise LoadFailed(f"wrk did not end: {error}") from error
    finally:
        for one in running:
            one.kill()
    return [parse(output, errors) for output, errors in outputs]


def parse(output: str, errors: str = "") -> Load:
    """Read what the scripts write at the end of wrk's output.

    Raises:
        LoadFailed: it is not there, or there was not one answer.
    """
    for line in output.splitlines():
        if line.startswith("{"):
            seen = json.loads(line)
            if not seen["requests"]:
                raise LoadFailed("not one answer came while wrk ran")
            right = seen["requests"] - seen["refused"] - seen["wrong"]
            return Load(
                per_second=right / (seen["microseconds"] / 1e6),
                p50_ms=seen["p50"] / 1000,
                p99_ms=seen["p99"] / 1000,
                errors=seen["refused"] + seen["broken"],
                wrong=seen["wrong"],
            )
    raise LoadFailed((errors or output).strip() or "wrk said nothing")


def _wrk(script: str, threads: int, connections: int, seconds: int) -> list[str]:
    return [
        *("wrk", "--threads", str(threads), "--connections", str(connections)),
        *("--duration", f"{seconds}s", "--timeout", f"{_TIMEOUT_SECONDS}s"),
        *("--latency", "--script", str(SCRIPTS / script)),
    ]
