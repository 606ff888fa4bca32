"""Gunicorn's own log."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from gunicorn.config import Config

from modelhost.server.gunicorn_logger import GunicornLogger, hide_input


@pytest.fixture
def error_log() -> Any:
    """Gunicorn's logger, whose handlers may be changed."""
    logger = logging.getLogger("gunicorn.error")
    before = logger.handlers[:], logger.propagate, logger.level
    logger.handlers[:] = []
    yield logger
    logger.handlers[:], logger.propagate = before[:2]
    logger.setLevel(before[2])


@pytest.mark.parametrize("format_", ["text", "json"])
def test_it_has_the_format_of_the_services_log(
    error_log: logging.Logger,
    format_: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MODELHOST_LOG_FORMAT", format_)
    logger = GunicornLogger(Config())
    logger.warning("Invalid request from ip=%s: Invalid HTTP Header: 'secret'", "::1")
    logger.info("Booting worker with pid: %s", 7)
    refusal, boot = capsys.readouterr().err.splitlines()
    assert "secret" not in refusal
    if format_ == "json":
        entry = json.loads(boot)
        assert (entry["logger"], entry["message"]) == (error_log.name, "Booting worker with pid: 7")
    else:
        assert boot.endswith("[INFO] Booting worker with pid: 7")


@pytest.mark.parametrize(
    ("message", "arguments", "shown"),
    [
        (
            "Invalid request from ip=127.0.0.1: Invalid HTTP Header: 'token: secret'",
            (),
            "Invalid request from ip=127.0.0.1: Invalid HTTP Header",
        ),
        (
            "Invalid request from ip=::1: Invalid chunk size: b'secret\\nsecret'",
            (),
            "Invalid request from ip=::1: Invalid chunk size",
        ),
        (
            "Invalid request from ip=: Request Line is too large (5 > 4)",
            (),
            "Invalid request from ip=: Request Line is too large ",
        ),
        (
            "Error handling request %s %s",
            ("POST", "/a/b?token=secret"),
            "Error handling request POST /a/b",
        ),
        ("Error handling request", None, "Error handling request"),
        ("Booting worker with pid: %s", (7,), "Booting worker with pid: 7"),
    ],
)
def test_it_does_not_tell_what_clients_sent(message: str, arguments: Any, shown: str) -> None:
    record = logging.makeLogRecord({"msg": message, "args": arguments})
    assert hide_input(record)
    assert record.getMessage() == shown
