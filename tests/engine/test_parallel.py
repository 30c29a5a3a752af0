"""Side by side on two threads: the same results, in order, and everything afterwards as it was."""

import math
import threading
import warnings

import pytest
import torch

from interpret import (
    GIM,
    GradientTimesInput,
    IntegratedGradients,
    attribute,
    attribute_candidates,
    attribute_continuation,
)
from interpret.engine.threads import available, side_by_side
from nexttoken import NextTokenLM
from tests import tiny_models
from tests.conftest import gpt2

TEXT = "The keys to the cabinet are"
pytestmark = pytest.mark.filterwarnings("ignore", "ignore::interpret.ConvergenceWarning")


@pytest.fixture
def two_threads():
    """Two threads for a while; the tests have one otherwise."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    assert torch.get_num_threads() == 2
    torch.set_num_threads(threads)


def test_results_come_in_order_from_several_threads(two_threads):
    seen, meeting = [], threading.Barrier(2, timeout=20)

    def double(job):
        if job < 2:
            meeting.wait()  # nobody gets past this alone
        seen.append((threading.get_ident(), torch.get_num_threads(), torch.is_grad_enabled()))
        return 2 * job

    with torch.no_grad():
        assert list(side_by_side(double, range(7), 2)) == list(range(0, 14, 2))
    assert len({ident for ident, _, _ in seen}) == 2
    assert {threads for _, threads, _ in seen} == {1}
    assert not any(enabled for _, _, enabled in seen)
    assert available(torch.device("cpu")) == 2
    assert available(torch.device("meta")) == 1


def test_one_worker_is_the_caller(two_threads):
    here = threading.get_ident()
    assert list(side_by_side(lambda job: threading.get_ident(), range(3), 1)) == [here] * 3
    assert list(side_by_side(lambda job: threading.get_ident(), [0], 2)) == [here]


def test_an_error_ends_it(two_threads):
    done = []

    def work(job):
        if job == 2:
            raise KeyError(job)
        done.append(job)
        return job

    with pytest.raises(KeyError):
        list(side_by_side(work, range(50), 2))
    assert len(done) < 6  # what had begun, no more


@pytest.mark.parametrize("method", [GradientTimesInput(), IntegratedGradients(steps=5), GIM()], ids=repr)
def test_backward_passes_side_by_side(tiny, two_threads, method, untouched):
    assert tiny.batches_backward
    with untouched(tiny):
        together = attribute_continuation(tiny, TEXT, " the cats near the dog", method)
    torch.set_num_threads(1)
    alone = attribute_continuation(tiny, TEXT, " the cats near the dog", method)
    torch.set_num_threads(2)
    torch.testing.assert_close(together.scores, alone.scores, rtol=0, atol=1e-12, equal_nan=True)


def test_passes_that_cannot_be_batched_run_one_by_one(tiny, monkeypatch):
    expected = attribute_continuation(tiny, TEXT, " the cats near the dog", GradientTimesInput())
    monkeypatch.setattr(tiny, "batches_backward", False)
    found = attribute_continuation(tiny, TEXT, " the cats near the dog", GradientTimesInput())
    torch.testing.assert_close(found.scores, expected.scores, rtol=0, atol=1e-12, equal_nan=True)


def tiny_model(name):
    """In float64 where it can run in it, so that rounding does not hide anything."""
    model = tiny_models.build(name)
    if name not in ("Inkling2ForCausalLM", "XGLMForCausalLM"):
        model = model.double()
        if model._can_set_experts_implementation():
            model.set_experts_implementation("eager")
    return NextTokenLM.from_pretrained(model)


def test_workers_leave_the_warnings_alone(tokenizer, two_threads):
    """Whether backward passes can be batched is asked in the caller's thread: filters are the whole process's."""
    here, filters = [], list(warnings.filters)

    class Asked(type(NextTokenLM.from_pretrained(gpt2(), tokenizer))):
        @property
        def batches_backward(self):
            here.append(threading.get_ident())
            return super().batches_backward

    lm = NextTokenLM.from_pretrained(gpt2(), tokenizer)
    lm.__class__ = Asked
    attribute_candidates(lm, TEXT, 3, IntegratedGradients(steps=8), batch_size=1)
    assert here
    assert set(here) == {threading.get_ident()}
    assert warnings.filters == filters


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in tiny_models.NAMES if name not in tiny_models.NOT_BUILT])
def test_every_architecture(name, two_threads):
    """No network carries anything from one target's backward pass to another's."""
    try:
        lm = tiny_model(name)
    except ValueError:
        return  # refused; the table of architectures says why
    ids = [5, 9, 13, 33, 21, 8, 40, 9, 17]
    several = attribute_candidates(lm, ids, [25, 30, 11, 12], method=GradientTimesInput())
    torch.set_num_threads(1)
    each = [attribute(lm, ids, target, GradientTimesInput()) for target in (25, 30, 11, 12)]
    torch.set_num_threads(2)
    rounding = 0.0 if lm.language_model_head.dtype == torch.float64 else 8 * torch.finfo(torch.float32).eps
    for one, other in zip(several, each, strict=True):
        log_p = abs(math.log(other.target.probability))  # its rounding is larger than scores of almost nothing
        atol = 1e-4 * float(abs(other.scores).max()) + rounding * log_p
        torch.testing.assert_close(one.scores, other.scores, rtol=0, atol=atol)
