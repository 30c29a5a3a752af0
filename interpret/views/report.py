"""What a corpus says, as tables on a page and in the terminal, and as bars."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup
from matplotlib import rcParams
from matplotlib.figure import Figure
from rich.console import Group
from rich.text import Text

from interpret.results.numbers import format_number, percent
from interpret.results.report import SURE, Example, Report, WordEffect
from interpret.views.bars import (
    APART,
    LABEL_GAP,
    LABELS_SHARE,
    LINE,
    LONGEST,
    Bar,
    Chart,
    draw_bars,
    points,
)
from interpret.views.canvas import POINTS_PER_INCH, WIDTH, Page, inches_of, root
from interpret.views.edits import html_table, sentence_of, terminal_table
from interpret.views.fonts import drawable, shortened, text_width
from interpret.views.markup import fill, fragment, framed, head, joined
from interpret.views.plain import escape_invisible
from interpret.views.scale import bar_colour

HEADS = ("word", "prompts", "mean", "standard error", "q")
IN_TERMINAL = 10  # words of a target


def report_figure(report: Report, number: int = 0, top: int = 20, width: float | str | None = None) -> Figure:
    """The mean scores of a target's words as bars, with their standard errors; see `Report.figure`."""
    if not 0 <= number < len(report.targets):
        raise ValueError(f"there is no target number {number}; the report shows {len(report.targets)}")
    target = report.targets[number]
    words = target.words[: max(0, top)]
    if not words:
        raise ValueError(f"there is no word to show of {target.name}")
    words = tuple(sorted(words, key=lambda word: word.mean, reverse=True))
    size = points(rcParams["ytick.labelsize"])
    longest = min(LONGEST * Page.of(None).unit, LABELS_SHARE * (inches_of(width) or WIDTH) * POINTS_PER_INCH)
    labels = [shortened(drawable(_named(word)), longest, size) for word in words]
    left = max(text_width(label, size) for label in labels) + LABEL_GAP
    heading = f"whiskers: standard error; hollow: q above {SURE}"
    of = f"mean score over the prompts that the word comes in ({report.facts_of['unit']})"
    title = f"Which words speak for {target.name}, over {target.rows:,} prompts"
    chart = Chart(report, heading, of, (LINE + APART) * size * len(words), left, width, None, title)
    page, rows = chart.page, []
    for word, label in zip(words, labels, strict=True):
        colour = bar_colour(word.mean, True, page.background)
        look: dict[str, Any] = {"color": colour, "linewidth": 0} if word.sure else {"fill": False, "edgecolor": colour}
        ending = f"{format_number(word.mean, signed=True)}  ({word.rows:,})"
        rows.append(Bar(label, word.mean, word.standard_error, ending, look, page.ink, page.ink))
    draw_bars(chart, rows, size, whiskers=True)
    return root(chart.axes)


def report_html(report: Report) -> str:
    """Tables of words with examples, errors, checks and gaps, as a fragment."""
    return fragment(_section(report, "p"))


def report_document(report: Report) -> str:
    """A whole HTML document that asks for nothing, with every number of the report."""
    return framed(sentence_of(report.title), _section(report, "h1"), [report])


def _section(report: Report, heading: str) -> Markup:
    parts = [head(sentence_of(report.title), report.facts, heading), _paragraph(report.sentence)]
    for target in report.targets:
        parts.append(_words(f"For {target.name}, over {target.rows:,} prompts", target.words, ("word",)))
        if target.by_role:
            parts.append(_words(f"For {target.name}, by role", target.by_role, ("role", "word")))
    if report.others:
        parts.append(_paragraph(f"{report.others:,} prompts have other targets, which are not shown."))
    if report.failed_checks:
        rows = [[failed.id, failed.sentence] for failed in report.failed_checks]
        name = f"Maps that fail their check ({len(rows)} of {report.verdicts['fails']:,})"
        parts.append(_details(name, html_table(("row", "what it found"), rows)))
    if report.gaps:
        parts.append(_details("Certified gaps", html_table(("gap", "rows"), _gap_rows(report))))
    if report.errors:
        rows = [[f"{count:,}", error] for error, count in report.errors.items()]
        parts.append(_details("Rows that could not be explained", html_table(("rows", "why"), rows)))
    return fill("<section>{parts}</section>", parts=joined(parts))


def _paragraph(text: str) -> Markup:
    return fill('<p class="check">{text}</p>', text=text)


def _details(name: str, table: Markup) -> Markup:
    return fill("<details><summary>{name}</summary>{table}</details>", name=name, table=table)


def _words(name: str, words: Sequence[WordEffect], first: tuple[str, ...]) -> Markup:
    if not words:
        return _paragraph(f"{name}: no word comes often enough.")
    table = html_table((*first, *HEADS[1:]), [_row(word, first) for word in words])
    examples = [
        [_word(word), example.id, format_number(example.score, signed=True), _context(example)]
        for word in words for example in word.examples
    ]  # fmt: skip
    shown = html_table(("word", "row", "score", "where it stands"), examples)
    details = _details("Strongest examples", shown)
    return fill("<h3>{name}</h3>{table}{examples}", name=name, table=table, examples=details)


def _row(word: WordEffect, first: tuple[str, ...] = ("word",)) -> list[str]:
    names = {"word": _word(word), "role": word.role or ""}
    numbers = [
        f"{word.rows:,}",
        format_number(word.mean, signed=True),
        format_number(word.standard_error),
        _rate(word.q),
    ]
    return [*(names[name] for name in first), *numbers]


def _rate(q: float) -> str:
    return "below 10⁻⁶" if q < 1e-6 else format_number(q)


def _gap_rows(report: Report) -> list[list[str]]:
    known = [most for most, _ in report.gaps if most is not None]
    names = [f"at most {percent(most)}" for most in known] + [f"above {percent(known[-1])}"]
    return [[name, f"{count:,}"] for name, (_, count) in zip(names, report.gaps, strict=True)]


def _context(example: Example) -> Markup:
    return fill("{before}<b>{text}</b>{after}", before=example.before, text=example.text, after=example.after)


def _word(word: WordEffect) -> str:
    return escape_invisible(word.text)


def _named(word: WordEffect) -> str:
    return f"{word.role}: {word.text}" if word.role else word.text


def report_terminal(report: Report) -> Group:
    """The strongest words of each target as tables."""
    lines: list[Any] = [
        Text(escape_invisible(sentence_of(report.title)), "bold"), Text(report.sentence), Text(report.facts, "dim"),
    ]  # fmt: skip
    for target in report.targets:
        name = f"For {target.name}, over {target.rows:,} prompts"
        lines += [Text(), Text(escape_invisible(name), "bold")]
        lines.append(terminal_table(HEADS, [_row(word) for word in target.words[:IN_TERMINAL]]))
        if target.by_role:
            rows = [_row(word, ("role", "word")) for word in target.by_role[:IN_TERMINAL]]
            lines += [Text(), terminal_table(("role", *HEADS), rows)]
    return Group(*lines)
