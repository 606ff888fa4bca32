"""A classifier of images: a nested array in, a digit and its probability out."""

from typing import Annotated

import numpy as np
from ml_base import MLModel
from pydantic import BaseModel, Field
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier

SIDE = 8  # pixels

Pixel = Annotated[float, Field(ge=0, le=16)]
Row = Annotated[list[Pixel], Field(min_length=SIDE, max_length=SIDE)]

# The first image of the data set.
ZERO = [
    [0, 0, 5, 13, 9, 1, 0, 0],
    [0, 0, 13, 15, 10, 15, 5, 0],
    [0, 3, 15, 2, 0, 11, 8, 0],
    [0, 4, 12, 0, 0, 8, 8, 0],
    [0, 5, 8, 0, 0, 9, 8, 0],
    [0, 4, 11, 0, 1, 12, 7, 0],
    [0, 2, 14, 5, 10, 12, 0, 0],
    [0, 0, 6, 13, 10, 0, 0, 0],
]


class DigitsModelInput(BaseModel):
    """The image of one handwritten digit."""

    image: list[Row] = Field(
        min_length=SIDE,
        max_length=SIDE,
        description="Eight rows of eight pixels, from top to bottom and from left to right. "
        "A pixel is a brightness from 0 (paper) to 16 (ink).",
        examples=[ZERO],
    )


class DigitsModelOutput(BaseModel):
    """The most likely digit on the image."""

    digit: int = Field(ge=0, le=9, description="The most likely digit.")
    probability: float = Field(ge=0, le=1, description="Probability of that digit.")


class DigitsModel(MLModel):
    """Random forest on 1797 images of the UCI handwritten digits data set.

    The data set: https://scikit-learn.org/stable/datasets/toy_dataset.html#digits-dataset
    """

    display_name = "Digits"
    qualified_name = "digits"
    description = "Recognises a handwritten digit on an image of 8 by 8 pixels."
    version = "1.0.0"
    input_schema = DigitsModelInput
    output_schema = DigitsModelOutput

    def __init__(self, trees: int = 100) -> None:
        """Fit the classifier.

        Args:
            trees: Number of decision trees, 1 or more; a prediction takes time in proportion.
        """
        pixels, digits = load_digits(return_X_y=True)
        classifier = RandomForestClassifier(n_estimators=trees, random_state=0)
        self._classifier = classifier.fit(pixels, digits)

    def predict(self, data: DigitsModelInput) -> DigitsModelOutput:
        """Recognise the digit on one image."""
        return self.predict_batch([data])[0]

    def predict_batch(self, data: list[DigitsModelInput]) -> list[DigitsModelOutput]:
        """Recognise the digits on many images in one call, in their order."""
        pixels = np.reshape([each.image for each in data], (len(data), SIDE * SIDE))
        probabilities = self._classifier.predict_proba(pixels)
        digits = self._classifier.classes_[probabilities.argmax(axis=1)]
        # tolist() turns numpy's values into Python's.
        pairs = zip(digits.tolist(), probabilities.max(axis=1).tolist(), strict=True)
        return [DigitsModelOutput(digit=digit, probability=value) for digit, value in pairs]
