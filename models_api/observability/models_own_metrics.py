"""The text of the metrics that the models' own code keeps with prometheus_client."""

from __future__ import annotations

import logging
from collections.abc import Container, Iterable

from prometheus_client import (
    REGISTRY,
    Enum,
    Gauge,
    GCCollector,
    Info,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from models_api.logs import SafeLogger
from models_api.observability.prometheus_sharing import (
    SHAREABLE,
    collectors,
    is_sharing,
    share_among_workers,
    with_numbers,
)
from models_api.observability.server_directory import MULTIPROCESS_VARIABLE
from models_api.observability.shared_memory import SharedMemoryMetrics, Totals

logger = SafeLogger(__name__)

Labels = frozenset[tuple[str, str]]

_OF_THE_PROCESS = (GCCollector, PlatformCollector, ProcessCollector)
"""What prometheus_client tells of its process by itself, which says little of one of several."""
_SAID = "said"
_MAXIMUM_SAID = 100


class Families(Collector):
    """Metrics that have been collected already."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        """Return the metrics."""
        return self._families


class ModelsOwnMetrics:
    """Writes the metrics of the models' own code.

    Counters, gauges, histograms and summaries are those of all workers, where prometheus_client
    shares them. Everything else is as the worker has it that is asked. What cannot be shown, or is
    not what all workers have, is said in the log, once for all of them.
    """

    def __init__(self, memory: SharedMemoryMetrics) -> None:
        self._memory = memory
        self._said: set[str] = set()
        share_among_workers()

    def text(self, totals: Totals, taken: Container[str], workers: float) -> bytes:
        """Write them.

        Args:
            totals: What the workers have counted, and said.
            taken: Names of the service's own metrics and samples.
            workers: Number of those that are alive.
        """
        self._said.update(topic for (topic,) in totals.of_kind(_SAID))
        shared = self._shared(workers) if is_sharing() else {}
        about = REGISTRY.restricted_registry(["target_info"])  # which belongs to no collector
        families = [*shared.values(), *about.collect()]
        for collector in collectors():
            if is_sharing() and isinstance(collector, (*SHAREABLE, *_OF_THE_PROCESS)):
                continue
            for family in self._collected(collector):
                if family.name not in shared:
                    families.append(family)
                    self._explain(family, collector, workers)
                elif self._is_new(family.name):
                    logger.warning("There are several metrics %s; one is shown", family.name)
        return b"".join(self._written(family, taken) for family in families)

    def _shared(self, workers: float) -> dict[str, Metric]:
        """Return what all workers have counted, by name."""
        try:
            found = list(MultiProcessCollector(None).collect())  # type: ignore[no-untyped-call]
        except Exception:
            if self._is_new(MULTIPROCESS_VARIABLE):
                logger.exception("What models count in %s cannot be read", MULTIPROCESS_VARIABLE)
            return {}
        families: dict[str, Metric] = {family.name: family for family in found}
        for collector in collectors():
            if isinstance(collector, Gauge) and (asked := _labels_with_functions(collector)):
                self._ask(collector, asked, families)
                self._explain(families[collector._name], collector, workers)
        return families

    def _ask(self, gauge: Gauge, asked: set[Labels], families: dict[str, Metric]) -> None:
        """Replace the zeros in the files by what the functions of a gauge say."""
        empty = Metric(gauge._name, gauge._documentation, "gauge")
        family = families.setdefault(gauge._name, empty)
        kept = [
            sample
            for sample in family.samples
            if frozenset(sample.labels.items() - {("pid", sample.labels.get("pid"))}) not in asked
        ]
        told = [
            sample
            for each in self._collected(gauge)
            for sample in each.samples
            if frozenset(sample.labels.items()) in asked
        ]
        family.samples = kept + told

    def _collected(self, collector: Collector) -> list[Metric]:
        try:
            return list(collector.collect())
        except Exception:
            name = getattr(collector, "_name", type(collector).__qualname__)
            if self._is_new(name):
                # It may be broken, or what it asks.
                logger.exception("The metrics of %s, of a model's own code, are left out", name)
            return []

    def _written(self, family: Metric, taken: Container[str]) -> bytes:
        name = family.name
        if name in taken or any(sample.name in taken for sample in family.samples):
            if self._is_new(name):
                logger.warning("A model's metric %s is left out: the service has that name", name)
            return b""
        try:
            return generate_latest(Families([family]))
        except Exception:
            if self._is_new(name):
                logger.exception("The metric %s, of a model's own code, is left out", name)
            return b""

    def _explain(self, family: Metric, collector: Collector, workers: float) -> None:
        """Say why a metric is not what all workers have, where there are several of them."""
        name = family.name
        if isinstance(collector, _OF_THE_PROCESS) or workers < 2 or not family.samples:
            return
        if not self._is_new(name):
            return
        if is_sharing():
            level, reason = logging.INFO, f"prometheus_client shares no {_kind(collector)}"
        else:
            level, reason = logging.WARNING, f"set {MULTIPROCESS_VARIABLE} to have all added up"
        message = "The metric %s of a model is that of the worker which is asked, one of %d: %s"
        logger.log(level, message, name, workers, reason)

    def _is_new(self, topic: str) -> bool:
        """Whether no worker has said anything of it; it has then."""
        if topic in self._said or len(self._said) >= _MAXIMUM_SAID:
            return False
        self._said.add(topic)
        self._memory.counter(_SAID, (topic,)).inc()
        return True


def _labels_with_functions(gauge: Gauge) -> set[Labels]:
    """Return the labels under which a gauge asks a function, where others have a number."""
    return {
        frozenset(zip(metric._labelnames, metric._labelvalues, strict=True))
        for metric in with_numbers(gauge)
        if "_child_samples" in vars(metric)  # which `set_function` replaces
    }


def _kind(collector: Collector) -> str:
    if isinstance(collector, Gauge):
        return "functions of gauges"
    if isinstance(collector, Info | Enum):
        return type(collector).__name__
    return "collectors"
