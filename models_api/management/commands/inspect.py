"""`manage.py inspect`: what a model's file is, and what to write in the YAML file for it."""

from __future__ import annotations

import shlex
from argparse import ArgumentParser
from pathlib import Path
from typing import get_args

from django.core.management.base import BaseCommand, CommandError

from models_api.configuration.sections import RuntimeName
from models_api.exceptions import ArtefactError
from models_api.runtimes.kinds import KINDS, kind_of
from models_api.runtimes.mlmodel import read_mlmodel
from models_api.runtimes.report import report
from models_api.runtimes.saved_signature import read_signature, write_signature
from models_api.runtimes.trust import UntrustedArtefact


class Command(BaseCommand):
    """Describes an artefact."""

    help = (
        "Say what a model's file is, what it takes and gives, and what to write in the YAML file "
        "to serve it. With --write, keep that beside the file (NAME.schema.json): the service, "
        "check and spectacular then know it without reading the model."
    )
    # It is there for those who have no configuration yet.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the file, and what is to be done with it."""
        parser.add_argument("file", type=Path, help="The model's file, or a folder of MLflow.")
        kinds = get_args(RuntimeName)
        parser.add_argument("--runtime", choices=kinds, help="Its kind, if the content hides it.")
        trusted = "Read it even if it may execute code, as a pickle does: you trust who made it."
        parser.add_argument("--trusted", action="store_true", help=trusted)
        write = "Write the signature beside the file."
        parser.add_argument("--write", action="store_true", help=write)
        elsewhere = "Write it there instead; the service finds it by the key schema of the model."
        parser.add_argument("--schema", type=Path, metavar="FILE", help=elsewhere)

    def handle(
        self,
        *args: object,
        file: Path,
        runtime: RuntimeName | None,
        trusted: bool,
        write: bool,
        schema: Path | None,
        **options: object,
    ) -> None:
        """Print what it is."""
        try:
            file = file if file.name else file.resolve()
            kind = kind_of(file, runtime)
            is_told = kind == "mlflow" and read_mlmodel(file).inputs is not None
            saved = read_signature(file, runtime, trusted=trusted or is_told)
        except UntrustedArtefact as error:
            command = f"modelhost inspect --trusted {shlex.quote(str(file))}"
            raise CommandError(
                f"{file.name}: {KINDS[kind].title} (runtime: {kind})\n{error}.\n"
                f"If you trust whoever made it: {command}"
            ) from error
        except ArtefactError as error:
            raise CommandError(f"{error}\n{error.hint}") from error
        self.stdout.write(report(file, saved))
        if write or schema is not None:
            self.stdout.write(f"\nWritten to {write_signature(file, saved, schema)}.")
