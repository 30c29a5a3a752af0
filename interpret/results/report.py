"""What a corpus says: which words support a target over many prompts, how surely, and which maps failed their check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

from interpret.results.files import Result, function_of
from interpret.results.numbers import percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SURE = 0.05  # the share of false finds that is expected among the words that are called sure


@dataclass(frozen=True)
class Example:
    """A row in which a word's score, added up over its occurrences, is among the strongest, and where it stands."""

    id: str
    score: float
    before: str
    text: str
    after: str


@dataclass(frozen=True)
class WordEffect:
    """What a word does to a target over all prompts that it comes in.

    Attributes:
        text: the word, in small letters and without the spaces around it.
        role: of the messages that it comes in; None for all of them, and for prompts that are no chats.
        rows: in how many prompts it comes.
        mean: its score in them on average; positive where it supports the target.
        standard_error: of that mean.
        q: the false discovery rate at which the mean differs from 0 (Benjamini and Hochberg, over every word that was
            looked at, of all targets and roles): among the words with at most this q, this share is expected to be a
            find by chance.
        examples: the strongest.
    """

    text: str
    role: str | None
    rows: int
    mean: float
    standard_error: float
    q: float
    examples: tuple[Example, ...]

    @property
    def sure(self) -> bool:
        """Whether its q is at most 0.05."""
        return self.q <= SURE


@dataclass(frozen=True)
class TargetWords:
    """The words that support or oppose one target: over all of each prompt, and for each role of a chat.

    The first is the one of the largest effect at least: the distance of the mean from 0, less two standard errors.
    """

    target: str
    foils: tuple[str, ...]
    rows: int
    words: tuple[WordEffect, ...]
    by_role: tuple[WordEffect, ...]

    @property
    def name(self) -> str:
        """The target and its foils, in words."""
        foils = " or ".join(map(repr, self.foils))
        return f"{self.target!r} rather than {foils}" if foils else repr(self.target)


@dataclass(frozen=True)
class FailedCheck:
    """The id of a row whose map failed its check, and what the check found."""

    id: str
    sentence: str


@final
@dataclass(frozen=True, eq=False, repr=False)
class Report(Result):
    """What the rows of a corpus say together, with views.

    Attributes:
        source: the folder.
        errors: why rows could not be explained, with how many of them; the commonest first.
        targets: those that most prompts were explained for.
        others: how many prompts have further targets, which are not shown.
        looked_at: how many words of all targets and roles were tested, for which the q are corrected.
        left_out: how many words came too rarely to say anything of them.
        verdicts: how many maps passed their check, failed it, or were left undecided; none where none was checked.
        failed_checks: some of those that failed.
        gaps: of path methods, the number of rows whose certified gap is at most each share, and those above the last.
        facts_of: the method, the model, the unit of the scores, and what it all cost.
    """

    source: str
    rows: int
    errors: dict[str, int]
    targets: tuple[TargetWords, ...]
    others: int
    looked_at: int
    left_out: int
    verdicts: dict[str, int]
    failed_checks: tuple[FailedCheck, ...]
    gaps: tuple[tuple[float | None, int], ...]
    facts_of: dict[str, Any]

    DERIVED = ("sentence",)
    fragment = "interpret.views.tables:html"

    @property
    def title(self) -> str:
        return f"what {self.rows - sum(self.errors.values()):,} prompts say together"

    @property
    def facts(self) -> str:
        of = self.facts_of
        spent = f"{of['gradients']:,} gradients, {of['forwards']:,} forward passes"
        return ", ".join(filter(None, [of["method"], of["model"], f"scores in {of['unit']}", spent]))

    @property
    def sentence(self) -> str:
        """How many words were looked at, and what failed, in words."""
        words = f"{self.looked_at:,} words were looked at, for which q is corrected"
        if self.left_out:
            words += f"; {self.left_out:,} come in fewer than {self.facts_of['min_rows']} prompts and were not"
        failed = sum(self.errors.values())
        errors = f"{failed:,} of {self.rows:,} rows could not be explained" if failed else ""
        return ". ".join(filter(None, [words, errors, self.checked])) + "."

    @property
    def checked(self) -> str:
        total = sum(self.verdicts.values())
        if not total:
            return ""
        failed = self.verdicts.get("fails", 0)
        return f"{failed:,} of {total:,} maps that were checked fail their check ({percent(failed / total)})"

    def provenance(self) -> dict[str, Any]:
        return {"source": self.source, "rows": self.rows, **self.facts_of}

    def figure(self, target: int = 0, top: int = 20, width: float | str | None = None) -> Figure:
        """The strongest words for and against one of `targets`, by its number, as bars with standard errors.

        Returns a matplotlib figure of at most `top` words, `width` inches wide (6.5 by default).

        Raises:
            ValueError: there is no such target, or no word to show.
        """
        return function_of("interpret.views.bars:report_figure")(self, target, top, width)

    def __repr__(self) -> str:
        return f"Report: {self.title}\n  {self.sentence}\n  {self.facts}"
