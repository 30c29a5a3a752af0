"""The result: tokens, scores, what they explain, in which unit, how they were made; saved and loaded without loss."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from interpret.path import StraightPath
from interpret.saved import Saved
from nexttoken import Message, Target

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CLOSE_TO_ZERO = 1e-12
Division = str | Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Completeness:
    """How much of the change of the objective from the baseline to the prompt the scores account for.

    Attributes:
        value: F(x), the objective at the prompt.
        baseline_value: F(x'), the objective at the baseline.
        gap: |sum of scores - (F(x) - F(x'))|, before a convention reduces or normalizes the scores.
        relative_gap: the gap over |F(x) - F(x')|.
        certified_gap: the sum of the absolute gaps of the path's segments, in which nothing cancels; None where the
            method knows the gap of the whole path only.
        unit: of the objective and the gaps.
    """

    value: float
    baseline_value: float
    gap: float
    relative_gap: float
    certified_gap: float | None = None
    unit: str = "nats"

    @classmethod
    def of(cls, value: float, baseline_value: float, total: float, certified_gap: float | None = None) -> Completeness:
        """The completeness of scores with a given sum."""
        change = value - baseline_value
        gap = abs(total - change)
        return cls(value, baseline_value, gap, gap / max(abs(change), CLOSE_TO_ZERO), certified_gap)

    @property
    def largest_gap(self) -> float:
        """The certified gap, or else the gap of the whole path."""
        return self.gap if self.certified_gap is None else self.certified_gap

    def relative(self, amount: float) -> float:
        """An amount over |F(x) - F(x')|."""
        return amount / max(abs(self.value - self.baseline_value), CLOSE_TO_ZERO)


@dataclass(frozen=True, eq=False)
class Attribution(Saved):
    """One score per piece of the prompt, and all that is needed to say what it means.

    Attributes:
        tokens: the exact pieces of text; joined, they are the prompt. Empty for a token the tokenizer added.
        scores: (piece,) in float64. Signed scores support the target where positive; a held piece has 0.
        unit: of the scores.
        target: the token that is explained, its foils, and those that follow it in a span; None for a quantity of the
            whole distribution.
        quantity: what about the target is explained, such as its log-probability.
        method: the method and its settings.
        reduction: how the embedding's dimensions became one score.
        signed: whether scores have a direction; positive ones raise the quantity.
        model: the model's name.
        gradients_spent: gradients taken, one forward and one backward pass each.
        forwards_spent: forward passes without a gradient.
        completeness: for path methods, whether the scores add up; otherwise None.
        standard_error: (piece,) of the scores, for methods that sample; otherwise None.
        error: (piece,) how far off each score may be numerically, for methods that can tell; otherwise None.
        held: True for pieces that were not moved and have no score.
        template: True for pieces written by the tokenizer or the chat template.
        labels: what to show for each piece: its text, or the name of an added token.
        token_ids: the token ids of each piece.
        versions: of the packages that made it.
        messages: of a chat, with their roles and the characters of the prompt they cover; none for other prompts.
        by: what has one score each: a piece of the prompt, or what the pieces' scores were totalled by.
        path: the objective along the path that was integrated, for methods that follow a straight one; otherwise None.
    """

    tokens: tuple[str, ...]
    scores: Float[Tensor, " piece"]
    unit: str
    target: Target | None
    quantity: str
    method: str
    reduction: str
    signed: bool
    model: str
    gradients_spent: int
    forwards_spent: int
    completeness: Completeness | None
    standard_error: Float[Tensor, " piece"] | None
    error: Float[Tensor, " piece"] | None
    held: tuple[bool, ...]
    template: tuple[bool, ...]
    labels: tuple[str, ...]
    token_ids: tuple[tuple[int, ...], ...]
    versions: dict[str, str] = field(default_factory=dict)
    messages: tuple[Message, ...] = ()
    by: str = "piece"
    path: StraightPath | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def prompt(self) -> str:
        """The prompt's text."""
        return "".join(self.tokens)

    @property
    def title(self) -> str:
        """What is explained, in words: the target, its probability and rank, and its foils."""
        target = self.target
        if target is None:
            return self.quantity
        if target.following:
            probability = math.prod(each.probability for each in target.continuation)
            text = "".join(each.text for each in target.continuation)
            return f"{text!r} ({len(target.continuation)} tokens, p = {probability:.2g})"
        words = f"{target.text!r} (p = {target.probability:.2g}, rank {target.rank})"
        if target.foils:
            words += " rather than " + ", ".join(f"{foil.text!r} (p = {foil.probability:.2g})" for foil in target.foils)
        return words

    @property
    def roles(self) -> tuple[str | None, ...]:
        """The role that wrote each piece; None for the template, and for prompts that are not chats."""
        from interpret.totals import roles

        return roles(self)

    @property
    def facts(self) -> str:
        """How the scores were made, in words: the method, its gap, the model, and what they were totalled by."""
        totals = "" if self.by == "piece" else f"totals by {self.by}"
        return ", ".join(filter(None, [self.method, self.gap_text, self.model, totals]))

    @property
    def gap_text(self) -> str:
        """The completeness gap in words; empty where there is none."""
        if self.completeness is None:
            return ""
        kind = "gap" if self.completeness.certified_gap is None else "certified gap"
        gap = self.completeness.largest_gap
        return f"{kind} {self.completeness.relative(gap):.1%} ({gap:.2g} {self.completeness.unit})"

    def top(self, k: int = 5) -> list[tuple[str, float]]:
        """The k pieces with the largest scores by magnitude, with their labels, the largest first."""
        order = self.scores.abs().argsort(descending=True, stable=True).tolist()
        return [(self.labels[place], float(self.scores[place])) for place in order if not self.held[place]][:k]

    def totals(self, by: Division, template: bool = True) -> Attribution:
        """The scores of words, sentences, lines, messages or spans: an attribution with one score for each of them.

        A group is made of whole pieces: a piece belongs to the group that its first character other than a space lies
        in. Groups never mix a message with another one or with the template. Signed scores are added, exactly;
        unsigned ones are joined as their reduction says, so that a total is the score of the group's tokens together:
        norms are the root of the sum of squares (L2) or the sum (L1), shares are added. A group is held if all of its
        pieces are. Totals of scores that are correlated have no standard error; numerical errors add up.

        Args:
            by: "word" (Unicode's word boundaries; a space belongs to the word after it, and a run of punctuation or of
                line ends is a word of its own), "sentence" (to a full stop, ! or ? before a space, unless a small
                letter follows the full stop; a line's end ends it), "line", "message" (the template between messages
                is a group too), or (start, end) character spans of the prompt: each is one group, messages or not,
                and so is the text between two.
            template: False to leave out the groups of the template; the texts, joined, are then no longer the prompt.

        Raises:
            ValueError: an unknown division, messages where there are none, spans that overlap, lie outside the prompt
                or have no piece of their own, or unsigned scores that do not tell their total.
        """
        from interpret.totals import totals

        return totals(self, by, template)

    def role_totals(self, template: bool = True) -> dict[str, float]:
        """The total score of each role of a chat, and of the "template" unless that is left out; see `totals`.

        A role whose messages are all empty has none. Raises ValueError for a prompt that is not a chat, and for
        unsigned scores that do not tell their total.
        """
        from interpret.totals import role_totals

        return role_totals(self, template)

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain Python values, under the names of the attributes."""
        plain = asdict(self)
        for name in ("scores", "standard_error", "error"):
            plain[name] = None if plain[name] is None else plain[name].tolist()
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Attribution:
        """The inverse of `to_dict`; one that was saved before there were paths has none.

        Raises ValueError if another name is missing or one is unknown.
        """
        names = set(cls.__dataclass_fields__)
        values = {"path": None, **plain}
        if set(values) != names:
            raise ValueError(f"this is not a saved attribution: missing or unknown are {sorted(names ^ set(values))}")
        values["target"] = values["target"] and target_from_dict(values["target"])
        values["completeness"] = Completeness(**values["completeness"]) if values["completeness"] else None
        for name in ("scores", "standard_error", "error"):
            values[name] = None if values[name] is None else torch.tensor(values[name], dtype=torch.float64)
        for name in ("tokens", "held", "template", "labels"):
            values[name] = tuple(values[name])
        values["path"] = values["path"] and StraightPath.from_dict(values["path"])
        values["messages"] = tuple(Message(**message) for message in values["messages"])
        values["token_ids"] = tuple(tuple(ids) for ids in values["token_ids"])
        return cls(**values)

    def provenance(self) -> dict[str, Any]:
        """What was explained, how and with which versions, without the scores: plain values, for a file's metadata."""
        target = self.target
        return {
            "prompt": self.prompt,
            "target": target and "".join(each.text for each in target.continuation),
            "foils": [foil.text for foil in target.foils] if target else [],
            "quantity": self.quantity,
            "unit": self.unit,
            "model": self.model,
            "method": self.method,
            "reduction": self.reduction,
            "by": self.by,
            "gap": self.gap_text,
            "completeness": self.completeness and asdict(self.completeness),
            "gradients_spent": self.gradients_spent,
            "versions": self.versions,
        }

    def heatmap(self, width: float | None = None, ax: Axes | None = None) -> Figure:
        """The prompt as running text, each piece on its colour: a figure `width` inches wide (6.5), or drawn on `ax`.

        Returns a matplotlib figure, that of `ax` if it is given.
        """
        from interpret.views.heatmap import heatmap

        return heatmap(self, width, ax)

    def bars(self, top: int = 30, width: float | None = None, ax: Axes | None = None) -> Figure:
        """The scores as bars with their errors, in the order of the text; of more than `top` pieces, the strongest.

        Returns a matplotlib figure `width` inches wide (6.5), that of `ax` if it is given.
        """
        from interpret.views.bars import bars

        return bars(self, top, width, ax)

    def path_plot(self, width: float | None = None, ax: Axes | None = None) -> Figure:
        """The objective along the path from the baseline to the prompt, with the points that were spent on it.

        Returns a matplotlib figure `width` inches wide (6.5), that of `ax` if it is given. Raises ValueError if the
        method followed no straight path.
        """
        from interpret.views.path import path_plot

        return path_plot(self, width, ax)

    def html(self) -> str:
        """The prompt as running text, each piece on its colour: a fragment of HTML that needs no script to be read."""
        from interpret.views.html import html

        return html(self)

    def __repr__(self) -> str:
        width = max(map(len, map(repr, self.labels)))
        rows = [
            f"  {label!r:<{width}}  {'held' if held else format(float(score), '+.4g' if self.signed else '.4g')}"
            for label, score, held in zip(self.labels, self.scores, self.held, strict=True)
        ]
        facts = ", ".join(filter(None, [self.method, self.gap_text, f"{self.gradients_spent} gradients"]))
        what = f"{self.title}, {self.quantity}" if self.target else self.title
        return "\n".join([f"Attribution of {what} in {self.unit}", f"  {facts}", *rows])


def target_from_dict(plain: Mapping[str, Any]) -> Target:
    """A Target from the plain values of its fields."""
    return Target(**{**plain, **{name: tuple(map(target_from_dict, plain[name])) for name in ("foils", "following")}})
