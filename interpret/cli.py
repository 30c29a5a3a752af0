"""The command `nexttoken`: what comes next, and why."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from interpret.command.corpus_options import CorpusComputation, CorpusFiles, Counting, ReportOutput, Workers
from interpret.command.errors import errors_in_one_line
from interpret.command.groups import DefaultCommand, grouped
from interpret.command.options import (
    Asked,
    Computation,
    FlipSettings,
    FormatOption,
    Loading,
    Output,
    PromptArgument,
    Question,
    ReduceSettings,
    Running,
    Serving,
    Written,
    check_format,
    is_figure,
    is_first,
    several_processes,
)

if TYPE_CHECKING:
    from rich.console import Console

    from interpret.counterfactuals import Flip, Reduction
    from nexttoken import NextTokenLM, Prompt

SLOW = 1.0  # seconds after which a progress bar appears

app = typer.Typer(
    help="Ask a causal language model what comes next, and why.", no_args_is_help=True, pretty_exceptions_enable=False,
    add_completion=False, rich_markup_mode=None,
)  # fmt: skip


def _say_version(asked: bool) -> bool:
    if asked:
        from importlib.metadata import version

        typer.echo(f"nexttoken-interpret {version('nexttoken-interpret')}")
        raise typer.Exit
    return asked


VersionOption = Annotated[
    bool, typer.Option("--version", help="Say which version this is, and end.", is_eager=True, callback=_say_version)
]


@app.callback()
def about(version: VersionOption = False) -> None:
    """Ask a causal language model what comes next, and why."""


corpus_app = typer.Typer(
    help="Explain every row of a data set: nexttoken corpus IN OUT. See nexttoken corpus explain --help.",
    cls=DefaultCommand, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None,
)  # fmt: skip
app.add_typer(corpus_app, name="corpus")


@app.command()
@grouped
def predict(
    prompt: PromptArgument,
    loading: Loading,
    top: Annotated[int, typer.Option(min=1, help="How many next tokens to show.")] = 5,
    printed: FormatOption = "table",
) -> None:
    """Show the most probable next tokens."""
    with errors_in_one_line() as console:
        _to_print(printed)
        lm = _load(loading, console)
        from interpret.views.terminal import print_predictions

        print_predictions(lm.predict(_read(prompt), top), printed)


@app.command()
@grouped
def explain(question: Question, computation: Computation, loading: Loading, running: Running, output: Output) -> None:
    """Show which parts of the prompt speak for the next token."""
    with errors_in_one_line() as console:
        output.check()
        _to_print(output.printed)
        question.check()
        address = None if output.latex else running.address(loading)
        if address is not None and not several_processes():
            from interpret.command.remote import NotRunningError, explain_there

            try:
                explain_there(address, replace(question, prompt=_read(question.prompt)), computation, output, console)
                return
            except NotRunningError:
                if running.server is not None or question.prompt == "-":
                    raise
                console.print(f"no page answers at {address}; loading the model", highlight=False, markup=False)
        method = computation.build_method()
        lm = _load(loading, console)
        from interpret.methods.default import default_method

        method = method if method is not None else default_method(lm)

        from interpret.command.explaining import answer, checked
        from interpret.engine.progress import progress
        from interpret.views.terminal import print_result

        prompt = _prompt(lm, question)
        total = question.targets and question.targets * method.cost(len(prompt))
        with progress(total, "gradients", delay=SLOW) as advance:
            result = answer(lm, prompt, question, computation, method, advance)
        sign = console.status("checking the map against the model") if console.is_terminal else None
        result = checked(lm, prompt, result, computation, sign)
        for path in output.paths:
            result.save(path, output.inches() if is_figure(path) else None)
        print_result(result, output.printed)
        for path in output.paths:
            console.print(f"saved {path}", highlight=False, markup=False)


@app.command()
@grouped
def flip(asked: Asked, settings: FlipSettings, loading: Loading, written: Written) -> None:
    """Find the smallest change of words after which the model says something else."""
    with errors_in_one_line() as console:
        written.check()
        _to_print(written.printed)
        lm, prompt, options = _asked(asked, loading, console)
        from interpret import flip as find
        from interpret.engine.progress import progress

        with progress(None, "forward passes", delay=SLOW) as advance:
            found = find(
                lm, prompt, asked.target, to=settings.to, contrast=settings.contrast, max_edits=settings.max_edits,
                beam=settings.beam, candidates=settings.candidates, seed=settings.seed, ignore=settings.ignore,
                on_progress=advance, **options,
            )  # fmt: skip
        _write(found, written, console)


@app.command()
@grouped
def reduce(asked: Asked, settings: ReduceSettings, loading: Loading, written: Written) -> None:
    """Find the shortest part of the prompt for which the model still says the same."""
    with errors_in_one_line() as console:
        written.check()
        _to_print(written.printed)
        keep = _share(settings.keep)
        lm, prompt, options = _asked(asked, loading, console)
        from interpret import reduce_input
        from interpret.engine.progress import progress

        with progress(None, "forward passes", delay=SLOW) as advance:
            found = reduce_input(
                lm, prompt, asked.target, keep=keep, beam=settings.beam, on_progress=advance, **options
            )
        _write(found, written, console)


@app.command()
@grouped
def serve(loading: Loading, serving: Serving) -> None:
    """Serve a page for the browser that does all of this with one model, on this machine only."""
    with errors_in_one_line() as console:
        from interpret.server.serve import listening, serve

        listening(serving.host, serving.port).close()  # a port that is taken is said before the model is loaded
        serve(_load(loading, console), serving.host, serving.port, serving.browser)


@corpus_app.command("explain")
@grouped
def explain_corpus(files: CorpusFiles, computation: CorpusComputation, loading: Loading, workers: Workers) -> None:
    """Explain every row of a data set, on all cores or a cluster.

    A run that was stopped, for whatever reason, continues where it stopped when you give the same command again.
    """
    with errors_in_one_line() as console:
        method = computation.build_method()
        from interpret.command.explaining import bytes_of
        from interpret.corpus import explain as explain_rows

        done = explain_rows(
            files.source, files.out, loading.named, method, check=computation.check,
            precision=computation.precision,  # type: ignore[arg-type]
            memory_budget=bytes_of(computation.memory_budget), workers=workers.workers, address=workers.address,
            device=loading.device,
        )  # fmt: skip
        console.print(f"{done}", highlight=False, markup=False)


@corpus_app.command("report")
@grouped
def report_corpus(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder of answers.")],
    counting: Counting,
    output: ReportOutput,
) -> None:
    """Say which words speak for a target across all prompts, and how sure that is."""
    with errors_in_one_line() as console:
        output.check()
        _to_print(output.printed)
        if counting.by not in ("word", "piece"):
            raise ValueError(f"--by {counting.by!r}: give word or piece")
        from interpret.corpus import report
        from interpret.views.terminal import print_report

        found = report(
            out, by=counting.by,  # type: ignore[arg-type]
            min_rows=counting.min_rows, top=counting.top, targets=counting.targets,
        )  # fmt: skip
        for path in output.paths:
            found.save(path)
        print_report(found, output.printed)
        for path in output.paths:
            console.print(f"saved {path}", highlight=False, markup=False)


@app.command()
def methods() -> None:
    """List the methods and their settings."""
    with errors_in_one_line():
        from interpret.command.listing import methods_listing
        from interpret.views.plain import print_text

        print_text(methods_listing())


def _asked(asked: Asked, loading: Loading, console: Console) -> tuple[NextTokenLM, Prompt, dict[str, Any]]:
    """The model, the prompt that it is asked about, and what every counterfactual takes."""
    from interpret.command.explaining import bytes_of

    lm = _load(loading, console)
    return lm, _prompt(lm, asked), {"memory_budget": bytes_of(asked.memory_budget)}


def _prompt(lm: NextTokenLM, asked: Question | Asked) -> Prompt:
    """The prompt that is given, as a chat and behind a start token if these were asked for."""
    from interpret.command.explaining import prompt_of

    return prompt_of(lm, asked, _read(asked.prompt))


def _write(found: Flip | Reduction, written: Written, console: Console) -> None:
    """Save and print a counterfactual."""
    from interpret.views.terminal import print_counterfactual

    for path in written.paths:
        found.save(path)
    print_counterfactual(found, written.printed)
    for path in written.paths:
        console.print(f"saved {path}", highlight=False, markup=False)


def _share(keep: str) -> str | float:
    """What `--keep` says. Raises ValueError for what is no number."""
    if keep == "first":
        return keep
    try:
        return float(keep)
    except ValueError:
        raise ValueError(f"--keep {keep!r}: give first, or a share of the probability such as 0.5") from None


def _to_print(printed: str) -> None:
    """Ready standard output for a format. Raises ValueError for one that does not exist."""
    check_format(printed)
    if printed != "table":
        from interpret.command.streams import as_data

        as_data(sys.stdout)


def _read(prompt: str) -> str:
    """The prompt, from standard input where it is `-`; the line end that closes standard input is not part of it."""
    if prompt != "-":
        return prompt
    from interpret.command.streams import read_text

    return read_text(sys.stdin).removesuffix("\n")


def _load(loading: Loading, console: Console) -> NextTokenLM:
    """The model, with a sign of life while it loads."""
    sign = console.status("loading the model (the bundled one is converted on first use, which takes half a minute)")
    with sign if console.is_terminal else nullcontext():
        return loading.load()


def main() -> None:
    """Run the command, with threads that sleep while they wait, so that other busy processes do not slow it down.

    OpenMP reads the policy when torch is loaded; what the user has set is left as it is.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if not is_first():
        sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  until the process ends
    try:
        app(prog_name="nexttoken")
    finally:
        if several_processes() and "torch.distributed" in sys.modules:
            from torch import distributed

            if distributed.is_initialized():
                distributed.destroy_process_group()


if __name__ == "__main__":
    main()
