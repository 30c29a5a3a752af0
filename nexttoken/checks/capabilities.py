"""Proofs of what a network may do beside one forward and one backward pass: each on a short text, on request."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from nexttoken.checks.probe import logits_and_gradient, relative, tolerance_of
from nexttoken.model import NextTokenLM, PrefixCache


def prefix_cache_is_exact(
    lm: NextTokenLM, make_cache: Callable[[Tensor], PrefixCache | None], input_ids: Int[Tensor, "1 token"]
) -> bool:
    """Whether logits and gradients of a text's second half are the same behind a cache of its first half.

    False too where no cache is made, or the network fails with one. Costs three forward and two backward passes.
    """
    half = input_ids.shape[1] // 2
    with lm.frozen():
        embeddings = lm.embed({"input_ids": input_ids}).detach()
        try:
            with torch.no_grad():
                cache = make_cache(embeddings[:, :half])
            if cache is None:
                return False
            found = _logits_and_gradient(lm, embeddings[:, half:], input_ids[:, half:], prefix_cache=cache)
            logits, gradient = _logits_and_gradient(lm, embeddings, input_ids)
        except Exception:
            return False
    pairs = zip(found, (logits, gradient[:, half:]), strict=True)
    return all(relative(one.float(), other.float()) <= tolerance_of(lm.compute_dtype) for one, other in pairs)


def batched_backward_is_exact(lm: NextTokenLM, input_ids: Int[Tensor, "1 token"]) -> bool:
    """Whether two backward passes at once (`is_grads_batched`) give what each gives alone, without a warning.

    Costs one forward and three backward passes.
    """
    with lm.frozen(), torch.enable_grad(), warnings.catch_warnings():
        warnings.simplefilter("error")
        x = lm.embed({"input_ids": input_ids}).detach().clone().requires_grad_(True)
        try:
            pair = lm.next_tokens(x.clone(), input_ids)[1][0, 0, :2].float()
            (both,) = torch.autograd.grad(pair, x, torch.eye(2).to(pair), is_grads_batched=True, retain_graph=True)
            alone = [torch.autograd.grad(each, x, retain_graph=True)[0] for each in pair]
        except Exception:
            return False
    return relative(both.float(), torch.stack(alone).float()) <= tolerance_of(lm.compute_dtype)


def checkpointing_is_exact(lm: NextTokenLM, input_ids: Int[Tensor, "1 token"], layers: int) -> bool:
    """Whether the gradient is the same where this many layers are checkpointed, without a warning.

    Costs two forward and two backward passes, and the second forward pass of the layers.
    """
    with lm.frozen(), warnings.catch_warnings():
        warnings.simplefilter("error")
        embeddings = lm.embed({"input_ids": input_ids}).detach()
        _, expected = _logits_and_gradient(lm, embeddings, input_ids)
        try:
            _, found = _logits_and_gradient(lm, embeddings, input_ids, checkpointed=layers)
        except Exception:
            return False
    return relative(found.float(), expected.float()) <= tolerance_of(lm.compute_dtype)


def _logits_and_gradient(lm: NextTokenLM, embeddings: Tensor, input_ids: Tensor, **how: Any) -> tuple[Tensor, Tensor]:
    return logits_and_gradient(lambda x: lm.next_tokens(x, input_ids, **how)[1][:, 0], embeddings)


CHOICES = {"topk", "sort", "argsort", "argmax", "argmin", "kthvalue", "max.dim", "min.dim"}


class _ChoiceRecorder(TorchDispatchMode):
    """Within this context, the names of operations that choose by rank among floating-point numbers are recorded."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        operation: Any = func
        packet, overload = operation.overloadpacket.__name__, operation._overloadname
        if CHOICES & {packet, f"{packet}.{overload}"} and args[0].is_floating_point():
            self.found.add(packet)
        return func(*args, **(kwargs or {}))


def choices(lm: NextTokenLM, input_ids: Int[Tensor, "row token"]) -> set[str]:
    """The names of the operations by which a network chooses by rank, such as "topk". Costs one forward pass."""
    with torch.no_grad(), lm.frozen(), _ChoiceRecorder() as recorder:
        lm.next_tokens(lm.embed({"input_ids": input_ids}), input_ids)
    return recorder.found
