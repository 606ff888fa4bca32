"""The page for when it does not work shows the sentences that there are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from django.test import Client, override_settings

from tests.mistakes import test_authors as authors
from tests.mistakes import test_clients as clients
from tests.mistakes.test_authors import write
from tests.mistakes.test_clients import client, urls

__all__ = ["client", "urls", "write"]  # are fixtures

PAGE = Path(__file__).parents[2] / "docs" / "troubleshooting.md"
AUTHORS = (
    "an array of one element for a number",
    "a table for a number",
    "nothing",
    "a bare number",
    "a misspelt field",
    "NaN where it is refused",
    "a coroutine for a number",
    "an input read as a dictionary",
    "an attribute that the input does not have",
    "an error of its own",
    "super().__init__()",
    "an import in __init__ of what is not installed",
    "a predict that takes each field",
    "a schema that is no class of pydantic's",
    "a module that is not there",
)
CLIENTS = ("an empty body", "single quotes", "an array", "a misspelt field")
SECTIONS = ("Status 500", "A model that is not loaded", "The YAML file and the classes")


def shown(*headings: str) -> list[str]:
    """The sentences in the tables of some sections."""
    parts = re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    text = "\n".join(part for part in parts if part.startswith(headings))
    return [_placed(each) for each in re.findall(r"^\| `(.+?)` \|", text, flags=re.MULTILINE)]


def _placed(sentence: str) -> str:
    return re.sub(r"\w+\.py, line \d+", "my_models.py, line 25", sentence)


@override_settings(MODELS_API_SHOW_REASONS=True)
def test_the_sentences_for_authors_are_the_real_ones(
    write: Any, caplog: pytest.LogCaptureFixture
) -> None:
    for name, sentence in zip(AUTHORS, shown(*SECTIONS), strict=True):
        write(authors.MISTAKES[name].source)
        said = authors.sentence_of(authors.MISTAKES[name], caplog)
        assert sentence in _placed(said)


def test_the_sentences_for_clients_are_the_real_ones(client: Client) -> None:
    for name, sentence in zip(CLIENTS, shown("Status 400"), strict=True):
        (message, *_) = clients.ask(client, clients.MISTAKES[name]).json()["messages"]
        assert message == sentence
    (message,) = clients.ask(client, clients.MISTAKES["a model that is misspelt"]).json()[
        "messages"
    ]
    assert message in PAGE.read_text(encoding="utf-8")
