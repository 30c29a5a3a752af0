"""What a method explains: a scalar function of the embeddings at the attributed positions."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial

from jaxtyping import Float
from torch import Tensor

from interpret.engine.memory.policy import TOKENS_PER_BATCH
from interpret.engine.run import Counts, Points, Run, Values
from interpret.engine.text import Text
from interpret.question.prepared import Row
from interpret.question.quantity import LOG_PROBABILITY, Quantity
from nexttoken import NextTokenLM, Prompt, Target

Function = Callable[[Tensor], Tensor]  # points (point, token, dim) to values (point,); rows do not depend on each other


@dataclass(frozen=True, eq=False)
class Objective:
    """What a method explains: a scalar for each point, a point being one version of the prompt's embeddings.

    Attributes:
        function: points (point, token, dim) to values (point,), in float32 or better. Rows must not depend on each
            other.
        x: (token, dim) the prompt's own embeddings at the attributed positions.
        grad_function: the same in another precision, whose gradients are taken; None for `function` itself.
        text: what runs, with its model, prompt and positions; None for a function of one's own.
        run: how it is computed.
        counts: what that has cost.
    """

    function: Function
    x: Float[Tensor, "token dim"]
    grad_function: Function | None = None
    text: Text | None = None
    run: Run = field(default_factory=Run)
    counts: Counts = field(default_factory=Counts)

    @classmethod
    def of(
        cls,
        lm: NextTokenLM,
        prompt: Prompt,
        target: Target,
        quantity: Quantity = LOG_PROBABILITY,
        positions: Sequence[int] | None = None,
        run: Run | None = None,
    ) -> Objective:
        """The quantity of a target as a function of a prompt's embeddings.

        Args:
            lm: the model.
            prompt: the text.
            target: a next token, or several: each of those is predicted from the prompt and those before it, which are
                context.
            quantity: what about it.
            positions: the attributed ones; None for all of them, but for a start token that was put in front.
            run: how it is computed.

        Raises:
            ValueError: the prompt does not fit the run's memory.
        """
        run = run if run is not None else Run()
        following = [each.id for each in target.continuation[:-1]]
        text = Text.fitting(lm, prompt, run, following=following, attributed=positions)
        return cls.of_row(text, Row(prompt, target, tuple(range(len(text.positions)))), quantity, run)

    @classmethod
    def of_row(cls, text: Text, row: Row, quantity: Quantity, run: Run, counts: Counts | None = None) -> Objective:
        """The quantity of a target that is predicted in a text, as a function of what the target sees of it."""
        if row.prompt is not text.prompt or len(row.read) < len(text.positions):
            text = text.beginning(row.prompt)
        grad_text = text.by(run.grad_lm(text.lm))
        function, grad_function = (partial(_value, each, row.target, quantity) for each in (text, grad_text))
        return cls(
            function, text.x.clone(), None if grad_text is text else grad_function, text, run, counts or Counts()
        )

    @property
    def lm(self) -> NextTokenLM | None:
        """The model; None for a function of one's own."""
        return None if self.text is None else self.text.lm

    @property
    def prompt(self) -> Prompt | None:
        """The prompt that the embeddings are of; None for a function of one's own."""
        return None if self.text is None else self.text.prompt

    @property
    def positions(self) -> Sequence[int]:
        """The attributed positions of the prompt."""
        return range(len(self.x)) if self.text is None else self.text.attributed

    def frozen(self) -> AbstractContextManager[None]:
        """The context in which values and gradients are computed; afterwards the model is as it was."""
        return contextlib.nullcontext() if self.text is None else self.text.lm.frozen()

    def points_at_once(self, length: int) -> int:
        """The number of points of a length that run at once."""
        if self.run.batch_size is not None:
            return self.run.batch_size
        fast = max(1, TOKENS_PER_BATCH // length)
        return fast if self.text is None else min(fast, self.text.points_at_once(self.run))


def _value(text: Text, target: Target, quantity: Quantity, points: Points) -> Values:
    return quantity.of_continuation(text(points), target.continuation)
