"""The script behind `make audit`."""

import importlib.util
from typing import Any

import pytest

from tests.end_to_end.server import REPOSITORY


@pytest.fixture(scope="module")
def audit() -> Any:
    specification = importlib.util.spec_from_file_location("audit", REPOSITORY / ".ci/audit.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def package(name: str, *ids: str, mended: tuple[str, ...] = ()) -> dict[str, Any]:
    vulnerabilities = [{"id": id_, "fix_versions": list(mended)} for id_ in ids]
    return {"name": name, "version": "1.0", "vulns": vulnerabilities}


def test_users_install_what_the_service_requires_and_no_tools(audit: Any) -> None:
    shipped = audit.shipped()
    assert {"modelhost", "django", "ml-base", "granian", "pydantic-core", "sqlparse"} <= shipped
    assert not {"pytest", "mypy", "ruff", "pip-audit"} & shipped


def test_a_vulnerability_that_users_would_install_fails(
    audit: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    known = [package("Django", "CVE-1", mended=("1.1", "2.0")), package("pytest")]
    assert audit.report(known, {"django"}) == 1
    assert capsys.readouterr().out == (
        "USERS: Django 1.0: CVE-1, mended in 1.1, 2.0\n"
        "2 packages audited, 1 of which users may install.\n"
    )


def test_a_vulnerability_of_a_tool_is_shown_only(
    audit: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert audit.report([package("pytest", "CVE-2")], {"django"}) == 0
    assert capsys.readouterr().out == (
        "tools: pytest 1.0: CVE-2, mended in no version yet\n"
        "1 packages audited, 0 of which users may install.\n"
    )
