"""The options of `nexttoken corpus`: the rows, how each is computed, on what, and what a report counts and writes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from interpret.command.options import Computation, Written
from interpret.results.files import endings


@dataclass(frozen=True)
class CorpusComputation(Computation):
    """How each row of a corpus is computed."""

    check: Annotated[
        bool,
        typer.Option(help="Check each map against the model, which takes up to 64 more forward passes for each row."),
    ] = False


@dataclass(frozen=True)
class CorpusFiles:
    """Where the rows of a corpus come from, and where the answers go."""

    source: Annotated[
        Path,
        typer.Argument(
            metavar="IN",
            help="The rows: a .jsonl, .json, .csv, .tsv or .parquet file, a folder of Parquet files or a saved data "
            "set, with the columns id, prompt or messages, target, contrast, region, continuation.",
        ),
    ]
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder that the answers are written to, as Parquet.")]


@dataclass(frozen=True)
class Counting:
    """What a report counts, and how much of it is kept."""

    by: Annotated[str, typer.Option(help="What to count: word, or piece for what the tokenizer cuts.")] = "word"
    min_rows: Annotated[int, typer.Option(min=2, help="In how many prompts a word must occur.")] = 5
    top: Annotated[int, typer.Option(min=1, help="How many words to keep for each target.")] = 20
    targets: Annotated[
        int, typer.Option(min=1, help="How many targets to show, those with the most prompts first.")
    ] = 10


@dataclass(frozen=True)
class Workers:
    """What a corpus is run on."""

    workers: Annotated[
        int | None,
        typer.Option(min=1, help="How many workers; by default one for each GPU, or one for every four cores."),
    ] = None
    address: Annotated[
        str | None,
        typer.Option(
            help="The address of a Ray cluster, such as auto or 10.0.0.1:6379; by default, only this machine is used."
        ),
    ] = None


@dataclass(frozen=True)
class ReportOutput(Written):
    """What is written of a report, and where."""

    endings: ClassVar[tuple[str, ...]] = endings("Report")

    save: Annotated[
        list[Path] | None,
        typer.Option(help="Save the page as .html, the figure as .png, .pdf or .svg; may be repeated."),
    ] = None
