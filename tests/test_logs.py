"""Logging that never raises."""

from __future__ import annotations

import logging
import logging.handlers
from collections.abc import Iterator
from pathlib import Path

import pytest

from models_api import logs
from models_api.logs import SafeHandler, SafeLogger, make_safe
from tests.fakes.noisy import ExitingHandler, RaisingFilter, RaisingHandler, Unspeakable

NAME = "tests.logs"


@pytest.fixture(params=[RaisingHandler, ExitingHandler])
def failing(request: pytest.FixtureRequest) -> Iterator[logging.Handler]:
    """A handler of a logger that fails."""
    handler: logging.Handler = request.param()
    logging.getLogger(NAME).addHandler(handler)
    yield handler
    logging.getLogger(NAME).removeHandler(handler)


def log_in_every_way(logger: SafeLogger) -> None:
    logger.debug("a")
    logger.info("a %s", "b")
    logger.warning("a", extra={"b": 1})
    logger.critical("a %s", Unspeakable())
    try:
        raise ValueError("c")
    except ValueError as error:
        logger.error("a", exc_info=error)
        logger.exception("a")


@pytest.mark.usefixtures("failing")
def test_a_handler_that_fails_fails_nobody_who_logs_safely() -> None:
    log_in_every_way(SafeLogger(NAME))


@pytest.mark.usefixtures("failing")
def test_a_handler_that_fails_fails_no_library_whose_logger_is_guarded() -> None:
    logger = logging.getLogger(f"{NAME}.of_a_library")
    with pytest.raises((RuntimeError, SystemExit)):
        logger.warning("a")
    handle = logger.handle
    logs.guard(logger)
    logger.warning("a")
    logger.handle = handle  # type: ignore[method-assign]


def test_a_record_says_who_has_logged_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, NAME)
    logger = SafeLogger(NAME)
    logger.info("a %s", "b")
    try:
        raise ValueError("c")
    except ValueError:
        logger.exception("d")
    assert [record.getMessage() for record in caplog.records] == ["a b", "d"]
    assert {record.filename for record in caplog.records} == {Path(__file__).name}
    assert {record.funcName for record in caplog.records} == {
        "test_a_record_says_who_has_logged_it"
    }
    assert caplog.records[1].exc_info is not None


def test_a_handler_that_was_made_safe_says_once_what_is_wrong(
    failing: logging.Handler, capsys: pytest.CaptureFixture[str]
) -> None:
    make_safe(failing)
    make_safe(failing)
    assert isinstance(failing, SafeHandler)
    for _ in range(100):
        logging.getLogger(NAME).error("a")
    said = capsys.readouterr().err
    assert said.count("--- Logging error ---") == 1
    assert "the log's own" in said


def test_a_handler_that_was_made_safe_still_is_what_it_was(tmp_path: Path) -> None:
    handler = logging.handlers.RotatingFileHandler(tmp_path / "log", maxBytes=100)
    make_safe(handler)
    assert isinstance(handler, logging.handlers.RotatingFileHandler)
    assert type(handler).__name__ == "RotatingFileHandler"
    handler.handle(logging.makeLogRecord({"msg": "a"}))
    handler.close()
    assert (tmp_path / "log").read_text(encoding="utf-8") == "a\n"


def test_a_configured_handler_goes_on_where_a_filter_fails(tmp_path: Path) -> None:
    path = tmp_path / "log"
    logs.configure(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "filters": {"raising": {"()": RaisingFilter}},
            "handlers": {"own": {"class": "logging.FileHandler", "filename": str(path)}},
            "loggers": {NAME: {"handlers": ["own"], "filters": ["raising"], "level": "INFO"}},
        }
    )
    logger = logging.getLogger(NAME)
    try:
        logger.info("a")
    finally:
        for handler in [*logger.handlers]:
            logger.removeHandler(handler)
            handler.close()
        logger.filters.clear()
    assert path.read_text(encoding="utf-8") == "a\n"


def test_a_keyboard_interrupt_is_no_failure_of_the_log() -> None:
    class Interrupted(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise KeyboardInterrupt

    handler = Interrupted()
    make_safe(handler)
    with pytest.raises(KeyboardInterrupt):
        handler.handle(logging.makeLogRecord({"msg": "a"}))
