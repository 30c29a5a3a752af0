"""What `make demo` shows: three predictions of the bundled model, each explained by every kind of method."""

import time
import warnings
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from interpret import (
    CONVENTIONS,
    GradientTimesInput,
    IntegratedGradients,
    SmoothGrad,
    VanillaGradient,
    aligned,
    attribute,
    bars,
    check,
    page,
    path_plot,
    save_figure,
)
from interpret.views.cells import cells_of
from interpret.views.terminal import headline, running_text, style_of
from nexttoken import NextTokenLM

FIGURES = Path("figures")
METHODS = {
    "the default": None,
    "integrated gradients": IntegratedGradients(),
    "smoothgrad": SmoothGrad(),
    "gradient x input": GradientTimesInput(),
    "norm of the gradient": VanillaGradient(),
}
QUESTIONS = {
    "keys": ("The keys to the cabinet near the door", " are", " is"),
    "paris": ("The capital of France is", " Paris", None),
    "mary": ("When Mary and John went to the store, John gave a drink to", " Mary", None),
}


def main() -> None:
    """Explain, print, save."""
    console = Console()
    lm = NextTokenLM.from_pretrained()
    FIGURES.mkdir(exist_ok=True)
    answers = {}
    for name, (prompt, target, contrast) in QUESTIONS.items():
        answers[name], seconds = [], []
        for method in METHODS.values():
            begun = time.monotonic()
            answers[name].append(attribute(lm, prompt, target, method, contrast=contrast))
            seconds.append(time.monotonic() - begun)
        best = answers[name][0] = replace(answers[name][0], faithfulness=check(lm, answers[name][0]))
        system = None if console.no_color else console.color_system
        console.print("", headline(best), running_text(best, system), "", sep="\n")
        console.print(side_by_side(answers[name], seconds, system))
    whole = page([each for answer in answers.values() for each in answer], FIGURES / "why.html")
    console.print(f"\nOpen this page in a browser, it has all of them:\n  {whole}", highlight=False, soft_wrap=True)
    console.print("\nAnd these are for papers and slides:", highlight=False)
    for file, figure in figures(lm, answers):
        saved = save_figure(figure, FIGURES / file)
        console.print(f"  {saved}", highlight=False, soft_wrap=True)
    console.print(
        "\nNext, ask a question of your own:\n"
        '  .venv/bin/nexttoken predict "The opposite of hot is"\n'
        '  .venv/bin/nexttoken explain "The opposite of hot is" --target " cold" --contrast " warm" --save cold.html\n'
        "or open notebooks/explain_a_prediction.ipynb.",
        highlight=False,
        soft_wrap=True,
    )


def side_by_side(attributions, seconds, system):
    """A row for each piece, a column for each method: units differ, so each has colours of its own."""
    rows = Table(box=None, pad_edge=False)
    rows.add_column("piece")
    columns = []
    for name, each, took in zip(METHODS, attributions, seconds, strict=True):
        cells = cells_of(each)
        rows.add_column(f"{name}\n{cells[0].scale.written_unit}", justify="right", max_width=13)
        numbers = [Text(cell.number, style_of(cell, system)) for cell in cells]
        columns.append([*numbers, Text(str(each.gradients_spent), "dim"), Text(f"{took:.1f}", "dim")])
    first = [*map(Text, attributions[0].labels), Text("gradients", "dim"), Text("seconds", "dim")]
    for cells in zip(first, *columns, strict=True):
        rows.add_row(*cells)
    return rows


def figures(lm, answers):
    """Every view: the text on its colours, methods below each other, bars, a path, and what libraries would say."""
    for name, attributions in answers.items():
        for ending in ("png", "pdf"):
            yield f"{name}.{ending}", attributions[0].heatmap()
        yield f"{name}_methods.png", aligned(attributions, list(METHODS))
    best, certified, *_ = answers["keys"]
    yield "keys_bars.png", bars(best)
    yield "keys_path.png", path_plot(certified)
    yield "conventions.png", conventions(lm)


def conventions(lm):
    """One prompt under the conventions of five libraries, and certified."""
    prompt, target, _ = QUESTIONS["keys"]
    rows, labels = [], []
    for method in [*CONVENTIONS, IntegratedGradients()]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that captum's defaults do not converge is what the figure shows
            try:
                rows.append(attribute(lm, prompt, target, method))
            except FloatingPointError:  # AllenNLP's path begins where this model has no gradient
                continue
        labels.append("certified integrated gradients" if isinstance(method, IntegratedGradients) else method.name)
    return aligned(rows, labels)


if __name__ == "__main__":
    main()
