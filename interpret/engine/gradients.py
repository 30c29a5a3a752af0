"""Values of an objective and their gradients, chunk by chunk: what methods ask for."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator
from itertools import islice

import torch
from jaxtyping import Float
from torch import Tensor

from interpret.engine.memory.policy import TOKENS_PER_BACKWARD
from interpret.engine.objective import Objective
from interpret.engine.parallel import available, side_by_side
from interpret.engine.run import BackwardRules


def values(objective: Objective, points: Float[Tensor, "point token dim"]) -> Float[Tensor, " point"]:
    """The objective at each point. Costs one forward pass a point. Raises FloatingPointError if not finite."""
    known = objective.run.known
    if known is not None and known.points is not None and torch.equal(points, objective.x[None]):
        return known.own_value.clone()
    found = []
    with torch.no_grad(), objective.frozen():
        for chunk in objective.in_chunks(objective.function, points):
            found.append(chunk)
            objective.run.advance(0)  # no gradient, but a place to stop at
    result = torch.cat(found)
    objective.run.counts.forwards += len(points)
    _refuse_non_finite_values(result)
    return result


def gradients(
    objective: Objective,
    points: Float[Tensor, "point token dim"],
    exact_values: bool = False,
    rules: BackwardRules | None = None,
) -> tuple[Float[Tensor, " point"], Float[Tensor, "point token dim"]]:
    """The objective's values (point,) and their gradients (point, token, dim) at each point.

    Costs one forward and one backward pass a point; what a shared pass has computed already is looked up. The points,
    the model's parameters, their `.grad`, its mode and the global random state stay as they were, after errors too.
    The result does not depend on the chunk size beyond rounding.

    Args:
        objective: what is explained.
        points: where.
        exact_values: the values are those of `values`, which costs another forward pass a point where gradients are
            taken in another precision.
        rules: of the backward pass, where the gradient is not to be the objective's own.

    Raises:
        FloatingPointError: a value or gradient is not finite; the message says at which point and token.
    """
    known = objective.run.known
    found = known.at(points, rules) if known is not None else None
    value, gradient = found if found is not None else _evaluate(objective, points, rules)
    objective.run.counts.gradients += len(points)
    _refuse_non_finite_values(value)
    _refuse_non_finite_gradients(objective, gradient)
    return values(objective, points) if exact_values and objective.grad_function is not None else value, gradient


def each_gradient(
    objective: Objective, points: Iterable[Float[Tensor, "token dim"]], exact_values: bool = False
) -> Iterator[tuple[Float[Tensor, ""], Float[Tensor, "token dim"]]]:
    """The same point by point, for points that are made when they are needed: only those that run next are kept."""
    left, known = iter(points), objective.run.known
    at_once = objective.points_at_once(len(objective.x))
    # What is known is known of all of its points together.
    size = at_once if known is None or known.points is None else len(known.points)
    while batch := list(islice(left, size)):
        yield from zip(*gradients(objective, torch.stack(batch), exact_values), strict=True)
        size = at_once


def _evaluate(
    objective: Objective, points: Float[Tensor, "point token dim"], rules: BackwardRules | None
) -> tuple[Float[Tensor, " point"], Float[Tensor, "point token dim"]]:
    """The values and gradients at the points, computed."""
    function = objective.grad_function or objective.function

    def of_chunk(chunk: Tensor) -> tuple[Tensor, Tensor]:
        chunk.requires_grad_(True)
        value = function(chunk.clone())
        with rules.applied(value) if rules is not None else contextlib.nullcontext():
            return value.detach(), torch.autograd.grad(value.sum(), chunk)[0]

    every_value, every_gradient = [], []
    with objective.frozen(), torch.enable_grad():
        for value, gradient in objective.in_chunks(of_chunk, points):
            every_value.append(value)
            every_gradient.append(gradient)
            objective.run.advance(len(value))
    return torch.cat(every_value), torch.cat(every_gradient)


def vjp(
    value: Float[Tensor, "point row"], points: Float[Tensor, "point token dim"], batched: bool, threads: bool
) -> Float[Tensor, "row point token dim"]:
    """The gradient of each column of values with respect to the points.

    Args:
        value: a function of the points, with its graph.
        points: the leaf.
        batched: whether some backward passes may run at once, vectorized.
        threads: whether they may run side by side; not where layers run again in them, which takes one thread, nor
            where processes exchange messages in them, whose order must be the same everywhere.
    """
    rows = value.shape[1]
    if rows == 1:
        return torch.autograd.grad(value.sum(), points)[0][None]
    workers, tokens = available(points.device) if threads else 1, rows * points[..., 0].numel()
    at_once = math.ceil(rows / (workers * math.ceil(tokens / (workers * TOKENS_PER_BACKWARD)))) if batched else 1

    def of_some(begin: int) -> Tensor:
        some = value[:, begin : begin + at_once].sum(0)
        one_each = torch.eye(len(some)).to(some)
        if len(some) == 1:
            return torch.autograd.grad(some, points, one_each[0], retain_graph=True)[0][None]
        return torch.autograd.grad(some, points, one_each, is_grads_batched=True, retain_graph=True)[0]

    return torch.cat(list(side_by_side(of_some, range(0, rows, at_once), workers)))


def _refuse_non_finite_values(value: Float[Tensor, " point"]) -> None:
    if not bool(value.isfinite().all()):
        point = int((~value.isfinite()).nonzero()[0])
        raise FloatingPointError(f"the objective is {float(value[point])} at point {point + 1} of {len(value)}")


def _refuse_non_finite_gradients(objective: Objective, gradient: Float[Tensor, "point token dim"]) -> None:
    if bool(gradient.isfinite().all()):
        return
    point, token = (~gradient.isfinite()).any(-1).nonzero()[0].tolist()
    place, context = objective.places()[token], objective.context
    named = f" ({context.lm.vocab.decode([context.prompt.ids[place]])!r})" if context.lm and context.prompt else ""
    raise FloatingPointError(
        f"the gradient is not finite at point {point + 1} of {len(gradient)}, token {place + 1}{named}"
    )
