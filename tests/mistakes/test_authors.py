"""What the author of a model may do wrong, and the sentence for it: what, where, how to mend it."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent, indent
from typing import Any, NamedTuple

import pytest
from django.test import override_settings

from models_api.exceptions import ConfigurationError
from tests.in_process import InProcessService

MODULE = "rent_of_a_beginner"
CLASS = f"{MODULE}.RentModel"
HEAD = """
import asyncio
from typing import Literal

import numpy as np
import pandas as pd
from ml_base import MLModel, MLModelDecorator
from pydantic import BaseModel, Field


class Flat(BaseModel):
    square_metres: float


class Rent(BaseModel):
    value: float


class Report(BaseModel):
    model_config = {"extra": "forbid"}
    label: Literal["cheap", "dear"] = "cheap"
    share: float = Field(0, ge=0, le=1, allow_inf_nan=False)
    values: list[float] = []
    rents: list[Rent] = []
    name: str = ""


class Price(BaseModel):
    price: float


async def later():
    return 1.0


def one_by_one():
    yield 1.0


class Named(MLModel):
    display_name, qualified_name, description, version = "Rent", "rent", "", "1.0.0"
    input_schema, output_schema = Flat, Rent

    def __init__(self):
        self.rents = np.array([12.5])


class Works(Named):
    def predict(self, data):
        return Rent(value=1)
"""


class Mistake(NamedTuple):
    """One mistake, and what the sentence about it says."""

    source: str
    """Of the module, behind HEAD."""
    parts: tuple[str, ...]
    """What is wrong, where, and how to mend it."""
    entry: dict[str, Any] = {}  # noqa: RUF012
    """Of the YAML file, besides the class path."""
    body: bytes = b'{"square_metres": 60}'


def predicts(body: str, *parts: str, schema: str = "Rent", **more: Any) -> Mistake:
    """The mistake of a method `predict`."""
    source = (
        f"class RentModel(Named):\n    output_schema = {schema}\n\n    def predict(self, data):\n"
    )
    return Mistake(source + indent(dedent(body), " " * 8), ("predict of rent ", *parts), **more)


def says(source: str, *parts: str, **more: Any) -> Mistake:
    """The mistake of a whole class."""
    return Mistake(dedent(source), parts, **more)


def entry(class_path: Any, *parts: str, source: str = "", **more: Any) -> Mistake:
    """The mistake of an entry of the YAML file about classes."""
    return Mistake(source, parts, {"class_path": class_path, **more})


HERE = f"{MODULE}.py, line "
RETURNED = "predict of rent returned "
NUMBER = "the schema says float: "
RENT = "the schema says Rent: "

MISTAKES = {
    # What predict returns.
    "an array of one element for a number": predicts(
        "return Rent(value=self.rents)", RETURNED, "value=array of shape (1,)", NUMBER,
        "write .item() behind it", HERE,
    ),
    "the same in a dictionary": predicts(
        "return {'value': self.rents}", "value=array of shape (1,)", NUMBER, ".item()"
    ),
    "the same, put in later": predicts(
        "rent = Rent(value=1)\nrent.value = self.rents\nreturn rent",
        "value=array of shape (1,)", NUMBER, ".item()",
    ),
    "an array of more": predicts(
        "return Rent(value=np.ones(3))", "value=array of shape (3,)", NUMBER, "such as [0].item()"
    ),
    "a table for a number": predicts(
        "return Rent(value=pd.DataFrame([[1.5]]))", "value=DataFrame of shape (1, 1)", NUMBER,
        ".iloc[0, 0]",
    ),
    "a series for a number": predicts(
        "return Rent(value=pd.Series([1.5]))", "value=Series of shape (1,)", NUMBER, ".item()"
    ),
    "a list for a number": predicts(
        "return Rent(value=[1.5])", "value=list of 1", NUMBER, "choose one of its items"
    ),
    "nothing for a number": predicts(
        "return Rent(value=None)", "value=None", NUMBER, "declare the field as float | None"
    ),
    "a word for a number": predicts(
        "return {'value': 'dear'}", "value=a str", NUMBER, "or change the schema"
    ),
    "a coroutine for a number": predicts(
        "found = later()\ntry:\n    return Rent(value=found)\nfinally:\n    found.close()",
        "value=coroutine later", NUMBER, "write await before it",
    ),
    "a generator for a number": predicts(
        "return Rent(value=one_by_one())", "value=generator one_by_one", NUMBER, "next(...)"
    ),
    "a method for a number": predicts(
        "return Rent(value=self.rents.item)", "value=builtin_function_or_method item", NUMBER,
        "write () behind it",
    ),
    "a date of numpy's for a number": predicts(
        "return Rent(value=np.datetime64('2026-01-01'))", "value=a datetime64", NUMBER,
        "or change the schema",
    ),
    "an array of numpy's numbers for a list of names": predicts(
        "return Report(values='12')", "values=a str", "the schema says list[float]", schema="Report"
    ),
    "a number for a string": predicts(
        "return Report(name=np.int64(3))", "name=an int64", "the schema says str",
        "write str(...) around it", schema="Report",
    ),
    "a word that is none of the choice": predicts(
        "return {'label': 'free'}", "label=a str", "the schema says 'cheap' or 'dear'",
        "return such a value, or change the schema", schema="Report",
    ),
    "a number beyond its bound": predicts(
        "return Report(share=1.5)", "share=a float", "the schema says less than or equal to 1",
        "or change the schema", HERE, schema="Report",
    ),
    "NaN where it is refused": predicts(
        "return Report(share=float('nan'))", "share=nan", "the schema says a finite number",
        "return None for it", schema="Report",
    ),
    "a mistake within a list": predicts(
        "return {'rents': [{'value': 'x'}]}", "rents[0].value=a str", "a valid number",
        "or change the schema", schema="Report",
    ),
    "a mistake of something within": predicts(
        "return Report(rents=[Rent(value=self.rents)])", "made a Rent with value=array of shape",
        ".item()", schema="Report",
    ),
    "a misspelt field": predicts(
        "return {'valu': 1.5}", RETURNED, "without value", "write value for valu"
    ),
    "a field that is missing": predicts(
        "return Rent()", RETURNED, "Rent without value", "add it, or give the field a default", HERE
    ),
    "a field too many": predicts(
        "return Report(nam='x')", "nam, which Report does not have", "did you mean name?",
        schema="Report",
    ),
    "nothing": predicts("pass", RETURNED, "None", RENT, "end it with return Rent(value=...)"),
    "a bare number": predicts("return 3.5", "a float", RENT, "write return Rent(value=...)"),
    "a bare number of numpy's": predicts("return np.float64(2)", "a float64", RENT, "return"),
    "a bare array": predicts("return self.rents", "array of shape (1,)", RENT, "return Rent("),
    "a bare table": predicts(
        "return pd.DataFrame({'value': [1.5]})", "DataFrame of shape (1, 1)", RENT, "return Rent("
    ),
    "a bare series": predicts("return pd.Series([1.5])", "Series of shape (1,)", RENT, "return"),
    "a bare string": predicts("return 'dear'", "a str", RENT, "return Rent("),
    "a list": predicts(
        "return [Rent(value=1)]", "list of 1", RENT, "return one of them, and define predict_batch"
    ),
    "a tuple": predicts("return 1.5, 'x'", "tuple of 2", RENT, "write return Rent(value=...)"),
    "a class": predicts("return Rent", "the class Rent", RENT, "write return Rent(value=...)"),
    "another class of pydantic's": predicts(
        "return Price(price=1)", "a Price without value", "add it"
    ),
    "a generator": predicts(
        "return one_by_one()", "generator one_by_one", RENT, "instead of yielding"
    ),
    "a function": predicts("return later", "function later", RENT, "return Rent("),
    # What it raises.
    "an attribute that the input does not have": predicts(
        "return Rent(value=data.square_meters)", "AttributeError", HERE,
        "did you mean square_metres?"
    ),
    "an input read as a dictionary": predicts(
        "return Rent(value=data['square_metres'])", "'Flat' object is not subscriptable", HERE,
        "write data.square_metres",
    ),
    "an error of its own": predicts("return Rent(value=1 / 0)", "ZeroDivisionError", HERE),
    "an error in a library": predicts(
        "return Rent(value=np.ones(3) @ np.ones(2))", "ValueError: matmul", HERE
    ),
    "the method of ml_base": predicts(
        "return super().predict(data)", "calls super().predict()", "remove that call", HERE
    ),
    "predict with async def and a wrong output": says(
        """
        class RentModel(Named):
            async def predict(self, data):
                return await later()
        """,
        RETURNED, "a float", RENT, "write return Rent(value=...)",
    ),
    "a decorator that returns nothing": says(
        """
        class Forgetful(MLModelDecorator):
            def predict(self, data):
                self._model.predict(data)
        """,
        RETURNED, "None", "Its decorators had it too: Forgetful", "return Rent(",
        entry={
            "class_path": f"{MODULE}.Works",
            "decorators": [{"class_path": f"{MODULE}.Forgetful"}],
        },
    ),
    # How it is loaded.
    "super().__init__()": says(
        """
        class RentModel(Works):
            def __init__(self):
                super(Named, self).__init__()
        """,
        "__init__ calls super().__init__(), and ml_base's MLModel has none",
        "remove that line", HERE,
    ),
    "an __init__ that raises": says(
        """
        class RentModel(Works):
            def __init__(self):
                raise RuntimeError("no licence")
        """,
        "RuntimeError: no licence", HERE,
    ),
    "a file that is not there": says(
        """
        class RentModel(Works):
            def __init__(self):
                open("weights.bin")
        """,
        "FileNotFoundError", "weights.bin", HERE, "begin the path with Path(__file__).parent",
    ),
    "an import in __init__ of what is not installed": says(
        """
        class RentModel(Works):
            def __init__(self):
                import a_package_that_nobody_has
        """,
        "ModuleNotFoundError", HERE, "install the package that provides it",
    ),
    "an argument that nobody gives": says(
        """
        class RentModel(Works):
            def __init__(self, path):
                pass
        """,
        "models[0].configuration", "missing a required argument: 'path'",
        "Its signature is RentModel(path)",
    ),
    "an argument that it does not take": says(
        "class RentModel(Works):\n    pass\n",
        "models[0].configuration", "unexpected keyword argument 'treshold'",
        "Its signature is RentModel()",
        entry={"configuration": {"treshold": 1}},
    ),
    "a class without __init__, with an argument": says(
        """
        class RentModel(MLModel):
            display_name, qualified_name, description, version = "Rent", "rent", "", "1.0.0"
            input_schema, output_schema = Flat, Rent

            def predict(self, data):
                return Rent(value=1)
        """,
        "models[0].configuration", "unexpected keyword argument 'path'",
        "Its signature is RentModel()",
        entry={"configuration": {"path": "x"}},
    ),
    # What a class lacks.
    "no predict": says(
        "class RentModel(Named):\n    pass\n", "models[0].class_path",
        f"{CLASS} does not define predict", "Define them in the class",
    ),
    "a property too few": says(
        """
        class RentModel(MLModel):
            display_name, qualified_name, description = "Rent", "rent", ""
            input_schema, output_schema = Flat, Rent

            def predict(self, data):
                return Rent(value=1)
        """,
        "models[0].class_path", "does not define version", "Define them in the class",
    ),
    "a version that is a number": says(
        "class RentModel(Works):\n    version = 1.0\n", "models[0].class_path",
        "version is 1.0, which is not a string", 'Write version = "1.0" in the class',
    ),
    "a name with a slash": says(
        'class RentModel(Works):\n    qualified_name = "flats/rent"\n', "models[0].class_path",
        'the qualified name "flats/rent" cannot stand in a URL', "Use letters and digits",
    ),
    "a name that is empty": says(
        'class RentModel(Works):\n    qualified_name = ""\n', "models[0].class_path",
        "cannot stand in a URL", "Use letters and digits",
    ),
    "a schema that is no class of pydantic's": says(
        "class RentModel(Works):\n    output_schema = dict\n", "models[0].class_path",
        "output_schema is <class 'dict'>, which is not a pydantic model",
        "Set output_schema to a subclass of pydantic.BaseModel",
    ),
    "a schema that is an instance": says(
        "class RentModel(Works):\n    input_schema = Flat(square_metres=1)\n",
        "models[0].class_path", "which is not a pydantic model",
        "Name the class, without brackets: input_schema = Flat",
    ),
    "a predict that takes nothing": says(
        """
        class RentModel(Named):
            def predict(self):
                return Rent(value=1)
        """,
        "models[0].class_path", "RentModel.predict cannot be called with the data alone",
        "Write def predict(self, data); it is now def predict(self)",
    ),
    "a predict that takes each field": says(
        """
        class RentModel(Named):
            def predict(self, square_metres, rooms):
                return Rent(value=1)
        """,
        "RentModel.predict cannot be called with the data alone", "Write def predict(self, data)",
    ),
    "a predict_batch without self": says(
        """
        class RentModel(Works):
            def predict_batch():
                return []
        """,
        "RentModel.predict_batch cannot be called", "Write def predict_batch(self, data)",
    ),
    "a predict that yields": says(
        """
        class RentModel(Named):
            def predict(self, data):
                yield Rent(value=1)
        """,
        "RentModel.predict is a generator function", "return it instead of yielding it",
    ),
    "batching without predict_batch": says(
        "class RentModel(Works):\n    pass\n", "models[0].batching",
        "RentModel does not define predict_batch", "or remove batching", entry={"batching": {}},
    ),
    "refusals that are none": says(
        "class RentModel(Works):\n    refusals = (ValueError,)\n", "RentModel.refusals should be",
        "List ResourceNotFound",
    ),
    # Where it is.
    "a module that is not there": entry(
        "rent_of_nobody.RentModel", 'there is no module "rent_of_nobody"', "models[0].class_path",
        "start the service in the folder that holds the module",
    ),
    "a module that is misspelt": entry(
        "rent_of_a_begginer.RentModel", "there is no module", f"Did you mean {MODULE}?"
    ),
    "a class that is not there": entry(
        f"{MODULE}.RendModel", 'has no name "RendModel"', f"Did you mean {CLASS}?",
        source="RentModel = Works",
    ),
    "a class path of a function": entry(
        f"{MODULE}.later", "is not a class (its type is function)",
        "Name a class that derives from ml_base.MLModel",
    ),
    "an instance": entry(
        f"{MODULE}.model", "is not a class (its type is Works)", "Name a class",
        source="model = Works()",
    ),
    "a class that is no model": entry(
        f"{MODULE}.Rent", "is not a subclass of MLModel", "Name a class that derives from"
    ),
    "a decorator for a model": entry(
        "ml_base.MLModelDecorator", "is a decorator, not a model", "List it under the decorators"
    ),
    "a model for a decorator": entry(
        f"{MODULE}.Works", "models[0].decorators[0].class_path",
        "not a subclass of MLModelDecorator",
        "Name a class that derives from ml_base.MLModelDecorator",
        decorators=[{"class_path": f"{MODULE}.Works"}],
    ),
    "a decorator with an argument too many": entry(
        f"{MODULE}.Works", "models[0].decorators[0].configuration",
        "unexpected keyword argument 'b'",
        "Its signature is Strict(model=None)",
        source="class Strict(MLModelDecorator):\n    def __init__(self, model=None):\n"
        "        super().__init__(model)\n",
        decorators=[{"class_path": f"{MODULE}.Strict", "configuration": {"b": 1}}],
    ),
    "a syntax error": says(
        "def broken(:\n", "models[0].class_path", "raised SyntaxError", "line",
        f"python -c 'import {MODULE}'",
    ),
    "an error when it is imported": says(
        "1 / 0\n", f"importing {MODULE} raised ZeroDivisionError", f"python -c 'import {MODULE}'"
    ),
    "an import of what is not installed": says(
        "import a_package_that_nobody_has\n", f'{MODULE} imports "a_package_that_nobody_has"',
        "Install the package that provides it",
    ),
}  # fmt: skip


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Writes the module, where it can be imported."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(source: str) -> None:
        sys.modules.pop(MODULE, None)
        (tmp_path / f"{MODULE}.py").write_text(HEAD + source, encoding="utf-8")

    yield write
    sys.modules.pop(MODULE, None)


def sentence_of(mistake: Mistake, caplog: pytest.LogCaptureFixture) -> str:
    """What the author is told, when the service starts or at the first prediction."""
    configuration = {"models": [{"class_path": CLASS, **mistake.entry}]}
    try:
        service = InProcessService(configuration)
    except ConfigurationError as error:
        return str(error)
    (model,) = service.registry
    if model.failure is not None:
        assert f": {model.failure}" in caplog.records[-1].getMessage()
        return model.failure
    response = service.predict("rent", mistake.body)
    body = json.loads(response.content)
    assert response.status_code == 500, body
    assert caplog.records[-1].getMessage().endswith(f": {body['messages'][1]}")
    sentence: str = body["messages"][1]
    return sentence


@pytest.mark.parametrize("name", MISTAKES)
@override_settings(MODELS_API_SHOW_REASONS=True)
def test_each_mistake_of_an_author_gets_its_sentence(
    name: str, write: Any, caplog: pytest.LogCaptureFixture
) -> None:
    mistake = MISTAKES[name]
    write(mistake.source)
    with caplog.at_level(logging.ERROR):
        sentence = sentence_of(mistake, caplog)
    assert [part for part in mistake.parts if part not in sentence] == [], sentence


def test_there_are_plenty_of_them() -> None:
    assert len(MISTAKES) >= 60
