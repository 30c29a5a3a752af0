"""Many prompts: in order, equal to one at a time, and one bad prompt is one failure."""

import sys
from functools import partial

import pytest
import torch
import tqdm.auto
from torch import nn

from interpret import (
    Attribution,
    Failure,
    GradientTimesInput,
    IntegratedGradients,
    VanillaGradient,
    attribute,
    attribute_continuation,
    attribute_many,
    explain,
    many,
)
from interpret.engine.memory import policy
from tests import tiny_models
from tests.builders import shared, t5
from tests.checking import close
from tests.conftest import letters_lm

PROMPTS = ["The keys to", "are we?", "The dog", "The cats near the dog are asleep", "are you", "the table", [7, 8, 9]]


@pytest.mark.parametrize("method", [GradientTimesInput(), VanillaGradient(), IntegratedGradients(steps=3)], ids=repr)
@pytest.mark.filterwarnings("ignore::interpret.ConvergenceWarning")
def test_as_if_each_were_alone_and_in_order(tiny, method, untouched):
    with untouched(tiny):
        found = list(attribute_many(tiny, PROMPTS, method=method))
    assert len(found) == len(PROMPTS)
    for prompt, each in zip(PROMPTS, found, strict=True):
        alone = attribute(tiny, prompt, method=method)
        close(each.scores, alone.scores)
        assert {**each.to_dict(), "scores": 0, "completeness": 0, "target": 0} == {
            **alone.to_dict(), "scores": 0, "completeness": 0, "target": 0,
        }  # fmt: skip
        assert each.target.id == alone.target.id
        assert each.target.probability == pytest.approx(alone.target.probability)


@pytest.fixture
def batches(monkeypatch):
    """The lengths of the prompts of each batch."""
    seen = []

    def attribute_batch(lm, asked, *args, **options):
        seen.append([len(question.prompt) for _, question in asked])
        return explain.attribute_batch(lm, asked, *args, **options)

    monkeypatch.setattr(many, "attribute_batch", attribute_batch)
    return seen


def test_prompts_of_like_length_run_together(tiny, batches):
    prompts = [list(range(5, 5 + length)) for length in (20, 19, 3, 21, 20, 2, 21)]
    found = list(attribute_many(tiny, prompts, method=GradientTimesInput()))
    assert batches == [[21, 21, 20, 20, 19], [3], [2]]
    for prompt, each in zip(prompts, found, strict=True):
        assert len(each.scores) == len(prompt)
        close(each.scores, attribute(tiny, prompt, method=GradientTimesInput()).scores)


@pytest.mark.parametrize(
    ("lengths", "padded", "count"),
    [
        ([20], True, 1),
        ([20, 20, 20], False, 3),
        ([20, 20, 19], False, 2),
        ([20, 19, 18, 17], True, 4),  # 6 of 80 are padding
        ([20, 19, 18, 17, 16], True, 4),  # a fifth length, and 10 of 100 besides
        ([20, 16], True, 2),  # 4 of 40
        ([20, 15], True, 1),  # 5 of 40
        ([20, 20, 15], True, 3),  # 5 of 60
    ],
)
def test_how_many_run_together(lengths, padded, count):
    assert policy._alike(lengths, padded) == count


def test_a_model_that_may_look_ahead_takes_equal_lengths_only(batches):
    """A two-way LSTM: padding behind the end would change what it says."""
    torch.manual_seed(0)
    both_ways = letters_lm(nn.LSTM(6, 4, batch_first=True, bidirectional=True, dtype=torch.float64), hidden=8)
    prompts = ["abcabcabcabc", "abcabcabcab", "cbacbacbacb"]
    found = list(attribute_many(both_ways, prompts, method=GradientTimesInput()))
    assert batches == [[12], [11, 11]]
    for prompt, each in zip(prompts, found, strict=True):
        close(each.scores, attribute(both_ways, prompt, method=GradientTimesInput()).scores)


@pytest.mark.parametrize(
    ("name", "causal", "right_padding"),
    [
        ("LlamaForCausalLM", True, True),
        ("MixtralForCausalLM", True, False),  # its router chooses by rank
        ("ProphetNetForCausalLM", False, False),  # what it predicts depends on how many tokens follow
    ],
)
def test_only_where_padding_is_known_to_change_nothing(batches, name, causal, right_padding):
    lm = shared(tiny_models.build, name)
    assert (lm.causal, lm.supports_right_padding) == (causal, right_padding)
    prompts = [list(range(5, 5 + length)) for length in (12, 11)]
    found = list(attribute_many(lm, prompts, [20, 20], GradientTimesInput()))
    assert len(batches) == (1 if right_padding else 2)
    for prompt, each in zip(prompts, found, strict=True):
        close(each.scores, attribute(lm, prompt, 20, GradientTimesInput()).scores, 1e-5)
    if not causal:
        with pytest.raises(ValueError, match=r"is not causal: .* on those that follow, or on how many there are"):
            attribute_continuation(lm, prompts[0], [20, 21], GradientTimesInput())


def test_an_encoder_decoder_takes_equal_lengths_only(batches):
    lm = shared(t5)
    prompts = [([5, 6, 7, 8, 9, 10, 11], [8, 9, 10, 11]), ([5, 6, 7, 8, 9, 10], [8, 9, 10, 11])]
    found = list(attribute_many(lm, prompts, [20, 21], method=GradientTimesInput()))
    assert [len(each) for each in batches] == [1, 1]
    for prompt, target, each in zip(prompts, [20, 21], found, strict=True):
        close(each.scores, attribute(lm, prompt, target, method=GradientTimesInput()).scores, 1e-5)


def test_targets_and_foils_of_their_own(tiny):
    found = list(attribute_many(tiny, PROMPTS[:3], [70, None, " a"], GradientTimesInput(), contrasts=[71, 72, None]))
    close(found[0].scores, attribute(tiny, PROMPTS[0], 70, GradientTimesInput(), contrast=71).scores)
    close(found[1].scores, attribute(tiny, PROMPTS[1], None, GradientTimesInput(), contrast=72).scores)
    close(found[2].scores, attribute(tiny, PROMPTS[2], " a", GradientTimesInput()).scores)


def test_a_span_of_tokens_among_the_targets(tiny):
    found = list(attribute_many(tiny, PROMPTS[:2], [[70, 71], 72], GradientTimesInput()))
    close(found[0].scores, attribute(tiny, PROMPTS[0], [70, 71], GradientTimesInput()).scores)


def test_one_bad_prompt_is_one_failure(tiny):
    prompts = ["The dog", "", "are we?", [9999], "The dog", "The keys"]
    targets = [70, 70, "are we there", 70, 70, 9999]
    found = list(attribute_many(tiny, prompts, targets, GradientTimesInput()))
    assert [isinstance(each, Failure) for each in found] == [False, True, True, True, False, True]
    assert [each.number for each in found if isinstance(each, Failure)] == [1, 2, 3, 5]
    assert found[1].prompt == ""
    for number, words in ((1, "empty"), (2, "tokens after this prompt"), (3, "9999"), (5, "9999")):
        assert words in str(found[number].error)
    close(found[4].scores, found[0].scores)


def test_a_number_that_is_not_finite_fails_alone(tiny, monkeypatch):
    """Where a batch fails, each of its prompts runs alone, and the one to blame is the one that fails."""
    next_tokens, bad = tiny.next_tokens, tiny.prompt("are we?").ids

    def spoilt(embeddings, input_ids, *args, **options):
        states, logits = next_tokens(embeddings, input_ids, *args, **options)
        spoil = torch.tensor([tuple(row) == bad for row in input_ids.tolist()])
        return states, torch.where(spoil[:, None, None], torch.nan, logits)

    monkeypatch.setattr(tiny, "next_tokens", spoilt)
    prompts = ["are we?", "Are we?", "are we?", "are wee"]
    same = [text for text in prompts if len(tiny.prompt(text)) == len(bad)]
    assert len(same) > 2
    found = list(attribute_many(tiny, same, [70] * len(same), GradientTimesInput()))
    assert [isinstance(each, Failure) for each in found] == [text == "are we?" for text in same]


def test_prompts_may_come_one_by_one(tiny, monkeypatch):
    """A generator is read no further than the window that is worked on."""
    monkeypatch.setattr(many, "PROMPTS_PER_WINDOW", 2)
    taken = []

    def source():
        for number in range(100):
            taken.append(number)
            yield [7 + number, 8]

    results = attribute_many(tiny, source(), method=GradientTimesInput())
    assert isinstance(next(results), Attribution)
    assert len(taken) <= 3


def test_as_many_targets_as_prompts(tiny):
    with pytest.raises(ValueError, match="differ in number: one ends before number 1"):
        list(attribute_many(tiny, PROMPTS, [70], GradientTimesInput()))
    with pytest.raises(ValueError, match="differ in number: one ends before number 1"):
        list(attribute_many(tiny, PROMPTS[:1], [70, 71], GradientTimesInput()))
    with pytest.raises(ValueError, match="prompts is one text"):
        list(attribute_many(tiny, "The dog"))
    with pytest.raises(ValueError, match="targets is one text, ' a'"):
        list(attribute_many(tiny, PROMPTS, " a"))
    assert list(attribute_many(tiny, [])) == []


def test_a_bar_is_shown_where_somebody_looks(tiny, monkeypatch, capsys):
    list(attribute_many(tiny, PROMPTS, method=GradientTimesInput()))
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("tqdm.auto.tqdm", partial(tqdm.auto.tqdm, mininterval=0))
    list(attribute_many(tiny, PROMPTS, method=GradientTimesInput()))
    shown = capsys.readouterr().err
    assert all(f"{done}/{len(PROMPTS)}" in shown for done in range(len(PROMPTS) + 1))
    list(attribute_many(tiny, PROMPTS, method=GradientTimesInput(), progress=False))
    assert capsys.readouterr().err == ""


def test_the_bundled_model(bundled):
    prompts = ["The capital of France is", "The capital of Italy is", "", "When Mary and John went to the store, John"]
    found = list(attribute_many(bundled, prompts, method=GradientTimesInput()))
    assert isinstance(found[2], Failure)
    for prompt, each in zip(prompts, found, strict=True):
        if prompt:
            close(each.scores, attribute(bundled, prompt, method=GradientTimesInput()).scores, 1e-4)
