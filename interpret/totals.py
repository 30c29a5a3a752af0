"""Totals: the scores of words, sentences, lines, messages, spans and roles, from those of their pieces."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate, groupby

import regex
import torch
from jaxtyping import Float
from torch import Tensor

from interpret.attribution import Attribution, Division
from interpret.reduction import SUM, named

TEMPLATE = "template"

# Where a group begins. Unicode says what is a word (UAX #29), a sentence's end, a closing mark and a small letter.
WORD = regex.compile(
    r"""(?wV1x) \b
    (?<! [^\S\n])                                                 # a space belongs to what follows it,
    (?! (?<=\n) \s* \n)                                           # empty lines to the line end before them,
    (?! (?<=[\p{P}\p{S}--\p{Pc}\p{So}]) [\p{P}\p{S}--\p{Pc}\p{So}])    # and marks in a row belong together
    """
)
SENTENCE = regex.compile(
    r"""(?V1x)
    (?<=\n) (?! \s* \n | \s* \Z)
    | (?: (?<= [!?] \p{SB=Close}*) (?= [^\S\n])
        | (?<= [\p{SB=ATerm}…] \p{SB=Close}*) (?= [^\S\n]) (?! \s* \p{Lower})
        | (?<= [\p{SB=STerm}--[!?]] \p{SB=Close}*) (?! [\p{SB=STerm}\p{SB=ATerm}\p{SB=Close}]) )
      (?= [^\S\n]* \S)
    """
)
LINE = regex.compile(r"(?<=\n)")
PATTERNS = {"word": WORD, "sentence": SENTENCE, "line": LINE}


def totals(attribution: Attribution, by: Division, template: bool = True) -> Attribution:
    """An attribution with one score for each group of pieces; see `Attribution.totals`."""
    check_pieces(attribution)
    messages = message_numbers(attribution)
    divided = sections(attribution, by)
    if isinstance(by, str):
        name, keys = by, list(zip(divided, attribution.template, messages, strict=True))
    else:  # the caller's spans are not cut where messages meet
        name, keys = (
            "span",
            [(section, token == "", None) for section, token in zip(divided, attribution.tokens, strict=True)],
        )
    kept = [place for place in range(len(attribution)) if template or not attribution.template[place]]
    if not kept:
        raise ValueError("the whole prompt is template, so nothing is left without it")
    groups = [list(group) for _, group in groupby(kept, key=lambda place: keys[place])]
    starts = offsets(attribution)

    def kept_before(character: int) -> int:
        ends = [(starts[place], starts[place] + len(attribution.tokens[place])) for place in kept]
        return sum(max(0, min(end, character) - start) for start, end in ends)

    return replace(
        attribution,
        tokens=tuple("".join(attribution.tokens[place] for place in group) for group in groups),
        labels=tuple("".join(attribution.labels[place] for place in group) for group in groups),
        scores=joined(attribution, groups),
        standard_error=None,
        error=None if attribution.error is None else torch.stack([attribution.error[group].sum() for group in groups]),
        held=tuple(all(attribution.held[place] for place in group) for group in groups),
        template=tuple(all(attribution.template[place] for place in group) for group in groups),
        token_ids=tuple(
            tuple(token_id for place in group for token_id in attribution.token_ids[place]) for group in groups
        ),
        messages=tuple(
            replace(message, start=kept_before(message.start), end=kept_before(message.end))
            for message in attribution.messages
        ),
        by=name,
    )


def role_totals(attribution: Attribution, template: bool = True) -> dict[str, float]:
    """The total score of each role, in the chat's order, and of the template; see `Attribution.role_totals`."""
    check_pieces(attribution)
    check_messages(attribution)
    places: dict[str, list[int]] = {message.role: [] for message in attribution.messages}
    if TEMPLATE in places:
        raise ValueError(
            f"a role is named {TEMPLATE!r}, which stands for the chat template here; take totals by message"
        )
    places[TEMPLATE] = []
    for place, role in enumerate(roles(attribution)):
        if role is not None or template:
            places[role or TEMPLATE].append(place)
    found = {role: group for role, group in places.items() if group}
    if not found:
        return {}
    scores = joined(attribution, list(found.values()))
    return dict(zip(found, scores.tolist(), strict=True))


def roles(attribution: Attribution) -> tuple[str | None, ...]:
    """The role that wrote each piece; None for the template, and for prompts that are not chats."""
    return tuple(
        None if number is None else attribution.messages[number].role for number in message_numbers(attribution)
    )


def joined(attribution: Attribution, groups: Sequence[Sequence[int]]) -> Float[Tensor, " group"]:
    """The scores of groups of pieces. Shares of one whole are added; others are joined as their reduction says."""
    places = [place for group in groups for place in group]
    owner = torch.tensor([number for number, group in enumerate(groups) for _ in group])
    tokens = torch.tensor([len(attribution.token_ids[place]) for place in places])
    reduction = SUM if attribution.unit == "share" else named(attribution.reduction)
    return reduction.join(attribution.scores[places], tokens, owner)


def sections(attribution: Attribution, by: Division) -> list[int]:
    """The number of the division that each piece lies in: where its first character other than a space does."""
    text = attribution.prompt
    if isinstance(by, str):
        if by == "message":
            check_messages(attribution)
        elif by not in PATTERNS:
            raise ValueError(
                f"by is {by!r}; it must be 'word', 'sentence', 'line', 'message' or (start, end) spans; "
                "for roles, take role_totals()"
            )
        borders = [] if by == "message" else [match.start() for match in PATTERNS[by].finditer(text)]
        return [bisect_right(borders, place) for place in first_characters(attribution)]
    spans = checked(by, text)
    borders = sorted({border for span in spans for border in span})
    found = [bisect_right(borders, place) for place in first_characters(attribution)]
    inside = {section for section, token in zip(found, attribution.tokens, strict=True) if token}
    for start, end in spans:
        if bisect_right(borders, start) not in inside:
            raise ValueError(
                f"no piece begins in the span ({start}, {end}), {text[start:end]!r}: it lies inside one piece or "
                "between two; widen it"
            )
    return found


def checked(spans: Sequence[tuple[int, int]], text: str) -> list[tuple[int, int]]:
    """The spans in order. Raises ValueError if there are none, or one is empty, outside the text or over another."""
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


def message_numbers(attribution: Attribution) -> list[int | None]:
    """The message that each piece is of, the first that it shares a character with; None for the template."""
    starts = offsets(attribution)
    return [
        next(
            (
                number
                for number, message in enumerate(attribution.messages)
                if start < message.end and message.start < start + len(token)
            ),
            None,
        )
        for start, token in zip(starts, attribution.tokens, strict=True)
    ]


def first_characters(attribution: Attribution) -> list[int]:
    """Where each piece's first character other than a space is; where it begins, if it is all spaces."""
    return [
        start + (len(token) - len(token.lstrip()) if token.strip() else 0)
        for start, token in zip(offsets(attribution), attribution.tokens, strict=True)
    ]


def offsets(attribution: Attribution) -> list[int]:
    """Where each piece begins in the prompt, in characters."""
    return list(accumulate(map(len, attribution.tokens), initial=0))[:-1]


def check_pieces(attribution: Attribution) -> None:
    """Raise ValueError if these are totals already: groups may straddle what their pieces do not."""
    if attribution.by != "piece":
        raise ValueError(f"these are totals by {attribution.by} already; take the totals of what they were made from")


def check_messages(attribution: Attribution) -> None:
    """Raise ValueError unless the prompt is a chat."""
    if not attribution.messages:
        raise ValueError("this prompt is not a chat, so it has no messages; give the prompt as messages")
