"""Versions on trial: what their requests show, and what becomes of those that are worse."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from models_api.hosting.generation import Generation
from models_api.hosting.hosted_model import HostedModel
from models_api.hosting.traffic import Traffic
from models_api.observability.shared_memory import SharedMemoryMetrics
from models_api.observability.taken_back import TakenBack
from models_api.observability.trials import Trials
from tests.hosting.test_registry import host


class Worker:
    """What one worker has of a release: a stable version, and a canary that may be taken back."""

    def __init__(
        self,
        shared: SharedMemoryMetrics,
        folder: Path,
        share: int = 10,
        version: str = "2",
        others: Sequence[HostedModel] = (),
        **of_canary: Any,
    ) -> None:
        given = {"traffic": share, "abort": {"min_requests": 20}, **of_canary}
        self.models = [
            host("DoublingModel", version="1", traffic=100 - share),
            host("DoublingModel", version=version, **given),
        ]
        generation = Generation([*others, *self.models])
        kept = TakenBack([lambda: folder], "taken-back")
        self.trials = Trials(lambda: generation, shared, kept)
        release = generation.find("doubling")
        assert release is not None
        assert release.traffic is not None
        self.traffic: Traffic = release.traffic
        self.trials.look()

    def answer(self, model: HostedModel, outcome: str = "success", seconds: float = 0.1) -> None:
        assert self.traffic.observe is not None
        self.traffic.observe(model, outcome, seconds, 1)

    def go_on(self, requests: int, outcome: str = "success", seconds: float = 0.1) -> None:
        """Answer nine requests by the stable version for each by the canary, which ends so."""
        stable, canary = self.models
        for number in range(requests):
            for _ in range(9):
                self.answer(stable, seconds=0.1 + number % 7 / 1000)
            self.answer(canary, outcome, seconds)


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[SharedMemoryMetrics]:
    values = SharedMemoryMetrics(lambda: tmp_path)
    yield values
    values.close()


ERRS = "30 of its 30 predictions failed, and 0 of 270 of the others"
LAGS = "it is more than 1.25 times as slow as the others"


@pytest.mark.parametrize(
    ("ending", "reason"),
    [(("failure", 0.1), ERRS), (("success", 0.25), LAGS), (("deadline_exceeded", 5.0), ERRS)],
    ids=str,
)
def test_a_version_that_is_worse_is_taken_back_by_all_workers(
    ending: tuple[str, float],
    reason: str,
    shared: SharedMemoryMetrics,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    worker, other = Worker(shared, tmp_path), Worker(shared, tmp_path)
    worker.go_on(30, *ending)
    worker.trials.look()
    other.trials.look()
    after_a_restart = Worker(shared, tmp_path)
    for each in (worker, other, after_a_restart):
        assert each.traffic.taken_back == {"2"}
        assert each.traffic.reasons == {"2": reason}
        assert {each.traffic.choose(None).version for _ in range(100)} == {"1"}
    assert caplog.text.count(f"doubling 2 is taken back: {reason}") == 1


def test_a_version_that_is_no_worse_stays(shared: SharedMemoryMetrics, tmp_path: Path) -> None:
    worker = Worker(shared, tmp_path)
    worker.go_on(500, seconds=0.103)
    worker.trials.look()
    assert not worker.traffic.taken_back


def test_what_is_the_clients_fault_or_for_want_of_a_place_says_nothing(
    shared: SharedMemoryMetrics, tmp_path: Path
) -> None:
    worker = Worker(shared, tmp_path)
    for outcome in ("invalid_input", "overloaded", "not_ready"):
        worker.go_on(100, outcome, seconds=9.0)
    worker.trials.look()
    assert not worker.traffic.taken_back


def test_a_changed_configuration_gives_a_version_another_trial(
    shared: SharedMemoryMetrics, tmp_path: Path
) -> None:
    worker = Worker(shared, tmp_path)
    worker.go_on(30, "failure")
    worker.trials.look()
    assert worker.traffic.taken_back == {"2"}
    for change in ({"share": 20}, {"version": "3"}, {"description": "mended"}, {"aliases": ["n"]}):
        changed = Worker(shared, tmp_path, **change)
        assert not changed.traffic.taken_back, change
        changed.go_on(30)
        changed.trials.look()
        assert not changed.traffic.taken_back, change
    assert Worker(shared, tmp_path).traffic.taken_back == {"2"}


def test_a_change_of_another_model_leaves_what_was_decided(
    shared: SharedMemoryMetrics, tmp_path: Path
) -> None:
    worker = Worker(shared, tmp_path)
    worker.go_on(30, "failure")
    worker.trials.look()
    other = host("DoublingModel", qualified_name="other", version="2")
    assert Worker(shared, tmp_path, others=[other]).traffic.taken_back == {"2"}


def test_what_a_version_is_made_from_counts_whenever_that_is_known(
    shared: SharedMemoryMetrics, tmp_path: Path
) -> None:
    def look_later(worker: Worker, edition: str) -> None:
        worker.models[1].edition = edition  # known once its artefact has been downloaded
        worker.trials.look()

    worker = Worker(shared, tmp_path)
    look_later(worker, "revision 1")
    worker.go_on(30, "failure")
    worker.trials.look()
    after_a_restart, mended = Worker(shared, tmp_path), Worker(shared, tmp_path)
    look_later(after_a_restart, "revision 1")
    look_later(mended, "revision 2")
    assert after_a_restart.traffic.taken_back == {"2"}
    assert not mended.traffic.taken_back


def test_batches_count_for_errors_and_not_for_latency(
    shared: SharedMemoryMetrics, tmp_path: Path
) -> None:
    worker = Worker(shared, tmp_path)
    stable, canary = worker.models
    assert worker.traffic.observe is not None
    for _ in range(100):
        worker.traffic.observe(stable, "success", 0.1, 1)
        worker.traffic.observe(canary, "success", 9.0, 500)
    worker.trials.look()
    assert not worker.traffic.taken_back
    for _ in range(100):
        worker.traffic.observe(stable, "success", 0.1, 1)
        worker.traffic.observe(canary, "failure", 9.0, 500)
    worker.trials.look()
    assert worker.traffic.taken_back == {"2"}
