"""One method on the evidence sets and on ordinary prompts: ranks of the evidence, and predictions of replacements."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import torch

from benchmarks.evidence.examples import KINDS, Example, examples
from benchmarks.prompts import PROMPTS
from interpret import LOG_PROBABILITY, Attribution, Failure, Method, Objective, attribute, attribute_many
from interpret.replacement.check import spearman, values_with_alternatives
from nexttoken import NextTokenLM, Prompt, Target
from nexttoken.text.prompt import PromptLike, Start

ORDINARY_A_KIND = 8  # of each of the five kinds of benchmarks/prompts.py: forty
MASKS, MASKED = 32, 0.3
DELETED, DRAWS = (0.1, 0.2, 0.3, 0.5, 0.7), 2
SEED = 0


@dataclass(frozen=True)
class Contender:
    """A method, and on how many examples of each kind it runs: fewer, the more it costs.

    Attributes:
        method: None for what is drawn at random.
        number: of examples of each kind of evidence.
        ordinary: of ordinary prompts of each kind.
        start: whether it runs behind a start token.
    """

    method: Method | None
    number: int
    ordinary: int = ORDINARY_A_KIND
    start: Start = None


def counting(lm: NextTokenLM) -> dict[str, list[int]]:
    """Of each kind, the numbers of the examples that count: the model prefers the target, and changes its mind."""
    found: dict[str, list[int]] = {}
    for kind in KINDS:
        found[kind] = [number for number, example in enumerate(examples(kind)) if _counts(lm, example)]
    return found


def _counts(lm: NextTokenLM, example: Example) -> bool:
    target, foil = (lm.vocab.one_id(word) for word in (example.target, example.foil))
    logits = _logits(lm, lm.prompt(example.prompt))
    if example.exchanged is None or logits[target] <= logits[foil]:
        return bool(logits[target] > logits[foil])
    exchanged = _logits(lm, lm.prompt(example.exchanged))
    return bool(exchanged[target] < exchanged[foil])


def _logits(lm: NextTokenLM, prompt: Prompt) -> torch.Tensor:
    tokens = lm.tokens(prompt)
    with torch.no_grad(), lm.frozen():
        return lm.logits(lm.embed(tokens), tokens)[0].float()


def ranks(
    lm: NextTokenLM, contender: Contender, chosen: Sequence[Example], contrastive: bool
) -> Iterator[dict[str, Any]]:
    """The rank of the evidence in each example's map, 1 being the highest score, and what the map cost."""
    if contender.method is None:
        for example in chosen:
            pieces, evidence = _pieces(lm, example)
            generator = torch.Generator().manual_seed(len(pieces))
            drawn = [torch.rand(len(pieces), generator=generator) for _ in range(200)]
            several = [rank_of(scores, [piece in evidence for piece in pieces]) for scores in drawn]
            yield {
                "reciprocal": fmean(1 / rank for rank in several), "top3": fmean(rank <= 3 for rank in several),
                "gradients": 0, "forwards": 0,
            }  # fmt: skip
        return
    results = attribute_many(
        lm,
        [example.prompt for example in chosen],
        [example.target for example in chosen],
        contender.method,
        contrasts=[example.foil for example in chosen] if contrastive else None,
        quantity=LOG_PROBABILITY if contrastive else None,
        start=contender.start,
        progress=False,
    )
    for example, why in zip(chosen, results, strict=True):
        if isinstance(why, Failure):
            yield {"refused": str(why.error)}
            continue
        pieces, evidence = _pieces(lm, example)
        scores = torch.tensor([-torch.inf if why.fixed[piece] else float(why.scores[piece]) for piece in pieces])
        rank = rank_of(scores, [piece in evidence for piece in pieces])
        yield {
            "reciprocal": 1 / rank, "top3": float(rank <= 3),
            "gradients": why.gradients_spent, "forwards": why.forwards_spent,
        }  # fmt: skip


def rank_of(scores: torch.Tensor, evidence: Sequence[bool]) -> float:
    """The rank of the best piece of evidence, 1 for the highest score; pieces of the same score share theirs.

    What was fixed has no score (minus infinity) and comes last.
    """
    mine = scores[torch.tensor(evidence)].max()
    return float((scores > mine).sum() + ((scores == mine).sum() + 1) / 2)


def _pieces(lm: NextTokenLM, example: Example) -> tuple[list[int], set[int]]:
    """The numbers of the pieces that a user wrote, and of those that have a character of the evidence."""
    spans, start = example.evidence(lm), 0
    written, evidence = [], set()
    for number, piece in enumerate(lm.prompt(example.prompt).pieces):
        end = start + len(piece.text)
        if not piece.template:
            written.append(number)
        if any(start < last and first < end for first, last in spans):
            evidence.add(number)
        start = end
    return written, evidence


def ordinary(count: int) -> Iterator[tuple[str, int, PromptLike]]:
    """The ordinary prompts: the first ones of each kind."""
    for kind, prompts in PROMPTS.items():
        for number, prompt in enumerate(prompts[:count]):
            yield kind, number, prompt


@dataclass(frozen=True, eq=False)
class Replacing:
    """A prompt whose pieces may be replaced, and F under random masks: the same for every method.

    Attributes:
        lm: the model.
        pieces: the numbers of the pieces a user wrote.
        objective: the log-probability of the model's first choice.
        groups: the positions of the pieces.
        masks: the pieces replaced in each row.
        found: (mask,) F there.
    """

    lm: NextTokenLM
    pieces: list[int]
    objective: Objective
    groups: list[tuple[int, ...]]
    masks: list[tuple[int, ...]]
    found: torch.Tensor

    @classmethod
    def of(cls, lm: NextTokenLM, prompt: PromptLike) -> Replacing:
        """Thirty per cent of the pieces replaced in each mask."""
        encoded = lm.prompt(prompt)
        pieces = [number for number, piece in enumerate(encoded.pieces) if not piece.template]
        groups = [encoded.pieces[number].positions for number in pieces]
        target = Target.of(None, encoded, lm.vocab, _logits(lm, encoded))
        positions = sorted(position for group in groups for position in group)
        objective = Objective.of(lm, encoded, target, positions=positions)
        generator = torch.Generator().manual_seed(SEED)
        size = max(1, round(MASKED * len(groups)))
        masks = [tuple(torch.randperm(len(groups), generator=generator)[:size].tolist()) for _ in range(MASKS)]
        found = torch.tensor(values_with_alternatives(objective, groups, masks, generator))
        return cls(lm, pieces, objective, groups, masks, found)

    def judged(self, scores: torch.Tensor) -> dict[str, float]:
        """How well scores (piece,) of the pieces predict F: the LDS, and the area between two orders of deletion."""
        kept = -torch.stack([scores[list(mask)].sum() for mask in self.masks])
        order = scores.argsort(descending=True, stable=True).tolist()
        sizes = sorted({max(1, round(share * len(order))) for share in DELETED})
        masks = [tuple(way[:size]) for way in (order, order[::-1]) for size in sizes for _ in range(DRAWS)]
        generator = torch.Generator().manual_seed(SEED)
        found = values_with_alternatives(self.objective, self.groups, masks, generator)
        half = len(found) // 2
        return {
            "lds": float(spearman(kept.double(), self.found.double())),
            "area": fmean(found[half:]) - fmean(found[:half]),
        }


def judge(replacing: Replacing, contender: Contender, prompt: PromptLike) -> dict[str, Any]:
    """What a method's map of an ordinary prompt is worth, and what it cost."""
    if contender.method is None:
        scores = torch.rand(len(replacing.pieces), generator=torch.Generator().manual_seed(SEED))
        return {**replacing.judged(scores), "gradients": 0, "forwards": 0}
    try:
        why: Attribution = attribute(replacing.lm, prompt, None, contender.method, start=contender.start)
    except (ValueError, ArithmeticError) as error:
        return {"refused": str(error)}
    cost = {"gradients": why.gradients_spent, "forwards": why.forwards_spent}
    return {**replacing.judged(torch.from_numpy(why.scores[replacing.pieces])), **cost}
