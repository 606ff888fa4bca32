"""The service, made once from a file and the settings."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models_api.conf import ServiceSettings, service_settings
from models_api.configuration.file import ConfigurationFile
from models_api.configuration.sections import ServiceConfiguration
from models_api.exceptions import ModelNotReady, Overloaded
from models_api.hosting.hosted_model import LoadState
from models_api.observability.access_log import AccessLog
from models_api.observability.prediction_metrics import ModelMeter
from models_api.observability.tracing import TracedInstruments
from models_api.prediction.instruments import Instruments
from models_api.service import ModelService

SETTINGS = ServiceSettings(
    maximum_batch_rows=7,
    maximum_values=700,
    maximum_concurrent_predictions=None,
    hung_prediction_seconds=None,
    writes_access_log=True,
    makes_traces=False,
)
MODELS = "models: [{class_path: tests.fakes.models.DoublingModel}]\n"
Build = Callable[..., ModelService]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Makes the service of a configuration."""

    def build(text: str = MODELS, **settings: Any) -> ModelService:
        path = tmp_path / "rest_config.yaml"
        path.write_text(text, encoding="utf-8")
        return ModelService.build(ConfigurationFile(path), SETTINGS._replace(**settings))

    return build


def test_a_service_has_the_models_of_its_file_and_loads_none(build: Build) -> None:
    before = set(threading.enumerate())
    service = build(f"service_title: Mine\n{MODELS}")
    assert service.configuration.service_title == "Mine"
    assert [model.qualified_name for model in service.registry] == ["doubling"]
    assert {model.state for model in service.registry} == {LoadState.NOT_LOADED}
    assert (service.error, service.metrics) == (None, None)
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize(
    "text",
    ["port: 80", "a: [", "", "models: [{class_path: nowhere.Model}]", "- a"],
)
def test_a_file_with_problems_makes_a_service_that_says_so(build: Build, text: str) -> None:
    service = build(text)
    assert service.error is not None
    assert service.configuration == ServiceConfiguration()
    assert (len(service.registry), service.metrics) == (0, None)
    assert (service.registry.is_ready, service.registry.is_healthy) == (False, False)
    assert not service.registry.has_started
    with pytest.raises(ModelNotReady, match="configuration of the models has problems"):
        service.registry.resolve("doubling")


def test_a_service_with_problems_logs_them_once_and_starts_no_loading(
    build: Build, caplog: pytest.LogCaptureFixture
) -> None:
    service = build("port: 80")
    for _ in range(3):
        service.registry.start_loading()
    heading, record = caplog.records
    assert heading.getMessage() == "No model is served. The configuration has 1 problem:"
    assert record.getMessage().endswith(': unknown key "port"\n    ' + vars(record)["hint"])
    fields = vars(record)
    assert (fields["problem"], fields["line"], fields["key"]) == ("models_api.E003", 1, "port")
    assert not service.registry.loader.has_begun


# Limits


@pytest.mark.parametrize(
    ("setting", "threads", "places"),
    [(None, None, None), (None, 64, 60), (None, 1, None), (7, None, 7), (7, 64, 7)],
)
def test_predictions_in_hand_are_bounded_by_the_setting_or_else_by_the_threads(
    build: Build, setting: int | None, threads: int | None, places: int | None
) -> None:
    service = build(maximum_concurrent_predictions=setting)
    if threads is not None:
        service.use_threads(threads)
    assert service.limiter.places == places


def test_all_models_share_the_places_and_the_limits(build: Build) -> None:
    service = build(
        "models:\n"
        "  - class_path: tests.fakes.models.DoublingModel\n"
        "  - class_path: tests.fakes.models.TreblingModel\n",
        maximum_concurrent_predictions=2,
    )
    service.registry.load()
    doubling, trebling = (model.predictor for model in service.registry)
    assert (doubling.maximum_rows, trebling.maximum_rows) == (7, 7)
    slots = [doubling._admission._limiter.acquire(), trebling._admission._limiter.acquire()]
    assert service.limiter.slots == set(slots)
    for predictor in (doubling, trebling):
        with pytest.raises(Overloaded):
            predictor.predict(b'{"value": 1}')
    for slot in slots:
        slot.release()
    assert doubling.predict(b'{"value": 1}') == b'{"value":2.0}'


def test_a_prediction_that_hangs_makes_the_service_unhealthy(build: Build) -> None:
    service = build()
    service.registry.load()
    assert (service.registry.is_healthy, service.registry.is_ready) == (True, True)
    service.limiter.is_hung = True
    assert (service.registry.is_healthy, service.registry.is_ready) == (False, False)


@pytest.mark.parametrize(("patience", "watches"), [(None, False), (1000.0, True)])
def test_predictions_are_watched_if_the_setting_says_how_long(
    build: Build, patience: float | None, watches: bool
) -> None:
    service = build(hung_prediction_seconds=patience)
    service.registry.load()
    (model,) = service.registry
    model.predictor.predict(b'{"value": 1}')
    watchdog = model.predictor._admission._watchdog
    assert (watchdog is not None and watchdog.is_watching) is watches


# Measuring and tracing

METRICS = f"{MODELS}metrics: {{enabled: true}}\n"


@pytest.mark.parametrize(
    ("text", "is_measured"),
    [
        (MODELS, False),
        (METRICS, True),
        (f"{MODELS}metrics: {{enabled: false}}\n", False),
        (f"{MODELS}metrics: {{enabled: true, should_respect_env_var: true}}\n", False),
    ],
)
def test_there_are_metrics_if_the_file_wants_them(
    build: Build, text: str, is_measured: bool
) -> None:
    assert (build(text).metrics is not None) is is_measured


@pytest.mark.parametrize(
    ("text", "makes_traces", "outer", "inner"),
    [
        (MODELS, False, Instruments, None),
        (METRICS, False, ModelMeter, None),
        (MODELS, True, TracedInstruments, Instruments),
        (METRICS, True, TracedInstruments, ModelMeter),
    ],
)
def test_each_model_has_the_instruments_that_are_wanted(
    build: Build, text: str, makes_traces: bool, outer: type, inner: type | None
) -> None:
    service = build(text, makes_traces=makes_traces)
    service.registry.load()
    (model,) = service.registry
    assert type(model.instruments) is outer
    assert model.predictor.instruments is model.instruments
    if isinstance(model.instruments, TracedInstruments):
        assert type(model.instruments._others) is inner


@pytest.mark.parametrize(
    ("text", "writes", "observers"), [(MODELS, False, 0), (MODELS, True, 1), (METRICS, True, 2)]
)
def test_requests_are_observed_by_those_who_are_wanted(
    build: Build, text: str, writes: bool, observers: int
) -> None:
    service = build(text, writes_access_log=writes)
    assert len(service.recorder._observers) == observers
    assert any(isinstance(each, AccessLog) for each in service.recorder._observers) is writes


def test_the_settings_are_those_of_the_project(settings: Any) -> None:
    settings.MODELS_API_MAX_BATCH_ROWS = 1
    settings.MODELS_API_MAX_JSON_VALUES = 6
    settings.MODELS_API_MAX_CONCURRENT_PREDICTIONS = 2
    settings.MODELS_API_HUNG_PREDICTION_SECONDS = 3
    settings.MODELS_API_ACCESS_LOG = False
    settings.MODELS_API_LOG_PROBES = True
    settings.MODELS_API_TRUSTED_PROXIES = ["10.0.0.1"]
    settings.MODELS_API_ARTEFACT_CACHE = "/srv/artefacts"
    folder = Path("/srv/artefacts")
    assert service_settings() == (1, 6, 2, 3, False, False, True, ("10.0.0.1",), folder)
    names = ("MAX_BATCH_ROWS", "MAX_JSON_VALUES", "MAX_CONCURRENT_PREDICTIONS", "ACCESS_LOG")
    others = ("LOG_PROBES", "TRUSTED_PROXIES", "HUNG_PREDICTION_SECONDS", "ARTEFACT_CACHE")
    for name in (*names, *others):
        delattr(settings, f"MODELS_API_{name}")
    assert service_settings() == (1000, 1_500_000, None, None, True, False, False, (), None)


@pytest.mark.parametrize("module", ["numpy", "prometheus_client", "opentelemetry"])
def test_nothing_is_imported_that_this_service_has_no_use_for(tmp_path: Path, module: str) -> None:
    path = tmp_path / "rest_config.yaml"
    path.write_text(MODELS, encoding="utf-8")
    program = f"""
import sys
from pathlib import Path
import django
django.setup()
from models_api.conf import service_settings
from models_api.configuration.file import ConfigurationFile
from models_api.service import ModelService
service = ModelService.build(ConfigurationFile(Path({str(path)!r})), service_settings())
service.registry.load()
print(service.registry.is_ready, "{module}" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[1],
        env={"DJANGO_SETTINGS_MODULE": "modelhost.settings", "REST_CONFIG": str(path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "True False\n", done.stderr
