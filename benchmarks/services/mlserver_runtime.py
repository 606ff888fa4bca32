"""MLServer's runtime for the classifiers; the model's name says which one it is."""

from __future__ import annotations

from typing import Any

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse

from benchmarks.classifiers import CLASSIFIERS, Classifier


class IrisRuntime(MLModel):
    """Tensors of rows in, names of species out."""

    _classify: Classifier

    async def load(self) -> bool:
        """Fit the classifier."""
        self._classify = CLASSIFIERS[self.name]()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Predict for all rows of the tensor."""
        rows: Any = NumpyCodec.decode_input(payload.inputs[0])
        names = self._classify(np.asarray(rows))
        return InferenceResponse(
            model_name=self.name, outputs=[StringCodec.encode_output("species", names)]
        )
