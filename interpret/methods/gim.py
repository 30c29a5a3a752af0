"""Gradient interaction modifications: gradient times input with a backward pass that interactions do not distort."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from interpret.engine.graph import Gradients, Graph, Node, replaced, scaled
from interpret.engine.run import BackwardRules
from interpret.methods.gradient_times_input import GradientTimesInput
from interpret.question.quantity import upcast

ROWS_PER_BLOCK = 256  # of the attention matrix, which is never whole
STATISTICS = (
    "RsqrtBackward",
    "LinalgVectorNormBackward",
    "NormBackward",
    "VarBackward",
    "StdBackward",
    "VarMeanBackward",
)
PRODUCTS = {
    "MulBackward": (0, 1),
    "BmmBackward": (0, 1),
    "MmBackward": (0, 1),
    "AddmmBackward": (1, 2),
    "BaddbmmBackward": (1, 2),
}
POINTWISE = frozenset(
    f"{name}Backward"
    for name in (
        "Abs", "Add", "Alias", "Clamp", "ClampMax", "ClampMin", "Clone", "Div", "Elu", "Erf", "Exp", "Expm1", "Gelu",
        "Hardsigmoid", "Hardswish", "Hardtanh", "LeakyRelu", "Log", "Log1P", "LogSigmoid", "Mish", "Mul", "Neg", "Pow",
        "Relu", "Rsub", "Sigmoid", "Silu", "Softplus", "Sqrt", "Sub", "Tanh", "Threshold", "ToCopy", "Where",
    )
)  # fmt: skip
FUSED = ("CudnnRnn", "MkldnnRnn", "MiopenRnn", "ThnnFused")  # recurrent networks in one piece
SHAPES = (
    "View",
    "Expand",
    "Transpose",
    "Permute",
    "T",
    "Squeeze",
    "Unsqueeze",
    "Clone",
    "ToCopy",
    "Slice",
    "Alias",
    "NativeDropout",
)


@dataclass(frozen=True)
class GIM(GradientTimesInput):
    """Gradient times input, or times x - x' for a baseline x', with a backward pass that is changed in three places.

    s_t = sum_d (dF/dx_t)_d (x - x')_td, x' = 0 unless a baseline is given, where in the backward pass
    - the gradient of a product of two activations that both depend on the prompt is halved for each of them: attention
      weights times values, queries times keys, gate times up in the feed-forward layers, and any other (an activation
      function written out as a product, such as x sigmoid(x), is none),
    - norms have constant statistics,
    - the softmax of the attention has the derivative that it would have at `temperature`.

    Edin et al. 2025 (arXiv:2505.17630), who split the gradients of the attention's products and take temperature 2;
    here those of all products are split, and at temperature 1 the network's own attention runs, in memory linear in
    the length.
    The changes are made to the gradients on their way back, so the forward pass is the model's to the bit. Scores are
    signed, in nats, and not complete. Costs one gradient.

    Raises:
        ValueError: a temperature that is not above 0; a network with operations that hide their products, such as
            recurrent layers in one fused kernel.
    """

    name = "GIM"

    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.temperature < float("inf"):
            raise ValueError(f"temperature is {self.temperature}; it must be a number above 0 (1 and 2 are usual)")

    @property
    def rules(self) -> BackwardRules:  # type: ignore[override]
        return InteractionRules(self.temperature)


@dataclass(frozen=True)
class InteractionRules(BackwardRules):
    """How gradients change on their way back: those of products are split, and norms have constant statistics.

    Attributes:
        temperature: of the attention's softmax in the backward pass.
    """

    temperature: float = 1.0

    @contextmanager
    def applied(self, value: Tensor) -> Iterator[None]:
        hooks: list[RemovableHandle] = []
        try:
            for hook in self._hooks(Graph(value, _is_statistic)):
                hooks.append(hook)
            yield
        finally:  # some keep their node alive, and with it what it has saved
            for hook in hooks:
                hook.remove()

    def _hooks(self, graph: Graph) -> Iterator[RemovableHandle]:
        for node in graph.nodes:
            kind = _kind(node)
            if node in graph.constants:
                yield scaled(node, dict.fromkeys(range(len(node.next_functions)), 0.0))
            elif kind in PRODUCTS:
                if all(graph.live(node, index) for index in PRODUCTS[kind]) and not _is_activation(graph, node):
                    yield scaled(node, dict.fromkeys(PRODUCTS[kind], 0.5))
            elif "ScaledDotProduct" in kind:
                yield self._split_attention(graph, node)
            elif kind in ("SoftmaxBackward", "SafeSoftmaxBackward") and self.temperature != 1 and _weighs(graph, node):
                yield replaced(node, partial(_softmax, node, self.temperature))
            elif kind in ("NativeLayerNormBackward", "FusedRmsNormBackward"):
                yield replaced(node, partial(_norm, node))
            elif kind == "NativeGroupNormBackward":
                yield replaced(node, partial(_group_norm, node))
            elif kind.startswith(FUSED) or (_is_custom(node) and len(graph.live_inputs(node)) > 1):
                raise ValueError(
                    f"GIM splits the gradients of a network's products, and cannot see those in {type(node).__name__}: "
                    "take another method, or an implementation of the network in plain operations"
                )

    def _split_attention(self, graph: Graph, node: Node) -> RemovableHandle:
        """Queries and keys, then weights and values; at another temperature the gradients are computed anew."""
        query, key, value = (graph.live(node, index) for index in range(3))
        weights = 0.5 if value and (query or key) else 1.0
        factors = {0: weights * (0.5 if key else 1.0), 1: weights * (0.5 if query else 1.0), 2: weights}
        if self.temperature == 1:
            return scaled(node, factors)
        return replaced(node, partial(_attention, node, self.temperature, factors))


def _kind(node: Node) -> str:
    """The operation of a node, without the number of its overload."""
    return type(node).__name__.rstrip("0123456789")


def _is_custom(node: Node) -> bool:
    """Whether an operation was written in Python as a whole, forward and backward."""
    return isinstance(node, torch.autograd.function.BackwardCFunction)


def _is_statistic(graph: Graph, node: Node) -> bool:
    """Whether what a node computes is a norm's statistic: a root that is divided by, or a norm or variance."""
    kind = _kind(node)
    if kind in STATISTICS or (kind == "PowBackward" and node._saved_exponent == -0.5):
        return True
    if kind == "SqrtBackward" or (kind == "PowBackward" and node._saved_exponent == 0.5):
        return _only_divides(graph, node)
    return False


def _only_divides(graph: Graph, node: Node) -> bool:
    """Whether a node's output is only ever divided by, up to a small number that is added, or a bound."""
    users = graph.users.get(node, [])
    return bool(users) and all(
        (_kind(user) == "DivBackward" and index == 1)
        or _kind(user) == "ReciprocalBackward"
        or (
            _kind(user) in ("AddBackward", "ClampBackward", "ClampMinBackward", "ExpandBackward")
            and _only_divides(graph, user)
        )
        for user, index in users
    )


def _is_activation(graph: Graph, node: Node) -> bool:
    """Whether a product is an activation function written out, such as x sigmoid(x): both factors are of one input."""
    if _kind(node) != "MulBackward":
        return False
    one, other = (_sources(graph, node.next_functions[index]) for index in (0, 1))
    return one == other and len(one) == 1


def _sources(graph: Graph, output: tuple[Node, int]) -> set[tuple[Node, int]]:
    """What an activation is a pointwise function of: outputs of nodes that compute otherwise, each with its number.

    So a gate and what it lets through are two, also where one layer computes both and its output is split.
    """
    found: set[tuple[Node, int]] = set()
    seen: set[tuple[Node, int]] = set()
    waiting = [output]
    while waiting and len(found) < 2:
        each = waiting.pop()
        if each in seen:
            continue
        seen.add(each)
        if _kind(each[0]) in POINTWISE:
            waiting += [each[0].next_functions[index] for index in graph.live_inputs(each[0])]
        else:
            found.add(each)
    return found


def _weighs(graph: Graph, node: Node) -> bool:
    """Whether the output of a softmax is multiplied, as a matrix, with what depends on the prompt."""
    waiting = [node]
    while waiting:
        for user, _ in graph.users.get(waiting.pop(), []):
            kind = _kind(user)
            if kind in ("BmmBackward", "MmBackward") and all(graph.live(user, each) for each in (0, 1)):
                return True
            if kind.removesuffix("Backward").removeprefix("Unsafe").removeprefix("_") in SHAPES:
                waiting.append(user)
    return False


def _norm(node: Node, gradient: Tensor) -> Gradients:
    """The gradient of a layer or RMS norm's input, its statistics being constant."""
    centred = _kind(node) == "NativeLayerNormBackward"
    weight, rstd = node._saved_weight, node._saved_result2 if centred else node._saved_result1
    scaled_by = gradient if weight is None else gradient * weight
    if centred:
        axes = tuple(range(-len(node._saved_normalized_shape), 0))
        scaled_by = scaled_by - scaled_by.mean(axes, keepdim=True)
    return ((scaled_by * rstd).to(gradient.dtype),)


def _group_norm(node: Node, gradient: Tensor) -> Gradients:
    """The gradient of a group norm's input, its statistics being constant."""
    weight, rstd = node._saved_weight, node._saved_result2
    weighted = gradient if weight is None else gradient * weight.reshape(-1, *[1] * (gradient.ndim - 2))
    groups = weighted.reshape(*rstd.shape, -1)
    centred = (groups - groups.mean(-1, keepdim=True)) * rstd[..., None]
    return (centred.reshape(gradient.shape).to(gradient.dtype),)


def _softmax(node: Node, temperature: float, gradient: Tensor) -> Gradients:
    """The gradient of a softmax's input, as it would be at a temperature."""
    dim: int = node._saved_dim
    dim = dim - 2**64 if dim >= 2**63 else dim  # autograd keeps negative axes as unsigned numbers
    return (_softened(node._saved_result, gradient, dim, temperature),)


def _softened(weights: Tensor, gradient: Tensor, dim: int, temperature: float) -> Tensor:
    """p (dy - sum p dy) for p = softmax(scores / temperature), from the softmax of the scores themselves."""
    # softmax(s / T) is proportional to softmax(s)^(1 / T); relative to the largest, no power vanishes everywhere.
    largest = weights.amax(dim, keepdim=True)
    blind = largest == 0  # a row that sees nothing
    soft = (weights / largest.masked_fill(blind, 1)).pow(1 / temperature)
    soft = soft / soft.sum(dim, keepdim=True).masked_fill(blind, 1)
    return soft * (gradient - (soft * gradient).sum(dim, keepdim=True))


def _attention(node: Node, temperature: float, factors: dict[int, float], gradient: Tensor) -> Gradients:
    """The gradients of queries, keys and values of a fused attention, block by block of its rows."""
    query, key, value = (upcast(getattr(node, f"_saved_{name}")) for name in ("query", "key", "value"))
    groups = query.shape[1] // key.shape[1]
    key, value = (each.repeat_interleave(groups, 1) for each in (key, value))
    scale = node._saved_scale if node._saved_scale is not None else query.shape[-1] ** -0.5
    mask = getattr(node, "_saved_attn_mask", None)
    mask = getattr(node, "_saved_attn_bias", None) if mask is None else mask
    length, total = query.shape[2], key.shape[2]
    of_query, of_key, of_value = [], torch.zeros_like(key), torch.zeros_like(value)
    for begin in range(0, length, ROWS_PER_BLOCK):
        rows = slice(begin, min(begin + ROWS_PER_BLOCK, length))
        scores = scale * query[:, :, rows] @ key.mT
        if node._saved_is_causal:
            seen = torch.ones(length, total, dtype=torch.bool, device=scores.device).tril()[rows]
            scores = scores.masked_fill(~seen, -math.inf)
        if mask is not None:
            own = mask[..., rows, :] if mask.shape[-2] == length else mask
            scores = scores.masked_fill(~own, -math.inf) if own.dtype == torch.bool else scores + own
        blind = scores.isneginf().all(-1, keepdim=True)  # a row that sees nothing is zero, whatever it is asked
        weights = scores.masked_fill(blind, 0).softmax(-1)
        g = upcast(gradient.narrow(-2, begin, rows.stop - begin)).masked_fill(blind, 0)
        slope = _softened(weights, g @ value.mT, -1, temperature)
        of_query.append(factors[0] * scale * slope @ key)
        of_key = of_key + factors[1] * scale * slope.mT @ query[:, :, rows]
        of_value = of_value + factors[2] * weights.mT @ g
    heads = key.shape[1] // groups
    own_heads = [each.reshape(len(each), heads, groups, *each.shape[-2:]).sum(2) for each in (of_key, of_value)]
    return tuple(each.to(gradient.dtype) for each in (torch.cat(of_query, -2), *own_heads))
