"""A start token in front of the prompt: context that has no score and is not shown, and changes the question."""

import pytest
import torch

from interpret import (
    GIM,
    Attribution,
    GradientTimesInput,
    IntegratedGradients,
    Marginalization,
    Objective,
    PlausibleAlternatives,
    Text,
    attribute,
    attribute_candidates,
    attribute_continuation,
    attribute_many,
    check,
    values,
)
from nexttoken import IdVocabulary, Target
from tests.builders import shared, t5

TEXT, TARGET = "The keys to the cat", 70
METHODS = [
    GradientTimesInput(),
    GIM(PlausibleAlternatives()),
    IntegratedGradients(steps=3),
    IntegratedGradients(steps=2, baseline=Text("The cats to the key"), fixed=None),
    Marginalization(samples=2),
]


def ids(lm, text=TEXT):
    return lm.prompt(text).ids


@pytest.mark.parametrize("start", ["<s>", 0, True])
def test_it_is_in_the_ids_and_in_no_piece(tiny, start):
    prompt = tiny.prompt(TEXT, start)
    assert prompt.ids == (0, *ids(tiny))
    assert "".join(piece.text for piece in prompt.pieces) == prompt.text == TEXT
    assert sorted(place for piece in prompt.pieces for place in piece.positions) == list(range(1, len(prompt)))
    assert prompt.start_token == 0


def test_what_begins_with_it_stays_as_it_is(tiny):
    begun = tiny.prompt((0, *ids(tiny)))
    assert begun.with_start_token(0, tiny.vocab) == begun
    behind = tiny.prompt(TEXT, True)
    assert behind.with_start_token(True, tiny.vocab) == tiny.prompt(behind) == behind
    assert behind.with_start_token(1, tiny.vocab).ids == (1, *ids(tiny))


@pytest.mark.parametrize("method", METHODS, ids=repr)
@pytest.mark.filterwarnings("ignore::interpret.ConvergenceWarning")
def test_scores_are_those_behind_it(tiny, method):
    """Those of a prompt that has it as its first token, which is fixed."""
    found = attribute(tiny, TEXT, TARGET, method, start=True)
    begin = 1
    words = [(0, *ids(tiny))[place] for place in range(begin, len(ids(tiny)) + 1)]
    assert [token for own in found.token_ids for token in own] == words
    inside = Objective.of(tiny, tiny.prompt(TEXT, True), found.target)
    whole = Objective.of(tiny, tiny.prompt((0, *ids(tiny))), found.target)
    assert torch.equal(inside.x, whole.x[1:])
    if not isinstance(method, Marginalization | IntegratedGradients):
        expected = method(whole).attributions[1:].sum(-1)
        torch.testing.assert_close(torch.from_numpy(found.scores), expected.double(), rtol=1e-9, atol=1e-12)
    behind = tiny.predict((0, *ids(tiny)), 400)
    assert found.target.probability == pytest.approx(next(t.probability for t in behind if t.id == TARGET))
    assert found.start == "<s>"
    assert "with start token <s>" in found.facts
    assert found.provenance()["start"] == "<s>"
    assert Attribution.from_json(found.to_json()).start == "<s>"


def test_the_first_word_moves_behind_it(tiny):
    """What "template" and "first" hold is the start token, and positions count from the first word."""
    found = attribute(tiny, TEXT, TARGET, IntegratedGradients(steps=3), start=True)
    assert not any(found.fixed)
    fixed = attribute(tiny, TEXT, TARGET, IntegratedGradients(steps=3, fixed=[0]), start=True)
    assert fixed.fixed == (True, *[False] * (len(fixed) - 1))


@pytest.mark.parametrize("method", [GradientTimesInput(), GIM(PlausibleAlternatives())], ids=repr)
def test_every_way_to_ask_agrees(tiny, method):
    one = attribute(tiny, TEXT, TARGET, method, start=True)
    (many,) = attribute_many(tiny, [TEXT], [TARGET], method, start=True, progress=False)
    both = list(attribute_many(tiny, [TEXT, "are we?"], [TARGET, 71], method, start=True, progress=False))
    candidates = attribute_candidates(tiny, TEXT, [TARGET, 71], method, start=True)
    rows = attribute_continuation(tiny, TEXT, [TARGET, 71], method, start=True)
    for other in (many, both[0], candidates[0], rows[0]):
        torch.testing.assert_close(other.scores, one.scores, rtol=1e-9, atol=1e-12)
    after = attribute(tiny, tiny.prompt(TEXT, True).extended([TARGET], tiny.vocab), 71, method)
    torch.testing.assert_close(rows[1].scores, after.scores, rtol=1e-9, atol=1e-12)
    assert after.start == "<s>"
    span = attribute(tiny, TEXT, [TARGET, 71], method, start=True)
    assert len(span) == len(one)
    assert "with start token <s>" in rows.facts
    assert one.totals("word").start == "<s>"
    part = attribute(tiny, TEXT, TARGET, method, region="keys", start=True)
    assert "".join(text for text, fixed in zip(part.tokens, part.fixed, strict=True) if not fixed).strip() == "keys"


def test_targets_are_tokenized_after_the_text(tiny):
    assert attribute(tiny, TEXT, " the", GradientTimesInput(), start=True).target.id == tiny.vocab.one_id(" the")
    assert attribute(tiny, TEXT, None, GradientTimesInput(), start=True).target.rank == 1


def test_a_chat_behind_it(tiny):
    chat = [{"role": "user", "content": "are we?"}]
    found = attribute(tiny, chat, TARGET, GIM(), start="</s>")
    assert found.prompt == tiny.prompt(chat).text
    assert [message.role for message in found.messages] == ["user"]
    assert found.role_totals().keys() == {"user", "template"}


def test_an_encoder_decoder_has_it_before_the_source():
    lm = shared(t5)
    source, prefix = [5, 6, 7, 8], [9, 10]
    prompt = lm.prompt((source, prefix), 3)
    assert prompt.source == 5
    assert prompt.ids[:5] == (3, *source)
    found = attribute(lm, (source, prefix), 20, GIM(), start=3)
    whole = attribute(lm, ([3, *source], prefix), 20, GIM())
    torch.testing.assert_close(found.scores, whole.scores[1:], rtol=1e-9, atol=1e-12)
    assert attribute_continuation(lm, (source, prefix), [20, 21], GIM(), start=3)[1].start == "[3]"


def test_checks_run_behind_it(tiny):
    found = attribute(tiny, TEXT, TARGET, GIM(), start=True, check=True)
    assert found.faithfulness == check(tiny, found)
    target = Target.of(TARGET, tiny.prompt(TEXT, True), tiny.vocab, torch.zeros(400))
    objective = Objective.of(tiny, tiny.prompt(TEXT, True), target)
    assert found.faithfulness.value == pytest.approx(float(values(objective, objective.x[None])))


def test_mistakes_are_told(tiny):
    with pytest.raises(ValueError, match="one is expected"):
        attribute(tiny, TEXT, TARGET, start="The keys")
    with pytest.raises(ValueError, match="not in this vocabulary"):
        attribute(tiny, TEXT, TARGET, start=4000)
    plain = tiny.prompt([5, 6])
    with pytest.raises(ValueError, match="name the token to put in front"):
        plain.with_start_token(True, IdVocabulary(10))
