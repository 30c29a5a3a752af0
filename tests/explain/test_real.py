"""The bundled model, end to end: known predictions, and explanations that add up."""

import math

import pytest
import torch

from interpret import GradientTimesInput, IntegratedGradients, SmoothGrad, VanillaGradient, attribute

MARY = "When Mary and John went to the store, John gave a drink to"
QUESTIONS = [
    (MARY, " Mary", None, 0.92),
    ("The capital of France is", " Paris", None, 0.77),
    ("The keys to the cabinet near the door", " are", " is", 0.36),
]


@pytest.mark.parametrize(("prompt", "target", "foil", "probability"), QUESTIONS)
def test_the_model_says_what_it_is_known_to_say(bundled, prompt, target, foil, probability):
    first = bundled.predict(prompt)[0]
    assert first.text == target
    assert first.probability == pytest.approx(probability, abs=0.01)


@pytest.mark.parametrize(("prompt", "target", "foil", "probability"), QUESTIONS)
def test_integrated_gradients_add_up(bundled, prompt, target, foil, probability):
    result = attribute(bundled, prompt, target, IntegratedGradients(steps=200, fixed="first"), contrast=foil)
    assert result.prompt == prompt
    assert result.fixed == (True,) + (False,) * (len(result) - 1)
    c = result.completeness
    assert c.relative_gap < 0.05
    assert float(result.scores.sum()) == pytest.approx(c.value - c.baseline_value, rel=0.05)
    rated = [result.target.probability, *(each.probability for each in result.target.foils)]
    expected = torch.tensor(rated).log() @ torch.tensor([1.0, -1.0][: len(rated)])
    assert c.value == pytest.approx(float(expected), abs=1e-3)


def test_subject_supports_the_plural(bundled):
    prompt = "The keys to the cabinet near the door"
    result = attribute(bundled, prompt, " are", IntegratedGradients(steps=200), contrast=" is")
    assert result.top(1)[0][0] == " keys"


@pytest.mark.parametrize("method", [VanillaGradient(), GradientTimesInput(), SmoothGrad(samples=4)], ids=repr)
def test_methods_run_and_leave_no_trace(bundled, method, untouched):
    with untouched(bundled):
        result = attribute(bundled, MARY, " Mary", method)
    assert all(map(math.isfinite, result.scores))
    assert bool(result.scores.any())


def test_directional_derivative(bundled):
    """Float32 inside the norms floors finite differences, so along one direction and to 1 %."""
    from interpret.engine.evaluate import gradients, values
    from tests.builders import objective

    f = objective(bundled, "The capital of France is", " Paris")
    _, gradient = gradients(f, f.x[None])
    direction = torch.nn.functional.normalize(gradient[0].flatten(), dim=0).view_as(f.x)
    step = 1e-3
    high, low = values(f, torch.stack([f.x + step * direction, f.x - step * direction])).double()
    assert float((high - low) / (2 * step)) == pytest.approx(float(gradient.norm()), rel=0.01)


def test_a_chat_is_explained_with_its_template_marked(bundled):
    result = attribute(
        bundled, [{"role": "user", "content": "Name the capital of France."}], None, GradientTimesInput()
    )
    assert result.prompt.startswith("<|im_start|>system")
    own = "".join(token for token, template in zip(result.tokens, result.template, strict=True) if not template)
    assert own == "Name the capital of France."


def test_an_emoji_is_one_piece(bundled):
    result = attribute(bundled, "I love 🦊 and 你好", None, VanillaGradient())
    assert "".join(result.tokens) == "I love 🦊 and 你好"
    assert any("🦊" in token for token in result.tokens)
    assert not any("\ufffd" in token for token in result.tokens)
