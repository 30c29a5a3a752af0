"""The command `nexttoken`: what comes next, and why."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from interpret.command import options as given
from interpret.command.options import is_first, paths_of, several_processes
from interpret.command.terminal import as_data, errors_in_one_line, methods_listing, read_text
from interpret.question.question import Question
from interpret.results.files import FIGURES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import Console

    from interpret import Attribution, AttributionMatrix, Flip, Reduction
    from nexttoken import NextTokenLM

SLOW = 1.0  # seconds after which a progress bar appears
LOADING = {"model": None, "revision": None, "dtype": "float32", "device": None}  # how, where it is not said


class DefaultCommand(TyperGroup):
    """Commands of which the first is meant where none is named, so that `corpus IN OUT` stands for its `explain`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """The arguments, after the first command's name unless they begin with a command or ask for help."""
        if args and args[0] not in self.commands and args[0] != "--help":
            args = [next(iter(self.commands)), *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    help="Ask a causal language model what comes next, and why.", no_args_is_help=True, pretty_exceptions_enable=False,
    add_completion=False, rich_markup_mode=None,
)  # fmt: skip
corpus_app = typer.Typer(
    help="Explain every row of a data set: nexttoken corpus IN OUT. See nexttoken corpus explain --help.",
    cls=DefaultCommand, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None,
)  # fmt: skip
app.add_typer(corpus_app, name="corpus")


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


@app.command()
def predict(
    *,
    prompt: given.Prompt,
    model: given.Model = None, revision: given.Revision = None, dtype: given.Dtype = "float32",
    device: given.Device = None,
    top: given.Top = 5,
    printed: given.Format = "table",
) -> None:  # fmt: skip
    """Show the most probable next tokens."""
    with errors_in_one_line() as console:
        _to_print(printed)
        lm = _load(console, model, revision, dtype, device)
        from interpret.views.terminal import print_predictions

        print_predictions(lm.predict(_read(prompt), top), printed)


@app.command()
def explain(
    *,
    prompt: given.Prompt, target: given.Target = None, contrast: given.Contrast = None,
    candidates: given.Candidates = None, continuation: given.Continuation = None, generate: given.Generate = None,
    region: given.Region = None, start: given.Start = None, chat: given.Chat = False, by: given.By = None,
    method: given.MethodName = None, settings: given.Settings = None, precision: given.Precision = None,
    memory_budget: given.Budget = None, check: given.Check = True,
    model: given.Model = None, revision: given.Revision = None, dtype: given.Dtype = "float32",
    device: given.Device = None, server: given.Server = None,
    save: given.Save = None, width: given.Width = None, json: given.Json = None, printed: given.Format = "table",
) -> None:  # fmt: skip
    """Show which parts of the prompt support the next token."""
    with errors_in_one_line() as console:
        _to_print(printed)
        paths = paths_of(save, json, "Attribution")
        inches = given.inches_of(width, paths)
        question = Question(
            _prompt(prompt, chat), target, tuple(contrast or ()), candidates, continuation=continuation,
            generate=generate, region=region, start=given.start_of(start), by=by, method=method,
            settings=given.settings_of(settings), precision=precision, memory_budget=given.bytes_of(memory_budget),
            check=check,
        )  # fmt: skip
        question.check_consistency()
        result = _answer_there(console, question, server, model, revision, dtype, device)
        if result is None:
            from interpret.session.answer import named_method

            named_method(question)  # what is wrong with it is said before a model is loaded
            result = _answer(console, question, _load(console, model, revision, dtype, device))
        from interpret.views.terminal import print_result

        _show(console, result, print_result, printed, paths, inches)


@app.command()
def flip(
    *,
    prompt: given.Prompt, target: given.Target = None, start: given.Start = None, chat: given.Chat = False,
    memory_budget: given.Budget = None,
    to: given.To = None, contrast: given.Preferred = None, ignore: given.Ignore = None, max_edits: given.MaxEdits = 3,
    beam: given.Beam = 4, candidates: given.Words = 32, seed: given.Seed = 0,
    model: given.Model = None, revision: given.Revision = None, dtype: given.Dtype = "float32",
    device: given.Device = None,
    save: given.SaveEdits = None, json: given.Json = None, printed: given.Format = "table",
) -> None:  # fmt: skip
    """Find the smallest change of words after which the model says something else."""
    with errors_in_one_line() as console:
        _to_print(printed, ("table", "json"))
        paths = paths_of(save, json, "Flip")
        question = Question(
            _prompt(prompt, chat), target, tuple(contrast or ()), candidates, start=given.start_of(start),
            memory_budget=given.bytes_of(memory_budget), to=to, ignore=ignore, max_edits=max_edits, beam=beam,
            seed=seed,
        )  # fmt: skip
        lm = _load(console, model, revision, dtype, device)
        from interpret.session.answer import answer_flip

        _show_edits(console, partial(answer_flip, lm, question), paths, printed)


@app.command()
def reduce(
    *,
    prompt: given.Prompt, target: given.Target = None, start: given.Start = None, chat: given.Chat = False,
    memory_budget: given.Budget = None,
    keep: given.Keep = "first", beam: given.Beam = 3,
    model: given.Model = None, revision: given.Revision = None, dtype: given.Dtype = "float32",
    device: given.Device = None,
    save: given.SaveEdits = None, json: given.Json = None, printed: given.Format = "table",
) -> None:  # fmt: skip
    """Find the shortest part of the prompt for which the model still says the same."""
    with errors_in_one_line() as console:
        _to_print(printed, ("table", "json"))
        paths = paths_of(save, json, "Reduction")
        question = Question(
            _prompt(prompt, chat), target, start=given.start_of(start),
            memory_budget=given.bytes_of(memory_budget), keep=given.share_of(keep), beam=beam,
        )  # fmt: skip
        lm = _load(console, model, revision, dtype, device)
        from interpret.session.answer import answer_reduction

        _show_edits(console, partial(answer_reduction, lm, question), paths, printed)


@app.command()
def serve(
    *,
    model: given.Model = None, revision: given.Revision = None, dtype: given.Dtype = "float32",
    device: given.Device = None,
    port: given.Port = 8000, host: given.Host = "127.0.0.1", browser: given.Browser = True,
) -> None:  # fmt: skip
    """Serve a page for the browser that does all of this with one model, on this machine only."""
    with errors_in_one_line() as console:
        from interpret.server.serve import listening, serve

        listening(host, port).close()  # a port that is taken is said before the model is loaded
        serve(_load(console, model, revision, dtype, device), host, port, browser)


@corpus_app.command("explain")
def explain_corpus(
    *,
    source: given.In, out: given.Out,
    method: given.MethodName = None, settings: given.Settings = None, precision: given.Precision = None,
    memory_budget: given.Budget = None, check: given.CheckRows = False,
    model: given.Model = None, revision: given.Revision = None, dtype: given.Dtype = "float32",
    device: given.Device = None,
    workers: given.Workers = None, address: given.Cluster = None,
) -> None:  # fmt: skip
    """Explain every row of a data set, on all cores or a cluster.

    A run that was stopped, for whatever reason, continues where it stopped when you give the same command again.
    """
    with errors_in_one_line() as console:
        question = Question(method=method, settings=given.settings_of(settings))
        from interpret.corpus import explain as explain_rows
        from interpret.session.answer import named_method
        from nexttoken import from_pretrained

        loading: dict[str, Any] = {"revision": revision, "dtype": dtype}
        others = {name: value for name, value in loading.items() if value != LOADING[name]}
        named = partial(from_pretrained, model, **others) if others else model
        done = explain_rows(
            source, out, named, named_method(question), check=check,
            precision=precision,  # type: ignore[arg-type]
            memory_budget=given.bytes_of(memory_budget), workers=workers, address=address, device=device,
        )  # fmt: skip
        console.print(f"{done}", highlight=False, markup=False)


@corpus_app.command("report")
def report_corpus(
    *,
    out: given.Out,
    by: given.CountBy = "word", min_rows: given.MinRows = 5, top: given.TopWords = 20, targets: given.Targets = 10,
    save: given.SaveReport = None, json: given.Json = None, printed: given.Format = "table",
) -> None:  # fmt: skip
    """Say which words support a target across all prompts, and how sure that is."""
    with errors_in_one_line() as console:
        _to_print(printed, ("table", "json"))
        paths = paths_of(save, json, "Report")
        from interpret.corpus import report
        from interpret.views.terminal import print_report

        found = report(out, by=by, min_rows=min_rows, top=top, targets=targets)  # type: ignore[arg-type]
        _show(console, found, print_report, printed, paths)


@app.command()
def methods() -> None:
    """List the methods and their settings."""
    with errors_in_one_line():
        from interpret.views.plain import print_text

        print_text(methods_listing())


def _answer(console: Console, question: Question, lm: NextTokenLM) -> Attribution | AttributionMatrix:
    """The answer of a model that is loaded, with a bar while it is found and a sign of life while it is checked."""
    from interpret import Attribution
    from interpret.engine.progress import progress
    from interpret.session.answer import answer, checked, method_of, prompt_of

    prompt, method = prompt_of(lm, question), method_of(lm, question)
    total = question.targets and question.targets * method.cost(len(prompt))
    with progress(total, "gradients", delay=SLOW) as advance:
        result = answer(lm, replace(question, check=False), prompt=prompt, method=method, on_progress=advance)
    if not question.check or not isinstance(result, Attribution):
        return result
    with console.status("checking the scores against the model") if console.is_terminal else nullcontext():
        return checked(lm, question, result, prompt)


def _answer_there(
    console: Console, question: Question, server: str | None, *loading: str | None
) -> Attribution | AttributionMatrix | None:
    """The answer of a page that runs already; None where a model is to be loaded.

    Raises ValueError for a page together with a model, since the page has its own.
    """
    own = next((name for (name, value), said in zip(LOADING.items(), loading, strict=True) if said != value), None)
    if server is not None and own is not None:
        raise ValueError(f"the page at {server} has its own model; leave out --{own}")
    address = server or (os.environ.get(given.SERVER) if own is None else None)
    if not address or several_processes():
        return None
    from interpret.command.remote import NotRunningError, answer_there

    def warn(message: str) -> None:
        console.print(f"warning: {message}", style="yellow", markup=False, highlight=False)

    try:
        return answer_there(address, question, warn)
    except NotRunningError:
        if server is not None:
            raise
        console.print(f"no page answers at {address}; loading the model", highlight=False, markup=False)
        return None


def _show_edits(console: Console, find: Callable[..., Flip | Reduction], paths: Sequence[Path], printed: str) -> None:
    """Find, save and print a flip or a reduction."""
    from interpret.engine.progress import progress
    from interpret.views.terminal import print_counterfactual

    with progress(None, "forward passes", delay=SLOW) as advance:
        found = find(on_progress=advance)
    _show(console, found, print_counterfactual, printed, paths)


def _show(
    console: Console, result: Any, show: Callable[..., None], printed: str, paths: Sequence[Path],
    inches: float | None = None,
) -> None:  # fmt: skip
    """Save a result, print it, and say where it was saved."""
    for path in paths:
        if inches is not None and path.suffix.lower() in FIGURES:
            result.save(path, inches)
        else:
            result.save(path)
    show(result, printed)
    for path in paths:
        console.print(f"saved {path}", highlight=False, markup=False)


def _to_print(printed: str, formats: Sequence[str] = given.FORMATS) -> None:
    """Ready standard output for a format. Raises ValueError for one that does not exist."""
    if printed not in formats:
        raise ValueError(f"there is no format {printed!r}; the formats are {', '.join(formats)}")
    if printed != "table":
        as_data(sys.stdout)


def _read(prompt: str) -> str:
    # From standard input where it is "-"; the line end that closes standard input is not part of it.
    return read_text(sys.stdin).removesuffix("\n") if prompt == "-" else prompt


def _prompt(prompt: str, chat: bool) -> Any:
    return given.chat_of(_read(prompt)) if chat else _read(prompt)


def _load(console: Console, model: str | None, revision: str | None, dtype: str, device: str | None) -> NextTokenLM:
    """The model, with a sign of life while it loads."""
    sign = console.status("loading the model (the bundled one is converted on first use, which takes half a minute)")
    with sign if console.is_terminal else nullcontext():
        from nexttoken import NextTokenLM

        shared: dict[str, Any] = {"tp_plan": "auto"} if several_processes() else {}
        return NextTokenLM.from_pretrained(model, dtype=dtype, device=device, revision=revision, **shared)


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
