"""The project's only own call to autograd: values of an objective and their gradients, chunk by chunk."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import torch
from jaxtyping import Float
from torch import Tensor

from interpret.objective import Objective, Together
from interpret.workers import available, side_by_side

ROWS_A_BACKWARD = 384  # rows of tokens in backward passes that run at once


def values(objective: Objective, points: Float[Tensor, "point token dim"]) -> Float[Tensor, " point"]:
    """The objective at each point. Costs one forward pass a point. Raises FloatingPointError if not finite."""
    with torch.no_grad(), objective.frozen():
        result = torch.cat(list(objective.in_chunks(objective.function, points)))
    objective.forwards_spent += len(points)
    if not bool(result.isfinite().all()):
        point = int((~result.isfinite()).nonzero()[0])
        raise FloatingPointError(f"the objective is {float(result[point])} at point {point + 1} of {len(points)}")
    return result


def gradients(
    objective: Objective, points: Float[Tensor, "point token dim"], exact_values: bool = False
) -> tuple[Float[Tensor, " point"], Float[Tensor, "point token dim"]]:
    """The objective's values (point,) and their gradients (point, token, dim) at each point.

    Costs one forward and one backward pass a point. The points, the model's parameters, their `.grad`, its mode and
    the global random state stay as they were, after errors too. The result does not depend on the chunk size beyond
    rounding.

    Args:
        objective: what is explained.
        points: where.
        exact_values: the values are those of `values`, which costs another forward pass a point where gradients are
            taken in less precision.

    Raises:
        FloatingPointError: a value or gradient is not finite; the message says at which point and token.
    """
    together, objective.together = objective.together, None  # only what is asked first was asked in common
    if together is not None and together.points is None:
        take_together(objective, together, points)
    if together is not None and together.know(points):
        assert together.values is not None
        value, gradient = together.values[:, objective.member], together.gradients[objective.member]
    else:
        value, (gradient,) = take(objective, lambda chunk: objective.moved(chunk)[:, None], points, 1)
        value = value[:, 0]
    objective.gradients_spent += len(points)
    refuse_non_finite(objective, value, gradient)
    return values(objective, points) if exact_values and objective.rough else value, gradient


def each_gradient(
    objective: Objective, points: Iterable[Float[Tensor, "token dim"]], exact_values: bool = False
) -> Iterator[tuple[Float[Tensor, ""], Float[Tensor, "token dim"]]]:
    """The same point by point, for points that are made when they are needed: only those that run next are kept.

    Objectives that run together ask for all points at once.
    """
    left = iter(points)
    in_sight = objective.points_at_once(len(objective.embeddings))
    while batch := list(islice(left, None if objective.together else in_sight)):
        yield from zip(*gradients(objective, torch.stack(batch), exact_values), strict=True)


def take_together(objective: Objective, together: Together, points: Float[Tensor, "point token dim"]) -> None:
    """Take the gradients of all objectives that run together, at the points that one of them asks for first."""
    together.values, gradient = take(objective, together.function, points, len(together.lengths))
    together.gradients = [each[:, :length] for each, length in zip(gradient, together.lengths, strict=True)]
    together.points = points.detach().clone()


def take(
    objective: Objective, function: Callable[[Tensor], Tensor], points: Float[Tensor, "point token dim"], targets: int
) -> tuple[Float[Tensor, "point target"], list[Float[Tensor, "point token dim"]]]:
    """The values of a function, points to (point, target), and the gradients of each target.

    Costs one forward pass a point, and one backward pass a point and target.
    """
    batched = targets > 1 and objective.lm is not None and objective.lm.batches_backward

    def of_chunk(chunk: Tensor) -> tuple[Tensor, list[Tensor]]:
        chunk.requires_grad_(True)
        value = function(chunk.clone())
        return value.detach(), slopes(value, chunk, batched, alone=objective.memory.checkpointed > 0)

    every_value, every_gradient = [], []
    with objective.frozen(), torch.enable_grad():
        for value, gradient in objective.in_chunks(of_chunk, points):
            every_value.append(value)
            every_gradient.append(gradient)
            if objective.on_progress is not None:
                objective.on_progress(value.numel())
    return torch.cat(every_value), [torch.cat(parts) for parts in zip(*every_gradient, strict=True)]


def slopes(
    value: Float[Tensor, "point target"], points: Float[Tensor, "point token dim"], batched: bool, alone: bool = False
) -> list[Float[Tensor, "point token dim"]]:
    """The gradients of each target's values: some backward passes at once if they can be batched, side by side.

    Not side by side where layers run again in them, which is done in one thread: `alone`.
    """
    targets = value.shape[1]
    if targets == 1:
        return list(torch.autograd.grad(value.sum(), points))
    workers, rows = 1 if alone else available(points.device), targets * points[..., 0].numel()
    at_once = math.ceil(targets / (workers * math.ceil(rows / (workers * ROWS_A_BACKWARD)))) if batched else 1

    def of_some(begin: int) -> Tensor:
        some = value[:, begin : begin + at_once].sum(0)
        one_each = torch.eye(len(some)).to(some)
        if len(some) == 1:
            return torch.autograd.grad(some, points, one_each[0], retain_graph=True)[0][None]
        return torch.autograd.grad(some, points, one_each, is_grads_batched=True, retain_graph=True)[0]

    parts = side_by_side(of_some, range(0, targets, at_once), workers)
    return list(torch.cat(list(parts)))


def refuse_non_finite(
    objective: Objective, value: Float[Tensor, " point"], gradient: Float[Tensor, "point token dim"]
) -> None:
    """Raise FloatingPointError, saying where, unless all values and gradients are finite."""
    if not bool(value.isfinite().all()):
        point = int((~value.isfinite()).nonzero()[0])
        raise FloatingPointError(f"the objective is {float(value[point])} at point {point + 1} of {len(value)}")
    if not bool(gradient.isfinite().all()):
        point, token = (~gradient.isfinite()).any(-1).nonzero()[0].tolist()
        place = objective.places()[token]
        named = (
            f" ({objective.lm.vocab.decode([objective.prompt.ids[place]])!r})"
            if objective.lm and objective.prompt
            else ""
        )
        raise FloatingPointError(
            f"the gradient is not finite at point {point + 1} of {len(value)}, token {place + 1}{named}"
        )
