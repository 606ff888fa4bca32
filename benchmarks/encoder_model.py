"""The encoder as an MLModel; it says of each text what the constant model says of a flower."""

from __future__ import annotations

import numpy as np
from ml_base import MLModel
from pydantic import BaseModel, Field

from benchmarks.encoder import encoder
from benchmarks.models import Species
from benchmarks.rows import Row
from benchmarks.texts import TOKENS, WORDS


class Text(BaseModel):
    """The numbers of its words."""

    tokens: list[int] = Field(min_length=TOKENS, max_length=TOKENS)


class Score(BaseModel):
    """What is said of a text."""

    species: Species = Species.SETOSA
    score: float


class EncoderModel(MLModel):
    """Scores texts."""

    display_name = "Encoder"
    qualified_name = "encoder"
    description = "Scores texts of 128 tokens."
    version = "1.0.0"
    input_schema = Text
    output_schema = Score

    def __init__(self) -> None:
        """Make the encoder: not before, since a process that has used a card cannot fork."""
        self._encode = encoder()

    def predict(self, data: Text) -> Score:
        """Score one text."""
        return self.predict_batch([data])[0]

    def predict_batch(self, data: list[Text]) -> list[Score]:
        """Score many texts in one call."""
        scores = self._encode(np.array([text.tokens for text in data]))
        return [Score(score=score) for score in scores]


def body(row: Row) -> dict[str, object]:
    """Return a text for a flower."""
    random = np.random.default_rng(int(10 * row.sepal_length))
    return {"tokens": random.integers(0, WORDS, TOKENS).tolist()}
