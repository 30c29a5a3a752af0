"""The straight path from a baseline to the prompt: its points, its quadrature, which tokens are fixed, and its gap."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interpret.engine.objective import Objective
from interpret.engine.progress import warn_caller
from interpret.engine.run import Points, Values
from interpret.methods.baselines import Baseline
from interpret.results.certificate import Completeness
from nexttoken import Piece

Fixed = Literal["template", "first"] | Sequence[int] | Callable[[Piece], bool] | None
Rule = Literal["midpoint", "gauss-legendre", "trapezoid", "left", "right"]
SMALLEST_GAP = 0.01  # nats: what a tolerance means where the objective hardly changes
USUAL_GAP = 0.05


@dataclass(frozen=True, eq=False)
class Line:
    """x' + alpha (x - x'), where tokens that are fixed stay at the prompt.

    Attributes:
        start: (token, dim) x', the baseline; x where a token is fixed.
        x: (token, dim) the prompt.
        fixed: (token,) True for the tokens that stay.
    """

    start: Float[Tensor, "token dim"]
    x: Float[Tensor, "token dim"]
    fixed: Bool[Tensor, " token"]

    @classmethod
    def of(cls, baseline: Baseline, positions: Fixed, objective: Objective) -> Line:
        """The line to the prompt, for a method's settings. Raises ValueError where every token is fixed."""
        x, fixed = objective.x, fixed_tokens(positions, objective)
        return cls(torch.where(fixed[:, None], x, baseline(objective)), x, fixed)

    @property
    def delta(self) -> Float[Tensor, "token dim"]:
        """x - x', which is 0 where a token is fixed."""
        return self.x - self.start

    def at(self, alphas: Values) -> Points:
        """The points at some alphas from 0 (the baseline) to 1 (the prompt)."""
        return self.start + alphas.to(self.x)[:, None, None] * self.delta


def fixed_tokens(fixed: Fixed, objective: Objective) -> Bool[Tensor, " token"]:
    """True for the tokens that are fixed. A prompt of one token moves that token whatever `fixed` says.

    "first" is the token that carries the attention sink: of a causal model the first, of an encoder-decoder the
    decoder's start. An encoder reads in both directions, so the source's first word is a word like any other, and so is
    the first word behind a start token that was put in front. Positions count from the first token of the text.

    Raises:
        ValueError: a position outside the prompt, an unknown name, or nothing left to move.
    """
    positions, prompt = objective.positions, objective.prompt
    pieces = prompt.pieces if prompt is not None else ()
    chosen: set[int] = set()
    if fixed in ("first", "template"):
        start = prompt.start if prompt is not None else 0
        chosen = {start} if len(objective.x) > 1 else set()
    elif isinstance(fixed, str):
        raise ValueError(
            f"fixed is {fixed!r}; it must be 'template', 'first', positions, a function of a piece, or None"
        )
    if fixed == "template" or callable(fixed):
        is_fixed = (lambda piece: piece.template) if fixed == "template" else fixed
        chosen |= {position for piece in pieces if is_fixed(piece) for position in piece.positions}
    elif isinstance(fixed, Sequence) and not isinstance(fixed, str):
        own = prompt.own if prompt is not None else range(len(objective.x))
        outside = [position for position in fixed if not -len(own) <= position < len(own)]
        if outside:
            raise ValueError(f"fixed names position {outside[0]}, and the prompt has {len(own)} tokens")
        chosen = {own[position] for position in fixed}
    found = torch.tensor([position in chosen for position in positions], device=objective.x.device)
    if bool(found.all()):
        raise ValueError("every token is fixed, so there is nothing to explain; fix fewer (fixed=None fixes none)")
    return found


def quadrature(rule: Rule, steps: int) -> tuple[Values, Values]:
    """The nodes and weights of a rule on [0, 1], in float64; the weights add up to 1.

    Left and right sums have an error of O(1/steps), midpoint and trapezoid O(1/steps^2); Gauss-Legendre is exact for
    polynomials up to degree 2 steps - 1.

    Raises:
        ValueError: an unknown rule, or fewer steps than it needs.
    """
    fewest = 2 if rule == "trapezoid" else 1
    if rule not in get_args(Rule):
        raise ValueError(f"there is no rule {rule!r}; the rules are {', '.join(get_args(Rule))}")
    if steps < fewest:
        raise ValueError(f"steps is {steps}; the {rule} rule needs at least {fewest}")
    if rule == "gauss-legendre":
        on_both_sides, doubled = numpy.polynomial.legendre.leggauss(steps)  # on [-1, 1]
        return torch.from_numpy((on_both_sides + 1) / 2), torch.from_numpy(doubled / 2)
    if rule == "trapezoid":
        weights = torch.full((steps,), 1 / (steps - 1), dtype=torch.float64)
        weights[[0, -1]] /= 2
        return torch.linspace(0, 1, steps, dtype=torch.float64), weights
    shift = {"left": 0.0, "midpoint": 0.5, "right": 1.0}[rule]
    nodes = (torch.arange(steps, dtype=torch.float64) + shift) / steps
    return nodes, torch.full((steps,), 1 / steps, dtype=torch.float64)


class ConvergenceWarning(UserWarning):
    """The scores do not add up to the change of the objective as closely as was asked for."""


def warn_of_gap(completeness: Completeness, remedy: str) -> None:
    """Warn if the gap of a whole path is over 5 % of the change, and over 0.01 nats."""
    if completeness.relative_gap > USUAL_GAP and completeness.gap > SMALLEST_GAP:
        warn(completeness, remedy)


def warn(completeness: Completeness, remedy: str) -> None:
    """Say by how much the scores miss what they should add up to, and what to change."""
    gap, change = completeness.largest_gap, completeness.value - completeness.baseline_value
    warn_caller(
        f"the scores miss F(x) - F(x') = {change:.3g} by up to {gap:.2g} ({completeness.relative(gap):.0%}); "
        f"take {remedy}",
        ConvergenceWarning,
    )
