"""The command `new`: the files of a model project, to begin with."""

from __future__ import annotations

import re
from argparse import ArgumentParser
from pathlib import Path
from string import Template
from typing import Any

from django.core.management.base import BaseCommand, CommandError

_NAME = re.compile(r"[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*")
_TEMPLATES = Path(__file__).parents[2] / "templates" / "new_project"
_SUFFIX = ".tmpl"


class Command(BaseCommand):
    """Writes the files."""

    help = (
        "Write a folder NAME with all that a model project has: the class of a model with its "
        "schemas, the YAML file, a test, and a Dockerfile. It runs as it is; put your own model in."
    )
    # There is nothing to check yet.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the name."""
        parser.add_argument(
            "name", help="of the model: small letters, digits, and - or _ between them"
        )

    def handle(self, *args: object, **options: Any) -> None:
        """Write them."""
        name, words = options["name"], re.split("[-_]", options["name"])
        if not _NAME.fullmatch(name):
            hint = "Use small letters and digits, and - or _ between words, such as house-prices."
            raise CommandError(f'"{name}" can be no name here. {hint}')
        folder = Path(name)
        if folder.exists():
            raise CommandError(f"{folder} is there already; nothing was written.")
        values = {
            "name": name,
            "module": "_".join([*words, "model"]),
            "words": " ".join(words),
            "title": " ".join(words).capitalize(),
            "cls": "".join(map(str.capitalize, words)),
        }
        folder.mkdir()
        for template in sorted(_TEMPLATES.glob(f"*{_SUFFIX}")):
            file = template.name.removesuffix(_SUFFIX).replace("module", values["module"])
            text = Template(template.read_text(encoding="utf-8")).substitute(values)
            (folder / file).write_text(text, encoding="utf-8")
            self.stdout.write(f"{folder / file}")
        self.stdout.write(f"\ncd {folder}, then: modelhost check, pytest, modelhost serve")
