"""oneDNN's input gradients of linear layers are torch's own, and are taken only where they are faster."""

import platform
from pathlib import Path

import pytest
import torch
from torch import nn

from interpret import GradientTimesInput, attribute, attribute_continuation
from nexttoken import NextTokenLM
from nexttoken import linear as module
from nexttoken.linear import FastInputGradients, Linear, linear, onednn_is_faster, quick, rows_summed_well, suited
from tests import tiny_models

ANY_ONEDNN = torch.backends.mkldnn.is_available() and platform.machine() in ("x86_64", "AMD64")
pytestmark = pytest.mark.skipif(not ANY_ONEDNN, reason="torch is built without oneDNN here")


@pytest.fixture
def faster(monkeypatch):
    """As on a processor for which oneDNN is taken; returns the layers whose input gradients are."""
    taken = []
    monkeypatch.setattr(module, "onednn_is_faster", lambda: True)
    monkeypatch.setattr(module, "linear", lambda *args: taken.append(args) or linear(*args))
    return taken


@pytest.mark.parametrize("shape", [(3, 5), (2, 3, 5), (2, 1, 3, 5), (1, 5)])
def test_layers_are_torchs_own_to_the_bit_and_gradients_up_to_rounding(faster, shape):
    torch.manual_seed(0)
    layer = nn.Linear(5, 4, bias=False).requires_grad_(False)
    states = torch.randn(shape, requires_grad=True)
    gradient = torch.randn(*shape[:-1], 4)
    expected = layer(states)
    (expected_gradient,) = torch.autograd.grad(expected, states, gradient)
    with FastInputGradients():
        found = layer(states)
    (found_gradient,) = torch.autograd.grad(found, states, gradient)
    assert len(faster) == 1
    assert torch.equal(found, expected)
    torch.testing.assert_close(found_gradient, expected_gradient, rtol=1e-6, atol=1e-6)


def test_on_paper(faster):
    weight = torch.tensor([[1.0, 2.0], [0.0, -1.0], [3.0, 0.5]])
    states = torch.tensor([[2.0, 4.0]], requires_grad=True)
    with FastInputGradients():
        product = nn.functional.linear(states, weight)
    assert product.tolist() == [[10.0, -4.0, 8.0]]
    (gradient,) = torch.autograd.grad(product, states, torch.tensor([[1.0, 0.0, 2.0]]))
    assert gradient.tolist() == [[7.0, 3.0]]
    assert len(faster) == 1


def test_what_onednn_refuses_torch_computes(faster, monkeypatch):
    def refuse(*args):
        raise RuntimeError("could not create a primitive")

    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", refuse)
    torch.manual_seed(0)
    weight, states, gradient = torch.randn(4, 5), torch.randn(2, 3, 5, requires_grad=True), torch.randn(2, 3, 4)
    with FastInputGradients():
        product = nn.functional.linear(states, weight)
    (found,) = torch.autograd.grad(product, states, gradient)
    assert torch.equal(found, gradient @ weight)


def test_several_backward_passes_at_once_and_a_second_derivative(faster):
    torch.manual_seed(0)
    weight, states = torch.randn(4, 5), torch.randn(2, 3, 5, requires_grad=True)
    gradients = torch.randn(6, 2, 3, 4)
    product = Linear.apply(states, weight)
    (together,) = torch.autograd.grad(product, states, gradients, is_grads_batched=True, retain_graph=True)
    alone = [torch.autograd.grad(product, states, each, retain_graph=True)[0] for each in gradients]
    torch.testing.assert_close(together, torch.stack(alone), rtol=1e-6, atol=1e-6)
    (first,) = torch.autograd.grad(product.pow(3).sum(), states, create_graph=True)
    (second,) = torch.autograd.grad(first.pow(2).sum(), states)
    own = states.detach().clone().requires_grad_(True)
    (own_first,) = torch.autograd.grad((own @ weight.t()).pow(3).sum(), own, create_graph=True)
    (own_second,) = torch.autograd.grad(own_first.pow(2).sum(), own)
    torch.testing.assert_close(second, own_second, rtol=1e-4, atol=1e-4)


def test_what_it_leaves_alone(faster):
    frozen, states = torch.randn(4, 5), torch.randn(3, 5)
    assert suited(states, frozen)
    trained = nn.Parameter(frozen.clone())
    assert not suited(states, trained)  # its own gradient is asked for
    assert not suited(states, frozen, torch.randn(4))
    assert not suited(states.double(), frozen.double())
    assert not suited(states.bfloat16(), frozen.bfloat16())
    assert not suited(states[0], frozen)
    assert not suited(states, frozen[0])
    assert not suited(states[:0], frozen)
    assert not suited(states.to("meta"), frozen.to("meta"))
    with FastInputGradients():
        nn.functional.linear(states, trained).sum().backward()
    assert faster == []
    torch.testing.assert_close(trained.grad, states.sum(0).expand(4, 5))


@pytest.mark.parametrize(
    ("processor", "capability", "expected"),
    [("AuthenticAMD", "AVX512", True), ("AuthenticAMD", "AVX2", False), ("GenuineIntel", "AVX512", False)],
)
def test_only_where_it_was_measured(monkeypatch, tmp_path, processor, capability, expected):
    (tmp_path / "cpuinfo").write_text(f"vendor_id\t: {processor}\n")
    monkeypatch.setattr(module, "Path", lambda name: tmp_path / Path(name).name)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    onednn_is_faster.cache_clear()
    try:
        assert onednn_is_faster() is expected
    finally:
        onednn_is_faster.cache_clear()


@pytest.mark.parametrize("family", ["LlamaForCausalLM", "OlmoForCausalLM"])
def test_scores_of_a_model_are_the_same(faster, monkeypatch, family):
    lm = NextTokenLM.from_pretrained(tiny_models.build(family))
    fast = attribute(lm, [5, 6, 7, 8], 9, GradientTimesInput())
    many = attribute_continuation(lm, [5, 6, 7, 8], [9, 10, 11], GradientTimesInput())
    assert faster
    monkeypatch.setattr(module, "onednn_is_faster", lambda: False)
    slow = attribute(lm, [5, 6, 7, 8], 9, GradientTimesInput())
    one_by_one = attribute_continuation(lm, [5, 6, 7, 8], [9, 10, 11], GradientTimesInput())
    assert abs(fast.scores).max() > 0
    torch.testing.assert_close(fast.scores, slow.scores, rtol=1e-4, atol=1e-5 * float(abs(slow.scores).max()))
    torch.testing.assert_close(many.scores, one_by_one.scores, rtol=1e-4, atol=1e-5, equal_nan=True)


def test_nothing_of_the_model_changes_and_outside_all_is_as_ever(faster):
    lm = NextTokenLM.from_pretrained(tiny_models.build("LlamaForCausalLM"))
    before = {name: dict(vars(module)) for name, module in lm.named_modules()}
    attribute(lm, [5, 6, 7], 9, GradientTimesInput())
    taken = len(faster)
    with torch.no_grad():
        lm.language_model_head(input_ids=torch.tensor([[5, 6, 7]]))
    assert len(faster) == taken > 0
    after = {name: dict(vars(module)) for name, module in lm.named_modules()}
    assert {name: set(each) for name, each in before.items()} == {name: set(each) for name, each in after.items()}


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # torch's compiler looks at it
def test_a_network_that_its_owner_compiled(faster):
    network = tiny_models.build("LlamaForCausalLM")
    own = attribute(NextTokenLM.from_pretrained(network), [5, 6, 7], 9, GradientTimesInput())
    for layer in network.model.layers:
        layer.compile(backend="eager")
    compiled = attribute(NextTokenLM.from_pretrained(network), [5, 6, 7], 9, GradientTimesInput())
    torch.testing.assert_close(compiled.scores, own.scores, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("shape", [(3, 5), (2, 3, 5), (2, 1, 3, 5)])
@pytest.mark.parametrize("biased", [False, True])
def test_networks_may_add_to_what_a_layer_gives(faster, shape, biased):
    layer = nn.Linear(5, 4, bias=biased).requires_grad_(False)
    states = torch.randn(shape, requires_grad=True)
    with FastInputGradients():
        found = layer(states)
        found += 1
    torch.testing.assert_close(found, layer(states) + 1)
    torch.autograd.grad(found.sum(), states)


@pytest.mark.parametrize("fast", [True, False])
def test_a_head_for_what_may_be_rounded(monkeypatch, fast):
    monkeypatch.setattr(module, "onednn_is_faster", lambda: fast)
    torch.manual_seed(0)
    for layer in (nn.Linear(5, 4, bias=False), nn.Linear(5, 4), nn.Linear(5, 4, bias=False).double()):
        layer.requires_grad_(False)
        states = torch.randn(2, 3, 5, dtype=layer.weight.dtype)
        torch.testing.assert_close(quick(layer, states), layer(states), rtol=1e-6, atol=1e-6)
        assert rows_summed_well(layer, states.device) == (1 if fast and layer.bias is None else 4)


def test_a_sum_over_the_vocabulary_is_precise_with_that_many_rows():
    torch.manual_seed(0)
    head = nn.Linear(576, 49152, bias=False).requires_grad_(False)
    rows = rows_summed_well(head, torch.device("cpu"))
    gradient = torch.randn(1, rows, 49152).softmax(-1)
    states = torch.randn(1, rows, 576, requires_grad=True)
    with FastInputGradients():
        logits = head(states)
    (found,) = torch.autograd.grad(logits, states, gradient)
    expected = gradient.double() @ head.weight.double()
    assert float((found - expected).norm() / expected.norm()) < 2e-6
