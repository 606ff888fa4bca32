"""What rest_model_service 0.6.0 and this service make of the same configuration files.

Where they differ, `FILE_DIFFERENCES` says how and why.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError
from rest_model_service.configuration import (  # type: ignore[import-untyped]
    ServiceConfiguration,
)

from models_api.configuration.file import ConfigurationFile
from models_api.exceptions import ConfigurationError
from models_api.hosting.assembly import build_registry
from tests.end_to_end.rest_model_service.matching import Matching

STAND_INS = {
    "tests.mocks.IrisModel": "tests.fakes.compatibility.PropertiesModel",
    "tests.mocks.PredictionIDDecorator": "tests.fakes.compatibility.SuffixDecorator",
}


def _published_examples() -> list[str]:
    """The YAML files of its documentation, with classes that exist here."""
    documentation = distribution("rest_model_service").read_text("METADATA") or ""
    examples = re.findall(r"```yaml\n(.*?)```", documentation, re.DOTALL)
    for theirs, ours in STAND_INS.items():
        examples = [example.replace(theirs, ours) for example in examples]
    return examples


ECHO_MODEL = """\
models:
  - class_path: tests.fakes.compatibility.EchoModel
    create_endpoint: true
"""
CONFIGURED_MODEL = """\
models:
  - class_path: tests.fakes.compatibility.PropertiesModel
    create_endpoint: true
"""

ACCEPTED: Mapping[str, str] = {
    **{f"published {index}": text for index, text in enumerate(_published_examples(), start=1)},
    "title alone": "service_title: Nothing yet\n",
    "no models": "models: []\n",
    "JSON": '{"models": [{"class_path": "tests.fakes.compatibility.EchoModel", '
    '"create_endpoint": true}]}',
    "qualified name, as in earlier releases": ECHO_MODEL + "    qualified_name: echo\n",
    "nulls": ECHO_MODEL + "    decorators: null\n    configuration: ~\nlogging:\nmetrics: null\n",
    "booleans of every spelling": """\
models:
  - {class_path: tests.fakes.compatibility.EchoModel, create_endpoint: yes}
  - {class_path: tests.fakes.compatibility.StrictModel, create_endpoint: "false"}
  - {class_path: tests.fakes.compatibility.OutcomesModel, create_endpoint: 0}
metrics: {enabled: off, should_group_status_codes: "no", round_latency_decimals: "3"}
""",
    "anchors": CONFIGURED_MODEL
    + """\
    configuration: &defaults
      host: localhost
      port: "5432"
      fields: [age, sex]
    decorators:
      - class_path: tests.fakes.compatibility.SuffixDecorator
        configuration:
          <<: *defaults
          suffix: ""
          port: 5432
""",
    "values of every type": CONFIGURED_MODEL
    + """\
    configuration:
      string: "2023_03_17"
      date: 2023-03-17
      moment: 2023-03-17 10:00:00
      octal: 010
      hexadecimal: 0x10
      float: 1.0e-3
      text_that_looks_like_one: 1e-3
      infinity: .inf
      clock: 12:30
      switch: off
      nothing: ~
      binary: !!binary aGVsbG8=
      folded: >
        one
        line
      nested: {list: [[1], {}], 1: one}
""",
    "percent and braces": CONFIGURED_MODEL + "    configuration: {a: '{b} %(c)s $d $$ {}'}\n",
    "logging by the root logger's names": ECHO_MODEL
    + """\
logging:
  version: 1
  root: {level: INFO, handlers: []}
  loggers: {"": {level: DEBUG}, root: {level: INFO}, uvicorn.access: {propagate: false}}
""",
    "windows line ends": ECHO_MODEL.replace("\n", "\r\n"),
    "comments and documents": "---\n# a comment\n" + ECHO_MODEL + "...\n",
}

REFUSED: Mapping[str, str] = {
    "empty": "",
    "a list": "- models\n",
    "malformed": "models: [\n",
    "version that is a number": "version: 1.10\n",
    "title of nothing": "service_title:\n",
    "models that are a mapping": "models: {class_path: a.B, create_endpoint: true}\n",
    "model without a class path": "models: [{create_endpoint: true}]\n",
    "endpoint that is no boolean": ECHO_MODEL.replace("true", "maybe"),
    "decorator without a class path": ECHO_MODEL + "    decorators: [{configuration: {}}]\n",
    "configuration that is a list": ECHO_MODEL + "    configuration: [1]\n",
    "metrics of a wrong type": "metrics: {excluded_handlers: /docs}\n",
    "logging that is a list": "logging: []\n",
}


@dataclass(frozen=True)
class FileDifference:
    """A file that the two services read differently."""

    text: str
    theirs: Any
    """The error, or what `models` holds."""
    ours: Any
    """Key paths and messages of the problems, or what `models` holds."""
    why: str


def _model(name: str, **configuration: Any) -> dict[str, Any]:
    class_path = f"tests.fakes.compatibility.{name}"
    model: dict[str, Any] = {"class_path": class_path, "create_endpoint": True}
    return {**model, "configuration": configuration} if configuration else model


def _configured(**configuration: Any) -> list[dict[str, Any]]:
    return [_model("PropertiesModel", **configuration)]


FILE_DIFFERENCES: Mapping[str, FileDifference] = {
    "unknown key": FileDifference(
        CONFIGURED_MODEL + "    configuratoin: {a: 1}\n",
        _configured(),
        {"models[0].configuratoin": 'unknown key "configuratoin"'},
        "A typing error is no wish to have the default.",
    ),
    "unknown key of metrics": FileDifference(
        "metrics: {enable: true}\n",
        [],
        {"metrics.enable": 'unknown key "enable"'},
        "As above.",
    ),
    "duplicate key": FileDifference(
        CONFIGURED_MODEL + "    configuration: {a: 1}\n    configuration: {a: 2}\n",
        _configured(a=2),
        {"models[0].configuration": "this key is here twice (first on line 4)"},
        "YAML forbids it, and one of the two is a mistake.",
    ),
    "Python object": FileDifference(
        CONFIGURED_MODEL + "    configuration: {pair: !!python/tuple [1, 2]}\n",
        _configured(pair=(1, 2)),
        {"models[0].configuration.pair": Matching(".*python/tuple.*")},
        "A configuration file must not be able to make Python objects.",
    ),
    "environment variable": FileDifference(
        CONFIGURED_MODEL + '    configuration: {secret: "${COMPATIBILITY_SECRET}"}\n',
        _configured(secret="${COMPATIBILITY_SECRET}"),
        _configured(secret="hunter2"),
        "References to the environment are filled in.",
    ),
    "environment variable that is not set": FileDifference(
        CONFIGURED_MODEL + '    configuration: {secret: "${COMPATIBILITY_UNSET}"}\n',
        _configured(secret="${COMPATIBILITY_UNSET}"),
        {
            "models[0].configuration.secret": (
                "the environment variable COMPATIBILITY_UNSET is not set"
            )
        },
        "A secret that is missing shows at the start, not at the first prediction.",
    ),
    "dollar and brace in a logging format": FileDifference(
        'logging: {version: 1, formatters: {plain: {style: $, format: "${message}"}}}\n',
        [],
        {"logging.formatters.plain.format": "the environment variable message is not set"},
        "As above; written $${message} it is not looked up.",
    ),
    "no word about the endpoint": FileDifference(
        CONFIGURED_MODEL.replace("    create_endpoint: true\n", ""),
        "models.0.create_endpoint",
        _configured(),
        "Models are there to be asked: an endpoint is the default.",
    ),
    "class that is none": FileDifference(
        CONFIGURED_MODEL.replace("PropertiesModel", "NoSuchModel"),
        [_model("NoSuchModel")],
        {"models[0].class_path": Matching(".*NoSuchModel.*")},
        "It finds out while it serves, and stays unready for ever.",
    ),
    "argument that the model does not take": FileDifference(
        ECHO_MODEL + "    configuration: {size: 1}\n",
        [_model("EchoModel", size=1)],
        {"models[0].configuration": Matching(".*size.*")},
        "As above.",
    ),
    "model that is there twice": FileDifference(
        ECHO_MODEL + ECHO_MODEL.removeprefix("models:\n"),
        2 * [_model("EchoModel")],
        {"models[1].class_path": Matching('.*"echo".*')},
        "As above.",
    ),
}


def _read_theirs(text: str) -> dict[str, Any]:
    return ServiceConfiguration(**yaml.full_load(text)).model_dump()


def _read_ours(text: str, folder: Path) -> ConfigurationFile:
    path = folder / "rest_config.yaml"
    path.write_text(text, encoding="utf-8", newline="")
    return ConfigurationFile(path)


def _assert_same_values(theirs: Any, ours: Any) -> None:
    """Keys that only this service has are no matter; None and nothing are one."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for key, value in theirs.items():
            _assert_same_values(value, ours[key])
    elif isinstance(theirs, list) and isinstance(ours, list):
        for their_item, our_item in zip(theirs, ours, strict=True):
            _assert_same_values(their_item, our_item)
    elif theirs is None:
        assert not ours
    else:
        assert (type(ours), ours) == (type(theirs), theirs)


def test_its_documentation_has_the_examples_that_are_tried() -> None:
    examples = _published_examples()
    assert len(examples) == 8
    assert all(mock not in example for example in examples for mock in ("tests.mocks", "<"))


@pytest.mark.parametrize("text", ACCEPTED.values(), ids=ACCEPTED)
def test_a_file_written_for_it_is_read_here_unchanged(text: str, tmp_path: Path) -> None:
    file = _read_ours(text, tmp_path)
    assert [str(problem) for problem in file.problems] == []
    assert file.configuration is not None
    _assert_same_values(_read_theirs(text), file.configuration.model_dump())
    assert len(build_registry(file)) == len(file.configuration.models)


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED)
def test_a_file_that_it_refuses_is_refused_here_too(text: str, tmp_path: Path) -> None:
    with pytest.raises((ValidationError, yaml.YAMLError, TypeError)):
        _read_theirs(text)
    assert _read_ours(text, tmp_path).problems


@pytest.mark.parametrize("entry", FILE_DIFFERENCES.values(), ids=FILE_DIFFERENCES)
def test_files_are_read_differently_where_the_list_says_so(
    entry: FileDifference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPATIBILITY_SECRET", "hunter2")
    if isinstance(entry.theirs, str):
        with pytest.raises(ValidationError, match=re.escape(entry.theirs)):
            _read_theirs(entry.text)
    else:
        _assert_models(entry.theirs, _read_theirs(entry.text)["models"])
    file = _read_ours(entry.text, tmp_path)
    try:
        build_registry(file)
    except ConfigurationError as error:
        problems = {problem.key_path: problem.message for problem in error.problems}
        assert problems == entry.ours
    else:
        assert file.configuration is not None
        _assert_models(entry.ours, file.configuration.model_dump()["models"])


def _assert_models(expected: list[dict[str, Any]], actual: list[dict[str, Any]]) -> None:
    for wanted, model in zip(expected, actual, strict=True):
        _assert_same_values(wanted, model)
        assert bool(model["configuration"]) == ("configuration" in wanted)
