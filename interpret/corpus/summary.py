"""What the rows of a corpus say together, read one after the other: memory does not grow with them."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from interpret.corpus.files import output_rows, parquet_files, rows_of_file
from interpret.corpus.schema import attribution_of
from interpret.engine.progress import progress as progress_bar
from interpret.results.attribution import Attribution
from interpret.results.report import Example, FailedCheck, TargetWords, WordEffect
from interpret.results.report import Report as Report  # a public name of interpret.corpus
from interpret.results.totals import groups_of

By = Literal["word", "piece"]
MOST_WORDS = 200_000  # of all targets and roles that are counted at once; the rarest go when there are more
MOST_ERRORS, MOST_FAILED = 1000, 20
EXAMPLES, AROUND = 3, 60  # of a word, and characters on either side of it
EDGES = (0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
AT_LEAST = 2.0  # standard errors that an effect is less, at least

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
        entry = (abs(score), -number, example)
        if len(self.strongest) < EXAMPLES:
            heapq.heappush(self.strongest, entry)
        elif entry[:2] > self.strongest[0][:2]:
            heapq.heapreplace(self.strongest, entry)

    @property
    def standard_error(self) -> float:
        """Of the mean."""
        return math.sqrt(self.squares / (self.rows - 1) / self.rows) if self.rows > 1 else math.inf

    @property
    def at_least(self) -> float:
        """The distance of the mean from 0, less two standard errors."""
        return abs(self.mean) - AT_LEAST * self.standard_error


def report(
    folder: str | Path,
    *,
    by: By = "word",
    min_rows: int = 5,
    top: int = 20,
    targets: int = 10,
    progress: bool = True,
) -> Report:
    """What the rows of an output say together: which words speak for a target over all prompts, and how surely.

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
        ValueError: a folder without an output, or numbers that make no sense.
        ImportError: scipy is missing.
    """
    if min_rows < 2 or top < 1 or targets < 1:
        raise ValueError(f"min_rows is at least 2, top and targets at least 1; given {min_rows}, {top} and {targets}")
    total = sum(rows_of_file(path) for path in parquet_files(Path(folder).expanduser()))
    counts = _Counts(by)
    with progress_bar(total, "rows", shown=progress, delay=1.0) as advance:
        for row in output_rows(folder):
            counts.add(row)
            advance(1)
    return counts.report(str(folder), min_rows, top, targets)


class _Counts:
    """What is known after some rows."""

    def __init__(self, by: By):
        self.by = by
        self.rows = self.forgotten = self.gradients = self.forwards = 0
        self.seconds = 0.0
        self.errors, self.verdicts = Counter[str](), Counter[str]()
        self.gaps = [0] * (len(EDGES) + 1)
        self.subjects, self.effects = Counter[Subject](), dict[Key, Effect]()
        self.failed_checks: list[FailedCheck] = []
        self.facts: dict[str, set[str]] = {"method": set(), "model": set(), "unit": set()}

    def add(self, row: dict[str, Any]) -> None:
        """Take one more row."""
        self.rows += 1
        if row["error"] is not None:
            known = row["error"] if row["error"] in self.errors or len(self.errors) < MOST_ERRORS else "other errors"
            self.errors[known] += 1
            return
        self.gradients += row["gradients"] or 0
        self.forwards += row["forwards"] or 0
        self.seconds += row["seconds"] or 0.0
        if row["gap"] is not None:
            self.gaps[sum(row["gap"] > edge for edge in EDGES)] += 1
        if row["verdict"] is not None:
            self.verdicts[row["verdict"]] += 1
            if row["verdict"] == "fails" and len(self.failed_checks) < MOST_FAILED:
                self.failed_checks.append(FailedCheck(row["id"], row["check"]))
        why = attribution_of(row)
        for name, known in (("method", why.method_name), ("model", why.model), ("unit", why.unit)):
            self.facts[name].add(known)
        subject = (why.quantity if row["target"] is None else row["target"], tuple(row["foils"] or ()))
        self.subjects[subject] += 1
        self._add_words(row["id"], subject, why)
        if len(self.effects) > MOST_WORDS:
            self._forget()

    def _add_words(self, own: str, subject: Subject, why: Attribution) -> None:
        found: dict[tuple[str | None, str], list[tuple[float, int, int]]] = {}
        for start, end, score, role in _words(why, self.by):
            word = why.prompt[start:end].strip().lower() or why.prompt[start:end]
            if word:
                found.setdefault((None, word), []).append((score, start, end))
                if role is not None:
                    found.setdefault((role, word), []).append((score, start, end))
        for (role, word), places in found.items():
            score = math.fsum(place[0] for place in places)
            _, start, end = max(places, key=lambda place: abs(place[0]))
            prompt = why.prompt
            example = Example(
                own, score, prompt[max(0, start - AROUND) : start], prompt[start:end], prompt[end : end + AROUND]
            )
            self.effects.setdefault((subject, role, word), Effect()).add(score, self.rows, example)

    def _forget(self) -> None:
        """Let go of the rarest words, at least half of them."""
        order = sorted(effect.rows for effect in self.effects.values())
        most = order[len(order) // 2]
        kept = {key: effect for key, effect in self.effects.items() if effect.rows > most}
        self.forgotten += len(self.effects) - len(kept)
        self.effects = kept

    def report(self, source: str, min_rows: int, top: int, targets: int) -> Report:
        """What they say."""
        tested = {key: effect for key, effect in self.effects.items() if effect.rows >= min_rows}
        rates = dict(zip(tested, _false_discovery_rates(list(tested.values())), strict=True))
        shown = self.subjects.most_common(targets)
        words: dict[tuple[Subject, bool], list[Key]] = {}
        for key in tested:
            words.setdefault((key[0], key[1] is not None), []).append(key)

        def strongest(subject: Subject, by_role: bool) -> tuple[WordEffect, ...]:
            keys = words.get((subject, by_role), [])
            found = heapq.nlargest(top, keys, key=lambda key: self.effects[key].at_least)
            return tuple(self._effect(key, rates[key]) for key in found)

        every = [
            TargetWords(*subject, count, strongest(subject, False), strongest(subject, True))
            for subject, count in shown
        ]
        measured = sum(self.gaps) > 0
        said = {name: " and ".join(sorted(filter(None, known))) for name, known in self.facts.items()}
        return Report(
            source=source, rows=self.rows, errors=dict(self.errors.most_common()), targets=tuple(every),
            others=self.subjects.total() - sum(count for _, count in shown), looked_at=len(tested),
            left_out=len(self.effects) - len(tested) + self.forgotten, verdicts=dict(sorted(self.verdicts.items())),
            failed_checks=tuple(self.failed_checks),
            gaps=tuple(zip((*EDGES, None), self.gaps, strict=True)) if measured else (),
            facts_of={
                **said, "gradients": self.gradients, "forwards": self.forwards, "seconds": self.seconds,
                "min_rows": min_rows,
            },
        )  # fmt: skip

    def _effect(self, key: Key, rate: float) -> WordEffect:
        effect = self.effects[key]
        examples = tuple(example for _, _, example in sorted(effect.strongest, key=lambda each: each[:2], reverse=True))
        return WordEffect(key[2], key[1], effect.rows, effect.mean, effect.standard_error, rate, examples)


def _words(why: Attribution, by: By) -> Iterator[tuple[int, int, float, str | None]]:
    """The words of a prompt that have a score: where they begin and end, the score and the role that wrote them."""
    starts, at = [], 0
    for piece in why.pieces:
        starts.append(at)
        at += len(piece.text)
    places = [place for place in range(len(why)) if not why.template[place] and not why.fixed[place]]
    groups = [[place] for place in places]
    if by == "word" and why.signed and places:
        moved = set(places)
        divided = groups_of(why.tokens, why.template, why.messages, "word", False, "en")
        groups = [kept for group in divided if (kept := [place for place in group if place in moved])]
    for group in groups:
        score = math.fsum(why.pieces[place].score for place in group)
        yield starts[group[0]], starts[group[-1]] + len(why.pieces[group[-1]].text), score, why.roles[group[0]]


def _false_discovery_rates(effects: Sequence[Effect]) -> list[float]:
    """The false discovery rate at which each mean differs from 0."""
    if not effects:
        return []
    try:
        from scipy.stats import false_discovery_control, t
    except ImportError as error:
        raise ImportError(
            "a report needs the package scipy; pip install 'nexttoken-interpret[corpus]' installs it"
        ) from error
    spreads = [effect.standard_error for effect in effects]
    sigmas = [
        abs(effect.mean) / spread if spread > 0 else math.inf if effect.mean else 0.0
        for effect, spread in zip(effects, spreads, strict=True)
    ]
    return false_discovery_control(2 * t.sf(sigmas, [effect.rows - 1 for effect in effects])).tolist()
