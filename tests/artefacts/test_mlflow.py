"""Versions of registered models, from MLflow's own server."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from models_api.artefacts.cache import ArtefactCache
from models_api.artefacts.revisions import revision
from models_api.artefacts.source import Temporary
from models_api.exceptions import ArtefactError
from tests.artefacts.servers import (
    NEEDS_PROGRAMS,
    PROGRAMS,
    ObjectServer,
    TrackingServer,
    object_server,
    tracking_server,
    use_server,
)

# MLflow takes its time to start on a busy machine.
pytestmark = [
    NEEDS_PROGRAMS,
    pytest.mark.long,
    pytest.mark.measured,
    pytest.mark.timeout(300),
]

LOGS_A_MODEL = """
import mlflow
from sklearn.linear_model import LinearRegression
mlflow.sklearn.log_model(
    LinearRegression().fit([[0], [1]], [0, 2]), name="model", registered_model_name="logged",
    pip_requirements=["scikit-learn"],
)
"""


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrackingServer]:
    with tracking_server(tmp_path_factory.mktemp("mlflow")) as server:
        yield server


@pytest.fixture
def server(shared_server: TrackingServer, monkeypatch: pytest.MonkeyPatch) -> TrackingServer:
    use_server(shared_server.environment, monkeypatch)
    return shared_server


def test_what_mlflow_logs_comes_whole_by_version_and_alias(
    server: TrackingServer, cache: ArtefactCache, tmp_path: Path
) -> None:
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), **server.environment}
    subprocess.run(
        [PROGRAMS / "python", "-c", LOGS_A_MODEL], env=environment, cwd=tmp_path, check=True
    )
    server.alias("logged", "champion", "1")
    found = cache.fetch("mlflow:models:/logged@champion")
    described = yaml.safe_load((found.path / "MLmodel").read_bytes())
    assert (found.path / described["flavors"]["sklearn"]["pickled_model"]).stat().st_size
    assert (found.path / "requirements.txt").exists()
    assert cache.fetch("mlflow:models:/logged/1").path == found.path


def test_an_alias_that_moves_is_another_revision(
    server: TrackingServer, cache: ArtefactCache
) -> None:
    for number in ("1", "2"):
        content = number.encode()
        files = {"MLmodel": content, "data/ö/weights.bin": content * 10_000}
        assert server.log("Rent model", files) == number
    address = "mlflow:models:/Rent model@champion"
    server.alias("Rent model", "champion", "1")
    first = cache.fetch(address)
    assert first.revision.startswith("1 of ")
    assert first.path.name == "Rent model"
    assert (first.path / "data/ö/weights.bin").read_bytes() == b"1" * 10_000
    assert revision(address) == first.revision
    server.alias("Rent model", "champion", "2")
    assert revision(address) != first.revision
    second = cache.fetch(address)
    assert (second.path / "MLmodel").read_bytes() == b"2"
    assert (first.path / "MLmodel").read_bytes() == b"1"
    assert cache.fetch("mlflow:models:/Rent model/1").path == first.path


@pytest.mark.parametrize(
    "address",
    [
        "mlflow:models:/nobody@champion",
        "mlflow:models:/nobody/1",
        "mlflow:models:/known@nothing",
        "mlflow:models:/known/7",
    ],
)
def test_an_unknown_model_version_or_alias_is_named(
    server: TrackingServer, cache: ArtefactCache, address: str
) -> None:
    server.register("known", "s3://models/known")
    with pytest.raises(ArtefactError, match=f"does not give {address}: .*not found") as raised:
        cache.fetch(address)
    assert "aliases" in raised.value.hint


def test_a_version_without_files_is_none(server: TrackingServer, cache: ArtefactCache) -> None:
    number = server.log("empty", {})
    with pytest.raises(ArtefactError, match=f"there is nothing at mlflow:models:/empty/{number}"):
        cache.fetch(f"mlflow:models:/empty/{number}")


def test_files_that_only_the_server_has_are_not_looked_for(
    server: TrackingServer, cache: ArtefactCache
) -> None:
    number = server.register("elsewhere", "dbfs:/model")
    with pytest.raises(ArtefactError, match="where only MLflow's server is: dbfs") as raised:
        cache.fetch(f"mlflow:models:/elsewhere/{number}")
    assert "--serve-artifacts" in raised.value.hint


def test_files_in_a_bucket_are_read_from_there(
    server: TrackingServer,
    cache: ArtefactCache,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with object_server(tmp_path) as store:
        _use(store, monkeypatch)
        store.put("runs/7/MLmodel", b"in a bucket")
        number = server.register("bucket", "s3://models/runs/7")
        found = cache.fetch(f"mlflow:models:/bucket/{number}")
    assert (found.path / "MLmodel").read_bytes() == b"in a bucket"


def _use(store: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in store.environment.items():
        monkeypatch.setenv(name, value)


def test_the_variable_that_says_where_mlflow_is_may_be_missing_or_wrong(
    server: TrackingServer, cache: ArtefactCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{server.url}/api")
    with pytest.raises(ArtefactError, match=r"does not give|no server of MLflow"):
        cache.fetch("mlflow:models:/known/1")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:passw0rd@127.0.0.1:1")
    with pytest.raises(Temporary, match="refused") as raised:
        cache.fetch("mlflow:models:/known/1")
    assert "passw0rd" not in str(raised.value)
    for value, what in [("sqlite:///mlflow.db", "is no URL of a server"), ("", "is not set")]:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", value)
        with pytest.raises(ArtefactError, match=f"MLFLOW_TRACKING_URI {what}"):
            cache.fetch("mlflow:models:/known/1")
