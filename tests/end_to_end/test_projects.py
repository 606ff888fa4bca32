"""Projects that were written for ml_base and rest_model_service, served as they stand."""

from __future__ import annotations

import json
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from tests.end_to_end.scraped import samples, value
from tests.end_to_end.server import STARTERS, Server

pytestmark = pytest.mark.long

FAKES = "tests.fakes.projects"
LOAN = {"income": 100.0, "debts": 20.0, "sector": "trade"}
GRANTED = {"verdict": "granted", "limit": 240.0}
LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "fields": {"format": "PREDICTION %(action)s %(model)s %(sector)s %(limit)s %(stage)s"},
        "failures": {"format": "FAILURE %(action)s %(error)s %(stage)s"},
    },
    "filters": {
        "environment": {"()": f"{FAKES}.EnvironmentFilter", "variables": ["STAGE"]},
        "predictions": {"()": f"{FAKES}.PredictionsOnlyFilter"},
    },
    "handlers": {
        "console": {
            "class": "logging.StreamHandler",
            "stream": "ext://sys.stdout",
            "formatter": "fields",
            "filters": ["environment", "predictions"],
        }
    },
    "loggers": {
        "loan_model_logger": {"level": "INFO", "handlers": ["console"], "propagate": False}
    },
}


def decorated(name: str, **configuration: object) -> dict[str, object]:
    return {"class_path": f"{FAKES}.{name}", "configuration": configuration}


def project(*decorators: dict[str, object], **sections: object) -> dict[str, Any]:
    model = {
        "class_path": f"{FAKES}.LoanModel",
        "create_endpoint": True,
        "decorators": list(decorators),
    }
    return {"service_title": "Loans", "models": [model], **sections}


@pytest.fixture(params=STARTERS)
def start(request: pytest.FixtureRequest) -> Any:
    def start(configuration: dict[str, Any], **environment: str) -> Server:
        return STARTERS[request.param](
            configuration, environment={"MODELHOST_WORKERS": "1", **environment}
        )

    return start


def ask(server: Server, row: dict[str, Any], end: str = "") -> httpx.Response:
    return server.client.post(
        f"/api/models/loan_model/prediction{end}", json={"inputs": [row, row]} if end else row
    )


def predicted(server: Server, row: dict[str, Any]) -> Any:
    """The prediction for a row, which fits the document, alone and among others."""
    document = server.client.get("/openapi.json").json()
    validate(document)
    schema = document["paths"]["/api/models/loan_model/prediction"]["post"]["responses"]["200"]
    reference = schema["content"]["application/json"]["schema"]
    validator = Draft202012Validator({**reference, "components": document["components"]})
    response = ask(server, row)
    assert response.status_code == 200, response.text
    validator.validate(response.json())
    many = ask(server, row, "/batch")
    assert many.status_code == 200, many.text
    for each in many.json()["predictions"]:
        validator.validate(each)
    return response.json()


def test_a_plain_model_in_properties(start: Any) -> None:
    with start(project()) as server:
        assert predicted(server, LOAN) == GRANTED
        assert predicted(server, {"income": 1, "debts": 2, "sector": "farming"}) == {
            "verdict": "refused",
            "limit": 0.0,
        }
        assert ask(server, {"income": -1, "sector": "trade"}).status_code == 400


def test_metrics_and_logging_of_the_configuration(start: Any) -> None:
    log = decorated("PredictionLogDecorator", input_fields=["sector"], output_fields=["limit"])
    metrics = {"enabled": True, "should_instrument_requests_inprogress": True, "body_handlers": []}
    with start(project(log, metrics=metrics, logging=LOGGING), STAGE="test") as server:
        assert predicted(server, LOAN) == GRANTED
        # One alone and two of a batch, from which nothing else came through the filters.
        line = "PREDICTION predict loan_model Sector.TRADE 240.0 test"
        server.wait_until(lambda: server.log.count(line) == 3 or None, "three lines")
        assert server.log.count("PREDICTION") == 3
        assert value(samples(server), "model_predictions_total", outcome="success") == 2
        assert value(samples(server), "http_requests_total", handler="none") == 0


def test_a_decorator_that_makes_its_schemas_at_each_access(start: Any) -> None:
    with start(project(decorated("TicketDecorator"), decorated("TicketDecorator"))) as server:
        assert predicted(server, {**LOAN, "ticket": "mine"})["limit"] == 240.0
    with start(project(decorated("TicketDecorator"))) as server:
        assert predicted(server, {**LOAN, "ticket": "mine"}) == {**GRANTED, "ticket": "mine"}
        assert len(predicted(server, LOAN)["ticket"]) == 32
        metadata = server.client.get("/api/models/loan_model/metadata").json()
        assert "ticket" in metadata["input_schema"]["properties"]
        assert "ticket" in metadata["output_schema"]["required"]
        with ThreadPoolExecutor(8) as pool:
            tickets = [str(number) for number in range(40)]
            answers = pool.map(lambda ticket: ask(server, {**LOAN, "ticket": ticket}), tickets)
            assert [answer.json()["ticket"] for answer in answers] == tickets


def enriching(folder: Path) -> dict[str, object]:
    path = folder / "customers.sqlite3"
    with sqlite3.connect(path) as connection:
        connection.execute("create table customers (customer int, debts real, sector text)")
        rows = [(1, 20.0, "trade"), (2, 200.0, "farming")]
        connection.executemany("insert into customers values (?, ?, ?)", rows)
    connection.close()
    return decorated(
        "EnrichmentDecorator",
        database=str(path),
        table="customers",
        key="customer",
        fields=["debts", "sector"],
    )


def test_data_enrichment_by_a_decorator(start: Any, tmp_path: Path) -> None:
    with start(project(enriching(tmp_path))) as server:
        assert predicted(server, {"income": 100.0, "customer": 1}) == GRANTED
        assert predicted(server, {"income": 100.0, "customer": 2})["verdict"] == "refused"
        unknown = ask(server, {"income": 100.0, "customer": 3})
        assert (unknown.status_code, unknown.json()["messages"]) == (400, ["There is no record 3."])
        missing = ask(server, LOAN)
        assert (missing.status_code, missing.json()["messages"]) == (
            400,
            ["customer: Field required"],
        )
        metadata = server.client.get("/api/models/loan_model/metadata").json()
        assert set(metadata["input_schema"]["properties"]) == {"income", "customer"}


def test_a_cache_decorator(start: Any, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    cache = decorated(
        "CacheDecorator", folder=str(folder), prefix="loans", hashed_fields=["income", "sector"]
    )
    with start(project(cache)) as server:
        assert predicted(server, LOAN) == GRANTED
        # Of what is not hashed the cache knows nothing.
        assert predicted(server, {**LOAN, "debts": 99.0}) == GRANTED
        (kept,) = folder.iterdir()
        assert json.loads(kept.read_text(encoding="utf-8")) == GRANTED
        kept.write_text('{"verdict": "refused", "limit": 7}', encoding="utf-8")
        assert predicted(server, LOAN) == {"verdict": "refused", "limit": 7.0}


def test_a_logging_decorator_with_filters_logs_failures_too(start: Any, tmp_path: Path) -> None:
    failures = {**LOGGING["handlers"]["console"], "formatter": "failures"}
    logging = {**LOGGING, "handlers": {"console": failures}}
    log = decorated("PredictionLogDecorator", input_fields=["customer"], output_fields=["limit"])
    with start(project(enriching(tmp_path), log, logging=logging), STAGE="test") as server:
        assert ask(server, {"income": 1.0, "customer": 9}).status_code == 400
        line = "FAILURE predict There is no record 9. test"
        server.wait_until(lambda: line in server.log or None, "the line")
