"""The settings, and the environment variables that change them."""

from __future__ import annotations

import logging
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpResponse
from django.middleware.security import SecurityMiddleware
from django.test import Client, RequestFactory, override_settings

from modelhost import settings as settings_module
from models_api.observability import access_log

REPOSITORY = Path(__file__).parents[2]
PRODUCTION = {
    "MODELHOST_SECRET_KEY": "k" * 40 + "0123456789",
    "MODELHOST_ALLOWED_HOSTS": "models.example",
    "MODELHOST_SSL_REDIRECT": "1",
    "MODELHOST_HSTS_SECONDS": "31536000",
    "MODELHOST_HSTS_SUBDOMAINS": "1",
}


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes the settings anew, in an environment with these variables only."""

    def load(**variables: str) -> dict[str, Any]:
        for name in list(os.environ):
            if name.startswith("MODELHOST_"):
                monkeypatch.delenv(name)
        for name, value in variables.items():
            monkeypatch.setenv(f"MODELHOST_{name}", value)
        return runpy.run_path(settings_module.__file__)

    return load


def test_without_any_variable_the_settings_are_safe(load: Any) -> None:
    settings = load()
    assert settings["DEBUG"] is False
    assert settings["ALLOWED_HOSTS"] == ["localhost", "127.0.0.1", "[::1]"]
    assert settings["DATA_UPLOAD_MAX_MEMORY_SIZE"] == 10 * 1024 * 1024
    assert settings["SECURE_SSL_REDIRECT"] is False
    assert settings["SECURE_HSTS_SECONDS"] == 0
    assert settings["SECURE_HSTS_INCLUDE_SUBDOMAINS"] is False
    assert "SECURE_PROXY_SSL_HEADER" not in settings
    assert settings["X_FRAME_OPTIONS"] == "DENY"
    assert settings["LOGGING"]["root"]["level"] == "INFO"
    assert settings["MODELS_API_ACCESS_LOG"] is True


def test_the_lines_of_the_access_log_are_written_together(load: Any) -> None:
    assert load()["LOGGING"]["handlers"]["console"]["held_logger"] == access_log.LOGGER


def test_a_secret_key_is_made_anew_at_each_start(load: Any) -> None:
    keys = {load()["SECRET_KEY"] for _ in range(3)}
    assert len(keys) == 3
    assert all(len(key) >= 50 for key in keys)
    assert len(load(SECRET_KEY="")["SECRET_KEY"]) >= 50


@pytest.mark.parametrize(
    ("arguments", "variables", "shown"),
    [
        (["manage.py", "runserver"], {}, True),
        (["modelhost", "runserver", "8001"], {}, True),
        (["modelhost", "runserver"], {"SHOW_REASONS": "0"}, False),
        (["modelhost", "serve"], {}, False),
        (["gunicorn", "modelhost.wsgi"], {}, False),
        (["modelhost", "serve"], {"SHOW_REASONS": "1"}, True),
        (["modelhost", "serve"], {"DEBUG": "1"}, True),
    ],
)
def test_reasons_are_for_the_development_server(
    load: Any,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    variables: dict[str, str],
    shown: bool,
) -> None:
    monkeypatch.setattr(sys, "argv", arguments)
    assert load(**variables)["MODELS_API_SHOW_REASONS"] is shown


@pytest.mark.parametrize(
    ("variable", "value", "setting", "meaning"),
    [
        ("SECRET_KEY", "key", "SECRET_KEY", "key"),
        ("DEBUG", "1", "DEBUG", True),
        ("ACCESS_LOG", "0", "MODELS_API_ACCESS_LOG", False),
        ("ALLOWED_HOSTS", "a.example, .b.example,", "ALLOWED_HOSTS", ["a.example", ".b.example"]),
        ("ALLOWED_HOSTS", "*", "ALLOWED_HOSTS", ["*"]),
        ("MAX_BODY_BYTES", "1000", "DATA_UPLOAD_MAX_MEMORY_SIZE", 1000),
        ("MAX_JSON_VALUES", "100", "MODELS_API_MAX_JSON_VALUES", 100),
        ("MAX_JSON_VALUES", "0", "MODELS_API_MAX_JSON_VALUES", None),
        ("MAX_BATCH_ROWS", "7", "MODELS_API_MAX_BATCH_ROWS", 7),
        ("SSL_REDIRECT", "true", "SECURE_SSL_REDIRECT", True),
        ("PATH_PREFIX", "/ml/", "MODELHOST_PATH_PREFIX", "/ml"),
        ("TRUST_PROXY_PREFIX", "1", "MODELHOST_TRUST_PROXY_PREFIX", True),
        ("COMPRESS_MIN_BYTES", "1000", "MODELHOST_COMPRESS_MIN_BYTES", 1000),
        ("CORS_ORIGINS", "*", "CORS_ALLOW_ALL_ORIGINS", True),
        (
            *("CORS_ORIGINS", "https://A.example:443, http://b_c:80,http://[::1]:8080"),
            *("CORS_ALLOWED_ORIGINS", ["https://a.example", "http://b_c", "http://[::1]:8080"]),
        ),
        ("HSTS_SECONDS", "60", "SECURE_HSTS_SECONDS", 60),
        ("HSTS_SUBDOMAINS", "yes", "SECURE_HSTS_INCLUDE_SUBDOMAINS", True),
        ("HSTS_SUBDOMAINS", "yes", "SECURE_HSTS_PRELOAD", True),
        (
            "TRUST_PROXY_TLS",
            "on",
            "SECURE_PROXY_SSL_HEADER",
            ("HTTP_X_FORWARDED_PROTO", "https"),
        ),
    ],
)
def test_a_variable_changes_its_setting(
    load: Any, variable: str, value: str, setting: str, meaning: Any
) -> None:
    assert load(**{variable: value})[setting] == meaning


def test_the_level_of_the_log_can_be_written_in_any_case(load: Any) -> None:
    assert load(LOG_LEVEL="debug")["LOGGING"]["root"]["level"] == "DEBUG"


@pytest.mark.parametrize(("given", "formatter"), [("", "text"), ("text", "text"), ("JSON", "json")])
def test_the_log_is_for_people_or_for_programs(load: Any, given: str, formatter: str) -> None:
    assert load(LOG_FORMAT=given)["LOGGING"]["handlers"]["console"]["formatter"] == formatter


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        *(
            (name, "perhaps", f"MODELHOST_{name} is 'perhaps'; write 1 or 0.")
            for name in (
                "DEBUG",
                "ACCESS_LOG",
                "SSL_REDIRECT",
                "HSTS_SUBDOMAINS",
                "TRUST_PROXY_TLS",
            )
        ),
        *(
            (name, "10MB", f"MODELHOST_{name} is '10MB'; write a whole number.")
            for name in ("MAX_BODY_BYTES", "MAX_JSON_VALUES", "MAX_BATCH_ROWS", "HSTS_SECONDS")
        ),
        ("LOG_FORMAT", "xml", "MODELHOST_LOG_FORMAT is 'xml'; write text or json."),
        ("LOG_LEVEL", "LOUD", "MODELHOST_LOG_LEVEL is 'LOUD'; write one of "),
    ],
)
def test_a_variable_that_cannot_be_meant_is_an_error(
    load: Any, variable: str, value: str, message: str
) -> None:
    with pytest.raises(ImproperlyConfigured, match=f"^{re.escape(message)}"):
        load(**{variable: value})


@pytest.fixture(scope="module")
def configuration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("settings") / "rest_config.yaml"
    path.write_text("models: [{class_path: tests.fakes.misbehaving.ObedientModel}]")
    return path


def check(
    configuration: Path, *arguments: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("MODELHOST_")
    }
    return subprocess.run(
        [sys.executable, "manage.py", "check", "--fail-level", "WARNING", *arguments],
        cwd=REPOSITORY,
        env={**environment, "REST_CONFIG": str(configuration), **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_production_settings_pass_djangos_deployment_check(configuration: Path) -> None:
    done = check(configuration, "--deploy", **PRODUCTION)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "System check identified no issues (1 silenced).\n"


def test_the_deployment_check_says_what_production_lacks(configuration: Path) -> None:
    done = check(configuration, "--deploy", MODELHOST_DEBUG="1", MODELHOST_SECRET_KEY="short")
    assert done.returncode == 1
    for id_ in ("security.W004", "security.W008", "security.W009", "security.W018"):
        assert f"({id_})" in done.stderr


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/health", 200),
        ("/api/health/ready", 200),
        ("/api/health/startup", 200),
        ("/v2/health/live", 200),
        ("/v2/health/ready", 200),
        ("/metrics", 200),
        ("/ml/api/health/ready", 200),
        ("/ml/here/v2/health/live", 200),
        ("/ml/metrics", 200),
        ("/api/models", 301),
        ("/docs", 301),
        ("/ml/api/models", 301),
        ("/api/models/health/metadata", 301),
        ("/ml/v2/models/metrics", 301),
        ("/v2/models/metrics/versions/metrics", 301),
    ],
)
def test_only_orchestrators_may_ask_without_tls_where_there_is_tls(path: str, status: int) -> None:
    with override_settings(SECURE_SSL_REDIRECT=True):
        middleware = SecurityMiddleware(lambda _request: HttpResponse())
        response = middleware(RequestFactory().get(path))
    assert isinstance(response, HttpResponse)
    assert response.status_code == status


def test_the_redirect_to_tls_has_the_headers_of_every_answer(load: Any) -> None:
    names = ("ALLOWED_HOSTS", "MIDDLEWARE", "SECURE_HSTS_SECONDS", "SECURE_SSL_REDIRECT")
    settings = load(ALLOWED_HOSTS="models.example", SSL_REDIRECT="1", HSTS_SECONDS="60")
    with override_settings(**{name: settings[name] for name in names}):
        redirected = Client().get("/api/models", headers={"Host": "models.example"})
        refused = Client().get("/api/models", headers={"Host": "evil.example"})
        secure = Client().get("/api/models", headers={"Host": "models.example"}, secure=True)
    assert (redirected.status_code, redirected["Location"]) == (
        301,
        "https://models.example/api/models",
    )
    assert (refused.status_code, secure.status_code) == (400, 200)
    for response in (redirected, refused, secure):
        assert response["X-Frame-Options"] == "DENY"
        assert response["X-Content-Type-Options"] == "nosniff"
        assert response["Content-Length"] == str(len(response.content))
    assert secure["Strict-Transport-Security"] == "max-age=60"


def test_only_errors_with_a_traceback_of_djangos_own_are_logged() -> None:
    logger = logging.getLogger("django.request")
    plain = logger.makeRecord("n", logging.ERROR, "f", 1, "Service Unavailable", (), None)
    error = RuntimeError()
    info = (RuntimeError, error, None)
    traceback = logger.makeRecord("n", logging.ERROR, "f", 1, "Failed", (), info)
    assert not logger.filter(plain)
    assert logger.filter(traceback)
    assert not logger.isEnabledFor(logging.WARNING)


@pytest.mark.parametrize(
    "origin",
    [
        *("a.example", "https://", "https://a.example/", "https://a.example/x", "null"),
        *("https://*.example", "https://a b", "https://a@b", "//a.example", "https://a:x"),
    ],
)
def test_an_origin_that_no_browser_sends_is_refused(load: Any, origin: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"MODELHOST_CORS_ORIGINS has .*; write origins"):
        load(CORS_ORIGINS=f"https://good.example,{origin}")


def test_without_any_variable_no_other_origin_is_told_anything_and_nothing_compressed(
    load: Any,
) -> None:
    names = " ".join(load()["MIDDLEWARE"])
    assert "cors" not in names
    assert "compression" not in names
