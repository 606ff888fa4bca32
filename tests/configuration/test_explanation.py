"""Pydantic's errors in other words, for what the broken configurations do not show."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models_api.configuration.document import YAMLDocument
from models_api.configuration.explanation import explain


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")

    number: float = Field(default=1, gt=0, lt=10, description="A number.")


class Root(BaseModel):
    model_config = ConfigDict(extra="forbid")

    inner: Inner | None = Field(default=None, description="An inner.")
    several: list[Inner] = Field(default=[], description="Some.", examples=[[{"number": 2}]])
    anything: dict[str, Any] = Field(default={}, description="Anything.")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "inner: {number: 0}",
            [
                "1: inner.number: this should be greater than 0, not the number 0",
                "number: A number.",
            ],
        ),
        (
            "inner: {number: !!binary aGk=}",
            ["1: inner.number: this should be a number, not aGk=", "number: A number."],
        ),
        (
            "inner: {number: []}",
            ["1: inner.number: this should be a number, not a list", "number: A number."],
        ),
        (
            "inner: text",
            [
                '1: inner: this should be a mapping of keys to values, not the string "text"',
                "Its keys are number.",
            ],
        ),
        (
            "several: 1",
            [
                "1: several: this should be a list, not the number 1",
                "Write a list, with a dash before each item. several: Some. "
                "For example [{number: 2}].",
            ],
        ),
        (
            "several:\n- numbr: 1",
            ['2: several[0].numbr: unknown key "numbr"', 'Did you mean "number"?'],
        ),
        (
            "several:\n- zzz: 1",
            ['2: several[0].zzz: unknown key "zzz"', "Known keys here: number."],
        ),
        ("zzz: 1", ['1: zzz: unknown key "zzz"', "Known keys here: inner, several, anything."]),
        ("anything: {a: {1: 2}}", []),
        (
            "anything: {yes: 2}",
            ['1: anything.yes: YAML does not read the key "yes" as a string', 'Quote it: "yes"'],
        ),
        (
            "inner: {1.5: 2}",
            ['1: inner.1.5: YAML does not read the key "1.5" as a string', 'Quote it: "1.5"'],
        ),
        (
            "anything: " + "long " * 30,
            [
                '1: anything: this should be a mapping of keys to values, not the string "'
                + "long " * 10
                + 'long..."',
                "anything: Anything.",
            ],
        ),
    ],
)
def test_an_error_is_explained(tmp_path: Path, text: str, said: list[str]) -> None:
    path = tmp_path / "any.yaml"
    path.write_text(text, encoding="utf-8")
    document = YAMLDocument(path)
    problems = []
    try:
        Root.model_validate(document.data)
    except ValidationError as error:
        problems = explain(error, document, Root)
    found = [part for problem in problems for part in str(problem).split("\n    ")]
    assert [part.removeprefix(f"{path}:") for part in found] == said
    assert {problem.id for problem in problems} <= {"models_api.E003"}


def test_a_value_that_could_not_be_read_is_not_explained_again(tmp_path: Path) -> None:
    path = tmp_path / "any.yaml"
    path.write_text("inner: !unknown 5\nseveral: 5\n", encoding="utf-8")
    document = YAMLDocument(path)
    with pytest.raises(ValidationError) as caught:
        Root.model_validate({"inner": 5, "several": 5})
    (problem,) = explain(caught.value, document, Root)
    assert problem.key_path == "several"
