"""How far a job has come, for people: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from typing import TextIO

_BAR_SECONDS = 0.2
_LINE_SECONDS = 10.0
_WIDTH = 24


class Progress:
    """Tells it, not too often."""

    def __init__(self, stream: TextIO, size: int | None) -> None:
        """Make it.

        Args:
            stream: Where it is told.
            size: Of the input, in the unit of its positions; None if nobody knows.
        """
        self._stream = stream
        self._size = size
        self._is_terminal = stream.isatty()
        self._interval = _BAR_SECONDS if self._is_terminal else _LINE_SECONDS
        self._is_shown = False

    def begin(self, rows: int, position: int) -> None:
        """Note where the job begins, or goes on."""
        self._began = self._told = time.monotonic()
        self._first_rows, self._first_position = rows, position

    def tell(self, rows: int, failed: int, position: int) -> None:
        """Tell how far the job has come, if that was not told just now."""
        now = time.monotonic()
        if now - self._told < self._interval:
            return
        self._told = now
        text = self._text(rows, failed, position, now - self._began)
        if self._is_terminal:
            self._is_shown = True
            self._stream.write(f"\r{text}\x1b[K")
        else:
            self._stream.write(f"{text}\n")
        self._stream.flush()

    def end(self) -> None:
        """Leave the line of the bar."""
        if self._is_shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def rate(self, rows: int) -> float:
        """Return the rows a second since the job began, or went on."""
        return (rows - self._first_rows) / max(time.monotonic() - self._began, 1e-9)

    def _text(self, rows: int, failed: int, position: int, seconds: float) -> str:
        parts = [f"{rows:,} rows", f"{self.rate(rows):,.0f}/s"]
        if failed:
            parts.append(f"{failed:,} failed")
        if self._size:
            share = min(1.0, position / self._size)
            done = (position - self._first_position) / self._size
            if done > 0:
                parts.append(f"{_clock(seconds * (1 - share) / done)} left")
            filled = int(share * _WIDTH)
            bar = f"[{'#' * filled}{'.' * (_WIDTH - filled)}] " if self._is_terminal else ""
            return f"{bar}{share:4.0%}  {', '.join(parts)}"
        return ", ".join(parts)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
