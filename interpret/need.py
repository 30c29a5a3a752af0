"""How much memory the gradient of one point takes, measured on a few tokens."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nexttoken import NextTokenLM, Prompt

PROBE_LENGTHS = (8, 16)
VOCABULARY_COPIES = 4  # logits, log-probabilities, and the gradients of both
ALLOCATOR_OVERHEAD = 1.5  # what the allocator takes for what is asked of it; 1.0 to 1.5 measured with glibc's
LAYERS_AT_ONCE = 4  # whose need is counted where one runs again in the backward pass; 2 to 4 measured


@dataclass(frozen=True)
class Need:
    """The bytes that the gradient of one point takes above the model's weights.

    Attributes:
        token: for each token.
        pair: for each pair of tokens, where attention matrices are kept.
        place: for each place that a next token is predicted at.
    """

    token: float
    pair: float
    place: float

    def of_point(self, length: int, places: int = 1) -> int:
        """For a text of so many tokens, of which so many places are read."""
        return int(self.token * length + self.pair * length**2 + self.place * places)

    def longest(self, budget: float, length: int) -> int:
        """The most tokens, fewer than `length`, whose need is within the budget; 0 for none."""
        return max((shorter for shorter in range(1, length) if self.of_point(shorter) <= budget), default=0)


class Alive(TorchDispatchMode):
    """Within this context, the bytes of all tensors that come into being are counted for as long as they live.

    Attributes:
        bytes: how many are alive.
        peak: how many were at most.
    """

    def __init__(self, outside: Sequence[Tensor]):
        super().__init__()
        self.outside = {tensor.untyped_storage().data_ptr() for tensor in outside}
        self.sizes: dict[int, int] = {}
        self.bytes = self.peak = 0

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self.count(tensor.untyped_storage())
        return result

    def count(self, storage: torch.UntypedStorage) -> None:
        """Count a storage that was not seen before, until it is gone."""
        if id(storage) in self.sizes or storage.data_ptr() in self.outside:
            return
        self.sizes[id(storage)] = storage.nbytes()
        self.bytes += storage.nbytes()
        self.peak = max(self.peak, self.bytes)
        weakref.finalize(storage, self.gone, id(storage))

    def gone(self, key: int) -> None:
        """Stop counting a storage."""
        self.bytes -= self.sizes.pop(key)


NEEDS: WeakKeyDictionary[NextTokenLM, dict[tuple[torch.dtype, int], Need]] = WeakKeyDictionary()


def need(lm: NextTokenLM, prompt: Prompt, checkpointed: int = 0) -> Need:
    """What a point of this model needs, measured once for each model and precision on a few tokens of the prompt.

    What the forward pass keeps for the backward pass is counted at two lengths, which tells what grows with the length
    from what grows with its square. The peak is taken to be as far above that as it is there. Where all layers run
    again in the backward pass, two parts add up: what is kept all the same, and what `LAYERS_AT_ONCE` layers need, for
    the one that runs again and what the allocator loses meanwhile.
    """
    with torch.no_grad(), lm.frozen():
        dtype = lm.embed(lm.tokens(prompt)).dtype
    known = NEEDS.setdefault(lm, {})
    if (dtype, checkpointed) not in known:
        texts = [text_like(lm, prompt, length) for length in PROBE_LENGTHS]
        lengths = [text.shape[1] for text in texts]
        kept_short, _, _ = taken(lm, texts[0], checkpointed, backward=False)
        kept, peak, vocabulary = taken(lm, texts[1], checkpointed, backward=checkpointed == 0)
        pair = max(0.0, (kept / lengths[1] - kept_short / lengths[0]) / max(1, lengths[1] - lengths[0]))
        token = kept / lengths[1] - pair * lengths[1]
        place = ALLOCATOR_OVERHEAD * VOCABULARY_COPIES * vocabulary
        if checkpointed:
            whole, share, factor = need(lm, prompt), LAYERS_AT_ONCE / checkpointed, ALLOCATOR_OVERHEAD
            each = Need(factor * token + share * whole.token, factor * pair + share * whole.pair, place)
        else:
            factor = ALLOCATOR_OVERHEAD * peak / kept
            each = Need(factor * token, factor * pair, place)
        known[dtype, checkpointed] = each
    return known[dtype, checkpointed]


def taken(
    lm: NextTokenLM, input_ids: Int[Tensor, "1 token"], checkpointed: int = 0, backward: bool = True
) -> tuple[int, int, int]:
    """The bytes of one gradient: kept for the backward pass, at the peak, and of one row of logits in float32.

    Without the backward pass, the peak is that of the forward pass.
    """
    with lm.frozen(), torch.enable_grad():
        points = lm.embed({"input_ids": input_ids}).detach().clone().requires_grad_(True)
        with Alive([*lm.parameters(), *lm.buffers()]) as alive:
            _, logits = lm.next_tokens(points.clone(), input_ids, checkpointed=checkpointed)
            rows = logits.untyped_storage().nbytes()  # those that were computed, more than were asked for
            kept = alive.bytes - rows
            if backward:
                torch.autograd.grad(logits.sum(), points)
        return max(kept, 1), max(alive.peak - rows, 1), logits.float().nbytes


def text_like(lm: NextTokenLM, prompt: Prompt, length: int) -> Int[Tensor, "1 token"]:
    """So many tokens like those of a prompt, or as many as the model reads."""
    row = lm.tokens(prompt)["input_ids"][0]
    return sample(row, prompt.start, min(length, lm.max_length or length))[None]


def sample(row: Int[Tensor, " token"], start: int, length: int) -> Int[Tensor, " length"]:
    """So many tokens like those of a row; where reading on begins in its middle, half of them stand before."""
    before = length // 2 if start else 0
    after = length - before - 1
    ends = row[start + 1 :] if len(row) > start + 1 else row[: max(start, 1)]
    return torch.cat([
        *([row[:start].repeat(before)[:before]] if start else []), row[start : start + 1],
        ends.repeat(max(after, 1))[:after],
    ])  # fmt: skip
