"""What the benchmark does with figures; it takes none here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks import __main__ as command_line
from benchmarks import (
    accelerator,
    encoder,
    memory,
    memory_models,
    models,
    pipelines,
    process_models,
    runtimes,
    wrk,
)
from benchmarks.bench import by_turns
from benchmarks.charts import charts
from benchmarks.classifiers import CLASSIFIERS
from benchmarks.encoder_model import EncoderModel, Text, body
from benchmarks.environments import REQUIREMENTS, requirements_digest
from benchmarks.isolation import SCENARIOS, misses, neighbour_bar_ms
from benchmarks.kit.processes import ServerProcess, memory_of, process_tree
from benchmarks.models import ClassifierModel, ConstantModel, Flower
from benchmarks.processes import KINDS, in_processes
from benchmarks.publish import BEGIN, END, publish
from benchmarks.report import markdown_report, peer_wins, text_report
from benchmarks.results import (
    Comparison,
    Isolation,
    Measurement,
    Overload,
    Results,
    Start,
    Weighing,
    summaries,
)
from benchmarks.rows import MODELS, ROWS, Row, expected_text
from benchmarks.running import entry
from benchmarks.servers import (
    BARE_WSGI,
    BARS,
    LITSERVE,
    MLSERVER,
    REPOSITORY,
    REST_MODEL_SERVICE,
    SERVE,
    SERVERS,
)
from models_api.configuration.file import ConfigurationFile
from tests.runtimes.serving import ArtefactService

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
ISOLATION = Isolation(
    server="modelhost-serve",
    scenario="sleeping",
    alone_p99_ms=4.0,
    beside_p50_ms=2.0,
    beside_p99_ms=28.0,
    failed=0,
    health_p99_ms=99.0,
    metrics_p99_ms=100.0,
    held=112,
    first_refusal_seconds=0.6,
    refusal_p99_ms=12.0,
    idle_seconds=8.5,
)
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
            measurement("modelhost-serve", 900.0, round=2),
            measurement("modelhost-serve", 1500.0, round=1, p99_ms=20.0, errors=1),
            measurement("modelhost-serve", 1600.0, round=3, p99_ms=30.0, wrong=2),
            measurement("rest_model_service", 80.0, model="random_forest", connections=1),
        ],
        starts=[
            Start("modelhost-serve", 1, 2.0, 310.0),
            Start("rest_model_service", 1, 3.0, 300.0),
        ],
        comparisons=[Comparison("this / that", 1.01, "at most 1.03", "1.01 ms / 1.00 ms")],
        isolations=[ISOLATION],
        overloads=[Overload("modelhost-serve", 2, 200, 90, 10, 40, 110, 5, 0, 8, 100, 101)],
        left_out={"mlserver": "not installed: no network"},
    )


def test_the_line_that_the_script_writes_is_found_in_the_output_of_wrk() -> None:
    assert wrk.parse(WRK_OUTPUT) == wrk.Throughput(
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
    with pytest.raises(wrk.LoadFailed, match=message):
        wrk.parse(output, errors)


@pytest.mark.skipif(not wrk.is_installed(), reason="the load comes from wrk")
def test_answers_are_counted_and_those_that_are_not_the_bodys_are_wrong() -> None:
    users = set[str]()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            users.add(self.headers["X-User"])
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(503 if body == b"refuse" else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    bodies = [
        wrk.Body(b"right", "right", header="X-User: grace"),
        wrk.Body(b"wrong", "right", pause_ms=1),
        wrk.Body(b"refuse", "x"),
    ]
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            url = f"http://127.0.0.1:{server.server_port}/"
            seen, health = wrk.post(url, bodies, 3, 1, health_url=url)
        finally:
            server.shutdown()
    assert health is not None
    assert min(seen.per_second, seen.wrong, seen.errors, health.per_second) > 0
    assert health.errors == 0
    assert users == {"grace"}


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


@pytest.fixture(scope="module")
def pipeline_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pipelines")
    pipelines.make(folder)
    return folder


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.species)
@pytest.mark.parametrize("name", ["numbers", "columns"])
def test_every_pipeline_answers_every_row_as_expected(
    name: str, row: Row, pipeline_files: Path
) -> None:
    entry = runtimes.of_pipeline(pipeline_files, name, output="label")
    body = runtimes.BODIES[name](row)
    answer = ArtefactService(Path(str(entry.pop("artefact"))), **entry).predict(body)
    assert expected_text(name, row) in json.dumps(answer)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.species)
def test_the_example_of_onnx_answers_every_row_as_expected(row: Row) -> None:
    entry = runtimes.of_example()
    service = ArtefactService(Path(str(entry.pop("artefact"))), **entry)
    answer = service.predict(runtimes.BODIES["iris"](row))
    assert expected_text("iris", row) in json.dumps(answer, separators=(",", ":"))


def test_every_server_serves_all_models() -> None:
    services = Path(command_line.__file__).parent / "services"
    for name in MODELS:
        settings = json.loads((services / "mlserver" / name / "model-settings.json").read_text())
        assert settings["name"] == name
        assert f"def {name}(" in (services / "bentoml_service.py").read_text()
    assert tuple(CLASSIFIERS) == MODELS
    for service in ("modelhost", "modelhost-observed", "rest_model_service"):
        read = ConfigurationFile(services / f"{service}.yaml")
        assert read.problems == []
        assert read.configuration is not None
        assert len(read.configuration.models) == len(MODELS)


def test_every_server_says_what_is_installed_for_it() -> None:
    assert {server.environment for server in SERVERS.values()} | runtimes.ENVIRONMENTS == {
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
    assert SERVE.is_own
    assert not BARE_WSGI.is_own
    assert not BARE_WSGI.is_peer


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


def test_the_processes_of_a_server_are_those_too_that_are_nobodys_descendants(
    tmp_path: Path,
) -> None:
    command = ["sh", "-c", "setsid sh -c 'sleep 60 & echo $!'; sleep 60"]
    server = ServerProcess(command, tmp_path / "log", folder=tmp_path, environment={**os.environ})
    server.start()
    try:
        orphan = int(server.wait_until(lambda: server.log or None, "one that has started it", 10))
        assert orphan not in process_tree(server.process.pid)
        assert orphan in server.all_processes()
        assert server.memory_bytes() > memory_of(orphan)["Pss"] > 0
    finally:
        server.stop()
        os.kill(orphan, signal.SIGKILL)


def test_rounds_are_summed_up_by_medians_and_troubles_by_sums(results: Results) -> None:
    (serve,) = [one for one in summaries(results.measurements) if one.server == SERVE.name]
    assert (serve.round, serve.per_second, serve.p99_ms) == (3, 1500.0, 20.0)
    assert (serve.errors, serve.wrong) == (1, 2)


def test_the_report_lists_what_of_isolation_does_not_hold(results: Results) -> None:
    assert "does not hold:\n  nothing" in text_report(results)
    results.isolations = [replace(ISOLATION, failed=3)]
    assert "does not hold:\n  modelhost-serve, sleeping: 3 requests" in text_report(results)


def test_results_survive_json(results: Results, tmp_path: Path) -> None:
    results.save(tmp_path / "results.json")
    assert Results.load(tmp_path / "results.json") == results


def test_the_table_has_a_line_for_each_server_and_its_ratio_to_rest_model_service(
    results: Results,
) -> None:
    assert """\
Constant, 64 connections
server              right/s  ratio  p50 ms  p99 ms  errors  wrong  health p99
modelhost-serve        1500   1.50    5.00   20.00       1      2        2.00
rest_model_service     1000   1.00    5.00   10.00       0      0        2.00
""" in text_report(results)


def test_the_report_says_what_is_missing_and_what_was_compared(results: Results) -> None:
    report = text_report(results)
    assert "Without all their figures:\n  mlserver: not installed: no network" in report
    assert "this / that  1.010  at most 1.03  1.01 ms / 1.00 ms" in report
    assert "modelhost-serve / rest_model_service  constant   1.50  at least 5     no" in report
    assert "modelhost-serve, sleeping" in report
    assert "modelhost-serve, 2 times its capacity" in report


def test_every_bar_is_about_servers_and_models_that_take_part() -> None:
    for bar in BARS:
        assert {bar.server.name, bar.reference.name} <= SERVERS.keys()
        assert bar.model in bar.server.models
        assert bar.model in bar.reference.models


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({}, []),
        ({"beside_p99_ms": 29.0}, ["neighbour p99 29 ms, not 28"]),
        ({"health_p99_ms": 120.0}, ["health p99 120 ms, not 100"]),
        ({"refusal_p99_ms": 51.0}, ["p99 of 503 51 ms, not 50"]),
        ({"first_refusal_seconds": 7.9}, ["first 503 after 7.9 s, not 1"]),
        ({"first_refusal_seconds": None, "refusal_p99_ms": None}, ["the surplus was not refused"]),
        ({"idle_seconds": None}, ["computes inf s for nobody, not 30"]),
        ({"failed": 3}, ["3 requests failed"]),
        ({"scenario": "computing", "beside_p99_ms": 499.0}, []),
        ({"scenario": "sleeping, clients that hammer", "health_p99_ms": 900.0}, []),
    ],
)
def test_what_isolation_promises_is_compared_with_what_was_seen(
    changes: dict[str, Any], complaint: list[str]
) -> None:
    assert misses(replace(ISOLATION, **changes)) == complaint


def test_alone_there_is_no_neighbour_to_promise_anything() -> None:
    alone = replace(ISOLATION, alone_p99_ms=None, beside_p99_ms=None)
    assert neighbour_bar_ms(alone) is None
    assert misses(alone) == []


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_the_models_of_isolation_have_the_names_by_which_they_are_asked(scenario: Any) -> None:
    classes = [getattr(models, one["class_path"].rpartition(".")[2]) for one in scenario.entries]
    assert [one.qualified_name for one in classes] == scenario.models


def test_what_takes_turns_is_measured_in_the_opposite_order_every_other_time() -> None:
    order: list[str] = []

    def figure(name: str) -> Callable[[], float]:
        def measure() -> float:
            order.append(name)
            return len(order)

        return measure

    assert by_turns(2, figure("a"), figure("b")) == [[1, 4], [2, 3]]
    assert "".join(order) == "abba"


def test_an_entry_names_the_class_and_its_options() -> None:
    assert entry("ConstantModel", batching={}) == {
        "class_path": "benchmarks.models.ConstantModel",
        "batching": {},
    }


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
        assert {"modelhost-serve", "rest_model_service"} <= set(names)


def test_charts_of_nothing_are_svg_all_the_same() -> None:
    empty = Results(machine=MACHINE, options=OPTIONS)
    for drawing in charts(empty).values():
        ElementTree.fromstring(drawing)  # noqa: S314
    assert text_report(empty).splitlines()[-1] == "2 workers each"


def test_publishing_replaces_only_what_is_between_the_marks(
    results: Results, tmp_path: Path
) -> None:
    page = tmp_path / "benchmarks.md"
    page.write_text(f"before\n{BEGIN}\nformer\n{END}\nafter\n")
    results.save(tmp_path / "results.json")
    publish(page, tmp_path)
    once = page.read_text()
    publish(page, tmp_path)
    assert page.read_text() == once
    assert once.startswith(f"before\n{BEGIN}\n")
    assert once.endswith(f"{END}\nafter\n")
    assert markdown_report(results) in once
    assert "former" not in once
    assert (tmp_path / "benchmarks" / "throughput.svg").exists()


def test_what_a_later_run_has_is_published_instead(results: Results, tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    page.write_text(f"{BEGIN}{END}")
    later = Results(machine=MACHINE, options=OPTIONS, isolations=[replace(ISOLATION, held=7)])
    for name, run in (("earlier", results), ("later", later)):
        (tmp_path / name).mkdir()
        run.save(tmp_path / name / "results.json")
    publish(page, tmp_path / "earlier", tmp_path / "later")
    published = Results.load(tmp_path / "benchmarks" / "results.json")
    assert [one.held for one in published.isolations] == [7]
    assert published.comparisons == results.comparisons != []
    assert published.measurements == results.measurements != []


def test_the_published_weighings_are_those_that_are_measured() -> None:
    asked = [(workers, True) for workers in memory.WORKERS] + [(memory.WORKERS[-1], False)]
    weighings = [
        Weighing(held, preload, workers, 417.4, 418, 20.1, 20.6)
        for held in memory.HELD.values()
        for workers, preload in asked
    ]
    report = markdown_report(Results(machine=MACHINE, options=OPTIONS, weighings=weighings))
    _, header, table = report.partition("| Model holds ")
    assert "| a numpy array of 200 MB | yes | 4 | 417 | 418 | 20 | 21 |" in table
    page = (REPOSITORY / "docs" / "memory.md").read_text(encoding="utf-8").partition(header)[2]
    published, measured = (
        [line.split("|")[1:4] for line in text.partition("\n\n")[0].splitlines()[1:]]
        for text in (page, table)
    )
    assert published == measured


@pytest.mark.parametrize("held", memory.HELD)
def test_there_is_a_model_that_holds_what_is_weighed(held: str) -> None:
    model = getattr(memory_models, held.capitalize())
    assert model.qualified_name == f"constant_{held}"
    assert model.__doc__


@pytest.mark.parametrize(
    ("class_name", "model"),
    [
        ("ProcessConstantModel", "process_constant"),
        ("ProcessRandomForestModel", "process_random_forest"),
        *((f"{n}{kind}Model", f"{n}_{kind}".lower()) for n in ("One", "Two") for kind in KINDS),
        ("Weights", "constant_weights"),
        ("Nothing", "constant_nothing"),
    ],
)
def test_the_models_of_processes_have_the_names_by_which_they_are_asked(
    class_name: str, model: str
) -> None:
    written = in_processes(class_name, 2)["class_path"]
    assert written == f"benchmarks.process_models.{class_name}"
    assert getattr(process_models, class_name).qualified_name == model


def test_a_model_in_a_process_answers_as_the_one_on_threads() -> None:
    flower = Flower.model_validate(dict(zip(Flower.model_fields, ROWS[1], strict=False)))
    for name in ("ProcessConstantModel", "OneSleepingModel", "TwoComputingModel"):
        model = getattr(process_models, name)()
        assert (
            expected_text(model.qualified_name, ROWS[1]) in model.predict(flower).model_dump_json()
        )


@pytest.mark.long
def test_the_encoder_scores_each_text_whoever_stands_in_for_it() -> None:
    torch = pytest.importorskip("torch")
    from benchmarks.torch_encoder import EagerEncoder, EncoderModule

    torch.manual_seed(1)
    real = EagerEncoder(EncoderModule(layers=2, width=32, heads=4))
    texts = [Text.model_validate(body(row)) for row in ROWS]
    model = EncoderModel()
    for encode, different in ((encoder.SleepingEncoder(), 1), (real, 3)):
        model._encode = encode
        scores = model.predict_batch(texts)
        assert all(expected_text("encoder", ROWS[0]) in one.model_dump_json() for one in scores)
        assert len({one.score for one in scores}) == different
        assert model.predict(texts[1]).score == pytest.approx(scores[1].score, abs=1e-6)


@pytest.mark.long
def test_the_encoder_is_as_large_as_it_is_said_to_be() -> None:
    torch = pytest.importorskip("torch")
    from benchmarks.torch_encoder import EncoderModule

    with torch.device("meta"):
        weights = sum(each.numel() for each in EncoderModule().parameters())
    assert 105e6 < weights < 112e6


def test_the_load_of_the_encoder_is_that_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for processors, workers in ((1, 1), (2, 1), (8, 4), (16, 8), (64, 8)):
        monkeypatch.setattr(os, "cpu_count", lambda found=processors: found)
        size = accelerator.Size.of_machine(5)
        assert (size.workers, size.connections) == (workers, 64 * workers)
