"""Gradients in bfloat16: rougher scores, honest values, and the caller's model as it was."""

import captum.attr
import numpy
import pytest
import torch

from interpret import (
    GIM,
    IDGI,
    Captum,
    GradientTimesInput,
    IntegratedGradients,
    SmoothGrad,
    VanillaGradient,
    attribute,
    attribute_candidates,
    attribute_continuation,
)
from nexttoken import NextTokenLM
from tests.checking import close
from tests.conftest import gpt2

TEXT = "The keys to the cabinet are"
ROUGH = 0.1  # bfloat16 has 8 bits; of the largest score
METHODS = [
    VanillaGradient(),
    GradientTimesInput(),
    GIM(),
    IntegratedGradients(steps=8),
    SmoothGrad(samples=4),
    IDGI(steps=8),
]
pytestmark = pytest.mark.filterwarnings("ignore::interpret.ConvergenceWarning")


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_scores_are_rough_and_values_exact(tiny32, method, untouched):
    with untouched(tiny32):
        rough = attribute(tiny32, TEXT, " a", method, precision="bfloat16")
    exact = attribute(tiny32, TEXT, " a", method)
    close(rough.scores, exact.scores, ROUGH)
    assert (rough.scores != exact.scores).any()
    assert rough.target == exact.target
    assert rough.model.endswith("(gradients in bfloat16)")
    if exact.completeness:
        assert rough.completeness.value == pytest.approx(exact.completeness.value, rel=1e-6)
        assert rough.completeness.baseline_value == pytest.approx(exact.completeness.baseline_value, rel=1e-6)


def test_a_certificate_is_about_the_models_own_values(tiny32):
    """What bfloat16 misses is in the gap: the sum of the scores against the float32 change."""
    rough = attribute(tiny32, TEXT, " a", IntegratedGradients(tolerance=0.3), precision="bfloat16")
    c = rough.completeness
    exact = attribute(tiny32, TEXT, " a", IntegratedGradients(steps=4)).completeness
    assert c.value == pytest.approx(exact.value, rel=1e-6)
    assert c.gap == pytest.approx(abs(float(rough.scores.sum()) - (c.value - c.baseline_value)), abs=1e-9)
    assert c.certified_gap >= c.gap


def test_matrices_and_spans(tiny32):
    method = GradientTimesInput()
    for call in (
        lambda **options: attribute_candidates(tiny32, TEXT, 3, method=method, **options),
        lambda **options: attribute_continuation(tiny32, TEXT, " a", method, **options),
        lambda **options: attribute(tiny32, TEXT, " a", method, region="cabinet", **options),
    ):
        close(numpy.nan_to_num(call(precision="bfloat16").scores), numpy.nan_to_num(call().scores), ROUGH)


def test_the_copy_follows_the_weights(tiny32):
    """A copy in another precision is made once, and again when a weight has changed."""
    copy = tiny32.in_precision(torch.bfloat16)
    assert tiny32.in_precision(torch.bfloat16) is copy
    weight = tiny32.text_field_embedder.weight
    with torch.no_grad():
        weight.mul_(2)
        try:
            changed = tiny32.in_precision(torch.bfloat16)
            assert changed is not copy
            assert torch.equal(changed.text_field_embedder.weight, weight.to(torch.bfloat16))
        finally:
            weight.div_(2)
    assert all(parameter.dtype == torch.float32 for parameter in tiny32.parameters())


def test_the_models_own_precision_is_the_default(tiny, tokenizer):
    """A float64 model is explained in float64, a bfloat16 model in bfloat16; float32 is then another precision."""
    assert attribute(tiny, TEXT, " a", GradientTimesInput()).model == tiny.name
    single = attribute(tiny, TEXT, " a", GradientTimesInput(), precision="float32")
    assert single.model.endswith("(gradients in float32)")
    close(single.scores, attribute(tiny, TEXT, " a", GradientTimesInput()).scores, 1e-4)
    half = NextTokenLM.from_pretrained(gpt2(torch.bfloat16), tokenizer)
    own, exact = (attribute(half, TEXT, " a", GradientTimesInput(), precision=name) for name in (None, "float32"))
    assert own.model == half.name
    assert exact.model.endswith("(gradients in float32)")
    assert exact.target == own.target
    single = NextTokenLM.from_pretrained(gpt2(torch.bfloat16).float(), tokenizer)
    close(exact.scores, attribute(single, TEXT, " a", GradientTimesInput()).scores, 1e-6)


def test_the_bundled_model(bundled):
    prompt = "The keys to the cabinet near the door"
    rough = attribute(bundled, prompt, " are", GradientTimesInput(), precision="bfloat16")
    exact = attribute(bundled, prompt, " are", GradientTimesInput())
    close(rough.scores, exact.scores, ROUGH)
    assert rough.target.probability == pytest.approx(exact.target.probability, rel=1e-5)


def test_captum_takes_it_too(tiny32):
    method = Captum(captum.attr.InputXGradient)
    half, exact = (attribute(tiny32, TEXT, " a", method, precision=name) for name in ("bfloat16", None))
    close(half.scores, exact.scores, ROUGH)
    assert (half.scores != exact.scores).any()
    counts = []
    attribute(tiny32, TEXT, " a", Captum(captum.attr.IntegratedGradients, n_steps=4), on_progress=counts.append)
    assert sum(counts) == 4
