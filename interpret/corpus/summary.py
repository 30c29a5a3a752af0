"""What the rows of a corpus say together, read one after the other: memory does not grow with them."""

from __future__ import annotations

import heapq
import math
import statistics
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from interpret.corpus.table import attribution_of, optional, output_files, parquet_rows
from interpret.engine.progress import progress as progress_bar
from interpret.results.attribution import Attribution
from interpret.results.reduction import offsets
from interpret.results.report import Example, FailedCheck, TargetWords, WordEffect
from interpret.results.report import Report as Report  # a public name of interpret.corpus

By = Literal["word", "piece"]
MAX_WORDS = 200_000  # of all targets and roles that are counted at once; the rarest go when there are more
MAX_ERRORS, MAX_FAILED = 1000, 20
MAX_EXAMPLES, CONTEXT = 3, 60  # of a word, and characters on either side of it
GAPS = (0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)  # the upper edges of shares
FACTS = {"method": "method_name", "model": "model", "unit": "unit"}  # of a report, with attributes of its rows

Subject = tuple[str, tuple[str, ...]]  # a target, with its foils
Key = tuple[Subject, str | None, str]  # of it, a role, and a word


@dataclass
class Effect:
    """The mean of a word's scores as they come, their spread, and the strongest of them."""

    rows: int = 0
    mean: float = 0.0
    squares: float = 0.0
    strongest: list[tuple[float, int, Example]] = field(default_factory=list)

    def add(self, score: float, number: int, example: Example) -> None:
        """Take one more score (Welford's recurrence)."""
        self.rows += 1
        off = score - self.mean
        self.mean += off / self.rows
        self.squares += off * (score - self.mean)
        heapq.heappush(self.strongest, (abs(score), -number, example))
        if len(self.strongest) > MAX_EXAMPLES:
            heapq.heappop(self.strongest)

    @property
    def standard_error(self) -> float:
        return math.sqrt(self.squares / (self.rows - 1) / self.rows) if self.rows > 1 else math.inf

    @property
    def lower_bound(self) -> float:
        return abs(self.mean) - 2 * self.standard_error

    @property
    def examples(self) -> tuple[Example, ...]:
        return tuple(example for _, _, example in sorted(self.strongest, key=lambda each: each[:2], reverse=True))


def report(
    folder: str | Path,
    *,
    by: By = "word",
    min_rows: int = 5,
    top: int = 20,
    targets: int = 10,
    progress: bool = True,
) -> Report:
    """What the rows of an output say together: which words support a target over all prompts, and how surely.

    A word's score in a prompt is what its occurrences there add up to; its effect is the mean over the prompts that it
    comes in. Whether that differs from 0 is tested (Student's t), and corrected for looking at many words (Benjamini
    and Hochberg 1995). Prompts that share their words, such as those of a template, are no independent samples of
    language: q says that another draw of such prompts would show the effect, no more.

    The rows are read one after the other, so that memory grows with the words and not with the rows. Where there are
    more than 200,000 words of all targets and roles, the rarest are forgotten.

    Args:
        folder: that `explain` or `write_columns` wrote.
        by: what is counted: words, or the pieces that the tokenizer makes; unsigned scores, which do not add up, are
            counted by piece.
        min_rows: in how many prompts a word must come, at least 2.
        top: words that are kept of each target.
        targets: that are shown, those of most prompts.
        progress: show a progress bar in a terminal or a notebook.

    Raises:
        ValueError: a folder without an output, another `by`, or numbers that make no sense.
        ImportError: scipy is missing.
    """
    if by not in get_args(By):
        raise ValueError(f"by is {by!r}; give word or piece")
    if min_rows < 2 or top < 1 or targets < 1:
        raise ValueError(f"min_rows is at least 2, top and targets at least 1; given {min_rows}, {top} and {targets}")
    files = output_files(folder)
    counts = _Counts(by)
    with progress_bar(sum(files.values()), "rows", shown=progress, delay=1.0) as advance:
        for row in chain.from_iterable(map(parquet_rows, files)):
            counts.add(row)
            advance(1)
    return counts.report(str(folder), min_rows, top, targets)


class _Counts:
    def __init__(self, by: By):
        self.by = by
        self.rows = self.forgotten = 0
        self.costs: dict[str, Any] = {"gradients": 0, "forwards": 0, "seconds": 0.0}
        self.errors, self.verdicts = Counter[str](), Counter[str]()
        self.gaps = [0] * (len(GAPS) + 1)
        self.subjects, self.effects = Counter[Subject](), dict[Key, Effect]()
        self.failed_checks: list[FailedCheck] = []
        self.facts: dict[str, set[str]] = {name: set() for name in FACTS}

    def add(self, row: dict[str, Any]) -> None:
        self.rows += 1
        if row["error"] is not None:
            known = row["error"] in self.errors or len(self.errors) < MAX_ERRORS
            self.errors[row["error"] if known else "other errors"] += 1
            return
        for name in self.costs:
            self.costs[name] += row[name] or 0
        if row["gap"] is not None:
            self.gaps[bisect_left(GAPS, row["gap"])] += 1
        if row["verdict"] is not None:
            self.verdicts[row["verdict"]] += 1
            if row["verdict"] == "fails" and len(self.failed_checks) < MAX_FAILED:
                self.failed_checks.append(FailedCheck(row["id"], row["check"]))
        attribution = attribution_of(row)
        for name, attribute in FACTS.items():
            self.facts[name].add(getattr(attribution, attribute))
        subject = (attribution.quantity if row["target"] is None else row["target"], tuple(row["foils"] or ()))
        self.subjects[subject] += 1
        self._add_words(row["id"], subject, attribution)
        if len(self.effects) > MAX_WORDS:
            self._forget()

    def _add_words(self, row_id: str, subject: Subject, attribution: Attribution) -> None:
        prompt = attribution.prompt
        if self.by == "word" and attribution.signed:
            attribution = attribution.totals("word")
        found: dict[tuple[str | None, str], list[tuple[float, int, int]]] = {}  # scores, and where the words stand
        for piece, start, role in zip(attribution.pieces, offsets(attribution.tokens), attribution.roles, strict=True):
            if piece.text and not piece.fixed and not piece.template:
                word = piece.text.strip().lower() or piece.text
                for each in dict.fromkeys((None, role)):
                    found.setdefault((each, word), []).append((piece.score, start, start + len(piece.text)))
        for (role, word), occurrences in found.items():
            score = math.fsum(each for each, _, _ in occurrences)
            _, start, end = max(occurrences, key=lambda each: abs(each[0]))
            before, after = prompt[max(0, start - CONTEXT) : start], prompt[end : end + CONTEXT]
            example = Example(row_id, score, before, prompt[start:end], after)
            self.effects.setdefault((subject, role, word), Effect()).add(score, self.rows, example)

    def _forget(self) -> None:
        """Let go of the rarest words, at least half of them."""
        most = statistics.median_high(effect.rows for effect in self.effects.values())
        kept = {key: effect for key, effect in self.effects.items() if effect.rows > most}
        self.forgotten += len(self.effects) - len(kept)
        self.effects = kept

    def report(self, source: str, min_rows: int, top: int, targets: int) -> Report:
        tested = {key: effect for key, effect in self.effects.items() if effect.rows >= min_rows}
        rates = dict(zip(tested, _false_discovery_rates(list(tested.values())), strict=True))
        words: dict[tuple[Subject, bool], list[Key]] = {}
        for key in sorted(tested, key=lambda key: tested[key].lower_bound, reverse=True):
            words.setdefault((key[0], key[1] is not None), []).append(key)

        def strongest(subject: Subject, by_role: bool) -> tuple[WordEffect, ...]:
            found = [(key, tested[key]) for key in words.get((subject, by_role), [])[:top]]
            return tuple(
                WordEffect(key[2], key[1], each.rows, each.mean, each.standard_error, rates[key], each.examples)
                for key, each in found
            )

        shown = self.subjects.most_common(targets)
        facts = {name: " and ".join(sorted(filter(None, values))) for name, values in self.facts.items()}
        return Report(
            source=source, rows=self.rows, errors=dict(self.errors.most_common()),
            targets=tuple(
                TargetWords(*subject, count, strongest(subject, False), strongest(subject, True))
                for subject, count in shown
            ),
            others=self.subjects.total() - sum(count for _, count in shown), looked_at=len(tested),
            left_out=len(self.effects) - len(tested) + self.forgotten, verdicts=dict(sorted(self.verdicts.items())),
            failed_checks=tuple(self.failed_checks),
            gaps=tuple(zip((*GAPS, None), self.gaps, strict=True)) if any(self.gaps) else (),
            facts_of={**facts, **self.costs, "min_rows": min_rows},
        )  # fmt: skip


def _false_discovery_rates(effects: Sequence[Effect]) -> Sequence[float]:
    """The false discovery rate at which each mean differs from 0."""
    stats = optional("scipy.stats")
    means, errors, rows = np.array([(each.mean, each.standard_error, each.rows) for each in effects]).reshape(-1, 3).T
    with np.errstate(divide="ignore", invalid="ignore"):
        sigmas = np.nan_to_num(np.abs(means) / errors, posinf=np.inf)  # of a mean of 0 without spread: 0
    rates: list[float] = stats.false_discovery_control(2 * stats.t.sf(sigmas, rows - 1)).tolist()
    return rates
