"""What the tests of each source of artefacts begin with."""

from __future__ import annotations

from pathlib import Path

import pytest

from models_api.artefacts.cache import ArtefactCache


@pytest.fixture
def cache(tmp_path: Path) -> ArtefactCache:
    """One that holds nothing yet."""
    return ArtefactCache(tmp_path / "cache")
