"""Quadrature rules on [0, 1]: where to evaluate an integrand and how to weight it."""

from __future__ import annotations

from typing import Literal, get_args

import numpy
import torch
from jaxtyping import Float
from torch import Tensor

Rule = Literal["midpoint", "gauss-legendre", "trapezoid", "left", "right"]


def quadrature(rule: Rule, steps: int) -> tuple[Float[Tensor, " point"], Float[Tensor, " point"]]:
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
