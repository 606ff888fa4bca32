"""A model whose library has started its threads by the time the model is loaded."""

from __future__ import annotations

from typing import Any

import numpy as np
from ml_base import MLModel
from pydantic import BaseModel
from sklearn.cluster import KMeans


class PointInput(BaseModel):
    """A point on a line."""

    x: float


class ClusterOutput(BaseModel):
    """The nearest of the centres."""

    centre: float


class ClustersModel(MLModel):
    """Clusters at 0 and 10, found and used by scikit-learn's code for OpenMP."""

    display_name = "Clusters"
    qualified_name = "clusters"
    description = "Finds the nearer of two centres."
    version = "1.0.0"
    input_schema = PointInput
    output_schema = ClusterOutput

    def __init__(self) -> None:
        """Find the clusters, and predict once."""
        points = np.repeat([[0.0], [10.0]], 2000, axis=0)
        self._clusters = KMeans(2, n_init=1, random_state=1).fit(points)
        self._clusters.predict(points)

    def predict(self, data: Any) -> ClusterOutput:
        """Find the nearer centre."""
        points = np.repeat([[data.x]], 2000, axis=0)
        (index, *_) = self._clusters.predict(points)
        return ClusterOutput(centre=self._clusters.cluster_centers_[index][0])
