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
from interpret.results.reduction import SUM, named
from interpret.results.totals import Division, check_messages, groups_of, message_numbers, moved
from nexttoken import Message, Target

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TEMPLATE = "template"
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
        token_ids: of each piece.
        fixed: True for pieces that were not moved and have no score.
        template: True for pieces written by the tokenizer or the chat template.
        target: the token that is explained, its foils, and those that follow it in a span; None for a quantity of the
            whole distribution.
        quantity: what about the target is explained, such as its log-probability.
        method: the method and its settings, as an expression; figures have its `method_name` and, in words, what
            matters of its `settings`.
        reduction: how the embedding's dimensions became one score.
        signed: whether scores have a direction; positive ones raise the quantity.
        gradients_spent: gradients taken, one forward and one backward pass each.
        forwards_spent: forward passes without a gradient.
        standard_error: (piece,) of the scores, for methods that sample; otherwise None.
        error: (piece,) how far off each score may be numerically, for methods that can tell; otherwise None.
        completeness: for path methods, whether the scores add up; otherwise None.
        messages: of a chat, with their roles and the characters of the prompt they cover; none for other prompts.
        by: what has one score each: a piece of the prompt, or what the pieces' scores were totalled by.
        path: the objective along the path that was integrated, for methods that follow a straight one; otherwise None.
        start: the start token that was put in front of the prompt as context; None where it is read as it is.
        faithfulness: whether the model bears the scores out, where that was checked; otherwise None.
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
        nothing = [None] * len(self)
        errors = [nothing if each is None else each.tolist() for each in (self.standard_error, self.error)]
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
        own = f"{format_number(target.probability)}{rank}"
        return f"Why {target.text!r} rather than {foils}? p = {own} against {against}"

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
        order = numpy.argsort(-abs(self.scores), kind="stable").tolist()
        return [(self.labels[piece], float(self.scores[piece])) for piece in order if not self.fixed[piece]][:k]

    def totals(self, by: Division, template: bool = True, language: str = "en") -> Attribution:
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

        A role whose messages are all empty has none. Raises ValueError for a prompt that is not a chat, and for
        unsigned scores that do not tell their total.
        """
        self._check_pieces()
        check_messages(self.messages)
        pieces: dict[str, list[int]] = {message.role: [] for message in self.messages}
        if TEMPLATE in pieces:
            raise ValueError(
                f"a role is named {TEMPLATE!r}, which stands for the chat template here; take totals by message"
            )
        pieces[TEMPLATE] = []
        for piece, role in enumerate(self.roles):
            if role is not None or template:
                pieces[role or TEMPLATE].append(piece)
        found = {role: group for role, group in pieces.items() if group}
        if not found:
            return {}
        return dict(zip(found, self.group_scores(list(found.values())).tolist(), strict=True))

    def group_scores(self, groups: Sequence[Sequence[int]]) -> Float[ndarray, " group"]:
        """(group,) the scores of groups of pieces, given by their numbers.

        Shares of one whole are added; others are joined as their reduction says. Raises ValueError for unsigned scores
        that do not tell their total.
        """
        pieces = [piece for group in groups for piece in group]
        owner = numpy.array([number for number, group in enumerate(groups) for _ in group])
        tokens = numpy.array([len(self.token_ids[piece]) for piece in pieces])
        reduction = SUM if self.unit == "share" else named(self.reduction)
        return reduction.join(self.scores[pieces], tokens, owner)

    def provenance(self) -> dict[str, Any]:
        """What was explained, how and with which versions, without the scores: plain values, for a file's metadata."""
        target = self.target
        return {
            "prompt": self.prompt,
            "target": target and "".join(each.text for each in target.continuation),
            "foils": [foil.text for foil in target.foils] if target else [],
            **{
                name: getattr(self, name)
                for name in ("quantity", "unit", "model", "method", "reduction", "by", "start")
            },
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
        """The prompt as running text, each piece on its colour: a matplotlib figure.

        It is `width` inches wide, or as wide as a name says, such as "column" (3.03) and "text" (5.5), which fit ACL,
        ICML and NeurIPS; by default as wide as it needs, up to 6.5. With `ax`, it is drawn there, and that figure is
        returned.
        """
        figure: Figure = function_of("interpret.views.heatmap:heatmap")(self, width, ax)
        return figure

    def bars(self, top: int = 30, width: float | str | None = None, ax: Axes | None = None) -> Figure:
        """The scores as bars with their errors, in the order of the text; of more than `top` pieces, the strongest.

        Returns a matplotlib figure `width` inches wide (6.5), that of `ax` if it is given.
        """
        figure: Figure = function_of("interpret.views.bars:bars")(self, top, width, ax)
        return figure

    def path_plot(self, width: float | str | None = None, ax: Axes | None = None) -> Figure:
        """The objective along the path from the baseline to the prompt, with the points that were spent on it.

        Returns a matplotlib figure `width` inches wide (6.5), that of `ax` if it is given. Raises ValueError if the
        method followed no straight path.
        """
        figure: Figure = function_of("interpret.views.bars:path_plot")(self, width, ax)
        return figure

    def to_frame(self) -> pandas.DataFrame:
        """The pieces as a pandas DataFrame (piece,): piece, ids, score, standard_error, fixed and template.

        A fixed piece has no score, and NaN for it. Raises ImportError without the package pandas.
        """
        frame: pandas.DataFrame = function_of("interpret.views.spreadsheet:frame")(self)
        return frame

    def __repr__(self) -> str:
        width = max(map(len, map(repr, self.labels)))
        numbers = NumberFormat.of(float(abs(self.scores).max()), self.signed)
        rows = [
            f"  {piece.label!r:<{width}}  {'fixed' if piece.fixed else numbers(piece.score)}" for piece in self.pieces
        ]
        of = f"{self.quantity} in {numbers.unit(self.unit)}"
        facts = ", ".join(filter(None, [of, self.method, self.gap_text, f"{self.gradients_spent} gradients"]))
        return "\n".join([f"Attribution: {self.heading}", f"  {facts}", *rows])
