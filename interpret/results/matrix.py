"""Several targets of one text: a matrix of scores, target by piece, that saves and loads like its rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Literal, final

import numpy
from jaxtyping import Float
from numpy import ndarray

from interpret.results.attribution import Attribution
from interpret.results.files import Result, function_of
from interpret.results.numbers import NumberFormat

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@final
@dataclass(frozen=True, eq=False, repr=False)
class AttributionMatrix(Result):
    """Attributions of several targets, as the rows of a matrix whose columns are the pieces of text; with views of it.

    Attributes:
        kind: "candidates" for one prompt's next tokens, "continuation" for tokens that follow each other.
        attributions: a row each, with its own target, completeness and cost. A later row may have more pieces.
    """

    kind: Literal["candidates", "continuation"]
    attributions: tuple[Attribution, ...]

    fragment = "interpret.views.html:html"

    def __len__(self) -> int:
        return len(self.attributions)

    def __iter__(self) -> Iterator[Attribution]:
        return iter(self.attributions)

    def __getitem__(self, row: int) -> Attribution:
        return self.attributions[row]

    @property
    def labels(self) -> tuple[str, ...]:
        """What to show for each column."""
        return self[-1].labels

    @property
    def targets(self) -> tuple[str, ...]:
        """What to show for each row: its target's text, or what it explains if that is no token."""
        return tuple(each.target.text if each.target else each.quantity for each in self)

    @property
    def probabilities(self) -> tuple[float | None, ...]:
        """The model's probability of each row's target; None where a row explains no token."""
        return tuple(each.target.probability if each.target else None for each in self)

    @property
    def unit(self) -> str:
        """The unit of the scores."""
        return self[0].unit

    @property
    def signed(self) -> bool:
        """Whether scores have a direction; positive ones support the row's target."""
        return self[0].signed

    @property
    def gradients_spent(self) -> int:
        """Gradients taken for all rows."""
        return sum(each.gradients_spent for each in self)

    def columns(self, row: int) -> list[int]:
        """The column of each piece of a row."""
        owner = [column for column, ids in enumerate(self[-1].token_ids) for _ in ids]
        return [owner[start] for start in accumulate(map(len, self[row].token_ids[:-1]), initial=0)]

    @property
    def scores(self) -> Float[ndarray, "target piece"]:
        """(target, piece) in float64; NaN where a target does not see a piece, because it stands later."""
        matrix = numpy.full((len(self), len(self.labels)), numpy.nan)
        for row, each in enumerate(self):
            matrix[row, self.columns(row)] = each.scores
        return matrix

    @property
    def title(self) -> str:
        first = self[0]
        if first.target is None:
            return f"What raises or lowers the {first.quantity} at {len(self)} positions of a continuation?"
        what = repr(first.target.text) if len(self) == 1 else f"each of {len(self)} next tokens"
        if self.kind == "continuation":
            what = f"{''.join(self.targets)!r}, token by token"
        foils = first.target.foils
        rather = " rather than " + " or ".join(repr(foil.text) for foil in foils) if foils else ""
        return f"Why {what}{rather}?"

    @property
    def heading(self) -> str:
        return f"{self.title} {self[0].model}"

    @property
    def gap_text(self) -> str:
        """The largest completeness gap of its rows in words; empty where there is none."""
        gaps = [each.completeness.relative(each.completeness.largest_gap) for each in self if each.completeness]
        return f"largest {self[gaps.index(max(gaps))].gap_text}" if len(gaps) == len(self) else ""

    @property
    def facts(self) -> str:
        first = self[0]
        return ", ".join(filter(None, [first.method_name, first.settings, self.gap_text, first.start_text]))

    def provenance(self) -> dict[str, Any]:
        own = {"kind": self.kind, "prompt": self[-1].prompt, "target": list(self.targets)}
        return {
            **self[0].provenance(), **own, "gap": self.gap_text,
            "completeness": [each.completeness and asdict(each.completeness) for each in self],
            "gradients_spent": self.gradients_spent,
        }  # fmt: skip

    def heatmap(self, width: float | str | None = None, ax: Axes | None = None) -> Figure:
        """The scores of all rows on one scale, as a matplotlib figure, `width` inches wide or drawn on `ax`."""
        return function_of("interpret.views.matrix:matrix_heatmap")(self, width, ax)

    def to_frame(self) -> pandas.DataFrame:
        """All rows as one pandas DataFrame (row and piece,), as `Attribution.to_frame` and the target's text."""
        return function_of("interpret.views.spreadsheet:frame")(self)

    def __repr__(self) -> str:
        width = max(map(len, map(repr, self.targets)))
        numbers = NumberFormat.of(max(float(abs(each.scores).max()) for each in self), self.signed)
        rows = [
            f"  {text!r:<{width}}  " + ", ".join(f"{label!r} {numbers(score)}" for label, score in each.top(3))
            for text, each in zip(self.targets, self, strict=True)
        ]
        first = self[0]
        of = f"{first.quantity} in {numbers.unit(self.unit)}, by {len(self.labels)} pieces"
        facts = ", ".join(filter(None, [of, first.method, self.gap_text, f"{self.gradients_spent} gradients"]))
        return "\n".join([f"AttributionMatrix: {self.heading}", f"  {facts}", *rows])
