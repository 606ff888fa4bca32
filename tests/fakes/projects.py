"""Models, decorators and filters as projects built on ml_base write them; nothing is made for us.

They know neither this service nor each other: schemas in properties, decorators that are made
without their model and keep what they need in `__dict__`, connections that are opened when first
needed, configuration as keyword arguments.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sqlite3
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import uuid4

from ml_base import MLModel, MLModelDecorator
from ml_base.ml_model import MLModelSchemaValidationException
from pydantic import BaseModel, Field, create_model


class Sector(str, Enum):  # noqa: UP042 (as people write it)
    """What a customer does for a living."""

    FARMING = "farming"
    TRADE = "trade"


class LoanInput(BaseModel):
    """An application for a loan."""

    income: float = Field(ge=0, description="A year, in euros.")
    debts: float = Field(default=0.0, ge=0, description="In euros.")
    sector: Sector = Field(description="What the customer does for a living.")


class Verdict(str, Enum):  # noqa: UP042
    """Whether the loan is granted."""

    GRANTED = "granted"
    REFUSED = "refused"


class LoanOutput(BaseModel):
    """What became of the application."""

    verdict: Verdict = Field(description="Whether the loan is granted.")
    limit: float = Field(description="In euros.")


class LoanModel(MLModel):
    """Says what it is in properties, as ml_base's documentation shows it."""

    @property
    def display_name(self) -> str:
        """Name for people."""
        return "Loan model"

    @property
    def qualified_name(self) -> str:
        """Name for programs."""
        return "loan_model"

    @property
    def description(self) -> str:
        """What it does."""
        return "Decides on loans."

    @property
    def version(self) -> str:
        """Version of the model."""
        return "0.1.0"

    @property
    def input_schema(self) -> type[BaseModel]:
        """What it takes."""
        return LoanInput

    @property
    def output_schema(self) -> type[BaseModel]:
        """What it gives."""
        return LoanOutput

    def __init__(self) -> None:
        self._factors = {Sector.FARMING: 2.0, Sector.TRADE: 3.0}

    def predict(self, data: LoanInput) -> LoanOutput:
        """Grant it where there is something left."""
        left = data.income - data.debts
        verdict = Verdict.GRANTED if left > 0 else Verdict.REFUSED
        return LoanOutput(verdict=verdict, limit=max(0.0, left) * self._factors[data.sector])


class TicketDecorator(MLModelDecorator):
    """Makes both schemas anew at each access, and its answers by one of them."""

    @property
    def input_schema(self) -> type[BaseModel]:
        """The model's fields, and a ticket that may be left out."""

        class TicketedInput(self._model.input_schema):  # type: ignore[name-defined]
            ticket: str | None = None

        return TicketedInput

    @property
    def output_schema(self) -> type[BaseModel]:
        """The model's fields, and the ticket."""

        class TicketedOutput(self._model.output_schema):  # type: ignore[name-defined]
            ticket: str

        return TicketedOutput

    def predict(self, data: Any) -> BaseModel:
        """Hand the ticket through, or draw one."""
        given = data.model_dump()
        ticket = given.pop("ticket") or uuid4().hex
        prediction = self._model.predict(self._model.input_schema(**given))
        return self.output_schema(**{**prediction.model_dump(), "ticket": ticket})


class EnrichmentDecorator(MLModelDecorator):
    """Takes a key in place of some fields, which it looks up in a database."""

    def __init__(self, database: str, table: str, key: str, fields: list[str]) -> None:
        super().__init__(database=database, table=table, key=key, fields=fields)
        self.__dict__["_connection"] = None

    @property
    def input_schema(self) -> type[BaseModel]:
        """The model's fields but for those that are looked up, and the key."""
        schema = self._model.input_schema
        left: dict[str, Any] = {
            name: (field.annotation, field)
            for name, field in schema.model_fields.items()
            if name not in self._configuration["fields"]
        }
        left[self._configuration["key"]] = (int, Field(description="Key of the record."))
        return create_model(f"Enriched{schema.__name__}", **left)

    def predict(self, data: Any) -> Any:
        """Look the fields up, and let the model predict."""
        given = data.model_dump()
        key = given.pop(self._configuration["key"])
        return self._model.predict(self._model.input_schema(**given, **self._look_up(key)))

    def _look_up(self, key: int) -> dict[str, Any]:
        if self.__dict__["_connection"] is None:
            self.__dict__["_connection"] = sqlite3.connect(
                self._configuration["database"], check_same_thread=False
            )
        fields, table = ", ".join(self._configuration["fields"]), self._configuration["table"]
        query = f"select {fields} from {table} where {self._configuration['key']} = ?"  # noqa: S608
        found = self.__dict__["_connection"].execute(query, [key]).fetchone()
        if found is None:
            raise MLModelSchemaValidationException(f"There is no record {key}.")
        return dict(zip(self._configuration["fields"], found, strict=True))


class CacheDecorator(MLModelDecorator):
    """Keeps predictions as JSON, by a hash of some fields of what they were made for."""

    def __init__(self, folder: str, prefix: str = "", hashed_fields: list[str] | None = None):
        super().__init__(folder=folder, prefix=prefix, hashed_fields=hashed_fields)
        self.__dict__["_folder"] = Path(folder)

    def predict(self, data: Any) -> Any:
        """Find the prediction, or make and keep it."""
        path = self.__dict__["_folder"] / f"{self._key(data)}.json"
        if path.exists():
            return self._model.output_schema(**json.loads(path.read_text(encoding="utf-8")))
        prediction = self._model.predict(data)
        path.write_text(prediction.model_dump_json(), encoding="utf-8")
        return prediction

    def _key(self, data: Any) -> str:
        fields = self._configuration["hashed_fields"]
        hashed = data.model_dump_json(include=None if fields is None else set(fields))
        name = f"{self._configuration['prefix']}/{self._model.qualified_name}/{self._model.version}"
        return hashlib.sha256(f"{name}/{hashed}".encode()).hexdigest()


class EnvironmentFilter(logging.Filter):
    """Adds environment variables to each record."""

    def __init__(self, variables: list[str]) -> None:
        super().__init__()
        self._variables = {name.lower(): os.environ.get(name, "-") for name in variables}

    def filter(self, record: logging.LogRecord) -> bool:
        """Add them."""
        record.__dict__.update(self._variables)
        return True


class PredictionsOnlyFilter(logging.Filter):
    """Lets nothing but predictions pass."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Look for what the decorator adds."""
        return hasattr(record, "action")


class PredictionLogDecorator(MLModelDecorator):
    """Logs some fields of each input and output, and each error."""

    def __init__(self, input_fields: list[str], output_fields: list[str]) -> None:
        super().__init__(input_fields=input_fields, output_fields=output_fields)
        self.__dict__["_logger"] = None

    def predict(self, data: Any) -> Any:
        """Predict, and log it."""
        if self.__dict__["_logger"] is None:
            self.__dict__["_logger"] = logging.getLogger(f"{self._model.qualified_name}_logger")
        about = {"action": "predict", "model": self._model.qualified_name}
        try:
            prediction = self._model.predict(data=data)
        except Exception as error:
            self.__dict__["_logger"].error(
                "prediction failed", extra={**about, "error": str(error)}
            )
            raise
        given = {name: getattr(data, name) for name in self._configuration["input_fields"]}
        found = {name: getattr(prediction, name) for name in self._configuration["output_fields"]}
        self.__dict__["_logger"].info("prediction made", extra={**about, **given, **found})
        return prediction
