"""A second device for machines without a GPU: tensors that a CPU computes, and that mix with no tensor of the CPU.

What a GPU would refuse, since tensors are on several devices, is refused here by an error of the same words. So it
shows where something is made on the wrong device; of speed, memory and rounding it says nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "second"
CROSSING = ("aten.copy_.default", "aten._to_copy.default")  # what may take tensors of both
INDEXING = ("aten.index.Tensor", "aten.index_put_.default", "aten.index_put.default", "aten._index_put_impl_.default")


class Placed(Tensor):
    """A tensor on the second device.

    Attributes:
        inner: the same on the CPU.
    """

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> Placed:
        placed = Tensor._make_wrapper_subclass(
            cls, inner.size(), strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype,
            device=f"{NAME}:0",
        )  # fmt: skip
        placed.inner = inner
        return placed

    def __repr__(self, **options: Any) -> str:  # type: ignore[override]
        return f"Placed({self.inner!r})"

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["inner"], None

    @staticmethod
    def __tensor_unflatten__(parts: dict[str, Tensor], context: None, size: Any, stride: Any) -> Placed:
        return Placed(parts["inner"])

    @classmethod
    def __torch_dispatch__(
        cls, function: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return _computed(function, args, kwargs or {})


class _Making(TorchDispatchMode):
    """Sends what is made on the second device, or copied to it, there."""

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return _computed(function, args, kwargs or {})


class _FromNumbers(TorchFunctionMode):
    """What is made of numbers is made on the CPU, and then copied."""

    def __torch_function__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        device = kwargs.get("device")
        if function is Tensor.tolist and isinstance(args[0], Placed):
            return args[0].inner.tolist()
        if function in (Tensor.__getitem__, Tensor.__setitem__):
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            index = tuple(
                torch.tensor(each, dtype=None if each else torch.long) if isinstance(each, list) else each
                for each in index
            )
            return function(args[0], index, *args[2:])
        if function not in (torch.tensor, torch.as_tensor) or device is None or torch.device(device).type != NAME:
            return function(*args, **kwargs)
        return function(*args, **{**kwargs, "device": "cpu"}).to(device)


def _index(part: Any) -> Any:
    return torch.tensor(part, dtype=None if part else torch.long) if isinstance(part, list) else part


def _computed(function: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    name, device = str(function), kwargs.get("device")
    tensors = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
    placed = [each for each in tensors if isinstance(each, Placed)]
    # A single number may come from the CPU, and so may indices.
    allowed = name in CROSSING or (name in INDEXING and isinstance(args[0], Placed))
    if placed and not allowed and any(each.ndim and not isinstance(each, Placed) for each in tensors):
        raise RuntimeError(f"Expected all tensors to be on the same device, in {name}")
    there = bool(placed) if device is None else torch.device(device).type == NAME
    if device is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    own_args, own_kwargs = tree_map(lambda each: each.inner if isinstance(each, Placed) else each, (args, kwargs))
    found = function(*own_args, **own_kwargs)
    if function._schema.is_mutable and isinstance(args[0], Tensor):
        return args[0]
    return tree_map(lambda each: Placed(each) if isinstance(each, Tensor) and there else each, found)


@cache
def _register() -> None:
    _setup_privateuseone_for_python_backend(NAME)


@contextmanager
def second_device() -> Iterator[torch.device]:
    """Within this context there is a second device."""
    _register()
    with _Making(), _FromNumbers():
        yield torch.device(NAME)
