"""Importing the WSGI application, as a server does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
MODEL = "models: [{class_path: tests.fakes.misbehaving.%s}]"

# Waits for what the import began, and says what came of it.
PROGRAM = """
import sys
from modelhost.wsgi import application
from django.apps import apps
registry = apps.get_app_config("models_api").registry
while not registry.has_started:
    pass
print(type(application).__name__, registry.is_ready, registry.has_failed)
"""


def run(
    tmp_path: Path, configuration: str, program: str = PROGRAM, **variables: str
) -> subprocess.CompletedProcess[str]:
    path = tmp_path / "rest_config.yaml"
    path.write_text(configuration)
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("MODELHOST_")
    }
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=REPOSITORY,
        env={**environment, "REST_CONFIG": str(path), **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("model", "state"), [("ObedientModel", "True False"), ("BrokenModel", "False True")]
)
def test_importing_it_loads_the_models(tmp_path: Path, model: str, state: str) -> None:
    done = run(tmp_path, MODEL % model)
    assert (done.returncode, done.stdout) == (0, f"FastLane {state}\n"), done.stderr


@pytest.mark.parametrize(
    "settings",
    [
        "SECURE_SSL_REDIRECT = True",
        "SECURE_HSTS_SECONDS = 60",
        "USE_X_FORWARDED_HOST = True",
        "DATABASES['default']['ATOMIC_REQUESTS'] = True",
        "MIDDLEWARE = ['own_settings.own', *MIDDLEWARE]",
    ],
)
def test_django_answers_predictions_where_its_settings_ask_for_more(
    tmp_path: Path, settings: str
) -> None:
    (tmp_path / "own_settings.py").write_text(
        "from modelhost.settings import *\n"
        "def own(get_response):\n    return get_response\n"
        f"{settings}\n"
    )
    variables = {"DJANGO_SETTINGS_MODULE": "own_settings", "PYTHONPATH": str(tmp_path)}
    program = "from modelhost.wsgi import application; print(type(application).__name__)"
    done = run(tmp_path, MODEL % "ObedientModel", program, **variables)
    assert (done.returncode, done.stdout) == (0, "ServiceHandler\n"), done.stderr


def test_what_is_loaded_is_left_out_of_garbage_collection(tmp_path: Path) -> None:
    program = """
import gc
frozen = gc.get_freeze_count()  # some are from the start, in Python 3.12
from modelhost.wsgi import application
while gc.get_freeze_count() == frozen:
    pass
print(gc.is_tracked(application), any(each is application for each in gc.get_objects()))
"""
    done = run(tmp_path, MODEL % "ObedientModel", program)
    assert (done.returncode, done.stdout) == (0, "True False\n"), done.stderr


def test_it_does_not_wait_for_the_models(tmp_path: Path) -> None:
    program = "from modelhost.wsgi import application; print('imported')"
    done = run(tmp_path, MODEL % "SlowModel", program)
    assert (done.returncode, done.stdout) == (0, "imported\n"), done.stderr


def test_a_broken_configuration_is_explained_and_ends_the_server(tmp_path: Path) -> None:
    done = run(tmp_path, "service_titel: typo\nmodels: [{class_path: nowhere.Model}]")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("The configuration has 2 problems:\n\n")
    assert "rest_config.yaml:1: service_titel: unknown key" in done.stderr
    assert "rest_config.yaml:2: models[0].class_path: " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_variable_that_cannot_be_meant_is_explained_and_ends_the_server(tmp_path: Path) -> None:
    done = run(tmp_path, MODEL % "ObedientModel", MODELHOST_DEBUG="perhaps")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "MODELHOST_DEBUG is 'perhaps'; write 1 or 0.\n"


def test_another_settings_module_may_be_named(tmp_path: Path) -> None:
    (tmp_path / "own_settings.py").write_text("from modelhost.settings import *\nMINE = 'mine'\n")
    program = "import modelhost.wsgi; from django.conf import settings; print(settings.MINE)"
    variables = {"DJANGO_SETTINGS_MODULE": "own_settings", "PYTHONPATH": str(tmp_path)}
    done = run(tmp_path, MODEL % "ObedientModel", program, **variables)
    assert (done.returncode, done.stdout) == (0, "mine\n"), done.stderr
