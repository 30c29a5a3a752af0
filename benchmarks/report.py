"""What the measurements say: rows with targets, kept as JSON lines, and written as a Markdown table and figures."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("nexttoken-interpret", "torch", "transformers", "captum", "inseq", "interpreto")
COLUMNS = ("what", "ours", "peer", "figure", "target", "reached", "note")
NOTHING = "–"
SIZES = {"s": 1, "GFLOP/s": 1e9, "MB": 1e6, "": 1}  # what a unit's numbers are divided by


@dataclass(frozen=True)
class Target:
    """A bound on a figure, from below or from above."""

    bound: float
    most: bool

    def met(self, figure: float) -> bool:
        """Whether a figure keeps to it; a figure that is not a number does not."""
        return figure <= self.bound if self.most else figure >= self.bound

    def __str__(self) -> str:
        return f"{'at most' if self.most else 'at least'} {number(self.bound)}"


def at_most(bound: float) -> Target:
    return Target(bound, most=True)


def at_least(bound: float) -> Target:
    return Target(bound, most=False)


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        what: what was measured.
        ours: our number, in seconds, bytes or floating-point operations a second; None where there is none.
        peer: the number it is compared with.
        unit: of the two, as it is printed.
        figure: the number that the target is about.
        meaning: what the figure is, such as "ours / peer".
        target: what it should be; None for a row that only informs.
        note: what a reader has to know, such as what is not alike.
        equal: False where scores that mean the same are not the same: then no time counts.
    """

    what: str
    ours: float | None = None
    peer: float | None = None
    unit: str = ""
    figure: float | None = None
    meaning: str = ""
    target: Target | None = None
    note: str = ""
    equal: bool = True

    @property
    def reached(self) -> bool | None:
        """Whether the target is reached, by equal work and with a figure; None where there is no target."""
        if self.target is None:
            return None
        return self.equal and self.figure is not None and self.target.met(self.figure)

    @property
    def cells(self) -> tuple[str, ...]:
        """The row in words: see COLUMNS."""
        figure = NOTHING if self.figure is None else f"{number(self.figure)} {self.meaning}".strip()
        reached = {None: NOTHING, True: "yes", False: "**no**"}[self.reached]
        ours, peer = amount(self.ours, self.unit), amount(self.peer, self.unit)
        cells = (self.what, ours, peer, figure, str(self.target or NOTHING), reached, self.note)
        return tuple(cell.replace("|", "\\|") for cell in cells)


def number(value: float) -> str:
    """Three digits, without an exponent for what a table usually holds."""
    return f"{value:.0f}" if 100 <= abs(value) < 1e6 else f"{value:.3g}"


def amount(value: float | None, unit: str) -> str:
    """A number with its unit."""
    return NOTHING if value is None else f"{number(value / SIZES[unit])} {unit}".strip()


def share(
    what: str, ours: float, peer: float, unit: str, target: Target | None = None, note: str = "", equal: bool = True
) -> Row:
    """A row about what part of the other's number ours is."""
    return Row(what, ours, peer, unit, ours / peer, "ours / peer", target, note, equal)


def times(
    what: str, ours: float, peer: float, unit: str, target: Target | None = None, note: str = "", equal: bool = True
) -> Row:
    """A row about how many times ours the other's number is."""
    return Row(what, ours, peer, unit, peer / ours, "peer / ours", target, note, equal)


@dataclass(frozen=True)
class Line:
    """One run of one measurement, as it is kept.

    Attributes:
        name: of the measurement.
        rows: of the table.
        numbers: what the figures are drawn from, and all single timings.
        settings: threads, rounds, and whether it was a quick run, whose numbers mean nothing.
        date: when it ended, in UTC.
        versions: of the packages that were compared.
    """

    name: str
    rows: tuple[Row, ...]
    numbers: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    date: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    versions: dict[str, str] = field(default_factory=lambda: versions())

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Line:
        plain = json.loads(text)
        rows = tuple(Row(**{**row, "target": row["target"] and Target(**row["target"])}) for row in plain["rows"])
        return cls(**{**plain, "rows": rows})


def versions() -> dict[str, str]:
    """The version of each package that is installed."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def latest(lines: Iterable[Line], names: Sequence[str]) -> list[Line]:
    """The last run of each measurement, in the order of the names."""
    by_name = {line.name: line for line in lines}
    return [by_name[name] for name in names if name in by_name]


def table(lines: Sequence[Line]) -> str:
    """The rows of all measurements as a Markdown page."""
    rows = [row for line in lines for row in line.rows]
    missed = [row.what for row in rows if row.reached is False]
    targets = sum(row.target is not None for row in rows)
    page = [
        "# Speed and memory, beside captum, inseq and interpreto",
        "",
        "Written by `make bench`; do not edit. Seconds are medians, taken in turns in one process.",
        f"{targets - len(missed)} of {targets} targets are reached.",
        "",
        *(f"| {' | '.join(cells)} |" for cells in (COLUMNS, ("---",) * len(COLUMNS), *(row.cells for row in rows))),
        "",
        *(f"![{figure.title}]({figure.file})\n" for figure in FIGURES if any(f.name == figure.source for f in lines)),
    ]
    return "\n".join([*page, *made_with(lines)]) + "\n"


def made_with(lines: Sequence[Line]) -> list[str]:
    """When, with which settings and which versions each measurement was made, those made alike together."""
    groups: dict[str, list[str]] = {}
    for line in lines:
        settings = ", ".join(f"{name} {value}" for name, value in line.settings.items())
        packages = ", ".join(f"{name} {value}" for name, value in line.versions.items())
        groups.setdefault(f"{line.date[:10]}, {settings}; {packages}", []).append(line.name)
    return [f"- {', '.join(names)}: {made}" for made, names in groups.items()]


@dataclass(frozen=True)
class Figure:
    """A figure and the measurement whose numbers it shows."""

    source: str
    file: str
    title: str

    def draw(self, numbers: dict[str, Any], folder: Path) -> None:
        """Draw it: lines over lengths, or bars where each contender has one number."""
        from matplotlib.figure import Figure as Canvas

        canvas = Canvas(figsize=(6.5, 3.2), layout="constrained")
        axes = canvas.add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        if self.source == "memory":
            values = [value / SIZES["MB"] for value in numbers["bytes"].values()]
            axes.bar_label(axes.barh(list(numbers["bytes"]), values), fmt="%.0f", padding=3)
            axes.set_xlabel("peak memory above the weights, MB")
        else:
            for who, seconds in numbers["seconds"].items():
                axes.plot([int(length) for length in seconds], list(seconds.values()), marker="o", label=who)
            axes.set(xscale="log", yscale="log", xlabel="tokens in the prompt", ylabel="seconds a gradient")
            lengths = [int(length) for length in next(iter(numbers["seconds"].values()))]
            axes.set_xticks(lengths, [str(length) for length in lengths], minor=False)
            axes.set_xticks([], minor=True)
            axes.legend(frameon=False)
        axes.set_title(self.title, loc="left", fontsize=10)
        canvas.savefig(folder / self.file, dpi=120)


FIGURES = (
    Figure("point", "seconds.png", "One gradient in integrated gradients, float32, 2 threads"),
    Figure("memory", "memory.png", "Integrated gradients on 512 tokens"),
)


def write(lines: Sequence[Line], folder: Path) -> None:
    """Write the page and its figures."""
    folder.joinpath("speed.md").write_text(table(lines), encoding="utf-8")
    for figure in FIGURES:
        for line in lines:
            if line.name == figure.source and line.numbers:
                figure.draw(line.numbers, folder)
