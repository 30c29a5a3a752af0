"""The gallery: `make gallery` draws all pictures of docs/gallery.md and writes the page, each with its code.

To add a picture, add a function to PICTURES: its name is the file's, its docstring title and caption. It returns a
figure, or the path of a page, which is photographed in Chromium.
"""

import inspect
import os
import re
import shutil
import sys
import tempfile
import textwrap
import threading
from pathlib import Path

import matplotlib.pyplot as plt

from interpret import (
    CONVENTIONS,
    GIM,
    GradientTimesInput,
    IntegratedGradients,
    LineBreak,
    MeanEmbedding,
    SmoothGrad,
    Text,
    Token,
    VanillaGradient,
    aligned,
    attribute,
    attribute_candidates,
    attribute_continuation,
    compare,
    default_method,
    explore,
    page,
)
from nexttoken import NextTokenLM

HERE = Path(__file__).resolve().parent
PAGE = HERE / "gallery.md"
IMAGES = HERE / "images"
DOTS_PER_INCH = 108
HEAD = """# Gallery

What questions look like when they are answered. Each picture is made by the few lines under it, with the small model
that is bundled, and `make gallery` makes them all again. They begin with

```python
import matplotlib.pyplot as plt

from interpret import *
from nexttoken import NextTokenLM

lm = NextTokenLM.from_pretrained()
```
"""


def rather_than(lm):
    """Why this word rather than that one?

    Orange supports *she*, blue *he*. The sentence below says what the check found when other words took the place
    of the strongest ones.
    """
    prompt = "My sister lives with my uncle. Every morning"
    return attribute(lm, prompt, " she", contrast=" he", check=True).heatmap()


def methods(lm):
    """One prediction by four methods

    Each has its own scale, which ends at its largest score, and each is checked: only the last one, the default, puts
    *Mary* first and is confirmed by the model.
    """
    prompt = "When Mary and John went to the store, John gave a drink to"
    four = [VanillaGradient(), GradientTimesInput(), IntegratedGradients(), default_method(lm)]
    return compare([attribute(lm, prompt, " Mary", method, check=True) for method in four])


def baselines(lm):
    """Compared with what?

    The same question from four baselines. *keys* supports the plural in each; *door* says something else every time.
    The last row compares with another sentence, and what the two have in common scores zero.
    """
    prompt, singular = "The keys to the cabinet near the door", "The key to the cabinets near the doors"
    starts = {
        "what else might stand there": IntegratedGradients(),
        "a line break": IntegratedGradients(baseline=LineBreak()),
        "the average word": IntegratedGradients(baseline=MeanEmbedding()),
        "end of text": IntegratedGradients(baseline=Token()),
        repr(singular): IntegratedGradients(baseline=Text(singular)),
    }
    return aligned([attribute(lm, prompt, " are", each, contrast=" is") for each in starts.values()], list(starts))


def bars(lm):
    """How sure is each score?

    Methods that sample give each score a standard error: *keys* supports the plural, *door* may say nothing at all.
    """
    prompt = "The keys to the cabinet near the door"
    return attribute(lm, prompt, " are", SmoothGrad(GradientTimesInput(), samples=30), contrast=" is").bars(width=5)


def path(lm):
    """Why fixed steps are not enough

    The objective on the way from the baseline to the prompt. It falls, climbs and all but jumps; equal steps would
    step over that. Here points gather where the scores would otherwise miss the change.
    """
    prompt = "The keys to the cabinet near the door"
    return attribute(lm, prompt, " are", IntegratedGradients(), contrast=" is").path_plot()


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
    methods = [*(each for each in CONVENTIONS if each.kind == "gradient x input"), IntegratedGradients()]
    rows = [attribute(lm, prompt, " Paris", method) for method in methods]
    return aligned(rows, [method.name for method in methods])


def pronoun(lm):
    """She or he?

    *Mary* supports *she*, and *John* opposes it. Every word has a score, the first one too.
    """
    return attribute(lm, "Mary told John that", " she", contrast=" he").heatmap()


def candidates(lm):
    """The likeliest next tokens, on one scale

    Rows are next tokens with their probabilities, columns the pieces of the prompt.
    """
    few_shot = "apple -> red\nbanana -> yellow\ngrass -> green\nsky ->"
    return attribute_candidates(lm, few_shot, 4).heatmap()


def continuation(lm):
    """All it went on to say

    Each token by all that stands before it; no token sees what comes after it, so the upper right is empty.
    """
    few_shot = "apple -> red\nbanana -> yellow\ngrass -> green\nsky ->"
    return attribute_continuation(lm, few_shot, " blue\nsnow -> white").heatmap()


def chat(lm):
    """Which message, which sentence, which word?

    Why the answer begins in French. Totals of signed scores are exact; the template, in pale italics, stays as it is.
    """
    messages = [
        {"role": "system", "content": "You are a helpful assistant. Answer in French."},
        {"role": "user", "content": "What colour is the sky?"},
    ]
    why = attribute(lm, messages, "La", contrast="The")
    return compare([why.totals("message"), why.totals("sentence"), why.totals("word")])


def dark(lm):
    """In a dark style

    Figures take matplotlib's settings: fonts, sizes, and a dark background, on which strong scores are the light ones.
    """
    with plt.style.context("dark_background"):
        return attribute(lm, "The capital of Italy is", " Rome", contrast=" Paris").heatmap()


def page_of_html(lm):
    """A page to hand around

    One file that works offline: the reader chooses a method and goes along the text. Written by
    [`page`](html.md).
    """
    prompt = "My sister lives with my uncle. Every morning"
    three = [IntegratedGradients(), GradientTimesInput(), VanillaGradient()]
    return page([attribute(lm, prompt, " she", method, contrast=" he") for method in three], "why.html")


def region(lm):
    """By a part of the prompt only

    Only the colours of the examples move; what stands before the first of them runs once.
    """
    few_shot = "apple -> red\nbanana -> yellow\ngrass -> green\nsky ->"
    return attribute(lm, few_shot, " blue", region="red|yellow|green").heatmap()


def explorer(lm):
    """Ask in a notebook

    Type a prompt, click on a next token and on a foil, and see why; *show me the code* prints the call.
    [The explorer](explorer.md) runs in JupyterLab and Jupyter Notebook.
    """
    return explore(lm, "The keys to the cabinet near the door")


PICTURES = (
    rather_than, bars, methods, path, baselines, one_gradient, libraries, pronoun, candidates, continuation, chat,
    region, dark, page_of_html,
)  # fmt: skip
WINDOW = {"width": 860, "height": 400}  # of the page's photograph, in pixels of the page
CHROMIUM = shutil.which("chromium")
SWITCHES = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def whole():
    """The gallery's Markdown: for each picture its title, the image, the caption and the code."""
    drawn = [section(picture, f"gallery_{picture.__name__}.png") for picture in PICTURES]
    return "\n".join([HEAD, *drawn, section(explorer, "explorer.png")])


def section(picture, image):
    """One picture's part of the page."""
    title, _, caption = inspect.getdoc(picture).partition("\n\n")
    code = textwrap.dedent(re.sub(r'^def .*?""".*?"""\n', "", inspect.getsource(picture), flags=re.S))
    code = re.sub(r"^return (?=page|explore)", "", code, flags=re.M)
    code = re.sub(r"^( *)return (?=\S)", r"\1figure = ", code, flags=re.M)
    alt = title.replace('"', "'")
    return f"## {title}\n\n![{alt}](images/{image})\n\n{caption}\n\n```python\n{code}```\n"


def photograph(document, path):
    """What Chromium shows of a page."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)
        window = browser.new_page(viewport=WINDOW)
        window.goto(document.resolve().as_uri())
        window.screenshot(path=path, full_page=True)
        browser.close()


def photograph_server(lm, path):
    """What Chromium shows of the page that `nexttoken serve` opens: the default beside integrated gradients."""
    from PIL import Image
    from playwright.sync_api import sync_playwright

    from interpret.server.app import application
    from interpret.server.serve import address_of, listening, own_hosts, server_of
    from interpret.session.work import Worker

    listener, worker = listening("127.0.0.1", 0), Worker()
    port = listener.getsockname()[1]
    server = server_of(application(lm, worker, own_hosts("127.0.0.1", port)))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)
        window = browser.new_page(viewport={"width": 1080, "height": 1000})
        window.goto(address_of("127.0.0.1", port, None))
        window.locator(".check").wait_for(timeout=60_000)
        window.get_by_label("contrast with it").check()
        window.locator("#candidates button", has_text="John").click()
        window.locator("h3", has_text="rather than").wait_for(timeout=60_000)
        window.get_by_role("button", name="Compare with another method").click()
        for number in (1, 2):
            window.locator(f"article:nth-child({number}) .check").wait_for(timeout=60_000)
        window.mouse.move(5, 5)
        window.screenshot(path=path, clip={"x": 0, "y": 0, "width": 1080, "height": 1400}, full_page=True)
        browser.close()
    Image.open(path).convert("RGB").quantize(128).save(path, optimize=True)
    server.should_exit = True
    thread.join()
    worker.close()


def photograph_notebook(path):
    """The explorer in JupyterLab, after a click on a foil; with a server and a browser of its own."""
    from PIL import Image
    from playwright.sync_api import expect

    sys.path.append(str(HERE.parent))
    from tests.explorer.test_jupyterlab import jupyterlab, opened

    code = inspect.getsource(explorer).splitlines()[-1].replace("    return ", "")
    begin = "from interpret import explore\nfrom nexttoken import NextTokenLM\n\nlm = NextTokenLM.from_pretrained()\n"
    with (
        tempfile.TemporaryDirectory() as folder,
        jupyterlab(Path(folder), begin + code) as address,
        opened(address) as window,
    ):
        shown = window.locator(".nexttoken-explorer")
        title = shown.locator(".nexttoken-map .title")
        expect(title).to_contain_text("Why ' are'?", timeout=60_000)
        shown.get_by_role("button", name="foil").click()
        shown.locator("button", has_text="' were'").first.click()
        expect(title).to_contain_text("rather than ' were'", timeout=60_000)
        shown.get_by_role("button", name="show me the code").click()
        expect(shown).to_contain_text("contrast=", timeout=60_000)
        window.mouse.move(5, 5)
        window.screenshot(path=path)
    Image.open(path).convert("RGB").quantize(200).save(path, optimize=True)


def main():
    """Draw all pictures and write the page. Without Chromium, the photographs stay as they are."""
    lm = NextTokenLM.from_pretrained()
    for picture in PICTURES:
        path = IMAGES / f"gallery_{picture.__name__}.png"
        made = picture(lm)
        if not isinstance(made, Path):
            made.savefig(path, dpi=DOTS_PER_INCH, pil_kwargs={"optimize": True})
        elif CHROMIUM:
            photograph(made, path)
        else:
            print("chromium is not installed, so this is the old picture:")
        print(path.name, path.stat().st_size)
    if CHROMIUM:
        photograph_server(lm, IMAGES / "page.png")
        photograph_notebook(IMAGES / "explorer.png")
    PAGE.write_text(whole())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # where pages are written
        main()
