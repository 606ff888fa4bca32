"""A version that gets a copy of the traffic: nobody waits for it, and it is measured."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from models_api.api.predictions import BatchEndpoint, PredictionEndpoint
from models_api.configuration.sections import ToleranceConfiguration
from models_api.exceptions import ConfigurationError
from models_api.hosting import shadow
from models_api.hosting.hosted_model import HostedModel, Resources
from models_api.hosting.shadow import agree
from models_api.prediction.instruments import Instruments
from tests.api.test_traffic import ask, batch, entry, serve, single
from tests.in_process import InProcessService


class Heard(Instruments):
    """Keeps what came of copies."""

    def __init__(self) -> None:
        self.results: list[str] = []

    def shadowed(self, result: str) -> None:
        self.results.append(result)


class Hearing:
    """Gives shadows instruments that keep what they hear."""

    def __init__(self) -> None:
        self.heard = Heard()

    def instruments(self, model: HostedModel) -> Instruments:
        return self.heard if model.configuration.shadow else Instruments()


Start = Callable[..., InProcessService]


@pytest.fixture
def hearing() -> Hearing:
    return Hearing()


@pytest.fixture
def start(hearing: Hearing) -> Iterator[Start]:
    services: list[InProcessService] = []

    def start(*entries: dict[str, object]) -> InProcessService:
        services.append(InProcessService({"models": list(entries)}, Resources(factory=hearing)))
        return services[-1]

    yield start
    for service in services:
        shadow_of(service).close(seconds=0.1)


def shadow_of(service: InProcessService) -> shadow.Shadow:
    (found,) = service.registry.release("orders").shadows
    return found


def threads() -> int:
    return [thread.name for thread in threading.enumerate()].count("shadow")


def drained(service: InProcessService, hearing: Hearing) -> list[str]:
    shadow_of(service).close(seconds=30)
    return hearing.heard.results


def test_a_shadow_is_asked_what_others_have_answered(start: Start, hearing: Hearing) -> None:
    service = start(entry("1"), entry("2", shadow=True, configuration={"by": "1"}))

    takers = [single(service, {"value": number}) for number in range(5)]
    batch(service, [{"value": 1}] * 3)

    assert takers == ["1"] * 5
    assert drained(service, hearing) == ["agrees"] * 6


def test_other_answers_of_a_shadow_are_counted_and_never_given(
    start: Start, hearing: Hearing
) -> None:
    service = start(entry("1"), entry("2", shadow=True))

    assert {single(service, {"value": number}) for number in range(5)} == {"1"}
    assert drained(service, hearing) == ["differs"] * 5


def test_a_shadow_of_a_split_gets_the_requests_of_all_versions(
    start: Start, hearing: Hearing
) -> None:
    same: dict[str, Any] = {"configuration": {"by": "same"}}
    service = start(
        entry("1", traffic=50, **same),
        entry("2", traffic=50, **same),
        entry("3", shadow=True, **same),
    )

    for _ in range(10):
        single(service, {"value": 1})
    batch(service, [{"value": 1}] * 30)

    assert drained(service, hearing) == ["agrees"] * 11


def test_requests_that_name_a_version_or_fail_are_not_copied(
    start: Start, hearing: Hearing
) -> None:
    service = start(entry("1", configuration={"fails": 13}), entry("2", shadow=True))

    assert ask(PredictionEndpoint(service.registry, "orders", "1"), {"value": 1}).status == 200
    assert ask(PredictionEndpoint(service.registry, "orders"), {"value": 13}).status == 500
    assert ask(BatchEndpoint(service.registry, "orders"), {"inputs": [{}]}).status == 400

    assert drained(service, hearing) == []


def test_a_shadow_that_fails_is_logged_once_in_a_while(
    start: Start, hearing: Hearing, caplog: pytest.LogCaptureFixture
) -> None:
    service = start(entry("1"), entry("2", shadow=True, configuration={"fails": 7}))

    assert [single(service, {"value": 7}) for _ in range(20)] == ["1"] * 20

    assert drained(service, hearing) == ["failed"] * 20
    assert caplog.text.count("The shadow orders 2 failed") == 1
    assert "ZeroDivisionError" in caplog.text


def test_copies_are_dropped_and_counted_where_a_shadow_hangs(
    start: Start, hearing: Hearing
) -> None:
    service = start(entry("1"), entry("2", shadow=True, configuration={"hangs": True}))

    for _ in range(shadow.MAXIMUM_COPIES + 20):
        assert single(service, {"value": 1}) == "1"

    assert set(hearing.heard.results) == {"dropped"}
    assert 19 <= len(hearing.heard.results) <= 20
    began = time.monotonic()
    shadow_of(service).close(seconds=0.1)
    assert time.monotonic() - began < 60
    assert service.limiter.running() == []
    assert service.registry.is_ready


def test_copies_that_wait_take_a_bounded_amount_of_memory(start: Start, hearing: Hearing) -> None:
    service = start(entry("1"), entry("2", shadow=True, configuration={"hangs": True}))
    padding = "x" * 2_000_000

    for _ in range(20):
        single(service, {"value": 1, "padding": padding})

    assert len(hearing.heard.results) >= 10


def test_no_copy_is_made_where_there_is_no_room_for_it(start: Start, hearing: Hearing) -> None:
    service = start(entry("1"), entry("2", shadow=True, configuration={"hangs": True}))
    for _ in range(shadow.MAXIMUM_COPIES + 20):
        single(service, {"value": 1})
    dropped = len(hearing.heard.results)

    shadow_of(service).offer(1, lambda: pytest.fail("a copy was made"))

    assert len(hearing.heard.results) == dropped + 1


def test_a_shadow_that_has_left_takes_no_copies_and_drops_none(
    start: Start, hearing: Hearing
) -> None:
    service = start(entry("1"), entry("2", shadow=True))
    shadow_of(service).close()

    assert single(service, {"value": 1}) == "1"

    assert hearing.heard.results == []


@pytest.mark.parametrize(
    ("took", "others", "elapsed", "expected"),
    [
        (0.0, 0.0, 60.0, 0.001),
        (0.0001, 0.0, 0.01, 0.001),
        (0.01, 0.0, 1.0, 0.03),
        (0.01, 0.5, 1.0, 0.165),
        (0.01, 1.0, 1.0, 0.3),
        (0.01, 16.0, 1.0, 0.3),
        (5.0, 0.0, 1.0, 1.0),
    ],
)
def test_a_shadow_rests_the_longer_the_busier_the_worker_is(
    monkeypatch: pytest.MonkeyPatch, took: float, others: float, elapsed: float, expected: float
) -> None:
    now = {"monotonic": 10.0, "process_time": 7.0, "thread_time": 2.0}
    for clock in ("monotonic", "process_time", "thread_time"):
        monkeypatch.setattr(time, clock, partial(now.__getitem__, clock))
    pace = shadow.Pace()

    with pace:
        now["monotonic"] += took
        now["process_time"] += took
        now["thread_time"] += took
    now["monotonic"] += elapsed - took
    now["process_time"] += others

    assert pace.pause() == pytest.approx(expected)


def test_a_service_is_ready_without_its_shadow(start: Start) -> None:
    service = start(entry("1"), entry("2", "FailingOrderModel", shadow=True))

    assert service.registry.is_ready
    assert service.registry.is_healthy
    assert single(service, {"value": 1}) == "1"


def test_a_shadow_may_be_required(start: Start) -> None:
    service = start(entry("1"), entry("2", "FailingOrderModel", shadow=True, required=True))

    assert not service.registry.is_ready


def test_its_thread_ends_when_the_shadow_leaves(start: Start) -> None:
    service = start(entry("1"), entry("2", shadow=True))
    before = threads()
    single(service, {"value": 1})
    assert threads() > before

    service.registry.version("orders", "2").leave()

    assert threads() == before


@pytest.mark.parametrize(
    ("one", "other", "tolerance", "expected"),
    [
        ({"a": [1, 2.5, "x", None, True]}, {"a": [1.0, 2.5, "x", None, True]}, {}, True),
        ({"a": 1}, {"a": 1, "b": 2}, {}, False),
        ([1, 2], [1], {}, False),
        (1, True, {}, False),
        ("1", 1, {}, False),
        (1.0, 1.01, {}, False),
        (1.0, 1.01, {"absolute": 0.02}, True),
        (100.0, 101.0, {"absolute": 0.02}, False),
        (100.0, 101.0, {"relative": 0.01}, True),
        ([{"p": 0.5}], [{"p": 0.5000001}], {"relative": 1e-6}, True),
        (None, 0, {"absolute": 1}, False),
        (float("nan"), float("nan"), {}, True),
        (10**400, 10**400 + 1, {"absolute": 2}, False),
    ],
)
def test_answers_agree_if_they_are_equal_or_their_numbers_are_within_the_tolerance(
    one: Any, other: Any, tolerance: dict[str, float], expected: bool
) -> None:
    assert agree(one, other, ToleranceConfiguration(**tolerance)) is expected


@pytest.mark.parametrize(
    ("entries", "key_path", "message"),
    [
        ((entry("1"), entry("2", shadow=True, traffic=5)), "models[1].traffic", "does not go with"),
        ((entry("1", shadow=True), entry("2")), "models[0].shadow", "is a shadow"),
        ((entry("1", tolerance={"absolute": 1}),), "models[0].tolerance", "goes with shadow: true"),
    ],
)
def test_a_shadow_that_cannot_be_is_a_problem_of_the_file(
    entries: tuple[dict[str, object], ...], key_path: str, message: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        serve(*entries)

    (problem,) = caught.value.problems
    assert problem.key_path == key_path
    assert message in problem.message
    assert json.dumps(problem.hint)
