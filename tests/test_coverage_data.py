"""Data files of coverage, some of which processes were killed in the midst of."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from coverage import CoverageData

from tests.end_to_end.server import REPOSITORY


def clean(folder: Path) -> str:
    script = REPOSITORY / ".ci" / "coverage_data.py"
    return subprocess.run(
        [sys.executable, str(script), str(folder)], check=True, capture_output=True, text=True
    ).stdout


def test_what_is_whole_stays_and_what_is_not_goes(tmp_path: Path) -> None:
    whole = tmp_path / ".coverage.whole"
    data = CoverageData(str(whole))
    data.add_lines({f"module_{number}.py": range(1000) for number in range(200)})
    data.write()
    data.close()
    written = whole.read_bytes()
    (tmp_path / ".coverage.empty").touch()
    for pages in (1, len(written) // 4096 - 1):
        (tmp_path / f".coverage.{pages}").write_bytes(written[: pages * 4096])
    (tmp_path / ".coverage.noise").write_bytes(b"no database")
    with closing(sqlite3.connect(tmp_path / ".coverage.begun")) as database:
        database.execute("CREATE TABLE coverage_schema (version integer)")
    (tmp_path / ".coveragerc").touch()
    said = clean(tmp_path)
    assert said == "Left out 5 processes that were killed while they wrote their data.\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".coverage.whole", ".coveragerc"]
    assert clean(tmp_path) == ""


def test_a_folder_without_data_is_no_error(tmp_path: Path) -> None:
    assert clean(tmp_path) == ""
