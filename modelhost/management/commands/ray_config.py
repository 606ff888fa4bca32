"""`modelhost ray_config`: the configuration by which Ray Serve runs the models."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import yaml
from django.apps import apps
from django.core.management.base import CommandError

from modelhost.serve_configuration import (
    CannotDeploy,
    DeployedModel,
    HTTPOptions,
    serve_configuration,
    to_yaml,
)
from models_api.exceptions import ConfigurationError
from models_api.hosting.hosted_model import HostedModel
from models_api.management.checks_in_the_log import ChecksInTheLog

if TYPE_CHECKING:
    from models_api.apps import ModelsAPIConfig

_HEADING = """\
Written by modelhost ray_config. Deploy it: serve deploy FILE
Whoever reaches this port may ask the models: Ray's token guards the cluster, and not this.
HTTP is faster by HAProxy, which these environment variables of the cluster bring:
RAY_SERVE_THROUGHPUT_OPTIMIZED=1 RAY_SERVE_ENABLE_HA_PROXY=1 RAY_SERVE_EXPERIMENTAL_PIP_HAPROXY=1"""


class Command(ChecksInTheLog):
    """Writes a configuration of Ray Serve."""

    help = (
        "Write the configuration by which Ray Serve runs models of the YAML file: an application "
        "for each, which answers as this service does. `serve deploy` takes it as it is, and so "
        "does serveConfigV2 of KubeRay's RayService. Loads no model that tells its name in its "
        "class, or in the YAML file."
    )
    requires_system_checks = ("models_api",)

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Say which models, and where to write."""
        parser.add_argument(
            "models",
            nargs="*",
            metavar="MODEL",
            help="qualified names; by default all models that have an endpoint",
        )
        parser.add_argument("--file", type=Path, help="where to write; by default to the screen")
        parser.add_argument("--host", default="0.0.0.0", help="address that Serve listens on")  # noqa: S104 (as Serve does: other machines ask it)
        parser.add_argument("--port", type=int, default=8000, help="port that Serve listens on")

    def handle(self, *args: object, **options: Any) -> None:
        """Write it."""
        app = cast("ModelsAPIConfig", apps.get_app_config("models_api"))
        http = HTTPOptions(options["host"], options["port"])
        try:
            models = _chosen(list(_deployable(app)), options["models"])
            configuration = serve_configuration(models, http)
        except (CannotDeploy, ConfigurationError) as error:
            raise CommandError(str(error)) from None
        text = to_yaml(configuration, _HEADING)
        if options["file"] is None:
            self.stdout.write(text, ending="")
        else:
            options["file"].write_text(text, encoding="utf-8")


def _deployable(app: ModelsAPIConfig) -> Iterator[DeployedModel]:
    """Yield the models that have an endpoint, as the file has them.

    Raises:
        ConfigurationError: the file has problems.
        CannotDeploy: a model does not tell its name.
    """
    headers = app.configuration.request_headers
    # Not those that were filled in: a replica has the environment, and what it holds is secret.
    content = yaml.safe_load(app.configuration_file.document.content or b"")
    for model, written in zip(app.registry, content["models"], strict=True):
        # One that computes elsewhere, and has no class, is deployed by somebody else.
        if model.configuration.create_endpoint and "class_path" in written:
            yield DeployedModel(_name(model), model.configuration, written, headers)


def _name(model: HostedModel) -> str:
    """Return by which name the model is asked where it computes."""
    if elsewhere := getattr(model.configuration.execution, "model", None):
        return str(elsewhere)
    if model.known_name is None:
        model.load_apart()
    if model.known_name is None:
        raise CannotDeploy(
            f"The model {model.label} tells its name only once it is loaded, and that failed: "
            f"{model.failure}. Write its qualified_name in the YAML file."
        )
    return model.known_name


def _chosen(models: Sequence[DeployedModel], names: Sequence[str]) -> list[DeployedModel]:
    known = list(dict.fromkeys(model.name for model in models))
    if unknown := [name for name in names if name not in known]:
        raise CannotDeploy(
            f'There is no model "{unknown[0]}" with an endpoint; there are: {", ".join(known)}.'
        )
    chosen = [model for model in models if not names or model.name in names]
    if not chosen:
        raise CannotDeploy("The YAML file has no model with an endpoint.")
    chosen_names = [model.name for model in chosen]
    if twice := [name for name in chosen_names if chosen_names.count(name) > 1]:
        raise CannotDeploy(
            f'Ray Serve runs one version of a model, and there are several of "{twice[0]}". '
            "Write for each another name by which it is asked there, as model under its execution."
        )
    return chosen
