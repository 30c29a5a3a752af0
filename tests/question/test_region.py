"""What is explained by a part of the prompt: only its tokens move, and the scores are those of the whole path."""

import re

import captum.attr
import pytest
import torch

from interpret import (
    GIM,
    IDGI,
    Captum,
    DiscretizedIG,
    ExpectedGradients,
    GradientTimesInput,
    IntegratedGradients,
    LineBreak,
    MeanEmbedding,
    SequentialIG,
    SmoothGrad,
    Text,
    VanillaGradient,
    attribute,
    attribute_candidates,
    attribute_many,
)
from interpret.engine import text as text_module
from interpret.question.region import positions_in
from tests import tiny_models
from tests.builders import shared
from tests.checking import close

TEXT = "The keys to the cabinet are"
pytestmark = pytest.mark.filterwarnings("ignore::interpret.ConvergenceWarning")


def inside(prompt, start, end):
    """The pieces with a character between start and end, by counting characters."""
    places, at = [], 0
    for number, piece in enumerate(prompt.pieces):
        if piece.text and at < end and start < at + len(piece.text):
            places.append(number)
        at += len(piece.text)
    return places


@pytest.mark.parametrize(
    "method", [VanillaGradient(), GradientTimesInput(), GradientTimesInput(MeanEmbedding()), GIM()]
)
def test_a_gradient_is_the_whole_gradients_part(tiny, method):
    whole, part = attribute(tiny, TEXT, " a", method), attribute(tiny, TEXT, " a", method, region=(4, 8))
    moving = inside(tiny.prompt(TEXT), 4, 8)
    assert [place for place, fixed in enumerate(part.fixed) if not fixed] == moving
    close(part.scores[moving], whole.scores[moving])
    assert sum(part.scores != 0) == len(moving)
    assert part.tokens == whole.tokens


@pytest.mark.parametrize(
    "make",
    [
        lambda hold: IntegratedGradients(steps=4, fixed=hold),
        lambda hold: IntegratedGradients(fixed=hold),
        lambda hold: IntegratedGradients(steps=4, fixed=hold, baseline=Text("aaaaaaaaa")),
        lambda hold: IDGI(steps=4, fixed=hold),
        lambda hold: SequentialIG(steps=2, fixed=hold),
        lambda hold: DiscretizedIG(steps=3, neighbours=20, fixed=hold),
    ],
)
def test_a_path_is_the_path_that_holds_the_rest(tiny, make):
    prompt = tiny.prompt(TEXT)
    method = make("template")
    if "Text" in repr(method):
        letters = "a" * 60
        text = next(letters[:n] for n in range(1, 60) if len(tiny.prompt(letters[:n])) == len(prompt))
        method = IntegratedGradients(steps=4, baseline=Text(text))
        make = lambda hold: IntegratedGradients(steps=4, fixed=hold, baseline=Text(text))  # noqa: E731
    moving = positions_in("cabinet|keys", prompt)
    rest = [place for place in range(len(prompt)) if place not in moving]
    part, whole = attribute(tiny, TEXT, " a", method, region="cabinet|keys"), attribute(tiny, TEXT, " a", make(rest))
    close(part.scores, whole.scores)
    assert part.fixed == whole.fixed
    if part.completeness is not None:
        assert part.completeness.value == pytest.approx(whole.completeness.value)
        assert part.completeness.baseline_value == pytest.approx(whole.completeness.baseline_value)


@pytest.mark.parametrize(
    "method",
    [SmoothGrad(samples=4), ExpectedGradients(samples=4), Captum(captum.attr.IntegratedGradients, n_steps=4)],
    ids=repr,
)
def test_drawn_points_move_the_span_only(tiny, method):
    result = attribute(tiny, TEXT, " a", method, region="cabinet")
    moving = inside(tiny.prompt(TEXT), TEXT.index("cabinet"), TEXT.index("cabinet") + 7)
    assert result.scores.nonzero()[0].tolist() == moving
    if result.standard_error is not None:
        assert result.standard_error.nonzero()[0].tolist() == moving


@pytest.mark.parametrize(
    ("span", "characters"),
    [
        ((4, 8), [(4, 8)]),
        ([(0, 3), (9, 11)], [(0, 3), (9, 11)]),
        (r"c\w+t", [(16, 23)]),
        (re.compile("THE", re.IGNORECASE), [(0, 3), (12, 15)]),
    ],
)
def test_what_a_span_names(tiny, span, characters):
    prompt = tiny.prompt(TEXT)
    pieces = sorted({place for pair in characters for place in inside(prompt, *pair)})
    assert positions_in(span, prompt) == tuple(at for place in pieces for at in prompt.pieces[place].positions)


@pytest.mark.parametrize(
    ("span", "message"),
    [
        ("zebra", "'zebra' matches nothing"),
        ("x*", "matches nothing"),
        ((3, 3), "is empty or outside the prompt"),
        ((90, 95), "the prompt, which has 27"),
        ([(1, 2, 3)], r"it must be \(start, end\)"),
        (0, "the prompt has 0 messages"),
    ],
)
def test_a_span_that_is_not_there(tiny, span, message):
    with pytest.raises(ValueError, match=message):
        attribute(tiny, TEXT, " a", region=span)


def test_a_span_that_is_held_anyway(tiny):
    with pytest.raises(ValueError, match="fixed=None fixes none"):
        attribute(tiny, [0, 70, 71], 72, IntegratedGradients(fixed=[0, 1, 2]), region=(0, 99))


def test_an_expression_that_is_none(tiny):
    with pytest.raises(ValueError, match=r"the region '\(' is not a regular expression: missing \)"):
        attribute(tiny, TEXT, region="(")


def test_an_expression_that_never_ends_is_refused(tiny, monkeypatch):
    monkeypatch.setattr("interpret.question.region.TIMEOUT", 0.2)
    with pytest.raises(ValueError, match="takes more than 0 s; write it without a repeat inside a repeat"):
        attribute(tiny, "a" * 50 + "b", region="(a|aa)+$")


def test_many_prompts_take_a_span(tiny):
    found = list(attribute_many(tiny, [TEXT, "no such word"], method=GradientTimesInput(), region="keys"))
    close(found[0].scores, attribute(tiny, TEXT, method=GradientTimesInput(), region="keys").scores)
    assert "matches nothing" in str(found[1].error)


def test_the_bundled_model_explained_by_a_question(bundled):
    text = "France is in Europe. Italy is in Europe. Question: What is the capital of France? Answer: The capital is"
    start = text.index("Question")
    region = (start, text.index(" Answer"))
    result = attribute(bundled, text, " Paris", IntegratedGradients(baseline=LineBreak()), region=region)
    assert result.completeness.relative_gap < 0.05
    assert result.prompt == text
    moved = "".join(piece for piece, fixed in zip(result.tokens, result.fixed, strict=True) if not fixed)
    assert moved.strip() == "Question: What is the capital of France?"
    assert result.top(1)[0][0] == " France"
    assert attribute(bundled, text, " Paris", region=region).top(1)[0][0] == " France"


# What stands before a span runs once


@pytest.fixture(params=["GPT2LMHeadModel", "LlamaForCausalLM", "Qwen3ForCausalLM", "PhiForCausalLM"])
def keeping(request):
    return shared(tiny_models.build, request.param, dtype=torch.float64)


@pytest.fixture(params=["MambaForCausalLM", "RwkvForCausalLM", "Gemma2ForCausalLM", "BltForCausalLM"])
def forgetting(request):
    return shared(tiny_models.build, request.param)


IDS = [5, 9, 13, 33, 21, 8, 40, 9, 17, 25, 30, 11, 12, 41]
METHODS = [
    IntegratedGradients(steps=4),
    SmoothGrad(samples=4),
    SmoothGrad(IntegratedGradients(steps=2), samples=2),
    IntegratedGradients(),
    SequentialIG(steps=2),
    Captum(captum.attr.IntegratedGradients, n_steps=4),
]


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_the_scores_are_those_of_the_whole(keeping, method, monkeypatch):
    prompt = keeping.prompt(IDS)
    start = sum(len(piece.text) for piece in prompt.pieces[:9])
    span = (start, len(prompt.text))
    rows = []
    next_tokens = keeping.next_tokens

    def watched(embeddings, *args, **options):
        rows.append((len(embeddings), embeddings.shape[1], options.get("prefix_cache") is not None))
        return next_tokens(embeddings, *args, **options)

    monkeypatch.setattr(keeping, "next_tokens", watched)
    part = attribute(keeping, IDS, 25, method, region=span)
    assert all(kept and tokens == len(IDS) - 9 for points, tokens, kept in rows if points > 1)
    assert any(kept for _, _, kept in rows)
    monkeypatch.setattr(text_module, "MIN_CACHED", 1000)
    rows.clear()
    whole = attribute(keeping, IDS, 25, method, region=span)
    assert not any(kept for _, _, kept in rows)
    close(part.scores, whole.scores, 1e-6)


def test_candidates_by_a_span(keeping, monkeypatch):
    start = sum(len(piece.text) for piece in keeping.prompt(IDS).pieces[:9])
    method = IntegratedGradients(steps=3)
    part = attribute_candidates(keeping, IDS, 3, method=method, region=(start, 1000))
    monkeypatch.setattr(text_module, "MIN_CACHED", 1000)
    close(part.scores, attribute_candidates(keeping, IDS, 3, method=method, region=(start, 1000)).scores, 1e-6)


def test_a_model_that_keeps_something_else_runs_whole(forgetting):
    """A state space, a recurrence, sliding windows, and a network that is fed with ids."""
    prompt = forgetting.prompt(IDS)
    embeddings = forgetting.embed(forgetting.tokens(prompt))
    assert forgetting.prefix_cache(embeddings, forgetting.tokens(prompt)["input_ids"]) is None
    start = sum(len(piece.text) for piece in prompt.pieces[:9])
    part, whole = (
        attribute(forgetting, IDS, 25, GradientTimesInput(), **each) for each in ({"region": (start, 1000)}, {})
    )
    close(part.scores[9:], whole.scores[9:], 1e-5)
    assert part.scores[9:].any()


def test_what_is_kept_must_be_right_after_this_very_text(keeping, monkeypatch):
    """A network that keeps something wrong is run whole."""
    start = sum(len(piece.text) for piece in keeping.prompt(IDS).pieces[:9])
    expected = attribute(keeping, IDS, 25, IntegratedGradients(steps=3), region=(start, 1000))
    kept = keeping._keys_and_values

    def spoilt(embeddings):
        return kept(embeddings.flip(1))

    monkeypatch.setattr(keeping, "_keys_and_values", spoilt)
    close(attribute(keeping, IDS, 25, IntegratedGradients(steps=3), region=(start, 1000)).scores, expected.scores, 1e-9)


def test_what_stands_before_is_kept_from_the_second_point_on(monkeypatch):
    """In chunks of one point, too; and it is read once."""
    lm = shared(tiny_models.build, "LlamaForCausalLM", dtype=torch.float64)
    ids = [5, 9, 13, 33, 21, 8, 40, 9, 17, 25, 30, 11, 12, 41]
    start = sum(len(piece.text) for piece in lm.prompt(ids).pieces[:9])
    attribute(lm, ids, 25, IntegratedGradients(steps=2), region=(start, 1000))  # what is asked of a model once is known
    prefix_cache, next_tokens, reads, seen = lm.prefix_cache, lm.next_tokens, [], []

    def read(*args):
        reads.append(args)
        return prefix_cache(*args)

    def watched(embeddings, *args, **options):
        if embeddings.requires_grad:
            seen.append((embeddings.shape[1], options.get("prefix_cache") is not None))
        return next_tokens(embeddings, *args, **options)

    monkeypatch.setattr(lm, "prefix_cache", read)
    monkeypatch.setattr(lm, "next_tokens", watched)
    kept = attribute(lm, ids, 25, IntegratedGradients(steps=8), region=(start, 1000), batch_size=1)
    assert len(reads) == 1
    assert seen == [(len(ids), False)] + [(len(ids) - 9, True)] * 7
    monkeypatch.setattr(lm, "prefix_cache", lambda *args: None)
    alone = attribute(lm, ids, 25, IntegratedGradients(steps=8), region=(start, 1000), batch_size=1)
    torch.testing.assert_close(kept.scores, alone.scores, rtol=0, atol=1e-6 * float(abs(alone.scores).max()))
