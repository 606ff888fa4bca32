"""How prometheus_client shares what the models' own code counts among worker processes.

It keeps numbers in files of the directory that PROMETHEUS_MULTIPROC_DIR names, if that was set when
it was imported. Whoever imports it before the service has set the variable would count in vain.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar, cast

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, Summary, values
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.registry import Collector

from models_api.logs import SafeLogger
from models_api.observability.server_directory import MULTIPROCESS_VARIABLE

logger = SafeLogger(__name__)

Shareable = Counter | Gauge | Histogram | Summary
Kind = TypeVar("Kind", bound=MetricWrapperBase)

SHAREABLE = (Counter, Gauge, Histogram, Summary)
"""The kinds whose numbers prometheus_client keeps in files, and adds up."""


def is_sharing() -> bool:
    """Whether prometheus_client keeps numbers in files."""
    return bool(values.ValueClass._multiprocess)


def share_among_workers() -> None:
    """Let prometheus_client share, if the environment asks for it, whenever it was imported.

    Metrics that have been made before move to the files, with what they have counted.
    """
    folder = os.environ.get(MULTIPROCESS_VARIABLE)
    if not folder or is_sharing():
        return
    if not Path(folder).is_dir():
        logger.error("There is no directory %s, which %s names", folder, MULTIPROCESS_VARIABLE)
        return
    values.ValueClass = values.MultiProcessValue()  # type: ignore[no-untyped-call]
    for collector in collectors():
        if isinstance(collector, SHAREABLE):
            for metric in with_numbers(collector):
                _move(metric)


def collectors() -> list[Collector]:
    """Return what is registered with prometheus_client."""
    with REGISTRY._lock:
        return list(REGISTRY._collector_to_names)


def with_numbers(metric: Kind) -> Iterator[Kind]:
    """Yield what has the numbers: of a metric with labels one for each of their values."""
    if not metric._labelnames:
        yield metric
        return
    with metric._lock:
        children = cast("list[Kind]", list(metric._metrics.values()))
    yield from children


def _move(metric: Shareable) -> None:
    before = [number.get() for number in _numbers(metric)]
    metric._metric_init()
    for number, value in zip(_numbers(metric), before, strict=True):
        if value:
            number.set(value, timestamp=time.time())


def _numbers(metric: Shareable) -> list[Any]:
    if isinstance(metric, Histogram):
        return [metric._sum, *metric._buckets]
    if isinstance(metric, Summary):
        return [metric._count, metric._sum]
    return [metric._value]
