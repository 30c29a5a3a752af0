"""Every method against finite differences, captum, and a linear model whose answer is on paper."""

import warnings
from functools import partial

import captum.attr
import numpy as np
import pytest
import torch

from interpret import (
    ConvergenceWarning,
    Embeddings,
    GradientTimesInput,
    IntegratedGradients,
    LineBreak,
    MeanEmbedding,
    Objective,
    SmoothGrad,
    Text,
    Token,
    VanillaGradient,
    Zero,
    attribute,
)
from interpret.engine.evaluate import gradients, values
from interpret.methods.path import quadrature
from tests import checking
from tests.builders import finite_differences, objective

RULES = ["midpoint", "gauss-legendre", "trapezoid", "left", "right"]
EVERY = [
    VanillaGradient(), VanillaGradient(1), GradientTimesInput(), IntegratedGradients(steps=300),
    SmoothGrad(GradientTimesInput(), 6), SmoothGrad(VanillaGradient(), 6),
    SmoothGrad(IntegratedGradients(steps=200), 2),
]  # fmt: skip
SENTENCE = "The keys to the cat"
close = partial(checking.close, tolerance=1e-5)


def linear(seed=0, tokens=4, dim=3):
    """F(x) = sum of w * x + 2: gradients, attributions and completeness can be read off."""
    generator = torch.Generator().manual_seed(seed)
    w, x = torch.randn(2, tokens, dim, generator=generator, dtype=torch.float64)
    return w, Objective(lambda points: (points * w).sum((1, 2)) + 2, x)


# Answers on paper


def test_vanilla_gradient_of_a_linear_function_is_its_weight():
    w, f = linear()
    evidence = VanillaGradient()(f)
    assert torch.equal(evidence.attributions, w)
    pieces = [[0], [1, 2], [3]]
    two = VanillaGradient(2).reduction(w.numpy(), pieces)
    torch.testing.assert_close(torch.from_numpy(two), torch.stack([w[0].norm(), w[1:3].norm(), w[3].norm()]))
    one = VanillaGradient(1).reduction(w.numpy(), pieces)
    torch.testing.assert_close(
        torch.from_numpy(one), torch.stack([w[0].abs().sum(), w[1:3].abs().sum(), w[3].abs().sum()])
    )


def test_gradient_times_input_of_a_linear_function_is_exact():
    w, f = linear()
    attributions = GradientTimesInput()(f).attributions
    torch.testing.assert_close(attributions, w * f.x)
    total = GradientTimesInput.reduction(attributions.numpy(), [[0, 1], [2, 3]]).sum()
    assert total == pytest.approx(float((w * f.x).sum()))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("fixed", [None, "first", [1, -1]])
def test_integrated_gradients_of_a_linear_function_is_exact(rule, fixed):
    w, f = linear()
    evidence = IntegratedGradients(steps=3, baseline=Zero(), rule=rule, fixed=fixed)(f)
    expected = w * f.x
    expected[{None: [], "first": [0]}.get(fixed if isinstance(fixed, str | None) else "", [1, 3])] = 0
    torch.testing.assert_close(evidence.attributions, expected)
    assert evidence.completeness.gap < 1e-12
    assert evidence.completeness.value == pytest.approx(float((w * f.x).sum()) + 2)
    assert evidence.completeness.baseline_value == pytest.approx(evidence.completeness.value - float(expected.sum()))


def test_integrated_gradients_of_a_cube():
    """F = sum of x^3 from 0: each token's share is its x^3, which 2 Gauss-Legendre nodes integrate exactly."""
    x = torch.tensor([[1.0], [-2.0], [3.0]], dtype=torch.float64)
    f = Objective(lambda points: (points**3).sum((1, 2)), x)
    evidence = IntegratedGradients(steps=2, baseline=Zero(), rule="gauss-legendre", fixed=None)(f)
    torch.testing.assert_close(evidence.attributions, x**3)
    with pytest.warns(ConvergenceWarning, match=r"= 20 by up to 1\.2 \(6%\); take more steps than 2"):
        midpoint = IntegratedGradients(steps=2, baseline=Zero(), fixed=None)(f).attributions
    torch.testing.assert_close(midpoint, x**3 * 3 * (0.25**2 + 0.75**2) / 2)


@pytest.mark.parametrize("method", [GradientTimesInput(), IntegratedGradients(steps=8, baseline=Zero(), fixed=None)])
def test_a_bag_of_embeddings_is_explained_exactly(bag_lm, method):
    """Contrast on a bag of embeddings: logit difference = sum over tokens of (w_target - w_foil) . x_t."""
    result = attribute(bag_lm, "abba", "c", method, contrast="d")
    w = bag_lm.language_model_head.weight.detach()
    x = bag_lm.text_field_embedder.weight.detach()[[0, 1, 1, 0]]
    expected = x @ (w[2] - w[3])
    torch.testing.assert_close(torch.from_numpy(result.scores), expected)
    assert result.scores[0] == pytest.approx(float(result.scores[3]), rel=1e-12)
    vanilla = attribute(bag_lm, "abba", "c", VanillaGradient(), contrast="d")
    torch.testing.assert_close(torch.from_numpy(vanilla.scores), (w[2] - w[3]).norm().expand(4))


# Finite differences: the method's formula, with gradients by finite differences


@pytest.mark.parametrize("contrast", [None, 70])
def test_methods_equal_their_formulas_with_finite_differences(tiny, contrast):
    f = objective(tiny, SENTENCE, 69, contrast)
    x = f.x

    def g(point):
        return finite_differences(lambda points: values(f, points), point)

    def relative(method, expected):
        return (method(f).attributions - expected).norm() / expected.norm()

    assert relative(VanillaGradient(), g(x)) <= 1e-6
    assert relative(GradientTimesInput(), g(x) * x) <= 1e-6
    start = torch.cat([x[:1], LineBreak()(f)[1:]])
    path = [start + (step + 0.5) / 4 * (x - start) for step in range(4)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        assert (
            relative(
                IntegratedGradients(steps=4, baseline=LineBreak()), (x - start) * sum(g(point) for point in path) / 4
            )
            <= 1e-6
        )
    smooth = SmoothGrad(GradientTimesInput(), samples=4, sigma=0.1)
    noisy = [point for e in smooth.noise(x) for point in (x + e, x - e)]
    assert relative(smooth, sum(g(point) * point for point in noisy) / 4) <= 1e-6


# captum as an oracle, in float32


def in_captum(lm, text, target):
    f = objective(lm, text, target)
    return f, f.x[None], lambda points: f.function(points)


def test_vanilla_gradient_equals_captum_saliency(tiny32):
    f, x, forward = in_captum(tiny32, SENTENCE, 69)
    with tiny32.frozen():
        expected = captum.attr.Saliency(forward).attribute(x.clone().requires_grad_(), abs=False)[0]
    close(VanillaGradient()(f).attributions, expected)


def test_gradient_times_input_equals_captum(tiny32):
    f, x, forward = in_captum(tiny32, SENTENCE, 69)
    with tiny32.frozen():
        expected = captum.attr.InputXGradient(forward).attribute(x.clone().requires_grad_())[0]
    close(GradientTimesInput()(f).attributions, expected.detach())


@pytest.mark.parametrize(
    ("rule", "theirs"),
    [("midpoint", "riemann_middle"), ("gauss-legendre", "gausslegendre"), ("left", "riemann_left"),
     ("right", "riemann_right")],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::interpret.ConvergenceWarning")
def test_integrated_gradients_equals_captum(tiny32, rule, theirs):
    f, x, forward = in_captum(tiny32, SENTENCE, 69)
    start = LineBreak()(f)[None]
    with tiny32.frozen():
        expected = captum.attr.IntegratedGradients(forward).attribute(x, start, n_steps=12, method=theirs)[0]
    close(
        IntegratedGradients(steps=12, baseline=LineBreak(), rule=rule, fixed=None)(f).attributions,
        expected.float(),
    )


def test_smoothgrad_equals_captum_noise_tunnel_within_its_standard_error(tiny32):
    """NoiseTunnel draws its own noise, so the two means of 2000 samples may differ by their standard errors."""
    f, x, forward = in_captum(tiny32, "The keys", 69)
    ours = SmoothGrad(GradientTimesInput(), samples=2000, sigma=0.2)(f)
    scale = float(f.x.square().mean().sqrt())
    with torch.random.fork_rng(), tiny32.frozen():
        torch.manual_seed(0)
        tunnel = captum.attr.NoiseTunnel(captum.attr.InputXGradient(forward))
        theirs = tunnel.attribute(x.clone(), nt_samples=2000, nt_samples_batch_size=250, stdevs=0.2 * scale)[0].detach()
    noisy = f.x + SmoothGrad(samples=2000, sigma=0.2).noise(f.x)
    unpaired = GradientTimesInput().at(f, noisy, gradients(f, noisy)[1]).sum(-1)
    error = (ours.samples.sum(-1).var(0) / 1000 + unpaired.var(0) / 2000).sqrt()
    assert ((ours.attributions.sum(-1) - theirs.sum(-1)).abs() <= 4 * error).all()
    assert (error < 0.1 * ours.attributions.sum(-1).abs().max()).all()


def test_smoothgrad_without_noise_equals_captum_noise_tunnel(tiny32):
    f, x, forward = in_captum(tiny32, SENTENCE, 69)
    with torch.random.fork_rng(), tiny32.frozen():
        tunnel = captum.attr.NoiseTunnel(captum.attr.InputXGradient(forward))
        expected = tunnel.attribute(x.clone(), nt_samples=4, stdevs=0.0)[0].detach()
    close(SmoothGrad(GradientTimesInput(), samples=4, sigma=0.0)(f).attributions, expected)


# Laws


@pytest.mark.parametrize(
    "method", [VanillaGradient(), VanillaGradient(1), GradientTimesInput(), IntegratedGradients(steps=200)]
)
def test_smoothgrad_without_noise_is_the_wrapped_method(tiny, method):
    smooth = attribute(tiny, SENTENCE, 69, SmoothGrad(method, samples=2, sigma=0.0))
    plain = attribute(tiny, SENTENCE, 69, method)
    torch.testing.assert_close(smooth.scores, plain.scores, rtol=1e-10, atol=1e-12)
    assert (smooth.unit, smooth.signed, smooth.fixed) == (plain.unit, plain.signed, plain.fixed)


def test_smoothgrad_depends_on_its_seed_only(tiny):
    method = SmoothGrad(samples=6)
    one, again, other = (
        attribute(tiny, SENTENCE, 69, each).scores for each in (method, method, SmoothGrad(samples=6, seed=1))
    )
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
    torch.manual_seed(12345)
    assert (attribute(tiny, SENTENCE, 69, method).scores == one).all()


def test_antithetic_pairs_are_exact_for_a_linear_gradient():
    """For a quadratic, the gradient is linear, and each pair's mean is the gradient itself, whatever the noise."""
    x = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    f = Objective(lambda points: points.square().sum((1, 2)), x)
    evidence = SmoothGrad(VanillaGradient(), samples=4, sigma=5.0)(f)
    torch.testing.assert_close(evidence.samples, (2 * x).expand(2, -1, -1))


def test_standard_error_of_a_sum_is_the_usual_one(tiny):
    method = SmoothGrad(GradientTimesInput(), samples=10)
    result = attribute(tiny, SENTENCE, 69, method)
    f = objective(tiny, SENTENCE, 69)
    sums = method(f).samples.sum(-1)
    torch.testing.assert_close(torch.from_numpy(result.standard_error), sums.std(0) / 5**0.5)


@pytest.mark.parametrize("method", EVERY, ids=repr)
@pytest.mark.parametrize("batch_size", [1, 3])
def test_scores_do_not_depend_on_the_chunk_size(tiny, method, batch_size):
    whole = attribute(tiny, SENTENCE, 69, method).scores
    torch.testing.assert_close(
        attribute(tiny, SENTENCE, 69, method, batch_size=batch_size).scores, whole, rtol=1e-9, atol=1e-11
    )


@pytest.mark.parametrize("method", EVERY, ids=repr)
def test_methods_leave_no_trace(tiny, method, untouched):
    tiny.train()
    with untouched(tiny):
        attribute(tiny, SENTENCE, 69, method)
    tiny.eval()


@pytest.mark.parametrize("method", EVERY, ids=repr)
def test_cost_is_what_is_spent(tiny, method):
    assert attribute(tiny, SENTENCE, 69, method).gradients_spent == method.cost(len(tiny.prompt(SENTENCE)))


@pytest.mark.parametrize(
    "method", [VanillaGradient(), GradientTimesInput(), IntegratedGradients(steps=50, fixed=None)], ids=repr
)
def test_what_the_target_cannot_see_gets_nothing(method):
    """Read the token after position 3 of 6: the three later tokens do not matter, and score exactly 0."""
    from interpret.question.quantity import LOG_PROBABILITY
    from nexttoken import Target
    from tests.conftest import gpt2

    model = gpt2()
    ids = torch.tensor([[5, 6, 7, 8, 9, 10]])
    with torch.no_grad():
        x = model.get_input_embeddings()(ids)[0]

    def function(points):
        logits = model(inputs_embeds=points).logits[:, 2]
        return LOG_PROBABILITY.function(logits, Target("", 4, 0.0, 1))

    if isinstance(method, IntegratedGradients):
        method = IntegratedGradients(steps=200, baseline=Zero(), fixed=None)
    attributions = method(Objective(function, x)).attributions
    assert attributions[:3].any(-1).all()
    assert not attributions[3:].any()


def test_linear_in_the_target(tiny):
    """A contrast is the difference of the two log-probabilities, so are the scores of signed methods."""
    for method in (GradientTimesInput(), IntegratedGradients(steps=20), SmoothGrad(samples=4)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            difference = attribute(tiny, SENTENCE, 69, method, contrast=70).scores
            parts = [attribute(tiny, SENTENCE, target, method).scores for target in (69, 70)]
        torch.testing.assert_close(difference, parts[0] - parts[1], rtol=1e-8, atol=1e-9)


# Integrated gradients: the gap and its warning


def test_the_gap_is_reported_and_a_large_one_warned_about(tiny):
    with pytest.warns(ConvergenceWarning, match=r"the scores miss F\(x\) - F\(x'\) = .* take more steps than 3"):
        rough = attribute(tiny, SENTENCE, 69, IntegratedGradients(steps=3, rule="left"))
    c = rough.completeness
    assert c.gap == pytest.approx(abs(float(rough.scores.sum()) - (c.value - c.baseline_value)))
    assert c.relative_gap == pytest.approx(c.gap / abs(c.value - c.baseline_value))
    assert c.value == pytest.approx(float(torch.tensor(rough.target.probability).log()), rel=1e-5)
    assert attribute(tiny, SENTENCE, 69, IntegratedGradients(steps=400)).completeness.relative_gap < 1e-3


def test_a_held_token_has_no_score(tiny):
    result = attribute(tiny, SENTENCE, 69, IntegratedGradients(steps=300, fixed=[0, 2]))
    assert [place for place, fixed in enumerate(result.fixed) if fixed] == [0, 2]
    assert result.scores[[0, 2]].tolist() == [0, 0]
    assert result.scores[[1, 3]].all()


def test_a_prompt_of_one_token_is_moved(bag_lm):
    result = attribute(bag_lm, "a", "b", IntegratedGradients(steps=20, baseline=Zero()))
    assert result.fixed == (False,)
    assert result.scores.any()


def test_hold_errors(tiny):
    f = objective(tiny, SENTENCE, 69)
    for hold, message in [([99], "fixed names position 99"), (range(len(f.x)), "every token is fixed")]:
        with pytest.raises(ValueError, match=message):
            IntegratedGradients(fixed=hold)(f)


# Settings that make no sense


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: IntegratedGradients(steps=0), "steps is 0; the midpoint rule needs at least 1"),
        (lambda: IntegratedGradients(steps=1, rule="trapezoid"), "needs at least 2"),
        (lambda: SmoothGrad(samples=3), "samples is 3; noise comes in pairs"),
        (lambda: SmoothGrad(samples=0), "samples is 0"),
        (lambda: SmoothGrad(sigma=-1.0), "sigma is -1"),
        (lambda: SmoothGrad(sigma=float("nan")), "sigma is nan"),
    ],
)
def test_settings_that_make_no_sense(build, message):
    with pytest.raises(ValueError, match=message):
        build()


# Quadrature


@pytest.mark.parametrize("rule", RULES)
def test_weights_add_up_to_one(rule):
    nodes, weights = quadrature(rule, 7)
    assert float(weights.sum()) == pytest.approx(1, abs=1e-14)
    assert ((nodes >= 0) & (nodes <= 1)).all()


@pytest.mark.parametrize(("rule", "order"), [("left", 1), ("right", 1), ("midpoint", 2), ("trapezoid", 2)])
def test_rules_converge_at_their_order(rule, order):
    def error(steps):
        nodes, weights = quadrature(rule, steps)
        return abs(float((weights * nodes.exp()).sum()) - (torch.e - 1))

    intervals = 1 if rule == "trapezoid" else 0
    assert error(20 + intervals) / error(40 + intervals) == pytest.approx(2**order, rel=0.05)


def test_gauss_legendre_is_exact_to_its_degree():
    nodes, weights = quadrature("gauss-legendre", 4)
    assert float((weights * nodes**7).sum()) == pytest.approx(1 / 8, abs=1e-14)
    assert abs(float((weights * nodes**8).sum()) - 1 / 9) > 1e-6


# Baselines


def test_baselines(tiny):
    f = objective(tiny, SENTENCE, 69)
    x, table = f.x, tiny.text_field_embedder.weight.detach()
    assert not Zero()(f).any()
    torch.testing.assert_close(MeanEmbedding()(f), table.mean(0).expand_as(x))
    assert torch.equal(Token()(f), table[1].expand_as(x))
    assert torch.equal(Token(7)(f), table[7].expand_as(x))
    assert torch.equal(Token(" cat")(f), table[tiny.vocab.encode(" cat").ids[0]].expand_as(x))
    assert torch.equal(Text(SENTENCE)(f), x)
    assert torch.equal(Embeddings(x[0])(f), x[0].expand_as(x))


def test_baseline_errors(tiny, bag_lm):
    f = objective(tiny, SENTENCE, 69)
    x = f.x
    with pytest.raises(ValueError, match="the baseline text has 1 tokens and the prompt"):
        Text(".")(f)
    with pytest.raises(ValueError, match=r"the baseline has shape \(2, 2\)"):
        Embeddings(torch.zeros(2, 2))(f)
    with pytest.raises(ValueError, match=r"'zebra' is \d tokens"):
        Token("zebra")(f)
    with pytest.raises(ValueError, match="token id 4000"):
        Token(4000)(f)
    with pytest.raises(ValueError, match="asks the model for embeddings"):
        MeanEmbedding()(Objective(torch.sum, x))
    bag_lm.vocab.eos_id = None
    with pytest.raises(ValueError, match="no end-of-text or padding token"):
        attribute(bag_lm, "ab", "c", IntegratedGradients(baseline=Token()))
