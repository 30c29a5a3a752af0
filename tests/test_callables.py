"""Models that are not from Hugging Face: any module from three callables, explained exactly, given back untouched."""

import pytest
import torch
from torch import nn

from interpret import IntegratedGradients, SmoothGrad, VanillaGradient, Zero, attribute
from interpret.engine.evaluate import gradients, values
from interpret.engine.objective import Objective
from nexttoken import NextTokenLM, SymbolVocabulary, Target
from tests.conftest import LETTERS

BLOCK, DIM, HEADS = 16, 8, 2


class SelfAttention(nn.Module):
    """Causal attention with one product for queries, keys and values."""

    def __init__(self):
        super().__init__()
        self.project, self.out = nn.Linear(DIM, 3 * DIM), nn.Linear(DIM, DIM)

    def forward(self, x):
        heads = [part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in self.project(x).chunk(3, -1)]
        mixed = nn.functional.scaled_dot_product_attention(*heads, is_causal=True)
        return self.out(mixed.transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention, self.dropout = SelfAttention(), nn.Dropout(0.3)
        self.first_norm, self.second_norm = nn.LayerNorm(DIM), nn.LayerNorm(DIM)
        self.mlp = nn.Sequential(nn.Linear(DIM, 4 * DIM), nn.GELU(), nn.Linear(4 * DIM, DIM))

    def forward(self, x):
        x = x + self.dropout(self.attention(self.first_norm(x)))
        return x + self.dropout(self.mlp(self.second_norm(x)))


class SmallGPT(nn.Module):
    """A GPT as one writes it oneself: learned positions, a head tied to the embeddings, one forward for everything."""

    def __init__(self):
        super().__init__()
        self.words, self.places = nn.Embedding(len(LETTERS), DIM), nn.Embedding(BLOCK, DIM)
        self.blocks, self.norm = nn.Sequential(Block(), Block()), nn.LayerNorm(DIM)
        self.head = nn.Linear(DIM, len(LETTERS), bias=False)
        self.head.weight = self.words.weight

    def states(self, embedded):
        return self.norm(self.blocks(embedded + self.places(torch.arange(embedded.shape[1]))))

    def forward(self, ids):
        return self.head(self.states(self.words(ids)))


class Recurrent(nn.Module):
    """A character-level LSTM or GRU with dropout between its layers."""

    def __init__(self, kind):
        super().__init__()
        self.words = nn.Embedding(len(LETTERS), DIM)
        self.rnn = kind(DIM, 12, num_layers=2, dropout=0.5, batch_first=True)
        self.head = nn.Linear(12, len(LETTERS))

    def forward(self, ids):
        return self.head(self.rnn(self.words(ids))[0])


def small_gpt():
    model = SmallGPT()
    return model, {"embed": model.words, "contextualize": model.states, "head": model.head, "max_length": BLOCK}


def lstm():
    model = Recurrent(nn.LSTM)
    return model, {"embed": model.words, "contextualize": model.rnn, "head": model.head}


def gru():
    model = Recurrent(nn.GRU)
    return model, {"embed": model.words, "contextualize": lambda x: model.rnn(x)[0], "head": model.head}


@pytest.fixture(params=[small_gpt, lstm, gru])
def lm(request):
    """In training mode, as it comes from training."""
    torch.manual_seed(0)
    model, parts = request.param()
    return NextTokenLM.from_callables(model.double().train(), SymbolVocabulary(LETTERS, eos="."), **parts)


def module(lm):
    return lm.language_model_head.module


def test_logits_are_the_models_own(lm):
    prompt = lm.prompt("abcdef")
    with torch.no_grad(), lm.frozen():
        tokens = lm.tokens(prompt)
        expected = module(lm)(tokens["input_ids"])
        _, found = lm.next_tokens(lm.embed(tokens), tokens["input_ids"], positions=range(6))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert lm.name == type(module(lm)).__name__


def test_gradient_against_finite_differences(lm):
    prompt = lm.prompt("hag bed.")
    with torch.no_grad(), lm.frozen():
        logits = lm.logits(lm.embed(lm.tokens(prompt)), lm.tokens(prompt))[0]
    objective = Objective.of(lm, prompt, Target.of("c", prompt, lm.vocab, logits))
    x = objective.x
    directions = torch.randn(6, *x.shape, generator=torch.Generator().manual_seed(0)).to(x)
    slopes = (directions * gradients(objective, x[None])[1]).flatten(1).sum(1)
    above, below = (values(objective, x + sign * 1e-5 * directions) for sign in (1, -1))
    torch.testing.assert_close((above - below) / 2e-5, slopes, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("baseline", [Zero(), None])
def test_integrated_gradients_are_complete(lm, baseline):
    path = {} if baseline is None else {"baseline": baseline}
    result = attribute(lm, "hag bed.", "c", IntegratedGradients(tolerance=0.001, max_gradients=1000, **path))
    change = result.completeness.value - result.completeness.baseline_value
    assert float(result.scores.sum()) == pytest.approx(change, abs=0.001 * abs(change))
    with torch.no_grad(), lm.frozen():
        own = module(lm)(torch.tensor([lm.prompt("hag bed.").ids]))[0, -1].log_softmax(-1)
    assert result.completeness.value == pytest.approx(float(own[lm.vocab.ids["c"]]), abs=1e-12)


@pytest.mark.parametrize("method", [VanillaGradient(), SmoothGrad(samples=4), IntegratedGradients()])
def test_a_model_in_training_comes_back_untouched(lm, method, untouched):
    optimizer = torch.optim.SGD(module(lm).parameters(), lr=0.1)
    loss = nn.functional.cross_entropy(module(lm)(torch.tensor([[0, 1, 2]]))[0], torch.tensor([1, 2, 3]))
    loss.backward()
    left = [parameter.grad.clone() for parameter in module(lm).parameters()]
    with untouched(lm):
        scores = attribute(lm, "abc", "d", method).scores
        assert (scores == attribute(lm, "abc", "d", method).scores).all()
    assert all(torch.equal(a, b.grad) for a, b in zip(left, module(lm).parameters(), strict=True))
    assert module(lm).training
    optimizer.step()
    assert (scores != attribute(lm, "abc", "d", method).scores).any()


@pytest.mark.parametrize("kind", [lstm, gru])
def test_recurrent_layers_run_without_cudnn_in_evaluation_mode(kind):
    """cuDNN refuses the backward pass of a recurrent layer that is not in training mode."""
    model, parts = kind()
    seen = []
    model.rnn.register_forward_pre_hook(
        lambda layer, inputs: seen.append((layer.training, torch.backends.cudnn.enabled))
    )
    lm = NextTokenLM.from_callables(model.train(), SymbolVocabulary(LETTERS), **parts)
    attribute(lm, "abc", "d", VanillaGradient())
    assert set(seen) == {(False, False)}
    assert torch.backends.cudnn.enabled
    assert model.rnn.training


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: cuDNN's own refusal was not run")
@pytest.mark.parametrize("kind", [lstm, gru])
def test_recurrent_layers_on_a_gpu(kind):
    torch.manual_seed(0)
    model, parts = kind()
    lm = NextTokenLM.from_callables(model, SymbolVocabulary(LETTERS), **parts)
    expected = attribute(lm, "abc", "d", VanillaGradient()).scores
    model.cuda().train()
    torch.testing.assert_close(attribute(lm, "abc", "d", VanillaGradient()).scores, expected, rtol=1e-4, atol=0)


def test_a_prompt_longer_than_its_positions_is_an_error():
    model, parts = small_gpt()
    lm = NextTokenLM.from_callables(model, SymbolVocabulary(LETTERS), **parts)
    with pytest.raises(ValueError, match="has 17 tokens and this model reads at most 16"):
        lm.predict("a" * 17)
