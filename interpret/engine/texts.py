"""What a model predicts after many texts: rows of ids, those of one length together in batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interpret.engine.memory.policy import LOGITS_AT_ONCE, TOKENS_PER_BATCH
from interpret.engine.run import Run
from interpret.question.logits import upcast
from nexttoken import NextTokenLM, Prompt

Read = Callable[[Tensor], Tensor]  # logits (row, vocab) to what is wanted of them (row, number)


def read_next_tokens(
    lm: NextTokenLM, rows: Sequence[Sequence[int]], read: Read, like: Prompt, run: Run
) -> Float[Tensor, "row number"]:
    """What is read off the logits of the token that follows each row. Costs one forward pass a row, no gradient.

    Rows of one length run together, so that none is padded; what is read does not depend on how many do.

    Args:
        lm: the model; it comes back as it was.
        rows: token ids, as `lm.tokens` gives them.
        read: logits (row, vocab), in float32 or better, to numbers (row, number).
        like: a prompt of this kind, by which the memory of a row is estimated.
        run: its memory, progress and counts.
    """

    def of_batch(ids: Int[Tensor, "row token"]) -> Tensor:
        return read(upcast(lm.next_tokens(lm.embed({"input_ids": ids}), ids)[1][:, 0]))

    tokens = min(TOKENS_PER_BATCH, run.memory.fitting(lm, like) * len(like))
    return _in_batches(lm, rows, of_batch, lambda length: max(1, tokens // length), run)


def log_likelihoods(lm: NextTokenLM, rows: Sequence[Sequence[int]], like: Prompt, run: Run) -> Float[Tensor, " row"]:
    """How likely a causal model finds each row: the sum of log p of each token but the first. A forward pass a row."""

    def of_batch(ids: Int[Tensor, "row token"]) -> Tensor:
        if ids.shape[1] == 1:  # there is nothing that follows anything
            return torch.zeros(len(ids), 1, device=ids.device)
        logits = lm.next_tokens(lm.embed({"input_ids": ids}), ids, range(ids.shape[1] - 1))[1]
        shares = upcast(logits).log_softmax(-1).gather(-1, ids[:, 1:, None])
        return shares.sum((1, 2))[:, None]

    fitting, vocabulary = run.memory.fitting(lm, like), lm.vocab.size()

    def at_once(length: int) -> int:
        return max(1, min(fitting, LOGITS_AT_ONCE // (length * vocabulary)))

    return _in_batches(lm, rows, of_batch, at_once, run).flatten()


def _in_batches(
    lm: NextTokenLM,
    rows: Sequence[Sequence[int]],
    of_batch: Callable[[Tensor], Tensor],
    at_once: Callable[[int], int],
    run: Run,
) -> Float[Tensor, "row number"]:
    """A function of ids (row, token), those of one length together; `at_once` says how many of a length."""
    by_length: dict[int, list[int]] = {}
    for number, row in enumerate(rows):
        by_length.setdefault(len(row), []).append(number)
    order, found = list[int](), list[Tensor]()
    with torch.no_grad(), lm.frozen():
        for length, numbers in by_length.items():
            ids = torch.tensor([list(rows[number]) for number in numbers], device=lm.device)
            for batch in run.memory.in_chunks(of_batch, ids, at_once(length)):
                found.append(batch)
                run.counts.forwards += len(batch)
                run.advance(len(batch))
            order += numbers
    return torch.cat(found)[torch.tensor(order).argsort()] if found else torch.zeros(0, 0)
