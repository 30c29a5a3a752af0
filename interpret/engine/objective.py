"""What a method explains: a scalar function of the embeddings that may move, and the text and model behind it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial

from jaxtyping import Float
from torch import Tensor

from interpret.engine.forward import Forward, Passage
from interpret.engine.memory.policy import TOKENS_PER_BATCH, Outcome
from interpret.engine.run import Run
from interpret.question.quantity import LOG_PROBABILITY, Quantity
from nexttoken import NextTokenLM, Prompt, Target

Function = Callable[[Tensor], Tensor]  # points (point, token, dim) to values (point,); rows do not depend on each other


@dataclass(frozen=True)
class Context:
    """What stands behind an objective, for baselines and methods that ask it.

    Attributes:
        lm: the model; None for a function of one's own.
        prompt: the prompt that the embeddings are of, likewise.
        places: the places in the prompt of the tokens that may move; None for all of them.
    """

    lm: NextTokenLM | None = None
    prompt: Prompt | None = None
    places: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Objective:
    """What a method explains: a scalar for each point, a point being one version of the prompt's embeddings.

    Attributes:
        function: points (point, token, dim) to values (point,), in float32 or better. Rows must not depend on each
            other.
        x: (token, dim) the prompt's own embeddings, of those tokens that may move.
        grad_function: the same in another precision, whose gradients are taken; None for `function` itself.
        context: the model, the prompt, and the places of the tokens that may move.
        run: how it is computed, and what that has cost.
    """

    function: Function
    x: Float[Tensor, "token dim"]
    grad_function: Function | None = None
    context: Context = field(default_factory=Context)
    run: Run = field(default_factory=Run)

    @classmethod
    def of(
        cls,
        lm: NextTokenLM,
        prompt: Prompt,
        target: Target,
        quantity: Quantity = LOG_PROBABILITY,
        places: Sequence[int] | None = None,
        run: Run | None = None,
    ) -> Objective:
        """The quantity of a target as a function of a prompt's embeddings.

        Args:
            lm: the model.
            prompt: the text.
            target: a next token, or several: each of those is predicted from the prompt and those before it, which do
                not move.
            quantity: what about it.
            places: of the tokens that move; None for all of them, but for a start token that was put in front.
            run: how it is computed.

        Raises:
            ValueError: the prompt does not fit the run's memory.
        """
        run = run if run is not None else Run()
        text = Passage.of_target(prompt, target, places)
        forward = Forward(lm, text, run.checkpointed_layers(lm, prompt, len(text.following)))
        return cls.over(forward, forward.by(run.grad_lm(lm)), target, quantity, run)

    @classmethod
    def over(cls, forward: Forward, grad_forward: Forward, target: Target, quantity: Quantity, run: Run) -> Objective:
        """The quantity of a target that is predicted at the places of a forward pass, and of that for gradients."""
        lm, text, grad_lm = forward.lm, forward.text, grad_forward.lm
        places = text.moving if text.prompt.start_token is None else tuple(forward.moving)
        context = Context(lm, text.prompt, places)
        fitting = partial(run.memory.fitting, grad_lm, text.prompt, len(text.following), len(text.places))
        function = partial(_value, forward, target, quantity)
        grad_function = None
        if grad_lm is not lm:
            grad_function = partial(_value, grad_forward, target, quantity)
        return cls(function, forward.x.clone(), grad_function, context, replace(run, fitting=fitting))

    def frozen(self) -> AbstractContextManager[None]:
        """The model frozen while values and gradients are computed; afterwards it is as it was."""
        return self.context.lm.frozen() if self.context.lm is not None else contextlib.nullcontext()

    def places(self) -> Sequence[int]:
        """The place in the prompt of each token that may move."""
        return self.context.places if self.context.places is not None else range(len(self.x))

    def in_chunks(
        self, function: Callable[[Tensor], Outcome], points: Float[Tensor, "point token dim"]
    ) -> Iterator[Outcome]:
        """A function's results on the points, in chunks that fit the memory (see Memory.in_chunks)."""
        size = self.points_at_once(points.shape[1]) if len(points) > 1 else 1
        return self.run.memory.in_chunks(function, points, size)

    def points_at_once(self, length: int) -> int:
        """The number of points of a length that run at once."""
        if self.run.batch_size is not None:
            return self.run.batch_size
        fast = max(1, TOKENS_PER_BATCH // length)
        return min(fast, self.run.fitting()) if self.run.fitting is not None else fast


def _value(
    forward: Forward, target: Target, quantity: Quantity, points: Float[Tensor, "point token dim"]
) -> Float[Tensor, " point"]:
    return quantity.of_continuation(forward(points), target.continuation)
