"""Certified integrated gradients: the certificate is honest, the refinement goes where the error is, and it stops."""

import math
from itertools import pairwise

import pytest
import torch

from interpret import ConvergenceWarning, IntegratedGradients, Token, Zero, attribute
from interpret.engine.objective import Objective
from interpret.methods.adaptive import Point, Segment, certified_gap, integrate, total
from interpret.methods.integrated_gradients import FIRST_SEGMENTS

SENTENCE = "The keys to the cat"


def path(function, slope, calls=None):
    """Points on a path along which one token moves."""

    def explore(alphas):
        if calls is not None:
            calls.append(list(alphas))
        return [Point(a, function(a), torch.tensor([slope(a)], dtype=torch.float64)) for a in alphas]

    return explore


def jump(at, width, height=10.0):
    """A narrow step: an integrand like those of language models."""
    return (
        lambda a: height / 2 * math.tanh((a - at) / width),
        lambda a: height / 2 / width * (1 - math.tanh((a - at) / width) ** 2),
    )


def test_simpson_is_exact_for_cubics():
    explore = path(lambda a: a**4 - a, lambda a: 4 * a**3 - 1)
    segments = integrate(explore, 1e-12, 0.0, 1000, 1)
    assert len(segments) == 1
    assert float(segments[0].scores) == pytest.approx(0, abs=1e-15)
    assert certified_gap(segments) < 1e-15


@pytest.mark.parametrize("at", [0.1, 0.33333, 0.77])
@pytest.mark.parametrize("tolerance", [0.05, 0.01, 0.001])
def test_a_jump_is_found_and_resolved(at, tolerance):
    calls = []
    f, slope = jump(at, 1e-3)
    segments = integrate(path(f, slope, calls), tolerance, 0.0, 2000, 8)
    spent = sum(map(len, calls))
    gap = certified_gap(segments)
    assert gap <= tolerance * (f(1) - f(0))
    assert abs(float(total([s.scores for s in segments])) - (f(1) - f(0))) <= gap + 1e-12
    assert spent <= 150
    narrow = min(segments, key=lambda segment: segment.width)
    assert abs(narrow.start.alpha - at) < 0.02


@pytest.mark.parametrize("height", [5.0, -0.3])
def test_what_is_left_is_the_jump(height):
    calls = []
    f, slope = jump(0.3, 1e-2)
    segments = integrate(path(lambda a: f(a) + height * (a > 0.7), slope, calls), 1e-3, 0.0, 2000, 8)
    change = f(1) + height - f(0)
    assert certified_gap([s for s in segments if not s.narrow]) <= 1e-3 * abs(change)
    assert change - float(total([s.scores for s in segments])) == pytest.approx(height, abs=1e-3 * abs(change))
    (narrow,) = [s for s in segments if s.narrow and s.error > 0.1]
    assert narrow.start.alpha <= 0.7 <= narrow.end.alpha
    assert narrow.error == pytest.approx(abs(height), rel=1e-3)
    assert sum(map(len, calls)) < 150


def test_segments_tile_the_path():
    f, slope = jump(0.4, 1e-2)
    segments = integrate(path(f, slope), 1e-4, 0.0, 500, 8)
    assert segments[0].start.alpha == 0
    assert segments[-1].end.alpha == 1
    for one, following in pairwise(segments):
        assert one.end is following.start
        assert one.middle.alpha == pytest.approx((one.start.alpha + one.end.alpha) / 2)


@pytest.mark.parametrize("most", [17, 18, 19, 50])
def test_it_never_spends_more_than_it_may(most):
    calls = []
    f, slope = jump(0.4, 1e-6)
    integrate(path(f, slope, calls), 1e-9, 0.0, most, 8)
    assert most - 1 <= sum(map(len, calls)) <= most


def test_no_point_is_computed_twice():
    calls = []
    f, slope = jump(0.4, 1e-3)
    integrate(path(f, slope, calls), 1e-4, 0.0, 500, 8)
    alphas = [alpha for batch in calls for alpha in batch]
    assert len(alphas) == len(set(alphas))


def test_errors_of_opposite_sign_do_not_cancel_in_the_certificate():
    zero = torch.zeros(1, dtype=torch.float64)
    points = [Point(a, value, zero) for a, value in ((0, 0.0), (0.25, 0.5), (0.5, 1.0), (0.75, 0.5), (1.0, 0.0))]
    segments = [Segment(*points[:3]), Segment(*points[2:])]
    assert certified_gap(segments) == 2.0


def test_an_objective_that_hardly_changes_has_an_absolute_tolerance():
    change = 0.004 * math.sin(20)
    explore = path(lambda a: 0.004 * math.sin(20 * a), lambda a: 0.08 * math.cos(20 * a))
    segments = integrate(explore, 1e-3, 0.01, 100, 8)
    assert 1e-3 * change < certified_gap(segments) <= 0.01
    assert len(segments) == 8


# On models


@pytest.mark.parametrize(("tolerance", "fewest"), [(0.1, 17), (1e-6, 25), (1e-7, 50)])
def test_the_certificate_holds_on_a_model(tiny, tolerance, fewest, monkeypatch):
    monkeypatch.setattr("interpret.methods.integrated_gradients.SMALLEST_GAP", 0.0)
    result = attribute(tiny, SENTENCE, 69, IntegratedGradients(tolerance=tolerance, max_gradients=2000))
    c = result.completeness
    change = abs(c.value - c.baseline_value)
    assert result.gradients_spent >= fewest
    assert c.certified_gap <= tolerance * change
    assert c.gap <= c.certified_gap + 1e-9
    assert c.gap == pytest.approx(abs(float(result.scores.sum()) - (c.value - c.baseline_value)), abs=1e-12)
    exact = attribute(tiny, SENTENCE, 69, IntegratedGradients(steps=400, rule="gauss-legendre"))
    assert exact.completeness.relative_gap < 1e-6
    assert (abs(result.scores - exact.scores) <= result.error + 1e-9).all()


def test_a_linear_function_needs_the_first_points_only(bag_lm):
    result = attribute(bag_lm, "abcd", "e", IntegratedGradients(baseline=Zero(), fixed=None), contrast="f")
    assert result.gradients_spent == 2 * FIRST_SEGMENTS + 1
    assert result.completeness.certified_gap < 1e-12
    assert result.error.max() < 1e-12


def test_short_of_the_tolerance_there_is_a_warning_and_an_honest_gap(tiny, monkeypatch):
    monkeypatch.setattr("interpret.methods.integrated_gradients.SMALLEST_GAP", 0.0)
    with pytest.warns(ConvergenceWarning, match=r"by up to .* take more than max_gradients=20, another baseline"):
        result = attribute(tiny, SENTENCE, 69, IntegratedGradients(tolerance=1e-9, max_gradients=20, baseline=Token(3)))
    assert result.gradients_spent <= 20
    assert result.completeness.certified_gap > 1e-9 * abs(result.completeness.value)
    assert "certified gap" in repr(result)


@pytest.mark.filterwarnings("ignore::interpret.ConvergenceWarning")
def test_a_baseline_with_a_gradient_that_is_not_finite_is_refused(tokenizer):
    """RMSNorm without biases keeps the zero state at zero, and its gradient there is unbounded."""
    from nexttoken import NextTokenLM
    from tests.conftest import llama

    model = llama()
    model.config.rms_norm_eps = 0.0
    for module in model.modules():
        if hasattr(module, "variance_epsilon"):
            module.variance_epsilon = 0.0
    lm = NextTokenLM.from_pretrained(model, tokenizer)
    with pytest.raises(FloatingPointError, match=r"at point 1 of 17.*on the path from the baseline Zero\(\)"):
        attribute(lm, SENTENCE, 69, IntegratedGradients(baseline=Zero(), fixed=None))


def test_what_is_held(tiny):
    messages = [{"role": "user", "content": "The keys"}]
    result = attribute(tiny, messages, 69, IntegratedGradients(tolerance=0.5))
    assert result.fixed == result.template
    assert "".join(token for token, fixed in zip(result.tokens, result.fixed, strict=True) if not fixed) == "The keys"
    first = attribute(tiny, messages, 69, IntegratedGradients(tolerance=0.5, fixed="first"))
    assert sum(first.fixed) == 1
    spaces = attribute(tiny, SENTENCE, 69, IntegratedGradients(tolerance=0.5, fixed=lambda piece: "k" in piece.text))
    assert [token for token, fixed in zip(spaces.tokens, spaces.fixed, strict=True) if fixed] == [
        token for token in spaces.tokens if "k" in token
    ]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tolerance": 0.0}, "tolerance is 0.0; it must be a number above 0"),
        ({"tolerance": math.nan}, "tolerance is nan"),
        ({"max_gradients": 16}, "max_gradients is 16; it must be at least 17"),
    ],
)
def test_settings_that_make_no_sense(settings, message):
    with pytest.raises(ValueError, match=message):
        IntegratedGradients(**settings)


# On the bundled model


@pytest.mark.parametrize(
    ("prompt", "target", "foil"),
    [
        ("When Mary and John went to the store, John gave a drink to", " Mary", None),
        ("The capital of France is", " Paris", None),
        ("The keys to the cabinet near the door", " are", " is"),
    ],
)
def test_the_bundled_model_is_certified_within_the_defaults(bundled, prompt, target, foil):
    result = attribute(bundled, prompt, target, IntegratedGradients(), contrast=foil)
    assert result.completeness.relative(result.completeness.certified_gap) <= 0.05
    assert result.gradients_spent <= 128


def test_a_warning_says_what_part_of_the_gap_are_jumps(tiny):
    x = tiny.embed({"input_ids": torch.tensor([tiny.prompt(SENTENCE).ids])})[0].detach()
    objective = Objective(lambda points: points.sum((1, 2)) ** 2 + (points[:, 1, 0] > x[1, 0] / 2), x)
    with pytest.warns(
        ConvergenceWarning, match=r"take another baseline.*\(jumps of the network on this path make 1 of"
    ):
        evidence = IntegratedGradients(1e-3, baseline=Zero(), fixed=None)(objective)
    assert evidence.completeness.gap == pytest.approx(1, abs=1e-3)
