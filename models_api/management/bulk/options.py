"""What the command line of `predict` says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from models_api.scoring.errors import JobRefused
from models_api.scoring.model_name import ModelName

STANDARD = "-"
"""Standard input or output, in place of a path."""

_SUFFIXES = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    model: str
    model_version: str | None
    """The version, or an alias; None for that which is asked by the name."""
    input: str
    output: str
    errors: str | None
    format: str | None
    output_format: str | None
    delimiter: str | None
    encoding: str
    batch_size: int | None
    processes: int | None
    concurrency: int
    url: str | None
    key: str | None
    give_up_after: float

    @property
    def name(self) -> ModelName:
        """Which model predicts."""
        return ModelName(self.model, self.model_version)

    @property
    def input_format(self) -> str:
        """`csv`, `jsonl` or `parquet`.

        Raises:
            JobRefused: nothing says which.
        """
        found = self.format or _SUFFIXES.get(Path(self.input).suffix.lower())
        if found is None:
            raise JobRefused("--format: say whether the input is csv, jsonl or parquet.")
        return found

    @property
    def written_format(self) -> str:
        """`csv` or `jsonl`.

        Raises:
            JobRefused: it is another one.
        """
        by_suffix = _SUFFIXES.get(Path(self.output).suffix.lower())
        found = self.output_format or ("jsonl" if self.output == STANDARD else by_suffix)
        if found == "parquet":
            message = (
                "--output: Parquet is not written, because nothing could be added to it after an "
                "interruption. Write .csv or .jsonl, and convert that: the page "
                '"Files of rows" of the documentation shows how.'
            )
            raise JobRefused(message)
        if found not in ("csv", "jsonl"):
            message = "--output: name a file .jsonl or .csv, or say which by --output-format."
            raise JobRefused(message)
        return found

    @property
    def delimiting(self) -> str:
        """The character between the cells of CSV.

        Raises:
            JobRefused: it is none.
        """
        is_tabbed = Path(self.input).suffix.lower() == ".tsv"
        found = self.delimiter or ("\t" if is_tabbed else ",")
        found = "\t" if found in ("\\t", "tab") else found
        if len(found) != 1 or not found.isascii() or found in '"\r\n':
            raise JobRefused("--delimiter: give one character of ASCII, such as ';' or tab.")
        return found
