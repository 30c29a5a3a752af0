"""Everything on a device that is not the CPU: a GPU where there is one, otherwise a second device that is as strict."""

from contextlib import nullcontext

import pytest
import torch
from torch.utils._pytree import tree_leaves

from interpret import (
    GIM,
    GradientTimesInput,
    IntegratedGradients,
    PlausibleAlternatives,
    SmoothGrad,
    attribute,
    attribute_candidates,
    attribute_continuation,
    attribute_many,
    check,
    flip,
    reduce_input,
    replacements,
)
from interpret.methods.listed import BASELINES, METHODS, find_method
from nexttoken import NextTokenLM
from tests.builders import t5
from tests.checking import close
from tests.conftest import Bag, letters_lm
from tests.devices.second_device import second_device
from tests.tiny_models import build

IDS = [5, 6, 7, 8, 9]
FEW = {  # steps and samples, so that it is quick
    "integrated-gradients": {"steps": 4}, "idgi": {"steps": 4}, "sequential-ig": {"steps": 2},
    "discretized-ig": {"steps": 3}, "expected-gradients": {"samples": 4}, "smoothgrad": {"samples": 2},
    "smoothgrad-squared": {"samples": 2}, "vargrad": {"samples": 4}, "marginalization": {"samples": 2},
}  # fmt: skip
ROUNDING = 1e-4 if torch.cuda.is_available() else 2e-5  # of the largest score, in float32
pytestmark = pytest.mark.filterwarnings("ignore::interpret.ConvergenceWarning")  # of so few steps


@pytest.fixture(scope="module")
def device():
    with nullcontext(torch.device("cuda")) if torch.cuda.is_available() else second_device() as found:
        yield found


@pytest.fixture(scope="module")
def pair(device):
    """A model on the CPU, and the same on the device."""
    return tuple(NextTokenLM.from_pretrained(build("LlamaForCausalLM").to(each)) for each in ("cpu", device))


def same(one, other):
    """Whether two results say the same, in numbers as exact as float32."""
    pairs = list(zip(tree_leaves(one), tree_leaves(other), strict=True))
    return all(b == (pytest.approx(a, rel=1e-3, abs=1e-4) if isinstance(a, float) else a) for a, b in pairs)


@pytest.mark.parametrize("slug", [each.slug for each in METHODS])
def test_every_method(pair, slug):
    method = find_method(slug)(**FEW.get(slug, {}))
    one, other = (attribute(lm, IDS, 20, method) for lm in pair)
    close(other.scores, one.scores, ROUNDING)
    assert other.target.probability == pytest.approx(one.target.probability, rel=1e-4)
    assert (other.gradients_spent, other.forwards_spent) == (one.gradients_spent, one.forwards_spent)


@pytest.mark.parametrize("listed", [each for each in BASELINES if each.slug not in ("eos", "unknown")], ids=str)
def test_every_baseline(pair, listed):
    options = {"token": {"token": 3}, "text": {"text": [9, 8, 7, 6, 5]}}.get(listed.slug, {})
    method = GradientTimesInput(listed.load()(**options))
    one, other = (attribute(lm, IDS, 20, method).scores for lm in pair)
    close(other, one, ROUNDING)


@pytest.mark.parametrize(
    "method",
    [
        None,
        GIM(temperature=2.0),
        SmoothGrad(GIM(PlausibleAlternatives()), samples=2),
        IntegratedGradients(tolerance=0.2),
    ],
    ids=str,
)
@pytest.mark.parametrize("family", ["GPT2LMHeadModel", "Gemma2ForCausalLM", "MambaForCausalLM"])
def test_families(device, family, method):
    lms = [NextTokenLM.from_pretrained(build(family).to(each)) for each in ("cpu", device)]
    if family == "MambaForCausalLM" and method is not None:
        method = GradientTimesInput()
    one, other = (attribute(lm, IDS, 20, method, contrast=21) for lm in lms)
    close(other.scores, one.scores, ROUNDING)


def test_an_encoder_decoder_and_a_network_of_ones_own(device):
    lms = [NextTokenLM.from_pretrained(t5(torch.float32).to(each)) for each in ("cpu", device)]
    one, other = (attribute(lm, (IDS, [10, 11]), 20).scores for lm in lms)
    close(other, one, ROUNDING)
    lms = [letters_lm(Bag()).float().to(each) for each in ("cpu", device)]
    one, other = (attribute(lm, "abcd", "e", IntegratedGradients(steps=3)).scores for lm in lms)
    close(other, one, ROUNDING)


def test_many_targets_and_prompts(pair):
    for one, other in zip(*(attribute_candidates(lm, IDS, 3) for lm in pair), strict=True):
        close(other.scores, one.scores, ROUNDING)
    for one, other in zip(*(attribute_continuation(lm, IDS, [20, 21, 22]) for lm in pair), strict=True):
        close(other.scores, one.scores, ROUNDING)
    for one, other in zip(*(attribute_continuation(lm, IDS, max_new_tokens=3) for lm in pair), strict=True):
        close(other.scores, one.scores, ROUNDING)
    prompts = [IDS, IDS[:2], [12] * 9]
    for one, other in zip(*(attribute_many(lm, prompts, progress=False) for lm in pair), strict=True):
        close(other.scores, one.scores, ROUNDING)


@pytest.mark.parametrize(
    "options",
    [{"region": (2, 3)}, {"start": 3}, {"precision": "float64"}, {"precision": "bfloat16"}, {"batch_size": 1},
     {"memory_budget": 200_000}],
    ids=str,
)  # fmt: skip
def test_options(pair, options):
    rounding = 0.05 if options.get("precision") == "bfloat16" else ROUNDING
    prompt = [*IDS, *IDS, *IDS, *IDS] if "memory_budget" in options else IDS
    for method in (GIM(PlausibleAlternatives()), IntegratedGradients(steps=3)):
        one, other = (attribute(lm, prompt, 20, method, **options).scores for lm in pair)
        close(other, one, rounding)


def test_checks_and_counterfactuals(pair):
    whys = [attribute(lm, IDS, 20) for lm in pair]
    one, other = (check(lm, why) for lm, why in zip(pair, whys, strict=True))
    assert other.forwards == one.forwards
    assert other.sentence == one.sentence
    for ask in (
        lambda lm: flip(lm, IDS).to_dict(),
        lambda lm: reduce_input(lm, IDS).to_dict(),
        lambda lm: replacements(lm, IDS, 2).to_dict(),
    ):
        one, other = (ask(lm) for lm in pair)
        assert same(one, other)


def test_predictions_and_generation(pair):
    assert [each.id for each in pair[1].predict(IDS)] == [each.id for each in pair[0].predict(IDS)]
    assert pair[1].generate(IDS, 4) == pair[0].generate(IDS, 4)


def test_the_second_device_refuses_what_a_gpu_would(device):
    here, there = torch.ones(3), torch.ones(3, device=device)
    with pytest.raises(RuntimeError, match="same device"):
        here + there
    assert (there + 1).tolist() == [2.0, 2.0, 2.0]
