"""Gradient interaction modifications: gradient times input with a backward pass that competition does not silence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from interpret.gradients import gradients, values
from interpret.methods.method import Evidence, Method
from interpret.objective import Objective

SAME = 1e-4  # how closely what is exchanged has to give the model's own values


@dataclass(frozen=True)
class GIM(Method):
    """Gradient times input, the backward pass changed in three places; the forward pass and its values are the model's.

    s_t = sum_d (dF/dx_t)_d x_td, where in the backward pass
    - the attention's softmax has the derivative it would have at `temperature`,
    - norms have constant statistics,
    - the gradient of a product in the attention (weights times values, queries times keys) is halved for each factor.

    Edin et al. 2025 (arXiv:2505.17630). Scores are signed, in nats, and not complete. For Hugging Face models whose
    attention can be exchanged, with layer or RMS norms; where the exchange would change F, an error says so. Costs one
    gradient and one forward pass.
    """

    temperature: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.temperature < float("inf"):
            raise ValueError(f"temperature is {self.temperature}; it must be a number above 0 (2 is usual)")

    def cost(self, tokens: int) -> int:
        return 1

    def __call__(self, objective: Objective, x: Float[Tensor, "token dim"]) -> Evidence:
        lm: Any = objective.lm
        if lm is None:
            raise ValueError("GIM changes a transformer's backward pass; it needs a Hugging Face model")
        if objective.rough:
            raise ValueError("GIM changes the model's own backward pass, in its own precision; leave out precision")
        own = values(objective, x[None])
        with lm.attention(self.attend), frozen_norms(lm):
            value, gradient = gradients(objective, x[None])
        if bool((value - own).abs() > same(next(lm.parameters()).dtype) * own.abs().clamp_min(1)):
            raise ValueError(
                f"GIM does not know the attention of {lm.name}: with it, the objective is {float(value):.6g} "
                f"where the model's own is {float(own):.6g}"
            )
        return Evidence(gradient[0] * x)

    def attend(
        self,
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        **options: Any,
    ) -> tuple[Tensor, Tensor]:
        """Attention as usual, (batch, head, token, dim) to (batch, token, head, dim), with another backward pass."""
        key, value = (each.repeat_interleave(query.shape[1] // each.shape[1], dim=1) for each in (key, value))
        scale = options.get("scaling") or query.shape[-1] ** -0.5
        scores = halved(query) @ halved(key).transpose(-1, -2) * scale
        if attention_mask is not None:
            scores = scores + attention_mask
        weights = self.softmax(scores.float() if scores.dtype != torch.float64 else scores).to(value.dtype)
        return (halved(weights) @ halved(value)).transpose(1, 2).contiguous(), weights

    def softmax(self, scores: Tensor) -> Tensor:
        """softmax(scores), with the derivative p (dy - sum p dy) for p = softmax(scores / temperature)."""
        soft = self.temperature * (scores / self.temperature).softmax(-1)
        return scores.softmax(-1).detach() + soft - soft.detach()


def same(dtype: torch.dtype) -> float:
    """How closely values of this precision have to agree, relatively."""
    return max(SAME, 4 * torch.finfo(dtype).eps)


def halved(factor: Tensor) -> Tensor:
    """The factor, with half of its gradient."""
    return factor / 2 + (factor / 2).detach()


@contextmanager
def frozen_norms(network: nn.Module) -> Iterator[None]:
    """Within this context, layer and RMS norms treat their statistics as constants in the backward pass."""
    with ExitStack() as hooks:
        for module in network.modules():
            if "Norm" in type(module).__name__ and not list(module.children()):
                handle = module.register_forward_hook(with_constant_statistics)
                hooks.callback(handle.remove)
        yield


def with_constant_statistics(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    """A norm's output as a linear function of its input. Raises ValueError for a norm of another kind."""
    x, settings = inputs[0].to(output.dtype), vars(module)
    epsilon = next((settings[name] for name in ("variance_epsilon", "eps") if settings.get(name)), 0.0)
    weight = getattr(module, "weight", None)
    weight = torch.ones(x.shape[-1]).to(x) if weight is None else weight
    bias = getattr(module, "bias", None)
    centred = x - x.mean(-1, keepdim=True)
    for moved, factor in ((x, weight), (x, 1 + weight), (centred, weight)):
        scaled = moved * (moved.detach().square().mean(-1, keepdim=True) + epsilon).rsqrt() * factor
        scaled = scaled if bias is None else scaled + bias
        if bool((scaled - output).detach().abs().max() <= same(output.dtype) * output.detach().abs().max()):
            return scaled
    raise ValueError(f"GIM does not know the norm {type(module).__name__}: it is neither a layer norm nor an RMS norm")
