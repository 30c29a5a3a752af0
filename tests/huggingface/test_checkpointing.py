"""Layers that run again in the backward pass: the same gradients, far less memory, and the model as it was."""

import pytest
import torch
import transformers
from torch import nn
from torch.utils.checkpoint import checkpoint

from interpret import (
    GIM,
    GradientTimesInput,
    IntegratedGradients,
    SmoothGrad,
    attribute,
    attribute_candidates,
    attribute_continuation,
    attribute_many,
)
from interpret.engine.memory.policy import Memory
from interpret.engine.memory.profile import (
    ALLOCATOR_OVERHEAD,
    AllocationTracker,
    measured_bytes,
    memory_profile,
    text_like,
)
from nexttoken import NextTokenLM
from nexttoken.huggingface.network import checkpointing
from tests import tiny_models
from tests.builders import t5

LAYERS = 8
IDS = [5, 6, 7, 8, 9, 10, 11, 12, 13, 14]
pytestmark = pytest.mark.filterwarnings("ignore::interpret.ConvergenceWarning")


@pytest.fixture
def deep():
    """A model of enough layers for checkpointing to save memory."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=96, num_hidden_layers=LAYERS, num_attention_heads=4,
        num_key_value_heads=2, bos_token_id=1, eos_token_id=2, max_position_embeddings=600,
    )  # fmt: skip
    return NextTokenLM.from_pretrained(transformers.LlamaForCausalLM(config).eval())


@pytest.fixture
def runs(monkeypatch, deep):
    """How many layers run again, for each pass with a gradient."""
    seen, own = [], type(deep).next_tokens

    def next_tokens(self, embeddings, *args, checkpointed=0, **options):
        if embeddings.requires_grad:
            seen.append(checkpointed)
        return own(self, embeddings, *args, checkpointed=checkpointed, **options)

    monkeypatch.setattr(type(deep), "next_tokens", next_tokens)
    return seen


def halfway(lm, ids):
    """A budget between what a point needs and what it needs if all layers run twice."""
    prompt = lm.prompt(ids)
    layers = lm.checkpointable_layers(text_like(lm, prompt, 8))
    whole, least = (memory_profile(lm, prompt, each).of_point(len(ids)) for each in (0, layers))
    assert least < whole
    return (whole + least) // 2


METHODS = [GradientTimesInput(), IntegratedGradients(steps=6), SmoothGrad(samples=4), GIM()]


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_scores_are_the_same_with_as_many_layers_as_needed(deep, runs, method, untouched):
    budget = halfway(deep, IDS)
    runs.clear()
    expected = attribute(deep, IDS, 20, method)
    assert set(runs) == {0}
    runs.clear()
    with untouched(deep):
        found = attribute(deep, IDS, 20, method, memory_budget=budget)
    assert all(LAYERS // 2 <= each < LAYERS for each in runs)
    assert runs
    torch.testing.assert_close(found.scores, expected.scores, rtol=1e-5, atol=1e-7)


def test_without_a_budget_layers_run_twice_for_half_of_what_is_free(deep, runs, monkeypatch):
    ids = [5 + i % 40 for i in range(40)]
    whole = memory_profile(deep, deep.prompt(ids)).of_point(len(ids))
    for free, twice in ((2.1 * whole, False), (1.9 * whole, True)):
        monkeypatch.setattr("interpret.engine.memory.policy.available_memory", lambda lm, free=free: free)
        runs.clear()
        attribute(deep, ids, 20, IntegratedGradients(steps=4))
        assert (runs[-1] > 0) is twice
    monkeypatch.setattr("interpret.engine.memory.policy.available_memory", lambda lm: whole / 100)
    with pytest.raises(ValueError, match="the free memory is"):
        attribute(deep, ids, 20, IntegratedGradients(steps=4))


def test_with_targets_that_share_forward_passes(deep, runs):
    method, budget = IntegratedGradients(steps=4), halfway(deep, IDS)
    for ask in (
        lambda **options: attribute_candidates(deep, IDS, 3, method=method, **options),
        lambda **options: attribute_continuation(deep, IDS, [20, 21, 22], method, **options),
    ):
        expected = ask()
        runs.clear()
        found = ask(memory_budget=budget)
        assert runs
        assert min(runs) >= LAYERS // 2
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one.scores, other.scores, rtol=1e-5, atol=1e-7)


def test_only_the_prompts_that_need_it(deep, runs):
    prompts, budget = [IDS[:3], IDS, IDS[:4]], halfway(deep, IDS)
    runs.clear()
    found = list(attribute_many(deep, prompts, [20] * 3, GradientTimesInput(), memory_budget=budget))
    assert sum(each > 0 for each in runs) == 1
    for each, ids in zip(found, prompts, strict=True):
        expected = attribute(deep, ids, 20, GradientTimesInput())
        torch.testing.assert_close(each.scores, expected.scores, rtol=1e-5, atol=1e-7)


def test_the_copy_in_less_precision_too(deep, runs):
    budget = halfway(deep.in_precision(torch.bfloat16), IDS)
    expected = attribute(deep, IDS, 20, IntegratedGradients(steps=4), precision="bfloat16")
    runs.clear()
    found = attribute(deep, IDS, 20, IntegratedGradients(steps=4), precision="bfloat16", memory_budget=budget)
    assert min(runs) >= LAYERS // 2
    torch.testing.assert_close(found.scores, expected.scores, rtol=1e-3, atol=1e-5)


def test_behind_a_span_what_stands_before_is_kept_and_nothing_runs_twice(deep, monkeypatch):
    ids = IDS + IDS
    expected = attribute(deep, ids, 20, IntegratedGradients(steps=4), region=(50, 62))
    budget, twice = halfway(deep, ids), []

    def counted(layers):
        if torch.is_grad_enabled():
            twice.append(len(layers))
        return checkpointing(layers)

    monkeypatch.setattr("nexttoken.huggingface.causal.checkpointing", counted)
    attribute(deep, ids, 20, IntegratedGradients(steps=4), memory_budget=budget)
    assert min(twice) >= LAYERS // 2
    twice.clear()
    found = attribute(deep, ids, 20, IntegratedGradients(steps=4), region=(50, 62), memory_budget=budget)
    first, *others = twice
    assert first >= LAYERS // 2
    assert others
    assert not any(others)
    torch.testing.assert_close(found.scores, expected.scores, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["GPT2LMHeadModel", "GPTNeoXForCausalLM", "MixtralForCausalLM", "OPTForCausalLM"])
def test_the_gradient_is_the_same_to_the_bit(name):
    lm = NextTokenLM.from_pretrained(tiny_models.build(name))
    same_to_the_bit(lm, torch.tensor([[5, 6, 7, 8, 9]]))


def test_and_for_an_encoder_decoder():
    lm = NextTokenLM.from_pretrained(t5())
    same_to_the_bit(lm, lm.tokens(lm.prompt(([5, 6, 7], [8, 9])))["input_ids"])


def same_to_the_bit(lm, input_ids):
    layers = lm.checkpointable_layers(input_ids)
    assert layers > 0
    gradients = []
    with lm.frozen(), torch.enable_grad():
        points = lm.embed({"input_ids": input_ids}).detach().requires_grad_(True)
        for checkpointed in (0, 1, layers):
            _, logits = lm.next_tokens(points.clone(), input_ids, checkpointed=checkpointed)
            gradients.append(torch.autograd.grad(logits[0, 0, 5], points)[0])
    assert gradients[0].any()
    assert all(torch.equal(each, gradients[0]) for each in gradients[1:])


@pytest.mark.parametrize("length", [32, 200, 500])
def test_the_need_with_layers_that_run_twice(deep, length):
    """What is counted at other lengths is at most what is reckoned, and not much less."""
    ids = [5 + i % 40 for i in range(length)]
    prompt = deep.prompt(IDS)
    layers = deep.checkpointable_layers(text_like(deep, prompt, 8))
    reckoned = memory_profile(deep, prompt, layers).of_point(length)
    _, peak, _ = measured_bytes(deep, torch.tensor([ids]), layers)
    assert peak <= reckoned <= 2.5 * ALLOCATOR_OVERHEAD * peak
    assert reckoned < 0.8 * memory_profile(deep, prompt).of_point(length)


def test_the_fewest_layers_that_fit(deep):
    prompt = deep.prompt(IDS)
    layers = deep.checkpointable_layers(text_like(deep, prompt, 8))
    whole, least = (memory_profile(deep, prompt, each).of_point(len(IDS)) for each in (0, layers))
    for share in (0.0, 0.3, 0.5, 1.0):
        memory = Memory(round(whole - share * (whole - least)) + 1)
        checkpointed = memory.checkpointed_layers(deep, prompt)
        assert checkpointed == pytest.approx(share * layers, abs=1)
        assert whole - checkpointed * (whole - least) / layers <= memory.budget
    with pytest.raises(ValueError, match="9 tokens would fit"):
        Memory(memory_profile(deep, prompt, layers).of_point(9)).checkpointed_layers(deep, prompt)


class Fickle(nn.Module):
    """A layer that does not do the same a second time."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.eye(3))
        self.calls = 0

    def forward(self, states):
        self.calls += 1
        return self.calls * states @ self.weight


def test_a_network_that_does_not_do_the_same_twice_is_left_alone(deep):
    class Other(type(deep.layers[0])):
        def forward(self, hidden_states, *args, **options):
            self.calls = getattr(self, "calls", 0) + 1
            states = super().forward(hidden_states, *args, **options)
            return states * self.calls if torch.is_grad_enabled() else states

    deep.layers[3].__class__ = Other
    assert deep.checkpointable_layers(torch.tensor([IDS[:8]])) == 0
    prompt = deep.prompt(IDS)
    with pytest.raises(ValueError, match="tokens would fit"):
        attribute(deep, prompt, 20, GradientTimesInput(), memory_budget=memory_profile(deep, prompt).of_point(5))


def test_layers_come_back_as_they_were_after_errors_too():
    first, second = Fickle(), Fickle()
    second.forward = own = lambda states: states * 2
    with checkpointing([first, second]):
        assert second(torch.ones(3)).tolist() == [2, 2, 2]
        assert first.forward.func is second.forward.func is checkpoint
    assert "forward" not in vars(first)
    assert second.forward is own
    with pytest.raises(RuntimeError), checkpointing([first, second]):
        first(torch.ones(4))
    assert "forward" not in vars(first)
    assert second.forward is own


def test_what_runs_again_is_not_kept():
    layer = Fickle()
    states = torch.ones(1000, 3, requires_grad=True)
    with AllocationTracker([*layer.parameters(), states]) as alive, checkpointing([layer]):
        kept = layer(states)
        assert alive.bytes <= kept.nbytes
    torch.autograd.grad(kept.sum(), states)
    assert layer.calls == 2
