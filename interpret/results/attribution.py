"""One score per piece of the prompt, and all that is needed to say what it means."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, final

import numpy
from jaxtyping import Float
from numpy import ndarray

from interpret.results.certificate import Completeness, StraightPath
from interpret.results.faithfulness import Faithfulness
from interpret.results.files import Result, function_of
from interpret.results.numbers import NumberFormat, format_number
from interpret.results.reduction import REDUCTIONS, SUM, Division, check_messages, groups_of, message_numbers, moved
from nexttoken import Message, Target

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TEMPLATE = "template"
EXPLAINED = ("quantity", "unit", "model", "method", "reduction", "by", "start")  # of the provenance
COLUMNS = ("tokens", "scores", "labels", "token_ids", "standard_error", "error", "fixed", "template")  # of the pieces


class ScoredPiece(NamedTuple):
    """A row of an attribution's columns: a piece of the prompt's text, or several of them as a group."""

    text: str
    label: str
    ids: tuple[int, ...]
    score: float
    standard_error: float | None
    error: float | None
    fixed: bool
    template: bool


@final
@dataclass(frozen=True, eq=False, repr=False)
class Attribution(Result):
    """One score per piece of the prompt, all that is needed to say what it means, and views of it.

    The columns have an entry for each piece; `pieces` has the same as rows.

    Attributes:
        tokens: the exact texts; joined, they are the prompt. Empty for a token that the tokenizer added.
        scores: (piece,) in float64; 0 where a piece was fixed. Signed scores support the target where positive.
        labels: what to show for each piece: its text, or the name of an added token.
        fixed: True for pieces that were not attributed and have no score.
        template: True for pieces written by the tokenizer or the chat template.
        target: with its foils, and the tokens that follow it in a span; None for a quantity of the whole distribution.
        quantity: what about the target is explained, such as its log-probability.
        method: with all settings, as an expression; figures have its `method_name` and, in words, what matters of its
            `settings`.
        reduction: how the embedding's dimensions became one score.
        gradients_spent: one forward and one backward pass each.
        forwards_spent: forward passes without a gradient.
        standard_error: (piece,) of the scores, for methods that sample; otherwise None.
        error: (piece,) how far off each score may be numerically, for methods that can tell; otherwise None.
        completeness: for path methods, whether the scores add up; otherwise None.
        messages: of a chat, with their roles and the characters of the prompt they cover; none for other prompts.
        by: what has one score each: a piece of the prompt, or what the pieces' scores were totalled by.
        path: the objective along the path that was integrated, for methods that follow a straight one; otherwise None.
        start: the start token that was put in front of the prompt as context; None where it is read as it is.
        faithfulness: whether the model confirms the scores, where that was checked; otherwise None.
    """

    tokens: tuple[str, ...]
    scores: Float[ndarray, " piece"]
    labels: tuple[str, ...]
    token_ids: tuple[tuple[int, ...], ...]
    fixed: tuple[bool, ...]
    template: tuple[bool, ...]
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
    standard_error: Float[ndarray, " piece"] | None = None
    error: Float[ndarray, " piece"] | None = None
    completeness: Completeness | None = None
    versions: dict[str, str] = field(default_factory=dict)
    messages: tuple[Message, ...] = ()
    by: str = "piece"
    path: StraightPath | None = None
    start: str | None = None
    faithfulness: Faithfulness | None = None
    settings: str = ""

    fragment = "interpret.views.html:html"

    def __post_init__(self) -> None:
        lengths = {name: len(column) for name in COLUMNS if (column := getattr(self, name)) is not None}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"the columns have an entry for each piece, and these differ in length: {lengths}")

    def __len__(self) -> int:
        return len(self.tokens)

    @cached_property
    def pieces(self) -> tuple[ScoredPiece, ...]:
        """The columns as rows, one for each piece."""
        errors = [[None] * len(self) if each is None else each.tolist() for each in (self.standard_error, self.error)]
        columns = (self.tokens, self.labels, self.token_ids, self.scores.tolist(), *errors, self.fixed, self.template)
        return tuple(map(ScoredPiece, *columns))

    @cached_property
    def roles(self) -> tuple[str | None, ...]:
        """The role that wrote each piece; None for the template, and for prompts that are not chats."""
        numbers = message_numbers(self.tokens, self.messages)
        return tuple(None if number is None else self.messages[number].role for number in numbers)

    @property
    def prompt(self) -> str:
        """The prompt's text."""
        return "".join(self.tokens)

    @property
    def title(self) -> str:
        target = self.target
        if target is None:
            return f"What raises or lowers the {self.quantity}?"
        if target.following:
            probability = math.prod(each.probability for each in target.continuation)
            text = "".join(each.text for each in target.continuation)
            return f"Why {text!r}? p = {format_number(probability)} for its {len(target.continuation)} tokens"
        own = f"p = {format_number(target.probability)}" + (f" (rank {target.rank})" if target.rank > 1 else "")
        if not target.foils:
            return f"Why {target.text!r}? {own}"
        foils = " or ".join(repr(foil.text) for foil in target.foils)
        against = " and ".join(format_number(foil.probability) for foil in target.foils)
        return f"Why {target.text!r} rather than {foils}? {own} against {against}"

    @property
    def heading(self) -> str:
        return f"{self.title}{' ' if self.title.endswith('?') else ', '}{self.model}"

    @property
    def facts(self) -> str:
        totals = "" if self.by == "piece" else f"totals by {self.by}"
        return ", ".join(filter(None, [self.method_name, self.settings, self.gap_text, self.start_text, totals]))

    @property
    def checked(self) -> str:
        return "" if self.faithfulness is None else self.faithfulness.sentence

    @property
    def start_text(self) -> str:
        """The start token that was put in front, in words; empty where there is none."""
        return "" if self.start is None else f"with start token {self.start}"

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
        order = numpy.argsort(-abs(self.scores), kind="stable").tolist()
        return [(self.labels[piece], float(self.scores[piece])) for piece in order if not self.fixed[piece]][:k]

    def totals(self, by: Division, template: bool = True, language: str = "en") -> Attribution:
        """The scores of words, sentences, lines, messages or spans: a result with one score for each of them.

        A group is made of whole pieces: a piece belongs to the group that its first character other than a space lies
        in. Groups never mix a message with another one or with the template. Signed scores are added, exactly;
        unsigned ones are joined as their reduction says, so that a total is the score of the group's tokens together:
        norms are the root of the sum of squares (L2) or the sum (L1), shares are added. A group is fixed if all of its
        pieces are. Totals of scores that are correlated have no standard error; numerical errors add up. What was
        checked of the pieces is not true of their totals, so these are unchecked.

        Args:
            by: "word" (Unicode's word boundaries; a space belongs to the word after it, and a run of punctuation or of
                line ends is a word of its own), "sentence" (as sentencex divides each line, which knows abbreviations
                such as "Dr."; a line's end ends a sentence, and empty lines belong to what stands before them), "line",
                "message" (the template between messages is a group too), or (start, end) character spans of the prompt:
                each is one group, messages or not, and so is the text between two.
            template: False to leave out the groups of the template; the texts, joined, are then no longer the prompt.
            language: of sentences, as a code such as "de", for its abbreviations and ordinals; in languages that
                sentencex does not know, its general rules hold.

        Raises:
            ValueError: an unknown division, messages where there are none, spans that overlap, lie outside the prompt
                or have no piece of their own, or unsigned scores that do not tell their total.
        """
        self._check_pieces()
        groups = groups_of(self.tokens, self.template, self.messages, by, template, language)
        error = self.error
        return replace(
            self,
            tokens=tuple("".join(self.tokens[piece] for piece in group) for group in groups),
            scores=self.group_scores(groups),
            labels=tuple("".join(self.labels[piece] for piece in group) for group in groups),
            token_ids=tuple(tuple(each for piece in group for each in self.token_ids[piece]) for group in groups),
            fixed=tuple(all(self.fixed[piece] for piece in group) for group in groups),
            template=tuple(all(self.template[piece] for piece in group) for group in groups),
            standard_error=None,
            error=None if error is None else numpy.array([error[group].sum() for group in groups]),
            messages=moved(self.tokens, [piece for group in groups for piece in group], self.messages),
            by=by if isinstance(by, str) else "span",
            faithfulness=None,
        )

    def role_totals(self, template: bool = True) -> dict[str, float]:
        """The total score of each role of a chat, and of the "template" unless that is left out; see `totals`.

        A role whose messages are all empty has none.

        Raises:
            ValueError: a prompt that is not a chat, or unsigned scores that do not tell their total.
        """
        self._check_pieces()
        check_messages(self.messages)
        names = list(dict.fromkeys(message.role for message in self.messages))
        if TEMPLATE in names:
            raise ValueError(
                f"a role is named {TEMPLATE!r}, which stands for the chat template here; take totals by message"
            )
        owners = [role or (TEMPLATE if template else None) for role in self.roles]
        found = {name: [at for at, owner in enumerate(owners) if owner == name] for name in (*names, TEMPLATE)}
        found = {name: pieces for name, pieces in found.items() if pieces}
        return dict(zip(found, self.group_scores(list(found.values())).tolist(), strict=True)) if found else {}

    def group_scores(self, groups: Sequence[Sequence[int]]) -> Float[ndarray, " group"]:
        """(group,) the scores of groups of pieces, given by their numbers. Raises ValueError as `totals` does."""
        reduction = SUM if self.unit == "share" else REDUCTIONS.get(self.reduction)
        if reduction is None:
            known = ", ".join(each.name for each in REDUCTIONS.values() if each.inverse is not None)
            raise ValueError(f"no rule for totals is known for the reduction {self.reduction!r}, only for {known}")
        return reduction.join(self.scores, numpy.array([len(ids) for ids in self.token_ids]), groups)

    def provenance(self) -> dict[str, Any]:
        target = self.target
        return {
            "prompt": self.prompt,
            "target": target and "".join(each.text for each in target.continuation),
            "foils": [foil.text for foil in target.foils] if target else [],
            **{name: getattr(self, name) for name in EXPLAINED},
            "gap": self.gap_text,
            "check": self.checked,
            "completeness": self.completeness and asdict(self.completeness),
            "gradients_spent": self.gradients_spent,
            "versions": self.versions,
        }

    def _check_pieces(self) -> None:
        if self.by != "piece":  # groups may straddle what their pieces do not
            raise ValueError(f"these are totals by {self.by} already; take the totals of what they were made from")

    def heatmap(self, width: float | str | None = None, ax: Axes | None = None) -> Figure:
        """The prompt as running text, each piece on its colour, as a matplotlib figure; see `interpret.heatmap`.

        A `width` in inches has names: "column" (3.03) and "text" (5.5), which fit ACL, ICML and NeurIPS.
        """
        return function_of("interpret.views.heatmap:heatmap")(self, width, ax)

    def bars(self, top: int = 30, width: float | str | None = None, ax: Axes | None = None) -> Figure:
        """The scores of the `top` pieces as bars with their errors, as a matplotlib figure; see `interpret.bars`."""
        return function_of("interpret.views.bars:bars")(self, top, width, ax)

    def path_plot(self, width: float | str | None = None, ax: Axes | None = None) -> Figure:
        """The objective along a path method's path, as a matplotlib figure; see `interpret.path_plot`."""
        return function_of("interpret.views.bars:path_plot")(self, width, ax)

    def to_frame(self) -> pandas.DataFrame:
        """The pieces as a pandas DataFrame (piece,), with a score of NaN where a piece was fixed.

        Raises:
            ImportError: pandas is missing.
        """
        return function_of("interpret.views.spreadsheet:frame")(self)

    def __repr__(self) -> str:
        width = max(map(len, map(repr, self.labels)))
        numbers = NumberFormat.of(float(abs(self.scores).max()), self.signed)
        rows = [
            f"  {piece.label!r:<{width}}  {'fixed' if piece.fixed else numbers(piece.score)}" for piece in self.pieces
        ]
        of = f"{self.quantity} in {numbers.unit(self.unit)}"
        facts = ", ".join(filter(None, [of, self.method, self.gap_text, f"{self.gradients_spent} gradients"]))
        return "\n".join([f"Attribution: {self.heading}", f"  {facts}", *rows])
