"""The shortest part of a prompt for which a model still says the same: words go, and every step is verified."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from jaxtyping import Float
from torch import Tensor

from interpret.engine.evaluate import read_next_tokens
from interpret.engine.run import Counts, Run
from interpret.question.quantity import lead, next_logits
from interpret.replacement.editing import Editing, Word
from interpret.results.counterfactual import Reduction, Span, Step
from nexttoken import NextTokenLM, Prompt, Target

BLOCKS = 8  # that a long prompt is cut into at first; they become smaller where none can go
FEW = 24  # words that are taken away one by one from the beginning


@dataclass(frozen=True)
class Left:
    """What is left of a prompt, and what the model says after it.

    Attributes:
        gone: the numbers of the words that were taken away.
        before: what was left one step earlier; None at the whole prompt.
        row: its ids.
        text: of it.
        score: how well the condition holds; at least 0 where it does.
        probability: of the target.
        rank: of the target.
    """

    gone: frozenset[int]
    before: Left | None
    row: tuple[int, ...]
    text: str
    score: float
    probability: float
    rank: int


class Reducing:
    """A search for the shortest part of a prompt that will do.

    Args:
        lm: the model; it comes back as it was.
        prompt: what is shortened.
        target: the next token that is to be said still.
        least: the least log-probability; None where the target has to stay the first choice.
        editing: what may be taken away.
        run: memory, progress and counts.
    """

    def __init__(self, lm: NextTokenLM, prompt: Prompt, target: int, least: float | None, editing: Editing, run: Run):
        self.lm, self.prompt, self.target, self.least = lm, prompt, target, least
        self.editing, self.run, self.counts = editing, run, Counts()

    def said(self, some: Sequence[tuple[frozenset[int], Left | None]]) -> list[Left]:
        """What is left without some words, and how the model goes on there; a forward pass for each."""
        words, made = self.editing.whole, []
        for gone, before in some:
            without = self.editing.without([words[number] for number in sorted(gone)])
            if without is not None:
                made.append((gone, before, tuple(without[0]), without[1]))
        numbers = read_next_tokens(
            self.lm, [row for _, _, row, _ in made], self._read, self.prompt, self.run, self.counts
        )
        return [
            Left(*each, float(score), math.exp(float(logarithm)), int(more) + 1)
            for each, (score, logarithm, more) in zip(made, numbers.tolist() if made else [], strict=True)
        ]

    def _read(self, logits: Float[Tensor, "row vocab"]) -> Float[Tensor, "row 3"]:
        own = logits[:, self.target]
        logarithm = own - logits.logsumexp(-1)
        score = lead(logits, self.target) if self.least is None else logarithm - self.least
        return torch.stack([score, logarithm, (logits > own[:, None]).sum(-1).to(score)], -1)

    def shortest(self, beam: int) -> Left:
        """Beam search, best score first: blocks of words go while any may, then smaller ones, at last single words."""
        count = len(self.editing.whole)
        whole = self.said([(frozenset(), None)])
        size = 1 if count <= FEW else count // BLOCKS
        levels = [whole]
        while True:
            children: dict[frozenset[int], Left] = {}
            for state in levels[-1]:
                left = [number for number in range(count) if number not in state.gone]
                for begin in range(0, len(left), size):
                    gone = state.gone | set(left[begin : begin + size])
                    if len(gone) < count:
                        children.setdefault(gone, state)
            tried = self.said(list(children.items()))
            by_text = {each.text: each for each in reversed(tried) if each.score >= 0}
            good = sorted(by_text.values(), key=lambda each: (-each.score, sorted(each.gone)))
            if good:
                levels.append(good[:beam])
            elif size > 1:
                size //= 2
            else:
                break
        for level in reversed(levels):
            for state in sorted(level, key=lambda each: (-len(each.gone), len(each.text), -each.score)):
                if self._confirmed(state):
                    return state
        return whole[0]

    def _confirmed(self, state: Left) -> bool:
        # Run alone, as anybody would run it.
        (again,) = self.said([(state.gone, state.before)])
        return again.score >= 0


def reduction_facts(search: Reducing, found: Left, keep: str | float) -> Reduction:
    """What a search found, as data."""
    lm, prompt, editing = search.lm, search.prompt, search.editing
    spent, steps = search.counts.forwards, []
    state: Left | None = found
    while state is not None and state.before is not None:
        removed = [editing.whole[number].text for number in sorted(state.gone - state.before.gone)]
        steps.append(Step("".join(removed), state.text, state.probability, state.rank))
        state = state.before
    after = editing.as_prompt(found.row, found.text) if found.gone else prompt
    before, then = (
        Target.rated(search.target, lm.vocab, next_logits(lm, each, [len(each) - 1])[0]) for each in (prompt, after)
    )
    words = list(enumerate(editing.whole))
    return Reduction(
        kept=_spans(prompt, [word for number, word in words if number not in found.gone], editing.whole),
        removed=_spans(prompt, [word for number, word in words if number in found.gone], editing.whole),
        original=prompt.text,
        prompt=found.text if found.gone else prompt.text,
        before=before,
        after=then,
        keep=keep,
        steps=tuple(reversed(steps)),
        forwards=spent,
        messages=editing.messages_of(found.text, found.row),
    )


def _spans(prompt: Prompt, some: Sequence[Word], words: Sequence[Word]) -> tuple[Span, ...]:
    """Words as stretches of the text: those that follow each other are one."""
    number = {word.start: place for place, word in enumerate(words)}
    spans = []
    for _, group in groupby(enumerate(some), key=lambda each: (number[each[1].start] - each[0], each[1].message)):
        run = [word for _, word in group]
        cut = [run[0]]
        for word in run[1:]:
            if word.start != cut[-1].end:
                spans.append(_span(prompt, cut))
                cut = []
            cut.append(word)
        spans.append(_span(prompt, cut))
    return tuple(spans)


def _span(prompt: Prompt, words: Sequence[Word]) -> Span:
    start, end = words[0].start, words[-1].end
    return Span(start, end, prompt.text[start:end])
