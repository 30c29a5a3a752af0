"""Operations by which a network chooses by rank, and so may jump: routers pick experts, indexers pick tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from nexttoken.model import NextTokenLM

_BY_RANK = {"topk", "sort", "argsort", "argmax", "argmin", "kthvalue", "max.dim", "min.dim"}


class _ChoiceRecorder(TorchDispatchMode):
    """Within this context, the names of operations that choose by rank among floating-point numbers are recorded."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        packet, overload = func.overloadpacket.__name__, func._overloadname  # type: ignore[attr-defined]
        if _BY_RANK & {packet, f"{packet}.{overload}"} and args[0].is_floating_point():
            self.found.add(packet)
        return func(*args, **(kwargs or {}))


def choices(lm: NextTokenLM, input_ids: Int[Tensor, "row token"]) -> set[str]:
    """The names of the operations by which a network chooses by rank, such as "topk". Costs one forward pass."""
    with torch.no_grad(), lm.frozen(), _ChoiceRecorder() as recorder:
        lm.next_tokens(lm.embed({"input_ids": input_ids}), input_ids)
    return recorder.found
