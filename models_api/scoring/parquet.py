"""Rows of Parquet files, by pyarrow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

from models_api.scoring.errors import JobRefused
from models_api.scoring.rows import Batch

if TYPE_CHECKING:
    import pyarrow.parquet


class ParquetSource:
    """A file of rows, some columns of which are read; offsets count rows."""

    def __init__(self, file: BinaryIO) -> None:
        """Read what the file says of itself.

        Raises:
            JobRefused: pyarrow is not installed, or this is no such file.
        """
        try:
            import pyarrow.parquet  # noqa: PLC0415 (few have it)
        except ImportError:
            message = 'Reading Parquet needs pyarrow: pip install "modelhost[parquet]"'
            raise JobRefused(message) from None
        try:
            self._file: pyarrow.parquet.ParquetFile = pyarrow.parquet.ParquetFile(file)
        except (pyarrow.ArrowException, ValueError) as error:
            raise JobRefused(f"The input is no Parquet file: {error}") from None
        self.names: list[str] = list(self._file.schema_arrow.names)
        self.rows: int = self._file.metadata.num_rows
        self.taken: list[str] = []
        """The columns that are read."""
        self._position = 0

    def batches(self, size: int, offset: int) -> Iterator[Batch]:
        """Yield so many rows at a time."""
        waiting: list[Any] = []
        seen, end = 0, offset
        for table in self._file.iter_batches(batch_size=max(size, 1000), columns=self.taken):
            begin = max(0, offset - seen)
            seen += table.num_rows
            if begin < table.num_rows:
                waiting += table.slice(begin).to_pylist()
            while len(waiting) >= size or (seen == self.rows and waiting):
                part, waiting = waiting[:size], waiting[size:]
                end += len(part)
                self._position = end
                yield Batch(part, end)

    def position(self) -> int:
        """Return the rows that were read."""
        return self._position
