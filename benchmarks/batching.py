"""What batching is worth: the same model with and without it in one service, by turns."""

from __future__ import annotations

from benchmarks.bench import CONNECTIONS, Bench, by_turns
from benchmarks.running import RunningServer, entry
from benchmarks.servers import SERVE

_TURNS = 5
_CLASSES = ("ConstantModel", "LogisticRegressionModel", "RandomForestModel")
_MODELS = ("constant", "logistic_regression", "random_forest")


def run(bench: Bench) -> None:
    """Measure the throughput of each model, and the latency of a lone client."""
    entries = [
        *(entry(name, batching={"max_batch_size": 64}) for name in _CLASSES),
        *(entry(f"Unbatched{name}") for name in _CLASSES),
    ]
    models = [*_MODELS, *(f"unbatched_{model}" for model in _MODELS)]
    with bench.serve(SERVE, entries, models) as running:
        wanted = {"constant": "no bar", "logistic_regression": "no bar", "random_forest": "> 5"}
        for model in _MODELS:
            _throughput(bench, running, model, wanted[model])
        _latency(bench, running, "logistic_regression")


def _throughput(bench: Bench, running: RunningServer, model: str, wanted: str) -> None:
    def per_second(name: str) -> float:
        return running.load(name, CONNECTIONS, bench.plan.seconds)[0].per_second

    off, on = by_turns(_TURNS, lambda: per_second(f"unbatched_{model}"), lambda: per_second(model))
    name = f"right/s of {model}, batching on / off"
    bench.compare(name, off, on, wanted=wanted, form="{:.0f}/s")


def _latency(bench: Bench, running: RunningServer, model: str) -> None:
    """Measure one connection, which has nobody to share a batch with."""

    def p50_ms(name: str) -> float:
        return running.load(name, 1, bench.plan.seconds)[0].p50_ms

    off, on = by_turns(2 * _TURNS, lambda: p50_ms(f"unbatched_{model}"), lambda: p50_ms(model))
    name = f"p50 of one connection to {model}, batching on / off"
    bench.compare(name, off, on, wanted="at most 1.03", form="{:.3f} ms")
