"""Promises of this service that take two measurements each, by turns, and the ratio of the two."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import load
from benchmarks.processes import RunningServer
from benchmarks.results import Comparison
from benchmarks.rounds import WARM_UP_CONNECTIONS, Plan, Say
from benchmarks.servers import GRANIAN, REST_MODEL_SERVICE, TUNED, Server

_MANY_MODELS = 100
_TURNS = 5
_STARTS = 12
_TURNS_OF_A_START = 6
_SECONDS_OF_A_TURN = 1
_BATCHING = {"batching": {"max_batch_size": 64}}
_EXAMPLES = ("examples.digits.DigitsModel", "examples.diabetes.DiabetesModel")


Start = Callable[[], RunningServer]


class Bench:
    """What a comparison needs: a plan, the environments, and a way to start servers."""

    def __init__(self, plan: Plan, environments: dict[str, Path], say: Say) -> None:
        self.plan = plan
        self.say = say
        self.environments = environments

    def serve(
        self,
        server: Server,
        models: Sequence[dict[str, Any]],
        *asked: str,
        workers: int,
        **keys: Any,
    ) -> RunningServer:
        """Return a server of these entries of the YAML; `asked` names the models to wait for.

        `keys` are further ones of the YAML.
        """
        configuration = self.plan.logs / f"{server.name}-{asked[-1]}.yaml"
        configuration.parent.mkdir(parents=True, exist_ok=True)
        # JSON is YAML too.
        configuration.write_text(json.dumps({"models": list(models), **keys}), encoding="utf-8")
        return RunningServer(
            replace(server, variables={**server.variables, "REST_CONFIG": str(configuration)}),
            self.environments[server.environment],
            configuration.with_suffix(".log"),
            models=asked,
            workers=workers,
        )

    def load(
        self, running: RunningServer, model: str, connections: int, seconds: int | None = None
    ) -> load.Load:
        """Put load on a model, for the seconds of the plan if there are no others."""
        seconds = seconds or self.plan.seconds
        running.give_way()
        command = load.predict_command(
            running.server, running.url(model), model, connections, seconds
        )
        return load.run(command, seconds)[0]

    def throughput(
        self, first: tuple[Start, str], second: tuple[Start, str]
    ) -> tuple[list[float], list[float]]:
        """Measure right answers per second of models of two servers, by turns once both are warm.

        Each server is started anew many times, and measured shortly: of two processes of the same
        code one may be 7 % faster than the other for all its life.
        """
        found: tuple[list[float], list[float]] = [], []
        for _ in range(_STARTS):
            with first[0]() as one, second[0]() as two:
                first_load = partial(self._per_second, one, first[1])
                second_load = partial(self._per_second, two, second[1])
                by_turns(first_load, second_load, turns=1)
                pair = by_turns(first_load, second_load, turns=_TURNS_OF_A_START)
            for measured, more in zip(found, pair, strict=True):
                measured.extend(more)
        return found

    def _per_second(self, running: RunningServer, model: str) -> float:
        return self.load(running, model, WARM_UP_CONNECTIONS, _SECONDS_OF_A_TURN).per_second


def batching_latency(bench: Bench) -> Comparison:
    """One connection has nobody to share a batch with, and should not notice batching."""
    models = [
        _entry("LogisticRegressionModel") | _BATCHING,
        _entry("UnbatchedModel"),
    ]
    with bench.serve(TUNED, models, "logistic_regression", "unbatched", workers=1) as running:
        off, on = by_turns(
            lambda: bench.load(running, "unbatched", 1).p50_ms,
            lambda: bench.load(running, "logistic_regression", 1).p50_ms,
            turns=2 * _TURNS,
        )
    return comparison(
        "p50 of one connection, batching on / off", off, on, "at most 1.03", "{:.3f} ms"
    )


def batching_throughput(bench: Bench) -> Comparison:
    """Under load batching hides most of what a cheap model costs."""
    name = "right/s of logistic regression / the constant model, granian"
    constant, regression = _regression(bench, GRANIAN, {})
    return comparison(name, constant, regression, "at least 0.75", "{:.0f}/s")


def batching_both(bench: Bench) -> Comparison:
    """What is left of a cheap model's cost, beside one without any that is batched too."""
    name = "right/s of logistic regression / the constant model, both batched, granian"
    batched = replace(GRANIAN, name=f"{GRANIAN.name}-both-batched")
    constant, regression = _regression(bench, batched, _BATCHING)
    return comparison(name, constant, regression, "no bar", "{:.0f}/s")


def batching_price(bench: Bench) -> Comparison:
    """What batching costs where there is nothing to gain: a request waits for those before it."""
    plain = _constant(bench, GRANIAN)
    batched = _constant(bench, replace(GRANIAN, name=f"{GRANIAN.name}-batched"), _BATCHING)
    off, on = bench.throughput((plain, "constant"), (batched, "constant"))
    name = "right/s of the constant model, batching on / off, granian"
    return comparison(name, off, on, "no bar", "{:.0f}/s")


def _regression(
    bench: Bench, server: Server, options_of_constant: dict[str, Any]
) -> tuple[list[float], list[float]]:
    """Measure the constant model and logistic regression with batching, in the same service."""
    models = [
        _entry("ConstantModel") | options_of_constant,
        _entry("LogisticRegressionModel") | _BATCHING,
    ]
    names, workers = ("constant", "logistic_regression"), bench.plan.workers
    both = partial(bench.serve, server, models, *names, workers=workers)
    return bench.throughput((both, names[0]), (both, names[1]))


def many_models(bench: Bench) -> Comparison:
    """The last of many models should be as fast as an only one."""
    workers, last = bench.plan.workers, f"constant_{_MANY_MODELS - 1}"
    entries = [
        {"class_path": f"benchmarks.many_models.Constant{number}"} for number in range(_MANY_MODELS)
    ]
    one = partial(bench.serve, GRANIAN, entries[:1], "constant_0", workers=workers)
    many = partial(bench.serve, GRANIAN, entries, last, workers=workers)
    alone, among_many = bench.throughput((one, "constant_0"), (many, last))
    return comparison(
        f"right/s of the last of {_MANY_MODELS} models / an only one",
        alone,
        among_many,
        "at least 0.9",
        "{:.0f}/s",
    )


def shared_memory(bench: Bench) -> Comparison:
    """Workers that are forked after loading share the memory of the weights."""
    models = [_entry("LargeModel")]

    def megabytes(workers: int) -> float:
        with bench.serve(TUNED, models, "large", workers=workers) as running:
            bench.load(running, "large", WARM_UP_CONNECTIONS)
            return running.memory_bytes() / 1e6

    one, four = by_turns(lambda: megabytes(1), lambda: megabytes(4), turns=3)
    return comparison(
        "memory of 4 workers / 1, with weights of 400 MB", one, four, "at most 1.25", "{:.0f} MB"
    )


def start_up(bench: Bench) -> Comparison:
    """The example models, from the start of the process until the last one answers."""
    # Both services load one model after the other, so that once iris answers the others are there.
    paths = (*_EXAMPLES, "examples.iris.IrisModel")
    models = [{"class_path": path, "create_endpoint": True} for path in paths]

    def seconds(server: Server) -> float:
        with bench.serve(server, models, "iris", workers=bench.plan.workers) as running:
            return running.seconds_to_first_prediction

    theirs, ours = by_turns(lambda: seconds(REST_MODEL_SERVICE), lambda: seconds(TUNED))
    return comparison(
        f"start to first prediction / that of {REST_MODEL_SERVICE.name}",
        theirs,
        ours,
        "at most 1.2",
        "{:.2f} s",
    )


def metrics(bench: Bench) -> Comparison:
    """What it costs gunicorn to count and time each request and prediction."""
    return _metrics(bench, TUNED)


def metrics_granian(bench: Bench) -> Comparison:
    """What it costs granian."""
    return _metrics(bench, GRANIAN)


def _metrics(bench: Bench, server: Server) -> Comparison:
    measured = replace(server, name=f"{server.name}-metrics")
    plain = _constant(bench, server)
    metered = _constant(bench, measured, metrics={"enabled": True})
    off, on = bench.throughput((plain, "constant"), (metered, "constant"))
    return comparison(
        f"right/s of {server.name}, metrics on / off", off, on, "at least 0.95", "{:.0f}/s"
    )


def access_log(bench: Bench) -> Comparison:
    """What it costs gunicorn to give each request an id, and a line in the log."""
    return _access_log(bench, "text")


def access_log_json(bench: Bench) -> Comparison:
    """What it costs if the line is JSON."""
    return _access_log(bench, "json")


def _access_log(bench: Bench, form: str) -> Comparison:
    logging = replace(
        TUNED,
        name=f"{TUNED.name}-{form}-log",
        variables={**TUNED.variables, "MODELHOST_LOG_FORMAT": form, "MODELHOST_ACCESS_LOG": "1"},
    )
    silent = replace(
        TUNED,
        name=f"{TUNED.name}-silent",
        command=(*TUNED.command[:-1], "benchmarks.services.without_request_ids"),
    )
    without, logged = _constant(bench, silent), _constant(bench, logging)
    off, on = bench.throughput((without, "constant"), (logged, "constant"))
    name = f"right/s of {TUNED.name}, request ids and access log as {form} on / off"
    return comparison(name, off, on, "at least 0.9", "{:.0f}/s")


COMPARISONS: dict[str, Callable[[Bench], Comparison]] = {
    "access-log": access_log,
    "access-log-json": access_log_json,
    "batching-both": batching_both,
    "batching-latency": batching_latency,
    "batching-price": batching_price,
    "batching-throughput": batching_throughput,
    "many-models": many_models,
    "metrics": metrics,
    "metrics-granian": metrics_granian,
    "shared-memory": shared_memory,
    "start-up": start_up,
}


def _constant(
    bench: Bench, server: Server, options: dict[str, Any] | None = None, **keys: Any
) -> Start:
    """Say how a server of the constant model alone is started, with these options of the model."""
    models, workers = [_entry("ConstantModel") | (options or {})], bench.plan.workers
    return partial(bench.serve, server, models, "constant", workers=workers, **keys)


def _entry(name: str) -> dict[str, Any]:
    return {"class_path": f"benchmarks.models.{name}"}


def by_turns(
    first: Callable[[], float], second: Callable[[], float], turns: int = _TURNS
) -> tuple[list[float], list[float]]:
    """Measure two things by turns, each of them first every other time.

    Returns what was found of each.
    """
    pairs: list[tuple[float, float]] = []
    for turn in range(turns):
        if turn % 2:
            two, one = second(), first()
        else:
            one, two = first(), second()
        pairs.append((one, two))
    return [one for one, _ in pairs], [two for _, two in pairs]


def comparison(
    name: str, first: list[float], second: list[float], wanted: str, form: str
) -> Comparison:
    """Compare what was measured by turns: the ratio is that of the second to the first."""
    ratio = median(two / one for one, two in zip(first, second, strict=True))
    detail = f"{form.format(median(second))} / {form.format(median(first))}"
    return Comparison(name, ratio, wanted, detail)
