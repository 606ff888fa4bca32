"""The rows that every server is asked for, and the answers that are right."""

from __future__ import annotations

from typing import NamedTuple

MODELS = ("constant", "logistic_regression", "random_forest")
"""What every server serves. The other classes of the benchmark are variants of the constant one."""
FILES = ("iris", "numbers", "columns")
"""What is served from files: an example of this repository, and those of `pipelines`."""
COLOURS = ("blue", "purple", "white")
PLACES = ("bog", "garden", "meadow", "wood")


class Row(NamedTuple):
    """The measurements of a flower, and its species."""

    sepal_length: float
    sepal_width: float
    petal_length: float
    petal_width: float
    species: str

    @property
    def columns(self) -> dict[str, float | str]:
        """What a model is given that takes words too."""
        measured = dict(zip(MEASURES, self.features, strict=True))
        return {**measured, "colour": "purple", "place": "meadow"}

    @property
    def features(self) -> list[float]:
        """The measurements."""
        return list(self[:4])


MEASURES = Row._fields[:4]

# One of each species, far from the borders between them: every classifier agrees on them.
ROWS = (
    Row(5.1, 3.5, 1.4, 0.2, "setosa"),
    Row(6.0, 2.9, 4.5, 1.5, "versicolor"),
    Row(6.3, 3.3, 6.0, 2.5, "virginica"),
)


def expected_text(model: str, row: Row) -> str:
    """Return what the body of a right answer has in it, whatever else the server puts around."""
    species = row.species if model.endswith((*MODELS[1:], *FILES)) else ROWS[0].species
    # Beside it stand the probabilities of them all.
    return f'"label":"{species}"' if model == "iris" else f'"{species}"'
