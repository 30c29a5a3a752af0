"""What the command prints: a table in as many colours as the terminal has, or JSON or tab-separated values."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from interpret.results.attribution import Attribution
from interpret.results.counterfactual import Flip, Reduction
from interpret.results.matrix import AttributionMatrix
from interpret.results.numbers import format_number
from interpret.results.report import Report
from interpret.views.edits import edits_terminal
from interpret.views.invisible import escape_invisible
from interpret.views.spreadsheet import field, lines_of, tsv
from interpret.views.standard_output import print_text
from interpret.views.terminal import headline, matrix_table, running_text, table
from nexttoken import Target

FACTS = ("rank", "text", "id", "probability")  # of a predicted token


def print_result(result: Attribution | AttributionMatrix, printed: str) -> None:
    """Print a result as "table", "json" or "tsv"; where there are no colours, plus and minus signs stand for them."""
    print_text(result_text(result, printed, Console()))


def result_text(result: Attribution | AttributionMatrix, printed: str, console: Console) -> str:
    """The same as text, for the width and the colours of a console."""
    if printed == "json":
        return result.to_json() + "\n"
    if printed == "tsv":
        return tsv(result)
    system = None if console.no_color else console.color_system
    with console.capture() as captured:
        if isinstance(result, AttributionMatrix):
            console.print(headline(result), matrix_table(result, console.width, system), sep="\n\n")
        else:
            console.print(headline(result), running_text(result, system), table(result, system), sep="\n\n")
    return captured.get()


def print_counterfactual(result: Flip | Reduction, printed: str) -> None:
    """Print a flip or a reduction as "table" or "json"; where there are no colours, signs stand for them."""
    if printed == "json":
        print_text(result.to_json() + "\n")
        return
    console = Console()
    with console.capture() as captured:
        console.print(edits_terminal(result, not console.no_color and console.color_system is not None))
    print_text(captured.get())


def print_report(report: Report, printed: str) -> None:
    """Print what a corpus says as "table" or "json"."""
    if printed == "json":
        print_text(report.to_json() + "\n")
        return
    from interpret.views.report import report_terminal  # which draws as well, and so loads what takes long

    console = Console()
    with console.capture() as captured:
        console.print(report_terminal(report))
    print_text(captured.get())


def print_predictions(targets: Sequence[Target], printed: str) -> None:
    """Print next tokens with their rank, id and probability as "table", "json" or "tsv"."""
    facts = [{name: getattr(target, name) for name in FACTS} for target in targets]
    if printed == "json":
        print_text(json.dumps(facts, ensure_ascii=False, indent=1) + "\n")
        return
    if printed == "tsv":
        print_text(lines_of([FACTS, *([field(str(value)) for value in fact.values()] for fact in facts)]))
        return
    rows = Table(box=None, pad_edge=False)
    for column, side in (("rank", "right"), ("token", "left"), ("id", "right"), ("probability", "right")):
        rows.add_column(column, justify=side)  # type: ignore[arg-type]
    for target in targets:
        shown = Text(repr(escape_invisible(target.text)))
        rows.add_row(str(target.rank), shown, str(target.id), format_number(target.probability, 3))
    console = Console()
    with console.capture() as captured:
        console.print(rows)
    print_text(captured.get())
