"""How many gradients a certified gap costs, by baseline and rule; `make tables` runs what is missing.

Results are kept in benchmarks/results/certificates.jsonl, one line per run, so that an interrupted run goes on where
it stopped; delete the file to begin anew. Kinds of prompts as arguments run only those. The tables go into
docs/certificates.md, between its two marks.
"""

import json
import statistics
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.prompts import PROMPTS
from interpret import (
    IntegratedGradients,
    LineBreak,
    MeanEmbedding,
    PlausibleAlternatives,
    Token,
    Zero,
    attribute,
)
from nexttoken import NextTokenLM

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results" / "certificates.jsonl"
PAGE = FOLDER.parent / "docs" / "certificates.md"
MARKS = ("<!-- tables: begin -->", "<!-- tables: end -->")
CAPTUM = {"baseline": Token(0), "fixed": None, "rule": "gauss-legendre"}
DEFAULT, BEFORE = "plausible alternatives, template fixed", "line break, template fixed"
REFERENCE = 0.001
MOST = 256  # gradients, the default; where F hardly changes, the goal is 0.01 nats instead of a share
TOLERANCES = (0.05, 0.01)

# name: settings, how many prompts of each kind (the first ones of the list)
ADAPTIVE: dict[str, tuple[dict[str, Any], int]] = {
    DEFAULT: ({"baseline": PlausibleAlternatives(), "fixed": "template"}, 12),
    BEFORE: ({"baseline": LineBreak(), "fixed": "template"}, 12),
    "line break, first fixed": ({"baseline": LineBreak(), "fixed": "first"}, 2),
    "line break, none fixed": ({"baseline": LineBreak(), "fixed": None}, 2),
    "mean embedding, template fixed": ({"baseline": MeanEmbedding(), "fixed": "template"}, 2),
    "end of text, template fixed": ({"baseline": Token(), "fixed": "template"}, 2),
    "zero, template fixed": ({"baseline": Zero(), "fixed": "template"}, 2),
}
FIXED = (50, 200, 1000)
FIXED_PROMPTS, REFERENCE_PROMPTS = 1, 3


def jobs() -> Iterator[tuple[str, str, int, IntegratedGradients]]:
    """Every run: what it is, the prompt's kind and number, and the method."""
    for kind in PROMPTS:
        for number in range(12):
            for name, (settings, count) in ADAPTIVE.items():
                for tolerance in TOLERANCES if number < count else ():
                    yield f"{name}, {tolerance:.0%}", kind, number, IntegratedGradients(tolerance, **settings)
            for steps in FIXED if number < FIXED_PROMPTS and kind != "chat" else ():
                yield f"captum's, {steps} steps", kind, number, IntegratedGradients(steps=steps, **CAPTUM)
                method = IntegratedGradients(1e-9, max_gradients=steps, baseline=LineBreak())
                yield f"equal gradients, {steps}", kind, number, method
            if number < REFERENCE_PROMPTS:
                yield "reference", kind, number, IntegratedGradients(REFERENCE, 1024, LineBreak())


def run(lm: NextTokenLM, what: str, kind: str, number: int, method: IntegratedGradients) -> dict[str, Any]:
    """One run as a line of the results."""
    line: dict[str, Any] = {"what": what, "kind": kind, "number": number}
    try:
        result = attribute(lm, PROMPTS[kind][number], None, method)
    except FloatingPointError:
        return {**line, "refused": True}
    c = result.completeness
    assert c is not None
    line |= {"gradients": result.gradients_spent, "gap": c.relative(c.gap), "certified": c.relative(c.largest_gap)}
    if what == "reference" or (what == f"{BEFORE}, 1%" and number < REFERENCE_PROMPTS):
        line |= {"scores": result.scores.tolist(), "error": result.error.tolist() if result.error is not None else None}
    return line


def hopeless(done: list[dict[str, Any]], what: str, kind: str, number: int) -> dict[str, Any] | None:
    """The line of a 1 % run whose 5 % run used all its gradients in vain: the same. None if there is no such run."""
    before = [each for each in select(done, what.replace(", 1%", ", 5%"), kind) if each["number"] == number]
    vain = what.endswith(", 1%") and before and ("refused" in before[0] or before[0]["certified"] > 0.05)
    return {**before[0], "what": what} if vain else None


def main() -> None:
    """Run what is missing, then write the tables."""
    RESULTS.parent.mkdir(exist_ok=True)
    done = [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []
    known = {(line["what"], line["kind"], line["number"]) for line in done}
    missing = [job for job in jobs() if job[:3] not in known and job[1] in (sys.argv[1:] or PROMPTS)]
    if missing:
        lm = NextTokenLM.from_pretrained()
        warnings.simplefilter("ignore")
        with RESULTS.open("a") as file:
            for at, job in enumerate(missing, 1):
                print(f"{at} of {len(missing)}: {job[0]}, {job[1]} {job[2]}", flush=True)
                done.append(hopeless(done, job[0], *job[1:3]) or run(lm, *job))
                file.write(json.dumps(done[-1]) + "\n")
                file.flush()
    known = {(line["what"], line["kind"], line["number"]) for line in done}
    waiting = sum(job[:3] not in known for job in jobs())
    if waiting:
        print(f"{waiting} runs of other kinds of prompts are missing; the tables wait for them")
        return
    kinds = [by_kind(done, DEFAULT, "with the defaults"), by_kind(done, BEFORE, "from a line break")]
    tables = "\n\n".join([*kinds, by_baseline(done), beside_captum(done), per_token(done)])
    before, _, rest = PAGE.read_text().partition(MARKS[0])
    PAGE.write_text(f"{before}{MARKS[0]}\n\n{tables}\n\n{MARKS[1]}{rest.partition(MARKS[1])[2]}")
    print(tables)


def select(done: list[dict[str, Any]], what: str, kind: str | None = None, count: int = 12) -> list[dict[str, Any]]:
    """The lines of one kind of run, on the first prompts of each kind."""
    return [
        line
        for line in done
        if line["what"] == what and (kind is None or line["kind"] == kind) and line["number"] < count
    ]


def gradients_to(lines: list[dict[str, Any]], tolerance: float) -> str:
    """Median and largest number of gradients, and on how many prompts the tolerance was not reached."""
    if any("refused" in line for line in lines):
        return f"refused on {sum('refused' in line for line in lines)} of {len(lines)}"
    spent = [line["gradients"] for line in lines]
    missed = sum(line["certified"] > tolerance and line["gradients"] >= MOST - 1 for line in lines)
    return f"{statistics.median(spent):.0f} / {max(spent)}" + (f" ({missed} not reached)" if missed else "")


def markdown(title: str, head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A table with a title."""
    lines = [f"**{title}**", "", f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def by_kind(done: list[dict[str, Any]], name: str, start: str) -> str:
    """A baseline on all 60 prompts."""
    rows = []
    for kind in [*PROMPTS, None]:
        groups = [select(done, f"{name}, {tolerance:.0%}", kind) for tolerance in TOLERANCES]
        counts = [gradients_to(lines, tolerance) for lines, tolerance in zip(groups, TOLERANCES, strict=True)]
        rows.append((kind or "**all**", str(len(groups[0])), *counts))
    title = f"Gradients to a certified gap {start}, median / worst of at most 256"
    return markdown(title, ("prompts", "number", "to 5 %", "to 1 %"), rows)


def by_baseline(done: list[dict[str, Any]]) -> str:
    """Baselines and what is fixed, on the same ten prompts."""
    rows: list[tuple[str, ...]] = []
    for name in ADAPTIVE:
        counts = [gradients_to(select(done, f"{name}, {t:.0%}", count=2), t) for t in TOLERANCES]
        rows.append((name, *counts))
    return markdown(
        "Baselines and fixed tokens, on the first two prompts of each kind", ("start", "to 5 %", "to 1 %"), rows
    )


def spread(lines: list[dict[str, Any]], key: str) -> str:
    """Median and largest of a share, in percent."""
    shares = [line[key] for line in lines]
    return f"{statistics.median(shares):.2%} / {max(shares):.2%}"


def beside_captum(done: list[dict[str, Any]]) -> str:
    """The gap that is left at equal gradients."""
    rows = []
    for steps in FIXED:
        fixed, ours = select(done, f"captum's, {steps} steps"), select(done, f"equal gradients, {steps}")
        rows.append((str(steps), spread(fixed, "gap"), spread(ours, "gap"), spread(ours, "certified")))
    title = "What is missed at equal gradients, median / worst, on the first prompt of each kind but chat"
    head = ("gradients", "captum's defaults: gap", "from a line break: gap", "certified gap")
    return markdown(title, head, rows)


def per_token(done: list[dict[str, Any]]) -> str:
    """The error of single scores at 1 %, against a reference certified to 0.1 %."""
    worst: list[float] = []
    inside, tokens, unreached = 0, 0, 0
    for reference in select(done, "reference"):
        (line,) = [
            each for each in select(done, f"{BEFORE}, 1%", reference["kind"]) if each["number"] == reference["number"]
        ]
        if reference["certified"] > REFERENCE or line["certified"] > 0.01:
            unreached += 1
            continue
        truth, scores, error = (torch.tensor(values) for values in (reference["scores"], line["scores"], line["error"]))
        off = (scores - truth).abs()
        worst.append(float(off.max() / truth.abs().max()))
        inside += int((off <= error).sum())
        tokens += len(off)
    rows = [
        ("prompts compared (left out: not certified)", f"{len(worst)} ({unreached})"),
        ("largest error over the largest score, median / worst", f"{statistics.median(worst):.2%} / {max(worst):.2%}"),
        ("prompts with at most 2 %", str(sum(share <= 0.02 for share in worst))),
        ("tokens whose error the estimate covers", f"{inside / tokens:.1%} of {tokens}"),
    ]
    title = "Single scores at tolerance 1 %, against a reference certified to 0.1 %, from a line break"
    return markdown(title, ("what", "result"), rows)


if __name__ == "__main__":
    main()
