"""The one call to autograd: right, whatever the chunk size, and without a trace."""

from dataclasses import replace

import pytest
import torch

from interpret.engine.evaluate import gradients, values
from interpret.engine.objective import Objective
from interpret.engine.run import Run
from interpret.question.quantity import LOG_PROBABILITY
from nexttoken import Target
from tests.builders import finite_differences, objective


@pytest.mark.parametrize("contrast", [None, 70, [70, 71, 72]])
def test_gradients_equal_finite_differences(tiny, contrast):
    f = objective(tiny, "The keys to the cat", 69, contrast)
    value, gradient = gradients(f, f.x[None])
    expected = finite_differences(lambda points: values(f, points), f.x)
    error = (gradient[0] - expected).norm() / expected.norm()
    assert error <= 1e-6
    torch.testing.assert_close(value, values(f, f.x[None]), rtol=1e-13, atol=0)  # kernels round by where memory lies


@pytest.mark.parametrize("name", ["bag_lm", "lstm_lm", "encoder_lm"])
def test_gradients_of_composed_models_equal_finite_differences(name, request):
    f = objective(request.getfixturevalue(name), "abcde", "f", contrast="g")
    _, gradient = gradients(f, f.x[None])
    expected = finite_differences(lambda points: values(f, points), f.x)
    assert (gradient[0] - expected).norm() / expected.norm() <= 1e-6


def test_log_probability_and_contrast():
    logits = torch.tensor([[1.0, 2.0, 3.0, -1.0]], dtype=torch.float64)

    def token(token_id, foils=()):
        return Target("", token_id, 0.0, 1, foils)

    total = logits.exp().sum()
    plain = LOG_PROBABILITY.function(logits, token(2))
    torch.testing.assert_close(plain, (logits[:, 2].exp() / total).log())
    contrast = LOG_PROBABILITY.function(logits, token(2, (token(0),)))
    torch.testing.assert_close(contrast, torch.tensor([2.0], dtype=torch.float64))
    several = LOG_PROBABILITY.function(logits, token(2, (token(0), token(3))))
    torch.testing.assert_close(several, torch.log(logits[:, 2].exp() / (logits[:, 0].exp() + logits[:, 3].exp())))


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 100])
def test_the_chunk_size_does_not_matter(tiny, batch_size):
    f, chunked = objective(tiny), objective(tiny, run=Run.of(batch_size=batch_size))
    points = f.x + torch.randn(7, *f.x.shape, dtype=torch.float64)
    for one, other in zip(gradients(f, points), gradients(chunked, points), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(values(f, points), values(chunked, points), rtol=1e-12, atol=1e-12)
    assert chunked.counts.gradients == 7
    assert chunked.counts.forwards == 7


@pytest.mark.parametrize("name", ["tiny", "lstm_lm"])
def test_nothing_of_the_callers_is_touched(name, request, untouched):
    lm = request.getfixturevalue(name)
    lm.train()
    text = "abcd" if name == "lstm_lm" else "The keys"
    points = torch.randn(3, len(lm.prompt(text)), lm.embed(lm.tokens(lm.prompt(text))).shape[-1], dtype=torch.float64)
    points.requires_grad_(True)
    before = points.detach().clone()
    with untouched(lm):
        f = objective(lm, text)
        gradients(f, points)
        values(f, points)
    lm.eval()
    assert points.grad is None
    assert points.requires_grad
    assert torch.equal(points.detach(), before)


def test_gradients_work_under_no_grad(tiny):
    f = objective(tiny)
    with torch.no_grad():
        _, gradient = gradients(f, f.x[None])
    assert gradient.any()


def test_interrupt_leaves_everything_as_it_was(tiny, untouched):
    def interrupt(count):
        raise KeyboardInterrupt

    f = objective(tiny, run=Run.of(on_progress=interrupt))
    with untouched(tiny), pytest.raises(KeyboardInterrupt):
        gradients(f, f.x[None])


def test_progress_counts_gradients(tiny):
    counts = []
    f = objective(tiny, run=Run.of(batch_size=2, on_progress=counts.append))
    gradients(f, f.x.expand(5, -1, -1))
    assert counts == [2, 2, 1]


def test_not_finite_says_where(tiny):
    f = objective(tiny, "The keys")
    f = replace(f, function=lambda points: points[:, 1].square().sum(-1).sqrt())
    points = f.x.expand(3, -1, -1).clone()
    points[2, 1] = 0
    with pytest.raises(FloatingPointError, match=r"the gradient is not finite at point 3 of 3, token 2 \(' keys'\)"):
        gradients(f, points)
    f = replace(f, function=lambda points: points[:, 0, 0].abs().log() * 0 + points.sum((1, 2)) / 0)
    with pytest.raises(FloatingPointError, match=r"the objective is .*(inf|nan) at point 1 of 3"):
        gradients(f, points)
    with pytest.raises(FloatingPointError, match=r"the objective is .*(inf|nan) at point 1 of 3"):
        values(f, points)


def test_chunk_size_must_be_positive():
    with pytest.raises(ValueError, match="batch_size is 0; it must be at least 1"):
        Run.of(batch_size=0)


def test_a_models_in_place_arithmetic_on_its_input_does_no_harm():
    def careless(points):
        points *= 2
        return points.sum((1, 2))

    f = Objective(careless, torch.ones(2, 3))
    _, gradient = gradients(f, f.x[None])
    assert torch.equal(gradient, torch.full((1, 2, 3), 2.0))
    assert torch.equal(f.x, torch.ones(2, 3))


def test_it_works_in_inference_mode(tiny):
    from interpret import VanillaGradient, attribute

    expected = attribute(tiny, "The keys", 69, VanillaGradient()).scores
    with torch.inference_mode():
        assert (attribute(tiny, "The keys", 69, VanillaGradient()).scores == expected).all()
