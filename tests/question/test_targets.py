"""Targets: several candidates, spans of tokens, whole continuations, and quantities of the caller's own."""

from copy import deepcopy
from dataclasses import dataclass

import captum.attr
import numpy
import pytest
import torch
from torch import nn

from interpret import (
    ENTROPY,
    GIM,
    IDGI,
    LOGIT,
    PROBABILITY,
    AttributionMatrix,
    Captum,
    DiscretizedIG,
    ExpectedGradients,
    GradientTimesInput,
    IntegratedGradients,
    MeanEmbedding,
    Quantity,
    SequentialIG,
    SmoothGrad,
    VanillaGradient,
    VarGrad,
    attribute,
    attribute_candidates,
    attribute_continuation,
    convention,
    explain,
    log_odds,
)
from interpret.engine.evaluate import gradients
from interpret.methods.method import Evidence, Method
from nexttoken import NextTokenLM
from tests.checking import close
from tests.conftest import gpt2, letters_lm

TEXT = "The keys to the cabinet"
METHODS = [
    VanillaGradient(),
    GradientTimesInput(),
    GradientTimesInput(MeanEmbedding()),
    IntegratedGradients(steps=4),
    IntegratedGradients(tolerance=0.05),
    IDGI(steps=4),
    SequentialIG(steps=2),
    DiscretizedIG(steps=3, neighbours=20),
    ExpectedGradients(samples=4),
    SmoothGrad(samples=4),
    VarGrad(samples=4),
    SmoothGrad(IntegratedGradients(steps=3), samples=2),
    GIM(),
    Captum(captum.attr.IntegratedGradients, n_steps=4),
    Captum(captum.attr.ShapleyValueSampling, n_samples=2),
    convention("inseq", "gradient"),
]
pytestmark = pytest.mark.filterwarnings("ignore::interpret.ConvergenceWarning")


def counted(lm, monkeypatch):
    """Count the forward passes of a model, by their rows."""
    calls, next_tokens = [], lm.next_tokens

    def counting(embeddings, *args, **options):
        calls.append(len(embeddings))
        return next_tokens(embeddings, *args, **options)

    monkeypatch.setattr(lm, "next_tokens", counting)
    return calls


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_candidates_are_explained_as_if_each_were_alone(tiny, method):
    matrix = attribute_candidates(tiny, TEXT, 3, method=method)
    for predicted, row in zip(tiny.predict(TEXT, 3), matrix, strict=True):
        alone = attribute(tiny, TEXT, predicted.id, method)
        assert row.target == alone.target == predicted
        close(row.scores, alone.scores)
        assert row.gradients_spent == alone.gradients_spent
        assert row.completeness == alone.completeness or row.completeness.value == pytest.approx(
            alone.completeness.value
        )
    close(matrix.scores, numpy.stack([row.scores for row in matrix]))


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_every_token_of_a_continuation_sees_what_stands_before_it(tiny, method):
    matrix = attribute_continuation(tiny, TEXT, " are the dog", method)
    before = tiny.prompt(TEXT + " are the dog").ids
    start = len(tiny.prompt(TEXT))
    assert len(matrix) == len(before) - start > 2
    for place, row in enumerate(matrix):
        alone = attribute(tiny, before[: start + place], before[start + place], method)
        close(row.scores, alone.scores)
        assert row.target.id == alone.target.id
        assert row.target.probability == pytest.approx(alone.target.probability)
    unseen = numpy.isnan(matrix.scores)
    assert (unseen == numpy.triu(numpy.ones_like(unseen), start)).all()


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_continuation_does_not_depend_on_its_blocks(tiny, monkeypatch, size):
    whole = attribute_continuation(tiny, TEXT, " are the dog", IntegratedGradients(steps=3))
    monkeypatch.setattr(explain, "TARGETS_PER_PASS", size)
    parts = attribute_continuation(tiny, TEXT, " are the dog", IntegratedGradients(steps=3), batch_size=1)
    close(numpy.nan_to_num(parts.scores), numpy.nan_to_num(whole.scores))


def test_many_candidates_do_not_depend_on_their_blocks(tiny, monkeypatch):
    whole = attribute_candidates(tiny, TEXT, 5, IntegratedGradients(steps=3))
    monkeypatch.setattr(explain, "TARGETS_PER_PASS", 2)
    calls = counted(tiny, monkeypatch)
    parts = attribute_candidates(tiny, TEXT, 5, IntegratedGradients(steps=3))
    close(parts.scores, whole.scores)
    assert calls.count(3) == 3  # the path once for each block of two, so no more gradients are kept


@dataclass(frozen=True)
class GradientsOfTwoNetworks(Method):
    """How the gradient changes where the network's logits are doubled: it asks twice at one point."""

    def __call__(self, objective):
        x = objective.x
        before = gradients(objective, x[None])[1][0]

        def doubled(module, inputs, output):
            output.logits = 2 * output.logits
            return output

        handle = objective.lm.language_model_head.register_forward_hook(doubled)
        try:
            return Evidence((gradients(objective, x[None])[1][0] - before) * x)
        finally:
            handle.remove()

    def cost(self, tokens):
        return 2


def test_only_what_is_asked_first_is_shared(tiny):
    """A method may ask again at the same point, of a network that it has changed by then."""
    matrix = attribute_candidates(tiny, TEXT, 2, method=GradientsOfTwoNetworks())
    for predicted, row in zip(tiny.predict(TEXT, 2), matrix, strict=True):
        alone = attribute(tiny, TEXT, predicted.id, GradientsOfTwoNetworks())
        assert float(abs(alone.scores).max()) > 0
        close(row.scores, alone.scores)
        assert row.gradients_spent == alone.gradients_spent == 2


def test_what_targets_have_in_common_runs_once(tiny, monkeypatch):
    calls = counted(tiny, monkeypatch)
    attribute_candidates(tiny, TEXT, 5, method=GradientTimesInput())
    assert calls == [1]  # it rates the candidates and is explained
    calls.clear()
    attribute_candidates(tiny, TEXT, 5, IntegratedGradients(steps=6), batch_size=6)
    assert calls == [1, 1, 6] + 5 * [2]  # behind the start token; F at both ends of the path is each candidate's own
    calls.clear()
    attribute_continuation(tiny, TEXT, " are the dog", GradientTimesInput())
    assert calls == [1]


def test_one_gradient_needs_one_forward_pass(tiny, monkeypatch):
    calls = counted(tiny, monkeypatch)
    assert attribute(tiny, TEXT, " a", GradientTimesInput()).forwards_spent == 0
    assert calls == [1]


def test_named_candidates_and_a_common_foil(tiny):
    matrix = attribute_candidates(tiny, TEXT, [" a", 70], method=GradientTimesInput(), contrast=71)
    for target, row in zip((" a", 70), matrix, strict=True):
        close(row.scores, attribute(tiny, TEXT, target, GradientTimesInput(), contrast=71).scores)
    assert "rather than" in matrix.title


def test_the_model_continues_by_its_first_choices(tiny):
    matrix = attribute_continuation(tiny, TEXT, None, GradientTimesInput(), max_new_tokens=4)
    text = list(tiny.prompt(TEXT).ids)
    for row in matrix:
        assert row.target.id == tiny.predict(text)[0].id
        assert row.target.rank == 1
        text.append(row.target.id)
    assert len(matrix) == 4


@pytest.mark.parametrize("where", ["generation_config", "config", "tokenizer", "a list", "a tensor"])
def test_generation_ends_where_the_model_does(tokenizer, where):
    network, ids = gpt2(), deepcopy(tokenizer)
    lm = NextTokenLM.from_pretrained(network, ids)
    spoken = lm.generate("The keys", 8)
    assert len(spoken) == 8
    texts = ids.convert_ids_to_tokens(list(spoken))  # None where the random network says an id that is no token
    place = next(place for place in range(1, 8) if texts[place] and spoken[place] not in spoken[:place])
    network.generation_config.eos_token_id = network.config.eos_token_id = 1
    if where == "tokenizer":
        ids.eos_token = ids.convert_ids_to_tokens(spoken[place])
        lm = NextTokenLM.from_pretrained(network, ids)
    elif where == "config":
        network.config.eos_token_id = spoken[place]
    else:
        end = {"a list": [1, spoken[place]], "a tensor": torch.tensor([spoken[place]])}.get(where, spoken[place])
        network.generation_config.eos_token_id = end
    assert lm.generate("The keys", 8) == spoken[:place]
    assert lm.generate(lm.prompt("The keys"), 8) == spoken[:place]
    matrix = attribute_continuation(lm, "The keys", None, GradientTimesInput(), max_new_tokens=8)
    assert len(matrix.targets) == place


def test_generation_ends_at_the_end_of_the_text_and_at_the_longest_prompt(tiny, monkeypatch):
    prompt = tiny.prompt(TEXT)
    said = tiny.generate(prompt, 8)
    place = next(place for place in range(1, 8) if said[place] not in said[:place])
    monkeypatch.setattr(tiny.vocab, "eos_id", said[place])
    assert tiny.generate(prompt, 8) == said[:place]
    with pytest.raises(ValueError, match="the model ends here"):
        attribute_continuation(tiny, [*prompt.ids, *said[:place]])
    monkeypatch.setattr(tiny.vocab, "eos_id", None)
    monkeypatch.setattr(tiny, "max_length", len(prompt) + 1)
    assert len(tiny.generate(prompt, 9)) == 2  # the last token is said, and never read
    assert len(attribute_continuation(tiny, prompt, max_new_tokens=9, method=GradientTimesInput())) == 2


def test_a_span_is_the_sum_of_its_tokens(tiny):
    """The gradient of a sum of log-probabilities is the sum of their gradients."""
    ids = tiny.prompt(TEXT + " are the").ids[len(tiny.prompt(TEXT)) :]
    span = attribute(tiny, TEXT, list(ids), GradientTimesInput())
    rows = attribute_continuation(tiny, TEXT, list(ids), GradientTimesInput())
    close(span.scores, rows.scores[:, : len(span)].sum(0))
    each = attribute_continuation(tiny, TEXT, list(ids), GradientTimesInput(), region=(0, len(TEXT)))
    close(span.scores, numpy.nansum(each.scores, 0)[: len(span)])
    assert [target.id for target in span.target.continuation] == list(ids)


def test_a_span_adds_up(tiny):
    result = attribute(tiny, TEXT, [" are", " the"], IntegratedGradients(tolerance=0.01))
    joint = torch.tensor([target.probability for target in result.target.continuation]).log().sum()
    assert result.completeness.value == pytest.approx(float(joint), rel=1e-5)
    assert float(result.scores.sum()) == pytest.approx(
        result.completeness.value - result.completeness.baseline_value, rel=0.02
    )
    assert result.title.startswith("Why ' are the'? p = ")
    assert result.title.endswith(" for its 2 tokens")


def test_texts_in_a_list_are_the_tokens_they_stand_for(tiny):
    with pytest.raises(ValueError, match=r"is not how these tokens stand after the prompt, which is"):
        attribute(tiny, TEXT, [" a", "re"])
    with pytest.raises(ValueError, match=r"pass one of them, or all of them in a list, \[' are', ' the'\]"):
        attribute(tiny, TEXT, " are the")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda lm: attribute_candidates(lm, TEXT, 0), "candidates is 0; it must be at least one"),
        (lambda lm: attribute_candidates(lm, TEXT, []), "it must be at least one"),
        (lambda lm: attribute_candidates(lm, TEXT, -1), "candidates is -1; it must be at least one"),
        (lambda lm: attribute_candidates(lm, TEXT, " are"), "give a number or a list of tokens"),
        (lambda lm: attribute_candidates(lm, TEXT, 2, quantity=ENTROPY), "the same for every next token"),
        (lambda lm: attribute(lm, [7] * 64, [70, 71]), "at most 64"),
        (lambda lm: attribute(lm, TEXT, [70, 71], contrast=72), "has no foils"),
        (lambda lm: attribute(lm, TEXT, [70, 71], quantity=PROBABILITY), "not by the probability"),
        (lambda lm: attribute(lm, TEXT, []), "the continuation is empty"),
        (lambda lm: attribute(lm, TEXT, [70, 4000]), "token id 4000"),
        (lambda lm: attribute_continuation(lm, TEXT, ""), "the continuation is empty"),
        (lambda lm: attribute_continuation(lm, TEXT, max_new_tokens=0), "max_new_tokens is 0"),
        (lambda lm: attribute_continuation(lm, TEXT, [7] * 80), "at most 64"),
        (lambda lm: log_odds(lm, [" a"], []), "at least one word on each side"),
        (lambda lm: log_odds(lm, ["zebra"], [" a"]), "'zebra' is 5 tokens"),
    ],
)
def test_errors_say_what_to_do(tiny, call, message):
    with pytest.raises(ValueError, match=message):
        call(tiny)


def test_the_likeliest_are_counted_without_the_foils(tiny):
    first, second, third = tiny.predict(TEXT, 3)
    matrix = attribute_candidates(tiny, TEXT, 2, method=GradientTimesInput(), contrast=second.id)
    assert [row.target.id for row in matrix] == [first.id, third.id]


def test_a_model_that_is_not_causal_has_no_continuation(encoder_lm):
    """A two-way LSTM reads what comes after; its first place changes with it."""
    torch.manual_seed(0)
    both_ways = letters_lm(nn.LSTM(6, 4, batch_first=True, bidirectional=True, dtype=torch.float64), hidden=8)
    with pytest.raises(ValueError, match="is not causal: what it predicts at a token depends on those that follow"):
        attribute_continuation(both_ways, "abc", "de", GradientTimesInput())
    with pytest.raises(ValueError, match="is not causal"):
        attribute(both_ways, "abc", ["d", "e"], GradientTimesInput())
    assert len(attribute_continuation(encoder_lm, "abc", "de", GradientTimesInput())) == 2


# Quantities of the caller's own


def test_entropy_on_paper(bag_lm):
    """For a bag of embeddings, logits z = W sum(x): dH/dx = -W^T (p * (log p + H))."""
    result = attribute(bag_lm, "abc", method=GradientTimesInput(), quantity=ENTROPY)
    x = bag_lm.embed(bag_lm.tokens(bag_lm.prompt("abc")))[0].detach()
    weight = bag_lm.language_model_head.weight.detach()
    logs = (weight @ x.sum(0)).log_softmax(0)
    slope = -(weight.T @ (logs.exp() * (logs - (logs.exp() * logs).sum())))
    close(result.scores, x @ slope)
    assert result.target is None
    title = "What raises or lowers the entropy of the next token?"
    assert (result.title, result.quantity, result.unit) == (title, ENTROPY.name, "nats")


def test_log_odds_of_one_word_each_are_a_contrast(tiny):
    odds = attribute(tiny, TEXT, method=GradientTimesInput(), quantity=log_odds(tiny, [" a"], [70]))
    close(odds.scores, attribute(tiny, TEXT, " a", GradientTimesInput(), contrast=70).scores)
    assert odds.target is None
    assert "log-odds of ' a' against" in repr(odds)


def test_log_odds_of_sets_weigh_their_summed_probabilities(tiny):
    words, others = [70, 71], [72, 73, 74]
    result = attribute(
        tiny, TEXT, method=IntegratedGradients(steps=3, fixed=None), quantity=log_odds(tiny, words, others)
    )
    p = {target.id: target.probability for target in tiny.predict(TEXT, 400)}
    expected = torch.tensor(sum(p[i] for i in words) / sum(p[i] for i in others)).log()
    assert result.completeness.value == pytest.approx(float(expected), rel=1e-5)


def test_a_function_of_the_callers_own(tiny):
    """Any differentiable function: here, the same log-probability under another name and twice as large."""
    twice = Quantity("twice log p", "half nats", lambda logits, target: 2 * logits.log_softmax(-1)[:, target.id])
    result = attribute(tiny, TEXT, " a", GradientTimesInput(), quantity=twice)
    close(result.scores, 2 * attribute(tiny, TEXT, " a", GradientTimesInput()).scores)
    assert (result.quantity, result.unit) == ("twice log p", "half nats")


@pytest.mark.parametrize("quantity", [ENTROPY, LOGIT, PROBABILITY], ids=lambda each: each.name)
def test_rows_may_explain_any_quantity(tiny, quantity):
    matrix = attribute_continuation(tiny, TEXT, " are the", GradientTimesInput(), quantity=quantity)
    ids = tiny.prompt(TEXT + " are the").ids
    for place, row in enumerate(matrix):
        at = len(tiny.prompt(TEXT)) + place
        close(row.scores, attribute(tiny, ids[:at], ids[at], GradientTimesInput(), quantity=quantity).scores)
    assert matrix.targets[0] == (" are" if quantity.of_target else quantity.name)
    title = "What raises or lowers the entropy of the next token at 2 positions of a continuation?"
    assert quantity.of_target or matrix.title == title


# The matrix as a result


def test_a_chats_answer_keeps_its_messages(tiny):
    chat = [{"role": "user", "content": "The keys"}]
    matrix = attribute_continuation(tiny, chat, " are the", GradientTimesInput())
    assert all(row.messages == tiny.prompt(chat).messages for row in matrix)
    assert matrix[-1].template[-1] is False
    assert matrix[-1].roles[-1] is None


def test_half_a_character_is_said_to_be_half(tiny):
    """An emoji is several tokens; the first row sees none of them, the next ones a part."""
    matrix = attribute_continuation(tiny, "a", "🙂 b", GradientTimesInput())
    size = len("🙂".encode())
    assert matrix.labels[:2] == ("a", "🙂")
    for row in range(1, size):
        assert matrix[row].prompt == "a\ufffd"
        assert len(matrix[row].token_ids[-1]) == row
    assert matrix[size].prompt == "a🙂"
    assert not numpy.isnan(matrix.scores[1:, 1]).any()
    assert matrix.scores[1, 1] == matrix[1].scores[-1]


def test_a_continuation_completes_the_prompts_last_character(tiny):
    ids = tiny.prompt("a🙂").ids
    matrix = attribute_continuation(tiny, ids[:-2], ids[-2:], GradientTimesInput())
    assert len(matrix) == 2
    assert "".join(matrix[-1].tokens).endswith("\ufffd")
    alone = attribute(tiny, ids[:-1], ids[-1], GradientTimesInput())
    close(matrix[1].scores, alone.scores)


def test_a_matrix_comes_back_from_json_as_it_was(tiny, tmp_path):
    for matrix in (
        attribute_candidates(tiny, TEXT, 2, IntegratedGradients(steps=3)),
        attribute_continuation(tiny, TEXT, " are the", SmoothGrad(samples=4)),
    ):
        again = AttributionMatrix.load(matrix.save(tmp_path / "matrix.json"))
        assert again.to_dict() == matrix.to_dict()
        assert numpy.array_equal(again.scores, matrix.scores, equal_nan=True)
        assert repr(again) == repr(matrix)
    with pytest.raises(ValueError, match="not a saved AttributionMatrix"):
        AttributionMatrix.from_dict({"kind": "candidates"})


def test_the_caller_s_model_comes_back(tiny, untouched):
    with untouched(tiny):
        attribute_candidates(tiny, TEXT, 2)
        attribute_continuation(tiny, TEXT, max_new_tokens=2, method=GradientTimesInput())


# The bundled model


def test_candidates_of_the_bundled_model(bundled):
    matrix = attribute_candidates(bundled, "The keys to the cabinet near the door", 5, method=GradientTimesInput())
    alone = attribute(bundled, "The keys to the cabinet near the door", " are", GradientTimesInput())
    assert matrix.targets[0] == " are"
    close(matrix[0].scores, alone.scores, 1e-4)


def test_a_continuation_of_the_bundled_model(bundled):
    matrix = attribute_continuation(bundled, "The capital of France is", " Paris, of course", GradientTimesInput())
    assert "".join(matrix.targets) == " Paris, of course"
    last = attribute(bundled, "The capital of France is Paris, of", " course", GradientTimesInput())
    close(matrix[3].scores, last.scores, 1e-4)
    span = attribute(bundled, "The capital of France is", [" Paris", ",", " of", " course"], GradientTimesInput())
    close(span.scores, matrix.scores[:, : len(span)].sum(0), 1e-4)


def test_quantities_of_the_bundled_model(bundled):
    prompt = "The keys to the cabinet near the door"
    entropy = attribute(bundled, prompt, None, IntegratedGradients(), quantity=ENTROPY)
    assert entropy.completeness.relative_gap < 0.05
    plural = attribute(bundled, prompt, quantity=log_odds(bundled, [" are", " were"], [" is", " was"]))
    assert plural.top(1)[0][0] == " keys"
    assert plural.scores[1] > 0
