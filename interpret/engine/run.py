"""How a computation is carried out: the settings of a run, its counts, and rules of the backward pass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from numbers import Integral
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from interpret.engine.memory.policy import Memory
from nexttoken import NextTokenLM

Points = Float[Tensor, "point token dim"]
"""Versions of a prompt's embeddings, at which an objective is evaluated; gradients there have the same shape."""
Values = Float[Tensor, " point"]
"""What an objective is at some points."""
Precision = Literal["float64", "float32", "bfloat16"]
PRECISIONS = {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.bfloat16}


class Interruption(BaseException):
    """The caller's `on_progress` has ended the run by an `error`, which is nobody's failure; see `interruptible`."""

    def __init__(self, error: Exception):
        super().__init__(error)
        self.error = error


@contextmanager
def interruptible() -> Iterator[None]:
    """Within this context, what the caller's `on_progress` raises goes through to the caller, as it is."""
    try:
        yield
    except Interruption as interruption:
        raise interruption.error from None


class BackwardRules(ABC):
    """A change of the backward pass that leaves the forward pass as it is: a frozen dataclass, compared by value."""

    @abstractmethod
    def applied(self, value: Tensor) -> AbstractContextManager[None]:
        """The context in which gradients of a computed value flow back by these rules: hooks on its graph.

        Raises ValueError for a network that they cannot be applied to.
        """


@dataclass
class Counts:
    """What one objective has cost: gradients, of one forward and one backward pass each, and further forward passes."""

    gradients: int = 0
    forwards: int = 0


@dataclass(frozen=True)
class Run:
    """The settings of a computation, made once from the keyword arguments of an entry point.

    Attributes:
        precision: in which gradients are taken; None for the model's own.
        batch_size: the number of points that run at once; None for as many as are fast and fit the memory.
        memory: what the run may take.
        on_progress: called with the number of gradients just taken; what it raises ends the run between two batches.
    """

    precision: torch.dtype | None = None
    batch_size: int | None = None
    memory: Memory = field(default_factory=Memory)
    on_progress: Callable[[int], object] | None = None

    @classmethod
    def of(
        cls,
        precision: Precision | None = None,
        batch_size: int | None = None,
        memory_budget: int | None = None,
        on_progress: Callable[[int], object] | None = None,
    ) -> Run:
        """A run from what the entry points are given; see `interpret.attribute`.

        Raises:
            ValueError: an unknown precision, or a batch size or budget below 1.
        """
        if precision is not None and precision not in PRECISIONS:
            raise ValueError(f"precision is {precision!r}; it must be {', '.join(map(repr, PRECISIONS))}, or None")
        if batch_size is not None and not (isinstance(batch_size, Integral) and batch_size >= 1):
            raise ValueError(f"batch_size is {batch_size!r}; it must be at least 1, a whole number of points")
        return cls(PRECISIONS.get(precision or ""), batch_size, Memory(memory_budget), on_progress)

    def grad_lm(self, lm: NextTokenLM) -> NextTokenLM:
        """The model whose gradients are taken: a copy in the run's precision, or the model itself if it has it."""
        return lm if self.precision in (None, lm.dtype) else lm.in_precision(self.precision)

    def advance(self, gradients: int) -> None:
        """Tell who asked that some more gradients have been taken. Raises Interruption if that raises an error."""
        if self.on_progress is not None:
            try:
                self.on_progress(gradients)
            except Exception as error:
                raise Interruption(error) from error
