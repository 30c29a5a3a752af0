"""The gallery: `make gallery` draws all pictures of docs/gallery.md and writes the page, each with its code.

To add a picture, add a function to PICTURES: its name is the file's, its docstring title and caption.
"""

import inspect
import re
import textwrap
from pathlib import Path

from interpret import (
    CONVENTIONS,
    GIM,
    GradientTimesInput,
    IntegratedGradients,
    MeanEmbedding,
    SmoothGrad,
    Text,
    Token,
    VanillaGradient,
    aligned,
    attribute,
    attribute_continuation,
    compare,
)
from nexttoken import NextTokenLM

PAGE = Path(__file__).parent / "gallery.md"
IMAGES = Path(__file__).parent / "images"
DOTS_PER_INCH = 120
HEAD = """# Gallery

What questions look like when they are answered. Each picture is made by the few lines under it, with the small model
that is bundled, and `make gallery` makes them all again. They begin with

```python
from interpret import *
from nexttoken import NextTokenLM

lm = NextTokenLM.from_pretrained()
```
"""


def rather_than(lm):
    """Why this word rather than that one?

    Orange speaks for *are*, blue for *is*; the first word is held, so it is grey.
    """
    return attribute(lm, "The keys to the cabinet near the door", " are", contrast=" is").heatmap()


def methods(lm):
    """One prediction by four methods

    They answer four questions, so they have four units and four scales. The last one adds up, up to the gap it names.
    """
    prompt = "When Mary and John went to the store, John gave a drink to"
    four = [VanillaGradient(), GradientTimesInput(), SmoothGrad(), IntegratedGradients()]
    return compare([attribute(lm, prompt, " Mary", method) for method in four])


def baselines(lm):
    """Compared with what?

    The same question from four baselines. *keys* speaks for the plural in each; *door* says something else every time.
    The last row compares with another sentence, and what the two have in common scores zero.
    """
    prompt, singular = "The keys to the cabinet near the door", "The key to the cabinets near the doors"
    starts = {
        "a line break (the default)": IntegratedGradients(),
        "the average word": IntegratedGradients(baseline=MeanEmbedding()),
        "end of text": IntegratedGradients(baseline=Token()),
        repr(singular): IntegratedGradients(baseline=Text(singular)),
    }
    return aligned([attribute(lm, prompt, " are", each, contrast=" is") for each in starts.values()], list(starts))


def one_gradient(lm):
    """What one gradient says

    Three methods that cost a single gradient, above certified integrated gradients: quick, and not the same.
    """
    prompt = "The keys to the cabinet near the door"
    four = [VanillaGradient(), GradientTimesInput(), GIM(), IntegratedGradients()]
    labels = ["norm of the gradient", "gradient x input", "GIM", "integrated gradients"]
    return aligned([attribute(lm, prompt, " are", method, contrast=" is") for method in four], labels)


def libraries(lm):
    """One word, many meanings

    What five libraries call saliency, each reproduced number by number. Only two of the rows have a sign and a unit.
    """
    prompt = "The capital of France is"
    chosen = [each for each in CONVENTIONS if each.kind == "gradient x input"]
    rows = [attribute(lm, prompt, " Paris", each) for each in (*chosen, IntegratedGradients())]
    return aligned(rows, [f"{row.method.partition('(')[0]} ({row.unit})" for row in rows])


def pronoun(lm):
    """She or he?

    Two people, and a pronoun that agrees with the first.
    """
    return attribute(lm, "My sister lives with my uncle. Every morning", " she", contrast=" he").heatmap()


def candidates(lm):
    """The likeliest next tokens, on one scale

    Rows are next tokens with their probabilities, columns the pieces of the prompt.
    """
    few_shot = "apple -> red\nbanana -> yellow\ngrass -> green\nsky ->"
    return attribute(lm, few_shot, candidates=4).heatmap()


def continuation(lm):
    """All it went on to say

    Each token by all that stands before it; no token sees what comes after it, so the upper right is empty.
    """
    few_shot = "apple -> red\nbanana -> yellow\ngrass -> green\nsky ->"
    return attribute_continuation(lm, few_shot, " blue\nsnow -> white").heatmap()


def chat(lm):
    """Which message, which sentence, which word?

    Why the answer begins in French. Totals of signed scores are exact; the template is held, and in pale italics.
    """
    messages = [
        {"role": "system", "content": "You are a helpful assistant. Answer in French."},
        {"role": "user", "content": "What colour is the sky?"},
    ]
    why = attribute(lm, messages, "La", contrast="The")
    return compare([why.totals("message"), why.totals("sentence"), why.totals("word")])


def span(lm):
    """By a part of the prompt only

    Only the colours of the examples move; what stands before the first of them runs once.
    """
    few_shot = "apple -> red\nbanana -> yellow\ngrass -> green\nsky ->"
    return attribute(lm, few_shot, " blue", span="red|yellow|green").heatmap()


PICTURES = (rather_than, methods, baselines, one_gradient, libraries, pronoun, candidates, continuation, chat, span)


def page():
    """The gallery's Markdown: for each picture its title, the image, the caption and the code."""
    return "\n".join([HEAD, *map(section, PICTURES)])


def section(picture):
    """One picture's part of the page."""
    title, _, caption = inspect.getdoc(picture).partition("\n\n")
    code = textwrap.dedent(re.sub(r'^def .*?""".*?"""\n', "", inspect.getsource(picture), flags=re.S))
    code = re.sub(r"^return (?=\S)", "figure = ", code, flags=re.M)
    alt = title.replace('"', "'")
    return f"## {title}\n\n![{alt}](images/gallery_{picture.__name__}.png)\n\n{caption}\n\n```python\n{code}```\n"


def main():
    """Draw all pictures and write the page."""
    lm = NextTokenLM.from_pretrained()
    for picture in PICTURES:
        path = IMAGES / f"gallery_{picture.__name__}.png"
        picture(lm).savefig(path, dpi=DOTS_PER_INCH, metadata={"Software": None})
        print(path.name, path.stat().st_size)
    PAGE.write_text(page())


if __name__ == "__main__":
    main()
