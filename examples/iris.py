"""The smallest example: a classifier with four numbers in and a name out."""

from enum import StrEnum
from typing import Annotated

from ml_base import MLModel
from pydantic import BaseModel, Field
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

# The longest petal of the data set measures 6.9 cm, the longest sepal 7.9 cm. The upper bound
# rejects lengths sent in millimetres.
Centimetres = Annotated[float, Field(gt=0, le=10)]


class IrisSpecies(StrEnum):
    """A species of iris that the model knows."""

    SETOSA = "setosa"
    VERSICOLOR = "versicolor"
    VIRGINICA = "virginica"


class IrisModelInput(BaseModel):
    """The measurements of one iris flower, in centimetres."""

    sepal_length: Centimetres = Field(description="Length of the sepal in cm.", examples=[5.1])
    sepal_width: Centimetres = Field(description="Width of the sepal in cm.", examples=[3.5])
    petal_length: Centimetres = Field(description="Length of the petal in cm.", examples=[1.4])
    petal_width: Centimetres = Field(description="Width of the petal in cm.", examples=[0.2])

    def features(self) -> list[float]:
        """Return the measurements in the order of the data set's columns."""
        return [self.sepal_length, self.sepal_width, self.petal_length, self.petal_width]


class IrisModelOutput(BaseModel):
    """The most likely species of the flower."""

    species: IrisSpecies = Field(description="The most likely species.")
    probability: float = Field(ge=0, le=1, description="Probability of that species.")


class IrisModel(MLModel):
    """Logistic regression on Fisher's iris data set: 150 flowers, 50 of each species."""

    display_name = "Iris"
    qualified_name = "iris"
    description = "Predicts the species of an iris flower from the size of its sepals and petals."
    version = "1.0.0"
    input_schema = IrisModelInput
    output_schema = IrisModelOutput

    def __init__(self) -> None:
        """Fit the classifier; a model of your own would read its parameters from a file here."""
        iris = load_iris()
        species = iris.target_names[iris.target]
        self._classifier = LogisticRegression(max_iter=1000).fit(iris.data, species)

    def predict(self, data: IrisModelInput) -> IrisModelOutput:
        """Predict the species of one flower."""
        return self.predict_batch([data])[0]

    def predict_batch(self, data: list[IrisModelInput]) -> list[IrisModelOutput]:
        """Predict the species of many flowers in one call, in their order."""
        probabilities = self._classifier.predict_proba([flower.features() for flower in data])
        species = self._classifier.classes_[probabilities.argmax(axis=1)]
        # tolist() turns numpy's values into Python's.
        pairs = zip(species.tolist(), probabilities.max(axis=1).tolist(), strict=True)
        return [IrisModelOutput(species=name, probability=value) for name, value in pairs]
