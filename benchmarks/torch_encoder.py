"""A text encoder of the size of BERT-base, in PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from benchmarks.texts import TOKENS, WORDS, Array

_WARM_UPS = 3
"""Calls before a graph is captured, as PyTorch's documentation of CUDA graphs has it."""


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention, self.before_feeding = nn.LayerNorm(width), nn.LayerNorm(width)
        self.projected, self.attended = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widened, self.narrowed = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, texts: torch.Tensor) -> torch.Tensor:
        """Return as many vectors as there were."""
        batch, length, width = texts.shape
        projected = self.projected(self.before_attention(texts))
        shape = (batch, length, 3, self.heads, width // self.heads)
        query, key, value = projected.view(shape).permute(2, 0, 3, 1, 4).unbind(0)
        attended = functional.scaled_dot_product_attention(query, key, value)
        texts = texts + self.attended(attended.transpose(1, 2).reshape(batch, length, width))
        fed = functional.gelu(self.widened(self.before_feeding(texts)))
        found: torch.Tensor = texts + self.narrowed(fed)
        return found


class EncoderModule(nn.Module):
    """Twelve blocks, 768 wide, unless it is told otherwise, with weights of chance."""

    def __init__(self, layers: int = 12, width: int = 768, heads: int = 12) -> None:
        """Make it."""
        super().__init__()
        self.words, self.places = nn.Embedding(WORDS, width), nn.Embedding(TOKENS, width)
        self.blocks = nn.Sequential(*(_Block(width, heads) for _ in range(layers)))
        self.scored = nn.Linear(width, 1)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return a score for each text."""
        texts = self.words(tokens) + self.places.weight[: tokens.shape[1]]
        return torch.sigmoid(self.scored(self.blocks(texts).mean(1))).squeeze(1)


class EagerEncoder:
    """Calls the module as it is, on whatever device."""

    def __init__(self, module: nn.Module, device: str = "cpu") -> None:
        """Move the module to the device."""
        self._module, self._device = module.eval().to(device), device

    @torch.inference_mode()
    def __call__(self, tokens: Array) -> list[float]:
        """Return a score for each text."""
        scores = self._module(torch.from_numpy(tokens).to(self._device))
        listed: list[float] = scores.float().cpu().tolist()
        return listed


class GraphedEncoder:
    """Replays graphs that were captured for some sizes of batches: the next larger one's."""

    def __init__(self, module: nn.Module, sizes: Sequence[int] = (1, 8, 32, 64, 128)) -> None:
        """Move the module to the card, and capture the graphs."""
        self._module = module.eval().to("cuda", torch.bfloat16)
        self._given = torch.zeros((max(sizes), TOKENS), dtype=torch.int64).pin_memory()
        self._tokens = torch.zeros((max(sizes), TOKENS), dtype=torch.int64, device="cuda")
        self._pool: Any = None
        # The largest first: the others find their memory in its pool.
        self._graphs = {size: self._captured(size) for size in sorted(sizes, reverse=True)}

    @torch.inference_mode()
    def __call__(self, tokens: Array) -> list[float]:
        """Return a score for each text; waits for the card without the interpreter's lock."""
        count = len(tokens)
        size = min(size for size in self._graphs if size >= count)
        graph, scores = self._graphs[size]
        self._given[:count].copy_(torch.from_numpy(tokens))
        self._tokens[:count].copy_(self._given[:count], non_blocking=True)
        graph.replay()
        listed: list[float] = scores[:count].float().cpu().tolist()
        return listed

    @torch.inference_mode()
    def _captured(self, size: int) -> tuple[torch.cuda.CUDAGraph, torch.Tensor]:
        tokens = self._tokens[:size]
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UPS):
                self._module(tokens)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            scores = self._module(tokens)
        self._pool = self._pool or graph.pool()
        return graph, scores
