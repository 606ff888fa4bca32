"""What it costs to split traffic among versions, and to copy it to a shadow: by turns."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from functools import partial
from statistics import median
from typing import NamedTuple

from benchmarks import wrk
from benchmarks.bench import CONNECTIONS, Bench, by_turns
from benchmarks.rows import ROWS
from benchmarks.running import RunningServer, entry
from benchmarks.servers import SERVE

Entry = dict[str, object]

_TURNS = 15
_SECONDS = 1
"""Of each measurement: many short ones, so that what else the machine does meets all alike."""
_DRAIN_SECONDS = 0.5
"""For which a shadow goes on with the copies that wait."""
_HEADER = "X-User: grace"
_CLASSES = {
    "constant": "ConstantModel",
    "logistic_regression": "UnbatchedLogisticRegressionModel",
}
_SPLITS: Mapping[str, Entry] = {
    "chance": {},
    "header": {"traffic_key": "header:X-User"},
    "field": {"traffic_key": "field:petal_length"},
}
_SHADOWS = {"shadow": "with a shadow", "hanging": "with a shadow that hangs"}
_FORMS = {
    "per_second": "{:.0f}/s",
    "p50_ms": "{:.3f} ms",
    "p99_ms": "{:.3f} ms",
    "microseconds": "{:.1f} µs",
}


class _Seen(NamedTuple):
    """What was seen of one version, or several, in one turn."""

    per_second: float
    p50_ms: float
    p99_ms: float
    microseconds: float
    """That all processes of the server had a processor for, a request."""


def run(bench: Bench) -> None:
    """Measure one version alone, beside several that share its requests or get copies of them."""
    entries = [each for model in _CLASSES for each in _entries(model)]
    kinds = ("alone", *_SPLITS, *_SHADOWS)
    names = [f"{kind}_{model}" for model in _CLASSES for kind in kinds]
    with bench.serve(SERVE, entries, names) as running:
        for model in _CLASSES:
            _compare_splits(bench, running, model)
            _compare_shadows(bench, running, model)


def _entries(model: str) -> list[Entry]:
    def versions(kind: str, *several: Entry) -> list[Entry]:
        name = f"{kind}_{model}"
        return [
            {**entry(_CLASSES[model], qualified_name=name, version=str(number)), **each}
            for number, each in enumerate(several, 1)
        ]

    hanging = {"class_path": "benchmarks.models.HangingModel", "shadow": True}
    return [
        *versions("alone", {}),
        *(each for kind in _SPLITS for each in versions(kind, _SPLITS[kind], {"traffic": 10})),
        *versions("shadow", {}, {"shadow": True}),
        *versions("hanging", {}, hanging),
    ]


def _compare_splits(bench: Bench, running: RunningServer, model: str) -> None:
    alone, *others = _measure(running, model, ("alone", *_SPLITS))
    for kind, found in zip(_SPLITS, others, strict=True):
        what = f"of {model}, split by {kind} / one version"
        _compare(bench, f"right/s {what}", "per_second", alone, found, wanted="no bar")
        name = f"processor time a request {what}"
        _compare(bench, name, "microseconds", alone, found, wanted="at most 1.02")


def _compare_shadows(bench: Bench, running: RunningServer, model: str) -> None:
    kinds = ("alone", *_SHADOWS)
    alone, *others = _measure(running, model, kinds)
    for kind, found in zip(_SHADOWS, others, strict=True):
        name = f"right/s of {model}, {_SHADOWS[kind]} / without"
        _compare(bench, name, "per_second", alone, found, wanted="no bar")
    pause_ms = max(1, round(2000 * CONNECTIONS / median(each.per_second for each in alone)))
    alone, *others = _measure(running, model, kinds, pause_ms)
    for kind, found in zip(_SHADOWS, others, strict=True):
        what = f"of {model} at half its capacity, {_SHADOWS[kind]} / without"
        for figure, wanted in (("p50", "no bar"), ("p99", "at most 1.05")):
            _compare(bench, f"{figure} {what}", f"{figure}_ms", alone, found, wanted=wanted)
        name = f"processor time a request {what}"
        _compare(bench, name, "microseconds", alone, found, wanted="no bar")


def _compare(
    bench: Bench,
    name: str,
    figure: str,
    *seen: Sequence[_Seen],
    wanted: str,
) -> None:
    first, second = ([float(getattr(one, figure)) for one in each] for each in seen)
    bench.compare(name, first, second, wanted=wanted, form=_FORMS[figure])


def _measure(
    running: RunningServer, model: str, kinds: Sequence[str], pause_ms: int = 0
) -> list[list[_Seen]]:
    """Return what is seen of each kind, turn by turn; nobody asks for anything else meanwhile."""
    bodies = [
        wrk.Body(json.dumps(SERVE.body_for(model, row)).encode(), "", 0, _HEADER, pause_ms)
        for row in ROWS
    ]

    def measure(kind: str) -> _Seen:
        time.sleep(_DRAIN_SECONDS)
        running.process.give_way()
        used = running.process.processor_seconds()
        url = running.url(running.path(f"{kind}_{model}"))
        seen = wrk.post(url, bodies, CONNECTIONS, _SECONDS)[0]
        used = running.process.processor_seconds() - used
        a_request = used / (seen.per_second * _SECONDS) * 1e6
        return _Seen(seen.per_second, seen.p50_ms, seen.p99_ms, a_request)

    return by_turns(_TURNS, *(partial(measure, kind) for kind in kinds))
