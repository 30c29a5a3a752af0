"""GIM: products share their gradient, norms are linear, and the forward pass is the model's own."""

import gc
import math

import numpy
import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from interpret import GIM, GradientTimesInput, MeanEmbedding, Objective, SmoothGrad, attribute, attribute_candidates
from interpret.engine.memory.profile import AllocationTracker
from interpret.methods import gim
from nexttoken import NextTokenLM
from tests import tiny_models
from tests.builders import objective, shared, t5
from tests.checking import close
from tests.conftest import gpt2, llama

IDS = [5, 9, 13, 33, 21, 8, 40, 9, 17]


def scores(function, x, **settings):
    """GIM's score of each token of a function of points."""
    f = Objective(lambda points: function(points), x)
    return GIM(**settings)(f).attributions.sum(-1)


def drawn(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


# On paper


def test_on_a_linear_network_it_is_gradient_times_input(bag_lm):
    for method, other in (
        (GIM(), GradientTimesInput()),
        (GIM(baseline=MeanEmbedding()), GradientTimesInput(MeanEmbedding())),
    ):
        f = objective(bag_lm, "abcd", "e", contrast="f")
        close(method(f).attributions, other(f).attributions)


def test_a_product_of_two_tokens_is_shared():
    """F = x_0 . x_1: each has half of it, and they add up to F; gradient x input gives all of it to both."""
    x = torch.tensor([[1.0, 2.0], [3.0, -1.0]], dtype=torch.float64)
    torch.testing.assert_close(scores(lambda p: (p[:, 0] * p[:, 1]).sum(-1), x), torch.full((2,), 0.5).double())
    matrix = scores(lambda p: (p[:, :1] @ p[:, 1:].mT).flatten(), x)
    torch.testing.assert_close(matrix, torch.full((2,), 0.5).double())


def test_a_product_of_three_is_shared_as_it_is_computed():
    x = torch.tensor([[2.0], [3.0], [5.0]], dtype=torch.float64)
    found = scores(lambda p: p[:, 0, 0] * p[:, 1, 0] * p[:, 2, 0], x)
    torch.testing.assert_close(found, torch.tensor([7.5, 7.5, 15.0], dtype=torch.float64))


def test_what_does_not_depend_on_the_prompt_takes_no_share():
    x, weight = drawn(3, 4), drawn(4)
    torch.testing.assert_close(scores(lambda p: (p * weight).sum((1, 2)), x), (x * weight).sum(-1))


@pytest.mark.parametrize(
    ("written", "fused"),
    [
        (lambda x: x * torch.sigmoid(x), nn.functional.silu),
        (lambda x: x * torch.sigmoid(1.0 * x), nn.functional.silu),
        (lambda x: 0.5 * x * (1 + torch.erf(x / math.sqrt(2))), nn.functional.gelu),
        (lambda x: x * x, lambda x: x.pow(2)),
        (lambda x: nn.functional.relu(x) * nn.functional.relu(x), lambda x: nn.functional.relu(x).pow(2)),
    ],
)
def test_an_activation_function_written_out_is_no_product(written, fused):
    x, weight = drawn(3, 4), drawn(4, 5)
    one, other = (scores(lambda p, f=f: f(p @ weight).sum((1, 2)), x) for f in (written, fused))
    close(one, other, 1e-7)


def test_a_gate_is_a_product():
    x, gate, up = drawn(2, 4), drawn(4, 3), drawn(4, 3)
    plain = GradientTimesInput()(f := Objective(lambda p: (nn.functional.silu(p @ gate) * (p @ up)).sum((1, 2)), x))
    close(GIM()(f).attributions, plain.attributions / 2)
    (at_gate,) = torch.autograd.grad((nn.functional.silu((y := x.clone().requires_grad_()) @ gate) * (x @ up)).sum(), y)
    (at_up,) = torch.autograd.grad((nn.functional.silu(x @ gate) * ((y := x.clone().requires_grad_()) @ up)).sum(), y)
    close(GIM()(f).attributions, x * (at_gate + at_up) / 2)


@pytest.mark.parametrize("cut", ["chunk", "slices"])
def test_a_gate_of_one_layer_with_what_it_lets_through_is_a_product(cut):
    x, both = drawn(2, 4), drawn(4, 6)

    def split(states):
        return states.chunk(2, -1) if cut == "chunk" else (states[..., :3], states[..., 3:])

    def function(points):
        gate, up = split(points @ both)
        return (nn.functional.silu(gate) * up).sum((1, 2))

    f = Objective(function, x)
    close(GIM()(f).attributions, GradientTimesInput()(f).attributions / 2)


NORMS = {
    "rms": lambda x: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6),
    "rms, written with a power": lambda x: x * (x.pow(2).mean(-1, keepdim=True) + 1e-6).pow(-0.5),
    "rms, divided by a root": lambda x: x / (x.pow(2).mean(-1, keepdim=True).sqrt() + 1e-6),
    "torch's rms": lambda x: nn.functional.rms_norm(x, x.shape[-1:], eps=1e-6),
    "length": lambda x: nn.functional.normalize(x, dim=-1) * x.shape[-1] ** 0.5,
    "layer norm, written out": lambda x: (
        (x - x.mean(-1, keepdim=True)) / torch.sqrt(x.var(-1, keepdim=True, unbiased=False) + 1e-6)
    ),
    "layer norm": lambda x: nn.functional.layer_norm(x, x.shape[-1:], eps=1e-6),
    "group norm": lambda x: nn.functional.group_norm(x.reshape(-1, x.shape[-1]), 2, eps=1e-6).view_as(x),
}


@pytest.mark.parametrize("name", NORMS)
def test_norms_are_linear(name):
    """F = weight . norm(x): with constant statistics, the scores are those of the linear map, and add up to F."""
    x, weight = drawn(3, 8), drawn(8)
    found = scores(lambda p: (NORMS[name](p) * weight).sum((1, 2)), x)
    torch.testing.assert_close(found, (NORMS[name](x) * weight).sum(-1), rtol=1e-6, atol=1e-6)


def test_a_layer_norms_weight_counts():
    x, weight, bias = drawn(3, 8), drawn(8), drawn(8)
    found = scores(lambda p: nn.functional.layer_norm(p, (8,), weight, bias).sum((1, 2)), x)
    torch.testing.assert_close(found, (nn.functional.layer_norm(x, (8,), weight)).sum(-1), rtol=1e-6, atol=1e-6)


def test_the_softmax_at_a_temperature():
    """p (dy - sum p dy), p = softmax(s / T), on paper and by the attention that is fused."""
    torch.manual_seed(0)
    weights = (s := drawn(5)).softmax(-1)
    out = drawn(5) + 1
    soft = (s / 2).softmax(-1)
    torch.testing.assert_close(gim._softened(weights, out, -1, 2.0), soft * (out - (soft * out).sum()))


# On networks, against the same computed otherwise


class Patched(TorchFunctionMode):
    """The same rules by patching functions as they are called: an oracle for networks whose activations are fused."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}

        def share(factor, gradient):
            return factor * gradient + (factor * (1 - gradient)).detach()

        if func is nn.functional.scaled_dot_product_attention:
            query, key, value, *rest = args
            return func(share(query, 0.25), share(key, 0.25), share(value, 0.5), *rest, **kwargs)
        if func in (torch.rsqrt, torch.Tensor.rsqrt):
            return func(args[0].detach())
        products = (torch.mul, torch.Tensor.mul, torch.Tensor.__mul__, torch.matmul, torch.Tensor.matmul)
        factors = args[:2]
        if func in (*products, torch.Tensor.__matmul__) and all(
            isinstance(each, torch.Tensor) and each.requires_grad for each in factors
        ):
            return func(share(factors[0], 0.5), share(factors[1], 0.5))
        return func(*args, **kwargs)


def patched(lm, target, prompt=IDS):
    tokens = lm.tokens(lm.prompt(prompt))
    with lm.frozen(), torch.enable_grad():
        x = lm.embed(tokens).detach().requires_grad_(True)
        with Patched():
            value = lm.next_tokens(x.clone(), tokens["input_ids"])[1][0, 0].log_softmax(-1)[target]
            (gradient,) = torch.autograd.grad(value, x)
    return (gradient * x)[0].sum(-1).detach()


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize(
    "name", ["LlamaForCausalLM", "Qwen3ForCausalLM", "MistralForCausalLM", "CohereForCausalLM", "Phi3ForCausalLM"]
)
def test_it_is_the_gradient_of_the_patched_network(name, attention, untouched):
    network = tiny_models.build(name).double()
    network.set_attn_implementation(attention)
    lm = NextTokenLM.from_pretrained(network)
    with untouched(lm):
        found = attribute(lm, IDS, 20, GIM())
    close(found.scores, patched(lm, 20))
    assert (found.gradients_spent, found.forwards_spent) == (1, 0)
    assert abs(found.scores - attribute(lm, IDS, 20, GradientTimesInput()).scores).max() > 1e-6
    assert found.target == attribute(lm, IDS, 20, GradientTimesInput()).target


@pytest.mark.parametrize("block", [2, 256])
@pytest.mark.parametrize("build", [gpt2, llama])
def test_the_networks_own_attention_and_a_written_one_agree(build, block, monkeypatch):
    """At any temperature; the fused one in blocks of rows, whatever their number."""
    monkeypatch.setattr(gim, "ROWS_PER_BLOCK", block)
    for temperature in (1.0, 2.0, 0.5):
        found = []
        for attention in ("sdpa", "eager"):
            network = build().double()
            network.set_attn_implementation(attention)
            found.append(attribute(NextTokenLM.from_pretrained(network), IDS, 20, GIM(temperature=temperature)).scores)
        close(*found, tolerance=1e-6)  # the written one takes its softmax in float32


@pytest.mark.parametrize("backend", [SDPBackend.FLASH_ATTENTION, SDPBackend.MATH])
@pytest.mark.parametrize("kind", ["bool", "float"])
def test_a_row_that_sees_nothing_is_zero(kind, backend):
    """As in the forward pass: it says nothing, and the other rows have the scores that they have without it."""
    seen = torch.tensor([[0, 0, 0], [1, 1, 0], [1, 1, 1]]).bool()

    def function(rows):
        mask = seen[rows] if kind == "bool" else drawn(3, 3).masked_fill(~seen, -math.inf)[rows]

        def attend(points):
            p = points[:, None]
            out = nn.functional.scaled_dot_product_attention(p[:, :, rows], p * 0.5, p.tanh(), attn_mask=mask)
            return out.square().sum((1, 2, 3))

        return attend

    x = drawn(3, 8)
    with sdpa_kernel(backend):
        whole, part = (scores(function(slice(begin, 3)), x, temperature=2.0) for begin in (0, 1))
    close(whole, part)


@pytest.mark.parametrize("temperature", [0.5, 2.0])
@pytest.mark.parametrize("family", ["GPT2LMHeadModel", "LlamaForCausalLM"])
def test_the_attention_of_every_backend_is_softened(family, temperature):
    """Where no fused kernel takes it, as on some devices, torch writes it out with a softmax of its own."""
    lm = NextTokenLM.from_pretrained(tiny_models.build(family).double())
    fused = attribute(lm, [5, 6, 7, 8], 20, GIM(temperature=temperature)).scores
    with sdpa_kernel(SDPBackend.MATH):
        written = attribute(lm, [5, 6, 7, 8], 20, GIM(temperature=temperature)).scores
    torch.testing.assert_close(written, fused, rtol=1e-9, atol=1e-12)
    assert not numpy.allclose(fused, attribute(lm, [5, 6, 7, 8], 20, GIM()).scores, rtol=1e-3)


def test_low_temperatures_of_long_rows_do_not_vanish():
    """Uniform weights stay uniform: 1/n to the power of 1/T would be zero in float32."""
    gradient = torch.zeros(4096).index_fill(0, torch.tensor([0]), 1.0)
    uniform = torch.full((4096,), 1 / 4096)
    torch.testing.assert_close(gim._softened(uniform, gradient, -1, 0.05), uniform * (gradient - uniform))


def test_the_temperature_counts(tiny):
    one, two = (attribute(tiny, IDS, 20, GIM(temperature=each)).scores for each in (1.0, 2.0))
    assert not numpy.allclose(one, two)


def test_several_targets_at_once(tiny):
    """Backward passes in batches take the same hooks."""
    for method in (GIM(), GIM(temperature=2.0), GIM(baseline=MeanEmbedding())):
        matrix = attribute_candidates(tiny, IDS, [20, 21, 22], method)
        for target, row in zip((20, 21, 22), matrix, strict=True):
            close(row.scores, attribute(tiny, IDS, target, method).scores)


def test_noise_on_it_runs_at_once(tiny):
    assert attribute(tiny, IDS, 20, SmoothGrad(GIM(), samples=6, sigma=0.0)).gradients_spent == 6
    close(
        attribute(tiny, IDS, 20, SmoothGrad(GIM(), samples=6, sigma=0.0)).scores, attribute(tiny, IDS, 20, GIM()).scores
    )


def test_an_encoder_decoder():
    lm, pair = shared(t5), ([5, 6, 7, 8], [9, 10])
    found = attribute(lm, pair, 20, GIM()).scores
    close(found, patched(lm, 20, pair))
    assert abs(found - attribute(lm, pair, 20, GradientTimesInput()).scores).max() > 1e-6


def test_half_precision(tokenizer):
    for dtype in (torch.bfloat16, torch.float16):
        lm = NextTokenLM.from_pretrained(gpt2(dtype), tokenizer)
        exact = NextTokenLM.from_pretrained(gpt2(torch.float32), tokenizer)
        half, single = (attribute(each, "The keys to the", " a", GIM()).scores for each in (lm, exact))
        assert numpy.linalg.norm(half - single) / numpy.linalg.norm(single) < 0.2


class Hidden(torch.autograd.Function):
    """A product that is written as one operation."""

    @staticmethod
    def forward(ctx, one, other):
        ctx.save_for_backward(one, other)
        return one * other

    @staticmethod
    def backward(ctx, gradient):
        one, other = ctx.saved_tensors
        return gradient * other, gradient * one


def test_a_product_that_is_hidden_is_refused():
    x = drawn(2, 4)
    with pytest.raises(ValueError, match=r"cannot see those in HiddenBackward: take another method"):
        scores(lambda p: Hidden.apply(p[:, 0], p[:, 1]).sum(-1), x)
    constant = drawn(4)
    torch.testing.assert_close(scores(lambda p: Hidden.apply(p[:, 0], constant).sum(-1), x)[0], (x[0] * constant).sum())


def test_settings():
    with pytest.raises(ValueError, match="temperature is 0"):
        GIM(temperature=0.0)
    assert repr(GIM()) == "GIM(baseline=None, temperature=1.0)"


@pytest.mark.parametrize("method", [GIM(), GIM(temperature=2.0)], ids=repr)
def test_nothing_is_left_behind(tiny32, method):
    """Hooks that read what a node has saved are removed with the gradient, so the graph goes without a collector."""
    attribute_candidates(tiny32, IDS, [20, 21], method)
    gc.collect()
    gc.disable()
    try:
        with AllocationTracker([*tiny32.parameters(), *tiny32.buffers()]) as tracker:
            attribute_candidates(tiny32, IDS, [20, 21], method)
            left = tracker.bytes
        with AllocationTracker([*tiny32.parameters(), *tiny32.buffers()]) as tracker:
            attribute_candidates(tiny32, IDS, [20, 21], GradientTimesInput())
            usual = tracker.bytes
    finally:
        gc.enable()
    assert left <= usual
