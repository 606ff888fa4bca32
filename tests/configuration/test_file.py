"""The configuration file: how its keys are read, how mistakes in them are reported, its logging."""

import hashlib
import logging
from pathlib import Path
from typing import Any

import pytest

from models_api.configuration.file import ConfigurationFile
from models_api.configuration.sections import (
    BatchingConfiguration,
    ConcurrencyConfiguration,
    DecoratorConfiguration,
    MetricsConfiguration,
    ModelConfiguration,
    ServiceConfiguration,
)
from models_api.prediction.request_context import RequestContext, current_request

ROOT = Path(__file__).parents[2]


@pytest.fixture
def read(tmp_path: Path) -> Any:
    def read(text: str) -> ConfigurationFile:
        path = tmp_path / "service.yaml"
        path.write_text(text, encoding="utf-8")
        return ConfigurationFile(path)

    return read


def texts(file: ConfigurationFile) -> list[str]:
    name = str(file.document.path)
    return [str(problem).replace(name, "service.yaml") for problem in file.problems]


def test_all_keys_are_read(read: Any) -> None:
    file = read(
        """
        service_title: Title
        description: |
          Two
          lines
        version: "1.10"
        models:
          - class_path: a.B
            qualified_name: b-1.0_x
            create_endpoint: no
            configuration: {path: /models, sizes: {1: 2}}
            decorators:
              - class_path: a.D
              - class_path: a.E
                configuration: {level: 3}
            timeout_seconds: 2
            batching: {max_batch_size: 8, max_wait_seconds: 0.01, max_queue_size: 16}
            concurrency: {max_concurrency: 2, max_queue_size: 16}
        logging: {version: 1}
        metrics: {enabled: true, excluded_handlers: [/metrics]}
        """
    )
    assert file.problems == []
    assert file.configuration == ServiceConfiguration(
        service_title="Title",
        description="Two\nlines\n",
        version="1.10",
        models=[
            ModelConfiguration(
                class_path="a.B",
                qualified_name="b-1.0_x",
                create_endpoint=False,
                configuration={"path": "/models", "sizes": {1: 2}},
                decorators=[
                    DecoratorConfiguration(class_path="a.D"),
                    DecoratorConfiguration(class_path="a.E", configuration={"level": 3}),
                ],
                timeout_seconds=2,
                batching=BatchingConfiguration(
                    max_batch_size=8, max_wait_seconds=0.01, max_queue_size=16
                ),
                concurrency=ConcurrencyConfiguration(max_concurrency=2, max_queue_size=16),
            )
        ],
        logging={"version": 1},
        metrics=MetricsConfiguration(enabled=True, excluded_handlers=["/metrics"]),
    )
    assert list(file.class_paths()) == [
        (("models", 0, "class_path"), "a.B"),
        (("models", 0, "decorators", 0, "class_path"), "a.D"),
        (("models", 0, "decorators", 1, "class_path"), "a.E"),
    ]


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda p: p.name)
def test_the_examples_have_no_problems(path: Path) -> None:
    assert ConfigurationFile(path).problems == []


@pytest.mark.parametrize(
    "key", ["configuration", "decorators", "batching", "concurrency", "qualified_name"]
)
def test_an_optional_part_of_a_model_may_be_left_empty(read: Any, key: str) -> None:
    file = read(f"models:\n  - class_path: a.B\n    {key}:\n")
    assert file.problems == []
    assert file.configuration.models == [ModelConfiguration(class_path="a.B")]


@pytest.mark.parametrize("key", ["logging", "metrics"])
def test_an_optional_part_of_the_service_may_be_left_empty(read: Any, key: str) -> None:
    assert read(f"{key}:\n").configuration == ServiceConfiguration()


def test_numbers_and_booleans_may_come_from_the_environment(
    read: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENDPOINT", "false")
    file = read(
        "models:\n"
        "  - class_path: a.B\n"
        "    create_endpoint: ${ENDPOINT}\n"
        "    batching: {max_batch_size: '${SIZE:-16}'}\n"
    )
    assert file.problems == []
    (model,) = file.configuration.models
    assert (model.create_endpoint, model.batching.max_batch_size) == (False, 16)


@pytest.mark.parametrize(
    "name", ["a", "a.b", "A-1_z", "0", "house prices", "é", "模型", "...", "R&D (v2)", "a" * 200]
)
def test_a_qualified_name_is_what_can_stand_in_a_url(read: Any, name: str) -> None:
    assert read(f"models: [{{class_path: a.B, qualified_name: '{name}'}}]").problems == []


@pytest.mark.parametrize("name", ["", "a/b", "a\\tb", "..", "a%20b", "a\\nb", "a?b", "a\u00a0b"])
def test_a_qualified_name_is_nothing_else(read: Any, name: str) -> None:
    file = read(f'models: [{{class_path: a.B, qualified_name: "{name}"}}]'.replace("\\\\", "\\"))
    (problem,) = file.problems
    assert problem.key_path == "models[0].qualified_name"
    assert "cannot stand in a URL" in problem.message
    assert problem.hint.startswith("Use letters and digits of any alphabet, blanks between them")


@pytest.mark.parametrize("name", ["a" * 201, "é" * 101, "模" * 67])
def test_a_name_that_is_too_long_is_shortened_where_it_is_told_of(read: Any, name: str) -> None:
    (problem,) = read(f"models: [{{class_path: a.B, qualified_name: {name}}}]").problems
    size = len(name.encode())
    assert problem.message == (
        f'the qualified name "{name[:60]}..." is too long: it has {size} bytes, and may have 200'
    )


def test_models_beside_a_mistake_are_known_all_the_same(read: Any) -> None:
    file = read(
        "port: 80\nmodels:\n  - class_path: a.B\n  - class_path: 5\n  - class_path: a.C\n    x: 1\n"
    )
    assert file.configuration is None
    assert [(index, model.class_path) for index, model in file.models()] == [(0, "a.B")]
    assert [class_path for _, class_path in file.class_paths()] == ["a.B", "a.C"]


@pytest.mark.parametrize(
    "text", ["5", "models: 5", "models: [5, {class_path: 5}]", "models: {a: b}"]
)
def test_a_file_without_models_has_none_whatever_else_it_holds(read: Any, text: str) -> None:
    file = read(text)
    assert list(file.models()) == []
    assert list(file.class_paths()) == []
    assert file.problems


def test_a_class_path_that_the_environment_lacks_is_reported_once(read: Any) -> None:
    file = read("models: [{class_path: '${MODEL_THAT_NOBODY_SET}'}]")
    assert list(file.class_paths()) == []
    assert [problem.id for problem in file.problems] == ["models_api.E004"]


@pytest.mark.parametrize(
    ("batching", "concurrency", "is_contradiction"),
    [
        ("{max_queue_size: 8}", "{max_queue_size: 9}", True),
        ("{max_queue_size: 1024}", "{max_queue_size: 9}", True),
        ("{max_queue_size: 8}", "{max_queue_size: 8}", False),
        ("{max_queue_size: 8}", "{max_queue_size: }", False),
        ("{max_queue_size: 8}", "{max_concurrency: 9}", False),
        ("{}", "{max_queue_size: 9}", False),
    ],
)
def test_the_two_names_of_the_bound_of_the_queue_have_one_value(
    read: Any, batching: str, concurrency: str, is_contradiction: bool
) -> None:
    file = read(
        "models:\n"
        "  - class_path: a.A\n"
        "  - class_path: a.B\n"
        f"    batching: {batching}\n"
        f"    concurrency: {concurrency}\n"
    )
    found = [(problem.id, problem.line, problem.key_path) for problem in file.problems]
    expected = [("models_api.E009", 4, "models[1].batching.max_queue_size")]
    assert found == (expected if is_contradiction else [])


# Logging


@pytest.mark.usefixtures("root_logger")
def test_logging_is_configured_as_the_file_says(read: Any) -> None:
    bystander = logging.getLogger("tests.bystander")
    file = read("logging: {version: 1, loggers: {tests.named: {level: WARNING}}}")
    file.apply_logging()
    assert file.problems == []
    assert logging.getLogger("tests.named").level == logging.WARNING
    assert not bystander.disabled


@pytest.mark.usefixtures("root_logger")
def test_loggers_that_exist_are_disabled_only_if_the_file_says_so(read: Any) -> None:
    bystander = logging.getLogger("tests.other_bystander")
    file = read("logging: {version: 1, incremental: false, disable_existing_loggers: true}")
    others = [
        logger
        for logger in logging.Logger.manager.loggerDict.values()
        if isinstance(logger, logging.Logger) and not logger.disabled
    ]
    try:
        file.apply_logging()
        assert bystander.disabled
    finally:
        for logger in others:
            logger.disabled = False


def test_the_handlers_of_the_file_know_the_request_of_each_record(
    read: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    read("""\
        logging:
          version: 1
          filters: {mine: {name: tests}}
          formatters: {short: {format: "%(request_id)s %(message)s"}}
          handlers:
            one: {class: logging.StreamHandler, formatter: short, stream: "ext://sys.stderr"}
            two:
              {class: logging.StreamHandler, formatter: short, filters: [mine],
               stream: "ext://sys.stderr"}
          loggers: {tests.with_request: {handlers: [one, two], level: INFO, propagate: false}}
        """).apply_logging()
    logger = logging.getLogger("tests.with_request")
    token = current_request.set(RequestContext("mine"))
    try:
        logger.info("During a request")
    finally:
        current_request.reset(token)
        logger.info("After it")
        logger.handlers.clear()
    assert capsys.readouterr().err.splitlines() == [
        *2 * ["mine During a request"],
        *2 * ["- After it"],
    ]


@pytest.mark.parametrize(
    "text",
    [
        "{version: 1, handlers: [a]}",
        "{version: 1, filters: [a], handlers: {a: {class: logging.NullHandler}}}",
        "{version: 1, handlers: {a: 3}}",
        "{version: 1, handlers: {a: {class: logging.NullHandler, filters: 3}}}",
    ],
)
def test_handlers_and_filters_of_the_wrong_kind_are_a_problem(read: Any, text: str) -> None:
    file = read(f"logging: {text}")
    file.apply_logging()
    assert [problem.id for problem in file.problems] == ["models_api.E007"]


@pytest.mark.parametrize("text", ["service_title: a", "logging:", "- a", "~"])
def test_without_logging_nothing_is_configured(read: Any, text: str) -> None:
    file = read(text)
    problems = list(file.problems)
    handlers = logging.getLogger().handlers[:]
    file.apply_logging()
    assert logging.getLogger().handlers == handlers
    assert file.problems == problems


@pytest.mark.usefixtures("root_logger")
@pytest.mark.parametrize(
    ("section", "problem"),
    [
        (
            "{version: 2}",
            "service.yaml:1: logging: Unsupported version: 2\n"
            "    Python's documentation of logging.config has the schema of this mapping.",
        ),
        (
            "{version: 1, handlers: {file: {}}}",
            "service.yaml:1: logging.handlers.file: Unable to configure handler 'file': "
            "'NoneType' object has no attribute 'split'\n"
            "    Add the key class, such as class: logging.StreamHandler",
        ),
        (
            "{version: 1, handlers: {file: {class: logging.FileHandler, filename: /no/such/log}}}",
            "service.yaml:1: logging.handlers.file: Unable to configure handler 'file': "
            "[Errno 2] No such file or directory: '/no/such/log'\n"
            "    Python's documentation of logging.config has the schema of this mapping.",
        ),
        (
            "{version: 1, formatters: {plain: {format: 5}}}",
            "service.yaml:1: logging.formatters.plain: Unable to configure formatter 'plain': "
            "expected string or bytes-like object, got 'int'\n"
            "    Python's documentation of logging.config has the schema of this mapping.",
        ),
        (
            "{version: 1, handlers: 5}",
            "service.yaml:1: logging: 'int' object is not iterable\n"
            "    Python's documentation of logging.config has the schema of this mapping.",
        ),
    ],
)
def test_a_mistake_in_logging_is_a_problem(read: Any, section: str, problem: str) -> None:
    file = read(f"logging: {section}")
    file.apply_logging()
    assert texts(file) == [problem]


def test_logging_with_a_problem_already_is_not_tried(read: Any) -> None:
    file = read("logging: {version: 1, root: {level: '${LEVEL_THAT_NOBODY_SET}'}}")
    file.apply_logging()
    assert [problem.id for problem in file.problems] == ["models_api.E004"]


def test_a_file_has_a_fingerprint_that_sha256sum_tells_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rest_config.yaml"
    path.write_text("service_title: ${FINGERPRINTED:-a}\n")
    expected = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    assert ConfigurationFile(path).fingerprint == expected
    monkeypatch.setenv("FINGERPRINTED", "a secret")
    assert ConfigurationFile(path).fingerprint == expected
    path.write_text("service_title: other\n")
    assert ConfigurationFile(path).fingerprint != expected
