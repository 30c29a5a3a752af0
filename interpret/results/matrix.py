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
        return self.attributions[-1].labels

    @property
    def targets(self) -> tuple[str, ...]:
        """What to show for each row: its target's text, or what it explains if that is no token."""
        return tuple(each.target.text if each.target else each.quantity for each in self.attributions)

    @property
    def probabilities(self) -> tuple[float | None, ...]:
        """The model's probability of each row's target; None where a row explains no token."""
        return tuple(each.target.probability if each.target else None for each in self.attributions)

    @property
    def unit(self) -> str:
        """The unit of the scores."""
        return self.attributions[0].unit

    @property
    def signed(self) -> bool:
        """Whether scores have a direction; positive ones support the row's target."""
        return self.attributions[0].signed

    @property
    def gradients_spent(self) -> int:
        """Gradients taken for all rows."""
        return sum(each.gradients_spent for each in self.attributions)

    def columns(self, row: int) -> list[int]:
        """The column of each piece of a row."""
        last = self.attributions[-1].token_ids
        owner = [column for column, ids in enumerate(last) for _ in ids]
        own = self.attributions[row].token_ids
        starts = accumulate(map(len, own[:-1]), initial=0)
        return [owner[start] for start in starts]

    @property
    def scores(self) -> Float[ndarray, "target piece"]:
        """(target, piece) in float64; NaN where a target does not see a piece, because it stands later."""
        matrix = numpy.full((len(self), len(self.labels)), numpy.nan)
        for row, each in enumerate(self.attributions):
            matrix[row, self.columns(row)] = each.scores
        return matrix

    @property
    def title(self) -> str:
        """What is asked, as a question."""
        first = self.attributions[0]
        if first.target is None:
            return f"What raises or lowers the {first.quantity} at {len(self)} places of a continuation?"
        if self.kind == "continuation":
            what = f"{''.join(self.targets)!r}, token by token"
        else:
            what = repr(first.target.text) if len(self) == 1 else f"each of {len(self)} next tokens"
        foils = first.target.foils
        rather = " rather than " + " or ".join(repr(foil.text) for foil in foils) if foils else ""
        return f"Why {what}{rather}?"

    @property
    def heading(self) -> str:
        """What stands above every view: what is asked, and of which model."""
        return f"{self.title} {self.attributions[0].model}"

    @property
    def gap_text(self) -> str:
        """The largest completeness gap of its rows in words; empty where there is none."""
        known = [each.completeness for each in self.attributions if each.completeness]
        if len(known) < len(self):
            return ""
        gaps = [completeness.relative(completeness.largest_gap) for completeness in known]
        return f"largest {self.attributions[gaps.index(max(gaps))].gap_text}"

    @property
    def facts(self) -> str:
        """How it was made, in words: method, settings, largest gap, start token."""
        first = self.attributions[0]
        return ", ".join(filter(None, [first.method_name, first.settings, self.gap_text, first.behind]))

    def provenance(self) -> dict[str, Any]:
        """What was explained, how and with which versions, without the scores: plain values, for a file's metadata."""
        own = {"kind": self.kind, "prompt": self.attributions[-1].prompt, "target": list(self.targets)}
        return {
            **self.attributions[0].provenance(), **own, "gap": self.gap_text,
            "completeness": [each.completeness and asdict(each.completeness) for each in self],
            "gradients_spent": self.gradients_spent,
        }  # fmt: skip

    def heatmap(self, width: float | str | None = None, ax: Axes | None = None) -> Figure:
        """The matrix on one scale: a figure as wide as its labels need, or `width` inches, or drawn on `ax`.

        Returns a matplotlib figure, that of `ax` if it is given.
        """
        figure: Figure = function_of("interpret.views.matrix:matrix_heatmap")(self, width, ax)
        return figure

    def to_frame(self) -> pandas.DataFrame:
        """All rows as one pandas DataFrame (row and piece,), as `Attribution.to_frame` and the target's text."""
        frame: pandas.DataFrame = function_of("interpret.views.spreadsheet:frame")(self)
        return frame

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
