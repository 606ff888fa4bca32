"""What the documentation shows of a Django project's own code is run in such a project."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.server import REPOSITORY
from tests.test_docs import blocks

PAGE = REPOSITORY / "docs" / "models-in-your-code.md"
EMBEDDING = REPOSITORY / "docs" / "embedding-in-django.md"
SETTINGS = """
SECRET_KEY = "of no use to anybody"
ROOT_URLCONF = "shop_urls"
INSTALLED_APPS = ["rest_framework", "models_api"]
REST_FRAMEWORK = {"UNAUTHENTICATED_USER": None}
REST_CONFIG = "rest_config.yaml"
"""
URLS = """
from django.urls import include, path

urlpatterns = [path("ml/", include("models_api.urls"))]
"""
DOCTEST = """
import django, doctest, sys

django.setup()
import flowers

names = {**vars(flowers)}
test = doctest.DocTestParser().get_doctest(open("shown.txt").read(), names, "page", None, 0)
runner = doctest.DocTestRunner()
sys.exit(runner.run(test).failed)
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A project with the files that the pages show."""
    files = {
        "shop_settings.py": SETTINGS,
        "shop_urls.py": URLS,
        "rest_config.yaml": "models: [{class_path: examples.iris.IrisModel}]\n",
        "shown.txt": "".join([block.text for block in blocks(PAGE, "pycon")]),
    }
    files |= {
        block.file: block.text for page in (EMBEDDING, PAGE) for block in blocks(page, "python")
    }
    for name, text in files.items():
        if name and not name.startswith("shop/"):
            (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def run(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={
            **{name: value for name, value in os.environ.items() if name != "REST_CONFIG"},
            "DJANGO_SETTINGS_MODULE": "shop_settings",
            "PYTHONPATH": f"{folder}{os.pathsep}{REPOSITORY}",
        },
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.long
def test_the_code_shown_predicts_and_says_what_is_wrong(shop: Path) -> None:
    run(shop, "-c", DOCTEST)


@pytest.mark.long
def test_the_tests_shown_pass(shop: Path) -> None:
    shown = run(shop, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_flowers.py")
    assert "3 passed" in shown


@pytest.mark.long
def test_the_receiver_shown_hears_of_a_prediction(shop: Path) -> None:
    program = (
        "import django; django.setup(); import receivers; from models_api import get_model; "
        "get_model('iris').predict({'sepal_length': 5.1, 'sepal_width': 3.5, "
        "'petal_length': 1.4, 'petal_width': 0.2})"
    )
    shown = run(shop, "-c", program)
    assert shown.startswith("iris 1.0.0: {'sepal_length': 5.1, ")
    assert "-> {'species': 'setosa', " in shown
