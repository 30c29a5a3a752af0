"""What every view shows, computed once: of each piece its label, number, mark and facts; of results, their names."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from interpret.results.attribution import TEMPLATE, Attribution, ScoredPiece
from interpret.results.files import Result
from interpret.results.matrix import AttributionMatrix
from interpret.views.plain import escape_invisible
from interpret.views.scale import FAINT, WHITE, Colour, Mark, Scale

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
    total = sum(abs(piece.score) for piece in result.pieces)
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


def matrix_cells(matrix: AttributionMatrix, scale: Scale) -> list[list[Cell | None]]:
    """The cells of each target, None in the columns of pieces that it does not see."""
    table: list[list[Cell | None]] = [[None] * len(matrix.labels) for _ in matrix]
    for row, (line, each) in enumerate(zip(table, matrix, strict=True)):
        for column, cell in zip(matrix.columns(row), cells_of(each, scale), strict=True):
            line[column] = cell
    return table


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


def method_names(results: Sequence[Attribution]) -> list[str]:
    """The name of each result's method; where methods of one name differ in their settings, with those that do."""
    found = []
    for each in results:
        alike = {other.method: other.settings for other in results if other.method_name == each.method_name}
        if len(alike) == 1:
            found.append(each.method_name)
        elif len(set(alike.values())) == len(alike):
            found.append(", ".join(filter(None, [each.method_name, each.settings])))
        else:
            found.append(_with_settings(each, alike))
    return found


def disambiguate(results: Sequence[Attribution]) -> list[Attribution]:
    """The results with methods whose names tell them apart."""
    return [
        each if name == each.method_name else replace(each, method_name=name, settings=_unsaid(each, name))
        for each, name in zip(results, method_names(results), strict=True)
    ]


def rows_of(results: Sequence[Attribution]) -> tuple[list[str], str, str]:
    """What distinguishes each of several results, the title that they have in common, and the other facts."""
    methods, models, titles = method_names(results), [each.model for each in results], [each.title for each in results]
    telling = [aspect for aspect in (methods, models, titles) if len(set(aspect)) > 1] or [methods]
    names = [", ".join(parts) for parts in zip(*telling, strict=True)]
    if len({each.heading for each in results}) == 1:
        heading = results[0].heading
    else:
        heading = next((aspect[0] for aspect in (titles, models) if len(set(aspect)) == 1), "")
    said = [
        f"{method}, {more}" if (more := _unsaid(each, method)) else method if methods not in telling else ""
        for each, method in zip(results, methods, strict=True)
    ]
    return names, heading, "; ".join(filter(None, dict.fromkeys(said)))


def choices_of(results: Sequence[Attribution], shown: Sequence[Result]) -> list[str]:
    """What a reader chooses results by: what is asked, methods and models as far as they differ; if need be, numbers.

    Args:
        results: one that stands for each.
        shown: what is chosen.
    """
    asked = [each.heading for each in shown] if len({each.title for each in shown}) > 1 else [""] * len(shown)
    models = [each.model for each in results] if not any(asked) else [""] * len(results)
    aspects = [asked, method_names(results), models]
    telling = [aspect for aspect in aspects if len(set(aspect)) > 1] or aspects[1:2]
    names = [" · ".join(parts) for parts in zip(*telling, strict=True)]
    if len(set(names)) == len(names):
        return names
    return [f"{number}. {name}" for number, name in enumerate(names, start=1)]


def _with_settings(result: Attribution, alike: Iterable[str]) -> str:
    settings = {method: _settings(method) for method in alike}
    own = {
        name: value
        for name, value in settings[result.method].items()
        if any(others.get(name) != value for others in settings.values())
    }
    said = ", ".join(f"{name}={value}" for name, value in own.items())
    return f"{result.method_name} ({said})" if said else result.method


def _unsaid(result: Attribution, name: str) -> str:
    return "" if result.settings and result.settings in name else result.settings


def _settings(method: str) -> dict[str, str]:
    try:
        call = ast.parse(method, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    if not isinstance(call, ast.Call):
        return {}
    return {each.arg: ast.unparse(each.value) for each in call.keywords if each.arg}
