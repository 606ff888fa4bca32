"""A regressor with many fields, and a parameter that the configuration file can set."""

from ml_base import MLModel
from pydantic import BaseModel, Field
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


class DiabetesModelInput(BaseModel):
    """The baseline examination of one patient."""

    # The data set states few units. Those named here are the ones that its values agree with.
    age: int = Field(ge=0, le=120, description="Age in years.", examples=[59])
    sex: int = Field(ge=1, le=2, description="Sex, 1 or 2 as the data set has it.", examples=[2])
    body_mass_index: float = Field(
        ge=10, le=80, description="Body mass index in kg/m².", examples=[32.1]
    )
    blood_pressure: float = Field(
        ge=30, le=200, description="Average blood pressure in mmHg.", examples=[101]
    )
    total_cholesterol: float = Field(
        ge=40, le=600, description="Total serum cholesterol in mg/dL.", examples=[157]
    )
    ldl: float = Field(
        ge=10, le=500, description="Low-density lipoproteins in mg/dL.", examples=[93.2]
    )
    hdl: float = Field(
        ge=5, le=200, description="High-density lipoproteins in mg/dL.", examples=[38]
    )
    cholesterol_ratio: float = Field(
        ge=1, le=30, description="Total cholesterol divided by HDL.", examples=[4]
    )
    log_triglycerides: float = Field(
        ge=2,
        le=8,
        description="Natural logarithm of the serum triglycerides in mg/dL.",
        examples=[4.8598],
    )
    glucose: float = Field(ge=20, le=600, description="Blood sugar in mg/dL.", examples=[87])

    def features(self) -> list[float]:
        """Return the values in the order of the data set's columns."""
        return [
            self.age,
            self.sex,
            self.body_mass_index,
            self.blood_pressure,
            self.total_cholesterol,
            self.ldl,
            self.hdl,
            self.cholesterol_ratio,
            self.log_triglycerides,
            self.glucose,
        ]


class DiabetesModelOutput(BaseModel):
    """How far the disease is expected to have progressed."""

    progression: float = Field(
        allow_inf_nan=False,
        description="Disease progression one year after the examination, on the data set's own "
        "scale, where patients score from 25 to 346. Higher is worse.",
    )


class DiabetesModel(MLModel):
    """Ridge regression on the diabetes data set of Efron et al. (2004): 442 patients.

    The data set: https://scikit-learn.org/stable/datasets/toy_dataset.html#diabetes-dataset
    """

    display_name = "Diabetes"
    qualified_name = "diabetes"
    description = "Predicts the progression of diabetes one year after an examination."
    version = "1.0.0"
    input_schema = DiabetesModelInput
    output_schema = DiabetesModelOutput

    def __init__(self, regularisation: float = 1.0) -> None:
        """Fit the regressor.

        Args:
            regularisation: Strength of the L2 penalty, 0 or more; 0 is ordinary least squares.
        """
        # Unscaled, the columns hold what a client measures, rather than standard deviations.
        features, progression = load_diabetes(return_X_y=True, scaled=False)
        regressor = make_pipeline(StandardScaler(), Ridge(alpha=regularisation))
        self._regressor = regressor.fit(features, progression)

    def predict(self, data: DiabetesModelInput) -> DiabetesModelOutput:
        """Predict the progression for one patient."""
        return self.predict_batch([data])[0]

    def predict_batch(self, data: list[DiabetesModelInput]) -> list[DiabetesModelOutput]:
        """Predict the progression for many patients in one call, in their order."""
        progressions = self._regressor.predict([patient.features() for patient in data])
        # tolist() turns numpy's values into Python's.
        return [DiabetesModelOutput(progression=value) for value in progressions.tolist()]
