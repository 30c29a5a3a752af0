"""Several targets of one text: a matrix of scores, target by piece, that saves and loads like its rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from interpret.attribution import Attribution
from interpret.saved import Saved

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class AttributionMatrix(Saved):
    """Attributions of several targets, as the rows of a matrix whose columns are the pieces of text.

    Attributes:
        kind: "candidates" for one prompt's next tokens, "continuation" for tokens that follow each other.
        attributions: a row each, with its own target, completeness and cost. A later row may have more pieces.
    """

    kind: Literal["candidates", "continuation"]
    attributions: tuple[Attribution, ...]

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
    def scores(self) -> Float[Tensor, "target piece"]:
        """(target, piece) in float64; NaN where a target does not see a piece, because it stands later."""
        matrix = torch.full((len(self), len(self.labels)), float("nan"), dtype=torch.float64)
        for row, attribution in enumerate(self.attributions):
            matrix[row, self.columns(row)] = attribution.scores
        return matrix

    @property
    def title(self) -> str:
        """What is explained, in words."""
        first = self.attributions[0]
        if first.target is None:
            return f"{first.quantity} at {len(self)} places of a continuation"
        tokens = "token" if len(self) == 1 else "tokens"
        what = (
            f"next {tokens}" if self.kind == "candidates" else f"{tokens} of the continuation {''.join(self.targets)!r}"
        )
        foils = first.target.foils
        rather = " rather than " + ", ".join(repr(foil.text) for foil in foils) if foils else ""
        return f"{len(self)} {what}{rather}"

    @property
    def gap_text(self) -> str:
        """The largest completeness gap of its rows in words; empty where there is none."""
        gaps = [each.completeness for each in self.attributions]
        if any(gap is None for gap in gaps):
            return ""
        worst = max(self.attributions, key=lambda each: each.completeness.relative(each.completeness.largest_gap))  # type: ignore[union-attr]
        return f"largest {worst.gap_text}"

    @property
    def facts(self) -> str:
        """How it was made, in words: method, largest gap, model."""
        first = self.attributions[0]
        return ", ".join(filter(None, [first.method, self.gap_text, first.model]))

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain Python values."""
        return {"kind": self.kind, "attributions": [each.to_dict() for each in self.attributions]}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> AttributionMatrix:
        """The inverse of `to_dict`. Raises ValueError if it is something else."""
        if set(plain) != {"kind", "attributions"}:
            raise ValueError(f"this is not a saved matrix of attributions: it has {sorted(plain)}")
        return cls(plain["kind"], tuple(Attribution.from_dict(each) for each in plain["attributions"]))

    def provenance(self) -> dict[str, Any]:
        """What was explained, how and with which versions, without the scores: plain values, for a file's metadata."""
        own = {"kind": self.kind, "prompt": self.attributions[-1].prompt, "target": list(self.targets)}
        return {
            **self.attributions[0].provenance(), **own, "gap": self.gap_text,
            "completeness": [each.completeness and asdict(each.completeness) for each in self],
            "gradients_spent": self.gradients_spent,
        }  # fmt: skip

    def heatmap(self, width: float | None = None, ax: Axes | None = None) -> Figure:
        """The matrix on one scale: a figure as wide as its labels need, or `width` inches, or drawn on `ax`.

        Returns a matplotlib figure, that of `ax` if it is given.
        """
        from interpret.views.matrix import matrix_heatmap

        return matrix_heatmap(self, width, ax)

    def html(self) -> str:
        """The matrix as a table, a fragment of HTML that can be read without its script."""
        from interpret.views.html_matrix import matrix_html

        return matrix_html(self)

    def __repr__(self) -> str:
        width = max(map(len, map(repr, self.targets)))
        rows = [
            f"  {text!r:<{width}}  "
            + ", ".join(f"{label!r} {score:{'+' if self.signed else ''}.3g}" for label, score in each.top(3))
            for text, each in zip(self.targets, self.attributions, strict=True)
        ]
        first = self.attributions[0]
        facts = ", ".join(filter(None, [first.method, self.gap_text, f"{self.gradients_spent} gradients"]))
        head = f"AttributionMatrix of {self.title} by {len(self.labels)} pieces, {first.quantity} in {self.unit}"
        return "\n".join([head, f"  {facts}", *rows])
