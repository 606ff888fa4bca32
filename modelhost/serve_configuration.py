"""The configuration by which Ray Serve runs models of the YAML file; knows nothing of Ray itself.

https://docs.ray.io/en/latest/serve/production-guide/config.html describes its form.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import yaml

from models_api.configuration.execution import RayConfiguration
from models_api.configuration.sections import OF_TRAFFIC, ModelConfiguration
from models_api.prediction.limiter import Bounds

DEPLOYMENT = "model"
IMPORT_PATH = "modelhost.ray:app"
_OF_THE_SERVICE = frozenset(
    [
        *OF_TRAFFIC,
        *("shadow", "tolerance", "create_endpoint", "required", "execution"),
        *("watch", "poll_seconds", "smoke_tests"),
    ]
)
"""Keys of a model that say something to whoever asks it, and nothing to a replica."""
_CALLS_IN_HAND = 2
"""With batching: one that is made, and one whose rows are gathered meanwhile."""
_BYTES = 1_000_000
# Serve's metrics and HAProxy's rules take others amiss, or for something else.
_SERVABLE = re.compile(r"[A-Za-z0-9._~-]+")


class CannotDeploy(Exception):
    """Ray Serve could not run a model as the YAML file has it."""


class DeployedModel(NamedTuple):
    """A model that Ray Serve is to run."""

    name: str
    """By which it is asked."""
    configuration: ModelConfiguration
    written: Mapping[str, object]
    """The same as it stands in the file, with references to the environment."""
    request_headers: Sequence[str] = ()
    """That it may read."""


class HTTPOptions(NamedTuple):
    """Where Serve listens."""

    host: str
    port: int


def serve_configuration(models: Sequence[DeployedModel], http: HTTPOptions) -> dict[str, object]:
    """Return the configuration, as plain data.

    Raises:
        CannotDeploy: see there.
    """
    return {
        "http_options": http._asdict(),
        "applications": [_application(model) for model in models],
    }


def _application(model: DeployedModel) -> dict[str, object]:
    if not _SERVABLE.fullmatch(model.name):
        raise CannotDeploy(
            f'Ray Serve has no route for the model "{model.name}": names may have letters of '
            "ASCII, digits and . _ ~ - there. Give its class another qualified_name."
        )
    ray = model.configuration.execution.ray or RayConfiguration()
    application: dict[str, object] = {
        "name": model.name,
        "route_prefix": f"/api/models/{model.name}",
        "import_path": IMPORT_PATH,
        "args": _arguments(model),
        "deployments": [_deployment(model.configuration, ray)],
    }
    if ray.runtime_env:
        application["runtime_env"] = _plain(ray.runtime_env, f"runtime_env of {model.name}")
    return application


def _arguments(model: DeployedModel) -> dict[str, object]:
    given = {
        **{key: value for key, value in model.written.items() if key not in _OF_THE_SERVICE},
        "qualified_name": model.name,
    }
    if model.request_headers:
        given["request_headers"] = list(model.request_headers)
    return _plain(given, f"the entry of {model.name}")


def _deployment(configuration: ModelConfiguration, ray: RayConfiguration) -> dict[str, object]:
    scaling = ray.autoscaling
    replicas: dict[str, object] = (
        {"num_replicas": ray.replicas}
        if scaling is None
        else {"autoscaling_config": scaling.model_dump(exclude_none=True)}
    )
    options: dict[str, object] = {"num_cpus": ray.cpus, "num_gpus": ray.gpus}
    if ray.memory_mb is not None:
        options["memory"] = ray.memory_mb * _BYTES
    found = {
        "name": DEPLOYMENT,
        **replicas,
        "max_ongoing_requests": ray.max_ongoing_requests or _requests_in_hand(configuration),
        "ray_actor_options": options,
    }
    if ray.max_queued_requests is not None:
        found["max_queued_requests"] = ray.max_queued_requests
    return found


def _requests_in_hand(configuration: ModelConfiguration) -> int:
    """Return how many requests a replica takes without refusing any, and without need of more."""
    bounds = Bounds.of(configuration)
    if configuration.batching is None:
        return bounds.in_hand
    return min(bounds.in_hand, _CALLS_IN_HAND * configuration.batching.max_batch_size)


def _plain(value: Mapping[str, object], what: str) -> dict[str, object]:
    """Return a mapping without anything shared, if it survives the JSON that Ray makes of it."""
    try:
        plain: dict[str, object] = json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise CannotDeploy(f"{_NOT_PLAIN.format(what)} {error}.") from None
    if plain != value:
        raise CannotDeploy(f"{_NOT_PLAIN.format(what)} A key is no string.")
    return plain


_NOT_PLAIN = (
    "Ray Serve takes JSON only: in {}, write strings, finite numbers, booleans, lists and mappings "
    "of strings, and put the rest in quotes."
)


def to_yaml(configuration: Mapping[str, object], heading: str) -> str:
    """Return the configuration as the text of a file, with comments at its head."""
    comments = "".join(f"# {line}".rstrip() + "\n" for line in heading.splitlines())
    written = yaml.safe_dump(
        dict(configuration), sort_keys=False, allow_unicode=True, default_flow_style=False
    )
    return comments + written
