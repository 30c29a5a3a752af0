"""What only a GPU shows: its memory, its own kernels of attention and recurrent layers. `make gpu` runs it."""

import pytest
import torch
import transformers
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from interpret import GIM, GradientTimesInput, IntegratedGradients, MemoryShortageWarning, attribute
from interpret.engine.memory.available import available_on
from interpret.engine.memory.profile import memory_profile
from nexttoken import NextTokenLM
from tests.builders import random
from tests.conftest import letters_lm

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: its memory and kernels were not run")
IDS = [5 + place % 200 for place in range(512)]


def network():
    config = transformers.LlamaConfig(
        hidden_size=256, intermediate_size=1024, num_hidden_layers=8, num_attention_heads=4, vocab_size=4096
    )
    return random(transformers.LlamaForCausalLM, config, torch.float32)


@pytest.fixture(scope="module")
def lm():
    return NextTokenLM.from_pretrained(network().cuda())


def peak(run):
    """The bytes that a run takes at most, above what is there already."""
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    run()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def test_the_estimate_is_what_a_gradient_takes(lm):
    estimate = memory_profile(lm, lm.prompt(IDS)).of_point(len(IDS))
    attribute(lm, IDS, 20, GradientTimesInput())
    assert 0.4 * estimate < peak(lambda: attribute(lm, IDS, 20, GradientTimesInput())) < 1.25 * estimate
    budget = 3 * estimate // 4  # so some layers run twice
    assert peak(lambda: attribute(lm, IDS, 20, GradientTimesInput(), memory_budget=budget)) <= budget


def test_where_it_runs_out_fewer_points_run_at_once(lm):
    """A part of the memory is taken away, so that 64 points do not fit, and one does."""
    method, whole = IntegratedGradients(steps=64), IDS[:256]
    expected = attribute(lm, whole, 20, method, batch_size=1).scores
    one = memory_profile(lm, lm.prompt(whole)).of_point(len(whole))
    device = torch.device("cuda")
    ballast = torch.empty(max(0, available_on(device) - 16 * one), dtype=torch.uint8, device=device)
    try:
        with pytest.warns(MemoryShortageWarning):
            found = attribute(lm, whole, 20, method, batch_size=64).scores
    finally:
        del ballast
        torch.cuda.empty_cache()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(abs(expected).max()))


@pytest.mark.parametrize("method", [GradientTimesInput(), GIM(), GIM(temperature=2.0)], ids=str)
@pytest.mark.parametrize("backend", [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH])
def test_every_attention_goes_back_alike(backend, method):
    flash = backend == SDPBackend.FLASH_ATTENTION
    dtype, rounding = (torch.bfloat16, 0.08) if flash else (torch.float32, 1e-3)  # flash takes no float32
    expected = attribute(NextTokenLM.from_pretrained(network()), IDS[:64], 20, method).scores
    lm = NextTokenLM.from_pretrained(network().cuda().to(dtype))
    with sdpa_kernel([backend, SDPBackend.MATH] if flash else backend):
        found = attribute(lm, IDS[:64], 20, method).scores
    assert float(abs(found - expected).max()) <= rounding * float(abs(expected).max())


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
def test_recurrent_networks_of_cudnn(kind):
    torch.manual_seed(5)
    lm = letters_lm(kind(6, 8, num_layers=2, batch_first=True, dtype=torch.float64), hidden=8).float()
    expected = attribute(lm, "abcde", "f", IntegratedGradients(steps=3))
    found = attribute(lm.cuda().train(), "abcde", "f", IntegratedGradients(steps=3))
    assert lm.training
    assert float(abs(found.scores - expected.scores).max()) <= 1e-4 * float(abs(expected.scores).max())
