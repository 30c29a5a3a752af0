"""What `make demo` shows: three predictions of the bundled model, each explained by every kind of method."""

import time
import warnings
from pathlib import Path

from rich.console import Console

from interpret import (
    CONVENTIONS,
    GIM,
    GradientTimesInput,
    IntegratedGradients,
    SmoothGrad,
    VanillaGradient,
    aligned,
    attribute,
    compare,
    save_figure,
)
from interpret.views.terminal import headline, running_text, table
from nexttoken import NextTokenLM

FIGURES = Path("figures")
METHODS = [VanillaGradient(), GradientTimesInput(), SmoothGrad(), GIM(), IntegratedGradients()]
QUESTIONS = {
    "mary": ("When Mary and John went to the store, John gave a drink to", " Mary", None),
    "paris": ("The capital of France is", " Paris", None),
    "keys": ("The keys to the cabinet near the door", " are", " is"),
}


def main() -> None:
    """Explain, print, save."""
    console = Console(soft_wrap=True)
    lm = NextTokenLM.from_pretrained()
    FIGURES.mkdir(exist_ok=True)
    saved = []
    for name, (prompt, target, contrast) in QUESTIONS.items():
        attributions = []
        for method in METHODS:
            begun = time.monotonic()
            attributions.append(attribute(lm, prompt, target, method, contrast=contrast))
            console.print()
            console.print(headline(attributions[-1]))
            console.print(running_text(attributions[-1]))
            console.print(table(attributions[-1]))
            console.print(f"{time.monotonic() - begun:.1f} s", style="dim", highlight=False)
        for ending in ("png", "pdf"):
            saved.append(save_figure(attributions[-1].heatmap(), FIGURES / f"{name}.{ending}"))
            saved.append(save_figure(compare(attributions), FIGURES / f"{name}_methods.{ending}"))
    saved.append(save_figure(conventions(lm), FIGURES / "conventions.png"))
    console.print("\nHeatmaps:", *saved, sep="\n  ", highlight=False)
    console.print(
        "\nNext, ask a question of your own:\n"
        '  .venv/bin/nexttoken predict "The opposite of hot is"\n'
        '  .venv/bin/nexttoken explain "The opposite of hot is" --target " cold" --contrast " warm" --save cold.pdf\n'
        "or open notebooks/explain_a_prediction.ipynb.",
        highlight=False,
    )


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
        name = "certified integrated gradients" if isinstance(method, IntegratedGradients) else repr(method)
        labels.append(f"{name} ({rows[-1].unit})")
    return aligned(rows, labels)


if __name__ == "__main__":
    main()
