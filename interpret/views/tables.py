"""Changed prompts, replacements and reports as running text and tables, on a page and in the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from markupsafe import Markup
from rich.console import Group, RenderableType
from rich.style import Style
from rich.table import Table
from rich.text import Text

from interpret.results.counterfactual import Flip, Reduction, Replacements
from interpret.results.numbers import format_number, percent
from interpret.results.report import Report, WordEffect
from interpret.views.cells import escape_invisible, shown_text
from interpret.views.html import fill, fragment, framed, head

Part = tuple[Literal["same", "old", "new"], str]  # of a text: left as it is, struck, or inserted
STYLES = {"same": Style(), "old": Style(strike=True, color="red"), "new": Style(underline=True, bold=True)}
ELEMENTS = {"same": "{text}", "old": "<del>{text}</del>", "new": "<ins>{text}</ins>"}
SIGNS = {"same": ("", ""), "old": ("[-", "-]"), "new": ("{+", "+}")}  # where there is no colour: as wdiff writes
IN_TERMINAL = 10  # words of a target

Rows = tuple[list[str], list[list[str]]]  # the heads of a table, and its rows


def html(result: Flip | Reduction | Replacements | Report) -> str:
    """A fragment of HTML: what was found in words and as tables, and the prompt with struck and inserted words."""
    return fragment(_section(result, "p"))


def document(result: Flip | Reduction | Replacements | Report) -> str:
    """A whole HTML document that asks for nothing, with every number of the result."""
    return framed(sentence_of(result.title), _section(result, "h1"), [result])


def _section(result: Flip | Reduction | Replacements | Report, heading: str) -> Markup:
    if isinstance(result, Report):
        body = _report(result)
    elif isinstance(result, Replacements):
        body = html_table(*table_of(result))
    else:
        body = fill(
            '<div class="text" dir="auto" lang="" translate="no" role="group" aria-label="The prompt with its changes">'
            '{parts}</div><p class="legend"><span><del>struck</del>: taken out; <ins>underlined</ins>: put in</span>'
            "</p>{sentence}{table}",
            parts=[fill(ELEMENTS[kind], text=shown_text(part)) for kind, part in parts_of(result) if part],
            sentence=_paragraph(result.sentence), table=_details("As a table", html_table(*table_of(result))),
        )  # fmt: skip
    title = head(sentence_of(result.title), result.facts, heading)
    return fill("<section>{head}{body}</section>", head=title, body=body)


def sentence_of(title: str) -> str:
    """A title as it stands alone, with a capital letter."""
    return title[:1].upper() + title[1:]


def html_table(heads: Sequence[str], rows: Sequence[Sequence[str | Markup]]) -> Markup:
    """A table as HTML; text from outside is escaped."""
    return fill(
        '<div class="scroll"><table class="scores"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>',
        heads=[fill('<th scope="col">{name}</th>', name=name) for name in heads],
        rows=[fill("<tr>{cells}</tr>", cells=[fill("<td>{text}</td>", text=cell) for cell in row]) for row in rows],
    )


def terminal_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table in the terminal."""
    table = Table(*heads, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*map(Text, row))
    return table


# Changed prompts


def parts_of(result: Flip | Reduction) -> Iterator[Part]:
    """The original prompt in parts, with the words that came in after those that went."""
    changes: list[tuple[int, str, str]]
    if isinstance(result, Flip):
        changes = [(edit.start, edit.old, edit.new) for edit in (result.edits if result.found else result.closest)]
    else:
        changes = [(span.start, span.text, "") for span in result.removed]
    at = 0
    for start, old, new in changes:
        spaces = old[: len(old) - len(old.lstrip(" "))] if new else ""
        yield "same", result.original[at:start] + spaces
        yield "old", old[len(spaces) :]
        yield "new", new.removeprefix(spaces)
        at = start + len(old)
    yield "same", result.original[at:]


def edits_terminal(result: Flip | Reduction, colours: bool = True) -> Group:
    """The same in the terminal; without colours, [-struck-] and {+inserted+}."""
    text = Text()
    for kind, part in parts_of(result):
        before, after = SIGNS[kind] if part and not colours else ("", "")
        text.append(f"{before}{shown_text(part)}{after}", STYLES[kind])
    title, sentence = escape_invisible(sentence_of(result.title)), escape_invisible(result.sentence)
    table, facts = terminal_table(*table_of(result)), Text(escape_invisible(result.facts), "dim")
    return Group(Text(title, "bold"), Text(sentence), Text(), text, Text(), table, Text(), facts)


def table_of(result: Flip | Reduction | Replacements) -> Rows:
    """Heads and rows: the edits of a flip, the steps of a reduction, the words that might stand there."""
    if isinstance(result, Flip):
        edits = result.edits if result.found else result.closest
        rows = [[_name(edit.old), _name(edit.new), _probability(edit.probability)] for edit in edits]
        return ["from", "to", "how likely it is there"], rows
    if isinstance(result, Reduction):
        heads = ["taken away", "what is left", "p(target)", "rank"]
        return heads, [
            [_name(step.removed), _name(step.prompt), format_number(step.probability), str(step.rank)]
            for step in result.steps
        ]
    heads = ["word", "how likely it is there", "F with it, nats", "drop of F, nats", "first choice then"]
    own = [f"{_name(result.old)} (stands there)", _probability(result.probability), format_number(result.value)]
    return heads, [[*own, "0", ""]] + [
        [
            _name(each.text), format_number(each.probability), format_number(each.value),
            format_number(each.drop, signed=True), _name(each.first),
        ] for each in result.rows
    ]  # fmt: skip


def _name(text: str) -> str:
    return repr(escape_invisible(text))


def _probability(probability: float | None) -> str:
    return "unknown" if probability is None else format_number(probability)


# Reports


def report_terminal(report: Report) -> Group:
    """The strongest words of each target as tables."""
    title = escape_invisible(sentence_of(report.title))
    lines: list[RenderableType] = [Text(title, "bold"), Text(report.sentence), Text(report.facts, "dim")]
    for target in report.targets:
        name = f"For {target.name}, over {target.rows:,} prompts"
        lines += [Text(), Text(escape_invisible(name), "bold")]
        lines.append(terminal_table(*_words_table(target.words[:IN_TERMINAL], False)))
        if target.by_role:
            lines += [Text(), terminal_table(*_words_table(target.by_role[:IN_TERMINAL], True))]
    return Group(*lines)


def _report(report: Report) -> Markup:
    parts = [_paragraph(report.sentence)]
    for target in report.targets:
        parts.append(_words(f"For {target.name}, over {target.rows:,} prompts", target.words, False))
        if target.by_role:
            parts.append(_words(f"For {target.name}, by role", target.by_role, True))
    if report.others:
        parts.append(_paragraph(f"{report.others:,} prompts have other targets, which are not shown."))
    if report.failed_checks:
        rows = [[failed.id, failed.sentence] for failed in report.failed_checks]
        name = f"Maps that fail their check ({len(rows)} of {report.verdicts['fails']:,})"
        parts.append(_details(name, html_table(("row", "what it found"), rows)))
    if report.gaps:
        limits = [limit for limit, _ in report.gaps if limit is not None]
        names = [*(f"at most {percent(limit)}" for limit in limits), f"above {percent(limits[-1])}"]
        rows = [[name, f"{count:,}"] for name, (_, count) in zip(names, report.gaps, strict=True)]
        parts.append(_details("Certified gaps", html_table(("gap", "rows"), rows)))
    if report.errors:
        rows = [[f"{count:,}", error] for error, count in report.errors.items()]
        parts.append(_details("Rows that could not be explained", html_table(("rows", "why"), rows)))
    return fill("{parts}", parts=parts)


def _words(name: str, words: Sequence[WordEffect], by_role: bool) -> Markup:
    if not words:
        return _paragraph(f"{name}: no word comes often enough.")
    examples = [
        [
            escape_invisible(word.text), example.id, format_number(example.score, signed=True),
            fill("{before}<b>{text}</b>{after}", before=example.before, text=example.text, after=example.after),
        ] for word in words for example in word.examples
    ]  # fmt: skip
    shown = _details("Strongest examples", html_table(("word", "row", "score", "where it stands"), examples))
    table = html_table(*_words_table(words, by_role))
    return fill("<h3>{name}</h3>{table}{examples}", name=name, table=table, examples=shown)


def _words_table(words: Sequence[WordEffect], by_role: bool) -> Rows:
    rows = [
        [
            escape_invisible(word.text), f"{word.rows:,}", format_number(word.mean, signed=True),
            format_number(word.standard_error), "below 10⁻⁶" if word.q < 1e-6 else format_number(word.q),
        ] for word in words
    ]  # fmt: skip
    heads = ["word", "prompts", "mean", "standard error", "q"]
    if by_role:
        return ["role", *heads], [[word.role or "", *row] for word, row in zip(words, rows, strict=True)]
    return heads, rows


def _paragraph(text: str) -> Markup:
    return fill('<p class="check">{text}</p>', text=text)


def _details(name: str, table: Markup) -> Markup:
    return fill("<details><summary>{name}</summary>{table}</details>", name=name, table=table)
