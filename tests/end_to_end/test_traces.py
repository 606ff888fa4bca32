"""Traces of a real server, whose workers are forked after the models are loaded."""

from __future__ import annotations

import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.end_to_end.server import REPOSITORY, STARTERS, TLS, Server, serve

TALKATIVE = "/api/models/talkative/prediction"
BATCHING = "/api/models/batching/prediction"
MODELS = {
    "models": [
        {"class_path": "tests.fakes.talkative.TalkativeModel"},
        {"class_path": "tests.fakes.batching.BatchingModel", "batching": {}},
    ]
}
TRACE_ID, PARENT_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
MARKER = "swordfish"


class Collector(BaseHTTPRequestHandler):
    """Takes what is sent by the OpenTelemetry protocol."""

    def do_POST(self) -> None:
        """Keep the body."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append((self.path, body))  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_arguments: Any) -> None:
        """Keep quiet."""


@dataclass
class Observed:
    """What is known of a server after it has ended."""

    spans: list[dict[str, Any]]
    log: str
    received: list[tuple[str, bytes]]
    responses: dict[str, httpx.Response] = field(default_factory=dict)

    def of_request(self, id_: str) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        """The span of a request, and those within it by their names."""
        (root,) = (s for s in self.spans if s["attributes"].get("modelhost.request_id") == id_)
        trace = [s for s in self.spans if trace_id(s) == trace_id(root) and s is not root]
        return root, {span["name"]: span for span in trace}


def trace_id(span: dict[str, Any]) -> str:
    return str(span["context"]["trace_id"])


def install_exporter(folder: Path) -> None:
    """Make our exporter known as packages do."""
    distribution = folder / "span_exporter-1.dist-info"
    distribution.mkdir()
    (distribution / "METADATA").write_text("Metadata-Version: 2.1\nName: span-exporter\nVersion: 1")
    (distribution / "entry_points.txt").write_text(
        "[opentelemetry_traces_exporter]\nfile = tests.fakes.span_exporter:FileExporter\n"
    )


@pytest.fixture(scope="module", params=sorted(STARTERS))
def observed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Observed:
    folder = tmp_path_factory.mktemp("traces")
    install_exporter(folder)
    collector = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    collector.received = []  # type: ignore[attr-defined]
    threading.Thread(target=collector.serve_forever, daemon=True).start()
    variables = {
        "MODELHOST_WORKERS": "2",
        "MODELHOST_LOG_FORMAT": "json",
        "OTEL_TRACES_EXPORTER": "file,otlp,nonsense",
        "OTEL_SERVICE_NAME": "models-under-test",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_port}",
        # Longer than the test: what is there in the end was sent while the workers ended.
        "OTEL_BSP_SCHEDULE_DELAY": "600000",
        "SPANS_FILE": str(folder / "spans"),
        "PYTHONPATH": os.pathsep.join([str(folder), str(REPOSITORY)]),
    }
    with STARTERS[request.param](MODELS, environment=variables) as server:
        responses = make_requests(server)
        server.process.terminate()
        server.process.wait(60)
        log = server.log
    collector.shutdown()
    collector.server_close()
    spans = [json.loads(line) for line in (folder / "spans").read_text("utf-8").splitlines()]
    return Observed(spans, log, collector.received, responses)  # type: ignore[attr-defined]


ROUTINE = (
    *("/api/health", "/api/health/ready", "/api/health/startup", "/api/models/talkative/ready"),
    *("/api/models/unknown/ready", "/docs/assets/swagger-ui/swagger-ui.css"),
)


def make_requests(server: Server) -> dict[str, httpx.Response]:
    parent = {"traceparent": f"00-{TRACE_ID}-{PARENT_ID}-01"}
    answers = {
        id_: server.client.post(
            TALKATIVE, json=body, params={"q": MARKER}, headers={"X-Request-ID": id_, **headers}
        )
        for id_, body, headers in (
            ("followed", {}, parent),
            ("malformed", {}, {"traceparent": "nonsense"}),
            ("failed", {"do": "raise", "text": MARKER}, {}),
            ("misfit", {"do": "misfit", "text": MARKER}, {}),
            ("refused", {"text": [MARKER]}, {}),
        )
    }
    for path in ROUTINE:
        server.client.get(path, headers={"X-Request-ID": "routine"})
    unknown = "/api/models/unknown/prediction"
    server.client.post(unknown, json={}, headers={"X-Request-ID": "unknown"})
    rows: dict[str, Any] = {"inputs": 2 * [{}]}
    url = f"{TALKATIVE}/batch"
    answers["rows"] = server.client.post(url, json=rows, headers={"X-Request-ID": "rows"})
    # So many at once that some have to wait, and both workers have something to do.
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            statuses = list(pool.map(lambda n: ask_batching(server, n), range(16)))
            # On a machine that is very busy some may be refused.
            assert set(statuses) <= {200, 503}
    return answers


def ask_batching(server: Server, value: int) -> int:
    # A connection of its own, so that either worker may take it.
    return httpx.post(
        f"{server.url}{BATCHING}", json={"value": value}, timeout=60, verify=TLS
    ).status_code


def test_a_request_goes_on_with_the_trace_of_its_caller(observed: Observed) -> None:
    root, stages = observed.of_request("followed")
    assert (trace_id(root), root["parent_id"]) == (f"0x{TRACE_ID}", f"0x{PARENT_ID}")
    assert (root["name"], root["kind"]) == (f"POST {TALKATIVE}", "SpanKind.SERVER")
    assert root["attributes"] == {
        "http.request.method": "POST",
        "http.route": TALKATIVE,
        "http.response.status_code": 200,
        "modelhost.request_id": "followed",
        "modelhost.model": "talkative",
        "modelhost.version": "1.0.0",
        "modelhost.rows": 1,
        "modelhost.batch_size": 1,
    }
    assert root["resource"]["attributes"]["service.name"] == "models-under-test"
    assert stages.keys() == {"parse", "predict", "serialise"}
    for span in stages.values():
        assert span["parent_id"] == root["context"]["span_id"]
        assert root["start_time"] <= span["start_time"] <= span["end_time"] <= root["end_time"]


def test_without_a_usable_trace_of_the_caller_a_trace_begins(observed: Observed) -> None:
    traces = set()
    for id_ in ("malformed", "failed", "misfit"):
        root, _ = observed.of_request(id_)
        assert root["parent_id"] is None
        traces.add(trace_id(root))
    assert len(traces) == 3


@pytest.mark.parametrize(
    ("id_", "status", "failed", "error"),
    [
        ("failed", 500, "predict", "RuntimeError"),
        ("misfit", 500, "serialise", "ValidationError"),
        ("refused", 400, "parse", "InvalidInput"),
    ],
)
def test_the_stage_that_failed_says_so(
    observed: Observed, id_: str, status: int, failed: str, error: str
) -> None:
    root, stages = observed.of_request(id_)
    assert observed.responses[id_].status_code == status
    assert root["status"]["status_code"] == ("ERROR" if status == 500 else "UNSET")
    assert list(stages)[-1] == failed
    assert stages[failed]["status"] == {"status_code": "ERROR"}
    assert stages[failed]["attributes"] == {"error.type": error}


def test_rows_of_a_batch_are_stages_too(observed: Observed) -> None:
    root, stages = observed.of_request("rows")
    assert root["attributes"]["modelhost.rows"] == 2
    assert stages.keys() == {"parse", "predict", "serialise"}


def test_the_time_in_a_queue_is_a_part_of_the_prediction(observed: Observed) -> None:
    by_id = {span["context"]["span_id"]: span for span in observed.spans}
    waits = [span for span in observed.spans if span["name"] == "queue"]
    assert waits
    for wait in waits:
        predict = by_id[wait["parent_id"]]
        assert predict["name"] == "predict"
        assert predict["start_time"] <= wait["start_time"] <= wait["end_time"]
        assert by_id[predict["parent_id"]]["name"] == f"POST {BATCHING}"


def test_each_forked_worker_exports_its_spans_even_while_it_ends(observed: Observed) -> None:
    assert len({span["pid"] for span in observed.spans}) == 2
    assert sum(span["name"].startswith("POST ") for span in observed.spans) == 7 + 5 * 16


def test_the_opentelemetry_protocol_is_spoken_too(observed: Observed) -> None:
    assert {path for path, _ in observed.received} == {"/v1/traces"}
    assert any(bytes.fromhex(TRACE_ID) in body for _, body in observed.received)
    assert all(b"models-under-test" in body for _, body in observed.received)


def test_an_exporter_that_is_not_there_is_reported_and_breaks_nothing(observed: Observed) -> None:
    assert '"Traces are not exported to nonsense"' in observed.log
    assert "LookupError: No package that is installed has an exporter nonsense." in observed.log


def test_records_of_the_log_have_the_id_of_the_trace(observed: Observed) -> None:
    entries = [json.loads(line) for line in observed.log.splitlines()]
    found = [entry for entry in entries if entry.get("trace_id") == TRACE_ID]
    assert [entry["logger"] for entry in found] == ["tests.fakes.talkative", "models_api.access"]
    assert {entry["request_id"] for entry in found} == {"followed"}


def test_what_clients_send_is_not_in_the_spans(observed: Observed) -> None:
    assert MARKER not in json.dumps(observed.spans)


def test_probes_and_files_are_no_spans(observed: Observed) -> None:
    ids = {span["attributes"].get("modelhost.request_id") for span in observed.spans}
    assert "routine" not in ids
    assert "unknown" in ids
    assert not [span for span in observed.spans if "health" in span["name"]]


def test_the_route_of_an_unknown_model_is_that_of_the_document(observed: Observed) -> None:
    root, _ = observed.of_request("unknown")
    assert root["name"] == "POST /api/models/{qualified_name}/prediction"
    assert root["attributes"]["http.route"] == "/api/models/{qualified_name}/prediction"


@pytest.mark.long
def test_spans_of_a_model_in_a_process_belong_to_the_trace_of_the_request(tmp_path: Path) -> None:
    install_exporter(tmp_path)
    tracing = {
        "class_path": "tests.fakes.tracing.TracingModel",
        "execution": {"kind": "process"},
    }
    variables = {
        "OTEL_TRACES_EXPORTER": "file",
        "OTEL_BSP_SCHEDULE_DELAY": "600000",
        "SPANS_FILE": str(tmp_path / "spans"),
        "PYTHONPATH": os.pathsep.join([str(tmp_path), str(REPOSITORY)]),
    }
    with serve({"models": [tracing]}, environment=variables) as server:
        url, body = f"{server.url}/api/models/tracing/prediction", {"what": "nothing"}
        parent = {"traceparent": f"00-{TRACE_ID}-{PARENT_ID}-01"}
        httpx.post(url, json=body, headers=parent).raise_for_status()
        process = httpx.post(url, json=body).json()["process"]  # in a trace of its own
        server.process.terminate()
        server.process.wait(60)
    deadline = time.monotonic() + 30  # the process ends after the server has
    while len(own := spans_called(tmp_path, "own nothing")) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert {span["pid"] for span in own} == {process}
    requests = {
        (trace_id(span), span["context"]["span_id"])
        for span in spans_called(tmp_path, "POST /api/models/tracing/prediction")
    }
    assert {(trace_id(span), span["parent_id"]) for span in own} == requests
    assert trace_id(own[0]) == f"0x{TRACE_ID}"


def spans_called(folder: Path, name: str) -> list[dict[str, Any]]:
    """The spans of this name that have been exported yet."""
    path = folder / "spans"
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    return [span for span in map(json.loads, lines) if span["name"] == name]
