"""Artefacts that change where they come from, while real servers answer with what they have."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from io import StringIO
from typing import Any, NamedTuple

import httpx
import pytest
from django.core.management import call_command

from benchmarks.kit.load import Ask, Load, Outcome
from tests.artefacts.servers import (
    NEEDS_PROGRAMS,
    ObjectServer,
    TrackingServer,
    object_server,
    tracking_server,
)
from tests.artefacts.web_server import WebServer, running
from tests.end_to_end.server import Server, gunicorn, serve
from tests.end_to_end.test_reload import Reloads

pytestmark = [NEEDS_PROGRAMS, pytest.mark.long, pytest.mark.measured]

READING = "tests.fakes.artefacts.ReadingModel"
NAMES = ("alias", "object", "page")
WORKERS = 2


class Sources(NamedTuple):
    """Where the artefacts are."""

    tracking: TrackingServer
    store: ObjectServer
    web: WebServer

    def change(self, name: str, number: int) -> None:
        """Have the artefact of a model be another number."""
        content = f"{number}.000".encode()
        if name == "alias":
            version = self.tracking.log("numbers", {"number": content})
            self.tracking.alias("numbers", "champion", version)
        elif name == "object":
            self.store.put("number", content)
        else:
            self.web.add("/number", content)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sources]:
    with (
        tracking_server(tmp_path_factory.mktemp("tracking")) as tracking,
        object_server(tmp_path_factory.mktemp("objects")) as store,
        running() as web,
    ):
        yield Sources(tracking, store, web)


def configuration(sources: Sources, **of_page: object) -> dict[str, Any]:
    addresses = {
        "alias": "mlflow:models:/numbers@champion",
        "object": "s3://models/number",
        "page": f"{sources.web.url}/number",
    }
    entries = [
        {
            "class_path": READING,
            "qualified_name": name,
            "artefact": address,
            "poll_seconds": 1,
            "concurrency": {"max_queue_size": 64},
            **(of_page if name == "page" else {}),
        }
        for name, address in addresses.items()
    ]
    return {
        "reload": {"interval_seconds": 0.2},
        "metrics": {"enabled": True},
        "models": entries,
    }


@pytest.fixture(scope="module", params=[gunicorn, serve], ids=["gunicorn", "granian"])
def polling(
    request: pytest.FixtureRequest,
    sources: Sources,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Polling]:
    for name in NAMES:
        sources.change(name, 1)
    start: Callable[..., Server] = request.param
    environment = {
        **sources.store.environment,
        **sources.tracking.environment,
        "MODELHOST_ARTEFACT_CACHE": str(tmp_path_factory.mktemp("cache")),
        "MODELHOST_WORKERS": str(WORKERS),
        "MODELHOST_ACCESS_LOG": "0",
    }
    with start(configuration(sources), environment=environment) as server:
        yield Polling(server, sources)


class Polling:
    """A server whose artefacts come from elsewhere."""

    def __init__(self, server: Server, sources: Sources) -> None:
        self.server = server
        self.sources = sources
        self.reloads = Reloads(server, WORKERS)

    def value(self, name: str) -> float:
        """Return the number that a model has."""
        answer = self.server.client.post(f"/api/models/{name}/prediction", json={})
        assert answer.status_code == 200, answer.text
        found: float = answer.json()["value"]
        return found

    def values(self, name: str) -> set[float]:
        """Return the numbers that a model has in whichever workers answer."""
        url = f"http://127.0.0.1:{self.server.port}/api/models/{name}/prediction"
        return {httpx.post(url, json={}).json()["value"] for _ in range(20)}

    def workers(self) -> list[dict[str, Any]]:
        return self.reloads.folder.workers()

    def are_without(self, pid: int) -> bool | None:
        """Return whether there are all workers, of which none is that process."""
        found = [worker["pid"] for worker in self.workers() if worker["outcome"] != "none"]
        return (len(found) == WORKERS and pid not in found) or None

    def wait_for_all(self, outcome: str, since: float) -> list[dict[str, Any]]:
        """Return how the workers are once a change that came later has ended so in all of them."""

        def done() -> list[dict[str, Any]] | None:
            found = self.workers()
            ended = [each for each in found if (each["time"] or 0) > since]
            is_done = len(ended) == WORKERS and {each["outcome"] for each in ended} == {outcome}
            return found if is_done else None

        return self.server.wait_until(done, outcome)

    def wait_for_troubles(self, name: str, reason: str | None) -> None:
        """Wait until all workers say what is the matter with a model, or that nothing is."""

        def are_told() -> bool | None:
            models = [each for worker in self.workers() for each in worker["models"]]
            troubles = [each["reason"] for each in models if each["name"] == name]
            if reason is None:
                return troubles == [None] * WORKERS or None
            return all(reason in (each or "") for each in troubles) or None

        self.server.wait_until(are_told, "in trouble" if reason else "well")
        told = StringIO()
        call_command("status", "--pid", str(self.workers()[0]["pid"]), stdout=told)
        assert told.getvalue().count(reason or "state") == (WORKERS if reason else 1)

    def change(self, name: str, number: int) -> None:
        """Change an artefact, and wait until all workers have it."""
        since = time.time()
        self.sources.change(name, number)
        self.wait_for_all("taken", since)
        assert self.value(name) == number


class Numbers:
    """When which numbers could be right."""

    def __init__(self, numbers: Mapping[str, int]) -> None:
        self._spans = {name: [(number, 0.0, float("inf"))] for name, number in numbers.items()}

    def change(self, name: str, number: int, work: Callable[[], object]) -> None:
        """Do what has a model tell another number."""
        began = time.monotonic()
        self._spans[name].append((number, began, float("inf")))
        work()
        former, since, _ = self._spans[name][-2]
        self._spans[name][-2] = (former, since, time.monotonic())

    def fits(self, outcome: Outcome) -> bool:
        """Whether the answer was right at some moment of the request."""
        name = outcome.ask.path.split("/")[3]
        value = json.loads(outcome.body)["value"]
        return any(
            number == value and since <= outcome.ended and until >= outcome.began
            for number, since, until in self._spans[name]
        )


def test_what_moves_at_its_source_serves_in_all_workers_without_a_lost_request(
    polling: Polling,
) -> None:
    server, first = polling.server, {name: int(polling.value(name)) for name in NAMES}
    numbers, unloaded = Numbers(first), server.log.count("Unloaded")
    asks = [Ask("POST", f"/api/models/{name}/prediction", b"{}") for name in NAMES]
    with Load(server.port, asks, connections=8) as load:
        load.wait_for(100)
        for name in NAMES:
            number = 10 + first[name]
            numbers.change(name, number, partial(polling.change, name, number))
        load.wait_for(load.count + 100)
    assert not load.failures(), [str(each) for each in load.failures()[:3]]
    assert not [each for each in load.outcomes if not numbers.fits(each)][:3]
    changes = len(NAMES) * WORKERS
    server.wait_until(
        lambda: server.log.count("Unloaded") - unloaded >= changes or None, "unloaded"
    )


def test_a_worker_in_the_place_of_another_has_what_the_others_have_and_not_what_they_refused(
    polling: Polling,
) -> None:
    server = polling.server
    polling.change("page", 41)
    refuse(polling, lambda: polling.sources.web.add("/number", b"nonsense"), "could not convert")
    for worker in polling.workers():
        os.kill(worker["pid"], signal.SIGKILL)
        server.wait_until(partial(polling.are_without, worker["pid"]), "replaced")
        polling.wait_for_troubles("page", None)
        assert polling.values("page") == {41}
    since = time.time()
    polling.sources.web.add("/number", b"42.000")
    polling.wait_for_all("taken", since)
    assert polling.values("page") == {42}


@pytest.mark.parametrize("polling", [gunicorn], indirect=True, ids=["gunicorn"])
def test_what_cannot_be_had_or_loaded_leaves_what_serves_alone_until_it_can(
    polling: Polling,
) -> None:
    server, sources = polling.server, polling.sources
    asks = [Ask("POST", f"/api/models/{name}/prediction", b"{}") for name in NAMES]
    before = {name: polling.value(name) for name in NAMES}
    with Load(server.port, asks, connections=4, rate=20) as load:
        # Gone, and back as something else.
        sources.store.delete("number")
        server.wait_until(
            lambda: "there is no s3://models/number" in server.log or None, "looked for"
        )
        polling.wait_for_troubles("object", "there is no s3://models/number")
        assert polling.value("object") == before["object"]
        polling.change("object", 31)
        polling.wait_for_troubles("object", None)
        # Not what the model can read.
        refuse(polling, lambda: sources.store.put("number", b"nonsense"), "could not convert")
        assert polling.value("object") == 31
        polling.change("object", 32)
        # Registered, but its files are not there yet.
        run, version = sources.tracking.begin("numbers")
        refuse(
            polling,
            lambda: sources.tracking.alias("numbers", "champion", version),
            "mlflow:models:/numbers@champion",
        )
        assert polling.value("alias") == before["alias"]
        since = time.time()
        sources.tracking.put(run, {"number": b"33"})
        polling.wait_for_all("taken", since)
        assert polling.value("alias") == 33
        # Breaks off, and that more often than it is tried again.
        page = sources.web.files["/number"]
        refuse(polling, lambda: break_off(sources.web), "IncompleteRead")
        assert polling.value("page") == before["page"]
        since, page = time.time(), sources.web.files["/number"]
        page.cuts.clear()
        polling.wait_for_all("taken", since)
        assert polling.value("page") == 34
        load.wait_for(load.count + 50)
    assert not load.failures(), [str(each) for each in load.failures()[:3]]
    ready = server.client.get("/api/health/ready")
    assert ready.status_code == 200


def break_off(web: WebServer) -> None:
    web.add("/number", b"34.000").cuts = [0] * 1000


def refuse(polling: Polling, work: Callable[[], object], reason: str) -> None:
    """Do what the workers are to refuse for this reason, and see that they say so."""
    since = time.time()
    work()
    told = polling.wait_for_all("refused", since)
    assert all(reason in each["reason"] for each in told), told
    server = polling.server
    assert server.client.get("/api/models").json()["reload"]["outcome"] == "refused"
    assert "model_reload_last_successful 0.0" in server.client.get("/metrics").text
    assert server.client.get("/api/health/ready").status_code == 200
    assert reason in server.log
