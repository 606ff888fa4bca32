"""Promises about the Open Inference Protocol: the same model and rows as tensors and as JSON."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import load
from benchmarks.comparisons import Bench, by_turns, comparison
from benchmarks.processes import RunningServer
from benchmarks.results import Comparison
from benchmarks.rounds import WARM_UP_CONNECTIONS
from benchmarks.rows import ROWS, expected_text
from benchmarks.servers import GRANIAN, MLSERVER, TUNED, Server

_MODEL = "logistic_regression"
_ENTRY = {
    "class_path": "benchmarks.models.LogisticRegressionModel",
    "batching": {"max_batch_size": 1024},
}
_ROWS = 1000
_CONNECTIONS = 4
_OPEN_INFERENCE = {"open_inference": {"enabled": True}}
_TENSORS = replace(GRANIAN, name="modelhost-tensors", path=MLSERVER.path, body=MLSERVER.body)


def one_row(bench: Bench) -> Comparison:
    """A request for one row should not cost much more as a tensor than as an object."""
    with bench.serve(
        TUNED, [_ENTRY], _MODEL, workers=bench.plan.workers, **_OPEN_INFERENCE
    ) as running:
        plain, tensors = by_turns(
            lambda: bench.load(running, _MODEL, WARM_UP_CONNECTIONS).per_second,
            lambda: _single(bench, running).per_second,
        )
    return comparison(
        "requests/s for one row, as an object / as tensors",
        tensors,
        plain,
        "at most 2",
        "{:.0f}/s",
    )


def many_rows(bench: Bench) -> Comparison:
    """Rows that come together in one binary request should be many times faster."""
    with bench.serve(
        TUNED, [_ENTRY], _MODEL, workers=bench.plan.workers, **_OPEN_INFERENCE
    ) as running:
        single, together = by_turns(
            lambda: _single(bench, running).per_second,
            lambda: _ROWS * _together(bench, running, binary=True).per_second,
        )
    return comparison(
        f"rows/s in binary requests of {_ROWS} / in requests of one",
        single,
        together,
        "at least 20",
        "{:.0f}/s",
    )


def one_row_beside_mlserver(bench: Bench) -> Comparison:
    """The same request for one row to MLServer."""
    with _mlserver(bench) as theirs, _ours(bench) as ours:
        their_rate, our_rate = by_turns(
            lambda: _single(bench, theirs).per_second, lambda: _single(bench, ours).per_second
        )
    return comparison(
        "requests/s for one row as a tensor / those of MLServer",
        their_rate,
        our_rate,
        "at least 2",
        "{:.0f}/s",
    )


def many_rows_beside_mlserver(bench: Bench) -> Comparison:
    """The same request for many rows, in JSON, to MLServer, which knows no binary ones."""
    with _mlserver(bench) as theirs, _ours(bench) as ours:
        their_rate, our_rate = by_turns(
            lambda: _ROWS * _together(bench, theirs, binary=False).per_second,
            lambda: _ROWS * _together(bench, ours, binary=False).per_second,
        )
    return comparison(
        f"rows/s in JSON requests of {_ROWS} / those of MLServer",
        their_rate,
        our_rate,
        "at least 2",
        "{:.0f}/s",
    )


COMPARISONS = {
    "tensors-one-row": one_row,
    "tensors-many-rows": many_rows,
    "tensors-one-row-mlserver": one_row_beside_mlserver,
    "tensors-many-rows-mlserver": many_rows_beside_mlserver,
}


def _ours(bench: Bench, server: Server = _TENSORS) -> RunningServer:
    return bench.serve(server, [_ENTRY], _MODEL, workers=bench.plan.workers, **_OPEN_INFERENCE)


def _mlserver(bench: Bench) -> RunningServer:
    return RunningServer(
        MLSERVER,
        bench.environments[MLSERVER.environment],
        bench.plan.logs / "mlserver-tensors.log",
        models=(_MODEL,),
        workers=bench.plan.workers,
    )


def _single(bench: Bench, running: RunningServer) -> load.Load:
    body = json.dumps(MLSERVER.body(ROWS[0])).encode()
    return _load(bench, running, body, 0, WARM_UP_CONNECTIONS)


def _together(bench: Bench, running: RunningServer, *, binary: bool) -> load.Load:
    features = ROWS[0].features * _ROWS
    tensor: dict[str, Any] = {"name": "rows", "shape": [_ROWS, 4], "datatype": "FP64"}
    if not binary:
        body = json.dumps({"inputs": [{**tensor, "data": features}]}).encode()
        return _load(bench, running, body, 0, _CONNECTIONS)
    data = struct.pack(f"<{len(features)}d", *features)
    tensor["parameters"] = {"binary_data_size": len(data)}
    request = {"inputs": [tensor], "parameters": {"binary_data_output": True}}
    header = json.dumps(request).encode()
    return _load(bench, running, header + data, len(header), _CONNECTIONS)


def _load(
    bench: Bench, running: RunningServer, body: bytes, header_length: int, connections: int
) -> load.Load:
    running.give_way()
    path: Path = bench.plan.logs / "tensors.body"
    path.write_bytes(body)
    # In binary, strings have no quotation marks.
    expected = expected_text(_MODEL, ROWS[0]).strip('"')
    url = f"http://127.0.0.1:{running.port}{MLSERVER.path.format(model=_MODEL)}"
    arguments = [expected, str(path), str(header_length)]
    command = load.tensor_command(url, arguments, connections, bench.plan.seconds)
    return load.run(command, bench.plan.seconds)[0]
