"""Gradient times input: the objective's first-order change if an embedding were removed."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from interpret.methods.method import LocalMethod


@dataclass(frozen=True)
class GradientTimesInput(LocalMethod):
    """The part of the objective that is linear in a token's embedding.

    s_t = sum_d (dF/dx_t)_d x_td

    Shrikumar et al. 2016 (arXiv:1605.01713); for text Denil et al. 2014 (arXiv:1412.6815). Scores are signed, in nats;
    positive ones support the target. Local: their sum is not the objective. One forward and one backward pass.
    """

    def at(
        self, points: Float[Tensor, "point token dim"], gradient: Float[Tensor, "point token dim"]
    ) -> Float[Tensor, "point token dim"]:
        return gradient * points
