"""Remove data files of coverage that cannot be read, so that the others can be added up.

Tests kill processes on purpose, and one that is killed while it writes what it covered leaves an
empty file, or half a database, at which `coverage combine` may give up.
"""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path


def main(folder: Path) -> None:
    """Remove them from a folder, and say how many there were."""
    broken = [path for path in folder.glob(".coverage.*") if not is_whole(path)]
    for path in broken:
        path.unlink()
    if broken:
        print(f"Left out {len(broken)} processes that were killed while they wrote their data.")


def is_whole(path: Path) -> bool:
    """Whether the file is a database of coverage from its beginning to its end."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            version = database.execute("SELECT version FROM coverage_schema").fetchone()
            checked: tuple[str] = database.execute("PRAGMA integrity_check(1)").fetchone()
            return version is not None and checked == ("ok",)
    except sqlite3.DatabaseError:
        return False


if __name__ == "__main__":
    main(Path(sys.argv[1]))
