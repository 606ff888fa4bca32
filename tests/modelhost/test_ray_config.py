"""`modelhost ray_config`: the configuration of Ray Serve, made without Ray."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import call_command
from django.core.management.base import CommandError
from pytest_django import Settings

from modelhost.one_model import file_content
from models_api.configuration.file import ConfigurationFile

MODEL = "tests.fakes.models.DoublingModel"
RUNTIME = "execution: {ray: {runtime_env:"
ODD = "tests.fakes.named.Odd"


@pytest.fixture
def configure(settings: Settings, tmp_path: Path) -> Any:
    """Have the service read a YAML file of this text."""

    def write(text: str) -> Path:
        path = tmp_path / "rest_config.yaml"
        path.write_text(text, encoding="utf-8")
        settings.REST_CONFIG = str(path)
        return path

    return write


def written(*arguments: str) -> Any:
    output = io.StringIO()
    call_command("ray_config", *arguments, stdout=output)
    return yaml.safe_load(output.getvalue())


def only(configuration: Any) -> Any:
    (application,) = configuration["applications"]
    return application


def test_each_model_with_an_endpoint_is_an_application_under_its_own_routes(
    configure: Any,
) -> None:
    configure(
        f"models: [{{class_path: {MODEL}}}, {{class_path: tests.fakes.models.TreblingModel}},"
        "{class_path: tests.fakes.misbehaving.HiddenModel, create_endpoint: false}]"
    )
    configuration = written()
    assert configuration["http_options"] == {"host": "0.0.0.0", "port": 8000}
    assert [
        (each["name"], each["route_prefix"], each["import_path"])
        for each in configuration["applications"]
    ] == [(name, f"/api/models/{name}", "modelhost.ray:app") for name in ("doubling", "trebling")]


def test_a_model_without_a_word_on_ray_gets_one_replica_and_one_processor(configure: Any) -> None:
    configure(f"models: [{{class_path: {MODEL}}}]")
    application = only(written())
    assert application["args"] == {"class_path": MODEL, "qualified_name": "doubling"}
    assert application["deployments"] == [
        {
            "name": "model",
            "num_replicas": 1,
            "max_ongoing_requests": 12,
            "ray_actor_options": {"num_cpus": 1, "num_gpus": 0},
        }
    ]
    assert "runtime_env" not in application


def test_what_the_file_says_of_ray_is_what_serve_reads(configure: Any) -> None:
    configure(
        f"models: [{{class_path: {MODEL}, execution: {{ray: {{replicas: 3, cpus: 0.5, gpus: 0.25,"
        "memory_mb: 300, max_ongoing_requests: 7, max_queued_requests: 9,"
        "runtime_env: {env_vars: {MODE: fast}}}}}]"
    )
    application = only(written())
    assert application["runtime_env"] == {"env_vars": {"MODE": "fast"}}
    assert application["deployments"] == [
        {
            "name": "model",
            "num_replicas": 3,
            "max_ongoing_requests": 7,
            "ray_actor_options": {"num_cpus": 0.5, "num_gpus": 0.25, "memory": 300_000_000},
            "max_queued_requests": 9,
        }
    ]


@pytest.mark.parametrize(
    ("scaling", "expected"),
    [
        ("{max_replicas: 4}", {"min_replicas": 1, "max_replicas": 4}),
        (
            "{min_replicas: 0, max_replicas: 2, target_ongoing_requests: 1.5}",
            {"min_replicas": 0, "max_replicas": 2, "target_ongoing_requests": 1.5},
        ),
    ],
)
def test_serve_chooses_the_number_of_replicas_where_that_is_wanted(
    scaling: str, expected: dict[str, Any], configure: Any
) -> None:
    configure(f"models: [{{class_path: {MODEL}, execution: {{ray: {{autoscaling: {scaling}}}}}}}]")
    (deployment,) = only(written())["deployments"]
    assert deployment["autoscaling_config"] == expected
    assert "num_replicas" not in deployment


@pytest.mark.parametrize(
    ("keys", "requests"),
    [
        ("concurrency: {max_concurrency: 2}", 6),
        ("concurrency: {max_concurrency: 2, max_queue_size: 0}", 2),
        ("batching: {max_batch_size: 8}", 16),
        ("batching: {max_batch_size: 8, max_queue_size: 3}", 11),
        ("batching: {}", 128),
    ],
)
def test_a_replica_gets_no_more_requests_than_it_takes(
    keys: str, requests: int, configure: Any
) -> None:
    configure(f"models: [{{class_path: tests.fakes.batching.BatchingModel, {keys}}}]")
    (deployment,) = only(written())["deployments"]
    assert deployment["max_ongoing_requests"] == requests


def test_a_replica_gets_all_that_makes_its_answers_and_nothing_else(configure: Any) -> None:
    configure(
        f"""
request_headers: [X-Tenant]
models:
  - class_path: tests.fakes.changing.ScalingModel
    required: false
    timeout_seconds: 5
    max_values: 100
    concurrency: {{max_concurrency: 2}}
    decorators: &around
      - class_path: tests.fakes.changing.ShiftingDecorator
    execution: {{kind: process, processes: 2, ray: {{}}}}
  - class_path: {MODEL}
    decorators: *around
"""
    )
    first, second = written()["applications"]
    decorators = [{"class_path": "tests.fakes.changing.ShiftingDecorator"}]
    assert first["args"] == {
        "class_path": "tests.fakes.changing.ScalingModel",
        "timeout_seconds": 5,
        "max_values": 100,
        "concurrency": {"max_concurrency": 2},
        "decorators": decorators,
        "qualified_name": first["name"],
        "request_headers": ["X-Tenant"],
    }
    assert second["args"]["decorators"] == decorators


def test_what_a_replica_gets_is_a_configuration_without_problems(configure: Any) -> None:
    configure(
        f"models: [{{class_path: {MODEL}, timeout_seconds: 5, batching: ,"
        "execution: {kind: process, retry: true, ray: {}}}]"
    )
    file = ConfigurationFile(Path("args"), file_content(only(written())["args"]))
    assert list(map(str, file.problems)) == []
    assert file.configuration is not None
    (model,) = file.configuration.models
    assert (model.qualified_name, model.execution.kind) == ("doubling", "thread")


def test_values_from_the_environment_are_left_to_the_environment_of_the_replicas(
    configure: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    monkeypatch.setenv("REPLICAS", "3")
    configure(
        """
models:
  - class_path: tests.fakes.secretive.SecretiveModel
    configuration: {token: "${SECRET} $${SECRET} größe \U0001f600 ${NOT_SET:-other}"}
    execution: {ray: {replicas: "${REPLICAS}"}}
"""
    )
    output = io.StringIO()
    call_command("ray_config", stdout=output)
    assert "hunter2" not in output.getvalue()
    application = only(yaml.safe_load(output.getvalue()))
    assert application["deployments"][0]["num_replicas"] == 3
    monkeypatch.setenv("SECRET", "that of the cluster")
    file = ConfigurationFile(Path("args"), file_content(application["args"]))
    assert file.configuration is not None
    assert file.configuration.models[0].configuration == {
        "token": "that of the cluster ${SECRET} größe \U0001f600 other"
    }


def test_some_models_are_chosen_by_name_and_in_the_order_of_the_file(configure: Any) -> None:
    configure(
        f"models: [{{class_path: {MODEL}}}, {{class_path: tests.fakes.models.TreblingModel}},"
        "{class_path: tests.fakes.misbehaving.ObedientModel}]"
    )
    chosen = written("obedient", "doubling")["applications"]
    assert [each["name"] for each in chosen] == ["doubling", "obedient"]
    with pytest.raises(CommandError) as error:
        written("doublin")
    assert str(error.value) == (
        'There is no model "doublin" with an endpoint; there are: doubling, trebling, obedient.'
    )


def test_a_model_that_is_asked_on_the_cluster_is_deployed_under_its_name_there(
    configure: Any,
) -> None:
    remote = "kind: remote, url: http://serve:8000"
    configure(
        f"models: [{{class_path: {MODEL}, qualified_name: doubling, execution: {{{remote}}}}},"
        f"{{class_path: a.B, qualified_name: here, execution: {{{remote}, model: there}}}},"
        f"{{qualified_name: foreign, execution: {{{remote}}}}}]"
    )
    assert [
        (each["name"], each["args"]["class_path"], each["args"]["qualified_name"])
        for each in written()["applications"]
    ] == [("doubling", MODEL, "doubling"), ("there", "a.B", "there")]
    with pytest.raises(CommandError, match='There is no model "foreign"'):
        written("foreign")


def test_it_is_written_to_a_file_with_where_serve_listens(configure: Any, tmp_path: Path) -> None:
    configure(f"models: [{{class_path: {MODEL}}}]")
    path = tmp_path / "serve.yaml"
    output = io.StringIO()
    call_command(
        "ray_config", "--file", str(path), "--host", "127.0.0.1", "--port", "81", stdout=output
    )
    assert output.getvalue() == ""
    text = path.read_text(encoding="utf-8")
    assert yaml.safe_load(text)["http_options"] == {"host": "127.0.0.1", "port": 81}
    assert "RAY_SERVE_ENABLE_HA_PROXY=1" in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models: []", "The YAML file has no model with an endpoint."),
        (f"models: [{{class_path: {ODD}}}]", "Ray Serve has no route for the model"),
        (
            "models: [{class_path: tests.fakes.models.LateFailingModel}]",
            "Write its qualified_name in the YAML file.",
        ),
        (
            f"models: [{{class_path: {MODEL}, {RUNTIME} {{since: 2026-01-01}}}}}}}}]",
            "in runtime_env of doubling, write strings",
        ),
        (
            f"models: [{{class_path: {MODEL}, {RUNTIME} {{env_vars: {{1: a}}}}}}}}}}]",
            "A key is no string.",
        ),
        (
            f"models: [{{class_path: {MODEL}, {RUNTIME} {{x: .inf}}}}}}}}]",
            "Ray Serve takes JSON only",
        ),
        (
            f"models: [{{class_path: {MODEL}, execution: {{ray: {{replicas: 0}}}}}}]",
            "greater than or equal to 1",
        ),
    ],
)
def test_what_cannot_be_deployed_is_refused_with_a_remedy(
    text: str, message: str, configure: Any
) -> None:
    configure(text)
    with pytest.raises(CommandError, match=message):
        written()


@pytest.mark.parametrize(
    ("keys", "message", "hint"),
    [
        (
            "{replicas: 2, autoscaling: {max_replicas: 3}}",
            "replicas does not go with autoscaling",
            "Remove one of the two",
        ),
        (
            "{autoscaling: {min_replicas: 3, max_replicas: 2}}",
            "min_replicas is 3, which is more than max_replicas, 2",
            "Swap the two.",
        ),
        ("{autoscaling: {}}", 'the key "max_replicas" is missing', "Replicas at most."),
        ("{num_replicas: 2}", 'unknown key "num_replicas"', 'Did you mean "replicas"?'),
        ("{cpus: -1}", "greater than or equal to 0", "cpus: Processors"),
        ("{gpus: .inf}", "finite number", "gpus: GPUs"),
    ],
)
def test_wrong_keys_of_ray_are_explained(
    keys: str, message: str, hint: str, tmp_path: Path
) -> None:
    path = tmp_path / "rest_config.yaml"
    path.write_text(f"models: [{{class_path: a.B, execution: {{ray: {keys}}}}}]", encoding="utf-8")
    (problem,) = ConfigurationFile(path).problems
    assert message in problem.message
    assert hint in problem.hint


@pytest.mark.parametrize("kind", ["thread", "process"])
def test_ray_goes_with_every_kind_of_execution(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "rest_config.yaml"
    path.write_text(
        f"models: [{{class_path: a.B, execution: {{kind: {kind}, ray: {{replicas: 2}}}}}}]",
        encoding="utf-8",
    )
    assert list(ConfigurationFile(path).problems) == []


def test_versions_of_one_name_need_names_of_their_own_in_ray(configure: Any) -> None:
    entries = [f"class_path: {MODEL}, version: '{version}'" for version in (1, 2)]
    configure(f"models: [{{{entries[0]}}}, {{{entries[1]}}}]")
    with pytest.raises(CommandError, match='there are several of "doubling"'):
        written()
    named = "aliases: [next], execution: {kind: remote, url: http://a, model: doubling-2}"
    configure(f"models: [{{{entries[0]}}}, {{qualified_name: doubling, {entries[1]}, {named}}}]")
    first, second = written()["applications"]
    assert (first["name"], second["name"]) == ("doubling", "doubling-2")
    assert "aliases" not in second["args"]


SHARED = "qualified_name: doubling, execution: {kind: remote, url: http://a, model: doubling-2}"


@pytest.mark.parametrize(
    "keys",
    [
        "traffic: 10",
        "traffic: 10, traffic_key: header:X-User, allow_schema_change: true",
        "traffic: 10, abort: {min_requests: 50}",
        "shadow: true, tolerance: {absolute: 0.5}",
        "watch: [weights.bin], poll_seconds: 5, smoke_tests: [{input: {value: 1}}]",
    ],
)
def test_a_replica_is_told_nothing_of_what_the_service_before_it_decides(
    configure: Any, tmp_path: Path, keys: str
) -> None:
    plain = f"class_path: {MODEL}, version: '2', configuration: {{factor: 2}}"
    (tmp_path / "weights.bin").touch()
    configure(
        "reload: {}\n"
        f"models: [{{class_path: {MODEL}, version: '1'}}, {{{plain}, {SHARED}, {keys}}}]"
    )

    _, second = written()["applications"]

    assert second["args"] == {
        "class_path": MODEL,
        "version": "2",
        "configuration": {"factor": 2},
        "qualified_name": "doubling-2",
    }
    path = tmp_path / "replica.yaml"
    path.write_bytes(file_content(second["args"]))
    assert list(ConfigurationFile(path).problems) == []
