"""Puts the results of a run into the documentation: python -m benchmarks.publish."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.__main__ import OUTPUT
from benchmarks.charts import charts
from benchmarks.report import markdown_report
from benchmarks.results import Results
from benchmarks.servers import REPOSITORY

PAGE = REPOSITORY / "docs" / "benchmarks.md"
BEGIN, END = "<!-- results -->", "<!-- end of results -->"


def main() -> None:
    """Take the results of the last run, or of the folders that are named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.publish", description=__doc__)
    parser.add_argument(
        "folder",
        type=Path,
        nargs="*",
        default=[OUTPUT],
        help=f"of a run, and of later ones of some comparisons (default: {OUTPUT})",
    )
    publish(PAGE, *parser.parse_args().folder)


def publish(page: Path, folder: Path, *later: Path) -> None:
    """Replace the tables on the page, and the charts and figures in the folder of its name.

    What a run in a later folder has of any kind comes instead of what the earlier ones have of it.
    """
    results = Results.load(folder / "results.json")
    for other in later:
        results.replace_by(Results.load(other / "results.json"))
    figures = page.with_suffix("")
    figures.mkdir(exist_ok=True)
    results.save(figures / "results.json")
    for name, drawing in charts(results).items():
        (figures / name).write_text(drawing, encoding="utf-8")
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    content = f"{before}{BEGIN}\n\n{markdown_report(results)}\n{END}{after}"
    page.write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main()
