"""One score per piece of the prompt, and all that is needed to say what it means."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from interpret.results.certificate import Completeness
from interpret.results.faithfulness import Faithfulness
from interpret.results.files import Result
from interpret.results.numbers import format_number
from interpret.results.path import StraightPath
from interpret.results.pieces import ScoredPiece, message_numbers
from interpret.results.reduction import SUM, named
from interpret.results.totals import Division, check_messages, groups_of, joined, moved
from nexttoken import Message, Target

Own = TypeVar("Own", bound="Scores")
TEMPLATE = "template"
# What `to_dict` has under the name of an attribute as it is; the pieces are lists there, one for each of COLUMNS.
FACTS = (
    "unit", "quantity", "method", "method_name", "settings", "reduction", "signed", "model", "gradients_spent",
    "forwards_spent", "by", "start",
)  # fmt: skip
COLUMNS = ("tokens", "scores", "labels", "token_ids", "standard_error", "error", "fixed", "template")


@dataclass(frozen=True, eq=False, repr=False)
class Scores(Result):
    """One score per piece of the prompt, and all that is needed to say what it means.

    Attributes:
        pieces: of the prompt, each with its score; joined, their texts are the prompt. Signed scores support the target
            where positive.
        unit: of the scores.
        target: the token that is explained, its foils, and those that follow it in a span; None for a quantity of the
            whole distribution.
        quantity: what about the target is explained, such as its log-probability.
        method: the method and its settings, as an expression.
        method_name: what figures call the method.
        settings: what matters of the method's settings, in words; empty where there is nothing to say.
        reduction: how the embedding's dimensions became one score.
        signed: whether scores have a direction; positive ones raise the quantity.
        model: the model's name.
        gradients_spent: gradients taken, one forward and one backward pass each.
        forwards_spent: forward passes without a gradient.
        completeness: for path methods, whether the scores add up; otherwise None.
        versions: of the packages that made it.
        messages: of a chat, with their roles and the characters of the prompt they cover; none for other prompts.
        by: what has one score each: a piece of the prompt, or what the pieces' scores were totalled by.
        path: the objective along the path that was integrated, for methods that follow a straight one; otherwise None.
        start: the start token that was put in front of the prompt as context; None where it is read as it is.
        faithfulness: whether the model bears the scores out, where that was checked; otherwise None.
    """

    pieces: tuple[ScoredPiece, ...]
    unit: str
    target: Target | None
    quantity: str
    method: str
    method_name: str
    reduction: str
    signed: bool
    model: str
    gradients_spent: int
    forwards_spent: int
    completeness: Completeness | None = None
    versions: dict[str, str] = field(default_factory=dict)
    messages: tuple[Message, ...] = ()
    by: str = "piece"
    path: StraightPath | None = None
    start: str | None = None
    faithfulness: Faithfulness | None = None
    settings: str = ""

    def __len__(self) -> int:
        return len(self.pieces)

    @cached_property
    def tokens(self) -> tuple[str, ...]:
        """The exact pieces of text; joined, they are the prompt. Empty for a token the tokenizer added."""
        return tuple(piece.text for piece in self.pieces)

    @cached_property
    def scores(self) -> Float[Tensor, " piece"]:
        """(piece,) in float64; 0 where a piece was fixed."""
        return _column(piece.score for piece in self.pieces)

    @cached_property
    def standard_error(self) -> Float[Tensor, " piece"] | None:
        """(piece,) of the scores, for methods that sample; otherwise None."""
        return _column_if_known(piece.standard_error for piece in self.pieces)

    @cached_property
    def error(self) -> Float[Tensor, " piece"] | None:
        """(piece,) how far off each score may be numerically, for methods that can tell; otherwise None."""
        return _column_if_known(piece.error for piece in self.pieces)

    @cached_property
    def fixed(self) -> tuple[bool, ...]:
        """True for pieces that were not moved and have no score."""
        return tuple(piece.fixed for piece in self.pieces)

    @cached_property
    def template(self) -> tuple[bool, ...]:
        """True for pieces written by the tokenizer or the chat template."""
        return tuple(piece.template for piece in self.pieces)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """What to show for each piece: its text, or the name of an added token."""
        return tuple(piece.label for piece in self.pieces)

    @cached_property
    def token_ids(self) -> tuple[tuple[int, ...], ...]:
        """The token ids of each piece."""
        return tuple(piece.ids for piece in self.pieces)

    @cached_property
    def roles(self) -> tuple[str | None, ...]:
        """The role that wrote each piece; None for the template, and for prompts that are not chats."""
        numbers = message_numbers(self.pieces, self.messages)
        return tuple(None if number is None else self.messages[number].role for number in numbers)

    @property
    def prompt(self) -> str:
        """The prompt's text."""
        return "".join(self.tokens)

    @property
    def title(self) -> str:
        """What is asked, as a question, and the probabilities of the target and its foils."""
        target = self.target
        if target is None:
            return f"What raises or lowers the {self.quantity}?"
        if target.following:
            probability = math.prod(each.probability for each in target.continuation)
            text = "".join(each.text for each in target.continuation)
            return f"Why {text!r}? p = {format_number(probability)} for its {len(target.continuation)} tokens"
        rank = f" (rank {target.rank})" if target.rank > 1 else ""
        if not target.foils:
            return f"Why {target.text!r}? p = {format_number(target.probability)}{rank}"
        foils = " or ".join(repr(foil.text) for foil in target.foils)
        against = " and ".join(format_number(foil.probability) for foil in target.foils)
        return (
            f"Why {target.text!r} rather than {foils}? p = {format_number(target.probability)}{rank} against {against}"
        )

    @property
    def heading(self) -> str:
        """What stands above every view: what is asked, and of which model."""
        return f"{self.title}{' ' if self.title.endswith('?') else ', '}{self.model}"

    @property
    def facts(self) -> str:
        """How the scores were made, in words: method, settings, gap, start token, and what they were totalled by."""
        totals = "" if self.by == "piece" else f"totals by {self.by}"
        return ", ".join(filter(None, [self.method_name, self.settings, self.gap_text, self.behind, totals]))

    @property
    def checked(self) -> str:
        """What the check of the scores against the model found, in a sentence; empty where there was none."""
        return "" if self.faithfulness is None else self.faithfulness.sentence

    @property
    def behind(self) -> str:
        """The start token that was put in front, in words; empty where there is none."""
        return "" if self.start is None else f"behind {self.start}"

    @property
    def gap_text(self) -> str:
        """The completeness gap in words; empty where there is none."""
        if self.completeness is None:
            return ""
        kind = "gap" if self.completeness.certified_gap is None else "certified gap"
        gap = self.completeness.largest_gap
        return f"{kind} {100 * self.completeness.relative(gap):.1f} % ({format_number(gap)} {self.completeness.unit})"

    def top(self, k: int = 5) -> list[tuple[str, float]]:
        """The k pieces with the largest scores by magnitude, with their labels, the largest first."""
        order = self.scores.abs().argsort(descending=True, stable=True).tolist()
        return [(self.labels[place], float(self.scores[place])) for place in order if not self.fixed[place]][:k]

    def totals(self: Own, by: Division, template: bool = True, language: str = "en") -> Own:
        """The scores of words, sentences, lines, messages or spans: a result with one score for each of them.

        A group is made of whole pieces: a piece belongs to the group that its first character other than a space lies
        in. Groups never mix a message with another one or with the template. Signed scores are added, exactly;
        unsigned ones are joined as their reduction says, so that a total is the score of the group's tokens together:
        norms are the root of the sum of squares (L2) or the sum (L1), shares are added. A group is fixed if all of its
        pieces are. Totals of scores that are correlated have no standard error; numerical errors add up.

        Args:
            by: "word" (Unicode's word boundaries; a space belongs to the word after it, and a run of punctuation or of
                line ends is a word of its own), "sentence" (as sentencex divides each line, which knows abbreviations
                such as "Dr."; a line's end ends a sentence, and empty lines belong to what stands before them), "line",
                "message" (the template between messages is a group too), or (start, end) character spans of the prompt:
                each is one group, messages or not, and so is the text between two.
            template: False to leave out the groups of the template; the texts, joined, are then no longer the prompt.
            language: of sentences, as a code such as "de", for its abbreviations and ordinals; in languages that
                sentencex does not know, its general rules hold.

        What was checked of the pieces is not true of their totals, so these are unchecked.

        Raises:
            ValueError: an unknown division, messages where there are none, spans that overlap, lie outside the prompt
                or have no piece of their own, or unsigned scores that do not tell their total.
        """
        self._check_pieces()
        groups = groups_of(self.pieces, self.messages, by, template, language)
        kept = [place for group in groups for place in group]
        return replace(
            self,
            pieces=joined(self.pieces, groups, self.group_scores(groups).tolist()),
            messages=moved(self.pieces, kept, self.messages),
            by=by if isinstance(by, str) else "span",
            faithfulness=None,
        )

    def role_totals(self, template: bool = True) -> dict[str, float]:
        """The total score of each role of a chat, and of the "template" unless that is left out; see `totals`.

        A role whose messages are all empty has none. Raises ValueError for a prompt that is not a chat, and for
        unsigned scores that do not tell their total.
        """
        self._check_pieces()
        check_messages(self.messages)
        places: dict[str, list[int]] = {message.role: [] for message in self.messages}
        if TEMPLATE in places:
            raise ValueError(
                f"a role is named {TEMPLATE!r}, which stands for the chat template here; take totals by message"
            )
        places[TEMPLATE] = []
        for place, role in enumerate(self.roles):
            if role is not None or template:
                places[role or TEMPLATE].append(place)
        found = {role: group for role, group in places.items() if group}
        if not found:
            return {}
        return dict(zip(found, self.group_scores(list(found.values())).tolist(), strict=True))

    def group_scores(self, groups: Sequence[Sequence[int]]) -> Float[Tensor, " group"]:
        """(group,) the scores of groups of pieces, given by their places.

        Shares of one whole are added; others are joined as their reduction says. Raises ValueError for unsigned scores
        that do not tell their total.
        """
        places = [place for group in groups for place in group]
        owner = torch.tensor([number for number, group in enumerate(groups) for _ in group])
        tokens = torch.tensor([len(self.token_ids[place]) for place in places])
        reduction = SUM if self.unit == "share" else named(self.reduction)
        return reduction.join(self.scores[places], tokens, owner)

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain Python values under the names of the attributes: of the pieces, a list for each."""
        errors = {"standard_error": self.standard_error, "error": self.error}
        return {
            "tokens": list(self.tokens),
            "scores": self.scores.tolist(),
            "target": self.target and asdict(self.target),
            **{name: getattr(self, name) for name in FACTS},
            "completeness": self.completeness and asdict(self.completeness),
            **{name: None if error is None else error.tolist() for name, error in errors.items()},
            **{name: list(getattr(self, name)) for name in ("fixed", "template", "labels")},
            "token_ids": [list(ids) for ids in self.token_ids],
            "versions": dict(self.versions),
            "messages": [asdict(message) for message in self.messages],
            "path": self.path and asdict(self.path),
            "faithfulness": self.faithfulness and {
                **asdict(self.faithfulness), "verdict": self.faithfulness.verdict,
                "sentence": self.faithfulness.sentence,
            },
        }  # fmt: skip

    @classmethod
    def from_dict(cls: type[Own], plain: Mapping[str, Any]) -> Own:
        """The inverse of `to_dict`.

        Older files have no path, start, check or settings; without a name, a method has its class's.
        Raises ValueError if another name is missing or one is unknown.
        """
        names = {*COLUMNS, *FACTS, "target", "completeness", "versions", "messages", "path", "faithfulness"}
        values = {
            "path": None,
            "start": None,
            "faithfulness": None,
            "settings": "",
            "method_name": str(plain.get("method")).partition("(")[0],
            **plain,
        }
        if set(values) != names:
            raise ValueError(f"this is not a saved attribution: missing or unknown are {sorted(names ^ set(values))}")
        return cls(
            pieces=ScoredPiece.from_columns(**{name: values[name] for name in COLUMNS}),
            target=values["target"] and Target.from_dict(values["target"]),
            completeness=Completeness(**values["completeness"]) if values["completeness"] else None,
            versions=dict(values["versions"]),
            messages=tuple(Message(**message) for message in values["messages"]),
            path=values["path"] and StraightPath.from_dict(values["path"]),
            faithfulness=values["faithfulness"] and Faithfulness.from_dict(values["faithfulness"]),
            **{name: values[name] for name in FACTS},
        )

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
            "start": self.start,
            "gap": self.gap_text,
            "check": self.checked,
            "completeness": self.completeness and asdict(self.completeness),
            "gradients_spent": self.gradients_spent,
            "versions": self.versions,
        }

    def _check_pieces(self) -> None:
        """Raise ValueError if these are totals already: groups may straddle what their pieces do not."""
        if self.by != "piece":
            raise ValueError(f"these are totals by {self.by} already; take the totals of what they were made from")


def _column(numbers: Iterable[float]) -> Tensor:
    return torch.tensor(list(numbers), dtype=torch.float64)


def _column_if_known(numbers: Iterable[float | None]) -> Tensor | None:
    """None if any is unknown: a method knows it of all pieces or of none."""
    found = list(numbers)
    known = [number for number in found if number is not None]
    return _column(known) if known and len(known) == len(found) else None
