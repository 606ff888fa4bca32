"""The metrics that a running server tells."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from tests.end_to_end.server import Server

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(server: Server) -> Samples:
    """Ask the server for its metrics, and read them."""
    response = server.client.get("/metrics")
    assert response.status_code == 200
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def value(found: Samples, name: str, **labels: str) -> float:
    """The sum of the samples of that name with these labels, whatever other labels they have."""
    wanted = set(labels.items())
    return sum(
        number for (each, given), number in found.items() if each == name and wanted <= given
    )
