"""Histograms as records of shared values: a number for each bucket, one beyond, and the sum."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from prometheus_client.utils import floatToGoString


def cumulative(limits: Sequence[float], counts: Sequence[float]) -> list[tuple[str, float]]:
    """Return the buckets as Prometheus wants them: each with all that is in those before.

    Args:
        limits: The highest value that belongs in each bucket but the last.
        counts: What is in each bucket alone; the last one is for what is beyond all limits.
    """
    names = [*map(floatToGoString, limits), "+Inf"]
    return list(zip(names, accumulate(counts[: len(names)]), strict=True))
