"""The result: everything in it, and nothing lost on the way to disk and back."""

import json
import math

import pytest
import torch

from interpret import (
    Attribution,
    Completeness,
    GradientTimesInput,
    IntegratedGradients,
    SmoothGrad,
    VanillaGradient,
    attribute,
)
from interpret.results.files import write_whole

SENTENCE = "The keys to 😀"


@pytest.fixture(
    params=[VanillaGradient(), GradientTimesInput(), IntegratedGradients(steps=300), SmoothGrad(samples=4)], ids=repr
)
def result(request, tiny):
    return attribute(tiny, SENTENCE, 69, request.param, contrast=70)


def test_what_a_result_says(result, tiny):
    assert result.prompt == "".join(result.tokens) == SENTENCE
    assert len(result) == len(result.scores) == len(result.fixed) == len(result.labels) == len(result.token_ids)
    assert [token_id for ids in result.token_ids for token_id in ids] == list(tiny.vocab.encode(SENTENCE).ids)
    assert len(result.token_ids[-1]) == 4
    assert (result.target.id, result.target.foils[0].id) == (69, 70)
    assert result.quantity == "log-probability difference"
    assert result.unit.startswith("nats")
    assert (result.completeness is not None) == result.method.startswith("IntegratedGradients")
    assert (result.standard_error is not None) == result.method.startswith("SmoothGrad")
    assert {"torch", "transformers", "nexttoken-interpret"} <= set(result.versions)


def test_json_out_and_in_is_loss_free(result, tmp_path):
    plain = json.loads(result.to_json())
    assert {"tokens", "scores", "unit", "target", "method", "gradients_spent", "completeness"} <= set(plain)
    again = Attribution.load(result.save(tmp_path / "why.json"))
    assert again.to_dict() == result.to_dict()
    assert (again.scores == result.scores).all()
    assert again.target == result.target


def test_foreign_json_is_refused():
    with pytest.raises(
        ValueError, match=r"not a saved Attribution: missing or unknown are \['fixed', 'forwards_spent'"
    ):
        Attribution.from_json('{"tokens": []}')


def test_signed_scores_of_a_split_character_are_added(tiny):
    result = attribute(tiny, SENTENCE, 69, GradientTimesInput())
    from tests.builders import objective

    f = objective(tiny, SENTENCE, 69)
    per_token = GradientTimesInput()(f).attributions.sum(-1)
    assert float(result.scores[-1]) == pytest.approx(float(per_token[-4:].sum()))


def test_top_is_by_magnitude_and_leaves_out_what_is_fixed(tiny):
    result = attribute(tiny, SENTENCE, 69, IntegratedGradients(steps=300))
    top = result.top(2)
    assert len(top) == 2
    assert abs(top[0][1]) >= abs(top[1][1]) == pytest.approx(sorted(abs(result.scores))[-2])
    assert len(result.top(99)) == len(result) - 1


def test_repr_can_be_read(tiny):
    text = repr(attribute(tiny, SENTENCE, 69, IntegratedGradients(steps=300)))
    assert "fixed" in text
    assert "gap 0.0 %" in text
    assert "'😀'" in text


def test_completeness_of_no_change_is_not_a_division_by_zero():
    assert math.isfinite(Completeness.of(1.0, 1.0, 1.0).relative_gap)


def test_prompts_and_targets_that_fail_say_why(tiny):
    with pytest.raises(ValueError, match="the prompt is empty"):
        attribute(tiny, "")
    with pytest.raises(ValueError, match=r"is \d+ tokens after this prompt"):
        attribute(tiny, "The keys", " zebra")
    with pytest.raises(ValueError, match="reads at most 64"):
        attribute(tiny, "x" * 70)


def test_a_model_that_is_not_finite_says_so(bag_lm):
    with torch.no_grad():
        bag_lm.language_model_head.weight[2] = float("nan")
    with pytest.raises(FloatingPointError, match="the objective is nan at point 1 of 1"):
        attribute(bag_lm, "ab", "c", VanillaGradient())


@pytest.mark.parametrize("ending", ["json", "html", "png", "pdf", "svg"])
def test_save_by_ending(tiny, tmp_path, ending):
    result = attribute(tiny, SENTENCE, 69, GradientTimesInput())
    path = result.save(tmp_path / f"why.{ending}")
    first = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml", "json": b"{", "html": b"<"}[ending]
    assert path.read_bytes().startswith(first)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_save_errors(tiny, tmp_path):
    result = attribute(tiny, SENTENCE, 69, GradientTimesInput())
    with pytest.raises(ValueError, match=r"the ending must be one of \.json, \.html, \.csv, \.tsv, \.png, \.pdf"):
        result.save(tmp_path / "why.doc")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        result.save(tmp_path / "nowhere" / "why.json")
    with pytest.raises(IsADirectoryError, match="it is a folder"):
        write_whole(tmp_path, lambda part: None)


def test_a_failed_write_leaves_what_was_there(tmp_path):
    path = tmp_path / "why.json"
    path.write_text("before")

    def fail(part):
        part.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(path, fail)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
