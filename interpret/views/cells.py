"""What every view shows, computed once: of each piece its label, number, mark and facts; the words of the legend."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from interpret.results.attribution import TEMPLATE, Attribution, ScoredPiece
from interpret.views.colour import WHITE, Colour
from interpret.views.invisible import escape_invisible
from interpret.views.scale import FAINT, Mark, Scale

FIXED = "fixed"
FAINT_NOTE = f"under {100 * FAINT:.0f} % of the largest"
NOTES = {
    "for": "raises it",
    "against": "lowers it",
    "": FAINT_NOTE,
    "fixed": "fixed, no score",
    "template": "written by the template or tokenizer",
}


@dataclass(frozen=True)
class Cell:
    """A piece as it is shown.

    Attributes:
        piece: its data.
        scale: what its score is measured against.
        text: its label in running text, with signs for what is no visible character.
        name: its label where it stands alone: spaces only are signs as well.
        share: the part of its magnitude in the sum of all, in percent; empty where it has none.
        role: who wrote it in a chat; empty in other prompts.
    """

    piece: ScoredPiece
    scale: Scale
    text: str
    name: str
    share: str
    role: str

    @property
    def number(self) -> str:
        """Its score in the format of the scale, or that it was fixed."""
        return FIXED if self.piece.fixed else self.scale.numbers(self.piece.score)

    @property
    def standard_error(self) -> str:
        """In the format of the scale; empty where there is none."""
        return self._error(self.piece.standard_error)

    @property
    def numerical_error(self) -> str:
        """In the format of the scale; empty where there is none."""
        return self._error(self.piece.error)

    @property
    def mark(self) -> Mark:
        """What must be seen of it without its colour."""
        return self.scale.mark(self.piece.score, self.piece.fixed)

    def colour(self, page: Colour = WHITE) -> Colour:
        """Of its score on a page."""
        return self.scale.colour(self.piece.score, page, self.piece.fixed)

    @property
    def note(self) -> str:
        """What is special about it."""
        return ", ".join([FIXED] * self.piece.fixed + [TEMPLATE] * self.piece.template)

    @property
    def says(self) -> str:
        """All that is known of it, in words: score, share, standard error, ids, and who wrote it."""
        piece, scale = self.piece, self.scale
        known = [
            "fixed: context, no score" if piece.fixed else scale.numbers.with_unit(piece.score, scale.unit),
            NOTES["template"] if piece.template else "",
            f"{self.share} of all magnitudes" if self.share else "",
            f"standard error {scale.errors.with_unit(piece.standard_error, scale.unit)}"
            if piece.standard_error is not None and not piece.fixed else "",
            f"{'id' if len(piece.ids) == 1 else 'ids'} {' '.join(map(str, piece.ids))}" if piece.ids else "",
        ]  # fmt: skip
        return escape_invisible("; ".join(filter(None, known)))

    def _error(self, error: float | None) -> str:
        return "" if error is None or self.piece.fixed else self.scale.errors(error)


def cells_of(result: Attribution, scale: Scale | None = None) -> list[Cell]:
    """The pieces of a result as they are shown, on its own scale or on one that it shares."""
    scale = scale or Scale.of(result)
    total = float(abs(result.scores).sum())
    return [
        Cell(
            piece,
            scale,
            escape_invisible(piece.label),
            escape_invisible(piece.label, edge_spaces=True),
            _share(piece, total),
            escape_invisible(role or TEMPLATE) if result.messages else "",
        )
        for piece, role in zip(result.pieces, result.roles, strict=True)
    ]


def meaning(unit: str, results: Sequence[Attribution]) -> str:
    """What scores in a unit mean: what they are parts of, and which way positive ones point."""
    quantities = ", ".join(dict.fromkeys(each.quantity for each in results))
    return f"{unit}, {quantities}" + (" (positive raises it)" if results[0].signed else "")


def legend_keys(scale: Scale, results: Sequence[Attribution]) -> list[str]:
    """The keys of NOTES for all that a legend explains."""
    return [*(("for", "against", "") if scale.signed else ()), *signs(results)]


def signs(results: Sequence[Attribution]) -> Iterator[str]:
    """The keys of NOTES for what results have beside scores: pieces that were fixed, or written by the template."""
    if any(any(each.fixed) for each in results):
        yield FIXED
    if any(any(each.template) for each in results):
        yield TEMPLATE


def _share(piece: ScoredPiece, total: float) -> str:
    return "" if piece.fixed or total == 0 else f"{100 * abs(piece.score) / total:.1f} %"
