"""The shortest part of a prompt for which a model still says the same: words go, and every step is verified."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from interpret.engine.evaluate import read_next_tokens
from interpret.engine.run import Counts, Run, interruptible
from interpret.question.quantity import lead, next_logits
from interpret.replacement.editing import Edited, Editing, Word, check_count, quiet
from interpret.results.counterfactual import Reduction, Span, Step
from interpret.results.files import versions
from nexttoken import NextTokenLM, Target
from nexttoken.text.prompt import PromptLike, Start
from nexttoken.text.target import TokenLike

BLOCKS = 8  # that a long prompt is cut into at first; they become smaller where none can go
FEW = 24  # words that are taken away one by one from the beginning


def reduce_input(
    lm: NextTokenLM,
    prompt: PromptLike,
    target: TokenLike | None = None,
    *,
    keep: str | float = "first",
    beam: int = 3,
    start: Start = None,
    memory_budget: int | None = None,
    on_progress: Callable[[int], object] | None = None,
) -> Reduction:
    """Find the shortest part of a prompt for which the model still says the same.

    Words are deleted and the text tokenized anew; a chat's template stays. Every step is verified by a forward pass.
    Of each number of words, the search continues from the `beam` parts that keep it best (Feng et al. 2018,
    arXiv:1804.07781, delete the word that the gradient scores lowest); of a prompt of more than 24 words, blocks are
    tried before words.

    Args:
        lm: the model; it comes back as it was, after errors too.
        prompt: as for `attribute`, and so are `start` and `memory_budget`.
        target: the next token that the model has to predict still; None for the model's first choice.
        keep: "first" if it has to stay the first choice, or the least share of its probability, from 0 to 1.
        beam: how many parts the search continues from.
        on_progress: called with the number of passes just done; an exception that it raises cancels the search.

    Returns:
        A Reduction, in which every word that is left is needed. Costs a forward pass for each part that is tried: for
        n words up to `beam` x n² / 2 of them, on texts that become shorter.

    Raises:
        ValueError: as for `attribute`; a target that is not the first choice, with `keep="first"`; another `keep`.
    """
    check_count("beam", beam)
    if keep != "first" and (isinstance(keep, str | bool) or not 0 < keep <= 1):
        raise ValueError(f"keep is {keep!r}; it must be 'first', or a share of the probability, above 0 and at most 1")
    run = Run.of(memory_budget=memory_budget, on_progress=on_progress)
    encoded = lm.prompt(prompt, start)
    logits = next_logits(lm, encoded, [len(encoded) - 1])[0]
    asked = Target.of(target, encoded, lm.vocab, logits)
    least = None if isinstance(keep, str) else float(logits.log_softmax(-1)[asked.id]) + math.log(keep)
    if keep == "first" and asked.rank > 1:
        raise ValueError(
            f"{asked.text!r} is not the model's first choice, which is {lm.vocab.token_text(int(logits.argmax()))!r}; "
            "leave out the target, or give keep=0.5 to keep half of its probability"
        )
    search = _Search(Editing(lm, encoded, whole=True), asked.id, least, run)
    with quiet(), interruptible():
        found = search.shortest(beam)
        words, left = search.editing.words, search.editing.as_prompt(found.made)
        return Reduction(
            kept=_spans(encoded.text, [word for number, word in enumerate(words) if number not in found.gone]),
            removed=_spans(encoded.text, [words[number] for number in sorted(found.gone)]),
            original=encoded.text,
            prompt=found.made.text,
            before=asked,
            after=Target.rated(asked.id, lm.vocab, next_logits(lm, left, [len(left) - 1])[0]),
            keep=keep,
            steps=found.steps,
            forwards=search.counts.forwards,
            messages=search.editing.messages_of(found.made),
            facts_of={"model": lm.name, "beam": beam, "versions": versions()},
        )


@dataclass(frozen=True)
class _Part:
    """What is left of a prompt without some words, by number; the score is at least 0 where the target is kept."""

    gone: frozenset[int]
    made: Edited
    score: float
    steps: tuple[Step, ...]


class _Search:
    """The search for the shortest part; `least` is a log-probability, None where the target stays the first choice."""

    def __init__(self, editing: Editing, target: int, least: float | None, run: Run):
        self.editing, self.target, self.least, self.run, self.counts = editing, target, least, run, Counts()

    def tried(self, some: Mapping[frozenset[int], _Part | None]) -> list[_Part]:
        """What is left without some words, and one step earlier; a forward pass for each."""
        editing, words = self.editing, self.editing.words
        every = {gone: editing.without([words[number] for number in sorted(gone)]) for gone in some}
        made = {gone: without for gone, without in every.items() if without is not None}
        rows = [without.row for without in made.values()]
        numbers = read_next_tokens(editing.lm, rows, self._read, editing.prompt, self.run, self.counts).tolist()
        parts = []
        for gone, (score, logarithm, more) in zip(made, numbers, strict=True):
            before, steps = some[gone], list[Step]()
            if before is not None:
                removed = "".join(words[number].text for number in sorted(gone - before.gone))
                steps = [*before.steps, Step(removed, made[gone].text, math.exp(logarithm), int(more) + 1)]
            parts.append(_Part(gone, made[gone], score, tuple(steps)))
        return parts

    def _read(self, logits: Float[Tensor, "row vocab"]) -> Float[Tensor, "row 3"]:
        own = logits[:, self.target]
        logarithm = own - logits.logsumexp(-1)
        score = lead(logits, self.target) if self.least is None else logarithm - self.least
        return torch.stack([score, logarithm, (logits > own[:, None]).sum(-1).to(score)], -1)

    def shortest(self, beam: int) -> _Part:
        """Beam search, best score first: blocks of words go while any may, then smaller ones, at last single words."""
        count = len(self.editing.words)
        size = 1 if count <= FEW else count // BLOCKS
        levels = [self.tried({frozenset(): None})]
        while True:
            children: dict[frozenset[int], _Part | None] = {}
            for part in levels[-1]:
                left = [number for number in range(count) if number not in part.gone]
                for begin in range(0, len(left), size):
                    gone = part.gone | set(left[begin : begin + size])
                    if len(gone) < count:
                        children.setdefault(gone, part)
            tried = self.tried(children)
            by_text = {each.made.text: each for each in reversed(tried) if each.score >= 0}
            good = sorted(by_text.values(), key=lambda each: (-each.score, sorted(each.gone)))
            if good:
                levels.append(good[:beam])
            elif size > 1:
                size //= 2
            else:
                break
        for level in reversed(levels):
            for part in sorted(level, key=lambda each: (-len(each.gone), len(each.made.text), -each.score)):
                if self.tried({part.gone: None})[0].score >= 0:  # run alone, as anybody would run it
                    return part
        return levels[0][0]


def _spans(text: str, words: Sequence[Word]) -> tuple[Span, ...]:
    """Words as stretches of the text: those that follow each other are one."""
    runs: list[list[Word]] = []
    for word in words:
        if runs and (runs[-1][-1].end, runs[-1][-1].message) == (word.start, word.message):
            runs[-1].append(word)
        else:
            runs.append([word])
    return tuple(Span(run[0].start, run[-1].end, text[run[0].start : run[-1].end]) for run in runs)
