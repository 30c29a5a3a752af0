"""What a method explains, as a function of the embeddings that may move; several of one prompt may run together."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

from interpret.logits import Logits
from interpret.memory import Memory, Result
from interpret.quantity import LOG_PROBABILITY, Quantity
from nexttoken import NextTokenLM, Prompt, Target

ROWS_A_CHUNK = 512  # of tokens; more brings nothing on a CPU, see docs/performance.md


@dataclass
class Together:
    """Objectives of one text that share their forward passes: where one asks for gradients, those of all are taken.

    Each member sees the beginning of the text up to its own place. The first that asks is the one that sees most; what
    the others ask first is looked up, and everything else is each member's own.

    Attributes:
        function: points (point, token, dim) to values (point, member).
        lengths: how many of the tokens that move each member sees.
        points: the points of the first call, (point, token, dim).
        values: (point, member) there.
        gradients: for each member, (point, token, dim).
    """

    function: Callable[[Tensor], Tensor]
    lengths: Sequence[int]
    points: Tensor | None = None
    values: Tensor | None = None
    gradients: list[Tensor] = field(default_factory=list)

    def know(self, points: Float[Tensor, "point token dim"]) -> bool:
        """Whether these points are those of the first call, as far as the asker sees them."""
        return self.points is not None and torch.equal(self.points[:, : points.shape[1]], points)


@dataclass
class Objective:
    """What a method explains: a scalar for each point, a point being one version of the prompt's embeddings.

    Attributes:
        function: points (point, token, dim) to values (point,). Rows must not depend on each other.
        embeddings: (token, dim) the prompt's own embeddings, of those tokens that may move.
        lm: the model behind the function, for baselines that ask it; None for a function of one's own.
        prompt: the prompt behind the embeddings, likewise.
        positions: the places of these tokens in the prompt; None where they are the whole prompt.
        rough: the function in less precision, of which the gradients are taken; None where they are the function's own.
        chunk_size: how many points run at once; by default as many as fill 512 rows of tokens, if they fit the memory.
        on_progress: called with the number of gradients just taken; what it raises ends the run between two chunks.
        together: the objectives it shares forward passes with, until it has asked for gradients once.
        member: its number among them.
        gradients_spent: gradients taken so far.
        memory: what the run may take, shared by all objectives of a run.
        fitting: asked how many points fit at once, it estimates; None where nothing is known.
        divisible: whether the function takes fewer points than are asked for.
        forwards_spent: forward passes without a gradient so far.
    """

    function: Callable[[Tensor], Tensor]
    embeddings: Float[Tensor, "token dim"]
    lm: NextTokenLM | None = None
    prompt: Prompt | None = None
    positions: tuple[int, ...] | None = None
    rough: Callable[[Tensor], Tensor] | None = None
    chunk_size: int | None = None
    on_progress: Callable[[int], object] | None = None
    together: Together | None = None
    member: int = 0
    memory: Memory = field(default_factory=Memory)
    fitting: Callable[[], int] | None = None
    divisible: bool = True
    gradients_spent: int = 0
    forwards_spent: int = 0

    def __post_init__(self) -> None:
        if self.chunk_size is not None and self.chunk_size < 1:
            raise ValueError(f"chunk_size is {self.chunk_size}; it must be at least 1")

    @classmethod
    def of(
        cls,
        lm: NextTokenLM,
        prompt: Prompt,
        target: Target,
        quantity: Quantity = LOG_PROBABILITY,
        positions: Sequence[int] | None = None,
        rough: NextTokenLM | None = None,
        chunk_size: int | None = None,
        on_progress: Callable[[int], object] | None = None,
        memory: Memory | None = None,
    ) -> Objective:
        """The quantity of a target as a function of a prompt's embeddings, in float32 or better at the loss.

        The tokens at `positions` move, or all of them. Of a target of several tokens, each is predicted from the prompt
        and those before it, which do not move. Gradients are those of `rough`, the model in less precision, if given.
        """
        targets = target.continuation
        following = [each.id for each in targets[:-1]]
        places = range(len(prompt) - 1, len(prompt) + len(following))
        moving = positions if positions is not None else range(len(prompt))
        checkpointed = memory.checkpointed if memory else 0
        logits = Logits(lm, prompt, moving, places, following, checkpointed)

        def of_span(logits: Logits) -> Callable[[Tensor], Tensor]:
            return lambda points: quantity.of_span(logits(points), targets)

        return cls(
            of_span(logits), logits.embeddings, lm, prompt, None if positions is None else tuple(positions),
            None if rough is None else of_span(Logits(rough, prompt, moving, places, following, checkpointed)),
            chunk_size, on_progress, memory=memory or Memory(),
            fitting=None if memory is None else lambda: memory.points(lm, prompt, len(following), len(places)),
        )  # fmt: skip

    @classmethod
    def together_of(
        cls,
        lm: NextTokenLM,
        prompts: Sequence[Prompt],
        targets: Sequence[Target],
        quantity: Quantity = LOG_PROBABILITY,
        positions: Sequence[int] | None = None,
        rough: NextTokenLM | None = None,
        chunk_size: int | None = None,
        on_progress: Callable[[int], object] | None = None,
        memory: Memory | None = None,
    ) -> list[Objective]:
        """One objective for each target, after prompts of which each begins the last one; they share forward passes."""
        longest = prompts[-1]
        moving = positions if positions is not None else range(len(longest))
        checkpointed = memory.checkpointed if memory else 0
        logits = Logits(rough or lm, longest, moving, [len(prompt) - 1 for prompt in prompts], (), checkpointed)

        def function(points: Tensor) -> Tensor:
            every = logits(points)
            return torch.stack([quantity.function(every[:, i], target) for i, target in enumerate(targets)], dim=1)

        together = Together(function, [sum(place < len(prompt) for place in moving) for prompt in prompts])

        def member(number: int) -> Objective:
            prompt, length = prompts[number], together.lengths[number]
            places = None if positions is None else tuple(positions)[:length]
            alone = cache(lambda: cls.of(lm, prompt, targets[number], quantity, places, rough, memory=memory))
            return cls(
                lambda points: alone().function(points), own[:length], lm, prompt, places,
                rough and (lambda points: alone().moved(points)), chunk_size, on_progress, together, number,
                memory or Memory(), fitting,
            )  # fmt: skip

        fitting = None if memory is None else lambda: memory.points(lm, longest, places=len(prompts))
        own = Logits(lm, longest, moving, [-1]).embeddings
        return [member(number) for number in range(len(targets))]

    @property
    def moved(self) -> Callable[[Tensor], Tensor]:
        """The function whose gradients are taken."""
        return self.rough or self.function

    def frozen(self) -> AbstractContextManager[None]:
        """The model held still while values and gradients are computed; afterwards it is as it was."""
        return self.lm.frozen() if self.lm is not None else contextlib.nullcontext()

    def places(self) -> Sequence[int]:
        """The place in the prompt of each token that may move."""
        return self.positions if self.positions is not None else range(len(self.embeddings))

    def in_chunks(
        self, function: Callable[[Tensor], Result], points: Float[Tensor, "point token dim"]
    ) -> Iterator[Result]:
        """A function's results on the points, in chunks that fit the memory (see Memory.in_chunks)."""
        size = self.points_at_once(points.shape[1]) if len(points) > 1 else 1
        return self.memory.in_chunks(function, points, size, self.divisible)

    def points_at_once(self, length: int) -> int:
        """How many points of so many tokens run at once."""
        fast = max(1, ROWS_A_CHUNK // length)
        return self.chunk_size or (min(fast, self.fitting()) if self.fitting else fast)
