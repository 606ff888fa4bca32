"""What a model's own code measures with prometheus_client is shown by every server."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.end_to_end.development_server import DevelopmentServer
from tests.end_to_end.scraped import Samples, samples, value
from tests.end_to_end.server import REPOSITORY, TLS, Server, client_of, granian, gunicorn, serve
from tests.sweeps import share

pytestmark = pytest.mark.long

CONFIGURATION: dict[str, Any] = {
    "models": [{"class_path": "tests.fakes.observed.ObservedModel"}],
    "metrics": {"enabled": True},
}
PREDICTION = "/api/models/observed/prediction"
# Ways in which prometheus_client comes to be imported before the service has anything to say.
SETTINGS = "from prometheus_client import Counter\nfrom modelhost.settings import *\n"
EARLY = {
    "at the start of Python": ("sitecustomize", "import prometheus_client\n", {}),
    "by settings": ("own_settings", SETTINGS, {"DJANGO_SETTINGS_MODULE": "own_settings"}),
    "by a model, for all of its metrics": (
        "sitecustomize",
        "import tests.fakes.observed\n",
        {},
    ),
    "not early": ("nothing", "", {}),
}
LOCAL = "observed_build", "observed_state", "observed_cached", "observed_partly"


def bare_gunicorn(environment: dict[str, str]) -> Server:
    arguments = ("--workers", "2", "--threads", "4", "--worker-class", "gthread")
    return Server(CONFIGURATION, *arguments, environment=environment)


def development(environment: dict[str, str]) -> Server:
    return DevelopmentServer(CONFIGURATION, environment=environment)


TWO = {"MODELHOST_WORKERS": "2"}
SERVERS: dict[str, Callable[[dict[str, str]], Server]] = {
    "runserver": development,
    "gunicorn": lambda given: gunicorn(CONFIGURATION, environment={**TWO, **given}),
    "serve": lambda given: serve(CONFIGURATION, environment={**TWO, **given}),
    "gunicorn, each for itself": lambda given: gunicorn(
        CONFIGURATION, environment={**TWO, "MODELHOST_PRELOAD": "0", **given}
    ),
    "serve, each for itself": lambda given: serve(
        CONFIGURATION, environment={**TWO, "MODELHOST_PRELOAD": "0", **given}
    ),
    "bare gunicorn": bare_gunicorn,
    "granian": lambda environment: granian(CONFIGURATION, environment=environment),
}
QUICK = [("runserver", early) for early in EARLY] + [
    ("gunicorn", "at the start of Python"),
    ("serve", "by settings"),
]
SLOW = [(name, early) for name in SERVERS for early in EARLY if (name, early) not in QUICK]
CASES = [*QUICK, *(pytest.param(*each, marks=pytest.mark.long) for each in share(SLOW))]


def starting(folder: Path, early: str, start: Callable[[dict[str, str]], Server]) -> Server:
    name, text, variables = EARLY[early]
    (folder / f"{name}.py").write_text(text, encoding="utf-8")
    path = os.pathsep.join([str(folder), str(REPOSITORY)])
    return start({"PYTHONPATH": path, **variables})


def predict(server: Server) -> list[int]:
    """Ask on a connection of its own, and say which process has predicted, if one has."""
    try:
        response = httpx.post(
            f"{server.url}{PREDICTION}", json={"value": 3}, timeout=30, verify=TLS
        )
    except httpx.TransportError:  # the worker has just been killed
        return []
    if response.status_code == 503:  # it has just been started
        return []
    return [response.json()["process"]]


def scrape(server: Server) -> Samples:
    server.client.close()
    server.client = client_of(server.url)
    return samples(server)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def predict_everywhere(server: Server) -> Counter[int]:
    """Ask until each worker has answered; return how often each has."""
    wanted = 1 if isinstance(server, DevelopmentServer) else 2
    found: Counter[int] = Counter()

    def predict_once() -> bool:
        found.update(predict(server))
        return len(found) >= wanted

    until(predict_once)
    return found


@pytest.mark.parametrize(("name", "early"), CASES)
def test_metrics_of_every_kind_are_shown(tmp_path: Path, name: str, early: str) -> None:
    with starting(tmp_path, early, SERVERS[name]) as server:
        answered = predict_everywhere(server)
        predictions = sum(answered.values())
        found = scrape(server)
        assert value(found, "observed_rows_total", parity="odd") == predictions
        assert value(found, "observed_size_count") == predictions
        assert value(found, "observed_size_bucket", le="1.0") == 0
        assert value(found, "own_observed_weight_sum") == 3 * predictions
        assert value(found, "observed_last") == 3
        assert value(found, "observed_build_info", revision="a1b2") == 1
        assert value(found, "observed_state", observed_state="warm") == 1
        assert value(found, "observed_cached") == 42
        assert value(found, "observed_partly", way="asked") == 7
        assert value(found, "observed_partly", way="told") >= 3
        assert value(found, "observed_by_collector_total") in answered.values()
        # With the models loaded before the fork once, else by each worker.
        loaded = value(found, "observed_rows_total", parity="loaded")
        assert loaded == (1 if name in ("runserver", "gunicorn", "serve") else len(answered))


@pytest.fixture(scope="module", params=["gunicorn", "serve"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("early")
    with starting(folder, "at the start of Python", SERVERS[request.param]) as started:
        yield started


def test_what_is_not_of_all_workers_is_named_in_the_log_once(server: Server) -> None:
    predict_everywhere(server)
    for _ in range(20):
        scrape(server)
    for name in (*LOCAL, "observed_by_collector"):
        said = f"The metric {name} of a model is that of the worker which is asked, one of 2: "
        assert server.log.count(said) == 1
    assert "prometheus_client shares no Info" in server.log
    assert "prometheus_client shares no functions of gauges" in server.log
    assert server.log.count("The metrics of BrokenCollector, of a model's own code, are") == 1
    assert "observed_rows" not in server.log


def test_what_a_killed_worker_counted_stays_and_is_counted_once(server: Server) -> None:
    victim, *_ = predict_everywhere(server)
    before = scrape(server)
    os.kill(victim, signal.SIGKILL)
    until(lambda: len(set(predict_everywhere(server)) - {victim}) == 2)
    scraped = scrape(server)
    names = "observed_size_count", "own_observed_weight_count", "model_predictions_total"
    grown = {value(scraped, name) - value(before, name) for name in names}
    assert len(grown) == 1
    assert value(scraped, "observed_rows_total", parity="loaded") == 1


PROJECT = """\
import os, tests.fakes.observed
SECRET_KEY, ALLOWED_HOSTS, ROOT_URLCONF, DATABASES = "any", ["*"], "models_api.urls", {}
INSTALLED_APPS, MIDDLEWARE = ["rest_framework", "models_api"], [
    "models_api.middleware.RequestMiddleware"
]
REST_FRAMEWORK = {"DEFAULT_AUTHENTICATION_CLASSES": [], "UNAUTHENTICATED_USER": None}
MODELS_API_METRICS_PERMISSIONS = ["rest_framework.permissions.AllowAny"]
"""
WSGI = "from django.core.wsgi import get_wsgi_application\napplication = get_wsgi_application()\n"


def project(folder: Path, settings: str = "") -> Server:
    """Serve a project of somebody else's with the app in it, which knows nothing of modelhost."""
    (folder / "own_project.py").write_text(PROJECT + settings, encoding="utf-8")
    (folder / "own_wsgi.py").write_text(WSGI, encoding="utf-8")
    return Server(
        CONFIGURATION,
        *("--workers", "2", "--threads", "4", "--worker-class", "gthread", "--preload"),
        application="own_wsgi",
        environment={
            "DJANGO_SETTINGS_MODULE": "own_project",
            "PYTHONPATH": os.pathsep.join(map(str, [folder, REPOSITORY])),
        },
    )


def test_a_project_that_shares_nothing_is_told_once_how_to_share(tmp_path: Path) -> None:
    with project(tmp_path) as server:
        answered = predict_everywhere(server)
        for _ in range(20):
            found = scrape(server)
        assert value(found, "observed_rows_total", parity="odd") in answered.values()
        assert value(found, "observed_cached") == 42
        said = (
            "The metric observed_rows of a model is that of the worker which is asked, one of 2: "
            "set PROMETHEUS_MULTIPROC_DIR to have all added up"
        )
        assert server.log.count(said) == 1
        assert "The metric process" not in server.log
        assert "The metric python" not in server.log


def test_a_project_may_import_prometheus_client_before_it_names_the_directory(
    tmp_path: Path,
) -> None:
    (shared := tmp_path / "shared").mkdir()
    variable = f'os.environ["PROMETHEUS_MULTIPROC_DIR"] = {str(shared)!r}\n'
    with project(tmp_path, variable) as server:
        predictions = sum(predict_everywhere(server).values())
        found = scrape(server)
        assert value(found, "observed_rows_total", parity="odd") == predictions
        assert value(found, "observed_build_info") == 1
        assert list(shared.glob("counter_*.db"))
