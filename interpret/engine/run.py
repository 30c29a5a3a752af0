"""How a computation is carried out: precision, batch size, memory, progress and counts; made once and passed whole."""

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
from nexttoken import NextTokenLM, Prompt

Precision = Literal["float64", "float32", "bfloat16"]
PRECISIONS = {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.bfloat16}


class Interruption(BaseException):
    """The caller's `on_progress` has ended the run by an error, which is nobody's failure; see `interruptible`.

    Attributes:
        error: what it raised.
    """

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
    """What one objective has cost.

    Attributes:
        gradients: the number of gradients taken, one forward and one backward pass each.
        forwards: the number of forward passes without a gradient.
    """

    gradients: int = 0
    forwards: int = 0


@dataclass(frozen=True, eq=False)
class Predicted:
    """What a pass has shown of how the model goes on after each token of a prompt.

    Attributes:
        states: (token, hidden) what the network's head is given there.
        logits: (vocab,) the network's own after the last token, by which it is proved that its head makes all of them.
    """

    states: Float[Tensor, "token hidden"]
    logits: Float[Tensor, " vocab"]


@dataclass(frozen=True, eq=False)
class Known:
    """What a shared pass has computed for one of its rows, to be looked up; everything else is computed when asked for.

    Attributes:
        own_value: (1,) the model's own value at the prompt.
        points: (point, token, dim) where gradients were taken; None where none were.
        values: (point,) of the function whose gradients were taken.
        gradients: (point, token, dim) there.
        rules: of the backward pass.
        predicted: by the model itself, after each token; None where nobody asked for it.
    """

    own_value: Float[Tensor, " 1"]
    points: Float[Tensor, "point token dim"] | None = None
    values: Float[Tensor, " point"] | None = None
    gradients: Float[Tensor, "point token dim"] | None = None
    rules: BackwardRules | None = None
    predicted: Predicted | None = None

    def at(
        self, points: Float[Tensor, "point token dim"], rules: BackwardRules | None
    ) -> tuple[Float[Tensor, " point"], Float[Tensor, "point token dim"]] | None:
        """Copies of the values and gradients at these very points under these rules; None where they are not known."""
        if self.points is None or self.values is None or self.gradients is None or rules != self.rules:
            return None
        return (self.values.clone(), self.gradients.clone()) if torch.equal(self.points, points) else None


@dataclass(frozen=True)
class Run:
    """How a computation is carried out.

    It is made once from the keyword arguments of an entry point. Each objective of the run has its own counts; the
    memory, with what was learned about it, serves all of them.

    Attributes:
        precision: in which gradients are taken; None for the model's own.
        batch_size: the number of points that run at once; None for as many as are fast and fit the memory.
        memory: what the run may take, and has learned.
        on_progress: called with the number of gradients just taken; what it raises ends the run between two chunks.
        counts: what has been spent.
        fitting: asked how many points fit the memory at once, it estimates; None where nothing is known.
        known: what a shared pass has computed already.
    """

    precision: torch.dtype | None = None
    batch_size: int | None = None
    memory: Memory = field(default_factory=Memory)
    on_progress: Callable[[int], object] | None = None
    counts: Counts = field(default_factory=Counts)
    fitting: Callable[[], int] | None = None
    known: Known | None = None

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
            ValueError: an unknown precision, or a chunk size or budget below 1.
        """
        if precision is not None and precision not in PRECISIONS:
            raise ValueError(f"precision is {precision!r}; it must be {', '.join(map(repr, PRECISIONS))}, or None")
        if batch_size is not None and not (isinstance(batch_size, Integral) and batch_size >= 1):
            raise ValueError(f"batch_size is {batch_size!r}; it must be at least 1, a whole number of points")
        return cls(PRECISIONS.get(precision or ""), batch_size, Memory(memory_budget), on_progress)

    def grad_lm(self, lm: NextTokenLM) -> NextTokenLM:
        """The model whose gradients are taken: a copy in the run's precision, or the model itself if it has it."""
        return lm if self.precision in (None, lm.dtype) else lm.in_precision(self.precision)

    def checkpointed_layers(self, lm: NextTokenLM, prompt: Prompt, following: int = 0) -> int:
        """The number of layers that have to run twice for a gradient of a text to fit the memory.

        The text is a prompt and a number of tokens that follow it. Raises ValueError if it does not fit even so.
        """
        return self.memory.checkpointed_layers(self.grad_lm(lm), prompt, following)

    def advance(self, gradients: int) -> None:
        """Tell who asked that some more gradients have been taken. Raises Interruption if that raises an error."""
        if self.on_progress is not None:
            try:
                self.on_progress(gradients)
            except Exception as error:
                raise Interruption(error) from error
