"""The encoder of this machine: that of PyTorch on a card, or what stands in for it without one."""

from __future__ import annotations

import sys
import time
from importlib.util import find_spec
from typing import Protocol

import numpy as np

from benchmarks.texts import LARGEST_BATCH, TOKENS, WORDS, Array

SECONDS_OF_STAND_IN = 0.007


class Encoder(Protocol):
    """Scores texts."""

    def __call__(self, tokens: Array) -> list[float]:
        """Return a score for each text; the tokens have the shape (texts, tokens)."""


class SleepingEncoder:
    """Takes as long for any batch as a card does; the interpreter is others' meanwhile."""

    def __call__(self, tokens: Array) -> list[float]:
        """Return a score for each text."""
        time.sleep(SECONDS_OF_STAND_IN)
        return [0.5] * len(tokens)


def has_cuda() -> bool:
    """Say whether there is a card, and a PyTorch that can use it."""
    if find_spec("torch") is None:
        return False
    import torch  # noqa: PLC0415 (not every environment has it)

    return torch.cuda.is_available()


def encoder() -> Encoder:
    """Return the encoder of this machine."""
    if not has_cuda():
        return SleepingEncoder()
    from benchmarks.torch_encoder import EncoderModule, GraphedEncoder  # noqa: PLC0415

    return GraphedEncoder(EncoderModule())


def rows_per_second(encode: Encoder, seconds: float) -> float:
    """Return how many texts it encodes by itself, in the largest batches."""
    tokens = np.random.default_rng(1).integers(0, WORDS, (LARGEST_BATCH, TOKENS))
    calls, began = 0, time.perf_counter()
    while time.perf_counter() < began + seconds:
        encode(tokens)
        calls += 1
    return calls * LARGEST_BATCH / (time.perf_counter() - began)


if __name__ == "__main__":
    found = encoder()
    rows_per_second(found, 1)
    print(rows_per_second(found, float(sys.argv[1])))
