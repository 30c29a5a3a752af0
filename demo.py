"""What `make demo` shows: three predictions of the bundled model, each explained by every interpreter."""

import time
from pathlib import Path

from rich.console import Console

from interpret import GradientTimesInput, IntegratedGradients, SmoothGrad, VanillaGradient, attribute, compare
from interpret.views.heatmap import save_figure
from interpret.views.terminal import headline, running_text, table
from nexttoken import NextTokenLM

FIGURES = Path("figures")
METHODS = [VanillaGradient(), GradientTimesInput(), SmoothGrad(), IntegratedGradients(steps=200)]
QUESTIONS = {
    "mary": ("When Mary and John went to the store, John gave a drink to", " Mary", None),
    "paris": ("The capital of France is", " Paris", None),
    "keys": ("The keys to the cabinet near the door", " are", " is"),
}


def main() -> None:
    """Explain, print, save."""
    console = Console()
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
        figure = compare(attributions)
        saved += [save_figure(figure, FIGURES / f"{name}.{ending}") for ending in ("png", "pdf")]
    console.print("\nHeatmaps:", *saved, sep="\n  ", highlight=False)
    console.print(
        "\nNext, ask a question of your own:\n"
        '  .venv/bin/nexttoken predict "The opposite of hot is"\n'
        '  .venv/bin/nexttoken explain "The opposite of hot is" --target " cold" --contrast " warm" --save cold.pdf\n'
        "or open notebooks/explain_a_prediction.ipynb.",
        highlight=False,
    )


if __name__ == "__main__":
    main()
