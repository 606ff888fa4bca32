"""Hosted models whose artefact is somewhere else, or beside a class."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from models_api.artefacts import downloads
from models_api.artefacts.cache import ArtefactCache
from models_api.artefacts.revisions import revision
from models_api.exceptions import ConfigurationError
from models_api.hosting.assembly import build_registry
from models_api.hosting.hosted_model import HostedModel, LoadState, Resources
from tests.artefacts.web_server import WebServer, running
from tests.in_process import InProcessService
from tests.runtimes.test_artefacts import configured, negation, regression

READING = "tests.fakes.artefacts.ReadingModel"


class Executed:
    """A pickle that says so when it is read."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path("executed"),)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    monkeypatch.setattr(downloads, "FIRST_PAUSE_SECONDS", 0.001)
    with running() as server:
        yield server


@pytest.fixture
def resources(tmp_path: Path) -> Resources:
    return Resources(artefacts=ArtefactCache(tmp_path / "cache"))


def anew(resources: Resources) -> Resources:
    return replace(Resources(), artefacts=resources.artefacts)


def described(folder: Path, resources: Resources, **entry: object) -> HostedModel:
    (model,) = build_registry(configured(folder, entry), resources)
    return model


def loaded(folder: Path, resources: Resources, **entry: object) -> HostedModel:
    model = described(folder, resources, **entry)
    model.load()
    return model


def problem(folder: Path, resources: Resources, **entry: object) -> str:
    with pytest.raises(ConfigurationError) as caught:
        described(folder, resources, **entry)
    return str(caught.value)


def predicted(model: HostedModel, row: object) -> Any:
    return json.loads(model.backend.predict(json.dumps(row).encode()))


def test_a_class_gets_a_local_path_and_its_other_arguments(
    tmp_path: Path, resources: Resources
) -> None:
    (tmp_path / "number").write_text("3")
    for artefact in ("number", "."):
        model = loaded(
            tmp_path, resources, class_path=READING, artefact=artefact, configuration={"offset": 4}
        )
        assert predicted(model, {})["value"] == 7
        assert predicted(model, {})["path"] == str(tmp_path / artefact)


def test_a_class_gets_the_path_of_what_was_downloaded(
    tmp_path: Path, resources: Resources, server: WebServer
) -> None:
    server.add("/number", b"5")
    address = f"{server.url}/number"
    digest = hashlib.sha256(b"5").hexdigest()
    for given in ({}, {"sha256": digest.upper()}):
        model = described(tmp_path, anew(resources), class_path=READING, artefact=address, **given)
        assert model.is_described
        assert model.model is None
        model.load()
        assert predicted(model, {}) == {
            "value": 5,
            "path": str(tmp_path / "cache" / "content" / digest / "number"),
            "process": predicted(model, {})["process"],
        }
        assert model.artefact is not None
    assert revision(address) == server.files["/number"].tag


@pytest.mark.parametrize("name", ["PositionalModel", "AnythingModel"])
def test_a_class_has_to_take_its_artefact_by_name(
    name: str, tmp_path: Path, resources: Resources
) -> None:
    (tmp_path / "number").write_text("3")
    entry = {"class_path": f"tests.fakes.artefacts.{name}", "artefact": "number"}
    if name == "AnythingModel":
        assert predicted(loaded(tmp_path, resources, **entry), {})["value"] == 3
        return
    assert "takes no argument that is called artefact" in problem(tmp_path, resources, **entry)


def test_a_missing_artefact_fails_that_model_alone(tmp_path: Path, resources: Resources) -> None:
    model = loaded(tmp_path, resources, class_path=READING, artefact="nowhere")
    assert model.state is LoadState.FAILED
    assert model.failure is not None
    assert f"there is no {tmp_path / 'nowhere'}. Write the path" in model.failure


def test_the_sha256_of_a_local_artefact_is_checked_before_it_is_read(
    tmp_path: Path, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.joblib").write_bytes(pickle.dumps(Executed()))
    wrong = "0" * 63 + "1"
    said = problem(tmp_path, resources, artefact="evil.joblib", sha256=wrong, trusted=True)
    assert "models[0].sha256: evil.joblib has the SHA-256" in said
    (tmp_path / "number").write_text("3")
    model = loaded(tmp_path, resources, class_path=READING, artefact="number", sha256=wrong)
    assert model.failure_class == "UnusableArtefact"
    right = hashlib.sha256(b"3").hexdigest()
    model = loaded(tmp_path, resources, class_path=READING, artefact="number", sha256=right)
    assert model.state is LoadState.READY
    assert not (tmp_path / "executed").exists()


def test_a_file_from_elsewhere_tells_once_it_is_here_what_it_takes(
    tmp_path: Path, resources: Resources, server: WebServer
) -> None:
    content = negation(tmp_path).read_bytes()
    server.add("/models/negation.onnx", content)
    address = f"{server.url}/models/negation.onnx"
    model = described(tmp_path, resources, artefact=address)
    assert not model.is_described
    assert model.known_name == "negation"
    model.load()
    assert model.version == hashlib.sha256(content).hexdigest()[:12]
    assert predicted(model, {"x": [1, -2]}) == {"y": [-1, 2]}
    server.files.clear()
    server.requests.clear()
    again = described(tmp_path, anew(resources), artefact=address)
    assert again.is_described
    assert again.schemas.input.model_json_schema() == model.schemas.input.model_json_schema()
    assert not server.requests
    again.load()
    assert again.state is LoadState.READY


def test_what_a_file_was_before_is_forgotten_once_another_is_loaded(
    tmp_path: Path, resources: Resources, server: WebServer
) -> None:
    address = f"{server.url}/model"
    server.add("/model", negation(tmp_path).read_bytes())
    first = loaded(tmp_path, resources, artefact=address, trusted=True)
    server.add("/model", regression(tmp_path).read_bytes())
    second = described(tmp_path, anew(resources), artefact=address, trusted=True)
    assert second.version == first.version
    second.load()
    assert second.version != first.version
    assert list(predicted(second, {"features": [1, 1]})) == ["value"]
    # What is here does not fit what the file says by now, and that is no reason not to begin.
    columns = ["a", "b"]
    third = described(tmp_path, anew(resources), artefact=address, trusted=True, columns=columns)
    assert third.is_described
    server.add("/model", negation(tmp_path).read_bytes())
    assert loaded(tmp_path, anew(resources), artefact=address).state is LoadState.READY


def test_a_pickle_from_elsewhere_is_not_read_unless_it_is_trusted(
    tmp_path: Path, resources: Resources, server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    server.add("/model", pickle.dumps(Executed()))
    model = loaded(tmp_path, resources, artefact=f"{server.url}/model")
    assert model.failure is not None
    assert "trusted: true" in model.failure
    assert not (tmp_path / "executed").exists()


def test_a_wrong_sha256_fails_the_model_before_it_is_read(
    tmp_path: Path, resources: Resources, server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    server.add("/model", pickle.dumps(Executed()))
    entry = {"artefact": f"{server.url}/model", "trusted": True, "sha256": "0" * 63 + "1"}
    model = loaded(tmp_path, resources, **entry)
    assert model.failure is not None
    assert "and not the one that is expected" in model.failure
    assert not (tmp_path / "executed").exists()


def test_a_model_waits_for_a_source_that_does_not_answer_and_comes_with_it(
    tmp_path: Path, resources: Resources, server: WebServer
) -> None:
    file = server.add("/number", b"8")
    file.statuses = [503] * downloads.TRIES
    address = f"{server.url}/number?signature=s3cret"
    model = loaded(tmp_path, resources, class_path=READING, artefact=address)
    assert model.state is LoadState.LOADING
    assert model.is_waiting
    assert model.failure == f"{server.url}/number?... cannot be read: it answers 503"
    assert model._try_again()
    assert predicted(model, {})["value"] == 8
    model.leave()


def test_the_document_has_a_model_whose_file_comes_from_elsewhere(
    tmp_path: Path, resources: Resources, server: WebServer
) -> None:
    server.add("/negation.onnx", negation(tmp_path).read_bytes())
    entry = {"artefact": f"{server.url}/negation.onnx", "execution": {"kind": "thread"}}
    service = InProcessService({"models": [entry]}, resources)
    schema = service.components[service.request_schema("negation")["$ref"].rpartition("/")[2]]
    assert list(schema["properties"]) == ["x"]


@pytest.mark.parametrize(
    ("address", "needed"),
    [
        ("s3://models/a.onnx", "obstore of object-store"),
        ("https://models.internal/a.onnx", "urllib3 of remote"),
        ("mlflow:models:/a@b", "urllib3 of remote"),
    ],
)
def test_a_missing_package_is_named(
    address: str, needed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models_api.artefacts.source.find_spec", {}.get)
    said = problem(tmp_path, Resources(), artefact=address)
    package, _, extra = needed.partition(" of ")
    assert f"needs {package}, which is not installed" in said
    assert f'pip install "modelhost[{extra}]"' in said


def test_revisions_of_local_paths_change_with_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    found = [revision(path)]
    path.mkdir()
    found.append(revision(path))
    (path / "a").write_text("1")
    found.append(revision(path))
    (path / "b").mkdir()
    (path / "b" / "c").write_text("1")
    found.append(revision(path))
    (path / "b" / "c").write_text("12")
    found.append(revision(path))
    found.append(revision(path / "a"))
    (path / "new").write_text("2")
    (path / "new").rename(path / "a")
    found.append(revision(path / "a"))
    assert len(set(found)) == len(found)
    assert revision(path) == revision(path)
