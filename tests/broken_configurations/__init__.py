"""Configuration files with mistakes; each begins with what the service says of it."""

import itertools
from pathlib import Path

FILES = sorted(Path(__file__).parent.glob("*.yaml"))


def expected(path: Path) -> str:
    """The comment at the top of the file: the text with which the service refuses it."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    comment = itertools.takewhile(lambda line: line.startswith("#"), lines)
    return "\n".join(line.removeprefix("#").removeprefix(" ") for line in comment)
