"""Claims about other prompts, as data: which words were changed or taken away, and what the model says then."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, final

from interpret.results.files import Result
from interpret.results.numbers import format_number, percent
from nexttoken import Target


@dataclass(frozen=True)
class Edit:
    """One word of a prompt that gave way to another.

    Attributes:
        position: of its first token, in the prompt that was asked about.
        start: of its first character there.
        old: what stood there, with its leading space.
        new: what stands there now; one token.
        probability: how likely the model itself finds the new word there, after what stands before it in the changed
            prompt; None where it predicts nothing (an encoder's source; a text's first word without a start
            token).
    """

    position: int
    start: int
    old: str
    new: str
    probability: float | None


@dataclass(frozen=True)
class Preference:
    """What a model says after a prompt: the target with its foils, its first choice, and the margin of `flip`."""

    target: Target
    first: Target
    margin: float


@dataclass(frozen=True)
class RandomEdits:
    """The control of a flip: `edits` words changed at random, in each of some trials, of a forward pass each.

    Attributes:
        flipped: how many trials changed the model's choice in the same way.
        lowest: the lowest margin among them, in nats; None where nothing could be drawn.
    """

    edits: int
    trials: int
    flipped: int
    lowest: float | None

    @property
    def sentence(self) -> str:
        """What they did, in words."""
        if self.lowest is None:
            return "no random change could be made"
        done = f"{self.flipped} of {self.trials} random changes of {_words(self.edits)} do the same"
        return f"{done}; the best of them reaches a margin of {format_number(self.lowest, signed=True)} nats"


@final
@dataclass(frozen=True, eq=False, repr=False)
class Flip(Result):
    """The smallest change of words that was found after which the model's choice is another one.

    Attributes:
        found: whether there is one; every claim was checked by running the model on the new prompt.
        edits: in the order of the text; none where nothing was found.
        original: the prompt that was asked about, as the model reads it.
        prompt: with the edits made; the original where nothing was found.
        to: what its first choice should become; None for any other, or for a foil.
        closest: where nothing was found, the edits that came closest; otherwise none.
        forwards: forward passes of one prompt that the search took, without those of the control.
        messages: of a chat, the new prompt as messages with `role` and `content`; none for other prompts, and where
            the template does not write them as they stand.
        facts_of: the model, the settings and the versions.
    """

    found: bool
    edits: tuple[Edit, ...]
    original: str
    prompt: str
    before: Preference
    after: Preference
    to: Target | None
    closest: tuple[Edit, ...]
    random: RandomEdits
    forwards: int
    messages: tuple[dict[str, str], ...] = ()
    facts_of: dict[str, Any] = field(default_factory=dict)

    DERIVED = ("sentence",)
    fragment = "interpret.views.tables:html"

    @property
    def title(self) -> str:
        target = self.before.target
        if self.to is not None:
            return f"what makes the model say {self.to.text!r} rather than {self.before.first.text!r}"
        if target.foils:
            foils = " or ".join(repr(foil.text) for foil in target.foils)
            return f"what makes the model prefer {foils} to {target.text!r}"
        return f"what makes the model say another word than {target.text!r}"

    @property
    def sentence(self) -> str:
        """What was found, in words."""
        before, after = self.before, self.after
        if not self.found:
            close = f"; the closest attempt changes {_listed(self.closest)}" if self.closest else ""
            return (
                f"Not found with {_words(self.facts_of.get('max_edits', 0))} changed: the model still says "
                f"{before.first.text!r} (margin {format_number(before.margin)} nats){close}"
            )
        if not self.edits:
            return f"Nothing to change: the model's first choice is {before.first.text!r} already"
        if before.target.foils:
            best = max(after.target.foils, key=lambda foil: foil.probability)
            change = f"the model prefers {_rated(best)} to {_rated(after.target)}"
        else:
            change = f"{_rated(before.first)} becomes {_rated(after.first)}"
        return f"{_words(len(self.edits))} changed, {_listed(self.edits)}: {change}"

    @property
    def facts(self) -> str:
        passes = f"{self.forwards} forward passes"
        return "; ".join(filter(None, [passes, self.random.sentence, self.facts_of.get("model")]))

    def provenance(self) -> dict[str, Any]:
        foils = [foil.text for foil in self.before.target.foils]
        asked = {"target": self.before.target.text, "foils": foils, "to": self.to and self.to.text}
        return {"prompt": self.original, **asked, **self.facts_of}

    def __repr__(self) -> str:
        return f"Flip: {self.sentence}\n  {self.prompt!r}\n  {self.facts}"


@dataclass(frozen=True)
class Span:
    """A stretch of the prompt's characters, from `start` to before `end`."""

    start: int
    end: int
    text: str


@dataclass(frozen=True)
class Step:
    """One step of a reduction: the words removed, the prompt that was left, and how the target fared then."""

    removed: str
    prompt: str
    probability: float
    rank: int


@final
@dataclass(frozen=True, eq=False, repr=False)
class Reduction(Result):
    """The shortest part of a prompt that was found for which the model still says the same.

    Every single word that is left was tried and is needed; another choice of words may still be shorter.

    Attributes:
        kept: the stretches of the prompt that are left, without the template.
        removed: those that were taken away.
        original: the prompt that was asked about, as the model reads it.
        prompt: what is left of it, tokenized anew.
        keep: "first" for the first choice, or the least share of the probability that had to be left.
        forwards: forward passes of one prompt that it took.
        messages: of a chat, what is left as messages with `role` and `content`, as for a flip.
        facts_of: the model, the settings and the versions.
    """

    kept: tuple[Span, ...]
    removed: tuple[Span, ...]
    original: str
    prompt: str
    before: Target
    after: Target
    keep: str | float
    steps: tuple[Step, ...]
    forwards: int
    messages: tuple[dict[str, str], ...] = ()
    facts_of: dict[str, Any] = field(default_factory=dict)

    DERIVED = ("sentence",)
    fragment = "interpret.views.tables:html"

    @property
    def title(self) -> str:
        return f"how little of the prompt makes the model say {self.before.text!r}"

    @property
    def sentence(self) -> str:
        """What was found, in words."""
        says = f"{self.before.text!r} first"
        if self.keep != "first":
            says = f"{self.before.text!r} with at least {percent(float(self.keep))} of its probability"
        if not self.removed:
            return f"Nothing can be taken away: without any one of its words the model no longer says {says}"
        left, gone = (sum(len(each.text.split()) for each in spans) for spans in (self.kept, self.removed))
        before, after = format_number(self.before.probability), format_number(self.after.probability)
        return (
            f"{left} of {_words(left + gone)} left: the model still says {says}, p = {before} before and {after} after"
        )

    @property
    def facts(self) -> str:
        passes = f"every word that is left is needed; {self.forwards} forward passes"
        return "; ".join(filter(None, [passes, self.facts_of.get("model")]))

    def provenance(self) -> dict[str, Any]:
        return {"prompt": self.original, "target": self.before.text, "keep": self.keep, **self.facts_of}

    def __repr__(self) -> str:
        return f"Reduction: {self.sentence}\n  {self.prompt!r}\n  {self.facts}"


@dataclass(frozen=True)
class Replacement:
    """A word that might stand at a position, and what the model says with it there.

    Attributes:
        text: the word; one token.
        id: its token id.
        probability: how likely the model finds it there, given what stands before.
        value: F with it there.
        drop: F(prompt) - F with it there; positive where the word that stands there supports the target.
        first: the model's first choice then.
    """

    text: str
    id: int
    probability: float
    value: float
    drop: float
    first: str


@final
@dataclass(frozen=True, eq=False, repr=False)
class Replacements(Result):
    """What else might stand at a position, and what it would change.

    Attributes:
        old: what stands there.
        position: of its first token in the prompt.
        start: of its first character.
        probability: how likely the model finds the first token of what stands there.
        rows: the most probable words first.
        target: the next token that F is about, with its foils.
        value: F at the prompt, in nats: log p(target), or its difference to that of the foils.
        original: the prompt.
        forwards: forward passes of one prompt that it took.
        facts_of: the model and the versions.
    """

    old: str
    position: int
    start: int
    probability: float
    rows: tuple[Replacement, ...]
    target: Target
    value: float
    original: str
    forwards: int
    facts_of: dict[str, Any] = field(default_factory=dict)

    fragment = "interpret.views.tables:html"

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Replacement]:
        return iter(self.rows)

    def __getitem__(self, number: int) -> Replacement:
        return self.rows[number]

    @property
    def title(self) -> str:
        return f"what else might stand in place of {self.old!r}, and what {self.target.text!r} would lose"

    @property
    def facts(self) -> str:
        return "; ".join(filter(None, [f"{self.forwards} forward passes", self.facts_of.get("model")]))

    def provenance(self) -> dict[str, Any]:
        return {"prompt": self.original, "target": self.target.text, "position": self.position, **self.facts_of}

    def __repr__(self) -> str:
        rows = [f"  {each.text!r}  p = {each.probability:.2g}  F {-each.drop:+.2f} nats" for each in self]
        return "\n".join([f"Replacements: {self.title}", *rows])


def _words(count: int) -> str:
    return f"{count} word{'' if count == 1 else 's'}"


def _listed(edits: tuple[Edit, ...]) -> str:
    return ", ".join(f"{each.old!r} to {each.new!r}" for each in edits)


def _rated(target: Target) -> str:
    return f"{target.text!r} (p = {format_number(target.probability)})"
