"""Operations by which a network chooses by rank, and so may jump: routers pick experts, indexers pick tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

CHOICES = {"topk", "sort", "argsort", "argmax", "argmin", "kthvalue", "max.dim", "min.dim"}


class Choices(TorchDispatchMode):
    """Within this context, the operations that choose by rank among floating-point numbers are collected.

    Attributes:
        found: their names.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        packet, overload = func.overloadpacket.__name__, func._overloadname  # type: ignore[attr-defined]
        if CHOICES & {packet, f"{packet}.{overload}"} and args[0].is_floating_point():
            self.found.add(packet)
        return func(*args, **(kwargs or {}))


def choices(lm: Any, input_ids: Int[Tensor, "row token"]) -> set[str]:
    """The operations by which a model's network chooses by rank. One forward pass."""
    with torch.no_grad(), lm.frozen(), Choices() as collected:
        lm.next_tokens(lm.embed({"input_ids": input_ids}), input_ids)
    return collected.found
