"""Laws: what every method owes to every model, on models whose answers are known, over random weights and prompts."""

import warnings
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from interpret import (
    GIM,
    IDGI,
    ConvergenceWarning,
    DiscretizedIG,
    ExpectedGradients,
    GradientTimesInput,
    IntegratedGradients,
    LineBreak,
    Marginalization,
    MeanEmbedding,
    Objective,
    PlausibleAlternatives,
    SequentialIG,
    SmoothGrad,
    SmoothGradSquared,
    VanillaGradient,
    VarGrad,
    Zero,
    attribute,
)
from interpret.results.reduction import SUM
from nexttoken import NextTokenLM
from tests.conftest import gpt2, letters_lm

ZERO = {"baseline": Zero(), "fixed": None}
FINE = IntegratedGradients(tolerance=1e-4, max_gradients=2000, **ZERO)
GAUSS = IntegratedGradients(steps=64, rule="gauss-legendre", **ZERO)
COMPLETE = [FINE, GAUSS, IDGI(steps=40, **ZERO)]
LINEAR_IN_F = [GradientTimesInput(), GradientTimesInput(Zero()), GAUSS, SequentialIG(**ZERO), SmoothGrad(samples=4)]
EVERY = [
    *COMPLETE, *LINEAR_IN_F, VanillaGradient(), VanillaGradient(1), SmoothGrad(VanillaGradient(), 4),
    SmoothGradSquared(samples=4), VarGrad(samples=4),
]  # fmt: skip
seeds = st.integers(0, 2**31)


def draw(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def linear(seed, tokens=4, dim=3):
    w = draw(seed, tokens, dim)
    return lambda points: (points * w).sum((1, 2))


def of_a_weighted_sum(seed, tokens=4, dim=3):
    w = draw(seed, tokens, dim)
    return lambda points: torch.tanh((points * w).sum((1, 2)) / 2)


def sum_of_token_functions(seed, tokens=4, dim=3):
    w = draw(seed, tokens, dim)
    return lambda points: torch.sin(points * w).sum((1, 2))


def bilinear(seed, tokens=4, dim=3):
    a = draw(seed, dim, dim)
    return lambda points: (points[:, 0] @ a * points[:, -1]).sum(-1)


def quadratic(seed, tokens=4, dim=3):
    a = draw(seed, tokens * dim, tokens * dim)
    return lambda points: (points.flatten(1) @ a * points.flatten(1)).sum(-1) / 2


MODELS = [linear, of_a_weighted_sum, sum_of_token_functions, bilinear, quadratic]


def scores(method, function, x):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        evidence = method(Objective(function, x))
    per_token = method.reduction(evidence.attributions.detach().double().numpy(), [[place] for place in range(len(x))])
    return torch.from_numpy(per_token), evidence


@pytest.mark.parametrize("method", COMPLETE, ids=repr)
@pytest.mark.parametrize("model", MODELS)
@given(seed=seeds)
@settings(max_examples=15)
def test_completeness(method, model, seed):
    function, x = model(seed), draw(seed + 1, 4, 3)
    found, evidence = scores(method, function, x)
    change = float(function(x[None]) - function(torch.zeros_like(x)[None]))
    allowed = evidence.completeness.certified_gap if method is FINE else 1e-6
    if isinstance(method, IDGI) and model in (bilinear, quadratic):  # the gradient vanishes at zero: one step is lost
        allowed = abs(float(function(x[None] / method.steps))) + 1e-9
    assert abs(float(found.sum()) - change) <= allowed + 1e-9
    if method is FINE:
        assert allowed <= max(1e-4 * abs(change), 0.01)


@pytest.mark.parametrize("method", EVERY, ids=repr)
@pytest.mark.parametrize("model", MODELS)
@given(seed=seeds)
@settings(max_examples=8)
def test_a_token_that_is_not_read_gets_nothing(method, model, seed):
    inner, x = model(seed), draw(seed + 1, 5, 3)
    found, _ = scores(method, lambda points: inner(points[:, [0, 1, 3, 4]]), x)
    assert found[2] == 0
    assert found.isfinite().all()


@pytest.mark.parametrize(
    "method", [FINE, GAUSS, IDGI(steps=40, **ZERO), VanillaGradient(), GradientTimesInput()], ids=repr
)
@given(seed=seeds)
@settings(max_examples=10)
def test_equal_tokens_that_can_be_exchanged_get_equal_scores(method, seed):
    w, x = draw(seed, 3), draw(seed + 1, 4, 3)
    x[2] = x[1]
    found, _ = scores(method, lambda points: torch.tanh((points * w).sum(-1)).prod(-1), x)
    assert float(found[1]) == pytest.approx(float(found[2]), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("method", LINEAR_IN_F, ids=repr)
@given(seed=seeds)
@settings(max_examples=10)
def test_signed_methods_are_linear_in_what_is_explained(method, seed):
    one, other, x = of_a_weighted_sum(seed), quadratic(seed + 1), draw(seed + 2, 4, 3)
    together, _ = scores(method, lambda points: 2 * one(points) - other(points), x)
    torch.testing.assert_close(
        together, 2 * scores(method, one, x)[0] - scores(method, other, x)[0], rtol=1e-8, atol=1e-9
    )


@pytest.mark.parametrize("method", EVERY, ids=repr)
@given(seed=seeds)
@settings(max_examples=8)
def test_a_constant_that_is_added_does_not_matter(method, seed):
    function, x = of_a_weighted_sum(seed), draw(seed + 1, 4, 3)
    shifted, _ = scores(method, lambda points: function(points) + 7, x)
    torch.testing.assert_close(shifted, scores(method, function, x)[0], rtol=1e-7, atol=1e-8)


# The same function in another network


def permuted(model, seed):
    """The same GPT-2 with its hidden units in another order."""
    order = torch.randperm(64, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for block in model.transformer.h:
            block.mlp.c_fc.weight.copy_(block.mlp.c_fc.weight[:, order])
            block.mlp.c_fc.bias.copy_(block.mlp.c_fc.bias[order])
            block.mlp.c_proj.weight.copy_(block.mlp.c_proj.weight[order])
    return model


ON_MODELS = [
    VanillaGradient(), GradientTimesInput(), IntegratedGradients(tolerance=0.01), IDGI(), SequentialIG(steps=6),
    DiscretizedIG(steps=4, neighbours=20), ExpectedGradients(samples=10), SmoothGrad(samples=4),
    SmoothGradSquared(samples=4), VarGrad(samples=4),
]  # fmt: skip
ALSO = [
    GIM(), GIM(PlausibleAlternatives(weight=0.5)), GradientTimesInput(MeanEmbedding()), Marginalization(samples=2),
    IntegratedGradients(steps=3, baseline=LineBreak()),
]  # fmt: skip


@pytest.mark.parametrize("method", ON_MODELS, ids=repr)
@pytest.mark.filterwarnings("ignore::interpret.ConvergenceWarning")
def test_equal_networks_have_equal_scores(method, tokenizer):
    one = attribute(NextTokenLM.from_pretrained(gpt2(), tokenizer), "The keys to the cat", 69, method)
    other = attribute(NextTokenLM.from_pretrained(permuted(gpt2(), 1), tokenizer), "The keys to the cat", 69, method)
    torch.testing.assert_close(one.scores, other.scores, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("method", ON_MODELS, ids=repr)
@pytest.mark.filterwarnings("ignore::interpret.ConvergenceWarning")
def test_a_constant_added_to_all_logits_does_not_matter(method):
    torch.manual_seed(1)
    lm = letters_lm(torch.nn.LSTM(6, 8, batch_first=True, dtype=torch.float64), hidden=8)
    before = attribute(lm, "abcde", "f", method).scores
    with torch.no_grad():
        lm.language_model_head.bias += 5.0
    torch.testing.assert_close(attribute(lm, "abcde", "f", method).scores, before, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("method", ON_MODELS, ids=repr)
@pytest.mark.filterwarnings("ignore::interpret.ConvergenceWarning")
def test_no_effect_on_the_model(method, tiny, untouched):
    with untouched(tiny):
        result = attribute(tiny, "The keys to the cat", 69, method, contrast=70)
    assert result.scores.any()
    assert result.gradients_spent <= method.cost(len(tiny.prompt("The keys to the cat")))


@pytest.mark.parametrize("method", [*ON_MODELS, *ALSO], ids=repr)
@pytest.mark.filterwarnings("ignore::interpret.ConvergenceWarning")
def test_no_result_holds_a_graph(method, tokenizer, tmp_path):
    network = gpt2()
    plain = attribute(NextTokenLM.from_pretrained(network, tokenizer), "The keys to", 69, method)
    network.enable_input_require_grads()  # as in training an adapter: what the embedding layer gives wants a gradient
    lm = NextTokenLM.from_pretrained(network, tokenizer)
    found = attribute(lm, "The keys to", 69, method, check=True)
    torch.testing.assert_close(found.scores, plain.scores, rtol=1e-9, atol=1e-12)
    assert found.scores.shape == (len(found.tokens),)
    found.save(tmp_path / "why.json")


# Answers on paper


def test_a_linear_model_has_one_answer():
    """Every complete method, and gradient x input, agree on a linear model: w * x."""
    function, x = linear(1), draw(2, 4, 3)
    expected = (draw(1, 4, 3) * x).sum(-1)
    for method in (FINE, GAUSS, GradientTimesInput(), SequentialIG(**ZERO)):
        torch.testing.assert_close(scores(method, function, x)[0], expected)


def test_a_sum_of_token_functions_is_shared_out_by_token():
    function, x = sum_of_token_functions(1), draw(2, 4, 3)
    expected = torch.sin(x * draw(1, 4, 3)).sum(-1)
    for method in (GAUSS, SequentialIG(steps=64, **ZERO)):
        torch.testing.assert_close(scores(method, function, x)[0], expected, rtol=1e-8, atol=1e-9)


def test_a_bilinear_model_is_shared_equally_by_integrated_gradients():
    """x A y from zero: each half gets half of the product; one after the other, each gets all of it."""
    function, x = bilinear(1), draw(2, 4, 3)
    product = function(x[None])
    found, _ = scores(GAUSS, function, x)
    torch.testing.assert_close(found[[0, 3]], (product / 2).expand(2))
    alone, _ = scores(SequentialIG(**ZERO), function, x)
    torch.testing.assert_close(alone[[0, 3]], product.expand(2))


def test_idgi_of_a_linear_model_follows_the_squared_weights():
    function, x, w = linear(1), draw(2, 4, 3), draw(1, 4, 3)
    expected = w.square().sum(-1) / w.square().sum() * function(x[None])
    torch.testing.assert_close(scores(IDGI(steps=7, **ZERO), function, x)[0], expected)


def test_idgi_without_a_gradient_says_what_it_could_not_share_out():
    x = torch.ones(2, 2, dtype=torch.float64)
    _, evidence = scores(IDGI(steps=2, **ZERO), lambda points: points.sum((1, 2)).clamp_min(3), x)
    assert evidence.attributions.sum() == 0
    assert evidence.completeness.gap == pytest.approx(1.0)


def test_a_hard_wired_induction_head_is_seen_through():
    """a b c d a ? : attention finds the earlier a and reads what followed it. The evidence is b, by far."""
    words = torch.eye(6, dtype=torch.float64)
    x = words[[0, 1, 2, 3, 0]]

    def function(points):
        match = (points[:, :-1] * points[:, -1:]).sum(-1)  # is it what we read last?
        weights = (12 * match).softmax(-1)
        read = (weights[..., None] * points[:, 1:]).sum(1)  # the word after it
        return read[:, 1] - read[:, 2]  # b rather than c

    found, evidence = scores(FINE, function, x)
    assert int(found.argmax()) == 1
    change = float(function(x[None]) - function(torch.zeros_like(x)[None]))
    assert float(found[1]) > 0.7 * change
    assert (found[[2, 3]].abs() < 0.1 * change).all()
    assert int(scores(GradientTimesInput(), function, x)[0].argmax()) == 1
    assert evidence.completeness.certified_gap <= 0.01


@pytest.fixture
def quadratic_model():
    """F = x A x / 2, whose gradient under noise is normal: its mean and variance are on paper."""
    a = draw(5, 12, 12)
    a = (a + a.T) / 2
    x = draw(6, 4, 3)
    sigma = 0.3 * x.square().mean().sqrt()
    return (lambda points: (points.flatten(1) @ a * points.flatten(1)).sum(-1) / 2), x, a, sigma


def within(method, evidence, expected):
    """Whether each score is within four of its own standard errors of the expectation."""
    per_sample = evidence.samples.sum(-1)
    error = per_sample.std(0) / len(per_sample) ** 0.5
    deviation = (torch.from_numpy(SUM(evidence.attributions.numpy(), [[0], [1], [2], [3]])) - expected).abs()
    assert (error > 0).all()
    assert (error < 0.1 * expected.abs().max()).all()
    assert (deviation <= 4 * error).all()


def test_smoothgrad_of_a_quadratic(quadratic_model):
    function, x, a, sigma = quadratic_model
    gradient = (a @ x.flatten()).view_as(x)
    trace = a.diagonal().view_as(x)
    method = SmoothGrad(GradientTimesInput(), samples=4000)
    within(method, scores(method, function, x)[1], (gradient * x + sigma**2 * trace).sum(-1))


def test_smoothgrad_squared_of_a_quadratic(quadratic_model):
    function, x, a, sigma = quadratic_model
    gradient = (a @ x.flatten()).view_as(x)
    variance = sigma**2 * a.square().sum(-1).view_as(x)
    method = SmoothGradSquared(samples=4000)
    within(method, scores(method, function, x)[1], (gradient.square() + variance).sum(-1))


def test_vargrad_of_a_quadratic(quadratic_model):
    function, x, a, sigma = quadratic_model
    method = VarGrad(samples=4000)
    within(method, scores(method, function, x)[1], sigma**2 * a.square().sum(-1).view_as(x).sum(-1))


def test_vargrad_is_unbiased_with_few_samples(quadratic_model):
    """The mean over many seeds of the estimate from two pairs; a biased one would be a quarter off."""
    function, x, a, sigma = quadratic_model
    estimates = torch.stack([scores(VarGrad(samples=4, seed=seed), function, x)[0] for seed in range(600)])
    expected = sigma**2 * a.square().sum(-1).view_as(x).sum(-1)
    error = estimates.std(0) / 600**0.5
    assert ((estimates.mean(0) - expected).abs() <= 4 * error).all()
    assert (error < 0.06 * expected).all()


def test_expected_gradients_of_a_bag_are_the_way_from_the_mean_word(bag_lm):
    """On a linear model, the score is w . (x - mean of all words), within its standard error."""
    result = attribute(bag_lm, "abca", "d", ExpectedGradients(samples=2000, fixed=None), contrast="e")
    w = bag_lm.language_model_head.weight.detach()
    table = bag_lm.text_field_embedder.weight.detach()
    expected = (table[[0, 1, 2, 0]] - table.mean(0)) @ (w[3] - w[4])
    expected = expected.numpy()
    assert (abs(result.scores - expected) <= 4 * result.standard_error).all()
    assert (result.standard_error < 0.2 * abs(expected).max()).all()


def test_discretized_ig_is_complete_on_a_bag(bag_lm):
    method = DiscretizedIG(steps=5, neighbours=8, baseline=Zero(), fixed=None)
    result = attribute(bag_lm, "abca", "d", method, contrast="e")
    assert result.completeness.gap < 1e-10


@pytest.mark.parametrize("baseline", [0, 5])
def test_discretized_ig_keeps_near_words_and_does_not_jump_to_the_baseline(bag_lm, baseline):
    """Also where the baseline is a word itself: it is not the next point, and the path uses up its steps."""
    table = bag_lm.text_field_embedder.weight.detach()
    end = table[baseline] if baseline else torch.zeros(6, dtype=torch.float64)
    points = DiscretizedIG(steps=6, neighbours=9).track(table[0], end, table)
    assert len(points) == 7
    left = [float((point - end).norm()) for point in points]
    assert all(later < earlier for earlier, later in pairwise(left))
    assert left[-1] > 0
    near_words = 0
    for earlier, point in pairwise(points):
        between = (torch.minimum(earlier, end) <= point) & (point <= torch.maximum(earlier, end))
        assert bool(between.all())
        near_words += bool((point == table).any())
    assert near_words >= 1


def test_errors_of_two_tokens_that_cancel_are_in_doubt_though_the_sum_is_certain():
    """Two steep steps of opposite sign: the sum is exact at any number of points, the two scores are not."""

    def function(points):
        steps = torch.sigmoid(60 * (points[:, 1:, 0] - 0.37))
        return points[:, 0, 0] + steps[:, 0] - steps[:, 1]

    x = torch.ones(3, 1, dtype=torch.float64)
    found, evidence = scores(IntegratedGradients(**ZERO), function, x)
    assert evidence.completeness.certified_gap < 1e-9
    off = (found - torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64)).abs()
    assert float(off.max()) > 0.01
    assert (evidence.error >= off - 1e-9).all()


def test_a_statistic_of_dimensions_needs_them_apart():
    x = draw(2, 4, 3)
    with pytest.raises(ValueError, match="has added up the dimensions, which VarGrad needs apart"):
        scores(VarGrad(FINE, samples=4), quadratic(1), x)
    assert scores(SmoothGrad(FINE, samples=2), quadratic(1), x)[0].isfinite().all()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: IDGI(steps=0), "steps is 0"),
        (lambda: SequentialIG(steps=0), "steps is 0"),
        (lambda: DiscretizedIG(steps=0), "steps is 0; it must be at least 1"),
        (lambda: DiscretizedIG(neighbours=0), "neighbours is 0"),
        (lambda: ExpectedGradients(samples=1), "samples is 1; it must be at least 2"),
        (lambda: VarGrad(samples=2), "a variance needs two pairs"),
    ],
)
def test_settings_that_make_no_sense(build, message):
    with pytest.raises(ValueError, match=message):
        build()
