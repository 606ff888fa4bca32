"""What models print, which shows as they print it, wherever it goes."""

from __future__ import annotations

import io
import sys


def show_lines_at_once() -> None:
    """Write each line of standard output as it ends, also into a pipe or a file."""
    for stream in (sys.stdout, sys.stderr):
        # They may have been replaced, or closed.
        if isinstance(stream, io.TextIOWrapper) and not stream.closed:
            stream.reconfigure(line_buffering=True)
