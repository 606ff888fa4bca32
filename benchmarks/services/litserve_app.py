"""LitServe with the classifiers, an API for each, as its documentation of batching advises.

Arguments: the port, the workers for each API, and the classifiers with commas between them.
"""

from __future__ import annotations

import sys
from typing import Any

import litserve
import numpy as np

from benchmarks.classifiers import CLASSIFIERS

FEATURES = ("sepal_length", "sepal_width", "petal_length", "petal_width")


class IrisAPI(litserve.LitAPI):
    """One classifier; the path says which."""

    def setup(self, device: str) -> None:
        """Fit it."""
        self._classify = CLASSIFIERS[self.api_path.removeprefix("/")]()

    def decode_request(self, request: dict[str, float]) -> Any:
        """Return the row as an array, which `batch` stacks."""
        return np.array([request[name] for name in FEATURES])

    def predict(self, rows: Any) -> list[str]:
        """Predict for the rows of a batch."""
        return self._classify(rows)

    def encode_response(self, species: str) -> dict[str, str]:
        """Return the body of the answer."""
        return {"species": species}


def main() -> None:
    """Serve until stopped."""
    port, workers, names = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3].split(",")
    apis = [IrisAPI(api_path=f"/{name}", max_batch_size=64, batch_timeout=0.002) for name in names]
    # ZeroMQ between the processes, which its documentation recommends for many requests.
    server = litserve.LitServer(
        apis, accelerator="cpu", workers_per_device=workers, fast_queue=True
    )
    server.run(
        host="127.0.0.1",
        port=port,
        num_api_servers=workers,
        log_level="warning",
        generate_client_file=False,
    )


if __name__ == "__main__":
    main()
