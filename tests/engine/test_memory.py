"""Memory: what a point needs is known beforehand, what runs at once fits, and running out changes no result."""

import json
import os
import subprocess
import sys
import warnings
import weakref
from pathlib import Path

import pytest
import torch
import transformers
from torch import nn

from interpret import (
    Failure,
    GradientTimesInput,
    IntegratedGradients,
    MemoryShortageWarning,
    SmoothGrad,
    attribute,
    attribute_continuation,
    attribute_many,
    default_method,
)
from interpret.engine.evaluate import gradients, values
from interpret.engine.memory import available
from interpret.engine.memory.available import limits_of_groups
from interpret.engine.memory.policy import Memory
from interpret.engine.memory.profile import (
    AllocationTracker,
    MemoryProfile,
    memory_profile,
    text_like,
)
from interpret.engine.objective import Objective
from interpret.engine.run import Run
from nexttoken import NextTokenLM
from tests.builders import Device, objective, t5
from tests.conftest import gpt2

ROOT = Path(__file__).parents[2]
TEXT = "The keys to the cabinet"


# What a point needs


def measured(lm, prompt, rows=1):
    """The peak of what is alive while gradients of a prompt are taken, counted at the prompt's own length."""
    f = objective(lm, prompt, 5, run=Run.of(batch_size=rows))
    points = f.x.expand(rows, -1, -1)
    with AllocationTracker([*lm.parameters(), *lm.buffers()]) as alive:
        gradients(f, points)
    return alive.peak


def test_what_is_alive_is_counted_to_the_byte():
    with AllocationTracker([]) as alive:
        first = torch.zeros(1000, dtype=torch.float64)
        view = first[10:]
        second = first + 1
        assert (alive.bytes, alive.peak) == (16000, 16000)
        del first
        assert alive.bytes == 16000
        del view
        assert (alive.bytes, alive.peak) == (8000, 16000)
    assert second.sum() == 1000


def test_what_is_there_already_is_not_counted():
    layer = nn.Linear(10, 10)
    with AllocationTracker(list(layer.parameters())) as alive:
        assert layer.weight.detach().T.shape == (10, 10)
        assert alive.peak == 0


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("length", [24, 48, 200, 400])
def test_the_need_is_what_is_counted_at_other_lengths(attention, length):
    """Never less, and at most twice as much: attention matrices, which grow with the square, are counted apart."""
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=50, n_positions=512, n_embd=16, n_layer=6, n_head=4, attn_implementation=attention
    )
    lm = NextTokenLM.from_pretrained(transformers.GPT2LMHeadModel(config).eval())
    ids = [5 + i % 40 for i in range(length)]
    each = memory_profile(lm, lm.prompt([5, 6, 7])).of_point(length)
    for rows in (1, 3):
        assert measured(lm, ids, rows) <= rows * each <= 2 * measured(lm, ids, rows)


def test_the_need_of_an_encoder_decoder_and_of_a_composed_model(lstm_lm):
    lm = NextTokenLM.from_pretrained(t5())
    prompt = lm.prompt(([5, 9, 13, 33] * 8, [7, 11] * 8))
    assert measured(lm, prompt) <= memory_profile(lm, prompt).of_point(len(prompt)) <= 2 * measured(lm, prompt)
    prompt = lstm_lm.prompt("abcde" * 20)
    assert measured(lstm_lm, prompt) <= memory_profile(lstm_lm, prompt).of_point(100) <= 2 * measured(lstm_lm, prompt)


def test_the_need_is_measured_once_for_each_precision(tokenizer, monkeypatch):
    lm = NextTokenLM.from_pretrained(gpt2(torch.float32), tokenizer)
    single = memory_profile(lm, lm.prompt(TEXT))
    assert memory_profile(lm, lm.prompt("are we?")) is single
    lm.double()
    assert memory_profile(lm, lm.prompt(TEXT)).of_point(20) == pytest.approx(2 * single.of_point(20), rel=0.1)


def test_places_cost_rows_of_the_vocabulary():
    each = MemoryProfile(token=1000.0, pair=10.0, position=500.0)
    assert each.of_point(10, 3) == 10 * 1000 + 10 * 100 + 3 * 500
    assert each.longest(each.of_point(10), 100) == 10
    assert each.longest(each.of_point(10) - 1, 100) == 9
    assert each.longest(1, 100) == 0


# What runs at once


@pytest.fixture
def sizes(tiny, monkeypatch):
    """The numbers of rows that the network is run on with a gradient."""
    seen = []
    own = type(tiny).next_tokens

    def next_tokens(self, embeddings, *args, **options):
        if embeddings.requires_grad:
            seen.append(len(embeddings))
        return own(self, embeddings, *args, **options)

    prompt = tiny.prompt(TEXT)
    memory_profile(tiny, prompt, tiny.checkpointable_layers(text_like(tiny, prompt, 5)))
    monkeypatch.setattr(type(tiny), "next_tokens", next_tokens)
    return seen


def test_what_runs_at_once_fits_the_budget(tiny, sizes):
    prompt = tiny.prompt(TEXT)
    each = memory_profile(tiny, prompt).of_point(len(prompt))
    whole = attribute(tiny, TEXT, 69, IntegratedGradients(steps=20)).scores
    for fits in (1, 3, 5):
        sizes.clear()
        found = attribute(tiny, TEXT, 69, IntegratedGradients(steps=20), memory_budget=fits * each + each // 2)
        assert max(sizes) == fits
        torch.testing.assert_close(found.scores, whole, rtol=1e-12, atol=1e-12)


def test_half_of_what_is_free_is_the_default(tiny, sizes, monkeypatch):
    prompt = tiny.prompt(TEXT)
    each = memory_profile(tiny, prompt).of_point(len(prompt))
    monkeypatch.setattr(available, "available_on", lambda device: 4 * each + 8)
    attribute(tiny, TEXT, 69, IntegratedGradients(steps=20))
    assert max(sizes) == 2


def test_the_callers_chunk_size_wins(tiny, sizes):
    prompt = tiny.prompt(TEXT)
    budget = memory_profile(tiny, prompt).of_point(len(prompt))
    attribute(tiny, TEXT, 69, IntegratedGradients(steps=20), batch_size=7, memory_budget=budget)
    assert max(sizes) == 7


def test_prompts_that_run_together_fit_the_budget(tiny, sizes):
    prompts = ["The dog", "The cat", "The key"] * 4
    each = memory_profile(tiny, tiny.prompt("The dog")).of_point(len(tiny.prompt("The dog")))
    assert not any(
        isinstance(found, Failure)
        for found in attribute_many(tiny, prompts, method=GradientTimesInput(), memory_budget=5 * each)
    )
    assert sizes
    assert max(sizes) <= 5


def test_a_prompt_that_cannot_fit_is_an_error_before_any_work(tiny, sizes):
    default_method(tiny)  # which tries a model once, at two tokens
    sizes.clear()
    prompt = tiny.prompt(TEXT)
    budget = memory_profile(tiny, prompt).of_point(4)
    words = rf"a prompt of {len(prompt)} tokens needs about .* GB .* memory_budget is .* GB; 4 tokens would fit"
    for ask in (attribute, attribute_continuation):
        with pytest.raises(ValueError, match=words):
            ask(tiny, TEXT, [69], memory_budget=budget)
    with pytest.raises(ValueError, match="not even one token would fit"):
        attribute(tiny, TEXT, 69, memory_budget=1)
    with pytest.raises(ValueError, match="memory_budget is 0; it is a number of bytes"):
        attribute(tiny, TEXT, 69, memory_budget=0)
    assert sizes == []
    found = list(attribute_many(tiny, ["The", TEXT], [69, 69], GradientTimesInput(), memory_budget=budget))
    assert [isinstance(each, Failure) for each in found] == [False, True]


@pytest.mark.filterwarnings("ignore::interpret.ConvergenceWarning")
def test_integrated_gradients_take_no_more_for_more_steps(tiny):
    def peak(steps):
        method = IntegratedGradients(steps=steps)
        with AllocationTracker([*tiny.parameters(), *tiny.buffers()]) as alive:
            attribute(tiny, TEXT, 69, method, batch_size=2)
        return alive.peak

    points = 200 * tiny.embed(tiny.tokens(tiny.prompt(TEXT))).nbytes
    assert peak(300) - peak(100) < 0.05 * points


# Running out


ERRORS = [
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes."),
    RuntimeError("could not create a primitive"),
    torch.OutOfMemoryError("CUDA out of memory."),
    MemoryError(),
]


@pytest.mark.parametrize("error", ERRORS, ids=repr)
@pytest.mark.parametrize("method", [IntegratedGradients(max_gradients=40), SmoothGrad(samples=12)], ids=repr)
@pytest.mark.filterwarnings("ignore::interpret.ConvergenceWarning")
def test_running_out_halves_the_chunk_and_changes_nothing(tiny, method, error, monkeypatch, untouched):
    expected = attribute(tiny, TEXT, 69, method)
    device = Device(tiny, monkeypatch, points=3, error=error)
    with untouched(tiny), pytest.warns(MemoryShortageWarning, match="ran out of memory with 12 points at once") as said:
        found = attribute(tiny, TEXT, 69, method, batch_size=12)
    assert len([each for each in said if each.category is MemoryShortageWarning]) == 1
    assert device.refused == 2  # 12, 6, and 3 from then on
    torch.testing.assert_close(found.scores, expected.scores, rtol=1e-12, atol=1e-12)
    assert found.gradients_spent == expected.gradients_spent


def test_a_continuation_says_so_once(tiny, monkeypatch):
    expected = attribute_continuation(tiny, TEXT, " are the dogs near", IntegratedGradients(steps=8))
    monkeypatch.setattr("interpret.explain.TARGETS_PER_PASS", 2)
    device = Device(tiny, monkeypatch, points=2)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", MemoryShortageWarning)
        found = attribute_continuation(tiny, TEXT, " are the dogs near", IntegratedGradients(steps=8), batch_size=8)
    assert [each.category for each in said].count(MemoryShortageWarning) == 1
    assert device.refused == 2
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.scores, other.scores, rtol=1e-12, atol=1e-12)


def test_prompts_that_do_not_fit_together_run_alone(tiny, monkeypatch):
    prompts = ["The dog", "The cat", "The key"]
    expected = [attribute(tiny, prompt, 69, GradientTimesInput()).scores for prompt in prompts]
    Device(tiny, monkeypatch, points=1)
    with pytest.warns(MemoryShortageWarning):
        found = list(attribute_many(tiny, prompts, [69] * 3, GradientTimesInput()))
    for each, scores in zip(found, expected, strict=True):
        torch.testing.assert_close(each.scores, scores, rtol=1e-9, atol=1e-12)


def test_not_even_one_point_is_an_error(tiny, monkeypatch):
    Device(tiny, monkeypatch, points=0)
    with (
        pytest.warns(MemoryShortageWarning),
        pytest.raises(MemoryError, match=r"ran out of memory with 1 x \d+ tokens"),
    ):
        attribute(tiny, TEXT, 69, IntegratedGradients(steps=4))


def test_other_errors_are_not_taken_for_it():
    def broken(points):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    f = Objective(broken, torch.zeros(2, 3))
    for ask in (gradients, values):
        with pytest.raises(RuntimeError, match="mat1 and mat2"):
            ask(f, torch.zeros(4, 2, 3))


def test_what_an_attempt_took_is_free_before_the_next():
    """The graph of a chunk that failed half-way does not live on in the error's traceback."""
    graphs = []

    def fails_once(points):
        squares = points.requires_grad_(True).square()
        graphs.append(weakref.ref(squares))
        if len(points) > 1:
            raise MemoryError
        assert graphs[0]() is None
        return squares.detach()

    with pytest.warns(MemoryShortageWarning):
        results = list(Memory().in_batches(lambda some: fails_once(some.clone()), torch.ones(2, 3, 1), 3))
    assert torch.equal(torch.cat(results), torch.ones(2, 3, 1))
    assert len(graphs) == 3


# What is free


@pytest.mark.parametrize("version", [1, 2])
def test_the_limits_of_control_groups_are_read(tmp_path, version):
    top = tmp_path / "sys/fs/cgroup" / ("memory" if version == 1 else "")
    limit, usage = (
        ("memory.limit_in_bytes", "memory.usage_in_bytes") if version == 1 else ("memory.max", "memory.current")
    )
    inner = top / "outer/inner"
    inner.mkdir(parents=True)
    listed = tmp_path / "proc/self"
    listed.mkdir(parents=True)
    listed.joinpath("cgroup").write_text("4:cpu:/a\n3:memory:/outer/inner\n" if version == 1 else "0::/outer/inner\n")
    for folder, most, used, files in ((inner, "1000", 700, 50), (inner.parent, "5000", 1000, 0)):
        (folder / limit).write_text(f"{most}\n")
        (folder / usage).write_text(f"{used}\n")
        (folder / "memory.stat").write_text(f"anon 5\ninactive_file {files}\n")
    assert sorted(limits_of_groups(tmp_path)) == [350, 4000]
    if version == 2:
        (inner / limit).write_text("max\n")
        assert list(limits_of_groups(tmp_path)) == [4000]
    assert list(limits_of_groups(tmp_path / "nothing")) == []


# Real limits

CHILD = """
import json, resource, sys, warnings
from interpret import IntegratedGradients, attribute
from nexttoken import NextTokenLM

MEGA, NO_LIMIT = 10**6, resource.RLIM_INFINITY
TEXT = "When Mary and John went to the store, John gave a drink to Mary. " * 4


def within(room, text, steps=4, **options):
    used = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmSize"))
    resource.setrlimit(resource.RLIMIT_AS, (used + room * MEGA if room else NO_LIMIT, NO_LIMIT))
    counts, result = [], {}
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            method = IntegratedGradients(steps=steps, fixed=None)
            result["scores"] = attribute(lm, text, " The", method, on_progress=counts.append, **options).scores.tolist()
        except (ValueError, MemoryError) as error:
            result["error"] = f"{type(error).__name__}: {error}"
    resource.setrlimit(resource.RLIMIT_AS, (NO_LIMIT, NO_LIMIT))
    return result | {"counts": counts, "said": [each.category.__name__ for each in said]}


lm = NextTokenLM.from_pretrained()
within(None, "The dog")
print(json.dumps({
    "chunk too large": within(150, TEXT, 16, batch_size=16),
    "prompt too long": within(150, TEXT * 16),
    "layers run twice": within(400, TEXT * 8),
    "by default": within(300, TEXT, 16),
    "no limit": within(None, TEXT, 16),
}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps to a limit of the address space")
def test_real_limits(bundled):
    """In a process whose address space is limited to that of the loaded model and some MB; a point needs 60 to 70.

    What the allocator has kept from before serves as well, another 100 MB at times: 16 points do not fit even so.
    """
    environment = os.environ | {"OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", CHILD], capture_output=True, text=True, check=False, cwd=ROOT, env=environment
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    shortages = {name: each["said"].count("MemoryShortageWarning") for name, each in found.items()}
    assert shortages == {
        "chunk too large": 1,
        "prompt too long": 0,
        "layers run twice": 0,
        "by default": 0,
        "no limit": 0,
    }
    assert max(found["chunk too large"]["counts"]) < 16
    assert [sum(each["counts"]) for each in found.values()] == [16, 0, 4, 16, 16]
    assert found["prompt too long"]["error"].startswith("ValueError: a prompt of ")
    assert "tokens would fit" in found["prompt too long"]["error"]
    expected = torch.tensor(found["no limit"]["scores"])
    for name in ("chunk too large", "by default"):
        difference = torch.tensor(found[name]["scores"]) - expected
        assert float(difference.abs().max() / expected.abs().max()) <= 1e-4
