"""Models that MLflow saved: folders with a file MLmodel, of any flavour that its pyfunc loads.

What they take and give is read from the signature in that file, without MLflow and without the
model. They predict as `mlflow.pyfunc` does, because that is what whoever saved them has tried.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from models_api.runtimes.kinds import imported
from models_api.runtimes.mlflow_signature import columns_of, outputs_of
from models_api.runtimes.mlmodel import read_mlmodel
from models_api.runtimes.signature import Signature

if TYPE_CHECKING:
    from models_api.runtimes.kinds import ArtefactPredictor

_MODULE = "mlflow_model"
"""Of this package; it imports MLflow, and so whatever that brings along."""


def describe(path: Path) -> Signature:
    """Return what the signature says; without one, what the model itself tells."""
    model = read_mlmodel(path)
    if model.inputs is None:
        unsigned: Signature = imported("mlflow", _MODULE).describe_unsigned(model)
        return unsigned
    inputs = columns_of(model.inputs, model.params)
    library = "modelhost, from its file MLmodel"
    return Signature(model.summary, library, inputs, outputs_of(model.outputs))


def load(path: Path, signature: Signature) -> ArtefactPredictor:
    """Load the model as `mlflow.pyfunc` does."""
    predictor: ArtefactPredictor = imported("mlflow", _MODULE).load(read_mlmodel(path), signature)
    return predictor
