"""Whether the model confirms a map: what replacing pieces did to it, beside what the map says and beside chance."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations, product
from statistics import fmean
from typing import Literal, final

from interpret.results.numbers import format_number, percent

Verdict = Literal["passes", "fails", "undecided"]
PASSES, FAILS = 0.9, 0.85  # of shuffles that fit worse; between the two, more evidence is needed
NUMBERS = {2: "two", 3: "three"}
VERDICTS: dict[Verdict, str] = {"passes": "Checked", "fails": "Fails its check", "undecided": "Undecided"}


@dataclass(frozen=True)
class Replaced:
    """Pieces of the prompt that gave way to plausible alternatives, with the sum of their scores.

    Attributes:
        change: F(prompt) - F(with alternatives), the mean over draws of them, with its standard error; positive where
            the pieces support the target.
    """

    labels: tuple[str, ...]
    score: float
    change: float
    standard_error: float


@dataclass(frozen=True)
class Deletion:
    """F while more and more pieces give way to alternatives, `counts` of them at each step.

    Attributes:
        most_first: (step,) F where the pieces that the map ranks highest go first.
        least_first: (step,) F where those that it ranks lowest go first.
        random_orders: (order, step) F for orders drawn at random.
    """

    counts: tuple[int, ...]
    most_first: tuple[float, ...]
    least_first: tuple[float, ...]
    random_orders: tuple[tuple[float, ...], ...]

    @property
    def area(self) -> float:
        """The mean over steps of F(least first) - F(most first); 0 is what a random order expects."""
        return fmean(self.least_first) - fmean(self.most_first)

    @property
    def percentile(self) -> float:
        """The share of pairs of random orders whose area is smaller; pairs of the same area count half."""
        means = [fmean(order) for order in self.random_orders]
        areas = [one - other for one, other in permutations(means, 2)]
        return fmean((area < self.area) + 0.5 * (area == self.area) for area in areas)


@dataclass(frozen=True)
class RankCorrelation:
    """How well the scores that are kept predict F, over masks that replace pieces at random (LDS).

    Attributes:
        value: Spearman's rank correlation among masks that replace as many pieces, the mean over their numbers.
        interval: of 90 %, by bootstrap over masks.
        percentile: the share of shuffles of the map's scores that predict worse; equal ones count half.
    """

    value: float
    interval: tuple[float, float]
    percentile: float


@final
@dataclass(frozen=True)
class Faithfulness:
    """What replacing pieces by plausible alternatives did to the model, beside what the map says and beside chance.

    What decides is how well the map predicts all that was measured, beside the same scores shuffled among the pieces:
    it passes if at most one shuffle in ten does as well, and its strongest pieces together are worth more than random
    ones; it fails if more than three shuffles in twenty do as well.

    Attributes:
        quantity: what F is, in words.
        value: F at the prompt.
        strongest: the pieces with the highest scores, each replaced alone.
        others: pieces drawn at random from the rest, each replaced alone.
        together: the strongest, replaced all at once.
        deletion: F while pieces go in the map's order and in random ones; None where there are too few pieces.
        correlation: of the scores with F under random masks; None where there are too few pieces.
        fit: Pearson's correlation of the scores that were replaced with the change of F, over all replacements.
        percentile: the share of shuffles of the scores that fit worse; equal ones count half. None where there is
            nothing to tell: too few pieces, scores that are all the same, or a model that hardly reacts.
        forwards: forward passes of one prompt that it took.
        randomized: Spearman's correlation of the map with one from the same model with shuffled weights, if asked for;
            a map that is much the same says nothing about the model.
    """

    quantity: str
    unit: str
    value: float
    strongest: tuple[Replaced, ...]
    others: tuple[Replaced, ...]
    together: Replaced
    deletion: Deletion | None
    correlation: RankCorrelation | None
    fit: float
    percentile: float | None
    forwards: int
    randomized: float | None = None

    DERIVED = ("verdict", "sentence")

    @property
    def random_change(self) -> float:
        """F(prompt) - F with as many pieces replaced as are called the strongest, drawn at random: the mean of draws.

        Where there are too few pieces to compare orders, that of the others, replaced alone; 0 where there are none.
        """
        if self.deletion is None:
            return fmean(each.change for each in self.others) if self.others else 0.0
        step = self.deletion.counts.index(len(self.strongest))
        return self.value - fmean(order[step] for order in self.deletion.random_orders)

    @property
    def order(self) -> float:
        """The share of pairs of a strongest and a random piece in which the former changes F more; ties count half."""
        pairs = [(one.change, other.change) for one, other in product(self.strongest, self.others)]
        return fmean((one > other) + 0.5 * (one == other) for one, other in pairs) if pairs else 0.5

    @property
    def signs(self) -> float | None:
        """The share of pieces replaced alone whose change has the sign of their score, of those with a clear sign.

        A sign is clear where the change is more than twice its standard error; None where none is.
        """
        alone = (*self.strongest, *self.others)
        clear = [each for each in alone if abs(each.change) > 2 * each.standard_error and each.score != 0]
        return fmean((each.score > 0) == (each.change > 0) for each in clear) if clear else None

    @property
    def verdict(self) -> Verdict:
        """Whether the model confirms the map: passes, fails, or undecided.

        Undecided is also a prompt of too few pieces, a map that says the same of all, and a model that hardly reacts.
        """
        if self.percentile is not None and self.percentile < FAILS:
            return "fails"
        passes = self.percentile is not None and self.percentile >= PASSES and self.together.change > self.random_change
        return "passes" if passes else "undecided"

    @property
    def sentence(self) -> str:
        """The verdict, and what replacing the strongest pieces did beside random ones."""
        count, change, random = len(self.strongest), self.together.change, self.random_change
        which, other = "the strongest piece", "a random one"
        if count > 1:
            which, other = f"the {NUMBERS[count]} strongest pieces", f"{NUMBERS[count]} random ones"
        raises = [each < 0 for each in (change, random)]
        text = f"{VERDICTS[self.verdict]}: replacing {which} {'raises' if raises[0] else 'lowers'} the {self.quantity} "
        text += f"by {format_number(abs(change))} {self.unit}"
        if not self.others:
            return text
        verb = ("raise" if raises[1] else "lower") + ("s it " if count == 1 else " it ")
        return f"{text}, {other} {verb if raises[0] != raises[1] else ''}by {format_number(abs(random))}"

    @property
    def details(self) -> str:
        """The other numbers in words, each beside its control."""
        if self.deletion is None or self.correlation is None:
            return "too few pieces to compare orders"
        low, high = (format_number(end) for end in self.correlation.interval)
        text = ""
        if self.percentile is not None:
            share = percent(self.percentile)
            text = f"fits the {self.forwards - 1} replacements better than {share} of its shuffles do; "
        text += (
            f"rank correlation under random masks {format_number(self.correlation.value)} ({low} to {high}; shuffled "
            f"0); strongest pieces taken away first rather than last cost {format_number(self.deletion.area)} "
            f"{self.unit} more, further apart than {percent(self.deletion.percentile)} of random orders"
        )
        if self.randomized is not None:
            text += f"; with shuffled weights the map correlates with itself by {format_number(self.randomized)}"
        return text
