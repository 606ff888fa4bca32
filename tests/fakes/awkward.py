"""Models whose schemas are hard to describe; each gives back what it was given."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import (
    Annotated,
    Any,
    ClassVar,
    Generic,
    Literal,
    NamedTuple,
    NotRequired,
    TypeVar,
)
from uuid import UUID

from ml_base import MLModel
from pydantic import (
    UUID4,
    AliasChoices,
    AwareDatetime,
    Base64Bytes,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    NaiveDatetime,
    PositiveInt,
    RootModel,
    StringConstraints,
    computed_field,
    model_serializer,
)
from typing_extensions import TypeAliasType, TypedDict

T = TypeVar("T")


class Echo(MLModel):
    """Base of the models here: `takes` is the class of the input, `gives` that of the output."""

    version = "1.0.0"
    all: ClassVar[list[type[Echo]]] = []
    """Every model of this module, in its order."""

    def __init_subclass__(
        cls, *, takes: type[BaseModel], gives: type[BaseModel] | None = None
    ) -> None:
        cls.display_name = cls.__name__
        cls.qualified_name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", cls.__name__).lower()
        cls.description = cls.__doc__
        cls.input_schema, cls.output_schema = takes, gives or takes
        Echo.all.append(cls)

    def __init__(self) -> None:
        """Do nothing: there is nothing to load."""

    def predict(self, data: Any) -> Any:
        """Give the input back, as the output's class has it."""
        return data if isinstance(data, self.output_schema) else data.model_dump()


def configuration(*models: type[Echo]) -> dict[str, object]:
    """The configuration file that serves these models, or all of this module."""
    return {
        "models": [{"class_path": f"{__name__}.{model.__name__}"} for model in models or Echo.all]
    }


class Apples:
    """Namespace of schemas that `Pears` has under the same names."""

    class Input(BaseModel):
        """Apples."""

        class Sub(BaseModel):
            """A part of the apples."""

            x: int

        sub: Sub
        subs: list[Sub] = []

    class Output(BaseModel):
        """Apples, too."""

        sub: Apples.Input.Sub


class Pears:
    """Namespace of schemas that `Apples` has under the same names."""

    class Input(BaseModel):
        """Pears."""

        class Sub(BaseModel):
            """A part of the pears."""

            y: str

        sub: Sub

    class Output(BaseModel):
        """Pears, too."""

        sub: Pears.Input.Sub
        discriminator: Pears.Input.Sub | None = None


class SameNames(Echo, takes=Apples.Input, gives=Apples.Output):
    """Its classes have the names of those of `OtherSameNames`, which have other fields."""


class OtherSameNames(Echo, takes=Pears.Input, gives=Pears.Output):
    """Its classes have the names of those of `SameNames`, which have other fields."""


class Twin:
    """Namespace of a class whose double has the same name and the same fields."""

    class Double(BaseModel):
        """Looks the same."""

        x: int


class OtherTwin:
    """Namespace of the double."""

    class Double(BaseModel):
        """Looks the same."""

        x: int


class Identical(Echo, takes=Twin.Double):
    """Its class looks like that of `OtherIdentical`, and is another one."""


class OtherIdentical(Echo, takes=OtherTwin.Double):
    """Its class looks like that of `Identical`, and is another one."""


class Size(StrEnum):
    """How large it is."""

    SMALL = "small"
    LARGE = "large"


class Shared(BaseModel):
    """A class that two models use."""

    name: str
    size: Size = Size.SMALL


class Sharing(Echo, takes=Shared):
    """Uses the same class as `AlsoSharing`."""


class AlsoSharing(Echo, takes=Shared):
    """Uses the same class as `Sharing`."""


class Measure(BaseModel):
    """How much it is."""

    grams: float = 1.0


class SharingInput(Echo, takes=Shared, gives=Measure):
    """Takes the class of `Sharing`, and gives another one."""

    def predict(self, data: Any) -> Any:
        """Measure."""
        return Measure()


class Status(Echo, takes=Shared):
    """Has the name of a tag of the service's own."""


class Left:
    """Namespace of one `Part`."""

    class Part(BaseModel):
        """The left part."""

        x: int


class Right:
    """Namespace of another `Part`."""

    class Part(BaseModel):
        """The right part."""

        y: str


class TwoPartsInput(BaseModel):
    """Two different classes called `Part`."""

    left: Left.Part
    right: Right.Part


class TwoParts(Echo, takes=TwoPartsInput):
    """Uses two nested classes of one name."""


class Tree(BaseModel):
    """A node with others below it."""

    value: int = 0
    children: list[Tree] = []


class Recursive(Echo, takes=Tree):
    """Its root refers to itself."""


class Folder(BaseModel):
    """Holds files."""

    files: dict[str, File] = {}


class File(BaseModel):
    """May be a folder."""

    size: PositiveInt
    folder: Folder | None = None


class MutuallyRecursive(Echo, takes=Folder):
    """Two classes refer to each other."""


class Wrap(BaseModel, Generic[T]):
    """Something wrapped."""

    value: T


class GenericsInput(BaseModel):
    """One generic class with several arguments."""

    number: Wrap[int]
    text: Wrap[str]
    nested: Wrap[list[Wrap[int]]]
    left: Wrap[Left.Part]


class Generics(Echo, takes=GenericsInput, gives=Wrap[GenericsInput]):
    """Generic classes, as fields and as the output itself."""

    def predict(self, data: Any) -> Any:
        """Wrap the input."""
        return Wrap[GenericsInput](value=data)


class Cat(BaseModel):
    """A cat."""

    kind: Literal["cat"]
    lives: int = Field(default=9, ge=0, le=9)


class Dog(BaseModel):
    """A dog."""

    kind: Literal["dog", "hound"]
    legs: Literal[3, 4]
    owner: Pet | None = None


class Pet(BaseModel):
    """A pet of either kind."""

    pet: Annotated[Cat | Dog, Field(discriminator="kind")]


class Numbered(BaseModel):
    """Told apart by a number."""

    version: Literal[1]


class AlsoNumbered(BaseModel):
    """Told apart by a number."""

    version: Literal[2]
    more: str


class DiscriminatedUnionInput(BaseModel):
    """Unions that a property tells apart."""

    first: Annotated[Cat | Dog, Field(discriminator="kind")]
    others: list[Annotated[Cat | Dog, Field(discriminator="kind")]] = []
    pet: Pet | None = None
    numbered: Annotated[Numbered | AlsoNumbered, Field(discriminator="version")]


class DiscriminatedUnion(Echo, takes=DiscriminatedUnionInput):
    """Discriminated unions, one of them recursive."""


class PlainUnionInput(BaseModel):
    """Unions that nothing tells apart."""

    scalar: int | str | bool
    numbers: float | list[float]
    thing: Left.Part | Tree | None = None


class PlainUnion(Echo, takes=PlainUnionInput):
    """Plain unions."""


class AliasesInput(BaseModel):
    """Different names in Python, on the way in and on the way out."""

    model_config = ConfigDict(populate_by_name=True)

    both: int = Field(alias="bothWays")
    incoming: int = Field(validation_alias="wayIn")
    outgoing: int = Field(serialization_alias="wayOut")
    different: int = Field(validation_alias="one-in", serialization_alias="one-out")
    choices: int = Field(default=0, validation_alias=AliasChoices("first", "second"))
    odd: str = Field(default="", alias="$ref")


class Aliases(Echo, takes=AliasesInput):
    """Aliases, so that input and output differ for one class."""


class ComputedOutput(BaseModel):
    """A field that is computed from another."""

    side: float = Field(ge=0, le=1e100)
    secret: str = Field(default="", exclude=True)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def area(self) -> float:
        """The square of the side."""
        return self.side**2


class ComputedInput(BaseModel):
    """What the area is computed from."""

    side: float = Field(ge=0, le=1e100)


class Computed(Echo, takes=ComputedInput, gives=ComputedOutput):
    """A computed field in the output, and one that is left out."""


class BothWaysInput(BaseModel):
    """A class that differs between input and output."""

    part: ComputedOutput
    count: int = 3


class BothWays(Echo, takes=BothWaysInput):
    """Takes and gives one class, which differs between the two."""


class OptionalInput(BaseModel):
    """Values that may be missing or null."""

    nullable: int | None
    optional: int | None = None
    part: Left.Part | None = None
    missing: Annotated[str, Field(max_length=5)] | None = "here"


class Optional(Echo, takes=OptionalInput):
    """Nullable and optional fields."""


class LiteralsInput(BaseModel):
    """Literals of all kinds."""

    one: Literal["only"]
    some: Literal["a", "b", "a b"]
    # Hoisting this one into a component of its own would need one type, and it has three.
    mixed: Literal["a", 1, None]
    truth: Literal[True]


class OtherLiteralsInput(BaseModel):
    """Other choices under the same name of a property."""

    some: Literal["c", "d"] = "c"


class Literals(Echo, takes=LiteralsInput):
    """Literals."""


class OtherLiterals(Echo, takes=OtherLiteralsInput):
    """Literals in a property that `Literals` has, too."""


class NestedInput(BaseModel):
    """Lists in lists, and tuples."""

    matrix: list[list[float]]
    cube: Annotated[list[list[list[int]]], Field(min_length=1, max_length=2)]
    pair: tuple[int, str]
    triples: list[tuple[float, float, float | None]] = []
    many: tuple[int, ...] = (1, 2)


class Nested(Echo, takes=NestedInput):
    """Nested lists and tuples of fixed length."""


class Rows(RootModel[list[Shared]]):
    """A list at the root."""


class RootList(Echo, takes=Rows):
    """A list as the body."""


class Table(RootModel[dict[str, list[int]]]):
    """A mapping at the root."""


class RootDict(Echo, takes=Table):
    """A mapping as the body."""


class RootScalarInput(RootModel[Annotated[int, Field(ge=0)]]):
    """A number at the root."""


class RootScalar(Echo, takes=RootScalarInput):
    """A number as the body."""


class AnythingInput(RootModel[Any]):
    """Whatever JSON there is."""


class Anything(Echo, takes=AnythingInput):
    """Any JSON as the body."""


class MoneyInput(BaseModel):
    """Decimals."""

    plain: Decimal
    price: Decimal = Field(max_digits=8, decimal_places=2)
    share: Decimal = Field(default=Decimal("0.5"), max_digits=4, decimal_places=4)
    digits: Decimal = Field(default=Decimal(0), max_digits=5)
    rate: Decimal | None = Field(default=None, ge=0, lt=Decimal("1.5"))
    step: Decimal = Field(default=Decimal("0.10"), multiple_of=Decimal("0.05"))  # type: ignore[call-overload]


class Money(Echo, takes=MoneyInput):
    """Decimals."""


class TimesInput(BaseModel):
    """Dates and times."""

    day: date
    moment: datetime
    clock: time
    period: timedelta
    identifier: UUID
    random: UUID4 | None = None
    local: NaiveDatetime | None = None
    zoned: AwareDatetime | None = None


class Times(Echo, takes=TimesInput):
    """Dates, times, durations and identifiers."""


class TimesAsNumbersInput(BaseModel):
    """A duration that goes out as a number."""

    model_config = ConfigDict(ser_json_timedelta="float")

    period: timedelta = timedelta(seconds=90)


class TimesAsNumbers(Echo, takes=TimesAsNumbersInput):
    """Durations as numbers."""


class BytesInput(BaseModel):
    """Bytes as text."""

    data: bytes
    short: bytes = Field(default=b"", max_length=8)
    encoded: Base64Bytes = b""


class Bytes(Echo, takes=BytesInput):
    """Bytes."""


class EncodedBytesInput(BaseModel):
    """Bytes in base64."""

    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    data: bytes
    some: list[bytes] = [b"\xff\xfe"]


class EncodedBytes(Echo, takes=EncodedBytesInput):
    """Bytes in base64."""


class HexBytesInput(BaseModel):
    """Bytes in hexadecimal digits."""

    model_config = ConfigDict(ser_json_bytes="hex", val_json_bytes="hex")

    data: bytes


class HexBytes(Echo, takes=HexBytesInput):
    """Bytes in hexadecimal digits."""


class Level(IntEnum):
    """How high it is."""

    LOW = 1
    HIGH = 10


class Odd(Enum):
    """Values of several types."""

    TEXT = "text"
    NUMBER = 15
    NOTHING = None


class EnumsInput(BaseModel):
    """Enums."""

    size: Size
    level: Level = Level.LOW
    odd: Odd = Odd.TEXT
    sizes: list[Size] = [Size.SMALL]
    by_size: dict[Size, int] = {}


class Enums(Echo, takes=EnumsInput):
    """Enums, one of them that of other models."""


class NonFiniteInput(BaseModel):
    """Defaults and bounds without JSON."""

    not_a_number: float = math.nan
    infinite: float = math.inf
    optional: float | None = -math.inf
    bounded: float = Field(default=0, ge=-math.inf, le=math.inf)
    examples: float = Field(default=1, examples=[math.nan, 1.5])
    # A schema may have a property of any name, that of a keyword too.
    default: float = math.nan
    const: float = Field(default=math.inf, ge=0)


class SeveralNonFiniteInput(NonFiniteInput):
    """A default that holds a NaN among numbers."""

    several: list[float] = [1.0, math.nan]
    nested: dict[str, tuple[float, float]] = {"a": (0.0, math.inf)}


class NonFinite(Echo, takes=SeveralNonFiniteInput, gives=NonFiniteInput):
    """Defaults, examples and bounds that are not finite."""


class SetsInput(BaseModel):
    """Sets, whose order is chance."""

    words: set[str] = {"one", "two", "three", "four", "five", "six"}
    numbers: frozenset[int] = frozenset({3, 1, 2})
    nested: list[set[str]] = [{"x", "y", "z"}, {"u", "v", "w"}]
    some: Annotated[set[int], Field(min_length=1, max_length=3)] = {1}


class Sets(Echo, takes=SetsInput):
    """Sets, and defaults of sets."""


class MappingsInput(BaseModel):
    """Mappings."""

    parts: dict[str, Left.Part]
    by_number: dict[int, str] = {}
    by_day: dict[date, float] = {}
    by_literal: dict[Literal["x", "y"], int] = {}
    by_pattern: dict[Annotated[str, Field(pattern=r"^[a-z]+$")], int] = {}
    few: Annotated[dict[str, bool], Field(max_length=2)] = {}


class Mappings(Echo, takes=MappingsInput):
    """Mappings with keys of several types."""


class ErrorsInput(BaseModel):
    """Uses a class that is called like one of the service's own."""

    class Error(BaseModel):
        """A measurement's error."""

        sigma: FiniteFloat

    error: Error


class Errors(Echo, takes=ErrorsInput, gives=ErrorsInput.Error):
    """Its `Error` is not the service's."""

    def predict(self, data: Any) -> Any:
        """Give the error."""
        return data.error


class StrictInput(BaseModel):
    """Nothing is converted."""

    model_config = ConfigDict(strict=True, extra="forbid")

    number: float
    text: str
    flag: bool = False
    day: date | None = None
    pair: tuple[str, float] = ("a", 1.0)
    size: Size = Size.LARGE
    words: set[str] = set()


class Strict(Echo, takes=StrictInput):
    """Strict, and forbids what it does not know."""


class OpenInput(BaseModel):
    """Takes more than it knows."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, int] = Field(init=False)

    known: str = ""


class Open(Echo, takes=OpenInput):
    """Allows further properties, all of them whole numbers."""


class StringsInput(BaseModel):
    """Strings with conditions."""

    code: str = Field(pattern=r"^[A-Z]{2}\d{2,4}$")
    length: Annotated[str, StringConstraints(min_length=1, max_length=3)] = "abc"
    stripped: Annotated[str, StringConstraints(strip_whitespace=True, min_length=2)] = "ab"
    lower: Annotated[str, StringConstraints(to_lower=True, max_length=9)] = "a"
    anywhere: str = Field(default="x", pattern="[x-z]")


class Strings(Echo, takes=StringsInput):
    """Constrained strings."""


class NumbersInput(BaseModel):
    """Numbers with conditions."""

    count: Annotated[int, Field(ge=1, lt=100)]
    even: int = Field(default=0, multiple_of=2)
    share: float = Field(default=0.5, gt=0, lt=1)
    quarter: float = Field(default=0.25, multiple_of=0.25, ge=-10, le=10)
    huge: int = 10**30
    finite: FiniteFloat = 0.0


class Numbers(Echo, takes=NumbersInput):
    """Constrained numbers."""


class TitledInput(BaseModel):
    """A description with *Markdown*, "quotes" and ümlauts."""

    model_config = ConfigDict(
        title="A title of its own",
        json_schema_extra={"examples": [{"value": 1}], "x-unit": "m²"},
        use_attribute_docstrings=True,
    )

    value: int = Field(title="The value", json_schema_extra={"x-unit": "m"})
    documented: int = 0
    """From the docstring below the field."""
    old: int | None = Field(default=None, deprecated=True)


class Titled(Echo, takes=TitledInput):
    """Titles, descriptions and extensions of its own."""


@dataclass
class Point:
    """A point in the plane."""

    x: float
    y: float = 0.0


class Movie(TypedDict):
    """A film."""

    name: str
    year: NotRequired[int]


class Pair(NamedTuple):
    """Two numbers."""

    first: int
    second: float = 2.0


class OtherClassesInput(BaseModel):
    """Classes that are no pydantic models."""

    point: Point
    movie: Movie
    pair: Pair
    points: list[Point] = []


class OtherClasses(Echo, takes=OtherClassesInput):
    """Dataclass, TypedDict and NamedTuple."""


Share = Annotated[float, Field(ge=0, le=1, description="From nothing to all.")]
Shares = TypeAliasType("Shares", list[Share])
Words = TypeAliasType("Words", "str | list[Words]")


class TypeAliasesInput(BaseModel):
    """Type aliases."""

    share: Share
    shares: Shares = Field(default_factory=list)


class TypeAliases(Echo, takes=TypeAliasesInput):
    """Type aliases, and a default factory."""


class RecursiveAliasInput(BaseModel):
    """A type alias that refers to itself."""

    words: Words = ""


class RecursiveAlias(Echo, takes=RecursiveAliasInput):
    """A recursive type alias."""


class CustomSerialiserInput(BaseModel):
    """Writes itself in a way of its own."""

    a: int
    b: int

    @model_serializer
    def sum(self) -> dict[str, int]:
        """Write the sum alone."""
        return {"sum": self.a + self.b}


class CustomSerialiser(Echo, takes=CustomSerialiserInput):
    """Takes two properties, gives another."""
