"""The command that predicts for the rows of a file."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from django.core.management import CommandError, call_command
from ml_base.utilities import ModelManager

from models_api.apps import ModelsAPIConfig
from models_api.configuration.file import ConfigurationFile
from models_api.scoring import checkpoints, job
from models_api.scoring.job import Sink

FAKES = "tests.fakes.scoring"
HEADER = "age,income,member,fullName,tier,address.street,address.number,visits\n"


class Ran:
    """What a command has done."""

    def __init__(self, folder: Path, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err
        self.output = read(folder / "out.jsonl")
        self._errors = read(folder / "out.jsonl.errors.jsonl")
        self.files = sorted(path.name for path in folder.iterdir())

    @property
    def predictions(self) -> list[Any]:
        return [json.loads(line) for line in self.output]

    @property
    def errors(self) -> list[Any]:
        return [json.loads(line) for line in self._errors]


def read(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


Predict = Callable[..., Ran]


@pytest.fixture
def predict(app_config: ModelsAPIConfig, model_manager: ModelManager, tmp_path: Path) -> Predict:
    """Run the command on a file with this content."""
    configuration = tmp_path / "service.yaml"
    configuration.write_text(
        "models:\n"
        + "".join(
            f"  - class_path: {name}\n"
            for name in (
                f"{FAKES}.RatingModel",
                f"{FAKES}.BatchRatingModel",
                f"{FAKES}.SlowModel",
                f"{FAKES}.UnloadableModel",
                "tests.fakes.columns.ColumnsModel",
                "tests.fakes.models.LateFailingModel",
            )
        )
        + "".join(
            f"  - class_path: tests.fakes.models.DoublingModel\n    version: '{version}'\n"
            f"    aliases: [v{version}]\n    configuration: {{factor: {version}}}\n"
            for version in (3, 10)
        )
        + "  - qualified_name: far\n    execution: {kind: remote, url: 'http://127.0.0.1:9'}\n",
        encoding="utf-8",
    )
    app_config.configuration_file = ConfigurationFile(configuration)

    def predict(content: str | bytes, *options: str, model: str = "rating", **keys: Any) -> Ran:
        path = tmp_path / keys.get("name", "rows.csv")
        data = content if isinstance(content, bytes) else content.encode()
        if not path.exists() or path.read_bytes() != data:
            path.write_bytes(data)
        out, err = io.StringIO(), io.StringIO()
        given = [model, "--input", str(path), "--output", str(tmp_path / "out.jsonl"), "-v0"]
        status = 0
        try:
            call_command("predict", *given, *options, stdout=out, stderr=err)
        except SystemExit as ended:
            status = int(str(ended.code))
        except CommandError as error:
            status = error.returncode
            err.write(str(error))
        return Ran(tmp_path, status, out.getvalue(), err.getvalue())

    return predict


def rating(score: float, name: str, **others: object) -> dict[str, object]:
    greeting = f'Dear "{name}",\nhello {{}},{{'
    return {"score": score, "theGreeting": greeting, "address": None, "visits": [], **others}


@pytest.mark.parametrize(
    ("options", "factor"),
    [
        ((), 3),
        (("--model-version", "10"), 10),
        (("--model-version", "v3"), 3),
        (("--model-version", "v10", "--processes", "1"), 10),
    ],
)
def test_a_version_predicts_by_its_name_or_an_alias(
    predict: Predict, options: tuple[str, ...], factor: int
) -> None:
    ran = predict("value\n2\n", *options, model="doubling")
    assert [each["value"] for each in ran.predictions] == [2 * factor], ran.err


def test_a_version_that_there_is_not_is_refused(predict: Predict) -> None:
    ran = predict("value\n2\n", "--model-version", "4", model="doubling")
    assert ran.status == 2
    assert 'no version "4", but "3", "10", "v3", "v10".' in ran.err


@pytest.mark.parametrize("model", ["rating", "batch_rating"])
def test_each_row_has_a_prediction_in_its_order(predict: Predict, model: str) -> None:
    ran = predict(
        HEADER + '30,100,true,"Jane, PhD",gold,High Street,5,"[1,2]"\n31,100.5,,"a\nb",,,,\n',
        model=model,
    )
    assert (ran.status, ran.errors) == (0, [])
    assert ran.predictions == [
        rating(170.0, "Jane, PhD", address={"street": "High Street", "number": 5}, visits=[1, 2]),
        rating(69.5, "a\nb"),
    ]
    assert ran.out.startswith("2 rows: 2 predicted, 0 failed; ")
    assert ran.files == ["out.jsonl", "rows.csv", "service.yaml"]


def test_rows_that_fail_are_null_and_listed_with_their_numbers(predict: Predict) -> None:
    ran = predict(
        "age,income,fullName\n"
        "1,1,a\n"
        "minus,1,b\n"
        '1,1,"two\nlines"\n'
        "1,1,refused\n"
        "\n"
        "1,1,raises\n"
        "1,1\n"
        "1,1,c,d\n"
        "-1,nan,e\n"
        "1,1,z\n"
    )
    assert ran.status == 1
    assert [each and each["score"] for each in ran.predictions] == [
        *(0.0, None, 0.0, None, None, None, None, None, 0.0)
    ]
    assert "9 rows: 3 predicted, 6 failed (see " in ran.out
    assert [(e["row"], e["line"], e["type"]) for e in ran.errors] == [
        (2, 3, "ValidationError"),
        (4, 6, "SchemaValidationError"),
        (5, 8, "ServiceError"),
        (6, 9, "UnreadableRow"),
        (7, 10, "UnreadableRow"),
        (8, 11, "ValidationError"),
    ]
    messages = [e["messages"] for e in ran.errors]
    assert messages[0][0].startswith("age: Input should be a valid integer")
    assert messages[1] == ["this customer makes no sense"]
    assert "out of luck" in messages[2][0]
    assert messages[3] == ["The row has 2 cells, but there are 3 columns."]
    assert messages[4] == ["The row has 4 cells, but there are 3 columns."]
    assert messages[5] == ["age: Input should be greater than or equal to 0"]
    assert ran.errors[0]["input"] == {"age": "minus", "income": 1.0, "fullName": "b"}
    assert ran.errors[3]["input"] == ["1", "1"]


def test_what_failed_can_be_mended_and_predicted_again(predict: Predict) -> None:
    ran = predict("age,income,fullName\n-1,1,a\n1,1,b\n")
    mended = json.dumps({**ran.errors[0]["input"], "age": 1})
    again = predict(mended, name="mended.jsonl")
    assert again.predictions == [rating(0.0, "a")]


@pytest.mark.parametrize("rows", [[2, 3], list(range(10))])
def test_a_failing_row_costs_the_others_of_its_batch_nothing(
    predict: Predict, rows: list[int]
) -> None:
    text = "age,income,fullName\n" + "".join(
        f"1,{i},{'raises' if i in rows else 'x'}\n" for i in range(10)
    )
    ran = predict(text, "--batch-size", "4", model="batch_rating")
    assert [each and each["score"] for each in ran.predictions] == [
        None if i in rows else i - 1.0 for i in range(10)
    ]
    assert [error["row"] - 1 for error in ran.errors] == sorted(set(rows))


def test_columns_are_predicted_as_rows_are(predict: Predict) -> None:
    text = "height,leaves,alive,plantName,species,id\n" + "".join(
        f"{i + 0.5},{i},{'true' if i % 2 else 'FALSE'},n{i},setosa,{i}\n" for i in range(50)
    )
    ran = predict(text + "0,0,true,x,setosa,9\n", model="columns")
    assert ran.status == 1
    assert ran.predictions[3] == {
        "height": 7.0,
        "leaves": 3,
        "alive": False,
        "plantName": "N3",
        "species": "setosa",
    }
    assert ran.predictions[50] is None
    assert 'Columns that the model takes none of are left out: "id".' in ran.err


def test_text_that_is_no_number_is_what_pydantic_takes_it_for(predict: Predict) -> None:
    ran = predict('x\n1_000\n"5,5"\nnan\n1e999\n2\n', model="slow")
    assert ran.predictions == [{"x": 2000.0}, None, None, None, {"x": 4.0}]


def test_lines_of_json_are_rows(predict: Predict) -> None:
    good = '{"age":1,"income":2,"fullName":"a"}'
    lines = [good, "", good[:-1], "[1]", f"{good},{good}", "\xff", good]
    ran = predict("\n".join(lines).encode("latin-1"), name="rows.jsonl")
    assert [each and each["score"] for each in ran.predictions] == [
        *(1.0, None, None, None, None, 1.0)
    ]
    assert [(e["row"], e["line"]) for e in ran.errors] == [(2, 3), (3, 4), (4, 5), (5, 6)]
    assert ran.errors[0]["input"] == good[:-1]
    assert ran.errors[1]["input"] == [1]


def test_lines_that_are_whole_only_together_are_none_alone(predict: Predict) -> None:
    halves = ['{"age":1,"income":2,"fullName":"a","visits":[1', "2]}"]
    double = '{"age":1,"income":2,"fullName":"a"},{"age":1,"income":2,"fullName":"b"}'
    ran = predict("\n".join([*halves, double]), name="rows.jsonl", model="batch_rating")
    assert ran.predictions == [None, None, None]


def test_rows_of_parquet_are_typed_already(predict: Predict, tmp_path: Path) -> None:
    table = pyarrow.table(
        {
            "age": [1, 2, None, 4],
            "income": [1.5, float("nan"), 3.0, 4.0],
            "fullName": ["a", "b", "c", "d"],
            "tier": ["gold", None, None, "lead"],
            "visits": [[1, 2], None, [], [3]],
            "address": [{"street": "x", "number": 1}, None, None, None],
            "id": [1, 2, 3, 4],
        }
    )
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(table, buffer, row_group_size=3)
    ran = predict(buffer.getvalue(), "--batch-size", "2", name="rows.parquet")
    assert ran.predictions == [
        rating(0.5, "a", address={"street": "x", "number": 1}, visits=[1, 2]),
        None,
        None,
        None,
    ]
    assert [(e["row"], e["messages"][0].partition(":")[0]) for e in ran.errors] == [
        *((2, "income"), (3, "age"), (4, "tier"))
    ]


def test_predictions_may_be_written_as_csv(predict: Predict, tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    predict(
        HEADER + '30,100,true,a,,S,,"[1,2]"\nx,1,,b,,,,\n1,2,,c,,,,\n',
        *("--output", str(path)),
    )
    assert path.read_text(encoding="utf-8") == (
        "score,theGreeting,address,visits\n"
        '170.0,"Dear ""a"",\nhello {},{","{""street"":""S"",""number"":null}","[1,2]"\n'
        ",,,\n"
        '1.0,"Dear ""c"",\nhello {},{",,[]\n'
    )


@pytest.mark.parametrize(
    ("content", "name", "output"),
    [
        ("age,income,fullName\n", "rows.csv", ""),
        ("age,income,fullName", "rows.csv", ""),
        ("", "rows.jsonl", ""),
        ("\n\n", "rows.jsonl", ""),
    ],
)
def test_no_rows_are_no_failure(predict: Predict, content: str, name: str, output: str) -> None:
    ran = predict(content, name=name)
    assert (ran.status, ran.output) == (0, [])
    assert ran.out.startswith("0 rows: 0 predicted, 0 failed")


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("", (), "is empty: its first line should name the columns"),
        ("age,income\n1,2\n", (), 'there is no column "fullName"'),
        ("age,age,income,fullName\n", (), 'more than one column "age"'),
        ("a\n", ("--encoding", "klingon"), 'Python knows no encoding "klingon"'),
        ("a\n", ("--delimiter", "ab"), "--delimiter: give one character"),
        ("a\n", ("--format", "parquet"), "is no Parquet file"),
        ("a\n", ("--output", "out.parquet"), "--output: Parquet is not written, because nothing"),
        ("a\n", ("--output", "out.txt"), "--output: name a file .jsonl or .csv"),
        ("a\n", ("--input", "rows"), "--format: say whether the input is csv"),
        ("a\n", ("--input", "nowhere.csv"), "nowhere.csv cannot be read: No such file"),
        (
            "age,income,fullName\n",
            ("--output", "/nowhere/out.jsonl"),
            "/nowhere/out.jsonl cannot be written: No such file or directory.",
        ),
    ],
)
def test_what_cannot_begin_says_why(
    predict: Predict, content: str, options: tuple[str, ...], message: str
) -> None:
    ran = predict(content, *options)
    assert ran.status == 2
    assert message in ran.err
    assert ran.output == []


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("ratings", 'There is no model "ratings". Did you mean "rating"?'),
        ("late", 'There is no model "late".'),
        ("unloadable", "The model unloadable cannot be loaded: "),
        ("far", "The model far cannot be loaded: http://127.0.0.1:9: ConnectionRefusedError"),
    ],
)
def test_a_model_that_cannot_predict_leaves_the_output_as_it_was(
    predict: Predict, tmp_path: Path, model: str, message: str
) -> None:
    (tmp_path / "out.jsonl").write_text("before\n", encoding="utf-8")
    ran = predict("x\n1\n" if model == "unloadable" else "a\n", model=model)
    assert ran.status == 2
    assert message in ran.err
    assert ran.output == ["before"]


def test_input_and_output_are_not_the_same_file(predict: Predict, tmp_path: Path) -> None:
    ran = predict("x\n1\n", "--output", str(tmp_path / "rows.csv"), model="slow")
    assert (ran.status, read(tmp_path / "rows.csv")) == (2, ["x", "1"])
    assert "--input and --output are the same file" in ran.err


@pytest.mark.parametrize(
    ("options", "data"),
    [
        (("--encoding", "cp1252"), "age,income,fullName\n1,2,Jürgen\n".encode("cp1252")),
        (("--encoding", "utf-16"), "age,income,fullName\n1,2,Jürgen\n".encode("utf-16")),
        (("--delimiter", ";"), b"\xef\xbb\xbfage;income;fullName\r\n1;2;J\xc3\xbcrgen\r\n"),
        (("--delimiter", "tab"), "age\tincome\tfullName\n1\t2\tJürgen".encode()),
        ((), '"age","income","fullName"\r"1","2","Jürgen"\r'.encode()),
    ],
)
def test_other_encodings_delimiters_and_line_ends(
    predict: Predict, options: tuple[str, ...], data: bytes
) -> None:
    assert predict(data, *options).predictions == [rating(1.0, "Jürgen")]


def test_a_row_in_another_encoding_fails_alone(predict: Predict) -> None:
    ran = predict(b"age,income,fullName\n1,1,J\xfcrgen\n1,1,ok\n")
    assert ran.predictions == [None, rating(0.0, "ok")]
    assert "not in UTF-8" in ran.errors[0]["messages"][0]


def test_a_quotation_mark_that_is_never_closed_is_said_of_its_row(predict: Predict) -> None:
    ran = predict('age,income,fullName\n1,1,ok\n1,1,"open\n1,1,x\n1,1,y\n')
    assert ran.predictions == [rating(0.0, "ok"), None]
    assert (ran.errors[0]["line"], ran.errors[0]["messages"]) == (
        3,
        ["A quotation mark in this row is never closed."],
    )


# Going on


NUMBERS = "x\n" + "".join(f"{i}\n" for i in range(100))


class PowerCut(BaseException):
    """Nothing more is done."""


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let the power fail once so many bytes of a file were written; commit at every batch."""
    monkeypatch.setattr(job, "_COMMIT_SECONDS", 0.0)

    def cut(after: int) -> None:
        write = Sink.write

        def written(self: Sink, data: bytes) -> None:
            left = after - self.written
            write(self, data[: max(0, left)])
            if left <= len(data):
                self._file.flush()
                monkeypatch.setattr(Sink, "write", write)
                raise PowerCut

        monkeypatch.setattr(Sink, "write", written)

    return cut


@pytest.mark.parametrize("after", [1, 300, 900])
def test_an_interrupted_job_goes_on_where_it_was(
    predict: Predict, cut: Callable[[int], None], tmp_path: Path, after: int
) -> None:
    options = ("--batch-size", "20")
    whole = predict(NUMBERS, *options, model="slow")
    cut(after)
    with pytest.raises(PowerCut):
        predict(NUMBERS, *options, model="slow")
    checkpoint = json.loads(state_of(tmp_path).read_text())["checkpoint"]
    again = predict(NUMBERS, *options, model="slow")
    assert (again.output, again.errors, again.status) == (whole.output, whole.errors, 1)
    told = f"Going on behind row {checkpoint['rows']}." in again.out
    assert told is bool(checkpoint["rows"])
    assert "100 rows: 99 predicted, 1 failed" in again.out
    assert again.files == [*sorted(["out.jsonl", "out.jsonl.errors.jsonl"]), *INPUTS]


INPUTS = ["rows.csv", "service.yaml"]


def state_of(folder: Path) -> Path:
    return folder / "out.jsonl.state.json"


@pytest.fixture
def interrupted(predict: Predict, cut: Callable[[int], None], tmp_path: Path) -> Path:
    """The folder of a job that was interrupted in its midst."""
    cut(400)
    with pytest.raises(PowerCut):
        predict(NUMBERS, "--batch-size", "20", model="slow")
    return tmp_path


def more_rows(folder: Path) -> None:
    with (folder / "rows.csv").open("a") as file:
        file.write("1\n")


def touch(folder: Path) -> None:
    os.utime(folder / "rows.csv", ns=(1, 1))


def shorten(folder: Path) -> None:
    os.truncate(folder / "out.jsonl", 5)


def spoil(folder: Path) -> None:
    state_of(folder).write_text("{")


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (more_rows, (), "whose size of the input was "),
        (touch, (), "whose time of the last change of the input was "),
        (shorten, (), "out.jsonl has 5 bytes, but had "),
        (spoil, (), "out.jsonl.state.json cannot be read ("),
        (None, ("--batch-size", "10"), "whose batch size was 20, not 10."),
        (None, ("--errors", "other.jsonl"), "whose file of errors was "),
        (None, ("--delimiter", ";"), "whose delimiter was ,, not ;."),
    ],
)
def test_a_job_of_something_else_does_not_go_on(
    predict: Predict,
    interrupted: Path,
    change: Callable[[Path], None] | None,
    options: tuple[str, ...],
    message: str,
) -> None:
    if change is not None:
        change(interrupted)
    before = (interrupted / "out.jsonl").read_bytes()
    text = (interrupted / "rows.csv").read_text()
    ran = predict(text, "--batch-size", "20", *options, model="slow")
    assert ran.status == 2
    assert message in ran.err
    assert "--restart to begin anew" in ran.err
    assert (interrupted / "out.jsonl").read_bytes() == before
    assert len(predict(text, "--restart", model="slow").output) == text.count("\n") - 1


def test_a_job_stops_at_too_many_errors_and_can_go_on(predict: Predict) -> None:
    rows = "x\n" + "13\n" * 30 + "1\n"
    ran = predict(rows, "--batch-size", "10", "--max-errors", "15", model="slow")
    assert ran.status == 3
    assert "20 rows failed; --max-errors is 15." in ran.err
    assert "20 rows are done, 20 of which failed. The same command goes on" in ran.err
    assert len(ran.output) == len(ran.errors) == 20
    again = predict(rows, "--batch-size", "10", model="slow")
    assert (again.status, len(again.output), len(again.errors)) == (1, 31, 30)


def test_as_many_errors_as_are_allowed_do_not_stop_a_job(predict: Predict) -> None:
    assert predict("x\n13\n1\n", "--max-errors", "1", model="slow").status == 1
    assert predict("x\n13\n1\n", "--max-errors", "0", model="slow").status == 3


def test_two_jobs_do_not_write_one_file(predict: Predict, tmp_path: Path) -> None:
    other = Sink.to_file(tmp_path / "out.jsonl")
    ran = predict("x\n1\n", model="slow")
    other.close()
    assert ran.status == 2
    assert "out.jsonl is being written by another job." in ran.err
    assert predict("x\n1\n", model="slow").predictions == [{"x": 2.0}]


def test_a_disk_without_room_stops_a_job(predict: Predict) -> None:
    ran = predict(
        "x\n" + "1\n" * 5000,
        "--output",
        "/dev/full",
        "--output-format",
        "jsonl",
        "--errors",
        "-",
        model="slow",
    )
    assert ran.status == 3
    assert "no room left on the disk" in ran.err


def test_a_checkpoint_is_there_whole_or_as_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = checkpoints.CheckpointFile(tmp_path / "state.json", {"model": "slow"})
    file.write(checkpoints.Checkpoint(rows=1))

    def fail(_descriptor: int) -> None:
        raise OSError("no room")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no room"):
        file.write(checkpoints.Checkpoint(rows=2))
    assert file.read() == checkpoints.Checkpoint(rows=1)
