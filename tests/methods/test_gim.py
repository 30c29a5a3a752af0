"""GIM: the forward pass is the model's, the backward pass changed as its formulas say, and everything is put back."""

import pytest
import torch

from interpret import GIM, GradientTimesInput, Objective, attribute
from interpret.methods.gim import GIMRules, frozen_norms, halved
from nexttoken import NextTokenLM
from tests.builders import objective
from tests.conftest import gpt2, llama


@pytest.mark.parametrize("build", [gpt2, llama])
def test_the_forward_pass_is_the_models(build, tokenizer, untouched):
    lm = NextTokenLM.from_pretrained(build(), tokenizer)
    f = objective(lm, "The keys to the cat", 69)
    plain = f.function(f.x[None]).detach()
    before = lm.language_model_head.config._attn_implementation
    with untouched(lm), lm.frozen(), lm.attention(GIM().rules.attend), frozen_norms(lm):
        torch.testing.assert_close(f.function(f.x[None]).detach(), plain, rtol=1e-5, atol=1e-5)
    assert lm.language_model_head.config._attn_implementation == before
    result = attribute(lm, "The keys to the cat", 69, GIM())
    assert result.gradients_spent == 1
    assert not torch.allclose(result.scores, attribute(lm, "The keys to the cat", 69, GradientTimesInput()).scores)


def test_the_derivative_of_the_softmax_is_that_at_the_temperature():
    scores = torch.tensor([3.0, -1.0, 0.5], dtype=torch.float64, requires_grad=True)
    weights = GIMRules(temperature=2.0).softmax(scores)
    torch.testing.assert_close(weights, scores.softmax(-1))
    out = torch.tensor([1.0, 2.0, -1.0], dtype=torch.float64)
    (gradient,) = torch.autograd.grad(weights, scores, out)
    soft = (scores.detach() / 2).softmax(-1)
    torch.testing.assert_close(gradient, soft * (out - (soft * out).sum()))
    (usual,) = torch.autograd.grad(GIMRules(temperature=1.0).softmax(scores), scores, out)
    (expected,) = torch.autograd.grad(scores.softmax(-1), scores, out)
    torch.testing.assert_close(usual, expected)


def test_a_product_shares_its_gradient():
    a, b = (torch.tensor(v, requires_grad=True) for v in (3.0, 5.0))
    product = halved(a) * halved(b)
    assert product == 15
    assert [g.item() for g in torch.autograd.grad(product, (a, b))] == [2.5, 1.5]


@pytest.mark.parametrize("norm", [torch.nn.LayerNorm(4), torch.nn.RMSNorm(4)])
def test_a_norm_with_constant_statistics_is_linear(norm):
    class Holder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = norm

    x = torch.tensor([[1.0, 2.0, -3.0, 0.5]], requires_grad=True)
    with frozen_norms(Holder()):
        out = norm(x)
        jacobian = torch.autograd.functional.jacobian(norm, x)[0, :, 0]
    torch.testing.assert_close(out, norm(x))
    centre = torch.eye(4) - 0.25 if isinstance(norm, torch.nn.LayerNorm) else torch.eye(4)
    scale = (out / (x @ centre)).mean()
    torch.testing.assert_close(jacobian, centre * scale, rtol=1e-4, atol=1e-5)
    assert not norm._forward_hooks


def test_an_attention_that_does_more_is_an_error():
    """Gemma 2 caps its scores; GIM's attention would leave that out."""
    from tests.tiny_models import build

    model = build("Gemma2ForCausalLM")
    for module in model.modules():
        if hasattr(module, "attn_logit_softcapping"):
            module.attn_logit_softcapping = 0.01
    lm = NextTokenLM.from_pretrained(model)
    with pytest.raises(ValueError, match="GIM does not know the attention of"):
        attribute(lm, [5, 6, 7, 8], 9, GIM())


class OddNorm(torch.nn.Module):
    def forward(self, x):
        return x.tanh()


def test_what_it_cannot_do_is_an_error(tokenizer, bag_lm):
    with pytest.raises(ValueError, match="it needs a Hugging Face model"):
        attribute(bag_lm, "ab", "c", GIM())
    with pytest.raises(ValueError, match="it needs a Hugging Face model"):
        GIM()(Objective(torch.sum, torch.zeros(1, 1)), torch.zeros(1, 1))
    model = gpt2()
    model.transformer.ln_f = OddNorm()
    lm = NextTokenLM.from_pretrained(model, tokenizer)
    with pytest.raises(ValueError, match="GIM does not know the norm OddNorm"):
        attribute(lm, "The keys", 69, GIM())
    assert sum(len(module._forward_hooks) for module in lm.modules()) == 0
    with pytest.raises(ValueError, match="temperature is 0"):
        GIM(temperature=0.0)


def test_half_precision(tokenizer):
    """Rounding is not mistaken for another norm or another attention."""
    for dtype in (torch.bfloat16, torch.float16):
        lm = NextTokenLM.from_pretrained(gpt2(dtype), tokenizer)
        exact = NextTokenLM.from_pretrained(gpt2(torch.float32), tokenizer)
        rough, fine = (attribute(each, "The keys to the", " a", GIM()).scores for each in (lm, exact))
        assert float((rough - fine).norm() / fine.norm()) < 0.2
