"""From (token, dim) to one score per piece of text: named reductions, signed or not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy
from jaxtyping import Float, Int
from numpy import ndarray


@dataclass(frozen=True)
class Reduction:
    """A score for each piece: `outer` of the sum of `inner` over the piece's tokens and dimensions.

    Attributes:
        name: as it stands in results.
        signed: whether positive scores support the target and negative ones speak against it.
        inner: applied to every number.
        outer: applied to the sum and to the count of numbers summed.
        inverse: of `outer`: the sum, from a score and its count; None where the score does not tell it.
    """

    name: str
    signed: bool
    inner: Callable[[ndarray], ndarray] = field(repr=False)
    outer: Callable[[ndarray, ndarray], ndarray] = field(repr=False)
    inverse: Callable[[ndarray, ndarray], ndarray] | None = field(repr=False, default=None)

    def __call__(
        self, attributions: Float[ndarray, "token dim"], pieces: Sequence[Sequence[int]]
    ) -> Float[ndarray, " piece"]:
        """One score per piece, in float64; `pieces` lists the positions of each piece's tokens."""
        per_token = self.inner(attributions.astype(numpy.float64)).sum(-1)
        positions = [position for positions in pieces for position in positions]
        owner = numpy.repeat(numpy.arange(len(pieces)), [len(positions) for positions in pieces])
        total = numpy.bincount(owner, per_token[positions], len(pieces))
        return self.outer(total, numpy.bincount(owner, minlength=len(pieces)) * attributions.shape[-1])

    def join(
        self, scores: Float[ndarray, " piece"], tokens: Int[ndarray, " piece"], owner: Int[ndarray, " piece"]
    ) -> Float[ndarray, " group"]:
        """The scores that groups of pieces have: what the reduction gives for a group's tokens taken together.

        `tokens` counts each piece's tokens, and `owner` is the number of its group. Raises ValueError where a group's
        score does not follow from those of its pieces.
        """
        if self.inverse is None:
            raise ValueError(
                f"scores that are the {self.name} do not tell their total: the signs of what would cancel in it are "
                "lost. Take a method with signed scores, or one whose scores are norms"
            )
        return self.outer(numpy.bincount(owner, self.inverse(scores, tokens)), numpy.bincount(owner, tokens))


def as_it_is(total: ndarray, count: ndarray) -> ndarray:
    """The sum itself, whatever the count."""
    return total


SUM = Reduction("sum", True, lambda a: a, as_it_is, as_it_is)
TOTAL = Reduction("sum of squares", False, lambda a: a, as_it_is, as_it_is)
NORM_1 = Reduction("L1 norm", False, numpy.abs, as_it_is, as_it_is)
NORM_2 = Reduction(
    "L2 norm", False, numpy.square, lambda total, count: numpy.sqrt(total), lambda score, count: numpy.square(score)
)
ABSOLUTE_SUM = Reduction("absolute value of the sum", False, lambda a: a, lambda total, count: abs(total))
MEAN_ABSOLUTE = Reduction(
    "mean of absolute values",
    False,
    numpy.abs,
    lambda total, count: total / count,
    lambda score, count: score * count,
)
REDUCTIONS = (SUM, TOTAL, NORM_1, NORM_2, ABSOLUTE_SUM, MEAN_ABSOLUTE)


def named(name: str) -> Reduction:
    """A reduction by the name that stands in results. Raises ValueError for one that is not among REDUCTIONS."""
    found = next((each for each in REDUCTIONS if each.name == name), None)
    if found is None:
        raise ValueError(f"no rule for totals is known for the reduction {name!r}, only for {', '.join(names())}")
    return found


def names() -> list[str]:
    """The names of the reductions whose scores have totals."""
    return [each.name for each in REDUCTIONS if each.inverse is not None]
