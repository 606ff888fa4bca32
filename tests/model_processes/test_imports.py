"""What the processes of models import, which may run in an environment that has little."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.long

NEEDED = {
    *("ml_base", "pydantic", "pydantic_core"),
    *("annotated_types", "typing_extensions", "typing_inspection"),
}
"""What the environment of a model has: ml_base, and pydantic with what comes with it."""
SCRIPT = """
import importlib, sys, sysconfig
at_the_start = set(sys.modules)
installed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
for name in sys.argv[1:]:
    importlib.import_module(name)
found = {
    name.partition(".")[0]
    for name, module in list(sys.modules.items())
    if name not in at_the_start
    and any((getattr(module, "__file__", None) or "").startswith(each) for each in installed)
}
print(*sorted(found))
"""


def test_they_import_nothing_that_is_installed_but_what_models_need() -> None:
    modules = (
        "models_api.for_models",
        "models_api.hosting.survey",
        "models_api.model_processes.describe",
        "models_api.model_processes.supervisor",
        "models_api.log_records",
        "models_api.observability.log_handler",
    )
    command = [sys.executable, "-c", SCRIPT, *modules]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert set(found) <= NEEDED
