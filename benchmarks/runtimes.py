"""Models made from files: beside a class, without batching, and as others serve the same files."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks import wrk
from benchmarks.bench import CONNECTIONS, Bench, Figure, by_turns
from benchmarks.kit.processes import ServerFailed
from benchmarks.rows import Row
from benchmarks.running import RunningServer, entry
from benchmarks.servers import JSON, MLSERVER, REPOSITORY, SERVE, Server

_EXAMPLE = REPOSITORY / "examples" / "artefacts" / "iris.onnx"
_MEASURES = [f"{part} {size} (cm)" for part in ("sepal", "petal") for size in ("length", "width")]
_BATCHING = {"max_batch_size": 64}
_NAMES = {"columns": "mixed columns", "numbers": "numbers alone"}
_TURNS, _ROUNDS = 5, 2


def _as_example(row: Row) -> JSON:
    return dict(zip(_MEASURES, row.features, strict=True))


def _as_features(row: Row) -> JSON:
    return {"features": row.features}


def _as_columns(row: Row) -> JSON:
    return {**row.columns}


def _as_pandas(row: Row) -> JSON:
    """Return a tensor for each column, of which the runtime makes a DataFrame."""
    return {
        "parameters": {"content_type": "pd"},
        "inputs": [_column(name, value) for name, value in row.columns.items()],
    }


def _column(name: str, value: float | str) -> JSON:
    column: JSON = {"name": name, "shape": [1, 1], "data": [value]}
    if isinstance(value, str):
        return {**column, "datatype": "BYTES", "parameters": {"content_type": "str"}}
    return {**column, "datatype": "FP64"}


def _as_dataframe(row: Row) -> JSON:
    columns = row.columns
    return {"dataframe_split": {"columns": [*columns], "data": [[*columns.values()]]}}


def _as_inputs(row: Row) -> JSON:
    return {"inputs": [row.features]}


BODIES: Mapping[str, Callable[[Row], JSON]] = {
    "iris": _as_example,
    "numbers": _as_features,
    "columns": _as_columns,
}
_SERVE = replace(SERVE, bodies={**BODIES, "unbatched_columns": _as_columns})
_MLSERVER = replace(MLSERVER, name="mlserver-sklearn", bodies={"columns": _as_pandas})
_MLFLOW = Server(
    name="mlflow",
    environment="mlflow",
    # Another environment manager would install what the model requires, which is there.
    command=(
        *("mlflow", "models", "serve", "--model-uri", "{models}", "--env-manager", "local"),
        *("--host", "127.0.0.1", "--port", "{port}", "--workers", "{workers}"),
    ),
    variables={"UVICORN_ACCESS_LOG": "0"},
    path="/invocations",
    health_path="/ping",
    bodies={"numbers": _as_inputs, "columns": _as_dataframe},
)
ENVIRONMENTS = {server.environment for server in (_SERVE, _MLSERVER, _MLFLOW)}


def run(bench: Bench) -> None:
    """Make the files, and measure those who serve them by turns."""
    folder = bench.plan.logs.absolute().parent / "runtimes"
    shutil.rmtree(folder, ignore_errors=True)
    _run_module(bench, _SERVE, "benchmarks.pipelines", folder)
    _beside_a_class(bench)
    _with_and_without_batching(bench, folder)
    for model in ("columns", "numbers"):
        _beside_others(bench, folder, model)


def of_example() -> dict[str, object]:
    """Return the entry of the example's file in the YAML file."""
    return {
        "artefact": str(_EXAMPLE),
        "columns": _MEASURES,
        "labels": ["setosa", "versicolor", "virginica"],
        # ONNX Runtime lets other threads run while it computes, which would wait for each other.
        "batching": _BATCHING,
    }


def of_pipeline(folder: Path, model: str, **options: object) -> dict[str, object]:
    """Return the entry of a file that `pipelines` made."""
    return {"artefact": str(folder / f"{model}.joblib"), "trusted": True, **options}


def _beside_a_class(bench: Bench) -> None:
    """Measure the example's file beside a model that computes nothing, both in one service."""
    entries = [entry("ConstantModel"), of_example()]
    models = ["constant", "iris"]
    with bench.serve(_SERVE, entries, models) as running:
        constant, onnx = _by_turns(bench, running, *models)
    _compare(bench, "the example's ONNX file / the constant model", constant, onnx, "at least 0.8")


def _with_and_without_batching(bench: Bench, folder: Path) -> None:
    models = ["unbatched_columns", "columns"]
    entries = [
        of_pipeline(folder, "columns", qualified_name="unbatched_columns"),
        of_pipeline(folder, "columns", batching=_BATCHING),
    ]
    with bench.serve(_SERVE, entries, models) as running:
        off, on = _by_turns(bench, running, *models)
    _compare(bench, "the pipeline of mixed columns, batching on / off", off, on, "at least 10")


def _beside_others(bench: Bench, folder: Path, model: str) -> None:
    """Measure a file in this service and in each other by turns; all give the label alone."""
    ours = of_pipeline(folder, model, output="label", batching=_BATCHING)
    for server in (_mlserver(folder, model), _mlflow(bench, folder, model)):
        try:
            theirs, one = by_turns(
                _ROUNDS,
                _alone(bench, partial(bench.start, server, [model]), model),
                _alone(bench, partial(bench.serve, _SERVE, [ours], [model]), model),
            )
        except (ServerFailed, wrk.LoadFailed) as error:
            bench.results.left_out[f"{server.name}, {model}"] = str(error)
            bench.say(f"{server.name} failed with {model}: {error}")
            continue
        name = f"the pipeline of {_NAMES[model]} / {server.name}'s"
        _compare(bench, name, theirs, one, "at least 4")


def _alone(bench: Bench, start: Callable[[], RunningServer], model: str) -> Figure:
    """Return what measures a server that no other runs beside."""

    def figure() -> float:
        with start() as running:
            _look_at_answers(bench, running, model)
            running.wait_until_calm(model)
            return _figure(bench, running, model)()

    return figure


def _mlserver(folder: Path, model: str) -> Server:
    """Return MLServer with a file: its own runtime, adaptive batching, inference workers."""
    home = folder / f"mlserver-{model}"
    shutil.copytree(MLSERVER.folder, home, ignore=shutil.ignore_patterns("*_*", "constant"))
    settings = {
        "name": model,
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {"uri": str(folder / f"{model}.joblib")},
        "max_batch_size": _BATCHING["max_batch_size"],
        "max_batch_time": 0.002,
    }
    (home / "model-settings.json").write_text(json.dumps(settings), encoding="utf-8")
    return replace(_MLSERVER, folder=home)


def _mlflow(bench: Bench, folder: Path, model: str) -> Server:
    """Return MLflow with a folder that it has written for a file."""
    home = folder / "mlflow"
    home.mkdir(exist_ok=True)
    path = folder / f"{model}.joblib"
    _run_module(bench, _MLFLOW, "benchmarks.services.mlflow_model", path, home / model)
    return replace(_MLFLOW, folder=home)


def _run_module(bench: Bench, server: Server, module: str, *paths: Path) -> None:
    """Run a module of the benchmark with the packages that a server has."""
    python = bench.environments[server.environment] / "bin" / "python"
    subprocess.run([python, "-m", module, *paths], cwd=REPOSITORY, check=True)


def _by_turns(bench: Bench, running: RunningServer, *models: str) -> list[list[float]]:
    """Measure models of one server by turns, once their answers were right."""
    for model in models:
        _look_at_answers(bench, running, model)
    return by_turns(_TURNS, *(_figure(bench, running, model) for model in models))


def _figure(bench: Bench, running: RunningServer, model: str) -> Figure:
    return lambda: running.load(model, CONNECTIONS, bench.plan.seconds)[0].per_second


def _look_at_answers(bench: Bench, running: RunningServer, model: str) -> None:
    """Warm a model up, for as long as it is measured: the slowest take a second for an answer.

    Raises:
        LoadFailed: an answer was wrong.
    """
    wrong = running.wrong_answers(model, CONNECTIONS, bench.plan.seconds)
    if wrong:
        raise wrk.LoadFailed(f"{running.server.name} gave {wrong} wrong answers for {model}")


def _compare(bench: Bench, name: str, first: list[float], second: list[float], wanted: str) -> None:
    bench.compare(f"right/s of {name}", first, second, wanted=wanted, form="{:.0f}/s")
