"""The options of `nexttoken`, each with its help, and what follows from them before anything is loaded."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from interpret.methods.listed import METHODS
from interpret.results.files import FIGURES, endings

FORMATS = ("table", "json", "tsv")
GIGA = 10**9
SERVER = "NEXTTOKEN_SERVER"


def option(help: str, *names: str, **settings: Any) -> Any:
    """An option; by default it is called as the parameter is."""
    return typer.Option(*names, help=help, **settings)


# What is asked
Prompt = Annotated[str, typer.Argument(help="The text that the next token follows; - reads it from standard input.")]
Target = Annotated[str | None, option("The next token in question; by default the model's first choice.")]
Contrast = Annotated[list[str] | None, option("Explain why the target rather than this; may be repeated.")]
Candidates = Annotated[int | None, option("Instead of a target: explain the N most probable next tokens.", min=1)]
Continuation = Annotated[str | None, option("Instead of a target: explain each token of this text after the prompt.")]
Generate = Annotated[int | None, option("The same, for N tokens that the model generates.", min=1)]
Region = Annotated[
    str | None, option("A regular expression: only these parts of the prompt get scores; the rest is context.")
]
Start = Annotated[
    str | None,
    option(
        "A start token to put in front as context, such as '<|endoftext|>', or auto for the model's own; probabilities "
        "are then those after it."
    ),
]
Chat = Annotated[bool, option("The prompt is a user's message in a chat, or a whole chat as JSON.", "--chat")]
By = Annotated[str | None, option("Add up the scores by word, sentence, line or message.")]
Top = Annotated[int, option("How many next tokens to show.", min=1)]

# How it is computed
MethodName = Annotated[
    str | None,
    option(
        f"One of {', '.join(each.slug for each in METHODS)}; see `nexttoken methods`. By default gim from plausible "
        "alternatives, or integrated-gradients where a network hides its products from it."
    ),
]
Settings = Annotated[
    list[str] | None,
    option(
        "A setting of the method, such as steps=50 or baseline=mean; may be repeated. `nexttoken methods` lists them.",
        "--set",
        metavar="NAME=VALUE",
    ),
]
Precision = Annotated[
    str | None, option("The precision of gradients: float64, float32 or bfloat16; by default the model's own.")
]
Budget = Annotated[
    float | None, option("GB to use in addition to the model's weights; by default half of what is free.")
]
Check = Annotated[
    bool,
    option("Check the scores of a target against the model: what happens when its strongest words are replaced?"),
]
CheckRows = Annotated[
    bool,
    option("Check the scores of each row against the model, which takes up to 64 more forward passes for each."),
]

# A flip and a reduction
To = Annotated[str | None, option("What the model's first choice must become.")]
Preferred = Annotated[
    list[str] | None, option("What the model must come to prefer to the target; may be repeated.", "--contrast")
]
Ignore = Annotated[str | None, option("A regular expression: these parts of the prompt are not changed.")]
MaxEdits = Annotated[int, option("The largest number of words to change.", min=1)]
Words = Annotated[int, option("How many words are tried at each position.", "--candidates", min=1)]
Beam = Annotated[int, option("How many changed prompts the beam search keeps.", min=1)]
Seed = Annotated[int, option("The seed of what is drawn at random.")]
Keep = Annotated[
    str, option("first: the target stays the first choice; or the least share of its probability, 0 to 1.")
]

# Which model
Model = Annotated[str | None, option("A Hugging Face id, a folder or a GGUF file; by default the bundled model.")]
Revision = Annotated[str | None, option("The branch, tag or commit of a model given by its id.")]
Dtype = Annotated[
    str, option("The precision of the weights: float32, bfloat16, float16, or auto for how they were saved.")
]
Device = Annotated[str | None, option("Where the model runs, such as cpu or cuda.")]
Server = Annotated[
    str | None,
    option(
        "Instead of loading a model, ask the page that `nexttoken serve` runs at this address; by default that in the "
        f"environment's {SERVER}."
    ),
]
Port = Annotated[int, option("The port; 0 takes any free one.", min=0, max=65535)]
Host = Annotated[str, option("The address to listen on; beyond this machine, requests need the token that is printed.")]
Browser = Annotated[bool, option("Open a browser.")]

# What is written
Format = Annotated[
    str, option("What to print: table, json (all numbers) or, of scores, tsv (a line for each row).", "--format")
]
Save = Annotated[
    list[Path] | None,
    option(
        "Save the heatmap as .png, .pdf, .svg, .pgf (for LaTeX) or .html, the scores as .csv or .tsv; may be repeated."
    ),
]
SaveEdits = Annotated[list[Path] | None, option("Save it as .html or .json; may be repeated.", "--save")]
SaveReport = Annotated[
    list[Path] | None,
    option("Save the page as .html, the figure as .png, .pdf or .svg; may be repeated.", "--save"),
]
Width = Annotated[
    str | None,
    option("The width of saved figures: inches, or column (3.03) or text (5.5), which fit ACL, ICML and NeurIPS."),
]
Json = Annotated[Path | None, option("Save all numbers as JSON.", "--json")]

# A corpus
In = Annotated[
    Path,
    typer.Argument(
        metavar="IN",
        help="The rows: a .jsonl, .json, .csv, .tsv or .parquet file, a folder of Parquet files or a saved data set, "
        "with the columns id, prompt or messages, target, contrast, region, continuation.",
    ),
]
Out = Annotated[Path, typer.Argument(metavar="OUT", help="The folder of the answers, as Parquet.")]
Workers = Annotated[
    int | None, option("How many workers; by default one for each GPU, or one for every four cores.", min=1)
]
Cluster = Annotated[
    str | None,
    option("The address of a Ray cluster, such as auto or 10.0.0.1:6379; by default, only this machine is used."),
]
CountBy = Annotated[str, option("What to count: word, or piece for what the tokenizer cuts.")]
MinRows = Annotated[int, option("In how many prompts a word must occur.", min=2)]
TopWords = Annotated[int, option("How many words to keep for each target.", min=1)]
Targets = Annotated[int, option("How many targets to show, those with the most prompts first.", min=1)]


def start_of(start: str | None) -> str | bool | None:
    """What `--start` says."""
    return True if start == "auto" else start


def chat_of(text: str) -> Any:
    """A user's message, or the messages, alone or with their tools, where the text is these as JSON."""
    try:
        given = json.loads(text) if text.lstrip()[:1] in ("[", "{") else None
    except ValueError:
        given = None
    messages = given.get("messages") if isinstance(given, dict) else given
    if isinstance(messages, list) and messages and all(isinstance(each, dict) and "role" in each for each in messages):
        return given
    return [{"role": "user", "content": text}]


def settings_of(texts: Sequence[str] | None) -> dict[str, str]:
    """What `--set` says, by name. Raises ValueError for what is not NAME=VALUE, or is given twice."""
    given: dict[str, str] = {}
    for each in texts or ():
        name, equals, text = each.partition("=")
        if not name or not equals:
            raise ValueError(f"--set {each!r} is not NAME=VALUE, such as --set steps=50")
        if name in given:
            raise ValueError(f"--set gives {name} twice, {given[name]!r} and {text!r}; give it once")
        given[name] = text
    return given


def bytes_of(budget: float | None) -> int | None:
    """A budget in GB as bytes."""
    return None if budget is None else int(budget * GIGA)


def share_of(keep: str) -> str | float:
    """What `--keep` says. Raises ValueError for what is no number."""
    if keep == "first":
        return keep
    try:
        return float(keep)
    except ValueError:
        raise ValueError(f"--keep {keep!r}: give first, or a share of the probability such as 0.5") from None


def paths_of(save: Sequence[Path] | None, json: Path | None, kind: str) -> list[Path]:
    """Every file that a result of a kind is to be saved in; none in a process that is not the first.

    Raises OSError or ValueError, before anything is computed, unless all of them can be written.
    """
    if not is_first():
        return []
    from interpret.results.files import check_writable

    paths = [path.expanduser() for path in (*(save or []), *([json] if json else []))]
    for path in paths:
        if path.suffix.lower() not in endings(kind):
            raise ValueError(f"cannot save to {str(path)!r}: the ending must be one of {', '.join(endings(kind))}")
        check_writable(path)
    if json and json.suffix.lower() != ".json":
        raise ValueError(f"--json {str(json)!r}: the ending must be .json; figures go to --save")
    if len(set(paths)) < len(paths):
        raise ValueError("the same file is named twice in --save and --json")
    return paths


def inches_of(width: str | None, paths: Sequence[Path]) -> float | None:
    """The width of figures. Raises ValueError for no number and no known name, and where no figure is saved."""
    if width is None:
        return None
    from interpret.views import canvas

    try:
        given: float | str = float(width)
    except ValueError:
        given = width
    inches = canvas.inches_of(given)
    if is_first() and not any(path.suffix.lower() in FIGURES for path in paths):
        raise ValueError("--width is the width of a figure, and none is saved: add --save why.pdf")
    return inches


def several_processes() -> bool:
    """Whether torchrun has started several processes, which share one model by tensor parallelism."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def is_first() -> bool:
    """Whether this process is the one that prints and saves: the only one, or the first that torchrun has started."""
    return not several_processes() or os.environ.get("RANK", "0") == "0"
