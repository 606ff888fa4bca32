"""A model whose module takes so long to import that a test can do something meanwhile."""

import time

from tests.fakes.batching import BatchingModel

print("Importing ...", flush=True)  # noqa: T201
time.sleep(600)


class SlowlyImportedModel(BatchingModel):
    """Is never reached."""
