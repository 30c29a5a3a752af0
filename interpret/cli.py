"""The command `nexttoken`: what comes next, and why."""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from interpret.attribution import Attribution, AttributionMatrix
    from interpret.methods.method import Method
    from nexttoken import NextTokenLM

SLOW = 1.0  # seconds after which a progress bar appears

app = typer.Typer(
    help="Ask a causal language model what comes next, and why.", no_args_is_help=True, pretty_exceptions_enable=False,
    add_completion=False, rich_markup_mode=None,
)  # fmt: skip
METHODS = {
    "integrated-gradients": "IntegratedGradients",
    "gradient-times-input": "GradientTimesInput",
    "vanilla-gradient": "VanillaGradient",
    "smoothgrad": "SmoothGrad",
    "gim": "GIM",
    "idgi": "IDGI",
    "sequential-ig": "SequentialIG",
    "discretized-ig": "DiscretizedIG",
    "expected-gradients": "ExpectedGradients",
    "smoothgrad-squared": "SmoothGradSquared",
    "vargrad": "VarGrad",
}
FORMATS = ("table", "json", "tsv")
BASELINES = {"line-break": "LineBreak", "mean": "MeanEmbedding", "eos": "Token", "zero": "Zero"}

PromptArgument = Annotated[
    str, typer.Argument(help="The text that the next token follows; - reads it from standard input.")
]
ModelOption = Annotated[
    str | None, typer.Option(help="A Hugging Face id, a folder or a GGUF file; by default the bundled model.")
]
FormatOption = Annotated[
    str, typer.Option("--format", help="What to print: table, json (all numbers) or tsv (a line for each row).")
]


@app.command()
def predict(
    prompt: PromptArgument,
    top: Annotated[int, typer.Option(min=1, help="How many next tokens to show.")] = 5,
    model: ModelOption = None,
    printed: FormatOption = "table",
) -> None:
    """Show the most probable next tokens."""
    with errors_in_one_line() as console:
        check_printed(printed)
        lm = load(model, console)
        from interpret.views.printed import print_predictions

        print_predictions(lm.predict(read(prompt), top), printed)


@app.command()
def explain(
    prompt: PromptArgument,
    target: Annotated[
        str | None, typer.Option(help="The next token to explain; by default the model's first choice.")
    ] = None,
    contrast: Annotated[
        list[str] | None, typer.Option(help="Explain why the target rather than this; may be repeated.")
    ] = None,
    candidates: Annotated[
        int | None, typer.Option(min=1, help="In place of a target: explain so many of the most probable next tokens.")
    ] = None,
    continuation: Annotated[
        str | None, typer.Option(help="In place of a target: explain every token of this text after the prompt.")
    ] = None,
    generate: Annotated[
        int | None, typer.Option(min=1, help="The same, for so many tokens that the model itself would say.")
    ] = None,
    span: Annotated[
        str | None, typer.Option(help="A regular expression: explain by these parts of the prompt; the rest stays.")
    ] = None,
    chat: Annotated[bool, typer.Option("--chat", help="The prompt is a user's message in a chat.")] = False,
    by: Annotated[str | None, typer.Option(help="Add the scores up by word, sentence, line or message.")] = None,
    method: Annotated[str, typer.Option(help=f"One of {', '.join(METHODS)}.")] = "integrated-gradients",
    save: Annotated[
        list[Path] | None, typer.Option(help="Save the heatmap as .png, .pdf, .svg or .html; may be repeated.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Save all numbers as JSON.")] = None,
    printed: FormatOption = "table",
    model: ModelOption = None,
    precision: Annotated[str, typer.Option(help="In which gradients are taken: float32 or bfloat16.")] = "float32",
    memory_budget: Annotated[
        float | None, typer.Option(help="GB to take above the model's weights; by default half of what is free.")
    ] = None,
    tolerance: Annotated[
        float | None, typer.Option(help="The gap of integrated gradients that is good enough.")
    ] = None,
    max_gradients: Annotated[int | None, typer.Option(help="What integrated gradients may cost.")] = None,
    steps: Annotated[int | None, typer.Option(help="A fixed number of points on the path instead.")] = None,
    rule: Annotated[str | None, typer.Option(help="The quadrature rule for --steps.")] = None,
    baseline: Annotated[str | None, typer.Option(help=f"Start of the path: {', '.join(BASELINES)}.")] = None,
    hold: Annotated[str | None, typer.Option(help="Tokens that stay as they are: template, first or none.")] = None,
    norm: Annotated[int | None, typer.Option(help="Norm of the vanilla gradient: 1 or 2.")] = None,
    samples: Annotated[int | None, typer.Option(help="Noisy copies of smoothgrad.")] = None,
    sigma: Annotated[float | None, typer.Option(help="Noise of smoothgrad, relative to the embeddings.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of smoothgrad's noise.")] = None,
) -> None:
    """Show which parts of the prompt speak for the next token."""
    with errors_in_one_line() as console:
        check_printed(printed)
        outputs = [*(save or []), *([json] if json else [])]
        for path in outputs:
            check_output(path)
        if json and json.suffix != ".json":
            raise ValueError(f"--json {str(json)!r}: the ending must be .json; figures go to --save")
        if len(set(outputs)) < len(outputs):
            raise ValueError("the same file is named twice in --save and --json")
        settings = {
            "tolerance": tolerance, "max_gradients": max_gradients, "steps": steps, "rule": rule, "baseline": baseline,
            "hold": hold, "norm": norm,
            "samples": samples, "sigma": sigma, "seed": seed,
        }  # fmt: skip
        chosen = build_method(method, {name: value for name, value in settings.items() if value is not None})
        asked = {"--target": target, "--candidates": candidates, "--continuation": continuation, "--generate": generate}
        given = [name for name, value in asked.items() if value is not None]
        if len(given) > 1:
            raise ValueError(f"{given[0]} and {given[1]} ask for different things; give one of them")
        if by is not None and len(given) == 1 and target is None:
            raise ValueError(f"--by adds up the scores of one target; leave it out beside {given[0]}")
        if contrast and (continuation is not None or generate):
            raise ValueError(f"--contrast is for one next token; leave it out beside {given[0]}")
        lm = load(model, console)

        from interpret import attribute, attribute_continuation
        from interpret.memory import GIGA
        from interpret.views.printed import print_result

        text = read(prompt)
        encoded = lm.prompt([{"role": "user", "content": text}] if chat else text)
        budget = None if memory_budget is None else int(memory_budget * GIGA)
        result: Attribution | AttributionMatrix
        count = candidates or generate or (1 if continuation is None else None)
        with progress(console, count and count * chosen.cost(len(encoded))) as advance:
            how: dict[str, Any] = {
                "span": span, "memory_budget": budget, "precision": precision, "on_progress": advance,
            }  # fmt: skip
            if continuation is not None or generate:
                result = attribute_continuation(lm, encoded, continuation, chosen, max_new_tokens=generate or 1, **how)
            elif candidates:
                result = attribute(lm, encoded, None, chosen, contrast=contrast, candidates=candidates, **how)
            else:
                result = attribute(lm, encoded, target, chosen, contrast=contrast, **how)
                result = result if by is None else result.totals(by)  # type: ignore[arg-type]
        for path in outputs:
            result.save(path)
        print_result(result, printed)
        for path in outputs:
            console.print(f"saved {path}", highlight=False, markup=False)


def check_printed(printed: str) -> None:
    """Raise ValueError unless it is one of the formats."""
    if printed not in FORMATS:
        raise ValueError(f"there is no format {printed!r}; the formats are {', '.join(FORMATS)}")


def build_method(name: str, settings: dict[str, Any]) -> Method:
    """A method by its name on the command line. Raises ValueError for an unknown name or a setting it does not have."""
    import interpret

    if name not in METHODS:
        raise ValueError(f"there is no method {name!r}; the methods are {', '.join(METHODS)}")
    method = getattr(interpret, METHODS[name])
    strange = sorted(set(settings) - {field.name for field in fields(method)})
    if strange:
        raise ValueError(f"--{strange[0].replace('_', '-')} does not apply to {name}")
    if "rule" in settings and "steps" not in settings:
        raise ValueError("--rule is the rule for a fixed number of steps; give --steps as well")
    for one in ("tolerance", "max_gradients"):
        if one in settings and "steps" in settings:
            raise ValueError(
                f"--steps fixes the number of gradients, so --{one.replace('_', '-')} means nothing beside it"
            )
    if "baseline" in settings:
        if settings["baseline"] not in BASELINES:
            raise ValueError(f"there is no baseline {settings['baseline']!r}; the baselines are {', '.join(BASELINES)}")
        settings["baseline"] = getattr(interpret, BASELINES[settings["baseline"]])()
    if settings.get("hold") == "none":
        settings["hold"] = None
    built: Method = method(**settings)
    return built


def check_output(path: Path) -> None:
    """Raise OSError or ValueError, before anything is computed, unless a result can be saved there."""
    from interpret.results.files import check_writable

    endings = (".json", ".html", ".png", ".pdf", ".svg")
    if path.suffix not in endings:
        raise ValueError(f"cannot save to {str(path)!r}: the ending must be one of {', '.join(endings)}")
    check_writable(path)


def read(prompt: str) -> str:
    """The prompt, from standard input where it is `-`; the line end that closes standard input is not part of it."""
    return sys.stdin.read().removesuffix("\n") if prompt == "-" else prompt


def load(model: str | None, console: Console) -> NextTokenLM:
    """The model, with a sign of life while it loads."""
    sign = console.status("loading the model (the bundled one is converted on first use, which takes half a minute)")
    with sign if console.is_terminal else nullcontext():
        from nexttoken import NextTokenLM

        return NextTokenLM.from_pretrained(model)


@contextmanager
def progress(console: Console, total: int | None) -> Iterator[Any]:
    """A progress bar for `total` gradients (None: unknown), which appears when the work takes over a second."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("gradients"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar, begun = Progress(*columns, console=console, transient=True), time.monotonic()
    task = bar.add_task("gradients", total=total)

    def advance(count: int) -> None:
        bar.advance(task, count)
        if time.monotonic() - begun > SLOW:
            bar.start()

    try:
        yield advance
    finally:
        if bar.live.is_started:
            bar.stop()


@contextmanager
def errors_in_one_line() -> Iterator[Console]:
    """Errors and warnings in one line each on standard error, and exit status 1 after an error."""
    from rich.console import Console

    console = Console(stderr=True, soft_wrap=True)

    def say(kind: str, message: object) -> None:
        console.print(
            f"{kind}: {' '.join(str(message).split())}",
            style="red" if kind == "error" else "yellow",
            markup=False,
            highlight=False,
        )

    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: say("warning", message)  # type: ignore[assignment]
        try:
            yield console
        except (ValueError, OSError, ArithmeticError, ImportError, MemoryError) as error:
            say("error", error)
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            say("error", "interrupted; nothing was written")
            raise typer.Exit(130) from None


def main() -> None:
    """Run the command, with threads that sleep while they wait, so that other busy processes do not slow it down.

    OpenMP reads the policy when torch is loaded; what the user has set is left as it is.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    app(prog_name="nexttoken")


if __name__ == "__main__":
    main()
