"""The command that loads every model and says what that takes."""

import io
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from ml_base.utilities import ModelManager

from models_api.apps import ModelsAPIConfig
from models_api.configuration.file import ConfigurationFile
from models_api.management.commands import load_models

ROOT = Path(__file__).parents[2]
MODELS = "tests.fakes.models"
EXECUTING = "tests.fakes.executing"


@pytest.fixture
def configure(app_config: ModelsAPIConfig, model_manager: ModelManager, tmp_path: Path) -> Any:
    def configure(text: str) -> ModelsAPIConfig:
        path = tmp_path / "service.yaml"
        path.write_text(text, encoding="utf-8")
        app_config.configuration_file = ConfigurationFile(path)
        return app_config

    return configure


def shown(output: io.StringIO) -> str:
    """The output with zeros for the figures."""
    text = re.sub(r"\b\d+\.\d$", "0.0", output.getvalue(), flags=re.MULTILINE)
    return re.sub(r"\b\d+\.\d\d\b(?!\.)", "0.00", text)


def manage(*arguments: str, path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env={**os.environ, "REST_CONFIG": str(path)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_models_are_loaded_with_a_line_at_each_start_and_end(configure: Any) -> None:
    app_config = configure(
        "models:\n"
        f"  - class_path: {MODELS}.DoublingModel\n"
        f"  - class_path: {MODELS}.LateModel\n"
        "    create_endpoint: false\n"
    )
    output = io.StringIO()
    call_command("load_models", stdout=output)
    assert shown(output) == (
        f"[1/2] Loading doubling ({MODELS}.DoublingModel) ...\n"
        "[1/2] Loaded doubling (0.00 s)\n"
        f"[2/2] Loading {MODELS}.LateModel ...\n"
        "[2/2] Loaded late (0.00 s)\n"
        "\n"
        "name      version  class                             state  predicts by  seconds  MiB\n"
        "doubling  1.0.0    tests.fakes.models.DoublingModel  ready  predict         0.00  0.0\n"
        "late      1.0.0    tests.fakes.models.LateModel      ready  predict         0.00  0.0\n"
    )
    assert app_config.registry.is_ready


def test_failures_are_named_with_their_reasons_after_the_table(configure: Any) -> None:
    configure(
        "models:\n"
        f"  - class_path: {MODELS}.FailingModel\n"
        f"  - class_path: {MODELS}.DoublingModel\n"
        f"  - class_path: {MODELS}.LateFailingModel\n"
    )
    output = io.StringIO()
    with pytest.raises(CommandError) as caught:
        call_command("load_models", stdout=output)
    assert str(caught.value) == (
        "2 of 3 models cannot be loaded:\n"
        "  failing: RuntimeError: the weights are not there (tests/fakes/models.py, line 69)\n"
        f"  {MODELS}.LateFailingModel: RuntimeError: the weights are not there "
        "(tests/fakes/models.py, line 128)"
    )
    assert caught.value.returncode == 1
    rows = [line.split() for line in shown(output).splitlines()[-3:]]
    assert rows == [
        ["failing", "1.0.0", f"{MODELS}.FailingModel", "failed", "-", "0.00", "0.0"],
        ["doubling", "1.0.0", f"{MODELS}.DoublingModel", "ready", "predict", "0.00", "0.0"],
        ["LateFailingModel", "-", f"{MODELS}.LateFailingModel", "failed", "-", "0.00", "0.0"],
    ]


COLUMNS = """\
models:
  - {class_path: tests.fakes.columns.ColumnsModel}
  - class_path: tests.fakes.columns.StrictColumnsModel
    decorators: [{class_path: tests.fakes.columns.ForwardingDecorator}]
  - {class_path: tests.fakes.columns.WholeColumnsModel}
  - {class_path: tests.fakes.asking.ColumnsModel}
  - class_path: tests.fakes.batching.BatchingModel
    decorators: [{class_path: tests.fakes.batching.AddOneDecorator}]
    batching: {max_batch_size: 4}
"""
HIDDEN = "strict_columns: its decorator ForwardingDecorator does not define it"
WHOLE = "whole_columns: its input schema Whole is a RootModel, which has no fields"
DISABLED = "open_inference is not enabled, and predict_batch predicts the rows of JSON"


@pytest.mark.parametrize("is_enabled", [True, False])
def test_the_methods_that_predict_are_shown_and_why_others_do_not(
    configure: Any, is_enabled: bool
) -> None:
    configure(COLUMNS + ("open_inference: {enabled: true}" if is_enabled else ""))
    output = io.StringIO()
    call_command("load_models", stdout=output)
    table, _, unused = output.getvalue().partition("\nNot used:\n")
    rows = [re.split(r"  +", line) for line in table.splitlines()[-5:]]
    columns = ", predict_columns" if is_enabled else ""
    assert [(row[0], row[4]) for row in rows] == [
        ("columns", f"predict, predict_batch{columns}"),
        ("strict_columns", "predict"),
        ("whole_columns", "predict, predict_batch"),
        ("asking_columns", "predict, predict_columns"),
        ("batching", "predict, predict_batch"),
    ]
    disabled = [] if is_enabled else [f"  predict_columns of columns: {DISABLED}"]
    assert unused.splitlines() == [
        *disabled,
        *(f"  predict_batch of {HIDDEN}", f"  predict_columns of {HIDDEN}"),
        f"  predict_columns of {WHOLE}",
    ]


def test_models_that_are_not_required_are_named_and_fail_nothing(configure: Any) -> None:
    configure(
        "models:\n"
        f"  - {{class_path: {MODELS}.FailingModel, required: false}}\n"
        f"  - {{class_path: {MODELS}.DoublingModel, required: false}}\n"
    )
    output, errors = io.StringIO(), io.StringIO()
    call_command("load_models", stdout=output, stderr=errors, no_color=True)
    assert errors.getvalue() == (
        "1 of 2 models cannot be loaded:\n"
        "  failing: RuntimeError: the weights are not there (tests/fakes/models.py, line 69) "
        "(not required)\n"
    )


def test_one_that_is_required_fails_among_others_that_are_not(configure: Any) -> None:
    configure(
        "models:\n"
        f"  - {{class_path: {MODELS}.FailingModel, required: false}}\n"
        f"  - {{class_path: {MODELS}.LateFailingModel}}\n"
    )
    with pytest.raises(CommandError) as caught:
        call_command("load_models", stdout=io.StringIO())
    place = "tests/fakes/models.py, line 69"
    line = f"  failing: RuntimeError: the weights are not there ({place}) (not required)\n"
    assert line in str(caught.value)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="this system has no /proc")
def test_the_memory_that_a_model_takes_is_shown(configure: Any) -> None:
    configure(
        f"models:\n  - class_path: {MODELS}.HeavyModel\n    configuration: {{mebibytes: 96}}\n"
    )
    output = io.StringIO()
    call_command("load_models", stdout=output)
    assert 90 < float(output.getvalue().split()[-1]) < 110


def test_without_proc_the_memory_is_unknown(
    configure: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(load_models, "_STATM", tmp_path / "statm")
    configure(f"models: [{{class_path: {MODELS}.DoublingModel}}]")
    output = io.StringIO()
    call_command("load_models", stdout=output)
    assert output.getvalue().splitlines()[-1].endswith("    -")


def test_a_service_without_models_has_an_empty_table(configure: Any) -> None:
    configure("service_title: Empty")
    output = io.StringIO()
    call_command("load_models", stdout=output)
    assert output.getvalue() == "\nname  version  class  state  predicts by  seconds  MiB\n"


def test_a_broken_configuration_is_refused_even_without_checks(configure: Any) -> None:
    app_config = configure("port: 80")
    with pytest.raises(CommandError) as caught:
        call_command("load_models", stdout=io.StringIO(), skip_checks=True)
    assert str(caught.value) == (
        "The configuration has 1 problem:\n\n"
        f'{app_config.configuration_file.document.path}:1: port: unknown key "port"\n'
        "    Known keys here: service_title, description, version, models, logging, metrics, "
        "open_inference, reload, request_headers."
    )


def test_a_process_ends_with_the_outcome(tmp_path: Path) -> None:
    path = tmp_path / "service.yaml"
    path.write_text(f"models: [{{class_path: {MODELS}.DoublingModel}}]", encoding="utf-8")
    process = manage("load_models", path=path)
    assert process.returncode == 0
    assert process.stdout.splitlines()[-1].split()[:4] == [
        "doubling",
        "1.0.0",
        f"{MODELS}.DoublingModel",
        "ready",
    ]
    path.write_text(f"models: [{{class_path: {MODELS}.ExitingModel}}]", encoding="utf-8")
    process = manage("load_models", path=path)
    assert process.returncode == 1
    assert process.stderr.endswith(
        "CommandError: 1 of 1 models cannot be loaded:\n"
        "  exiting: SystemExit: no licence (tests/fakes/models.py, line 78)\n"
    )
    path.write_text("port: 80", encoding="utf-8")
    process = manage("load_models", path=path)
    assert process.returncode == 1
    assert process.stdout == ""
    assert f'{path}:1: port: (models_api.E003) unknown key "port"' in process.stderr
    assert "Traceback" not in process.stderr


def test_models_that_no_server_could_load_are_not_loaded(tmp_path: Path) -> None:
    names = ("EventLoopModel", "SignalModel", "LateSignalModel", "InterruptedModel", "WhereModel")
    entries = "".join(f"  - class_path: {EXECUTING}.{name}\n" for name in names)
    path = tmp_path / "service.yaml"
    path.write_text(f"models:\n{entries}", encoding="utf-8")
    process = manage("load_models", path=path)
    assert process.returncode == 1
    _, _, reasons = process.stderr.partition("CommandError: ")
    # Python 3.12 puts it otherwise.
    reasons = re.sub(r" \(tests/fakes/executing\.py, line \d+\)", "", reasons)
    reasons = re.sub("in (main thread of the main interpreter|thread '.*')", "...", reasons)
    only = "ValueError: signal only works ..."
    assert reasons == (
        "4 of 5 models cannot be loaded:\n"
        "  event_loop: RuntimeError: There is no current event loop ....\n"
        f"  signal: {only}\n"
        f"  {EXECUTING}.LateSignalModel: {only}\n"
        "  interrupted: KeyboardInterrupt:\n"
    )


def test_an_interruption_ends_it_while_a_model_loads(tmp_path: Path) -> None:
    path = tmp_path / "service.yaml"
    path.write_text(
        f"models: [{{class_path: {MODELS}.SlowModel, configuration: {{seconds: 60}}}}]", "utf-8"
    )
    process = subprocess.Popen(
        [sys.executable, "manage.py", "load_models"],
        cwd=ROOT,
        env={**os.environ, "REST_CONFIG": str(path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith(b"[1/1] Loading slow")
    process.send_signal(signal.SIGINT)
    assert process.wait(30) != 0
    process.stdout.close()


def test_the_help_says_what_is_measured() -> None:
    process = manage("load_models", "--help", path=ROOT / "rest_config.yaml")
    text = " ".join(process.stdout.split())
    assert "Load every model of the configuration in this process" in text
    assert "growth of this process's resident memory in MiB" in text
    assert "Exits with status 1 if a model that is required cannot be loaded" in text
