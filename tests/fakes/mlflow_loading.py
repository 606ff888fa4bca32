"""Prints what is wrong with folders: `python -m tests.fakes.mlflow_loading FOLDER ...`.

Runs in the environment that `make .venv-mlflow/.ready` makes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from models_api.exceptions import ArtefactError
from models_api.runtimes.mlflow import describe, load


def main() -> None:
    """Load each folder, which is to fail."""
    found = []
    for folder in map(Path, sys.argv[1:]):
        try:
            load(folder, describe(folder))
        except ArtefactError as error:
            found.append([str(error), error.hint])
    sys.stdout.write(f"\n{json.dumps(found)}\n")


if __name__ == "__main__":
    main()
