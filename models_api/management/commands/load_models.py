"""`manage.py load_models`: loads every model once, and prints what that takes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, cast

from django.apps import apps
from django.core.management.base import CommandError

from models_api.exceptions import ConfigurationError
from models_api.hosting.hosted_model import HostedModel, LoadState
from models_api.management.checks_in_the_log import ChecksInTheLog

if TYPE_CHECKING:
    from models_api.apps import ModelsAPIConfig

_STATM = Path("/proc/self/statm")
_HEADINGS = ("name", "version", "class", "state", "predicts by", "seconds", "MiB")
_NUMBERS = slice(5, None)
"""The columns that are aligned at their right."""


class Command(ChecksInTheLog):
    """Loads every model in this process, one after the other."""

    help = (
        "Load every model of the configuration in this process, one after the other, in a thread "
        "as servers do, and print what each takes: seconds, and growth of this process's resident "
        "memory in MiB (- where the system does not tell). Says which of its methods predict, and "
        "why others do not. Serves nothing. Exits with status 1 if a model that is required cannot "
        "be loaded, or if the configuration has problems."
    )
    # The other checks import the URLconf, which loads models whose names are not known before.
    requires_system_checks = ("models_api",)

    def handle(self, *args: object, **options: object) -> None:
        """Load the models, then print the table."""
        app_config = cast("ModelsAPIConfig", apps.get_app_config("models_api"))
        try:
            models = list(app_config.registry)
        except ConfigurationError as error:  # the checks are silent under --skip-checks
            raise CommandError(str(error)) from None
        open_inference = app_config.configuration.open_inference
        self._takes_tensors = open_inference is not None and open_inference.enabled
        rows = [self._load(model, f"[{n}/{len(models)}]") for n, model in enumerate(models, 1)]
        self.stdout.write("")
        for line in _table([_HEADINGS, *rows]):
            self.stdout.write(line)
        unused = [
            f"  {method} of {model.label}: {why}"
            for model in models
            for method, why in self._unused(model).items()
        ]
        if unused:
            self.stdout.write("\n".join(["", "Not used:", *unused]))
        failed = [model for model in models if model.state is not LoadState.READY]
        if failed:
            told = "\n".join(
                [f"{len(failed)} of {len(models)} models cannot be loaded:", *map(_reason, failed)]
            )
            if any(model.configuration.required for model in failed):
                raise CommandError(told)
            self.stderr.write(self.style.WARNING(told))

    def _load(self, model: HostedModel, position: str) -> tuple[str, ...]:
        source = model.configuration.source
        name = source if model.label == source else f"{model.label} ({source})"
        self._print(f"{position} Loading {name} ...")
        before = _resident_mebibytes()
        model.load_apart()
        after = _resident_mebibytes()
        growth = "-" if before is None or after is None else f"{max(after - before, 0):.1f}"
        seconds = f"{model.load_seconds or 0:.2f}"
        outcome = "Loaded" if model.state is LoadState.READY else "Failed to load"
        self._print(f"{position} {outcome} {model.label} ({seconds} s)")
        details, unused = model.details, self._unused(model)
        methods = [name for name in model.used_methods if name not in unused]
        return (
            details.qualified_name,
            details.version or "-",
            source,
            model.state.value,
            ", ".join(methods) or "-",
            seconds,
            growth,
        )

    def _unused(self, model: HostedModel) -> dict[str, str]:
        """Return which methods of a loaded model are never called, and why."""
        can = [*model.used_methods, *model.unused_methods]
        is_alone = not self._takes_tensors and hasattr(type(model.model), "predict_batch")
        if is_alone and "predict_columns" in can:
            why = "open_inference is not enabled, and predict_batch predicts the rows of JSON"
            return {"predict_columns": why, **model.unused_methods}
        return dict(model.unused_methods)

    def _print(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()  # also into a pipe, so that a slow model is seen


def _reason(model: HostedModel) -> str:
    end = "" if model.configuration.required else " (not required)"
    return f"  {model.label}: {model.failure}{end}"


def _resident_mebibytes() -> float | None:
    """Return the physical memory that this process uses; None where there is no /proc."""
    if not hasattr(os, "sysconf"):
        return None
    try:
        pages = int(_STATM.read_text(encoding="ascii").split()[1])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    left = widths[: _NUMBERS.start]
    right = widths[_NUMBERS]
    return [
        "  ".join(
            [cell.ljust(width) for cell, width in zip(row, left, strict=False)]
            + [cell.rjust(width) for cell, width in zip(row[_NUMBERS], right, strict=True)]
        )
        for row in rows
    ]
