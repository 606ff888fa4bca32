"""The servers that take part: how each is started, asked, and what it is said to be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.rows import MODELS, Row

REPOSITORY = Path(__file__).parents[1]
SERVICES = REPOSITORY / "benchmarks" / "services"

JSON = dict[str, object]

# One thread of linear algebra for each worker: there are as many workers as processors.
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def _as_object(row: Row) -> JSON:
    values: JSON = row._asdict()
    del values["species"]
    return values


def _as_tensor(row: Row) -> JSON:
    tensor = {"name": "rows", "shape": [1, 4], "datatype": "FP64", "data": row.features}
    return {"inputs": [tensor]}


def _as_rows(row: Row) -> JSON:
    return {"rows": [row.features]}


@dataclass(frozen=True)
class Server:
    """A server in one configuration.

    `{port}`, `{workers}` and `{models}` are filled in wherever they stand.
    """

    name: str
    """What it is called in options, tables and charts."""
    environment: str
    """The virtual environment that it runs in, and the file in requirements/ that says what is in
    it."""
    command: tuple[str, ...]
    """The scripts of that environment come before those of the system."""
    variables: Mapping[str, str] = field(default_factory=dict)
    folder: Path = REPOSITORY
    path: str = "/api/models/{model}/prediction"
    health_path: str = "/api/health"
    body: Callable[[Row], JSON] = _as_object
    bodies: Mapping[str, Callable[[Row], JSON]] = field(default_factory=dict)
    """By model, of those that take something else."""
    models: tuple[str, ...] = MODELS
    """Those that it can serve."""
    one_model_at_a_time: bool = False
    """Whether it is started for each model by itself, because others cost it speed while idle."""
    is_own: bool = False
    """Whether it is this service."""
    is_peer: bool = False
    """Whether it is what one might take instead."""

    def environment_variables(self, **values: object) -> dict[str, str]:
        """Return what the process finds in its environment besides what this one has."""
        given = {name: value.format(**values) for name, value in self.variables.items()}
        return _ONE_THREAD | given

    def body_for(self, model: str, row: Row) -> JSON:
        """Return what a model is asked for a row."""
        return self.bodies.get(model, self.body)(row)

    def arguments(self, **values: object) -> list[str]:
        """Return the command line."""
        return [word.format(**values) for word in self.command]


# The peers write no access log and keep no metrics here, either.
_SILENT = {"REST_CONFIG": str(SERVICES / "modelhost.yaml"), "MODELHOST_ACCESS_LOG": "0"}
_OBSERVED = {
    "REST_CONFIG": str(SERVICES / "modelhost-observed.yaml"),
    "MODELHOST_ACCESS_LOG": "1",
}

SERVE = Server(
    name="modelhost-serve",
    environment="modelhost",
    # What `modelhost serve` is where the service is installed.
    command=(
        *("python", "manage.py", "serve", "--host", "127.0.0.1", "--port", "{port}"),
        *("--workers", "{workers}", "--threads", "64"),
    ),
    variables=_SILENT,
    is_own=True,
)
GUNICORN = Server(
    name="modelhost-gunicorn",
    environment="modelhost",
    command=("gunicorn", "-c", "python:modelhost.gunicorn_conf", "modelhost.wsgi"),
    variables=_SILENT
    | {
        "MODELHOST_BIND": "127.0.0.1:{port}",
        "MODELHOST_WORKERS": "{workers}",
    },
    is_own=True,
)
SERVE_OBSERVED = replace(
    SERVE, name="modelhost-serve-observed", variables={**SERVE.variables, **_OBSERVED}
)
GUNICORN_OBSERVED = replace(
    GUNICORN, name="modelhost-gunicorn-observed", variables={**GUNICORN.variables, **_OBSERVED}
)
BARE_WSGI = Server(
    name="bare-wsgi",
    environment="modelhost",
    command=(
        *("granian", "--interface", "wsgi", "benchmarks.services.bare_wsgi:application"),
        *("--host", "127.0.0.1", "--port", "{port}", "--http", "1", "--no-ws"),
        *("--workers", "{workers}", "--blocking-threads", "64", "--log-level", "warning"),
    ),
    models=("constant",),
)
REST_MODEL_SERVICE = Server(
    name="rest_model_service",
    environment="rest_model_service",
    is_peer=True,
    command=(
        *("uvicorn", "rest_model_service.main:app", "--host", "127.0.0.1", "--port", "{port}"),
        *("--workers", "{workers}", "--no-access-log", "--log-level", "warning"),
    ),
    variables={"REST_CONFIG": str(SERVICES / "rest_model_service.yaml")},
)
MLSERVER = Server(
    name="mlserver",
    environment="mlserver",
    is_peer=True,
    command=("mlserver", "start", "."),
    # It listens on three ports; those of gRPC and metrics are not asked anything.
    variables={
        "MLSERVER_HOST": "127.0.0.1",
        "MLSERVER_HTTP_PORT": "{port}",
        "MLSERVER_GRPC_PORT": "0",
        "MLSERVER_PARALLEL_WORKERS": "{workers}",
    },
    folder=SERVICES / "mlserver",
    path="/v2/models/{model}/infer",
    health_path="/v2/health/live",
    body=_as_tensor,
)
LITSERVE = Server(
    name="litserve",
    environment="litserve",
    is_peer=True,
    command=("python", "-m", "benchmarks.services.litserve_app", "{port}", "{workers}", "{models}"),
    path="/{model}",
    health_path="/health",
    # It has workers for each model, who look for work a thousand times a second.
    one_model_at_a_time=True,
)
BENTOML = Server(
    name="bentoml",
    environment="bentoml",
    is_peer=True,
    command=(
        *("bentoml", "serve", "benchmarks.services.bentoml_service:Iris"),
        *("--host", "127.0.0.1", "--port", "{port}"),
    ),
    variables={"BENTOML_DO_NOT_TRACK": "True", "WORKERS": "{workers}"},
    path="/{model}",
    health_path="/livez",
    body=_as_rows,
)

SERVERS = {
    server.name: server
    for server in (
        *(SERVE, SERVE_OBSERVED, GUNICORN, GUNICORN_OBSERVED),
        *(BARE_WSGI, REST_MODEL_SERVICE, MLSERVER, LITSERVE, BENTOML),
    )
}


@dataclass(frozen=True)
class Bar:
    """How many right predictions a server should make, as a multiple of another's in that run."""

    server: Server
    reference: Server
    model: str
    at_least: float


def _bars(server: Server, reference: Server, *multiples: float) -> list[Bar]:
    return [
        Bar(server, reference, model, multiple)
        for model, multiple in zip(MODELS, multiples, strict=False)
    ]


BARS = (
    *_bars(SERVE, REST_MODEL_SERVICE, 5, 4.5, 17),
    *_bars(GUNICORN, REST_MODEL_SERVICE, 1.2, 1.2, 8),
    *_bars(SERVE, MLSERVER, 4, 4, 4),
    *_bars(SERVE, LITSERVE, 4, 4, 4),
    *_bars(SERVE, BENTOML, 4, 4, 4),
    *_bars(SERVE_OBSERVED, SERVE, 0.85, 0.85, 0.85),
    *_bars(SERVE, BARE_WSGI, 0.6),
)
