"""How much memory the gradient of one point takes: a profile of the model, measured on a few tokens."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, is_traceable_wrapper_subclass
from torch.utils._pytree import tree_leaves

from interpret.engine.memory.available import agreed
from nexttoken import NextTokenLM, Prompt

PROBE_LENGTHS = (8, 16)
VOCABULARY_COPIES = 4  # logits, log-probabilities, and the gradients of both
ALLOCATOR_OVERHEAD = 1.5  # what the allocator takes for what is asked of it; 1.0 to 1.5 measured with glibc's
LAYERS_AT_ONCE = 4  # whose need is counted where one runs again in the backward pass; 2 to 4 measured


@dataclass(frozen=True)
class MemoryProfile:
    """The bytes that the gradient of one point takes above the model's weights.

    Attributes:
        token: for each token.
        pair: for each pair of tokens, where attention matrices are kept.
        position: for each position that a next token is predicted at.
    """

    token: float
    pair: float
    position: float

    def of_point(self, length: int, positions: int = 1) -> int:
        """The bytes for a text of `length` tokens, with next tokens predicted at a number of positions."""
        return int(self.token * length + self.pair * length**2 + self.position * positions)

    def longest(self, budget: float, length: int) -> int:
        """The most tokens, fewer than `length`, whose need is within the budget; 0 for none."""
        return max((shorter for shorter in range(1, length) if self.of_point(shorter) <= budget), default=0)


class AllocationTracker(TorchDispatchMode):
    """Within this context, the bytes of all tensors that are allocated are counted for as long as they live.

    Of a tensor that is sharded over several devices, the part on this one counts.

    Args:
        outside: tensors whose storages are not counted, such as the model's weights.

    Attributes:
        bytes: allocated now.
        peak: allocated at most.
    """

    def __init__(self, outside: Sequence[Tensor]):
        super().__init__()
        self.outside = {storage.data_ptr() for tensor in outside for storage in _storages(tensor)}
        self.sizes: dict[int, int] = {}
        self.bytes = self.peak = 0

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                for storage in _storages(tensor):
                    self._count(storage)
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        if id(storage) in self.sizes or storage.data_ptr() in self.outside:
            return
        self.sizes[id(storage)] = storage.nbytes()
        self.bytes += storage.nbytes()
        self.peak = max(self.peak, self.bytes)
        weakref.finalize(storage, self._free, id(storage))

    def _free(self, key: int) -> None:
        self.bytes -= self.sizes.pop(key)


def _storages(tensor: Tensor) -> Iterator[torch.UntypedStorage]:
    """The storages of a tensor; of one that wraps others, such as a DTensor, those of its parts on this device."""
    if is_traceable_wrapper_subclass(tensor):
        for part in (getattr(tensor, name) for name in tensor.__tensor_flatten__()[0]):
            if isinstance(part, Tensor):
                yield from _storages(part)
    else:
        yield tensor.untyped_storage()


PROFILES: WeakKeyDictionary[NextTokenLM, dict[tuple[torch.dtype, int], MemoryProfile]] = WeakKeyDictionary()


def memory_profile(lm: NextTokenLM, prompt: Prompt, checkpointed: int = 0) -> MemoryProfile:
    """The memory that a point takes, measured once for each model and precision on a few tokens of the prompt.

    The bytes that the forward pass keeps for the backward pass are counted at two lengths, which separates what grows
    with the length from what grows with its square; the ratio of the peak to them is taken to be the same at other
    lengths. Where all layers are checkpointed, two parts add up: what is kept all the same, and what `LAYERS_AT_ONCE`
    layers need, for the one that runs again and what the allocator loses meanwhile.

    Args:
        lm: the model.
        prompt: tokens like those that will run.
        checkpointed: the number of layers that run again in the backward pass; 0 or all of them.
    """
    dtype, known = lm.dtype, PROFILES.setdefault(lm, {})
    if (dtype, checkpointed) not in known:
        texts = [text_like(lm, prompt, length) for length in PROBE_LENGTHS]
        lengths = [text.shape[1] for text in texts]
        kept_short, _, _ = measured_bytes(lm, texts[0], checkpointed, backward=False)
        kept, peak, vocabulary = measured_bytes(lm, texts[1], checkpointed, backward=checkpointed == 0)
        pair = max(0.0, (kept / lengths[1] - kept_short / lengths[0]) / max(1, lengths[1] - lengths[0]))
        token = kept / lengths[1] - pair * lengths[1]
        position = ALLOCATOR_OVERHEAD * VOCABULARY_COPIES * vocabulary
        if checkpointed:
            whole, share, factor = memory_profile(lm, prompt), LAYERS_AT_ONCE / checkpointed, ALLOCATOR_OVERHEAD
            each = MemoryProfile(factor * token + share * whole.token, factor * pair + share * whole.pair, position)
        else:
            factor = ALLOCATOR_OVERHEAD * peak / kept
            each = MemoryProfile(factor * token, factor * pair, position)
        most = [agreed(lm, number, least=False) for number in (each.token, each.pair, each.position)]
        known[dtype, checkpointed] = MemoryProfile(*most)
    return known[dtype, checkpointed]


def measured_bytes(
    lm: NextTokenLM, input_ids: Int[Tensor, "1 token"], checkpointed: int = 0, backward: bool = True
) -> tuple[int, int, int]:
    """The bytes of one gradient: kept for the backward pass, at the peak, and of one row of logits in float32.

    Without the backward pass, the peak is that of the forward pass.
    """
    with lm.frozen(), torch.enable_grad():
        points = lm.embed({"input_ids": input_ids}).detach().clone().requires_grad_(True)
        with AllocationTracker([*lm.parameters(), *lm.buffers()]) as tracker:
            _, logits = lm.next_tokens(points.clone(), input_ids, checkpointed=checkpointed)
            rows = sum(
                storage.nbytes() for storage in _storages(logits)
            )  # those that were computed, more than were asked for
            kept = tracker.bytes - rows
            if backward:
                torch.autograd.grad(logits.sum(), points)
        return max(kept, 1), max(tracker.peak - rows, 1), logits.float().nbytes


def text_like(lm: NextTokenLM, prompt: Prompt, length: int) -> Int[Tensor, "1 token"]:
    """`length` tokens like those of a prompt, or as many as the model reads."""
    row = lm.tokens(prompt)["input_ids"][0]
    return _sample(row, prompt.start, min(length, lm.max_length or length))[None]


def _sample(row: Int[Tensor, " token"], start: int, length: int) -> Int[Tensor, " length"]:
    """`length` tokens like those of a row; where the target side begins in its middle, half of them stand before."""
    before = length // 2 if start else 0
    after = length - before - 1
    ends = row[start + 1 :] if len(row) > start + 1 else row[: max(start, 1)]
    return torch.cat([
        *([row[:start].repeat(before)[:before]] if start else []), row[start : start + 1],
        ends.repeat(max(after, 1))[:after],
    ])  # fmt: skip
