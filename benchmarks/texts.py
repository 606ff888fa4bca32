"""What the encoder scores: texts as the numbers of their words."""

from __future__ import annotations

from typing import Any

TOKENS = 128
"""Of each text."""
WORDS = 30_522
LARGEST_BATCH = 128

Array = Any
"""Of numpy."""
