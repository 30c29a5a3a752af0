"""What else might stand at each position of a text, in the model's own view, and what F becomes with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interpret.engine.evaluate import values
from interpret.engine.memory.policy import LOGITS_AT_ONCE
from interpret.engine.objective import Objective
from interpret.engine.run import Counts
from interpret.engine.text import Text
from interpret.question.quantity import upcast
from nexttoken.model import ROUNDING


@dataclass(frozen=True, eq=False)
class Alternatives:
    """The words that might stand at each attributed position, with their probabilities.

    Attributes:
        ids: (token, alternative) the likeliest first.
        probabilities: (token, alternative) which add up to 1.
        known: (token,) False where the model predicts nothing: the first token of a text whose vocabulary has no start
            token, and an encoder's source.
    """

    ids: Int[Tensor, "token alternative"]
    probabilities: Float[Tensor, "token alternative"]
    known: Bool[Tensor, " token"]

    def draw(self, count: int, vocabulary: int, generator: torch.Generator) -> Int[Tensor, "count token"]:
        """Words drawn for each token, independently; any of the vocabulary where the model predicts nothing."""
        drawn = torch.multinomial(self.probabilities.cpu(), count, replacement=True, generator=generator)
        ids = self.ids.cpu().gather(1, drawn)
        anywhere = torch.randint(vocabulary, ids.shape, generator=generator)
        return torch.where(self.known.cpu()[:, None], ids, anywhere).T


def alternatives(objective: Objective, top: int) -> Alternatives:
    """The model's own next-word distribution at each position, given what stands before it, without the word itself.

    The first word is predicted after what a text begins with, `vocab.start_id`. Of each distribution, the `top` most
    probable words count. They depend on the text alone, and are computed once for it: at most one forward pass, and
    more where the logits of many positions take too much memory; of a model that is not known to be causal, one for
    each position.

    Raises ValueError for an objective without a model.
    """
    text = text_of(objective)
    found = text.whole.found
    if top not in found:
        found[top] = _alternatives(text.whole, top, objective.counts)
    every, own = found[top], list(text.attributed)
    return Alternatives(every.ids[own], every.probabilities[own], every.known[own])


def _alternatives(text: Text, top: int, counts: Counts) -> Alternatives:
    tokens, vocabulary = text.lm.tokens(text.prompt)["input_ids"][0], text.lm.vocab.size()
    logits = torch.zeros(len(tokens), min(top, vocabulary - 1), device=tokens.device)
    ids = torch.zeros_like(logits, dtype=torch.long)
    known = torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
    for positions, rows in predictions(text, counts):
        found = rows.scatter(1, tokens[positions][:, None], -torch.inf).topk(logits.shape[1], 1)
        logits[positions], ids[positions] = found.values.float(), found.indices
        known[positions] = True
    return Alternatives(ids, logits.softmax(-1), known)


def predictions(text: Text, counts: Counts) -> Iterator[tuple[list[int], Float[Tensor, "position vocab"]]]:
    """Positions of the prompt, and the model's logits of what stands there given what stands before.

    The network's head makes them of the states that a pass at the prompt has shown, if that gives its own logits after
    the last token; otherwise another forward pass does.
    """
    lm, prompt, states = text.lm, text.prompt, text.states
    # Where later tokens may be seen, each position takes what stands before it.
    step = max(1, LOGITS_AT_ONCE // lm.vocab.size()) if lm.causal else 1
    with lm.frozen(), torch.no_grad():
        # From the end, where the logits are known.
        for begin in reversed(range(prompt.start + 1, len(prompt), step)):
            positions = list(range(begin, min(begin + step, len(prompt))))
            rows = None if states is None else _of_head(text, states, positions)
            if rows is None:
                states, seen = None, len(prompt) if lm.causal else begin
                ids, embeddings = text.input_ids[:, :seen], text.embeddings[:, :seen]
                counts.forwards += 1
                rows = upcast(lm.next_tokens(embeddings, ids, [position - 1 for position in positions])[1][0])
            yield positions, rows[:, : lm.vocab.size()]
        first = lm.vocab.start_id
        begins = prompt.source is None and prompt.start_token is None and not prompt.pieces[0].template
        if begins and first is not None:
            ids = torch.tensor([[first]], device=lm.device)
            counts.forwards += 1
            yield [0], upcast(lm.next_tokens(lm.embed({"input_ids": ids}), ids)[1][0])[:, : lm.vocab.size()]


def _of_head(
    text: Text, states: Float[Tensor, "token hidden"], positions: Sequence[int]
) -> Float[Tensor, "position vocab"] | None:
    # By the head alone; None where that does not give the network's own logits.
    last = positions[-1] + 1 == len(states)
    logits = text.lm.head(states[None, positions[0] - 1 : positions[-1] + last])
    if logits is None or text.end_logits is None:
        return None
    if last and not _same(upcast(logits[0, -1]), text.end_logits, logits.dtype):
        return None
    return upcast(logits[0, : len(positions)])


def _same(found: Float[Tensor, " vocab"], expected: Float[Tensor, " vocab"], dtype: torch.dtype) -> bool:
    # Up to rounding, and as large on the whole, which rounding does not change.
    if found.shape != expected.shape:
        return False
    unit = torch.finfo(dtype).eps
    rounding = max(2 * unit, min(ROUNDING, 1000 * unit))
    near = (found - expected).abs().max() <= rounding * expected.abs().max()
    as_large = (found @ expected - expected @ expected).abs() <= min(rounding, 10 * ROUNDING) * (expected @ expected)
    return bool(near & as_large)


def embedded_words(objective: Objective, words: Int[Tensor, "row token"]) -> Float[Tensor, "row token dim"]:
    """The embeddings of words at the attributed positions, row by row."""
    text = text_of(objective)
    tokens, positions = text.lm.tokens(text.prompt)["input_ids"].repeat(len(words), 1), list(text.attributed)
    marked = tokens[:, positions] >= text.lm.vocab.size()  # a decoder's start, which is no word
    tokens[:, positions] = torch.where(marked, tokens[:, positions], words.to(tokens))
    with text.lm.frozen(), torch.no_grad():
        return text.lm.embed({"input_ids": tokens})[:, torch.tensor(positions, device=tokens.device)].to(objective.x)


def values_with_words(objective: Objective, words: Int[Tensor, "row token"]) -> Float[Tensor, " row"]:
    """F with some words at the attributed positions, row by row; as many rows are embedded as run at once.

    Costs a forward pass a row.
    """
    rows = words.split(objective.points_at_once(len(objective.x)))
    return torch.cat([values(objective, embedded_words(objective, some)) for some in rows])


def text_of(objective: Objective) -> Text:
    """The text of an objective. Raises ValueError for a function of one's own, which has none."""
    if objective.text is None:
        raise ValueError("what else might stand at a position is what a model says; your own function has no words")
    return objective.text
