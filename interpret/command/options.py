"""The options of `nexttoken explain`: what is asked, how it is computed, and what is written."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from interpret.methods.listed import METHODS
from interpret.results.files import FIGURES, endings

if TYPE_CHECKING:
    from interpret.methods.method import Method
    from nexttoken import NextTokenLM

FORMATS = ("table", "json", "tsv")

SERVER = "NEXTTOKEN_SERVER"
LOADED = {"dtype": "float32", "revision": None}  # how a model is loaded of which only the name is given

PromptArgument = Annotated[
    str, typer.Argument(help="The text that the next token follows; - reads it from standard input.")
]
StartOption = Annotated[
    str | None,
    typer.Option(
        help="A start token to put in front as context, such as '<|endoftext|>', or auto for the model's own; "
        "probabilities are then those behind it."
    ),
]
ChatOption = Annotated[
    bool, typer.Option("--chat", help="The prompt is a user's message in a chat, or a whole chat as JSON.")
]
BudgetOption = Annotated[
    float | None, typer.Option(help="GB to use in addition to the model's weights; by default half of what is free.")
]
FormatOption = Annotated[
    str, typer.Option("--format", help="What to print: table, json (all numbers) or tsv (a line for each row).")
]


@dataclass(frozen=True)
class Loading:
    """Which model, and how it is loaded."""

    model: Annotated[
        str | None, typer.Option(help="A Hugging Face id, a folder or a GGUF file; by default the bundled model.")
    ] = None
    revision: Annotated[str | None, typer.Option(help="The branch, tag or commit of a model given by its id.")] = None
    dtype: Annotated[
        str,
        typer.Option(help="The precision of the weights: float32, bfloat16, float16, or auto for how they were saved."),
    ] = "float32"
    device: Annotated[str | None, typer.Option(help="Where the model runs, such as cpu or cuda.")] = None

    def load(self) -> NextTokenLM:
        """The model. Raises OSError or ValueError for one that cannot be loaded or explained."""
        from nexttoken import NextTokenLM

        shared: dict[str, Any] = {"tp_plan": "auto"} if several_processes() else {}
        return NextTokenLM.from_pretrained(
            self.model, dtype=self.dtype, device=self.device, revision=self.revision, **shared
        )

    @property
    def named(self) -> str | Callable[[], NextTokenLM] | None:
        """The model by its name, or what loads it where more than its name and its device is asked for."""
        from nexttoken import from_pretrained

        others = {name: getattr(self, name) for name in ("dtype", "revision") if getattr(self, name) != LOADED[name]}
        return partial(from_pretrained, self.model, **others) if others else self.model


@dataclass(frozen=True)
class Running:
    """A page that runs already, whose model answers in place of one that is loaded."""

    server: Annotated[
        str | None,
        typer.Option(
            help="Instead of loading a model, ask the page that `nexttoken serve` runs at this address; by default "
            f"that in the environment's {SERVER}."
        ),
    ] = None

    def address(self, loading: Loading) -> str | None:
        """Where the page is; None where a model is to be loaded.

        Raises ValueError for a page together with a model, since the page has its own.
        """
        own = next((name for name, value in asdict(loading).items() if value != LOADED.get(name)), None)
        if self.server is not None and own is not None:
            raise ValueError(f"the page at {self.server} has its own model; leave out --{own}")
        return self.server or (os.environ.get(SERVER) or None if own is None else None)


@dataclass(frozen=True)
class Question:
    """What is asked."""

    prompt: PromptArgument
    target: Annotated[
        str | None, typer.Option(help="The next token to explain; by default the model's first choice.")
    ] = None
    contrast: Annotated[
        list[str] | None, typer.Option(help="Explain why the target rather than this; may be repeated.")
    ] = None
    candidates: Annotated[
        int | None, typer.Option(min=1, help="Instead of a target: explain the N most probable next tokens.")
    ] = None
    continuation: Annotated[
        str | None, typer.Option(help="Instead of a target: explain each token of this text after the prompt.")
    ] = None
    generate: Annotated[int | None, typer.Option(min=1, help="The same, for N tokens that the model generates.")] = None
    region: Annotated[
        str | None,
        typer.Option(help="A regular expression: only these parts of the prompt get scores; the rest is context."),
    ] = None
    start: StartOption = None
    chat: ChatOption = False
    by: Annotated[str | None, typer.Option(help="Add up the scores by word, sentence, line or message.")] = None

    def check(self) -> None:
        """Raise ValueError for options that ask for different things."""
        asked = {
            "--target": self.target, "--candidates": self.candidates, "--continuation": self.continuation,
            "--generate": self.generate,
        }  # fmt: skip
        given = [name for name, value in asked.items() if value is not None]
        if len(given) > 1:
            raise ValueError(f"{given[0]} and {given[1]} ask for different things; give one of them")
        if self.by is not None and len(given) == 1 and self.target is None:
            raise ValueError(f"--by adds up the scores of one target; leave it out beside {given[0]}")
        if self.contrast and (self.continuation is not None or self.generate):
            raise ValueError(f"--contrast is for one next token; leave it out beside {given[0]}")

    @property
    def targets(self) -> int | None:
        """How many next tokens are explained; None where that is not known before the text is read."""
        return self.candidates or self.generate or (1 if self.continuation is None else None)


@dataclass(frozen=True)
class Computation:
    """How it is computed."""

    method: Annotated[
        str | None,
        typer.Option(
            help=f"One of {', '.join(each.slug for each in METHODS)}; see `nexttoken methods`. By default gim from "
            "plausible alternatives, or integrated-gradients where a network hides its products from it."
        ),
    ] = None
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="A setting of the method, such as steps=50 or baseline=mean; may be repeated. `nexttoken methods` "
            "lists them.",
        ),
    ] = None
    precision: Annotated[
        str | None,
        typer.Option(help="The precision of gradients: float64, float32 or bfloat16; by default the model's own."),
    ] = None
    memory_budget: BudgetOption = None
    check: Annotated[
        bool,
        typer.Option(
            help="Check the map of a target against the model: what happens when its strongest words are replaced?"
        ),
    ] = True

    def build_method(self) -> Method | None:
        """The method with its settings, which without a method are GIM's; None for the default as it is.

        Raises ValueError for one that is unknown, or cannot be set so.
        """
        given: dict[str, str] = {}
        for each in self.settings or ():
            name, equals, text = each.partition("=")
            if not name or not equals:
                raise ValueError(f"--set {each!r} is not NAME=VALUE, such as --set steps=50")
            if name in given:
                raise ValueError(f"--set gives {name} twice, {given[name]!r} and {text!r}; give it once")
            given[name] = text
        if self.method is None and not given:
            return None
        from interpret.methods.settings import method_by_name

        if self.method is not None:
            return method_by_name(self.method, given)
        try:
            return method_by_name("gim", {"baseline": "alternatives", "baseline.weight": "0.5", **given})
        except ValueError as error:
            raise ValueError(f"{error}; settings of another method need its name, --method NAME") from None


@dataclass(frozen=True)
class Asked:
    """The prompt and the next token that a counterfactual is about."""

    prompt: PromptArgument
    target: Annotated[
        str | None, typer.Option(help="The next token in question; by default the model's first choice.")
    ] = None
    start: StartOption = None
    chat: ChatOption = False
    memory_budget: BudgetOption = None


@dataclass(frozen=True)
class FlipSettings:
    """What a flip is to bring about, and how hard it is looked for."""

    to: Annotated[str | None, typer.Option(help="What the model's first choice must become.")] = None
    contrast: Annotated[
        list[str] | None, typer.Option(help="What the model must come to prefer to the target; may be repeated.")
    ] = None
    ignore: Annotated[
        str | None, typer.Option(help="A regular expression: these parts of the prompt are not changed.")
    ] = None
    max_edits: Annotated[int, typer.Option(min=1, help="The largest number of words to change.")] = 3
    beam: Annotated[int, typer.Option(min=1, help="How many edited prompts the beam search keeps.")] = 4
    candidates: Annotated[int, typer.Option(min=1, help="How many words are tried at each place.")] = 32
    seed: Annotated[int, typer.Option(help="The seed of what is drawn at random.")] = 0


@dataclass(frozen=True)
class ReduceSettings:
    """What has to stay of what the model says."""

    keep: Annotated[
        str,
        typer.Option(help="first: the target stays the first choice; or the least share of its probability, 0 to 1."),
    ] = "first"
    beam: Annotated[int, typer.Option(min=1, help="How many parts of the prompt the beam search keeps.")] = 3


@dataclass(frozen=True)
class Written:
    """What is written of a counterfactual, and where."""

    endings: ClassVar[tuple[str, ...]] = endings("Flip")

    save: Annotated[list[Path] | None, typer.Option(help="Save it as .html or .json; may be repeated.")] = None
    json: Annotated[Path | None, typer.Option(help="Save all of it as JSON.")] = None
    printed: Annotated[str, typer.Option("--format", help="What to print: table or json.")] = "table"

    @property
    def paths(self) -> list[Path]:
        """Every file that is to be saved."""
        return _paths(self.save, self.json)

    def check(self) -> None:
        """Raise OSError or ValueError, before anything is computed, unless all of it can be written."""
        check_format(self.printed, ("table", "json"))
        _check_paths(self.paths, self.json, self.endings)


@dataclass(frozen=True)
class Serving:
    """Where the page is served."""

    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes any free one.")] = 8000
    host: Annotated[
        str,
        typer.Option(help="The address to listen on; beyond this machine, requests need the token that is printed."),
    ] = "127.0.0.1"
    browser: Annotated[bool, typer.Option(help="Open a browser.")] = True


@dataclass(frozen=True)
class Output:
    """What is written, and where."""

    save: Annotated[
        list[Path] | None,
        typer.Option(
            help="Save the heatmap as .png, .pdf, .svg, .pgf (for LaTeX) or .html, the scores as .csv or .tsv; may be "
            "repeated."
        ),
    ] = None
    width: Annotated[
        str | None,
        typer.Option(
            help="The width of saved figures: inches, or column (3.03) or text (5.5), which fit ACL, ICML and NeurIPS."
        ),
    ] = None
    json: Annotated[Path | None, typer.Option(help="Save all numbers as JSON.")] = None
    printed: FormatOption = "table"

    @property
    def paths(self) -> list[Path]:
        """Every file that is to be saved."""
        return _paths(self.save, self.json)

    def check(self) -> None:
        """Raise OSError or ValueError, before anything is computed, unless all of it can be written."""
        check_format(self.printed)
        _check_paths(self.paths, self.json, endings("Attribution"))
        if self.width is not None:
            self.inches()
            if not any(map(is_figure, self.paths)):
                raise ValueError("--width is the width of a figure, and none is saved: add --save why.pdf")

    def inches(self) -> float | None:
        """The width of figures. Raises ValueError for what is neither a number nor a known name."""
        if self.width is None:
            return None
        from interpret.views.canvas import inches_of

        try:
            width: float | str = float(self.width)
        except ValueError:
            width = self.width
        return inches_of(width)

    @property
    def latex(self) -> bool:
        """Whether a file is written that LaTeX measures, which the page does not do for others."""
        return any(path.suffix.lower() == ".pgf" for path in self.paths)


def is_figure(path: Path) -> bool:
    """Whether a file with that ending is a picture."""
    return path.suffix.lower() in FIGURES


def several_processes() -> bool:
    """Whether torchrun has started several processes, which share one model by tensor parallelism."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def is_first() -> bool:
    """Whether this process is the one that prints and saves: the only one, or the first that torchrun has started."""
    return not several_processes() or os.environ.get("RANK", "0") == "0"


def _paths(save: list[Path] | None, json: Path | None) -> list[Path]:
    if not is_first():
        return []
    return [path.expanduser() for path in (*(save or []), *([json] if json else []))]


def _check_paths(paths: list[Path], json: Path | None, endings: tuple[str, ...]) -> None:
    from interpret.results.files import check_writable

    for path in paths:
        if path.suffix.lower() not in endings:
            raise ValueError(f"cannot save to {str(path)!r}: the ending must be one of {', '.join(endings)}")
        check_writable(path)
    if json and json.suffix.lower() != ".json":
        raise ValueError(f"--json {str(json)!r}: the ending must be .json; figures go to --save")
    if len(set(paths)) < len(paths):
        raise ValueError("the same file is named twice in --save and --json")


def check_format(printed: str, formats: tuple[str, ...] = FORMATS) -> None:
    """Raise ValueError unless it is one of the formats."""
    if printed not in formats:
        raise ValueError(f"there is no format {printed!r}; the formats are {', '.join(formats)}")
