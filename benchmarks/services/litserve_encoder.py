"""LitServe with the encoder.

Arguments: the port, how many copies of the encoder there are, and how many API servers.
"""

from __future__ import annotations

import sys
from typing import Any

import litserve
import numpy as np

from benchmarks.encoder import encoder
from benchmarks.texts import LARGEST_BATCH


class EncoderAPI(litserve.LitAPI):
    """The encoder."""

    def setup(self, device: str) -> None:
        """Make it."""
        self._encode = encoder()

    def decode_request(self, request: dict[str, list[int]]) -> Any:
        """Return the tokens as an array, which `batch` stacks."""
        return np.array(request["tokens"])

    def predict(self, texts: Any) -> list[float]:
        """Score the texts of a batch."""
        return self._encode(np.stack(texts))

    def encode_response(self, score: float) -> dict[str, object]:
        """Return the body of the answer."""
        return {"species": "setosa", "score": score}


def main() -> None:
    """Serve until stopped."""
    port, copies, servers = map(int, sys.argv[1:])
    api = EncoderAPI(api_path="/encoder", max_batch_size=LARGEST_BATCH, batch_timeout=0.005)
    server = litserve.LitServer(
        api,
        accelerator="auto",
        workers_per_device=copies,
        fast_queue=True,
    )
    server.run(
        host="127.0.0.1",
        port=port,
        num_api_servers=servers,
        log_level="warning",
        generate_client_file=False,
    )


if __name__ == "__main__":
    main()
