"""Seconds taken in turns, the peak rate of matrix multiplications, and how much one gradient has to compute."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from nexttoken import NextTokenLM

SQUARE = 2048  # a matrix large enough that nothing but multiplying counts
TRIES = 20


@dataclass
class Timing:
    """The seconds of each round, and what the last one returned."""

    seconds: list[float] = field(default_factory=list)
    result: Any = None

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def in_turns(contenders: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, Timing]:
    """Run contenders one after the other, in rounds, so that what slows the machine down slows each of them."""
    timings = {name: Timing() for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            gc.collect()
            begun = time.perf_counter()
            timings[name].result = run()
            timings[name].seconds.append(time.perf_counter() - begun)
    return timings


def seconds(timings: Mapping[str, Timing]) -> dict[str, list[float]]:
    """The single timings, to be kept."""
    return {name: [round(each, 4) for each in timing.seconds] for name, timing in timings.items()}


def gemm_peak(lm: NextTokenLM, rows: int) -> float:
    """The best rate, in operations a second, of multiplying `rows` rows by the model's matrices, or large squares.

    In its precision, of both products that a gradient is made of: that of the forward pass, and that of the slopes.
    """
    shapes = {tuple(weight.shape) for weight in lm.parameters() if weight.ndim == 2}
    dtype = next(lm.parameters()).dtype
    best = 0.0
    for many, (wide, narrow) in [(SQUARE, (SQUARE, SQUARE)), *((rows, shape) for shape in sorted(shapes))]:
        sizes = ((many, narrow), (many, wide), (wide, narrow))
        states, slopes, weight = (torch.randn(size, dtype=dtype) for size in sizes)
        for _ in range(TRIES):
            for product, left in ((torch.nn.functional.linear, states), (torch.matmul, slopes)):
                begun = time.perf_counter()
                product(left, weight)
                best = max(best, 2 * many * narrow * wide / (time.perf_counter() - begun))
    return best


@dataclass(frozen=True)
class Size:
    """What of a model decides how much a gradient computes.

    Attributes:
        body: parameters without the embedding matrix.
        layers: how many there are.
        width: of the states.
        vocabulary: rows of the embedding matrix.
    """

    body: int
    layers: int
    width: int
    vocabulary: int

    @classmethod
    def of(cls, lm: NextTokenLM) -> Size:
        network: Any = lm.language_model_head
        vocabulary, width = network.get_input_embeddings().weight.shape
        whole = sum(weight.numel() for weight in {id(each): each for each in lm.parameters()}.values())
        tied = network.get_input_embeddings().weight is network.get_output_embeddings().weight
        body = whole - vocabulary * width * (1 if tied else 2)
        return cls(body, network.config.num_hidden_layers, width, vocabulary)

    def matrices(self, tokens: int) -> float:
        """4 P L: forward, and backward to the activations, through the body's matrices."""
        return 4.0 * self.body * tokens

    def gradient(self, tokens: int) -> float:
        """One gradient: the matrices, causal attention (two products forward, four back, over half the pairs), and one
        row of logits."""
        attention = 6 * 2 * self.layers * self.width * tokens**2 / 2
        return self.matrices(tokens) + attention + 4.0 * self.vocabulary * self.width
