"""How far a job has come, for people."""

from __future__ import annotations

import io

import pytest

from models_api.scoring.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, in seconds."""
    now = [100.0]
    monkeypatch.setattr("models_api.scoring.progress.time.monotonic", lambda: now[0])
    return now


def test_a_terminal_shows_a_bar_with_rate_and_time_left(clock: list[float]) -> None:
    stream = Terminal()
    shown = Progress(stream, size=1000)
    shown.begin(0, 0)
    clock[0] += 10
    shown.tell(50_000, 2, 250)
    assert stream.getvalue() == (
        "\r[######..................]  25%  50,000 rows, 5,000/s, 2 failed, 0:30 left\x1b[K"
    )
    shown.end()
    assert stream.getvalue().endswith("\r\x1b[K")


def test_elsewhere_there_is_a_line_now_and_then(clock: list[float]) -> None:
    stream = io.StringIO()
    shown = Progress(stream, size=1000)
    shown.begin(0, 0)
    for _ in range(21):
        clock[0] += 1
        shown.tell(100, 0, 500)
    shown.end()
    assert stream.getvalue().splitlines() == [
        " 50%  100 rows, 10/s, 0:10 left",
        " 50%  100 rows, 5/s, 0:20 left",
    ]


def test_without_a_size_there_is_no_end_in_sight(clock: list[float]) -> None:
    stream = io.StringIO()
    shown = Progress(stream, size=None)
    shown.begin(0, 0)
    clock[0] += 10
    shown.tell(1234, 0, 99)
    assert stream.getvalue() == "1,234 rows, 123/s\n"


def test_what_was_done_before_an_interruption_does_not_count_as_speed(clock: list[float]) -> None:
    stream = io.StringIO()
    shown = Progress(stream, size=1000)
    shown.begin(5000, 500)
    clock[0] += 4000
    shown.tell(9000, 0, 900)
    assert stream.getvalue() == " 90%  9,000 rows, 1/s, 0:16:40 left\n".replace("0:16", "16")
