"""Models and decorators that rest_model_service hosts as they stand, to compare the services."""

from __future__ import annotations

import threading
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Any, Literal
from uuid import UUID

import numpy as np
from ml_base import MLModel, MLModelDecorator
from ml_base.ml_model import MLModelSchemaValidationException
from ml_base.utilities import ModelManager
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    RootModel,
    computed_field,
    create_model,
    field_validator,
)


class Colour(Enum):
    RED = "red"
    GREEN = "green"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Place(BaseModel):
    city: str
    codes: list[int] = []


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"]
    name: str


class EchoInput(BaseModel):
    """One field of every kind that a model is likely to have."""

    count: int
    ratio: float = 1.0
    flag: bool = False
    text: str = Field(default="", max_length=20)
    colour: Colour | None = None
    level: Level = Level.LOW
    when: datetime | None = None
    day: date | None = None
    lasting: timedelta | None = None
    id: UUID | None = None
    place: Place | None = None
    places: list[Place] = []
    matrix: list[list[float]] = []
    names: set[str] = set()
    pair: tuple[int, str] | None = None
    scores: dict[str, float] = {}
    pet: Cat | Dog | None = Field(default=None, discriminator="kind")
    either: int | str | None = None
    anything: Any = None
    class_: str | None = Field(default=None, alias="class")

    @field_validator("text")
    @classmethod
    def _no_shouting(cls, text: str) -> str:
        if text and text == text.upper() and text != text.lower():
            raise ValueError("do not shout")
        return text


class EchoOutput(BaseModel):
    received: str


class EchoModel(MLModel):
    """Answers with the Python values that it was called with."""

    display_name = "Echo"
    qualified_name = "echo"
    description = "Says what it was *called* with: größer, 更大."
    version = "1.2.3"
    input_schema = EchoInput
    output_schema = EchoOutput

    def __init__(self) -> None:
        pass

    def predict(self, data: EchoInput) -> EchoOutput:
        values = data.model_dump()
        values["names"] = sorted(values["names"])
        return EchoOutput(received=repr(values))


class PaymentInput(BaseModel):
    amount: Decimal
    receipt: bytes = b""


class PaymentModel(MLModel):
    """Takes the types whose JSON Schema by pydantic is not the whole truth."""

    display_name = "Payment"
    qualified_name = "payment"
    description = "Takes an amount and a receipt."
    version = "1"
    input_schema = PaymentInput
    output_schema = EchoOutput

    def __init__(self) -> None:
        pass

    def predict(self, data: PaymentInput) -> EchoOutput:
        return EchoOutput(received=repr(data.model_dump()))


class StrictInput(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    number: float
    when: datetime | None = None
    pair: tuple[int, int] | None = None


class StrictModel(MLModel):
    display_name = "Strict"
    qualified_name = "strict-model.v2"
    description = ""
    version = "2"
    input_schema = StrictInput
    output_schema = EchoOutput

    def __init__(self) -> None:
        pass

    def predict(self, data: StrictInput) -> EchoOutput:
        return EchoOutput(received=repr(data.model_dump()))


class OutcomeInput(BaseModel):
    outcome: str


class Outcome(BaseModel):
    name: str = "plain"
    number: float | None = None
    when: datetime | None = None
    colour: Colour | None = None
    anything: Any = None


class DetailedOutcome(Outcome):
    detail: str = "more than the schema says"


class Twin(BaseModel):
    """Another class with the fields of Outcome."""

    name: str = "twin"
    number: float | None = 2.5
    when: datetime | None = None
    colour: Colour | None = None
    anything: Any = None


class Stranger(BaseModel):
    name: int = 1
    other: str = "does not fit"


class OutcomesModel(MLModel):
    """Ends each prediction in the way that the client names."""

    display_name = "Outcomes"
    qualified_name = "outcomes"
    description = "Ends in every way that a prediction can."
    version = "0.0.1"
    input_schema = OutcomeInput
    output_schema = Outcome

    def __init__(self) -> None:
        pass

    def predict(self, data: OutcomeInput) -> Any:
        return getattr(self, data.outcome)()

    def plain(self) -> Outcome:
        return Outcome(number=0.1 + 0.2, anything={"ü": [1, None, True, "𝄞"]})

    def tiny_and_huge(self) -> Outcome:
        return Outcome(number=1e-7, anything=[1e300, -0.0, 10**30, 5e-324])

    def schema_exception(self) -> Outcome:
        raise MLModelSchemaValidationException("the sepal is longer than the flower: größer")

    def schema_exception_without_text(self) -> Outcome:
        raise MLModelSchemaValidationException

    def exception(self) -> Outcome:
        raise RuntimeError("password=hunter2")

    def validation_error(self) -> Outcome:
        return Outcome.model_validate({"number": "none"})

    def not_a_number(self) -> Outcome:
        return Outcome(number=float("nan"))

    def infinity(self) -> Outcome:
        return Outcome(anything=[float("-inf")])

    def date_and_time(self) -> Outcome:
        return Outcome(when=datetime.fromisoformat("2026-11-22T10:00:00+01:00"))

    def plain_enum(self) -> Outcome:
        return Outcome(colour=Colour.GREEN)

    def numpy_array(self) -> Outcome:
        return Outcome(anything=np.arange(3))

    def numpy_float(self) -> Outcome:
        return Outcome(number=np.float64(0.5))

    def mapping(self) -> dict[str, str]:
        return {"name": "a dict"}

    def nothing(self) -> None:
        return None

    def twin(self) -> Twin:
        return Twin()

    def stranger(self) -> Stranger:
        return Stranger()

    def subclass(self) -> DetailedOutcome:
        return DetailedOutcome()

    def unvalidated(self) -> Outcome:
        values: dict[str, Any] = {"name": ["not", "a", "string"]}
        return Outcome.model_construct(**values)


class AliasedInput(BaseModel):
    width: float = Field(alias="sepalWidth")


class AliasedOutput(BaseModel):
    model_config = ConfigDict(populate_by_name=True)

    width: float = Field(alias="sepalWidth")

    @computed_field  # type: ignore[prop-decorator]
    @property
    def double(self) -> float:
        return 2 * self.width


class AliasedModel(MLModel):
    display_name = "Aliased"
    qualified_name = "aliased"
    description = "Has other names in JSON than in Python."
    version = "1"
    input_schema = AliasedInput
    output_schema = AliasedOutput

    def __init__(self) -> None:
        pass

    def predict(self, data: AliasedInput) -> AliasedOutput:
        return AliasedOutput(width=data.width)


class Numbers(RootModel[list[float]]):
    """A list, without an object around it."""


class RootedModel(MLModel):
    display_name = "Rooted"
    qualified_name = "rooted"
    description = "Takes a list and gives it back sorted."
    version = "1"
    input_schema = Numbers
    output_schema = Numbers

    def __init__(self) -> None:
        pass

    def predict(self, data: Numbers) -> Numbers:
        return Numbers(sorted(data.root))


class PropertiesModel(MLModel):
    """Says who it is in properties, as ml_base's base class does, and echoes its configuration."""

    def __init__(self, **configuration: Any) -> None:
        self._configuration = configuration

    @property
    def display_name(self) -> str:
        return "Configured"

    @property
    def qualified_name(self) -> str:
        return "configured"

    @property
    def description(self) -> str:
        return "Says what it was configured with."

    @property
    def version(self) -> str:
        return "3.0.0"

    @property
    def input_schema(self) -> type[BaseModel]:
        return OutcomeInput

    @property
    def output_schema(self) -> type[BaseModel]:
        return EchoOutput

    def predict(self, data: OutcomeInput) -> EchoOutput:
        return EchoOutput(received=repr(sorted(self._configuration.items())))


class FailingModel(EchoModel):
    """Never loads."""

    qualified_name = "failing"

    def __init__(self) -> None:
        raise RuntimeError("the weights are missing")


class DelegateOutput(BaseModel):
    asked: str
    names: list[str]
    answer: str


class DelegatingModel(MLModel):
    """Asks another model, which it finds in ml_base's ModelManager, from a thread of its own."""

    display_name = "Delegate"
    qualified_name = "delegate"
    description = "Lets another model predict."
    version = "1"
    input_schema = OutcomeInput
    output_schema = DelegateOutput

    def __init__(self) -> None:
        pass

    def predict(self, data: OutcomeInput) -> DelegateOutput:
        answers: list[DelegateOutput] = []
        thread = threading.Thread(target=lambda: answers.append(self._ask(data)))
        thread.start()
        thread.join()
        return answers[0]

    def _ask(self, data: OutcomeInput) -> DelegateOutput:
        manager = ModelManager()
        other = manager.get_model("outcomes")
        answer = other.predict(OutcomeInput(outcome=data.outcome))
        names = [model["qualified_name"] for model in manager.get_models()]
        return DelegateOutput(asked=repr(other), names=names, answer=answer.model_dump_json())


class PassingDecorator(MLModelDecorator):
    """Changes nothing."""


class SuffixDecorator(MLModelDecorator):
    """Adds to what the model says of itself; takes any keyword arguments, as its base class."""

    def __init__(self, model: MLModel | None = None, **configuration: Any) -> None:
        super().__init__(model, **configuration)

    @property
    def display_name(self) -> str:
        return str(self._model.display_name + self._configuration["suffix"])

    @property
    def description(self) -> str:
        return str(self._model.description + self._configuration["suffix"])

    @property
    def version(self) -> str:
        return str(self._model.version + self._configuration["suffix"])


class RenamingDecorator(MLModelDecorator):
    """Gives the model another qualified name."""

    @property
    def qualified_name(self) -> str:
        return "renamed"


class ReplacingDecorator(MLModelDecorator):
    """Replaces words in the output; takes its own keyword arguments and no model."""

    def __init__(self, old: str, new: str = "", times: int | None = None) -> None:
        super().__init__(old=old, new=new)
        self.__dict__["_times"] = -1 if times is None else times

    def predict(self, data: BaseModel) -> EchoOutput:
        configuration = self._configuration
        received = self._model.predict(data=data).received
        return EchoOutput(
            received=received.replace(
                configuration["old"], configuration["new"], self.__dict__["_times"]
            )
        )


class CallIDDecorator(MLModelDecorator):
    """Adds a field to both schemas, which are other classes of the same name at each access."""

    @property
    def input_schema(self) -> type[BaseModel]:
        schema = self._model.input_schema
        return create_model(schema.__name__, __base__=schema, call_id=(str | None, None))

    @property
    def output_schema(self) -> type[BaseModel]:
        schema = self._model.output_schema
        return create_model(schema.__name__, __base__=schema, call_id=(str, ...))

    def predict(self, data: Any) -> BaseModel:
        prediction = self._model.predict(data)
        call_id = data.call_id or "none was sent"
        return self.output_schema(call_id=call_id, **prediction.model_dump())


class Refusal(BaseModel):
    reasons: list[str]


class PolicyDecorator(MLModelDecorator):
    """Answers with the model's prediction or with a refusal; the schema is the union of both."""

    def __init__(self, forbidden: str) -> None:
        super().__init__(forbidden=forbidden)

    @property
    def output_schema(self) -> type[BaseModel]:
        return RootModel[self._model.output_schema | Refusal]  # type: ignore[name-defined]

    def predict(self, data: Any) -> BaseModel:
        if data.outcome == self._configuration["forbidden"]:
            return Refusal(reasons=[f"{data.outcome!r} is forbidden"])
        prediction: BaseModel = self._model.predict(data)
        return prediction


class CountingDecorator(MLModelDecorator):
    """Counts its calls, on the model, because that is where a decorator's attributes go."""

    def __init__(self, model: MLModel | None = None) -> None:
        super().__init__(model)

    def predict(self, data: Any) -> EchoOutput:
        self.calls = getattr(self, "calls", 0) + 1
        return EchoOutput(received=f"call {self.calls}: {self._model.predict(data).received}")
