"""What the benchmark does with figures; it takes none here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks import __main__ as command_line
from benchmarks import load, memory, memory_models
from benchmarks.charts import charts
from benchmarks.classifiers import CLASSIFIERS
from benchmarks.environments import REQUIREMENTS, requirements_digest
from benchmarks.models import ClassifierModel, ConstantModel, Flower
from benchmarks.processes import memory_of, process_tree
from benchmarks.publish import BEGIN, END, publish
from benchmarks.report import markdown_report, peer_wins, text_report
from benchmarks.results import Comparison, Measurement, Results, Start, summaries
from benchmarks.rows import MODELS, ROWS, Row, expected_text
from benchmarks.servers import (
    GRANIAN,
    LITSERVE,
    MLSERVER,
    REPOSITORY,
    REST_MODEL_SERVICE,
    SERVERS,
)
from models_api.configuration.file import ConfigurationFile

WRK_OUTPUT = """\
Running 2s test @ http://127.0.0.1:8000/api/models/constant/prediction
  3 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     4.21ms    2.11ms  40.33ms   89.12%
  10010 requests in 2.00s, 3.21MB read
Requests/sec:   5005.00
{"microseconds": 2000000, "requests": 10010, "wrong": 3, "refused": 7, "broken": 2, \
"p50": 4000.0, "p99": 12345.0}
"""
MACHINE = {"processor": "Some <processor> & more", "processors": "2"}
OPTIONS = {"models": ["constant", "random_forest"], "rounds": 3, "seconds": 5, "workers": 2}


def measurement(server: str, per_second: float, **changes: Any) -> Measurement:
    figures: dict[str, Any] = {
        "server": server,
        "model": "constant",
        "connections": 64,
        "round": 1,
        "per_second": per_second,
        "p50_ms": 5.0,
        "p99_ms": 10.0,
        "errors": 0,
        "wrong": 0,
        "health_p99_ms": 2.0,
    }
    return Measurement(**(figures | changes))


@pytest.fixture
def results() -> Results:
    return Results(
        machine=MACHINE,
        options=OPTIONS,
        versions={"modelhost": {"django": "5.2.19"}},
        measurements=[
            measurement("rest_model_service", 1000.0),
            measurement("modelhost-granian", 900.0, round=2),
            measurement("modelhost-granian", 1500.0, round=1, p99_ms=20.0, errors=1),
            measurement("modelhost-granian", 1600.0, round=3, p99_ms=30.0, wrong=2),
            measurement("rest_model_service", 80.0, model="random_forest", connections=1),
        ],
        starts=[
            Start("modelhost-granian", 1, 2.0, 310.0),
            Start("rest_model_service", 1, 3.0, 300.0),
        ],
        comparisons=[Comparison("this / that", 1.01, "at most 1.03", "1.01 ms / 1.00 ms")],
        left_out={"mlserver": "not installed: no network"},
    )


def test_the_line_that_the_script_writes_is_found_in_the_output_of_wrk() -> None:
    assert load.parse(WRK_OUTPUT) == load.Load(
        per_second=5000.0, p50_ms=4.0, p99_ms=12.345, errors=9, wrong=3
    )


@pytest.mark.parametrize(
    ("output", "errors", "message"),
    [
        ("", "unable to connect to 127.0.0.1:1 Connection refused", "unable to connect"),
        ("Running 2s test", "", "Running 2s test"),
        ("", "", "wrk said nothing"),
        ('{"requests": 0}', "", "not one answer came while wrk ran"),
    ],
)
def test_output_without_that_line_or_without_answers_is_a_failure(
    output: str, errors: str, message: str
) -> None:
    with pytest.raises(load.LoadFailed, match=message):
        load.parse(output, errors)


@pytest.mark.parametrize(("connections", "threads"), [(1, 1), (2, 2), (64, 3)])
def test_each_thread_of_wrk_gets_a_row_and_what_its_answer_holds(
    connections: int, threads: int
) -> None:
    command = load.predict_command(GRANIAN, "http://host/", "random_forest", connections, 5)
    arguments = command[command.index("--") + 1 :]
    assert command[command.index("--threads") + 1] == str(threads)
    assert arguments[::2] == ['"setosa"', '"versicolor"', '"virginica"'][:threads]
    assert json.loads(arguments[1]) == {
        "sepal_length": 5.1,
        "sepal_width": 3.5,
        "petal_length": 1.4,
        "petal_width": 0.2,
    }


def test_without_wrk_the_command_says_where_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    assert command_line.main([]) == 2
    assert capsys.readouterr().err == (
        "The load comes from wrk, which is not installed. On Debian and Ubuntu: "
        "apt-get install wrk\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--servers", "apache"], "argument --servers: invalid choice: 'apache'"),
        (["--rounds", "0"], "argument --rounds: must be at least 1"),
        (["--models", "resnet"], "argument --models: invalid choice: 'resnet'"),
    ],
)
def test_a_wrong_option_is_explained(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        command_line.main(arguments)
    assert message in capsys.readouterr().err


def test_the_command_needs_no_packages() -> None:
    command = [sys.executable, "-S", "-m", "benchmarks", "--help"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout.startswith("usage: python -m benchmarks ")


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("row", ROWS)
def test_every_model_answers_every_row_as_expected(name: str, row: Row) -> None:
    model = fitted_model(name)
    flower = Flower.model_validate(dict(zip(Flower.model_fields, row, strict=False)))
    assert expected_text(name, row) in model.predict(flower).model_dump_json()
    assert model.predict_batch([flower] * 3) == [model.predict(flower)] * 3


@cache
def fitted_model(name: str) -> Any:
    classes = [ConstantModel, *ClassifierModel.__subclasses__()]
    return next(one for one in classes if one.qualified_name == name)()


def test_every_server_serves_all_models() -> None:
    services = Path(command_line.__file__).parent / "services"
    for name in MODELS:
        settings = json.loads((services / "mlserver" / name / "model-settings.json").read_text())
        assert settings["name"] == name
        assert f"def {name}(" in (services / "bentoml_service.py").read_text()
    assert tuple(CLASSIFIERS) == MODELS
    for service in ("modelhost", "rest_model_service"):
        read = ConfigurationFile(services / f"{service}.yaml")
        assert read.problems == []
        assert read.configuration is not None
        assert len(read.configuration.models) == len(MODELS)


def test_every_server_says_what_is_installed_for_it() -> None:
    assert {server.environment for server in SERVERS.values()} == {
        path.stem for path in REQUIREMENTS.glob("*.txt") if path.stem != "models"
    }


def test_a_server_is_told_its_port_and_workers() -> None:
    assert LITSERVE.arguments(port=8000, workers=2, models="constant")[-3:] == [
        "8000",
        "2",
        "constant",
    ]
    variables = MLSERVER.environment_variables(port=8000, workers=3, models="")
    assert variables["MLSERVER_HTTP_PORT"] == "8000"
    assert variables["MLSERVER_PARALLEL_WORKERS"] == "3"
    assert MLSERVER.is_peer
    assert REST_MODEL_SERVICE.is_peer
    assert not GRANIAN.is_peer


def test_an_environment_is_made_anew_when_requirements_change_that_its_own_include(
    tmp_path: Path,
) -> None:
    (tmp_path / "one.txt").write_text("-r other.txt\na>=1\n")
    (tmp_path / "other.txt").write_text("b>=1\n")
    before = requirements_digest(tmp_path / "one.txt")
    (tmp_path / "other.txt").write_text("b>=2\n")
    assert requirements_digest(tmp_path / "one.txt") != before


def test_memory_is_that_of_the_process_and_its_descendants() -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        try:
            assert child.pid in process_tree(os.getpid())
            assert memory_of(os.getpid())["Pss"] > memory_of(child.pid)["Pss"] > 0
        finally:
            child.kill()
    assert process_tree(child.pid) == []
    assert memory_of(child.pid) == {}


def test_rounds_are_summed_up_by_medians_and_troubles_by_sums(results: Results) -> None:
    (granian,) = [one for one in summaries(results.measurements) if "granian" in one.server]
    assert (granian.per_second, granian.p99_ms) == (1500.0, 20.0)
    assert (granian.errors, granian.wrong) == (1, 2)


def test_results_survive_json(results: Results, tmp_path: Path) -> None:
    results.save(tmp_path / "results.json")
    assert Results.load(tmp_path / "results.json") == results


def test_the_table_has_a_line_for_each_server_and_its_ratio_to_rest_model_service(
    results: Results,
) -> None:
    assert """\
Constant, 64 connections
server              right/s  ratio  p50 ms  p99 ms  errors  wrong  health p99
modelhost-granian      1500   1.50    5.00   20.00       1      2        2.00
rest_model_service     1000   1.00    5.00   10.00       0      0        2.00
""" in text_report(results)


def test_the_report_says_what_is_missing_and_what_was_compared(results: Results) -> None:
    report = text_report(results)
    assert "Without all their figures:\n  mlserver: not installed: no network" in report
    assert "this / that  1.010  at most 1.03  1.01 ms / 1.00 ms" in report


def test_the_report_says_where_a_peer_wins(results: Results) -> None:
    assert list(peer_wins(results)) == [
        "constant, 64 connections, p99 ms: rest_model_service 10, this service at best 20",
        "memory MB: rest_model_service 300, this service at best 310",
    ]


def test_the_charts_are_svg_with_a_bar_for_each_server(results: Results) -> None:
    drawings = charts(results)
    assert list(drawings) == ["throughput.svg", "latency.svg", "start-and-memory.svg"]
    for drawing in drawings.values():
        root = ElementTree.fromstring(drawing)  # noqa: S314 (drawn here)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        names = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
        assert {"modelhost-granian", "rest_model_service"} <= set(names)


def test_charts_of_nothing_are_svg_all_the_same() -> None:
    empty = Results(machine=MACHINE, options=OPTIONS)
    for drawing in charts(empty).values():
        ElementTree.fromstring(drawing)  # noqa: S314
    assert "nowhere" in text_report(empty)


def test_publishing_replaces_only_what_is_between_the_marks(
    results: Results, tmp_path: Path
) -> None:
    page = tmp_path / "benchmarks.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    results.save(tmp_path / "results.json")
    publish(page, tmp_path)
    once = page.read_text()
    publish(page, tmp_path)
    assert page.read_text() == once
    assert once.startswith(f"before\n{BEGIN}\n")
    assert once.endswith(f"{END}\nafter\n")
    assert markdown_report(results) in once
    assert "old" not in once
    assert (tmp_path / "benchmarks" / "throughput.svg").exists()


def test_comparisons_of_a_later_run_are_published_instead(results: Results, tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    page.write_text(f"{BEGIN}{END}")
    results.comparisons = [Comparison(name, 0.8, "", "") for name in ("first", "second")]
    later = replace(results, measurements=[], comparisons=[Comparison("first", 0.9, "", "")])
    for name, run in (("earlier", results), ("later", later)):
        (tmp_path / name).mkdir()
        run.save(tmp_path / name / "results.json")
    publish(page, tmp_path / "earlier", tmp_path / "later")
    published = Results.load(tmp_path / "benchmarks" / "results.json")
    assert [(one.name, one.ratio) for one in published.comparisons] == [
        ("first", 0.9),
        ("second", 0.8),
    ]
    assert published.measurements == results.measurements != []


def test_weighings_are_a_table_of_megabytes() -> None:
    fresh, used = memory.Weight(total=417.4, private=20.1), memory.Weight(total=418, private=20.6)
    array = memory.Weighing("array", preload=True, workers=4, fresh=fresh, used=used)
    *_, row = memory.table([array]).splitlines()
    assert row == "| a numpy array of 200 MB | yes | 4 | 417 | 418 | 20 | 21 |"


def test_the_published_weighings_are_those_that_are_measured() -> None:
    page = (REPOSITORY / "docs" / "memory.md").read_text(encoding="utf-8")
    header, rule = memory.table([]).splitlines()
    measured = page.partition(f"{header}\n{rule}\n")[2].partition("\n\n")[0].splitlines()
    cells = [tuple(cell.strip() for cell in line.split("|")[1:4]) for line in measured]
    asked = [("yes", str(workers)) for workers in memory.WORKERS] + [("no", "4")]
    assert cells == [(held, *one) for held in memory.HELD.values() for one in asked]


@pytest.mark.parametrize("held", memory.HELD)
def test_there_is_a_model_that_holds_what_is_weighed(held: str) -> None:
    model = getattr(memory_models, held.capitalize())
    assert model.qualified_name == f"constant_{held}"
    assert model.__doc__
