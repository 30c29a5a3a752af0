"""What else might stand somewhere: the model's own distribution, as a baseline and as replacements."""

import copy
import math
from statistics import median

import pytest
import torch

from interpret import (
    GIM,
    GradientTimesInput,
    IntegratedGradients,
    Marginalization,
    Objective,
    PlausibleAlternatives,
    attribute,
    attribute_continuation,
    attribute_many,
)
from interpret.engine import alternatives as module
from interpret.engine.alternatives import alternatives
from interpret.engine.evaluate import values
from nexttoken import NextTokenLM
from tests.builders import objective, t5
from tests.checking import close
from tests.tiny_models import build

TEXT = "The keys to the cat"


@pytest.mark.parametrize("at_once", [1, 2**26])
def test_they_are_the_models_own_next_words(tiny, monkeypatch, at_once):
    """At every place, what `predict` says after the text before it, the word itself left out."""
    monkeypatch.setattr(module, "LOGITS_AT_ONCE", at_once)
    f = objective(tiny, TEXT, 70)
    found, ids = alternatives(f, 5), tiny.prompt(TEXT).ids
    assert found.known.tolist() == [True] * len(ids)
    torch.testing.assert_close(found.probabilities.sum(-1), torch.ones(len(ids)))
    for place, own in enumerate(ids):
        before = ids[:place] or (tiny.vocab.bos_id,)
        best = [each for each in tiny.predict(before, 6) if each.id != own][:5]
        assert found.ids[place].tolist() == [each.id for each in best]
        share = torch.tensor([each.probability for each in best])
        torch.testing.assert_close(found.probabilities[place], share / share.sum(), rtol=1e-4, atol=1e-6)


def test_of_a_model_that_may_look_ahead_each_place_is_asked_alone(lstm_lm):
    f = objective(lstm_lm, "abcd", "e")
    found = alternatives(f, 3)
    best = [each.id for each in lstm_lm.predict("ab", 4) if each.id != lstm_lm.prompt("abc").ids[2]][:3]
    assert found.ids[2].tolist() == best


def test_the_baseline_is_the_expected_embedding(tiny):
    f = objective(tiny, TEXT, 70)
    found, start = alternatives(f, 50), PlausibleAlternatives()(f)
    with tiny.frozen(), torch.no_grad():
        words = tiny.embed({"input_ids": torch.arange(tiny.vocab.size())[None]})[0]
    for place in range(len(f.x)):
        close(start[place], (found.probabilities[place, :, None].double() * words[found.ids[place]]).sum(0), 1e-6)


def test_of_one_alternative_on_a_linear_network_all_agree(bag_lm):
    """F is linear, so exchanging a word is worth its first-order change, and so are the paths."""
    close_to = attribute(bag_lm, "abcde", "f", Marginalization(samples=2, top=1), contrast="g")
    start = PlausibleAlternatives(top=1)
    for method in (
        GradientTimesInput(start),
        GIM(baseline=start),
        IntegratedGradients(steps=2, baseline=start, fixed=None),
    ):
        close(attribute(bag_lm, "abcde", "f", method, contrast="g").scores, close_to.scores)
    assert close_to.gradients_spent == 0
    assert not close_to.standard_error.any()


def test_a_score_is_the_mean_change_when_a_token_is_replaced(tiny):
    f = objective(tiny, TEXT, 70)
    evidence = Marginalization(samples=3, top=1)(f)
    ids = tiny.prompt(TEXT).ids
    found = alternatives(f, 1).ids[:, 0].tolist()
    whole = float(values(f, f.x[None]))
    for place in range(len(ids)):
        other = objective(tiny, [*ids[:place], found[place], *ids[place + 1 :]], 70)
        assert float(evidence.attributions[place]) == pytest.approx(whole - float(values(other, other.x[None])))


def test_draws_follow_the_seed_and_not_the_chunk_size(tiny):
    one = attribute(tiny, TEXT, 70, Marginalization())
    close(attribute(tiny, TEXT, 70, Marginalization(), batch_size=1).scores, one.scores)
    close(attribute(tiny, TEXT, 70, Marginalization(), batch_size=33).scores, one.scores)
    assert (attribute(tiny, TEXT, 70, Marginalization(seed=1)).scores != one.scores).any()
    assert one.forwards_spent == 1 + 1 + 1 + 8 * len(tiny.prompt(TEXT))  # rated, the first word, F, replaced
    many = attribute(tiny, TEXT, 70, Marginalization(samples=256))
    assert float(many.standard_error.mean()) < float(one.standard_error.mean()) / 3
    assert median(abs(many.scores - one.scores) / one.standard_error) < 2


def test_a_region_and_many_prompts(tiny):
    part = attribute(tiny, TEXT, 70, Marginalization(), region="keys")
    assert sum(part.scores != 0) == len([fixed for fixed in part.fixed if not fixed]) > 0
    for method in (Marginalization(), GIM(baseline=PlausibleAlternatives())):
        found = list(attribute_many(tiny, [TEXT, "are we?"], [70, 71], method))
        close(found[0].scores, attribute(tiny, TEXT, 70, method).scores)
        close(found[1].scores, attribute(tiny, "are we?", 71, method).scores)


def test_the_template_stays(tiny):
    chat = [{"role": "user", "content": "are we?"}]
    for method in (Marginalization(), GradientTimesInput(PlausibleAlternatives())):
        found = attribute(tiny, chat, 70, method)
        assert all(not score for score, written in zip(found.scores.tolist(), found.template, strict=True) if written)
        assert any(found.scores.tolist())


def test_an_encoder_decoder():
    """What might stand in a source, the decoder does not say: any word may, and the baseline is their mean."""
    lm = NextTokenLM.from_pretrained(t5())
    prompt = ([5, 6, 7, 8], [9, 10])
    f = objective(lm, prompt, 20)
    assert alternatives(f, 5).known.tolist() == [False] * 4 + [False, True, True]
    for method in (Marginalization(samples=2), GIM(baseline=PlausibleAlternatives())):
        assert all(map(math.isfinite, attribute(lm, prompt, 20, method).scores))


@pytest.mark.parametrize("make", [lambda: Marginalization(samples=0), lambda: PlausibleAlternatives(top=0)])
def test_settings(make):
    with pytest.raises(ValueError, match=r"it must be at least 1|at least one alternative"):
        make()


@pytest.mark.parametrize("method", [Marginalization(), GradientTimesInput(PlausibleAlternatives())], ids=repr)
def test_a_function_of_ones_own_has_no_words(method):
    x = torch.ones(2, 3)
    f = Objective(lambda points: points.sum((1, 2)), x)
    with pytest.raises(ValueError, match="is what a model says"):
        method(f)


def test_the_bundled_model(bundled):
    """Without a start token of its own, the first word is predicted after the end-of-text token."""
    found = attribute(bundled, "The capital of France is", " Paris", Marginalization())
    assert found.top(1)[0][0] == " France"
    assert not any(found.fixed)
    assert attribute(bundled, "The capital of France is", " Paris", GIM(baseline=PlausibleAlternatives())).scores[3] > 0


DEFAULT = GIM(PlausibleAlternatives(weight=0.5))
HEADS = {  # and whether the head alone makes the logits of its states
    "LlamaForCausalLM": True,
    "OPTForCausalLM": True,
    "GPTJForCausalLM": True,
    "BartForCausalLM": True,
    "Gemma2ForCausalLM": False,  # its logits are capped
    "CohereForCausalLM": False,  # scaled
}


def passes(lm, *arguments, **options):
    """The number of tokens and of rows of each forward pass that a map takes, and the map."""
    seen, own = [], type(lm).next_tokens

    class Counting(type(lm)):
        def next_tokens(self, embeddings, *given, **named):
            seen.append(tuple(embeddings.shape[:2]))
            return own(self, embeddings, *given, **named)

    kind, lm.__class__ = type(lm), Counting
    try:
        return seen, attribute(lm, *arguments, **options)
    finally:
        lm.__class__ = kind


def alone(lm, monkeypatch, *arguments, **options):
    """The same map where every pass is a pass of its own."""
    with monkeypatch.context() as patched:
        patched.setattr(module, "_of_head", lambda *_: None)
        return attribute(lm, *arguments, **options)


@pytest.mark.parametrize("name", HEADS)
def test_the_pass_of_the_gradient_says_what_else_might_stand_there(name, monkeypatch):
    lm = NextTokenLM.from_pretrained(build(name).double())
    ids = [5, 6, 7, 8, 9, 11]
    taken, found = passes(lm, ids, 20, DEFAULT)
    assert (taken.count((1, 6)) == 1) == HEADS[name]
    close(found.scores, alone(lm, monkeypatch, ids, 20, DEFAULT).scores, 1e-6)
    close(attribute(lm, ids, [20, 21], DEFAULT).scores, alone(lm, monkeypatch, ids, [20, 21], DEFAULT).scores, 1e-6)


def test_rows_of_a_matrix_and_of_a_batch_share_it(tiny, monkeypatch):
    every = attribute_continuation(tiny, TEXT, [70, 71, 72], DEFAULT)
    for place, row in enumerate(every):
        before = [*tiny.prompt(TEXT).ids, *[70, 71, 72][:place]]
        close(row.scores, alone(tiny, monkeypatch, before, 70 + place, DEFAULT).scores, 1e-6)
    texts = [TEXT, "are we?", "The keys"]
    for text, why in zip(texts, attribute_many(tiny, texts, [70, 71, 72], DEFAULT, progress=False), strict=True):
        close(why.scores, alone(tiny, monkeypatch, text, why.target.id, DEFAULT).scores, 1e-6)
    part = attribute(tiny, TEXT, 70, DEFAULT, region="keys")
    close(part.scores, alone(tiny, monkeypatch, TEXT, 70, DEFAULT, region="keys").scores, 1e-6)


def test_a_model_of_callables_shares_it(bag_lm, monkeypatch):
    monkeypatch.setattr(type(bag_lm), "causal", True)
    taken, found = passes(bag_lm, "abcde", "f", GradientTimesInput(PlausibleAlternatives()))
    expected = alone(bag_lm, monkeypatch, "abcde", "f", GradientTimesInput(PlausibleAlternatives()))
    close(found.scores, expected.scores)
    assert len(taken) > 1  # a subclass with a pass of its own is not asked for its head


def steered(lm):
    """Another network: hooks, patches and writes into its weights count at once, as nothing is kept."""
    lm.language_model_head.transformer.h[0].mlp.register_forward_hook(lambda module, inputs, output: output + 1.0)
    with torch.no_grad():
        lm.language_model_head.transformer.wte.weight[lm.vocab.start_id] += 1.0


def test_a_changed_network_is_asked_anew(tiny, monkeypatch):
    lm = copy.deepcopy(tiny)
    first = attribute(lm, TEXT, 70, DEFAULT)
    steered(lm)
    found, expected = attribute(lm, TEXT, 70, DEFAULT), alone(lm, monkeypatch, TEXT, 70, DEFAULT)
    assert (expected.scores != first.scores).any()
    close(found.scores, expected.scores, 1e-6)
