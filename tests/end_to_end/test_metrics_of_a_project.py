"""The metrics of a project that hosts the app: closed, unless it says to whom they are shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.end_to_end.test_embedding import ADA, MALLORY, Database, database, django, serve

__all__ = ["database"]

pytestmark = pytest.mark.long

MEASURED = "metrics: {enabled: true}\nmodels:\n  - class_path: host.hosted.DoublingModel\n"


@pytest.fixture
def measured(tmp_path: Path) -> str:
    path = tmp_path / "measured.yaml"
    path.write_text(MEASURED, encoding="utf-8")
    return str(path)


def test_nobody_sees_the_metrics_of_a_project_that_says_nothing(
    database: Database, measured: str
) -> None:
    with serve(database, REST_CONFIG=measured) as server:
        for auth in (None, ADA):
            assert server.client.get("/ml/metrics", auth=auth).status_code == 404
    checked = django("check", REST_CONFIG=measured)
    assert checked.returncode == 0
    assert "(models_api.W003) The YAML file asks for metrics, and the setting" in checked.stderr


def test_those_see_them_who_have_the_permissions(database: Database, measured: str) -> None:
    permissions = "rest_framework.permissions.IsAuthenticated host.policies.IsNotMallory"
    with serve(database, REST_CONFIG=measured, HOST_METRICS=permissions) as server:
        assert server.client.get("/ml/metrics").status_code == 401
        assert server.client.get("/ml/metrics", auth=MALLORY).status_code == 403
        shown = server.client.get("/ml/metrics", auth=ADA)
        assert (shown.status_code, "model_ready{" in shown.text) == (200, True)
