"""Tells the service what the classes of models tell that this Python can import, and not its own.

Runs as a program; see `hosting.elsewhere`. What is imported before `main` has any Python.
"""

from __future__ import annotations

import json
import pickle
import sys
from importlib.util import find_spec

OLDEST_PYTHON = (3, 11)
OLDEST_PYDANTIC = (2, 11)
REQUIREMENTS = {"ml_base": "ml_base>=0.2.2,<0.3", "pydantic": "pydantic>=2.11,<3"}


def unfitness() -> tuple[str, str] | None:
    """Return what this Python lacks, and how to mend it; None if it is fit for models."""
    if sys.version_info[:2] < OLDEST_PYTHON:
        found, oldest = (".".join(map(str, each)) for each in (sys.version_info[:2], OLDEST_PYTHON))
        message = f'"{sys.executable}" is Python {found}, which is too old'
        return message, f"Take Python {oldest} or newer, and make the environment anew with it."
    lacking = [name for name in REQUIREMENTS if find_spec(name) is None]
    old = "" if lacking else _old_pydantic()
    if not lacking and not old:
        return None
    what = f"lacks {' and '.join(lacking)}" if lacking else f"has pydantic {old}, which is too old"
    wanted = [f'"{REQUIREMENTS[name]}"' for name in lacking or ["pydantic"]]
    hint = f"Install it there: {sys.executable} -m pip install {' '.join(wanted)}"
    return f'the Python at "{sys.executable}" {what}', hint


def _old_pydantic() -> str:
    import pydantic  # noqa: PLC0415

    version = tuple(int(part) for part in pydantic.VERSION.split(".")[:2])
    return pydantic.VERSION if version < OLDEST_PYDANTIC else ""


def _surveys(content: bytes) -> list[object]:
    from models_api.configuration.sections import ModelConfiguration  # noqa: PLC0415
    from models_api.hosting.survey import survey_data  # noqa: PLC0415

    plain = pickle.loads(content)  # noqa: S301 (of our own user)
    return [survey_data(ModelConfiguration.model_validate(each)) for each in plain]


def main() -> None:
    """Read configurations from standard input, and write what was found into a file."""
    found: dict[str, object] = {"unfit": unfitness()}
    if found["unfit"] is None:
        found = {"surveys": _surveys(sys.stdin.buffer.read())}
    with open(sys.argv[1], "w", encoding="utf-8") as file:  # noqa: PTH123
        json.dump(found, file)


if __name__ == "__main__":
    main()
