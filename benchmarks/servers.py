"""The servers that take part: how each is started, asked, and what it is said to be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.rows import Row

REPOSITORY = Path(__file__).parents[1]
SERVICES = REPOSITORY / "benchmarks" / "services"

# One thread of linear algebra for each worker: there are as many workers as processors.
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def _as_object(row: Row) -> dict[str, Any]:
    values = row._asdict()
    del values["species"]
    return values


def _as_tensor(row: Row) -> dict[str, Any]:
    tensor = {"name": "rows", "shape": [1, 4], "datatype": "FP64", "data": row.features}
    return {"inputs": [tensor]}


def _as_rows(row: Row) -> dict[str, Any]:
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
    body: Callable[[Row], dict[str, Any]] = _as_object
    one_model_at_a_time: bool = False
    """Whether it is started for each model by itself, because others cost it speed while idle."""

    @property
    def is_peer(self) -> bool:
        """Whether it is something else than this service."""
        return self.environment != "modelhost"

    def environment_variables(self, **values: object) -> dict[str, str]:
        """Return what the process finds in its environment besides what this one has."""
        given = {name: value.format(**values) for name, value in self.variables.items()}
        return _ONE_THREAD | given

    def arguments(self, **values: object) -> list[str]:
        """Return the command line."""
        return [word.format(**values) for word in self.command]


# No server writes an access log here; benchmarks.comparisons has what ours costs.
_MODELHOST = {"REST_CONFIG": str(SERVICES / "modelhost.yaml"), "MODELHOST_ACCESS_LOG": "0"}
_TUNED = _MODELHOST | {
    "MODELHOST_BIND": "127.0.0.1:{port}",
    "MODELHOST_WORKERS": "{workers}",
}
_TUNED_COMMAND = ("gunicorn", "-c", "python:modelhost.gunicorn_conf", "modelhost.wsgi")

BARE = Server(
    name="modelhost-gunicorn-bare",
    environment="modelhost",
    command=(
        *("gunicorn", "modelhost.wsgi"),
        *("--bind", "127.0.0.1:{port}", "--workers", "{workers}"),
    ),
    variables=_MODELHOST,
)
TUNED = Server(
    name="modelhost-gunicorn",
    environment="modelhost",
    command=_TUNED_COMMAND,
    variables=_TUNED,
)
PINNED = Server(
    name="modelhost-gunicorn-pinned",
    environment="modelhost",
    command=_TUNED_COMMAND,
    variables=_TUNED | {"MODELHOST_CPU_AFFINITY": "1"},
)
GRANIAN = Server(
    name="modelhost-granian",
    environment="modelhost",
    command=(
        *("chrt", "--batch", "0"),
        *("granian", "--interface", "wsgi", "modelhost.wsgi:application"),
        *("--host", "127.0.0.1", "--port", "{port}", "--log-level", "warning"),
        *("--workers", "{workers}", "--blocking-threads", "40", "--http", "1", "--no-ws"),
    ),
    variables=_MODELHOST,
)
REST_MODEL_SERVICE = Server(
    name="rest_model_service",
    environment="rest_model_service",
    command=(
        *("uvicorn", "rest_model_service.main:app", "--host", "127.0.0.1", "--port", "{port}"),
        *("--workers", "{workers}", "--no-access-log", "--log-level", "warning"),
    ),
    variables={"REST_CONFIG": str(SERVICES / "rest_model_service.yaml")},
)
MLSERVER = Server(
    name="mlserver",
    environment="mlserver",
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
    command=("python", "-m", "benchmarks.services.litserve_app", "{port}", "{workers}", "{models}"),
    path="/{model}",
    health_path="/health",
    # It has workers for each model, who look for work a thousand times a second.
    one_model_at_a_time=True,
)
BENTOML = Server(
    name="bentoml",
    environment="bentoml",
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
        *(BARE, TUNED, PINNED, GRANIAN),
        *(REST_MODEL_SERVICE, MLSERVER, LITSERVE, BENTOML),
    )
}
