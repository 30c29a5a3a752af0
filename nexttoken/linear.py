"""Input gradients of linear layers in float32, by whichever of torch's two libraries is faster on this processor."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

PLAIN = (Tensor, nn.Parameter)


class FastInputGradients(TorchFunctionMode):
    """Within this context, input gradients of frozen float32 layers without a bias are oneDNN's where it is faster.

    Torch computes them by MKL, which on AMD's processors leaves a part of AVX-512 unused: with oneDNN a gradient of a
    small language model takes 13 to 16 % less time. The layers themselves stay MKL's: oneDNN's sums had up to twice the
    rounding error, which in scores was up to ten times; in gradients nothing of it was found. Everything else is
    computed as ever, and nothing of a model changes.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        options = kwargs or {}
        if func is not nn.functional.linear or not torch.is_grad_enabled() or torch.compiler.is_compiling():
            return func(*args, **options)
        return (linear if onednn_is_faster() and suited(*args, **options) else func)(*args, **options)


@cache
def onednn_is_faster() -> bool:
    """Whether this processor is of the kind on which oneDNN was measured to be faster: AMD's, with AVX-512."""
    cpuinfo = Path("/proc/cpuinfo")
    return (
        torch.backends.mkldnn.is_available()
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
        and cpuinfo.exists()
        and "AuthenticAMD" in cpuinfo.read_text()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


def suited(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> bool:
    """Whether oneDNN takes the input gradient, which is asked for with respect to the states alone.

    With a bias, torch's layer gives a view, which must not come out of a function of our own: networks add to it.
    """
    return (
        all(
            type(each) in PLAIN and each.dtype == torch.float32 and each.device.type == "cpu"
            for each in (input, weight)
        )
        and bias is None
        and not weight.requires_grad
        and input.ndim > 1
        and weight.ndim == 2
        and input.numel() > 0
    )


def quick(layer: nn.Module, states: Tensor) -> Tensor:
    """What a layer gives for states (..., dim), by oneDNN where that is faster; it may round twice as much."""
    if type(layer) is nn.Linear and onednn_is_faster() and suited(states, layer.weight, layer.bias):
        try:
            return torch.ops.mkldnn._linear_pointwise(states, layer.weight, None, "none", [], "")
        except RuntimeError:
            pass
    return layer(states)


def rows_summed_well(layer: nn.Module | None, device: torch.device) -> int:
    """The number of rows from which on the backward pass of a head sums well over the vocabulary.

    With fewer than four, MKL's sums have ten times the rounding error; oneDNN's do not.
    """
    has_bias = getattr(layer, "bias", None) is not None
    return 1 if device.type != "cpu" or (onednn_is_faster() and not has_bias) else 4


def linear(input: Tensor, weight: Tensor, bias: None = None) -> Tensor:
    """What `torch.nn.functional.linear` gives without a bias, with input gradients of oneDNN's."""
    return Linear.apply(input, weight)


class Linear(torch.autograd.Function):
    """States (..., dim) times a weight (out, dim)."""

    @staticmethod
    def forward(states: Tensor, weight: Tensor) -> Tensor:
        return nn.functional.linear(states, weight)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (weight,) = ctx.saved_tensors
        return InputGradient.apply(gradient, weight), None


class InputGradient(torch.autograd.Function):
    """The gradient (..., out) of a linear layer's output times its weight (out, dim): the gradient of its states.

    Where oneDNN runs out of memory while it builds its kernels, it refuses from there on; then it is torch's product.
    """

    @staticmethod
    def forward(gradient: Tensor, weight: Tensor) -> Tensor:
        try:
            return torch.ops.mkldnn._linear_pointwise(gradient, weight.t(), None, "none", [], "")
        except RuntimeError:
            return gradient @ weight

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: Any, states: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (weight,) = ctx.saved_tensors
        return Linear.apply(states, weight), None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, int | None], gradient: Tensor, weight: Tensor) -> tuple[Tensor, int]:
        """Several backward passes at once: their rows stand one below the other."""
        passes, weights = in_dims
        assert passes is not None, "some pass differs from another"
        assert weights is None, "weights are the same for all passes"
        return InputGradient.apply(gradient.movedim(passes, 0), weight), 0


# Torch asks for the signature at every call, which took a twentieth of the gradient of a short prompt.
for _function in (Linear, InputGradient):
    _function.forward.__signature__ = inspect.signature(_function.forward)  # type: ignore[attr-defined, union-attr]
