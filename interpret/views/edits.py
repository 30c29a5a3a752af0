"""Changed prompts: struck and inserted words in running text, as HTML and in the terminal, and as tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from markupsafe import Markup
from rich.console import Group
from rich.style import Style
from rich.table import Table
from rich.text import Text

from interpret.results.counterfactual import Edit, Flip, Reduction, Replacements
from interpret.results.numbers import format_number
from interpret.views.markup import fill, fragment, framed, head, joined
from interpret.views.plain import escape_invisible

Part = tuple[Literal["same", "old", "new"], str]  # of a text: left as it is, struck, or inserted
STYLES = {"same": Style(), "old": Style(strike=True, color="red"), "new": Style(underline=True, bold=True)}
ELEMENTS = {"same": "{text}", "old": "<del>{text}</del>", "new": "<ins>{text}</ins>"}
SIGNS = {"same": ("", ""), "old": ("[-", "-]"), "new": ("{+", "+}")}  # where there is no colour: as wdiff writes


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


def edits_html(result: Flip | Reduction) -> str:
    """The prompt with struck and inserted words, what the model says, and the edits or steps as a table."""
    return fragment(_edits_section(result))


def replacements_html(result: Replacements) -> str:
    """A table of what else might stand there."""
    return fragment(_replacements_section(result))


def document(result: Flip | Reduction | Replacements) -> str:
    """A whole HTML document that asks for nothing, with every number of the result."""
    section = _replacements_section(result, "h1") if isinstance(result, Replacements) else _edits_section(result, "h1")
    return framed(sentence_of(result.title), section, [result])


def edits_terminal(result: Flip | Reduction, colours: bool = True) -> Group:
    """The same in the terminal; without colours, [-struck-] and {+inserted+}."""
    text = Text()
    for kind, part in parts_of(result):
        before, after = SIGNS[kind] if part and not colours else ("", "")
        text.append(f"{before}{_shown(part)}{after}", STYLES[kind])
    lines: list[Text | Table] = [
        Text(escape_invisible(sentence_of(result.title)), "bold"),
        Text(escape_invisible(result.sentence)),
        Text(),
        text,
        Text(),
        terminal_table(*table_of(result)),
        Text(),
        Text(escape_invisible(result.facts), "dim"),
    ]
    return Group(*lines)


def _edits_section(result: Flip | Reduction, heading: str = "p") -> Markup:
    parts = joined([fill(ELEMENTS[kind], text=_shown(part)) for kind, part in parts_of(result) if part])
    return fill(
        "<section>{head}"
        '<div class="text" dir="auto" lang="" translate="no" role="group" aria-label="The prompt with its changes">'
        '{parts}</div><p class="legend"><span><del>struck</del>: taken out; <ins>underlined</ins>: put in</span></p>'
        '<p class="check">{sentence}</p><details><summary>As a table</summary>{table}</details></section>',
        head=head(sentence_of(result.title), result.facts, heading), parts=parts, sentence=result.sentence,
        table=html_table(*table_of(result)),
    )  # fmt: skip


def _replacements_section(result: Replacements, heading: str = "p") -> Markup:
    return fill(
        "<section>{head}{table}</section>",
        head=head(sentence_of(result.title), result.facts, heading), table=html_table(*_replacement_rows(result)),
    )  # fmt: skip


def table_of(result: Flip | Reduction) -> tuple[list[str], list[list[str]]]:
    """Heads and rows: the edits of a flip, the steps of a reduction."""
    if isinstance(result, Flip):
        edits = result.edits if result.found else result.closest
        return ["from", "to", "how likely it is there"], [_edit_row(edit) for edit in edits]
    heads = ["taken away", "what is left", "p(target)", "rank"]
    rows = [
        [_name(step.removed), _name(step.prompt), format_number(step.probability), str(step.rank)]
        for step in result.steps
    ]
    return heads, rows


def _edit_row(edit: Edit) -> list[str]:
    likely = "unknown" if edit.probability is None else format_number(edit.probability)
    return [_name(edit.old), _name(edit.new), likely]


def _replacement_rows(result: Replacements) -> tuple[list[str], list[list[str]]]:
    heads = ["word", "how likely it is there", "F with it, nats", "drop of F, nats", "first choice then"]
    own = "unknown" if result.probability is None else format_number(result.probability)
    rows = [[f"{_name(result.old)} (stands there)", own, format_number(result.value), "0", ""]]
    for each in result.rows:
        numbers = [format_number(each.probability), format_number(each.value), format_number(each.drop, signed=True)]
        rows.append([_name(each.text), *numbers, _name(each.first)])
    return heads, rows


def html_table(heads: Sequence[str], rows: Sequence[Sequence[str | Markup]]) -> Markup:
    """A table as HTML; text from outside is escaped."""
    return fill(
        '<div class="scroll"><table class="scores"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>',
        heads=joined([fill('<th scope="col">{name}</th>', name=name) for name in heads]),
        rows=joined(
            [
                fill("<tr>{cells}</tr>", cells=joined([fill("<td>{text}</td>", text=cell) for cell in row]))
                for row in rows
            ]
        ),
    )  # fmt: skip


def terminal_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table in the terminal."""
    table = Table(box=None, pad_edge=False)
    for name in heads:
        table.add_column(name)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def sentence_of(title: str) -> str:
    """A title as it stands alone, with a capital letter."""
    return title[:1].upper() + title[1:]


def _name(text: str) -> str:
    return repr(escape_invisible(text))


def _shown(text: str) -> str:
    return escape_invisible(text).replace("↵", "↵\n")
