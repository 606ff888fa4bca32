"""Files in batches: the same rows wherever the reading begins, and as csv reads them."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic_core import from_json

from models_api.scoring import bytestream, sources
from models_api.scoring.bytestream import ByteStream
from models_api.scoring.columns import CellType, Column
from models_api.scoring.errors import JobRefused, JobStopped
from models_api.scoring.rows import Batch, CSVRows
from models_api.scoring.sources import CSVSource, JSONLinesSource


@pytest.fixture(params=[1, 7, 2**20])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(bytestream, "_BLOCK", request.param)
    size: int = request.param
    return size


def csv_source(data: bytes, encoding: str = "utf-8", delimiter: str = ",") -> CSVSource:
    return CSVSource(ByteStream(io.BytesIO(data), encoding), delimiter, "rows.csv")


def cells(batches: list[Batch], width: int = 2) -> list[list[str]]:
    """The cells of all rows, as `CSVRows` reads them from their batches."""
    names = [(str(i),) for i in range(width)]
    columns = [Column(name, CellType(frozenset(["string"]), is_text=True)) for name in names]
    rows = [row for batch in batches for row in CSVRows(columns, ",").read(batch)[0]]
    assert all(row.error is None for row in rows)
    return [list(from_json(row.body).values()) for row in rows]


TEXT = 'a,b\r\n1,"x\r\ny"\r\n\r\n2,"""q"", z"\n3,5" pipe\r4,é\n"5\n\n",'


@pytest.mark.usefixtures("block")
@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_records_are_those_of_csv_however_they_are_cut(size: int) -> None:
    expected = [row for row in csv.reader(io.StringIO(TEXT, newline="")) if row]
    source = csv_source(TEXT.encode())
    assert source.names == expected[0]
    assert cells(list(source.batches(size, 0))) == expected[1:]


@pytest.mark.usefixtures("block")
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
def test_the_rest_is_the_same_from_each_offset(encoding: str) -> None:
    data = TEXT.encode(encoding)
    whole = list(csv_source(data, encoding).batches(2, 0))
    for number, batch in enumerate(whole, 1):
        assert list(csv_source(data, encoding).batches(2, batch.end)) == whole[number:]


@given(
    st.lists(st.tuples(st.text(max_size=5), st.text(max_size=5)), min_size=1, max_size=8),
    st.sampled_from(["\n", "\r\n"]),
    st.integers(1, 4),
)
@settings(max_examples=25, deadline=None)
def test_what_csv_writes_is_read_again(rows: list[tuple[str, str]], end: str, size: int) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=end, quoting=csv.QUOTE_ALL).writerows([("a", "b"), *rows])
    batches = list(csv_source(text.getvalue().encode("utf-8", "surrogatepass")).batches(size, 0))
    assert cells(batches) == [list(row) for row in rows]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_byte_order_mark_is_no_part_of_the_first_name(mark: bytes) -> None:
    assert csv_source(mark + b'"a",b\n').names == ["a", "b"]


def test_empty_lines_before_the_header_are_skipped_and_blanks_around_names() -> None:
    source = csv_source(b"\n\n a , b\n1,2\n")
    assert (source.names, source.lines) == (["a", "b"], 3)
    assert cells(list(source.batches(10, 0))) == [["1", "2"]]


@pytest.mark.parametrize("data", [b"", b"\n\r\n", b"\xef\xbb\xbf"])
def test_an_empty_file_has_no_header(data: bytes) -> None:
    with pytest.raises(JobRefused, match=r"rows\.csv is empty: its first line should name"):
        csv_source(data)


def test_a_header_that_is_not_utf8_asks_for_the_encoding() -> None:
    with pytest.raises(JobRefused, match=r"rows\.csv is not in UTF-8; name its encoding"):
        csv_source("größe\n1\n".encode("cp1252"))


def test_a_header_alone_has_no_batches() -> None:
    assert list(csv_source(b"a,b").batches(10, 0)) == []
    assert list(csv_source(b"a,b\r\n").batches(10, 0)) == []


def test_a_row_without_an_end_is_not_read_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "LONGEST_RECORD", 1000)
    monkeypatch.setattr(bytestream, "_BLOCK", 100)
    with pytest.raises(JobStopped, match="closing quotation mark"):
        list(csv_source(b'a\n"' + b"x\n" * 2000).batches(10, 0))
    with pytest.raises(JobStopped, match="A line is longer"):
        list(JSONLinesSource(ByteStream(io.BytesIO(b"x" * 2000))).batches(10, 0))


def test_a_batch_of_large_rows_has_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_LARGEST_BATCH", 10)
    data = b"a,b\n1,2\n3,4\n5,66666666\n7,8\n9,0\n"
    whole = list(csv_source(data).batches(3, 0))
    assert [batch.payload for batch in whole] == [b"1,2\n3,4\n5,66666666\n", b"7,8\n9,0\n"]
    assert list(csv_source(data).batches(3, whole[0].end)) == whole[1:]


@pytest.mark.usefixtures("block")
def test_lines_of_json_are_cut_at_their_ends() -> None:
    data = b'\xef\xbb\xbf{"a":1}\n\n{"a":2}\r\n{"a":3}'
    source = JSONLinesSource(ByteStream(io.BytesIO(data)))
    payloads = [batch.payload for batch in source.batches(2, 0)]
    assert payloads == [b'{"a":1}\n\n', b'{"a":2}\r\n{"a":3}']


@pytest.mark.parametrize("encoding", ["latin-99", "hex"])
def test_what_is_no_encoding_of_text_is_refused(encoding: str) -> None:
    with pytest.raises(JobRefused, match=f'--encoding: Python knows no encoding "{encoding}"'):
        csv_source(b"a\n", encoding)


def test_text_that_is_not_in_a_wide_encoding_stops_the_job() -> None:
    with pytest.raises(JobStopped, match="not in the encoding utf-16"):
        list(csv_source("a\n1".encode("utf-16") + b"\x00", "utf-16").batches(1, 0))


def test_how_far_a_file_is_read_is_told_in_its_own_bytes(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("a\nä\n", encoding="utf-16")
    with path.open("rb") as file:
        source = CSVSource(ByteStream(file, "utf-16"), ",", "rows.csv")
        list(source.batches(1, 0))
        assert source.position() == path.stat().st_size
