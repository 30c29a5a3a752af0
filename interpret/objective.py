"""What a method explains, as a function of the embeddings that may move; several of one prompt may run together."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from interpret.quantity import LOG_PROBABILITY, Quantity
from nexttoken import NextTokenLM, Prompt, Target

ROWS_A_CHUNK = 128


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
        chunk_size: how many points run at once; by default as many as fill about 128 rows of tokens.
        on_progress: called with the number of gradients just taken.
        together: the objectives it shares forward passes with, until it has asked for gradients once.
        member: its number among them.
        gradients_spent: gradients taken so far.
        forwards_spent: forward passes without a gradient so far.
    """

    function: Callable[[Tensor], Tensor]
    embeddings: Float[Tensor, "token dim"]
    lm: NextTokenLM | None = None
    prompt: Prompt | None = None
    positions: tuple[int, ...] | None = None
    chunk_size: int | None = None
    on_progress: Callable[[int], object] | None = None
    together: Together | None = None
    member: int = 0
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
        chunk_size: int | None = None,
        on_progress: Callable[[int], object] | None = None,
    ) -> Objective:
        """The quantity of a target as a function of a prompt's embeddings, in float32 or better at the loss.

        The tokens at `positions` move, or all of them. Of a target of several tokens, each is predicted from the prompt
        and those before it, which do not move.
        """
        targets = target.span
        following = [each.id for each in targets[:-1]]
        moving = tuple(positions) if positions is not None else tuple(range(len(prompt)))
        embeddings, logits = logits_of(
            lm, prompt, moving, range(len(prompt) - 1, len(prompt) + len(following)), following
        )
        return cls(
            lambda points: quantity.of_span(logits(points), targets), embeddings, lm, prompt,
            None if positions is None else moving, chunk_size, on_progress,
        )  # fmt: skip

    @classmethod
    def together_of(
        cls,
        lm: NextTokenLM,
        prompts: Sequence[Prompt],
        targets: Sequence[Target],
        quantity: Quantity = LOG_PROBABILITY,
        positions: Sequence[int] | None = None,
        chunk_size: int | None = None,
        on_progress: Callable[[int], object] | None = None,
    ) -> list[Objective]:
        """One objective for each target, after prompts of which each begins the last one; they share forward passes."""
        longest = prompts[-1]
        moving = tuple(positions) if positions is not None else tuple(range(len(longest)))
        _, logits = logits_of(lm, longest, moving, [len(prompt) - 1 for prompt in prompts])

        def function(points: Tensor) -> Tensor:
            every = logits(points)
            return torch.stack([quantity.function(every[:, i], target) for i, target in enumerate(targets)], dim=1)

        own = [[place for place in moving if place < len(prompt)] for prompt in prompts]
        together = Together(function, [len(each) for each in own])
        members = [
            cls.of(lm, prompt, target, quantity, None if positions is None else places, chunk_size, on_progress)
            for prompt, target, places in zip(prompts, targets, own, strict=True)
        ]
        for number, member in enumerate(members):
            member.together, member.member = together, number
        return members

    def at_rest(self) -> AbstractContextManager[None]:
        """The model held still while values and gradients are computed; afterwards it is as it was."""
        return self.lm.at_rest() if self.lm is not None else contextlib.nullcontext()

    def places(self) -> Sequence[int]:
        """The place in the prompt of each token that may move."""
        return self.positions if self.positions is not None else range(len(self.embeddings))

    def chunks(self, points: Float[Tensor, "point token dim"]) -> Iterator[Float[Tensor, "chunk token dim"]]:
        """The points in chunks that run at once, detached and copied, so that nothing of the caller's is touched."""
        size = self.chunk_size or max(1, ROWS_A_CHUNK // points.shape[1])
        for chunk in points.detach().split(size):
            yield chunk.clone()


def logits_of(
    lm: NextTokenLM, prompt: Prompt, moving: Sequence[int], places: Sequence[int], following: Sequence[int] = ()
) -> tuple[Float[Tensor, "token dim"], Callable[[Tensor], Tensor]]:
    """The embeddings of a prompt's tokens that move, and the logits after some places as a function of them.

    The function takes points (point, token, dim) to logits (point, place, vocab), in float32 or better. The other
    tokens, and those that follow the prompt, stay where they are.
    """
    input_ids = lm.tokens(prompt, following)["input_ids"]
    with torch.no_grad(), lm.at_rest():
        every = lm.embed({"input_ids": input_ids}).detach()
    chosen = torch.tensor(list(moving), device=every.device)
    whole = len(chosen) == input_ids.shape[1]

    def logits(points: Tensor) -> Tensor:
        rows = points.to(every.dtype)
        if not whole:
            rows = every.expand(len(points), -1, -1).index_copy(1, chosen, rows)
        _, found = lm.next_tokens(rows, input_ids.expand(len(points), -1), list(places))
        return found if found.dtype == torch.float64 else found.float()

    exact = every[0, chosen]
    return exact if exact.dtype == torch.float64 else exact.float(), logits
