"""Predictions that are answered before Django sees them are answered as Django would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import unquote

import pytest
import yaml
from django.test import override_settings
from rest_framework.authentication import BasicAuthentication
from rest_framework.permissions import AllowAny, IsAuthenticated

from modelhost.fast_lane import _find_lanes
from models_api.api.literal_routes import LiteralRoutes, literal_path
from models_api.api.views import BatchPredictionView, PredictionView
from models_api.hosting.registry import ModelRegistry
from models_api.permissions import ModelPermission
from models_api.throttling import ModelRateThrottle
from tests.fakes.named import ODD
from tests.modelhost.corpus import (
    BATCH,
    CONFIGURATION,
    ENVIRONMENT,
    GOOD,
    HOSTS,
    INFER,
    ROUTES,
    SHARED,
    SINGLE,
    VERSIONS,
    corpus,
)

REPOSITORY = Path(__file__).parents[2]
METRICS = {
    "enabled": True,
    "should_instrument_requests_inprogress": True,
    "inprogress_labels": True,
    "body_handlers": [".*"],
}
VARIANTS: dict[str, tuple[dict[str, object], dict[str, str]]] = {
    "metrics": ({"metrics": METRICS}, {"RECORDS_PREDICTIONS": "1"}),
    "traces": ({}, {"OTEL_TRACES_EXPORTER": "console"}),
    "everything, ungrouped": (
        {"metrics": {**METRICS, "should_group_untemplated": False, "inprogress_labels": False}},
        {"OTEL_TRACES_EXPORTER": "console", "MODELHOST_DEBUG": "1"},
    ),
    "under a prefix": (
        {},
        {"MODELHOST_PATH_PREFIX": "/ml", "MODELHOST_TRUST_PROXY_PREFIX": "1", "SCRIPT_NAME": "/a"},
    ),
    "other origins": ({}, {"MODELHOST_CORS_ORIGINS": "https://a.example,http://b.test:8080"}),
    "all origins, compressed": (
        {"metrics": METRICS},
        {"MODELHOST_CORS_ORIGINS": "*", "MODELHOST_COMPRESS_MIN_BYTES": "50"},
    ),
    "compressed": ({}, {"MODELHOST_COMPRESS_MIN_BYTES": "300"}),
    "nothing": ({}, {"MODELHOST_ACCESS_LOG": "0"}),
}
Seen = dict[str, Any]


def run(folder: Path, way: str, sections: dict[str, object], variables: dict[str, str]) -> Seen:
    """Ask all requests in a process of their own, one way."""
    (folder / way).mkdir()
    path = folder / way / "rest_config.yaml"
    path.write_text(yaml.safe_dump({**CONFIGURATION, **sections}), encoding="utf-8")
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MODELHOST_", "OTEL_", "DJANGO_"))
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.modelhost.one_way", way],
        cwd=REPOSITORY,
        env={
            **kept,
            **ENVIRONMENT,
            **variables,
            "REST_CONFIG": str(path),
            "OVERLOAD_GATES": str(path.parent),
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    seen: Seen = json.loads(done.stdout)
    return seen


COPIES = (("shadowed", "agrees"), ("shadowed_in_vain", "failed"))
"""What comes of copies, by the models of the corpus that have a shadow."""
QUICK = ("metrics",)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=() if name in QUICK else pytest.mark.long) for name in VARIANTS
    ],
)
def both(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Seen, Seen]:
    """What is seen of the fast way, and of that through Django."""
    folder = tmp_path_factory.mktemp("ways")
    sections, variables = VARIANTS[request.param]
    return (
        run(folder, "fast", sections, variables),
        run(folder, "django", sections, variables),
    )


def differences(both: tuple[Seen, Seen], *keys: str) -> list[str]:
    fast, django = (seen["answers"] for seen in both)
    assert list(fast) == list(django)
    return [
        f"{name}, {key}: {fast[name].get(key)} is not {django[name].get(key)}"
        for name in fast
        for key in keys
        if fast[name].get(key) != django[name].get(key)
    ]


def test_clients_get_the_same_answers(both: tuple[Seen, Seen]) -> None:
    assert differences(both, "status", "headers", "body") == []


def test_as_much_of_each_body_is_read(both: tuple[Seen, Seen]) -> None:
    assert differences(both, "left of the body") == []


def test_the_log_has_the_same_records_of_access_and_of_all_else(both: tuple[Seen, Seen]) -> None:
    assert differences(both, "log") == []


def test_receivers_hear_of_the_same_predictions(both: tuple[Seen, Seen], request: Any) -> None:
    assert differences(both, "predictions") == []
    _, variables = VARIANTS[request.node.callspec.params["both"]]
    fast, _ = both
    for path in (SINGLE, BATCH, INFER):
        heard = fast["answers"][f"{path} good"]["predictions"]
        assert bool(heard) is ("RECORDS_PREDICTIONS" in variables)
    assert not fast["answers"]["overloaded"]["predictions"]


def test_there_are_the_same_spans(both: tuple[Seen, Seen]) -> None:
    assert differences(both, "spans") == []


def test_the_metrics_count_the_same(both: tuple[Seen, Seen]) -> None:
    fast, django = both
    assert fast["metrics"] == django["metrics"]
    assert differences(both, "metrics") == []


def test_predictions_are_answered_without_django(both: tuple[Seen, Seen], request: Any) -> None:
    fast, django = (seen["answers"] for seen in both)
    requests = {each.name: each for each in corpus()}
    _, variables = VARIANTS[request.node.callspec.params["both"]]
    tells_origins = "MODELHOST_CORS_ORIGINS" in variables
    hosts = {f"{path} at {host!r}" for path in ROUTES for host in HOSTS}
    for name, each in requests.items():
        is_lane = each.method == "POST" and each.path in (SINGLE, BATCH, INFER)
        is_of_page = tells_origins and "HTTP_ORIGIN" in each.more
        if is_lane and name not in hosts:
            assert fast[name]["asked django"] == is_of_page, name
        assert django[name]["asked django"] == 1


def test_the_corpus_has_answers_of_every_kind(both: tuple[Seen, Seen]) -> None:
    fast, _ = both
    statuses = Counter(
        each["status"].partition(" ")[0] for each in fast["answers"].values() if "status" in each
    )
    assert set(statuses) == {
        *("200", "204", "400", "404", "405", "409", "411", "413", "415", "422", "429", "500"),
        *("503", "504"),
    }
    failed = {
        name.partition(" ")[0]
        for name, each in fast["answers"].items()
        if each.get("status", "").startswith("500")
    }
    refusing = {"refusing", "refusing_batch", "quiet"}  # by what has no status
    models = {"batching", "short", "columns", "version", "sharing"}
    assert failed == {"does", "failing"} | models | refusing
    names = [each.name for each in corpus()]
    assert len(names) == len(set(names)) > 900


@pytest.mark.parametrize("name", ["模型 1", ODD])
def test_models_of_any_name_are_answered_without_django(both: tuple[Seen, Seen], name: str) -> None:
    fast, _ = (seen["answers"] for seen in both)
    for end in ("", ", rows", ", inferred"):
        seen = fast[f"named {name}{end}"]
        assert (seen["status"], seen["asked django"]) == ("200 OK", 0)


@pytest.mark.parametrize("version", VERSIONS)
def test_versions_are_answered_without_django_and_say_which_they_are(
    both: tuple[Seen, Seen], version: str
) -> None:
    fast, _ = (seen["answers"] for seen in both)
    for end, status in (("", 200), (", rows", 200), (", wrong", 400), (", failing", 500)):
        seen = fast[f"version {version}{end}"]
        assert (seen["status"][:3], seen["asked django"]) == (str(status), 0)
        assert unquote(dict(seen["headers"])["X-Model-Version"]) == version
    for name in ("version none", f"version {version}, other method"):
        assert "X-Model-Version" not in dict(fast[name]["headers"])


@pytest.mark.parametrize("model", SHARED)
def test_requests_that_versions_share_are_answered_without_django(
    both: tuple[Seen, Seen], model: str
) -> None:
    fast, _ = (seen["answers"] for seen in both)
    name = f"sharing {model}"
    for end, status in (("", "200"), (" among rows", "200")):
        seen = fast[f"{name}, good{end}"]
        assert (seen["status"][:3], seen["asked django"]) == (status, 0)
        told = unquote(dict(seen["headers"])["X-Model-Version"])
        assert set(told.split(", ")) <= {"1", "2"}
    assert fast[f"{name}, failing"]["status"].startswith("500")


def test_copies_for_a_shadow_are_counted_both_ways(both: tuple[Seen, Seen]) -> None:
    for seen in both:
        counted = {
            line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
            for line in seen["metrics"]
            if line.startswith("model_shadow_copies_total")
        }
        found = [f'model="{model}",result="{result}"' for model, result in COPIES]
        assert not counted or all(
            sum(number for name, number in counted.items() if each in name) > 5 for each in found
        )


@pytest.mark.parametrize("path", GOOD)
def test_good_requests_are_answered(both: tuple[Seen, Seen], path: str) -> None:
    for seen in both:
        assert seen["answers"][f"{path} good"]["status"] == "200 OK"


def test_what_a_variant_asks_for_is_there(both: tuple[Seen, Seen], request: Any) -> None:
    fast, _ = both
    sections, variables = VARIANTS[request.node.callspec.params["both"]]
    good = fast["answers"][f"{SINGLE} good"]
    assert bool(good["spans"]) is ("OTEL_TRACES_EXPORTER" in variables)
    assert bool(fast["metrics"]) is ("metrics" in sections)
    assert bool(good["log"]) is ("MODELHOST_ACCESS_LOG" not in variables)
    in_progress = [
        line for line in fast["answers"]["metrics meanwhile"]["metrics"] if "inprogress" in line
    ]
    assert any(line.endswith(" 1.0") for line in in_progress) is ("metrics" in sections)


POLICIES = {
    "authentication": "DEFAULT_AUTHENTICATION_CLASSES': ['rest_framework.authentication.Basic"
    "Authentication']",
    "permission": "DEFAULT_PERMISSION_CLASSES': ['rest_framework.permissions.IsAuthenticated']",
    "throttle": "DEFAULT_THROTTLE_CLASSES': ['rest_framework.throttling.AnonRateThrottle'],"
    " 'DEFAULT_THROTTLE_RATES': {'anon': '1/day'}",
    "none": "DEFAULT_PERMISSION_CLASSES': ['rest_framework.permissions.AllowAny']",
}
PROGRAM = """
import time
from modelhost.wsgi import application
from models_api.apps import current_service
from tests.modelhost.corpus import SINGLE, asked

while not current_service().registry.has_started:
    time.sleep(0.01)
asks_django = []
django = application._django
application._django = lambda *given: asks_django.append(given) or django(*given)
statuses = []
for _ in range(2):
    application(asked("", SINGLE).environ(), lambda status, headers: statuses.append(status[:3]))
print(*statuses, len(asks_django))
"""


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ("authentication", "200 200 2"),
        ("permission", "403 403 2"),
        ("throttle", "200 429 2"),
        ("none", "200 200 0"),
    ],
)
def test_predictions_under_policies_of_the_project_are_djangos(
    tmp_path: Path, policy: str, said: str
) -> None:
    (tmp_path / "own_settings.py").write_text(
        "from modelhost.settings import *\n"
        f"REST_FRAMEWORK = {{**REST_FRAMEWORK, '{POLICIES[policy]}}}\n"
    )
    path = tmp_path / "rest_config.yaml"
    path.write_text(yaml.safe_dump(CONFIGURATION), encoding="utf-8")
    variables = {"DJANGO_SETTINGS_MODULE": "own_settings", "REST_CONFIG": str(path)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=REPOSITORY,
        env={**os.environ, **variables, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.stdout == f"{said}\n", done.stderr[-3000:]


class Refuses(PredictionView):
    def get_permissions(self) -> list[Any]:
        return [IsAuthenticated()]


class Subclass(BatchPredictionView):
    """Does what nobody knows here."""


@pytest.mark.parametrize(
    ("view", "given", "has_lane"),
    [
        (PredictionView, {}, True),
        (BatchPredictionView, {}, True),
        (PredictionView, {"permission_classes": [AllowAny]}, True),
        (PredictionView, {"permission_classes": [IsAuthenticated]}, False),
        (PredictionView, {"permission_classes": [ModelPermission]}, False),
        (BatchPredictionView, {"authentication_classes": [BasicAuthentication]}, False),
        (BatchPredictionView, {"throttle_classes": [ModelRateThrottle]}, False),
        (Refuses, {}, False),
        (Subclass, {}, False),
    ],
)
def test_only_our_own_views_without_policies_have_a_lane(
    view: Any, given: Any, has_lane: bool
) -> None:
    urlconf: Any = ModuleType("urlconf")
    made = view.as_view(registry=ModelRegistry([]), qualified_name="doubling", **given)
    urlconf.urlpatterns = [LiteralRoutes([literal_path("here", made, name="here")])]
    with override_settings(ROOT_URLCONF=urlconf):
        assert ("/here" in _find_lanes()) is has_lane


def test_answers_are_compressed_where_that_is_asked_for(
    both: tuple[Seen, Seen], request: Any
) -> None:
    _, variables = VARIANTS[request.node.callspec.params["both"]]
    for seen in both:
        encodings = {
            value
            for each in seen["answers"].values()
            for name, value in each.get("headers", [])
            if name == "Content-Encoding"
        }
        assert encodings == ({"gzip"} if "MODELHOST_COMPRESS_MIN_BYTES" in variables else set())


def test_pages_of_other_origins_are_told_whether_they_may_read(
    both: tuple[Seen, Seen], request: Any
) -> None:
    _, variables = VARIANTS[request.node.callspec.params["both"]]
    allowed = variables.get("MODELHOST_CORS_ORIGINS", "")
    for seen in both:
        for end in ("an allowed origin", "another origin", "a query"):
            headers = dict(seen["answers"][f"{SINGLE} with {end}"]["headers"])
            told = headers.get("access-control-allow-origin")
            named = end == "an allowed origin" and allowed and allowed != "*"
            asked = "origin" in end
            assert told == (
                "https://a.example" if named else "*" if allowed == "*" and asked else None
            )
            assert ("origin" in headers.get("Vary", "")) is bool(allowed)
