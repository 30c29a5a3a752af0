"""What every view shows, computed once: of each piece its label, number, mark and facts; of results, their names."""

from __future__ import annotations

import ast
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace

from interpret.results.attribution import TEMPLATE, Attribution, ScoredPiece
from interpret.results.files import Result
from interpret.results.matrix import AttributionMatrix
from interpret.views.scale import FAINT, WHITE, Colour, Mark, Scale

FIXED = "fixed"
NOTES = {
    "for": "raises it",
    "against": "lowers it",
    "": f"under {100 * FAINT:.0f} % of the largest",
    "fixed": "fixed, no score",
    "template": "written by the template or tokenizer",
}
BIDI_CONTROLS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # they reorder the text around them
SIGNS = dict.fromkeys([*range(0x80, 0xA0), *range(0xD800, 0xE000)], "\ufffd")  # other controls, and half characters
SIGNS |= {number: chr(0x2400 + number) for number in range(32)}
SIGNS |= {ord(character): f"[U+{ord(character):04X}]" for character in BIDI_CONTROLS}
SIGNS |= str.maketrans({"\n": "↵", "\t": "⇥", "\r": "␍", "\x7f": "␡", "\u00a0": "⍽"})


def escape_invisible(text: str, edge_spaces: bool = False) -> str:
    """The text with line ends, tabs, control and direction characters as signs.

    With `edge_spaces`, a text of spaces only, or of characters that leave no mark, is shown by signs as well.
    """
    if text.isprintable() and not (edge_spaces and text.strip(" ") == ""):
        return text
    shown = text.translate(SIGNS)
    if edge_spaces and shown.strip(" ") == "":
        return "␣" * len(shown)
    if edge_spaces and all(unicodedata.category(character) == "Cf" for character in shown):
        return "".join(f"[U+{ord(character):04X}]" for character in shown)
    return shown


def shown_text(text: str) -> str:
    """Running text as it is shown: a line ends where its sign stands."""
    return escape_invisible(text).replace("↵", "↵\n")


@dataclass(frozen=True)
class Cell:
    """A piece as it is shown: texts, each empty where it has none."""

    piece: ScoredPiece
    scale: Scale
    text: str  # its label in running text, with signs for what is no visible character
    name: str  # its label where it stands alone: spaces only are signs as well
    share: str  # the part of its magnitude in the sum of all, in percent
    role: str  # who wrote it in a chat

    @property
    def number(self) -> str:
        return FIXED if self.piece.fixed else self.scale.numbers(self.piece.score)

    @property
    def standard_error(self) -> str:
        return self._error(self.piece.standard_error)

    @property
    def numerical_error(self) -> str:
        return self._error(self.piece.error)

    def _error(self, error: float | None) -> str:
        return "" if error is None or self.piece.fixed else self.scale.errors(error)

    @property
    def mark(self) -> Mark:
        return self.scale.mark(self.piece.score, self.piece.fixed)

    def colour(self, page: Colour = WHITE) -> Colour:
        return self.scale.colour(self.piece.score, page, self.piece.fixed)

    @property
    def note(self) -> str:
        return ", ".join([FIXED] * self.piece.fixed + [TEMPLATE] * self.piece.template)

    @property
    def says(self) -> str:
        """All facts about it, in words: score, share, standard error, ids, and who wrote it."""
        piece, scale = self.piece, self.scale
        facts = [
            "fixed: context, no score" if piece.fixed else scale.numbers.with_unit(piece.score, scale.unit),
            NOTES["template"] if piece.template else "",
            f"{self.share} of all magnitudes" if self.share else "",
            f"standard error {scale.errors.with_unit(piece.standard_error, scale.unit)}"
            if piece.standard_error is not None and not piece.fixed else "",
            f"{'id' if len(piece.ids) == 1 else 'ids'} {' '.join(map(str, piece.ids))}" if piece.ids else "",
        ]  # fmt: skip
        return escape_invisible("; ".join(filter(None, facts)))


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
            "" if piece.fixed or total == 0 else f"{100 * abs(piece.score) / total:.1f} %",
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
    return [*(("for", "against", "") if scale.signed else ()), *keys_beside_scores(results)]


def keys_beside_scores(results: Sequence[Attribution]) -> list[str]:
    """The keys of NOTES for the pieces of results that were fixed, or written by the template."""
    return [key for key in (FIXED, TEMPLATE) if any(any(getattr(each, key)) for each in results)]


def method_names(results: Sequence[Attribution]) -> list[str]:
    """The name of each result's method; where methods of one name differ in their settings, with those that do."""
    found = []
    for each in results:
        settings = {other.method: other.settings for other in results if other.method_name == each.method_name}
        if len(settings) == 1:
            found.append(each.method_name)
        elif len(set(settings.values())) == len(settings):
            found.append(", ".join(filter(None, [each.method_name, each.settings])))
        else:
            keywords = {method: _keywords(method) for method in settings}
            own = [
                f"{name}={value}"
                for name, value in keywords[each.method].items()
                if any(others.get(name) != value for others in keywords.values())
            ]
            found.append(f"{each.method_name} ({', '.join(own)})" if own else each.method)
    return found


def _keywords(method: str) -> dict[str, str]:
    """The settings in a method's expression; none where it is no call."""
    try:
        call = ast.parse(method, mode="eval").body
    except (SyntaxError, ValueError):
        return {}
    keywords = call.keywords if isinstance(call, ast.Call) else []
    return {each.arg: ast.unparse(each.value) for each in keywords if each.arg}


def disambiguate(results: Sequence[Attribution]) -> list[Attribution]:
    """The results with methods whose names differ where they do."""
    return [
        each if name == each.method_name else replace(each, method_name=name, settings=_settings_beside(each, name))
        for each, name in zip(results, method_names(results), strict=True)
    ]


def _settings_beside(result: Attribution, name: str) -> str:
    return "" if result.settings in name else result.settings


def rows_of(results: Sequence[Attribution]) -> tuple[list[str], str, str]:
    """What distinguishes each of several results, the title that they have in common, and the other facts."""
    methods, models, titles = method_names(results), [each.model for each in results], [each.title for each in results]
    names = _distinguishing([methods, models, titles], methods, ", ")
    headings = [[each.heading for each in results], titles, models]
    heading = next((common[0] for common in headings if len(set(common)) == 1), "")
    facts = []
    for each, method in zip(results, methods, strict=True):
        settings = _settings_beside(each, method)
        is_named = len(set(methods)) > 1 or names == methods
        facts.append(f"{method}, {settings}" if settings else "" if is_named else method)
    return names, heading, "; ".join(filter(None, dict.fromkeys(facts)))


def choices_of(results: Sequence[Attribution], shown: Sequence[Result]) -> list[str]:
    """What a reader chooses each of `shown` by, for which one of `results` stands.

    It is what is asked, methods and models as far as they differ; if need be, numbers.
    """
    several = len({each.title for each in shown}) > 1
    aspect = [each.heading for each in shown] if several else [each.model for each in results]
    methods = method_names(results)
    names = _distinguishing([aspect, methods] if several else [methods, aspect], methods, " · ")
    if len(set(names)) == len(names):
        return names
    return [f"{number}. {name}" for number, name in enumerate(names, start=1)]


def _distinguishing(aspects: Sequence[list[str]], otherwise: list[str], between: str) -> list[str]:
    different = [aspect for aspect in aspects if len(set(aspect)) > 1] or [otherwise]
    return [between.join(parts) for parts in zip(*different, strict=True)]
