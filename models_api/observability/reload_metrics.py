"""What is measured of changes of the models while the service runs."""

from __future__ import annotations

import os
from collections.abc import Iterator

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from models_api.hosting.registry import LastReload
from models_api.observability.metric_types import Key
from models_api.observability.shared_memory import SharedMemoryMetrics, Totals

_GENERATION, _COUNT, _SUCCESS, _TIME = (
    *("generation", "reloads", "reload success"),
    "reload time",
)
_FOLLOWS = "follows reloads"


class ReloadMetrics:
    """Writes how the changes of this process went."""

    def __init__(self, shared: SharedMemoryMetrics) -> None:
        self._shared = shared

    def begin(self) -> None:
        """Write that this process follows changes."""
        self._shared.gauge(_FOLLOWS).set(1)

    def note(self, last: LastReload, generation: int) -> None:
        """Write of one try how it went, and which generation is hosted now."""
        shared = self._shared
        shared.gauge(_GENERATION, (str(os.getpid()),)).set(generation)
        shared.counter(_COUNT, (last.outcome,)).inc()
        shared.gauge(_SUCCESS).set(last.outcome == "taken")
        if last.time is not None:
            shared.gauge(_TIME).set(last.time)


def of_followers(totals: Totals) -> Totals:
    """Return what is known of the live processes that follow changes, if any do.

    That which has loaded the models for them to inherit has what they have left behind.
    """
    followers = [records for records in totals.live if Key(_FOLLOWS, ()) in records]
    return totals._replace(live=followers or totals.live)


def reload_families(totals: Totals) -> Iterator[Metric]:
    """Yield what all worker processes have written; nothing where models are never changed."""
    counts = totals.of_kind(_COUNT)
    if not counts:
        return
    generation = GaugeMetricFamily(
        "model_generation", "How often a worker has had other models, and 1.", labels=["pid"]
    )
    for labels, processes in totals.live_of_kind(_GENERATION).items():
        generation.add_metric(labels, max(number for (number,) in processes))
    yield generation
    total = CounterMetricFamily(
        "model_reloads", "Tries of workers to host other models.", labels=["outcome"]
    )
    for labels, (count,) in counts.items():
        total.add_metric(labels, count)
    yield total
    success = [number for (number,) in totals.live_of_kind(_SUCCESS).get((), [])]
    times = [number for (number,) in totals.live_of_kind(_TIME).get((), [])]
    yield GaugeMetricFamily(
        "model_reload_last_successful",
        "1 if the last try of every worker to host other models has succeeded.",
        min(success, default=1.0),
    )
    yield GaugeMetricFamily(
        "model_reload_last_timestamp_seconds",
        "When the last worker tried to host other models, in seconds since 1970.",
        max(times, default=0.0),
    )
