"""From (token, dim) to one score per piece of text: named reductions, signed or not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Reduction:
    """A score for each piece: `outer` of the sum of `inner` over the piece's tokens and dimensions.

    Attributes:
        name: as it stands in results.
        signed: whether positive scores support the target and negative ones speak against it.
        inner: applied to every number.
        outer: applied to the sum and to the count of numbers summed.
    """

    name: str
    signed: bool
    inner: Callable[[Tensor], Tensor] = field(repr=False)
    outer: Callable[[Tensor, Tensor], Tensor] = field(repr=False)

    def __call__(
        self, attributions: Float[Tensor, "token dim"], pieces: Sequence[Sequence[int]]
    ) -> Float[Tensor, " piece"]:
        """One score per piece, in float64; `pieces` lists the positions of each piece's tokens."""
        per_token = self.inner(attributions.double()).sum(-1).cpu()
        owner = torch.tensor([number for number, positions in enumerate(pieces) for _ in positions])
        order = torch.tensor([position for positions in pieces for position in positions])
        total = torch.zeros(len(pieces), dtype=torch.float64).index_add(0, owner, per_token[order])
        count = torch.tensor([len(positions) for positions in pieces]) * attributions.shape[-1]
        return self.outer(total, count)


SUM = Reduction("sum", True, lambda a: a, lambda total, count: total)
TOTAL = Reduction("sum of squares", False, lambda a: a, lambda total, count: total)
NORM_1 = Reduction("L1 norm", False, torch.abs, lambda total, count: total)
NORM_2 = Reduction("L2 norm", False, torch.square, lambda total, count: total.sqrt())
ABSOLUTE_SUM = Reduction("absolute value of the sum", False, lambda a: a, lambda total, count: total.abs())
MEAN_ABSOLUTE = Reduction("mean of absolute values", False, torch.abs, lambda total, count: total / count)
