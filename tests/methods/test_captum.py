"""captum's attributions as methods: its own numbers, and its limits said in words."""

import captum.attr
import numpy
import pytest
import torch

from interpret import Captum, GradientTimesInput, IntegratedGradients, VanillaGradient, Zero, attribute
from tests.builders import objective

SENTENCE = "The keys to the cat"


def test_it_gives_what_our_own_methods_give(tiny):
    for theirs, ours in [
        (Captum(captum.attr.InputXGradient), GradientTimesInput()),
        (
            Captum(captum.attr.IntegratedGradients, n_steps=200, method="riemann_middle", baseline=Zero()),
            IntegratedGradients(steps=200, baseline=Zero(), fixed=None),
        ),
    ]:
        one, other = (attribute(tiny, SENTENCE, 69, method) for method in (theirs, ours))
        torch.testing.assert_close(one.scores, other.scores, rtol=1e-6, atol=1e-8)
        assert one.unit == other.unit == "nats"


def test_saliency_keeps_its_sign(tiny):
    result = attribute(tiny, SENTENCE, 69, Captum(captum.attr.Saliency))
    signed = result.scores
    assert result.unit == "nats per unit of embedding"
    f = objective(tiny, SENTENCE, 69)
    torch.testing.assert_close(torch.from_numpy(signed), VanillaGradient()(f).attributions.sum(-1))


@pytest.mark.parametrize("kind", [captum.attr.FeatureAblation, captum.attr.Occlusion])
def test_ablation_is_the_change_when_a_token_is_replaced(tiny, kind):
    result = attribute(tiny, SENTENCE, 69, Captum(kind, baseline=Zero()))
    f = objective(tiny, SENTENCE, 69)
    x = f.x
    for place in range(len(x)):
        without = x.clone()
        without[place] = 0
        change = f.function(x[None]) - f.function(without[None])
        assert float(result.scores[place]) == pytest.approx(change.item(), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (captum.attr.GradientShap, {"n_samples": 6}),
        (captum.attr.KernelShap, {"n_samples": 30}),
        (captum.attr.Lime, {"n_samples": 30}),
        (captum.attr.DeepLift, {}),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_random_ones_depend_on_their_seed_only(tiny, kind, settings, untouched):
    state = numpy.random.get_state()[1].copy()
    with untouched(tiny):
        one = attribute(tiny, SENTENCE, 69, Captum(kind, **settings))
    assert (numpy.random.get_state()[1] == state).all()
    with torch.random.fork_rng():
        torch.manual_seed(99)
        again = attribute(tiny, SENTENCE, 69, Captum(kind, **settings))
    assert (one.scores == again.scores).all()
    assert one.scores.any()


def test_what_captum_cannot_do_is_an_error():
    for kind in (captum.attr.LayerIntegratedGradients, captum.attr.NeuronGradient, captum.attr.NoiseTunnel):
        with pytest.raises(ValueError, match=f"{kind.__name__} does not explain an input as a whole"):
            Captum(kind)
    with pytest.raises(ValueError, match="IntegratedGradients has no setting 'steps'; it has"):
        Captum(captum.attr.IntegratedGradients, steps=3)


def test_its_label_names_what_was_run():
    assert (
        repr(Captum(captum.attr.GradientShap, n_samples=5))
        == "Captum(GradientShap, baseline=LineBreak(), n_samples=5, seed=0)"
    )
