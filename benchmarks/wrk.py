"""The load of throughput: wrk, and what it says afterwards."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MISSING = (
    "The load comes from wrk, which is not installed. On Debian and Ubuntu: apt-get install wrk"
)
_SCRIPT = Path(__file__).with_suffix(".lua")
_TIMEOUT_SECONDS = 10


class LoadFailed(Exception):
    """Wrk ended with an error; the text is what it said."""


@dataclass(frozen=True)
class Body:
    """What is posted."""

    content: bytes
    expected: str
    """What a right answer has in it; nothing in any body if only statuses are to be looked at."""
    json_length: int = 0
    """Of an inference request whose rest is binary; 0 if all of it is JSON."""
    header: str = ""
    """Of each request with any of the bodies, such as `X-User: grace`."""
    pause_ms: int = 0
    """For which each connection waits after an answer, in the mean."""


@dataclass(frozen=True)
class Throughput:
    """What one run of wrk saw."""

    per_second: float
    """Right answers only."""
    p50_ms: float
    p99_ms: float
    errors: int
    """Answers with another status than 2xx and 3xx, broken connections and timeouts."""
    wrong: int
    """Answers with status 200 that were not the body's, where answers were looked at."""


def is_installed() -> bool:
    """Say whether there is a wrk."""
    return shutil.which("wrk") is not None


def post(
    url: str,
    bodies: Sequence[Body],
    connections: int,
    seconds: int,
    health_url: str = "",
) -> tuple[Throughput, Throughput | None]:
    """Post the bodies, each on connections of its own, and ask for the health beside it.

    Raises:
        LoadFailed: wrk failed, or there was not one answer.
    """
    bodies = bodies[:connections]
    with tempfile.TemporaryDirectory() as folder:
        arguments = _arguments(Path(folder), bodies)
        headers = [f"--header={body.header}" for body in bodies if body.header]
        command = [*_wrk(len(bodies), connections, seconds), *headers, url, "--", *arguments]
        probe = [[*_wrk(1, 1, seconds), health_url]] if health_url else []
        seen = _run([command, *probe], seconds)
    return seen[0], seen[1] if health_url else None


@contextmanager
def hammering(url: str, body: Body, connections: int, seconds: int) -> Iterator[None]:
    """Post on many connections while the block lasts, whatever becomes of it."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = _arguments(Path(folder), [body])
        command = [*_wrk(1, connections, seconds), url, "--", *arguments]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            yield
        finally:
            process.kill()
            process.wait()


def parse(output: str, errors: str = "") -> Throughput:
    """Read what the script writes at the end of wrk's output.

    Raises:
        LoadFailed: it is not there, or there was not one answer.
    """
    for line in output.splitlines():
        if line.startswith("{"):
            seen = json.loads(line)
            if not seen["requests"]:
                raise LoadFailed("not one answer came while wrk ran")
            right = seen["requests"] - seen["refused"] - seen["wrong"]
            return Throughput(
                per_second=right / (seen["microseconds"] / 1e6),
                p50_ms=seen["p50"] / 1000,
                p99_ms=seen["p99"] / 1000,
                errors=seen["refused"] + seen["broken"],
                wrong=seen["wrong"],
            )
    raise LoadFailed((errors or output).strip() or "wrk said nothing")


def _arguments(folder: Path, bodies: Sequence[Body]) -> list[str]:
    arguments: list[str] = []
    for number, body in enumerate(bodies):
        path = folder / f"body-{number}"
        path.write_bytes(body.content)
        arguments += [body.expected, str(path), str(body.json_length)]
        arguments.append(str(body.pause_ms))
    return arguments


def _run(commands: list[list[str]], seconds: int) -> list[Throughput]:
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


def _wrk(threads: int, connections: int, seconds: int) -> list[str]:
    return [
        *("wrk", "--threads", str(threads), "--connections", str(connections)),
        *("--duration", f"{seconds}s", "--timeout", f"{_TIMEOUT_SECONDS}s"),
        *("--latency", "--script", str(_SCRIPT)),
    ]
