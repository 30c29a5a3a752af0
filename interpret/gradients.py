"""What is explained, as a function of embeddings, and the project's only own call to autograd."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from nexttoken import NextTokenLM, Prompt, Target

ROWS_A_CHUNK = 128


@dataclass(frozen=True)
class Quantity:
    """A differentiable function of the next-token logits that is explained.

    Attributes:
        name: as it stands on figures.
        unit: the unit of its value.
        function: logits (point, vocab) and the target to values (point,).
    """

    name: str
    unit: str
    function: Callable[[Float[Tensor, "point vocab"], Target], Float[Tensor, " point"]] = field(repr=False)


def log_probability(logits: Float[Tensor, "point vocab"], target: Target) -> Float[Tensor, " point"]:
    """log p(target); with foils, log p(target) - log of the foils' summed probability, the log-odds between them."""
    if not target.foils:
        return logits.log_softmax(-1)[:, target.id]
    return logits[:, target.id] - logits[:, [foil.id for foil in target.foils]].logsumexp(-1)


def without_foils(target: Target, name: str) -> int:
    """The id of a target that is not contrasted. Raises ValueError if it is."""
    if target.foils:
        raise ValueError(f"a contrast is a difference of log-probabilities; to explain the {name}, leave out the foils")
    return target.id


LOG_PROBABILITY = Quantity("log-probability", "nats", log_probability)
LOSS = Quantity("loss", "nats", lambda logits, target: -log_probability(logits, target))
PROBABILITY = Quantity(
    "probability", "probability", lambda logits, target: logits.softmax(-1)[:, without_foils(target, "probability")]
)
LOGIT = Quantity("logit", "logits", lambda logits, target: logits[:, without_foils(target, "logit")])


@dataclass
class Objective:
    """What a method explains: a scalar for each point, a point being one version of the prompt's embeddings.

    Attributes:
        function: points (point, token, dim) to values (point,). Rows must not depend on each other.
        embeddings: (token, dim) the prompt's own embeddings.
        lm: the model behind the function, for baselines that ask it; None for a function of one's own.
        prompt: the prompt behind the embeddings, likewise.
        chunk_size: how many points run at once; by default as many as fill about 128 rows of tokens.
        on_progress: called with the number of gradients just taken.
        gradients_spent: gradients taken so far.
        forwards_spent: forward passes without a gradient so far.
    """

    function: Callable[[Tensor], Tensor]
    embeddings: Float[Tensor, "token dim"]
    lm: NextTokenLM | None = None
    prompt: Prompt | None = None
    chunk_size: int | None = None
    on_progress: Callable[[int], object] | None = None
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
        chunk_size: int | None = None,
        on_progress: Callable[[int], object] | None = None,
    ) -> Objective:
        """The quantity of a target as a function of a prompt's embeddings, in float32 or better at the loss."""
        tokens = lm.tokens(prompt)
        with torch.no_grad(), lm.at_rest():
            embeddings = lm.embed(tokens)[0].detach()

        def function(points: Tensor) -> Tensor:
            _, every = lm.next_tokens(points.to(embeddings.dtype), tokens["input_ids"].expand(len(points), -1))
            logits = every[:, 0]
            return quantity.function(logits if logits.dtype == torch.float64 else logits.float(), target)

        exact = embeddings if embeddings.dtype == torch.float64 else embeddings.float()
        return cls(function, exact, lm, prompt, chunk_size, on_progress)

    def at_rest(self) -> AbstractContextManager[None]:
        """The model held still while values and gradients are computed; afterwards it is as it was."""
        return self.lm.at_rest() if self.lm is not None else contextlib.nullcontext()

    def chunks(self, points: Float[Tensor, "point token dim"]) -> Iterator[Float[Tensor, "chunk token dim"]]:
        """The points in chunks that run at once, detached and copied, so that nothing of the caller's is touched."""
        size = self.chunk_size or max(1, ROWS_A_CHUNK // points.shape[1])
        for chunk in points.detach().split(size):
            yield chunk.clone()


def values(objective: Objective, points: Float[Tensor, "point token dim"]) -> Float[Tensor, " point"]:
    """The objective at each point. Costs one forward pass a point. Raises FloatingPointError if not finite."""
    with torch.no_grad(), objective.at_rest():
        result = torch.cat([objective.function(chunk) for chunk in objective.chunks(points)])
    objective.forwards_spent += len(points)
    if not bool(result.isfinite().all()):
        point = int((~result.isfinite()).nonzero()[0])
        raise FloatingPointError(f"the objective is {float(result[point])} at point {point + 1} of {len(points)}")
    return result


def gradients(
    objective: Objective, points: Float[Tensor, "point token dim"]
) -> tuple[Float[Tensor, " point"], Float[Tensor, "point token dim"]]:
    """The objective's values (point,) and their gradients (point, token, dim) at each point.

    Costs one forward and one backward pass a point. The points, the model's parameters, their `.grad`, its mode and
    the global random state stay as they were, after errors too. The result does not depend on the chunk size beyond
    rounding.

    Raises:
        FloatingPointError: a value or gradient is not finite; the message says at which point and token.
    """
    all_values, all_gradients = [], []
    with objective.at_rest(), torch.enable_grad():
        for chunk in objective.chunks(points):
            chunk.requires_grad_(True)
            value = objective.function(chunk.clone())
            (gradient,) = torch.autograd.grad(value.sum(), chunk)
            all_values.append(value.detach())
            all_gradients.append(gradient)
            objective.gradients_spent += len(chunk)
            if objective.on_progress is not None:
                objective.on_progress(len(chunk))
    value, gradient = torch.cat(all_values), torch.cat(all_gradients)
    refuse_non_finite(objective, value, gradient)
    return value, gradient


def refuse_non_finite(
    objective: Objective, value: Float[Tensor, " point"], gradient: Float[Tensor, "point token dim"]
) -> None:
    """Raise FloatingPointError, saying where, unless all values and gradients are finite."""
    if not bool(value.isfinite().all()):
        point = int((~value.isfinite()).nonzero()[0])
        raise FloatingPointError(f"the objective is {float(value[point])} at point {point + 1} of {len(value)}")
    if not bool(gradient.isfinite().all()):
        point, token = (~gradient.isfinite()).any(-1).nonzero()[0].tolist()
        named = (
            f" ({objective.lm.vocab.decode([objective.prompt.ids[token]])!r})"
            if objective.lm and objective.prompt
            else ""
        )
        raise FloatingPointError(
            f"the gradient is not finite at point {point + 1} of {len(value)}, token {token + 1}{named}"
        )
