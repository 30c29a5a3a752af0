"""The options of `nexttoken`, each with its help, and what follows from them before anything is loaded."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from interpret.command.terminal import as_data
from interpret.methods.listed import METHODS
from interpret.results.files import FIGURES, check_writable, endings

SERVER = "NEXTTOKEN_SERVER"


def option(help: str, *names: str, **settings: Any) -> Any:
    """An option; by default it is called as the parameter is."""
    return typer.Option(*names, help=help, **settings)


def parsed(help: str, parser: Callable[[str], Any]) -> Any:
    """An option whose text is parsed."""
    return typer.Option(help=help, parser=parser, metavar="TEXT")


def saving(kind: str) -> Any:
    """The option for the files that results of a class are saved as."""
    return option(f"Save it by the file's ending: {', '.join(endings(kind))}; may be repeated.", "--save")


def _true_if_auto(text: str) -> str | bool:
    return text == "auto" or text


def _bytes_of_gigabytes(text: str) -> int:
    return int(float(text) * 10**9)


def _number_or_name(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _ready_output(printed: str) -> str:
    if printed != "table":
        as_data(sys.stdout)
    return printed


# What is asked
Prompt = Annotated[str, typer.Argument(help="The text that the next token follows; - reads it from standard input.")]
Target = Annotated[str | None, option("The next token in question; by default the model's first choice.")]
Contrast = Annotated[list[str] | None, option("Explain why the target rather than this; may be repeated.")]
Candidates = Annotated[int | None, option("Instead of a target: explain the N most probable next tokens.", min=1)]
Continuation = Annotated[str | None, option("Instead of a target: explain each token of this text after the prompt.")]
Generate = Annotated[int | None, option("The same, for N tokens that the model generates.", min=1)]
Region = Annotated[str | None, option("A regular expression: only these parts of the prompt get scores.")]
Start = Annotated[
    Any,
    parsed("A start token in front as context, such as '<|endoftext|>', or auto for the model's own.", _true_if_auto),
]
Chat = Annotated[bool, option("The prompt is a user's message in a chat, or a whole chat as JSON.", "--chat")]
By = Annotated[Literal["word", "sentence", "line", "message"] | None, option("What the scores are added up by.")]
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
        "A setting of the method, such as steps=50 or baseline=mean; may be repeated.", "--set", metavar="NAME=VALUE"
    ),
]
Precision = Annotated[
    Literal["float64", "float32", "bfloat16"] | None, option("Of the gradients; by default the model's own.")
]
Budget = Annotated[
    Any, parsed("GB to use in addition to the model's weights; by default half of what is free.", _bytes_of_gigabytes)
]
Check = Annotated[bool, option("Check the scores of a target: what happens when its strongest words are replaced?")]
CheckRows = Annotated[bool, option("Check the scores of each row, which takes up to 64 more forward passes for each.")]

# A flip and a reduction
To = Annotated[str | None, option("What the model's first choice must become.")]
Preferred = Annotated[list[str] | None, option("What the model must come to prefer; may be repeated.", "--contrast")]
Ignore = Annotated[str | None, option("A regular expression: these parts of the prompt are not changed.")]
MaxEdits = Annotated[int, option("The largest number of words to change.", min=1)]
Words = Annotated[int, option("How many words are tried at each position.", "--candidates", min=1)]
Beam = Annotated[int, option("How many changed prompts the beam search keeps.", min=1)]
Seed = Annotated[int, option("The seed of what is drawn at random.")]
Keep = Annotated[
    Any, parsed("first: the target stays the first choice; or the least share of its probability.", _number_or_name)
]

# Which model
Model = Annotated[str | None, option("A Hugging Face id, a folder or a GGUF file; by default the bundled model.")]
Revision = Annotated[str | None, option("The branch, tag or commit of a model given by its id.")]
Dtype = Annotated[
    str, option("The precision of the weights: float32, bfloat16, float16, or auto for that of the file.")
]
Device = Annotated[str | None, option("Where the model runs, such as cpu or cuda.")]
Server = Annotated[
    str | None, option(f"Ask the page that `nexttoken serve` runs at this address, by default that in {SERVER}.")
]
Port = Annotated[int, option("The port; 0 takes any free one.", min=0, max=65535)]
Host = Annotated[str, option("The address to listen on; beyond this machine, requests need the token that is printed.")]
Browser = Annotated[bool, option("Open a browser.")]

# What is written
Format = Annotated[
    Literal["table", "json", "tsv"], option("What to print; json has all numbers.", "--format", callback=_ready_output)
]
JsonFormat = Annotated[
    Literal["table", "json"], option("What to print; json has all numbers.", "--format", callback=_ready_output)
]
Save = Annotated[list[Path] | None, saving("Attribution")]
SaveEdits = Annotated[list[Path] | None, saving("Flip")]
SaveReport = Annotated[list[Path] | None, saving("Report")]
Width = Annotated[
    Any, parsed("The width of figures: inches, or column (3.03) or text (5.5) of ACL, ICML, NeurIPS.", _number_or_name)
]
Json = Annotated[Path | None, option("Save all numbers as JSON.", "--json")]

# A corpus
In = Annotated[
    Path,
    typer.Argument(
        metavar="IN",
        help="A .jsonl, .json, .csv, .tsv or .parquet file, a folder of Parquet files or a saved data set, "
        "with the columns id, prompt or messages, target, contrast, region, continuation.",
    ),
]
Out = Annotated[Path, typer.Argument(metavar="OUT", help="The folder of the answers, as Parquet.")]
Workers = Annotated[int | None, option("How many; by default one for each GPU, or one for every four cores.", min=1)]
Cluster = Annotated[
    str | None, option("Of a Ray cluster, such as auto or 10.0.0.1:6379; by default this machine alone.")
]
CountBy = Annotated[Literal["word", "piece"], option("What to count; a piece is what the tokenizer cuts.")]
MinRows = Annotated[int, option("In how many prompts a word must occur.", min=2)]
TopWords = Annotated[int, option("How many words to keep for each target.", min=1)]
Targets = Annotated[int, option("How many targets to show, those with the most prompts first.", min=1)]


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


def paths_of(kind: str, save: Sequence[Path] | None, json: Path | None, width: float | str | None = None) -> list[Path]:
    """Every file that a result of a class is to be saved in; none in a process that is not the first.

    Raises OSError or ValueError, before anything is computed, unless all of them can be written, figures in this width.
    """
    if not is_first():
        return []
    if json and json.suffix.lower() != ".json":
        raise ValueError(f"--json {str(json)!r}: the ending must be .json; figures go to --save")
    paths = [path.expanduser() for path in dict.fromkeys((*(save or ()), *([json] if json else ())))]
    for path in paths:
        if path.suffix.lower() not in endings(kind):
            raise ValueError(f"cannot save to {str(path)!r}: the ending must be one of {', '.join(endings(kind))}")
        check_writable(path)
    if width is not None:
        from interpret.views.canvas import inches_of

        inches_of(width)
        if not any(path.suffix.lower() in FIGURES for path in paths):
            raise ValueError("--width is the width of a figure, and none is saved: add --save why.pdf")
    return paths


def several_processes() -> bool:
    """Whether torchrun has started several processes, which share one model by tensor parallelism."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def is_first() -> bool:
    """Whether this process is the one that prints and saves: the only one, or the first that torchrun has started."""
    return not several_processes() or os.environ.get("RANK", "0") == "0"
