"""The tables and the figure of docs/evidence.md, from what has been measured."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, median

from benchmarks.evidence.contenders import CONTENDERS, DEFAULT, EXACT, LIBRARIES, OURS, TRIED
from benchmarks.evidence.examples import EXAMPLES_A_KIND, KINDS
from benchmarks.evidence.kept import RESULTS, Lines, read

PAGE = Path(__file__).parents[2] / "docs" / "evidence.md"
FIGURE = PAGE.parent / "images" / "evidence.png"
MARKS = ("<!-- tables: begin -->", "<!-- tables: end -->")
RESAMPLES, INTERVAL, SEED = 1000, 0.95, 0
NOTHING = "–"
BY_KIND = ("gradient x input", "integrated gradients, from a line break", "GIM", DEFAULT, EXACT)
DRAWN = (
    "random order", "gradient x input", "captum's integrated gradients", "inseq's gradient", "gradient norm",
    "integrated gradients, from a line break", "GIM", DEFAULT, EXACT,
)  # fmt: skip


def lines_of(part: str) -> Lines:
    """What has been measured of a part; refusals are left out."""
    return [line for line in read(part) if "refused" not in line]


def select(lines: Lines, method: str) -> dict[str, Lines]:
    """The lines of one method, by kind; only those of kinds that it has."""
    found: dict[str, Lines] = {}
    for line in lines:
        if line["method"] == method:
            found.setdefault(line["kind"], []).append(line)
    return found


def mean_over_kinds(groups: Sequence[Lines], what: str) -> float:
    """The mean over kinds of the mean in each."""
    return fmean(fmean(line[what] for line in group) for group in groups)


def interval(groups: Sequence[Lines], what: str) -> tuple[float, float]:
    """Of the mean over kinds, by bootstrap over the examples of each kind."""
    chance = random.Random(SEED)
    means = sorted(
        mean_over_kinds([chance.choices(group, k=len(group)) for group in groups], what) for _ in range(RESAMPLES)
    )
    low = int(RESAMPLES * (1 - INTERVAL) / 2)
    return means[low], means[-1 - low]


def with_interval(groups: Sequence[Lines], what: str) -> str:
    """A mean with its interval; alone where no kind has more than one example."""
    if max(map(len, groups)) == 1:
        return f"{mean_over_kinds(groups, what):.2f}"
    low, high = interval(groups, what)
    return f"{mean_over_kinds(groups, what):.2f} ({low:.2f} to {high:.2f})"


def evidence_table(names: Sequence[str]) -> list[tuple[str, ...]]:
    """A row for each method: reciprocal rank and top 3, with foils and without, and cost."""
    contrastive, plain = lines_of("contrastive"), lines_of("plain")
    rows = []
    for name in names:
        with_foils, without = (select(lines, name) for lines in (contrastive, plain))
        cells = [name]
        for groups in (with_foils, without):
            if len(groups) < len(KINDS):
                cells += [NOTHING, NOTHING]
                continue
            worst = min(groups, key=lambda kind: fmean(line["reciprocal"] for line in groups[kind]))
            lowest = fmean(line["reciprocal"] for line in groups[worst])
            cells += [with_interval(list(groups.values()), "reciprocal"), f"{lowest:.2f}, {worst}"]
        measured = [line for groups in (with_foils or without,) for group in groups.values() for line in group]
        if not measured:
            continue
        cells += [
            f"{mean_over_kinds(list((with_foils or without).values()), 'top3'):.2f}",
            " + ".join(f"{median(line[what] for line in measured):.0f}" for what in ("gradients", "forwards")),
            str(len(measured)),
        ]
        rows.append(tuple(cells))
    return rows


def ordinary_table(names: Sequence[str]) -> list[tuple[str, ...]]:
    """A row for each method: how well its scores predict replacements on ordinary prompts."""
    lines = lines_of("ordinary")
    rows = []
    for name in names:
        groups = list(select(lines, name).values())
        if groups:
            number = sum(map(len, groups))
            rows.append(
                (name, with_interval(groups, "lds"), with_interval(groups, "area"), _share(lines, name), str(number))
            )
    return rows


def _share(lines: Lines, name: str) -> str:
    """A method's area as a share of that of exact replacement, on the prompts that both have run on."""
    exact = {(line["kind"], line["number"]): line["area"] for line in lines if line["method"] == EXACT}
    own = {(line["kind"], line["number"]): line["area"] for line in lines if line["method"] == name}
    both = exact.keys() & own.keys()
    return f"{100 * sum(own[key] for key in both) / sum(exact[key] for key in both):.0f} %" if both else NOTHING


def kind_table() -> list[tuple[str, ...]]:
    """A row for each kind: how many examples count, and the reciprocal rank of some methods, with foils."""
    lines = lines_of("contrastive")
    path = RESULTS / "evidence_counts.json"
    counts = json.loads(path.read_text()) if path.exists() else {}
    found = {name: select(lines, name) for name in BY_KIND}
    rows = []
    for kind in KINDS:
        ranks = [
            f"{fmean(line['reciprocal'] for line in groups[kind]):.2f}" if kind in groups else NOTHING
            for groups in found.values()
        ]
        rows.append((kind, f"{len(counts.get(kind, ()))} of {EXAMPLES_A_KIND}", *ranks))
    return rows


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def tables() -> str:
    """All of them, in Markdown."""
    head = (
        "method", "rank, contrastive", "worst kind", "rank, plain", "worst kind", "top 3", "gradients + forwards",
        "examples",
    )  # fmt: skip
    ordinary = ("method", "LDS", "area, nats", "of exact replacement", "prompts")
    parts = {
        "Known evidence": markdown(head, evidence_table(list(OURS))),
        "The same by what other libraries compute": markdown(head, evidence_table(list(LIBRARIES))),
        "The same by what was tried": markdown(head, evidence_table(list(TRIED))),
        "By kind, contrastive": markdown(("evidence", "examples that count", *BY_KIND), kind_table()),
        "Ordinary prompts": markdown(ordinary, ordinary_table(list(CONTENDERS))),
    }
    return "\n\n".join(f"**{title}**\n\n{table}" for title, table in parts.items())


def draw() -> None:
    """The figure: the mean reciprocal rank of the evidence by method, with intervals."""
    from matplotlib.figure import Figure

    lines = lines_of("contrastive")
    found = {name: list(select(lines, name).values()) for name in DRAWN}
    found = {name: groups for name, groups in found.items() if len(groups) == len(KINDS)}
    means = [mean_over_kinds(groups, "reciprocal") for groups in found.values()]
    ends = [interval(groups, "reciprocal") for groups in found.values()]
    canvas = Figure(figsize=(6.5, 3.1), layout="constrained")
    axes = canvas.add_subplot()
    axes.spines[["top", "right", "left"]].set_visible(False)
    colours = ["#b35806" if name == DEFAULT else "#8c8c8c" for name in found]
    axes.barh(list(found), means, color=colours, height=0.65)
    errors = [[mean - low for mean, (low, _) in zip(means, ends, strict=True)],
              [high - mean for mean, (_, high) in zip(means, ends, strict=True)]]  # fmt: skip
    axes.errorbar(means, list(found), xerr=errors, fmt="none", ecolor="black", elinewidth=0.8, capsize=2)
    for place, (mean, (_, high)) in enumerate(zip(means, ends, strict=True)):
        axes.text(high + 0.012, place, f"{mean:.2f}", va="center", fontsize=8)
    axes.tick_params(axis="y", length=0, labelsize=8)
    axes.tick_params(axis="x", labelsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.08)
    axes.set_xlabel("mean reciprocal rank of the evidence, 1 where it always comes first", fontsize=8)
    axes.set_title("Which maps put the known evidence first?", loc="left", fontsize=10, fontweight="bold")
    canvas.savefig(FIGURE, dpi=150)


def write() -> None:
    """Write the tables between the marks of the page, and the figure."""
    before, _, rest = PAGE.read_text().partition(MARKS[0])
    PAGE.write_text(f"{before}{MARKS[0]}\n\n{tables()}\n\n{MARKS[1]}{rest.partition(MARKS[1])[2]}")
    draw()
