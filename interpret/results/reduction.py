"""From (token, dim) to one score per piece of text, and from pieces to words, sentences, lines, messages and spans."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, groupby
from numbers import Integral

import numpy
import regex
import sentencex
from jaxtyping import Float, Int
from numpy import ndarray

from nexttoken import Message

Division = str | Sequence[tuple[int, int]]

# Where a word begins. Unicode says what is a word (UAX #29) and a mark.
WORD = regex.compile(
    r"""(?wV1x) \b
    (?<! [^\S\n])                                                 # a space belongs to what follows it,
    (?! (?<=\n) \s* \n)                                           # empty lines to the line end before them,
    (?! (?<=[\p{P}\p{S}--\p{Pc}\p{So}]) [\p{P}\p{S}--\p{Pc}\p{So}])    # and marks in a row belong together
    """
)
LINE = regex.compile(r"(?<=\n)")
DIVISIONS = "'word', 'sentence', 'line', 'message'"


@dataclass(frozen=True)
class Reduction:
    """A score for each piece: `outer` of the sum of `inner` over the piece's tokens and dimensions.

    Attributes:
        name: as it stands in results.
        signed: whether positive scores support the target and negative ones oppose it.
        inner: applied to every number.
        outer: applied to the sum and to the count of numbers summed.
        inverse: of `outer`: the sum, from a score and its count; None where the score does not tell it.
    """

    name: str
    signed: bool
    inner: Callable[[ndarray], ndarray] = field(repr=False)
    outer: Callable[[ndarray, ndarray], ndarray] = field(repr=False)
    inverse: Callable[[ndarray, ndarray], ndarray] | None = field(repr=False, default=None)

    def __call__(
        self, attributions: Float[ndarray, "token dim"], pieces: Sequence[Sequence[int]]
    ) -> Float[ndarray, " piece"]:
        """One score per piece, in float64; `pieces` lists the positions of each piece's tokens."""
        per_token = self.inner(attributions.astype(numpy.float64)).sum(-1)
        positions, owner = _members(pieces)
        total = numpy.bincount(owner, per_token[positions], len(pieces))
        return self.outer(total, numpy.bincount(owner, minlength=len(pieces)) * attributions.shape[-1])

    def join(
        self, scores: Float[ndarray, " piece"], tokens: Int[ndarray, " piece"], groups: Sequence[Sequence[int]]
    ) -> Float[ndarray, " group"]:
        """The scores of groups of pieces: what the reduction gives for a group's tokens taken together.

        `tokens` counts each piece's tokens, and `groups` lists the numbers of each group's pieces. Raises ValueError
        where a group's score does not follow from those of its pieces.
        """
        if self.inverse is None:
            raise ValueError(
                f"scores that are the {self.name} do not tell their total: the signs of what would cancel in it are "
                "lost. Take a method with signed scores, or one whose scores are norms"
            )
        pieces, owner = _members(groups)
        total = numpy.bincount(owner, self.inverse(scores[pieces], tokens[pieces]))
        return self.outer(total, numpy.bincount(owner, tokens[pieces]))


def _members(groups: Sequence[Sequence[int]]) -> tuple[list[int], Int[ndarray, " member"]]:
    # The members of all groups, and the number of the group that each is of.
    owner = numpy.repeat(numpy.arange(len(groups)), [len(group) for group in groups])
    return [member for group in groups for member in group], owner


def _unchanged(total: ndarray, count: ndarray) -> ndarray:
    return total


SUM = Reduction("sum", True, lambda a: a, _unchanged, _unchanged)
TOTAL = Reduction("sum of squares", False, lambda a: a, _unchanged, _unchanged)
NORM_1 = Reduction("L1 norm", False, numpy.abs, _unchanged, _unchanged)
NORM_2 = Reduction(
    "L2 norm", False, numpy.square, lambda total, count: numpy.sqrt(total), lambda score, count: numpy.square(score)
)
ABSOLUTE_SUM = Reduction("absolute value of the sum", False, lambda a: a, lambda total, count: abs(total))
MEAN_ABSOLUTE = Reduction(
    "mean of absolute values", False, numpy.abs, lambda total, count: total / count, lambda score, count: score * count
)
REDUCTIONS = {each.name: each for each in (SUM, TOTAL, NORM_1, NORM_2, ABSOLUTE_SUM, MEAN_ABSOLUTE)}


def groups_of(
    texts: Sequence[str],
    template: Sequence[bool],
    messages: Sequence[Message],
    by: Division,
    with_template: bool,
    language: str,
) -> list[list[int]]:
    """The numbers of the pieces in each group, in the order of the text; see `Attribution.totals`.

    Raises:
        ValueError: an unknown division, messages where there are none, spans that overlap, lie outside the text or have
            no piece of their own, or nothing left without the template.
    """
    sections = _sections(texts, messages, by, language)
    if isinstance(by, str):
        keys: list[tuple[object, ...]] = list(zip(sections, template, message_numbers(texts, messages), strict=True))
    else:  # the caller's spans are not cut where messages meet
        keys = [(section, text == "") for section, text in zip(sections, texts, strict=True)]
    kept = [piece for piece in range(len(texts)) if with_template or not template[piece]]
    if not kept:
        raise ValueError("the whole prompt is template, so nothing is left without it")
    return [list(group) for _, group in groupby(kept, key=lambda piece: keys[piece])]


def word_numbers(texts: Sequence[str]) -> list[int]:
    """The number of the word that each piece lies in."""
    return _sections(texts, (), "word", "en")


def offsets(texts: Sequence[str]) -> list[int]:
    """Where each piece begins in the text that they are together, in characters."""
    return list(accumulate(map(len, texts), initial=0))[:-1]


def first_characters(texts: Sequence[str]) -> list[int]:
    """Where each piece's first character other than a space is; where it begins, if it is all spaces."""
    return [
        start + (len(text) - len(text.lstrip()) if text.strip() else 0)
        for start, text in zip(offsets(texts), texts, strict=True)
    ]


def message_numbers(texts: Sequence[str], messages: Sequence[Message]) -> list[int | None]:
    """The message that each piece is of, the first that it shares a character with; None for the template."""
    found: list[int | None] = []
    for start, text in zip(offsets(texts), texts, strict=True):
        end = start + len(text)
        found.append(next((at for at, each in enumerate(messages) if start < each.end and each.start < end), None))
    return found


def is_span(value: object) -> bool:
    """Whether it is a pair of whole numbers, as (start, end) in characters is."""
    return isinstance(value, Sequence) and len(value) == 2 and all(isinstance(end, Integral) for end in value)


def moved(texts: Sequence[str], kept: Sequence[int], messages: Sequence[Message]) -> tuple[Message, ...]:
    """The messages where they stand in the text of the pieces that are kept."""
    starts = offsets(texts)
    ends = [(starts[piece], starts[piece] + len(texts[piece])) for piece in kept]

    def before(character: int) -> int:
        return sum(max(0, min(end, character) - start) for start, end in ends)

    return tuple(replace(message, start=before(message.start), end=before(message.end)) for message in messages)


def check_messages(messages: Sequence[Message]) -> None:
    """Raise ValueError unless the prompt is a chat."""
    if not messages:
        raise ValueError("this prompt is not a chat, so it has no messages; give the prompt as messages")


def _sections(texts: Sequence[str], messages: Sequence[Message], by: Division, language: str) -> list[int]:
    """The number of the division that each piece lies in: where its first character other than a space does."""
    whole = "".join(texts)
    spans = [] if isinstance(by, str) else _checked(by, whole)
    if isinstance(by, str):
        borders = _borders(whole, messages, by, language)
    else:
        borders = sorted({border for span in spans for border in span})
    found = [bisect_right(borders, first) for first in first_characters(texts)]
    inside = {section for section, text in zip(found, texts, strict=True) if text}
    for start, end in spans:
        if bisect_right(borders, start) not in inside:
            raise ValueError(
                f"no piece begins in the span ({start}, {end}), {whole[start:end]!r}: it lies inside one piece or "
                "between two; widen it"
            )
    return found


def _borders(text: str, messages: Sequence[Message], by: str, language: str) -> list[int]:
    """The characters at which the words, sentences or lines of a text begin."""
    if by == "sentence":
        return list(_sentence_starts(text, language))
    if by == "message":
        check_messages(messages)
        return []
    if by not in ("word", "line"):
        raise ValueError(f"by is {by!r}; it must be {DIVISIONS} or (start, end) spans; for roles, take role_totals()")
    return [match.start() for match in (WORD if by == "word" else LINE).finditer(text)]


def _sentence_starts(text: str, language: str) -> Iterator[int]:
    """Where sentencex says that a sentence begins, line by line: it takes a line's end for a space within a sentence.

    It reads UTF-8, and fails at a space of several bytes before a full stop, so that all spaces are given to it as one
    of one byte, and surrogates as a sign; offsets in characters stay what they are.
    """
    readable = regex.sub(r"[^\S\n]|[\x1c-\x1f]", " ", regex.sub("[\ud800-\udfff]", "\ufffd", text))
    start = 0
    for line in readable.splitlines(keepends=True):
        for sentence in sentencex.get_sentence_boundaries(language, line) if line.strip() else ():
            if sentence["text"].strip():
                yield start + len(line[: sentence["start_index"]].rstrip())  # a space belongs to what follows it
        start += len(line)


def _checked(spans: Sequence[tuple[int, int]], text: str) -> list[tuple[int, int]]:
    """The spans in order. Raises ValueError if there are none, or one is empty, outside the text or over another."""
    if not isinstance(spans, Sequence) or not all(map(is_span, spans)):
        raise ValueError(f"by is {spans!r}; it must be {DIVISIONS}, or a list of (start, end)")
    if not spans:
        raise ValueError("there are no spans; give at least one (start, end) in characters of the prompt")
    ordered = sorted((int(start), int(end)) for start, end in spans)
    last = 0
    for start, end in ordered:
        if not 0 <= start < end <= len(text):
            raise ValueError(f"the span ({start}, {end}) is empty or outside the prompt's {len(text)} characters")
        if start < last:
            raise ValueError(f"the span ({start}, {end}) overlaps the one before it, which ends at {last}")
        last = end
    return ordered
