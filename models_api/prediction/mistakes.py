"""What the author of a model did wrong, in one sentence: what, where, and how to mend it."""

from __future__ import annotations

import difflib
import inspect
import re
import reprlib
import sysconfig
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import lru_cache
from math import isfinite, prod
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, get_args

import ml_base
from ml_base import MLModel, MLModelDecorator
from ml_base.ml_model import MLModelSchemaValidationException
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticSerializationError

from models_api.exceptions import REFUSALS, ModelsAPIError, key_path
from models_api.logs import SafeLogger, one_line
from models_api.prediction.description import ModelSchemas

logger = SafeLogger(__name__)

NOTHING = object()
"""Stands for what a call that raised has returned."""
_short = reprlib.Repr()
_short.maxstring = _short.maxother = _short.maxlong = 60
_SHOWN_KEYS = 8
_SHOWN_FIELDS = 3
_ML_BASE = str(Path(ml_base.__file__).resolve().parent)
_NOT_THE_AUTHORS = (
    *(str(Path(sysconfig.get_path(each)).resolve()) for each in ("stdlib", "purelib", "platlib")),
    str(Path(__file__).resolve().parents[1]),
    _ML_BASE,
)
"""Folders of Python, of installed packages, and of this one."""
_IN_MAIN = re.compile(r"Can't get attribute '\w+' on <module '__main__'")
_NOT_SUBSCRIPTABLE = re.compile(r"'(\w+)' object is not subscriptable")
_REFUSALS = (*REFUSALS, ModelsAPIError, MLModelSchemaValidationException)


class Call(NamedTuple):
    """A method of a model that was called to predict."""

    method: str
    name: str
    """The model's, for people."""
    schemas: ModelSchemas
    decorators: Sequence[str] = ()
    """Names of the classes around the model, through whose hands the prediction goes."""

    def __str__(self) -> str:
        return f"{self.method} of {self.name}"


def explain(error: BaseException, call: Call, returned: object = NOTHING) -> str:
    """Say in one line what a model did wrong.

    Args:
        error: What it raised, or why what it returned cannot be used.
        call: The method that did it.
        returned: What it returned; nothing where it raised.
    """
    try:
        sentence = _explained(error, call, returned)
    except Exception:  # noqa: BLE001 (values of any library are looked at, and shown)
        sentence = f"{call} failed by {type(error).__name__}"
    return " ".join(sentence.split())


def explain_loading(error: BaseException) -> str:
    """Say in one line why a model was not loaded."""
    place = place_of(error)
    if is_of_ml_base(error):
        return (
            "__init__ calls super().__init__(), and ml_base's MLModel has none that can be called: "
            f"remove that line{place}"
        )
    return f"{told(error)}{place}{_loading_advice(error)}"


def _loading_advice(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError):
        return ": install the package that provides it"
    path = str(error.filename or "") if isinstance(error, FileNotFoundError) else ""
    if path and not Path(path).is_absolute():
        return f": begin the path with Path(__file__).parent; it is looked for in {Path.cwd()}"
    if _IN_MAIN.search(one_line(error)):
        return (
            ": the file was pickled where that class was in the script itself; move it to a "
            "module, and pickle anew"
        )
    return ""


def described(value: object) -> str:
    """Return what a value is, in a few words, without what it holds: that is not for the log."""
    name = type(value).__name__
    shape = _shape(value)
    if value is None or (isinstance(value, float) and not isfinite(value)):
        found = str(value)
    elif isinstance(value, type):
        found = f"the class {value.__name__}"
    elif shape:
        found = f"{'array' if name == 'ndarray' else name} of shape {shape}"
    elif isinstance(value, list | tuple | set | frozenset):
        found = f"{name} of {len(value)}"
    elif inspect.iscoroutine(value) or inspect.isgenerator(value) or inspect.isroutine(value):
        found = f"{name} {value.__name__}"
    else:
        found = f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"
    return found


def _shape(value: object) -> tuple[int, ...]:
    """Return the shape of an array, a tensor, a series or a table; empty for all else."""
    shape = None if isinstance(value, type) else getattr(value, "shape", None)
    return tuple(map(int, shape)) if isinstance(shape, tuple) else ()


def told(error: BaseException) -> str:
    """Return kind and text of an error on one line, without the values that pydantic quotes."""
    if isinstance(error, PydanticSerializationError):
        return one_line(error).partition("[")[0].rstrip()
    if not isinstance(error, ValidationError):
        return one_line(error)
    found = error.errors(include_url=False, include_input=False, include_context=False)
    texts = [f"{key_path(each['loc'])}: {each['msg']}" for each in found[:_SHOWN_FIELDS]]
    return f"ValidationError of {error.title}: {'; '.join(texts)}"


def place_of(error: BaseException) -> str:
    """Return the author's own line that an error came through last: ` (my_models.py, line 7)`."""
    found = [
        each for each in _frames(error.__traceback__) if not each[0].startswith(_NOT_THE_AUTHORS)
    ]
    if not found:
        return ""
    path, line = found[-1]
    folder = str(Path.cwd())
    shown = path.removeprefix(folder).lstrip("/\\") if path.startswith(folder) else Path(path).name
    return f" ({shown}, line {line})"


def is_of_ml_base(error: BaseException) -> bool:
    """Return whether one of the methods raised that ml_base leaves to its subclasses."""
    frames = _frames(error.__traceback__)
    is_bare = isinstance(error, NotImplementedError) and not error.args
    return is_bare and bool(frames) and frames[-1][0].startswith(_ML_BASE)


class NoListError(TypeError):
    """What predict_batch returned is nothing that a list can be made of."""


def listed(found: object) -> list[object]:
    """Return what predict_batch returned as a list.

    Raises:
        NoListError: it is none.
    """
    if not isinstance(found, Iterable):
        message = f"{described(found)}; it should return a list with a prediction for each row"
        raise NoListError(message)
    return list(found)


def decorators_of(model: MLModel) -> list[str]:
    """Return the names of the decorators around a model, outermost first, without our own."""
    found = []
    while isinstance(model, MLModelDecorator):
        kind = type(model)
        if not kind.__module__.startswith("models_api."):
            found.append(kind.__name__)
        model = model.__dict__.get("_model")
    return found


class FallbackWarning:
    """Warns once that rows are predicted one by one which a model could have predicted together."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._was_given = threading.Event()

    def failed(self, error: BaseException) -> None:
        """Say that predict_batch raised, unless it did so to refuse its rows."""
        if isinstance(error, NoListError):
            self._warn(f"returned {error}")
            return
        # A bad row fails alone, and is answered and logged then.
        if not isinstance(error, _REFUSALS):
            self._warn(f"raised {told(error)}{place_of(error)}")

    def miscounted(self, found: int, expected: int) -> None:
        """Say that predict_batch gave more or fewer predictions than rows."""
        self._warn(
            f"returned {found} predictions for {expected} rows; it should return one for each"
        )

    def _warn(self, what: str) -> None:
        if not self._was_given.is_set():
            self._was_given.set()
            logger.warning(
                "predict_batch of %s %s. Such rows are predicted one by one, which is slower; this "
                "is said once.",
                self._name,
                what,
            )


def _explained(error: BaseException, call: Call, returned: object) -> str:
    if returned is not NOTHING:
        misfit = (
            _misfit(error, call.schemas.output, returned)
            if isinstance(error, ValidationError)
            else f"what has no JSON ({told(error)}): return Python's own values"
        )
        hands = (
            f" Its decorators had it too: {', '.join(call.decorators)}." if call.decorators else ""
        )
        return f"{_ended(f'{call} returned {misfit}')}{hands}"
    if isinstance(error, ValidationError):
        made = _schema_titled(call.schemas.output, error.title)
        if made is not None:
            verb = "returned" if made is call.schemas.output else f"made a {made.__name__} with"
            return _ended(f"{call} {verb} {_field_misfit(error, made)}{place_of(error)}")
    if is_of_ml_base(error):
        return (
            f"{call} calls super().{call.method}(), which ml_base's MLModel does not have: remove "
            f"that call{place_of(error)}."
        )
    return f"{call} raised {told(error)}{place_of(error)}{_advice(error, call.schemas.input)}"


def _ended(sentence: str) -> str:
    return sentence if sentence.endswith("?") else f"{sentence}."


def _misfit(error: ValidationError, schema: type[BaseModel], returned: object) -> str:
    if _has_fields(returned):
        return _field_misfit(error, schema, returned)
    advice = _whole_advice(returned, schema)
    return f"{described(returned)}; the schema says {schema.__name__}: {advice}"


def _has_fields(value: object) -> bool:
    if isinstance(value, type) or inspect.isroutine(value) or hasattr(value, "shape"):
        return False
    return (
        isinstance(value, Mapping | BaseModel) or is_dataclass(value) or hasattr(value, "__dict__")
    )


def _whole_advice(value: object, schema: type[BaseModel]) -> str:
    made = _constructor(schema)
    if value is None:
        return f"end it with return {made}"
    if isinstance(value, list | tuple) and all(isinstance(each, schema) for each in value):
        return "return one of them, and define predict_batch for many rows"
    if inspect.isawaitable(value):
        return "await it, in async def predict"
    if inspect.isgenerator(value):
        return f"return {made} instead of yielding"
    return f"write return {made}"


def _constructor(schema: type[BaseModel]) -> str:
    required = [name for name, field in schema.model_fields.items() if field.is_required()]
    names = required or list(schema.model_fields)
    shown = [f"{name}=..." for name in names[:_SHOWN_FIELDS]]
    more = ["..."] if len(names) > len(shown) else []
    return f"{schema.__name__}({', '.join([*shown, *more])})"


def _field_misfit(
    error: ValidationError, schema: type[BaseModel], returned: object = NOTHING
) -> str:
    details, *others = error.errors(include_url=False)
    more = f" (and {len(others)} more)" if others else ""
    value = details["input"]
    if returned is not NOTHING and details["type"] != "missing":
        # What was validated in the end may be a list where an array was returned.
        value = _within(returned, details["loc"], value)
    if details["type"] == "missing":
        is_made_here = returned is NOTHING and len(details["loc"]) == 1
        holder = schema.__name__ if is_made_here else described(value)
        return f"{holder} without {_missing(details, schema)}{more}"
    return f"{_detail(details, value, schema)}{more}"


def _within(holder: Any, location: Iterable[str | int], default: object) -> object:
    for part in location:
        try:
            content: Any = holder if isinstance(holder, Mapping | list | tuple) else vars(holder)
            holder = content[part]
        except (KeyError, IndexError, TypeError):
            return default
    return holder


def _detail(details: ErrorDetails, value: object, schema: type[BaseModel]) -> str:
    location = details["loc"]
    path = key_path(location)
    if details["type"] == "extra_forbidden":
        known = _nearest(str(location[-1]), schema.model_fields)
        advice = (
            f"did you mean {known}?" if known else f"its fields are {_names(schema.model_fields)}"
        )
        return f"{path}, which {schema.__name__} does not have: {advice}"
    shown = f"{path}={described(value)}" if path else described(value)
    expected, is_kind = _expected(details, schema)
    advice = _advice_for(value, expected) if is_kind else _advice_for_bound(value)
    return f"{shown}; the schema says {expected}: {advice}"


def _missing(details: ErrorDetails, schema: type[BaseModel]) -> str:
    field, path = str(details["loc"][-1]), key_path(details["loc"])
    given = _given_names(details["input"])
    nearest = _nearest(field, [name for name in given if name not in schema.model_fields])
    if nearest:
        return f"{path}: write {field} for {nearest}"
    return f"{path}: add it, or give the field a default in {schema.__name__}"


def _given_names(value: object) -> list[str]:
    if isinstance(value, Mapping):
        return [str(key) for key in value]
    if is_dataclass(value) and not isinstance(value, type):
        return [field.name for field in fields(value)]
    return [str(name) for name in getattr(value, "__dict__", ())]


def _expected(details: ErrorDetails, schema: type[BaseModel]) -> tuple[str, bool]:
    """Return what a field should be, and whether that is a type rather than a bound."""
    kind, message = details["type"], details["msg"]
    is_kind = kind.endswith(("_type", "_parsing", "_instance_of", "_from_float"))
    annotation = _annotation(schema, details["loc"]) if is_kind else None
    if annotation is not None:
        return annotation, True
    text = message.removeprefix("Input should be ").removeprefix("Value error, ")
    return (text.partition(", ")[0] if is_kind else text), is_kind


def _annotation(schema: type[BaseModel], location: Sequence[str | int]) -> str | None:
    """Return the type of a field as its class declares it; None of what is inside of a list."""
    if len(location) != 1:
        return None
    by_key = {field.alias or name: field for name, field in schema.model_fields.items()}
    field = schema.model_fields.get(str(location[0])) or by_key.get(str(location[0]))
    if field is None:
        return None
    text = inspect.formatannotation(field.annotation)
    return re.sub(r"\b(?:\w+\.)+(?=\w)", "", text) if "'" not in text else text


def _advice_for_bound(value: object) -> str:
    if isinstance(value, float) and not isfinite(value):
        return "return None for it, and let the field be None, too"
    return "return such a value, or change the schema"


def _advice_for(value: object, expected: str) -> str:
    takes_list = expected.startswith(("list", "a valid list", "tuple", "a valid tuple"))
    if shape := _shape(value):
        return _advice_for_array(value, shape, takes_list=takes_list)
    advice = f"return {expected}, or change the schema"
    if value is None:
        advice = f"return one, or declare the field as {expected} | None"
    elif inspect.isawaitable(value):
        advice = "write await before it, in async def predict"
    elif inspect.isgenerator(value):
        advice = "write list(...) around it" if takes_list else "take its value: next(...)"
    elif inspect.isroutine(value):
        advice = "call it: write () behind it"
    elif isinstance(value, type):
        advice = f"make one: {value.__name__}(...)"
    elif isinstance(value, list | tuple) and not takes_list:
        advice = "choose one of its items, such as [0]"
    elif expected == "str":
        advice = "write str(...) around it"
    return advice


def _advice_for_array(value: object, shape: tuple[int, ...], *, takes_list: bool) -> str:
    if takes_list and hasattr(value, "tolist"):
        return "write .tolist() behind it"
    if not hasattr(value, "item"):
        return "choose one of its values: .iloc[0, 0]"
    if prod(shape) == 1:
        return "write .item() behind it"
    return f"choose one of its numbers, such as [{', '.join(['0'] * len(shape))}].item()"


def _advice(error: BaseException, schema: type[BaseModel]) -> str:
    """Return what to do about an error that came of how the input is read; empty if it did not."""
    names = _names(schema.model_fields)
    if isinstance(error, AttributeError) and isinstance(error.obj, schema):
        nearest = _nearest(str(error.name), schema.model_fields)
        advice = f"did you mean {nearest}?" if nearest else f"its fields are {names}."
        return f": {advice}"
    found = _NOT_SUBSCRIPTABLE.search(one_line(error)) if isinstance(error, TypeError) else None
    if found and found[1] == schema.__name__ and schema.model_fields:
        first = next(iter(schema.model_fields))
        return f": the data is no dictionary; write data.{first}, or data.model_dump() for one."
    return "."


def _schema_titled(
    schema: object, title: str, seen: frozenset[int] = frozenset()
) -> type[BaseModel] | None:
    """Return the schema, or one of those within it, of which pydantic speaks by this title."""
    if id(schema) in seen:
        return None
    seen = seen | {id(schema)}
    inner: Iterable[object] = get_args(schema)
    if isinstance(schema, type) and issubclass(schema, BaseModel):
        if (schema.model_config.get("title") or schema.__name__) == title:
            return schema
        inner = [field.annotation for field in schema.model_fields.values()]
    return next(filter(None, [_schema_titled(each, title, seen) for each in inner]), None)


@lru_cache(maxsize=1024)
def _resolved(filename: str) -> str:
    return str(Path(filename).resolve())


def _frames(traceback: TracebackType | None) -> list[tuple[str, int]]:
    found = []
    while traceback is not None:
        filename = traceback.tb_frame.f_code.co_filename
        if not filename.startswith("<"):
            found.append((_resolved(filename), traceback.tb_lineno))
        traceback = traceback.tb_next
    return found


def _nearest(name: str, known: Iterable[str]) -> str | None:
    return next(iter(difflib.get_close_matches(name, list(known), n=1)), None)


def _names(names: Iterable[str]) -> str:
    found = [_short.repr(name)[1:-1] for name in names]
    shown = found[:_SHOWN_KEYS]
    more = ["..."] if len(found) > len(shown) else []
    return ", ".join([*shown, *more])
