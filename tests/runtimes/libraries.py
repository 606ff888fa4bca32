"""Libraries that not every environment has: requirements/cookbook.txt holds them."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec

import pytest


def is_wanted(library: str) -> bool:
    """Return whether tests that need a library are run: where it is, and where CI installs it."""
    is_installed_by_ci = library != "torch" or sys.version_info < (3, 12)
    return bool(find_spec(library)) or ("CI" in os.environ and is_installed_by_ci)


def skip_without(library: str) -> None:
    """Skip a module of tests where its library is not wanted."""
    if not is_wanted(library):
        reason = f"there is no {library}; requirements/cookbook.txt has it"
        pytest.skip(reason, allow_module_level=True)
