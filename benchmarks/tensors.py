"""The Open Inference Protocol: the same model and rows as objects, as tensors, and to MLServer."""

from __future__ import annotations

import json
import struct

from benchmarks import wrk
from benchmarks.bench import CONNECTIONS, Bench, by_turns
from benchmarks.rows import ROWS, expected_text
from benchmarks.running import RunningServer, entry
from benchmarks.servers import JSON, MLSERVER, SERVE

_MODEL = "logistic_regression"
_ROWS = 1000
_CONNECTIONS = 4
_TURNS = 5


def run(bench: Bench) -> None:
    """Measure one row and many, in each form, by turns."""
    entries = [entry("LogisticRegressionModel", batching={"max_batch_size": 1024})]
    ours = bench.serve(SERVE, entries, [_MODEL], open_inference={"enabled": True})
    with ours as running, bench.start(MLSERVER, [_MODEL]) as theirs:
        seconds = bench.plan.seconds
        plain, one, binary, many, their_one, their_many = by_turns(
            _TURNS,
            lambda: running.load(_MODEL, CONNECTIONS, seconds)[0].per_second,
            lambda: _single(running, seconds),
            lambda: _ROWS * _together(running, seconds, binary=True),
            lambda: _ROWS * _together(running, seconds, binary=False),
            lambda: _single(theirs, seconds),
            lambda: _ROWS * _together(theirs, seconds, binary=False),
        )
    for name, first, second, wanted in (
        ("requests/s for one row, as an object / as tensors", one, plain, "at most 2"),
        (f"rows/s in binary requests of {_ROWS} / one by one", one, binary, "at least 20"),
        ("requests/s for one row as a tensor / MLServer's", their_one, one, "at least 2"),
        (f"rows/s in JSON requests of {_ROWS} / MLServer's", their_many, many, "at least 2"),
    ):
        bench.compare(name, first, second, wanted=wanted, form="{:.0f}/s")


def _single(running: RunningServer, seconds: int) -> float:
    content = json.dumps(MLSERVER.body(ROWS[0])).encode()
    return _per_second(running, content, 0, CONNECTIONS, seconds)


def _together(running: RunningServer, seconds: int, *, binary: bool) -> float:
    features = ROWS[0].features * _ROWS
    tensor: JSON = {"name": "rows", "shape": [_ROWS, 4], "datatype": "FP64"}
    if not binary:
        content = json.dumps({"inputs": [{**tensor, "data": features}]}).encode()
        return _per_second(running, content, 0, _CONNECTIONS, seconds)
    data = struct.pack(f"<{len(features)}d", *features)
    tensor["parameters"] = {"binary_data_size": len(data)}
    request = {"inputs": [tensor], "parameters": {"binary_data_output": True}}
    header = json.dumps(request).encode()
    return _per_second(running, header + data, len(header), _CONNECTIONS, seconds)


def _per_second(
    running: RunningServer, content: bytes, json_length: int, connections: int, seconds: int
) -> float:
    running.process.give_way()
    # In binary, strings have no quotation marks.
    body = wrk.Body(content, expected_text(_MODEL, ROWS[0]).strip('"'), json_length)
    url = running.url(MLSERVER.path.format(model=_MODEL))
    return wrk.post(url, [body], connections, seconds)[0].per_second
