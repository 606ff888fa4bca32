"""A model in a process of its own that dies again and again, in each way, beside one on threads."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.poison import WAYS, measure, serving
from tests.sweeps import number

pytestmark = [pytest.mark.long, pytest.mark.alone, pytest.mark.timeout(900)]


ALONE_SECONDS = 0.2
"""How fast the neighbour is by itself is the affair of the benchmark."""


# Its processes are the same under each server.
@pytest.mark.parametrize(
    ("name", "times"), [("serve", number(200, 4)), ("gunicorn", number(40, 4))]
)
def test_the_neighbour_loses_nothing_however_often_it_dies(
    name: str, times: int, tmp_path: Path
) -> None:
    with serving(name, tmp_path) as (port, server):
        for way in WAYS:
            found = measure(port, way, times, ALONE_SECONDS)
            print(name, found)  # noqa: T201
            assert found.lost == 0, found
            assert found.statuses.total() == times
            assert found.statuses.keys() <= {502, 504}, found
            assert found.seconds_until_well < 10, found
        assert "Unexpected exit from worker" not in server.log
        assert "was terminated" not in server.log.lower()
