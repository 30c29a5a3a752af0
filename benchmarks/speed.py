"""Speed and memory beside captum, inseq and interpreto, against the targets; `make bench` runs all of it.

Each measurement can be run alone, by its name, and appends a line to benchmarks/results/speed.jsonl; the table and the
figures beside it show the last line of each. It needs the environment that `make peers` makes, and about an hour.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from numpy import ndarray
from torch import Tensor

from benchmarks.measuring import Size, gemm_peak, in_turns, seconds
from benchmarks.memory import peak
from benchmarks.peers import GRADIENT_X_INPUT, INTEGRATED_GRADIENTS, SCORES_LIKE_OURS, Peers
from benchmarks.prompts import PROMPTS
from benchmarks.report import Line, Row, at_least, at_most, latest, share, times, write
from benchmarks.texts import Text, mixed, text_of
from interpret import (
    Attribution,
    GradientTimesInput,
    IntegratedGradients,
    Token,
    VanillaGradient,
    attribute,
    attribute_candidates,
    attribute_continuation,
    attribute_many,
)
from interpret.engine.evaluate import gradients
from interpret.engine.memory.policy import TOKENS_PER_BATCH
from interpret.engine.objective import Objective
from nexttoken import NextTokenLM, Target

Scores = Tensor | ndarray  # a peer's, or ours
FOLDER = Path(__file__).parent / "results"
LIBRARIES = ("captum", "inseq", "interpreto")
EQUAL = 1e-4  # of the largest score: what float32 lets two ways to compute the same thing differ by
AT_ONCE = (128, 256, 512)  # rows of tokens that the peers' batch sizes are tuned over
MEMORY_BUDGET = 10**9  # bytes
PROMPT_OF_14_TOKENS = PROMPTS["short"][0]


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes:
        rounds: of each comparison.
        long_rounds: of those where one run takes more than a minute.
        lengths: of the prompts for single gradients.
        map_lengths: of the prompts for the default method.
        map_rounds: of its comparison with paths.
        steps: of the path.
        long: the length at which peak memory is measured.
        gemm: the length at which a gradient is compared with the peak of matrix multiplications.
        prompt: tokens before a continuation, or before candidates.
        continuation: tokens of it.
        middle: how many of them, in the middle, integrated gradients explain.
        middle_steps: of the path of each.
        candidates: how many.
        context: tokens before a region.
        region: tokens of it.
        many: prompts of a data set.
        tuning: of these, for the peer's best batch size.
        kinds: how many prompts of each kind stand for all.
        work: rows of tokens that growth with the length is measured over.
        memory_steps: of the path whose peak memory is measured; it does not depend on them (`growth`).
    """

    rounds: int = 5
    long_rounds: int = 2
    lengths: tuple[int, ...] = (16, 64, 128, 512)
    map_lengths: tuple[int, ...] = (16, 128)
    map_rounds: int = 3
    steps: int = 50
    long: int = 512
    gemm: int = 128
    prompt: int = 64
    continuation: int = 64
    middle: int = 8
    middle_steps: int = 20
    candidates: int = 10
    context: int = 1024
    region: int = 32
    many: int = 500
    tuning: int = 64
    kinds: int = 12
    work: int = 1024
    memory_steps: int = 15


QUICK = Plan(
    rounds=1, long_rounds=1, lengths=(8, 16), map_lengths=(8,), map_rounds=1, steps=4, long=16,
    gemm=16, prompt=12, continuation=6,
    middle=2, middle_steps=2, candidates=3, context=48, region=8, many=12, tuning=6, kinds=1, work=32, memory_steps=4,
)  # fmt: skip


@dataclass
class Bench:
    """What measurements share: the model, and a copy of it for the peers."""

    plan: Plan
    threads: int

    @cached_property
    def lm(self) -> NextTokenLM:
        lm = NextTokenLM.from_pretrained()
        attribute(lm, PROMPT_OF_14_TOKENS, None, GradientTimesInput())  # the first passes are slow
        return lm

    @cached_property
    def peers(self) -> Peers:
        return Peers(self.lm)

    @property
    def exact(self) -> NextTokenLM:
        """The model in float64."""
        return self.lm.in_precision(torch.float64)


def path(steps: int) -> IntegratedGradients:
    """Integrated gradients as captum and inseq have them."""
    return IntegratedGradients(steps=steps, rule="gauss-legendre", baseline=Token(0), fixed=None)


def difference(ours: Scores, theirs: Scores) -> float:
    """The largest difference between two scores of the same thing, over the largest score."""
    ours, theirs = torch.as_tensor(ours), torch.as_tensor(theirs)
    if ours.shape != theirs.shape:
        raise AssertionError(f"{len(ours)} scores are to equal {len(theirs)}: this is not the same work")
    return float((ours.double() - theirs.double()).abs().max() / theirs.abs().max())


def equality(pairs: Sequence[tuple[Scores, Scores]], exact: Callable[[int], Scores] | None = None) -> tuple[str, bool]:
    """A note on how equal our scores and a peer's are, and whether they are equal enough.

    Where they differ by more than rounding should, the scores in float64 of that number judge, if given: ours have to
    be equal to them.
    """
    apart = [difference(*pair) for pair in pairs]
    unequal = [number for number, each in enumerate(apart) if each > EQUAL]
    if not unequal:
        return f"scores equal to {max(apart):.0e}", True
    equal = len(apart) - len(unequal)
    note = f"SCORES DIFFER by {max(apart):.0e} of the largest; {equal} of {len(apart)} are equal to {EQUAL:.0e}"
    if exact is None:
        return note, False
    true = {number: exact(number) for number in unequal}
    ours, theirs = (max(difference(pairs[number][side], true[number]) for number in unequal) for side in (0, 1))
    note += f"; from float64, ours are off by {ours:.0e} there and the peer's by {theirs:.0e}"
    return note, ours <= EQUAL


def batches(tokens: int) -> list[int]:
    """The batch sizes that a peer is tuned over: numbers of points of a length."""
    return sorted({max(1, rows // tokens) for rows in AT_ONCE})


def tuned(bench: Bench, text: Text) -> dict[str, tuple[int, float]]:
    """Each peer's best batch size for paths on a text, and its seconds a gradient with it."""
    sizes = batches(len(text.ids))
    steps = max(sizes)
    found = {}
    for library in LIBRARIES:
        runs = {str(size): bench.peers.path(library, text, steps, size) for size in sizes}
        best, timing = min(in_turns(runs, 1).items(), key=lambda each: each[1].median)
        found[library] = (int(best), timing.median / steps)
    return found


def point(bench: Bench) -> Line:
    """One gradient in integrated gradients of many steps, at several lengths, beside the fastest peer."""
    plan, rows = bench.plan, []
    curves: dict[str, dict[int, float]] = {name: {} for name in ("ours", *LIBRARIES, "captum, last logits")}
    raw: dict[str, Any] = {}
    gemm = gemm_peak(bench.lm, plan.gemm)
    for length in plan.lengths:
        text = text_of(bench.lm, length)
        peers = tuned(bench, text)
        fastest = min(peers, key=lambda library: peers[library][1])
        size, steps = peers[fastest][0], plan.steps
        contenders: dict[str, Callable[[], Any]] = {
            "ours": lambda text=text, steps=steps: attribute(bench.lm, text.ids, text.target_ids[0], path(steps)),
            fastest: bench.peers.path(fastest, text, steps, size),
        }
        timings = in_turns(contenders, plan.rounds)
        few = max(batches(length))
        settings = (text.ids, text.target_ids[0], few, peers["captum"][0], None, False)
        hand_made = in_turns({"captum": lambda settings=settings: bench.peers.captum_path(*settings)}, 1)
        knowing = hand_made["captum"].median / few
        curves["captum, last logits"][length] = knowing
        for library, (_, each) in peers.items():
            curves[library][length] = each
        for name, timing in timings.items():
            curves[name][length] = timing.median / steps
        raw[str(length)] = {"seconds": seconds(timings), "batch sizes": peers}
        note = f"{fastest}, {size} at once, is the fastest peer; {len(timings['ours'].seconds)} rounds"
        equal = True
        if fastest in SCORES_LIKE_OURS:
            compared, equal = equality([(timings["ours"].result.scores, timings[fastest].result)])
            note += f"; {compared}"
        ours, theirs = curves["ours"][length], curves[fastest][length]
        rows.append(share(f"one gradient of {steps}, L = {length}", ours, theirs, "s", at_most(0.75), note, equal))
        rows.append(share(
            f"the same, captum's caller asking for the last logits only, L = {length}", ours, knowing, "s",
            note="what a caller can do by hand where the model takes logits_to_keep; one round of few steps",
        ))  # fmt: skip
    rate = Size.of(bench.lm).matrices(plan.gemm) / curves["ours"][plan.gemm]
    what = f"rate of 4PL operations in it, L = {plan.gemm}"
    note = "the peer is the best rate of a product in this run, of the model's own shapes and squares"
    rows.append(share(what, rate, gemm, "GFLOP/s", at_least(0.8), note))
    shown = {name: {str(length): each for length, each in curve.items()} for name, curve in curves.items()}
    return Line("point", tuple(rows), {"seconds": shown, "raw": raw})


def default(bench: Bench) -> Line:
    """The default method, without and with its check, beside integrated gradients of 50 steps in every peer."""
    plan, rows, raw = bench.plan, [], {}
    for length in plan.map_lengths:
        text = text_of(bench.lm, length)
        asked = (bench.lm, text.ids, text.target_ids[0])
        contenders: dict[str, Callable[[], Any]] = {
            "ours": lambda asked=asked: attribute(*asked),
            "checked": lambda asked=asked: attribute(*asked, check=True),
            "gradient x input": lambda asked=asked: attribute(*asked, GradientTimesInput()),
        }
        for library, (size, _) in tuned(bench, text).items():
            contenders[library] = bench.peers.path(library, text, plan.steps, size)
        timings = in_turns(contenders, plan.map_rounds)
        ours = timings["ours"].median
        for library in LIBRARIES:
            theirs, note = timings[library].median, "different work: one gradient against a path"
            rows.append(
                times(f"the default and {library}'s {plan.steps} steps, L = {length}", ours, theirs, "s", note=note)
            )
        for name, what in (("checked", "the same with its check"), ("gradient x input", "our gradient x input")):
            rows.append(share(f"the default and {what}, L = {length}", ours, timings[name].median, "s"))
        raw[str(length)] = seconds(timings)
    return Line("default", tuple(rows), raw)


def certified(bench: Bench) -> Line:
    """Certified integrated gradients, beside captum's 50 fixed steps, on the benchmark's prompts."""
    lm, ours, theirs, missed, gaps = bench.lm, [], [], [], []
    for prompts in PROMPTS.values():
        for prompt in prompts[: bench.plan.kinds]:
            ids = lm.prompt(prompt).ids
            target = lm.predict(prompt, 1)[0].id
            settings = (ids, target, bench.plan.steps, batches(len(ids))[0])
            contenders: dict[str, Callable[[], Any]] = {
                "ours": lambda prompt=prompt: attribute(lm, prompt, None, IntegratedGradients()),
                "captum": lambda settings=settings: bench.peers.captum_path(*settings),
            }
            timings = in_turns(contenders, 1)
            answer = timings["ours"].result
            ours.append(timings["ours"].median)
            theirs.append(timings["captum"].median)
            missed.append(answer.completeness.relative(answer.completeness.largest_gap))
            gaps.append(bench.peers.captum_gap(ids, target, timings["captum"].result))
    note = (
        f"certified gap {spread(missed)}; captum misses {spread(gaps)} (median, worst of {len(ours)}); "
        "captum begins at token 0 and moves every token, each prompt once"
    )
    medians = statistics.median(ours), statistics.median(theirs)
    row = share(f"certified IG (5 %) and captum's {bench.plan.steps} steps", *medians, "s", at_most(1), note)
    return Line("certified", (row,), {"ours": ours, "captum": theirs, "certified gaps": missed, "captum's gaps": gaps})


def spread(shares: Sequence[float]) -> str:
    return f"{statistics.median(shares):.1%}, {max(shares):.0%}"


def continuation(bench: Bench) -> Line:
    """Every token of a continuation by all that stands before it."""
    plan, lm = bench.plan, bench.lm
    text = text_of(lm, plan.prompt, plan.continuation)
    ids, targets = list(text.ids), list(text.target_ids)
    runs = {library: bench.peers.continuation(library, text, GRADIENT_X_INPUT) for library in LIBRARIES}
    first = in_turns(runs, 1)
    fastest = min(SCORES_LIKE_OURS, key=lambda library: first[library].median)
    timings = in_turns({
        "ours": lambda: attribute_continuation(lm, ids, targets, GradientTimesInput()), fastest: runs[fastest],
    }, plan.rounds)  # fmt: skip
    matrix = timings["ours"].result.attributions
    pairs = [
        (row.scores[: len(each)], each)
        for library in SCORES_LIKE_OURS
        for row, each in zip(matrix, first[library].result, strict=True)
    ]
    compared, equal = equality(pairs)
    what = f"{plan.continuation} targets after {plan.prompt} tokens"
    ours = timings["ours"].median
    rows = [times(
        f"{what}, gradient x input", ours, timings[fastest].median, "s", at_least(2.5),
        f"beside {fastest}; {compared} (captum and inseq; captum scores the prompt only)", equal,
    ), times(
        "the same beside interpreto", ours, first["interpreto"].median, "s",
        note="one round; it explains logits by magnitudes: the same number of passes, other scores",
    )]  # fmt: skip
    path_row, path_seconds = continuation_path(bench, text)
    raw = {"once": seconds(first), "gradient x input": seconds(timings), "integrated gradients": path_seconds}
    return Line("continuation", (*rows, path_row), raw)


def continuation_path(bench: Bench, text: Text) -> tuple[Row, dict[str, list[float]]]:
    """Integrated gradients for the targets in the middle of a continuation: the whole takes a peer ten minutes."""
    plan, lm = bench.plan, bench.lm
    begin = (plan.continuation - plan.middle) // 2
    every = [*text.ids, *text.target_ids]
    start = plan.prompt + begin
    ids, targets = every[:start], every[start : start + plan.middle]
    middle = Text(lm.vocab.decode(ids), tuple(ids), lm.vocab.decode(targets), tuple(targets))
    size = batches(start)[0]
    settings = {"n_steps": plan.middle_steps, "internal_batch_size": size}
    timings = in_turns({
        "ours": lambda: attribute_continuation(lm, ids, targets, path(plan.middle_steps)),
        **{each: bench.peers.continuation(each, middle, INTEGRATED_GRADIENTS, **settings) for each in SCORES_LIKE_OURS},
    }, 1)  # fmt: skip
    fastest = min(SCORES_LIKE_OURS, key=lambda library: timings[library].median)
    matrix = timings["ours"].result.attributions
    pairs = [(row.scores, each) for row, each in zip(matrix, timings["inseq"].result, strict=True)]

    def exact(number: int) -> Scores:
        method = path(plan.middle_steps)
        return attribute(bench.exact, [*ids, *targets[:number]], targets[number], method).scores

    compared, equal = equality(pairs, exact)
    note = f"{compared} (inseq; captum moves the prompt only, another path)"
    return times(
        f"the middle {plan.middle} of them, IG with {plan.middle_steps} steps", timings["ours"].median,
        timings[fastest].median, "s", at_least(1.7), f"beside {fastest}, {size} at once; {note}; one round", equal,
    ), seconds(timings)  # fmt: skip


def candidates(bench: Bench) -> Line:
    """The likeliest next tokens together, beside one of them."""
    plan, rows, raw = bench.plan, [], {}
    prompt = text_of(bench.lm, plan.prompt).ids
    for method in (GradientTimesInput(), path(plan.middle_steps)):
        timings = in_turns({
            "one": lambda method=method: attribute(bench.lm, prompt, None, method),
            "all": lambda method=method: attribute_candidates(bench.lm, prompt, plan.candidates, method),
        }, plan.rounds)  # fmt: skip
        what = f"top {plan.candidates} candidates after {plan.prompt} tokens, {method!r}"
        first = timings["all"].result.attributions[0].scores
        compared, equal = equality([(first, timings["one"].result.scores)])
        both = timings["all"].median, timings["one"].median
        rows.append(share(what, *both, "s", at_most(4), f"the peer is ours for one; {compared}", equal))
        raw[repr(method)] = seconds(timings)
    return Line("candidates", tuple(rows), raw)


def region(bench: Bench) -> Line:
    """A region at the end of a long context, beside the same path computed over all tokens."""
    plan, lm = bench.plan, bench.lm
    text = text_of(lm, plan.context, plan.region)
    ids, whole = text.ids + text.target_ids, len(text.prompt) + len(text.target)
    target = lm.predict(ids, 1)[0].id
    moving = range(plan.context, plan.context + plan.region)

    def ours(lm: NextTokenLM, steps: int) -> Attribution:
        return attribute(lm, ids, target, path(steps), region=(len(text.prompt), whole))

    few = max(1, plan.steps // 5)
    timings = in_turns({
        "ours": lambda: ours(lm, plan.steps),
        "captum": lambda: bench.peers.captum_path(ids, target, few, 1, moving),
    }, plan.long_rounds)  # fmt: skip
    theirs = timings["captum"].median * plan.steps / few
    what = f"the last {plan.region} of {len(ids)} tokens, IG with {plan.steps} steps"
    note = f"captum's path over all tokens, by {few} of the steps, each takes the same; {plan.long_rounds} rounds"
    exact = NextTokenLM.from_pretrained(dtype="float64")
    apart = {
        "float64": difference(ours(exact, 2).scores, Peers(exact).captum_path(ids, target, 2, 1, moving)),
        "float32": difference(ours(lm, few).scores, timings["captum"].result),
    }
    in_float32 = f"in float64, where rounding does not count; {apart['float32']:.0e} in float32"
    rows = (
        times(what, timings["ours"].median, theirs, "s", at_least(10), note),
        Row("the same: scores", figure=apart["float64"], meaning="largest difference / largest score",
            target=at_most(1e-5), note=in_float32),
    )  # fmt: skip
    return Line("region", rows, {**seconds(timings), "differences": apart})


def many(bench: Bench) -> Line:
    """Many prompts of mixed length, gradient x input for the model's first choice."""
    prompts = mixed(bench.plan.many)
    some = prompts[: bench.plan.tuning]
    sizes = in_turns({str(size): lambda size=size: bench.peers.inseq_many(some, size) for size in (1, 4, 8, 16)}, 1)
    best = int(min(sizes, key=lambda size: sizes[size].median))
    timings = in_turns({
        "ours": lambda: list(attribute_many(bench.lm, prompts, None, GradientTimesInput(), progress=False)),
        "inseq": lambda: bench.peers.inseq_many(prompts, best),
    }, bench.plan.long_rounds)  # fmt: skip
    answers = dict(zip(prompts, timings["ours"].result, strict=True))
    theirs = timings["inseq"].result
    alike = [prompt for prompt, each in answers.items() if len(each.scores) == len(theirs[prompt])]

    def exact(number: int) -> Scores:
        return attribute(bench.exact, alike[number], None, GradientTimesInput()).scores

    compared, equal = equality([(answers[prompt].scores, theirs[prompt]) for prompt in alike], exact)
    if len(alike) < len(answers):
        compared += f"; {len(answers) - len(alike)} prompts are not compared, inseq gives other tokens there"
    note = (
        f"inseq at its best batch size, {best}, with prompts sorted by length and its own generation of the target; "
        f"{bench.plan.long_rounds} rounds; {compared}"
    )
    medians = timings["ours"].median, timings["inseq"].median
    what = f"{len(prompts)} prompts of mixed length, gradient x input"
    row = times(what, *medians, "s", at_least(2), note, equal)
    return Line("many", (row,), {"tuning": seconds(sizes), "seconds": seconds(timings)})


def bfloat16(bench: Bench) -> Line:
    """bfloat16 beside float32: its speed, and what it does to scores."""
    plan, lm = bench.plan, bench.lm
    text = text_of(lm, plan.gemm)
    timings = in_turns({
        each: lambda each=each: attribute(lm, text.ids, text.target_ids[0], path(plan.steps), precision=each)
        for each in ("bfloat16", "float32")
    }, plan.rounds)  # fmt: skip
    rows = [times(f"bfloat16 and our float32, one gradient of {plan.steps}, L = {plan.gemm}",
                  timings["bfloat16"].median / plan.steps, timings["float32"].median / plan.steps, "s",
                  at_least(2.2))]  # fmt: skip
    peaks = {dtype: gemm_peak(lm.in_precision(dtype), TOKENS_PER_BATCH) for dtype in (torch.bfloat16, torch.float32)}
    rows.append(Row("best rate of a product in bfloat16 and in float32", peaks[torch.bfloat16], peaks[torch.float32],
                    "GFLOP/s", peaks[torch.bfloat16] / peaks[torch.float32], "times",
                    note="what matrix products alone could gain in this run"))  # fmt: skip
    numbers: dict[str, Any] = {"seconds": seconds(timings)}
    apart: list[float] = []
    for method in (GradientTimesInput(), VanillaGradient(), IntegratedGradients(steps=plan.middle_steps)):
        ranks, errors = [], []
        for prompts in PROMPTS.values():
            for prompt in prompts[: plan.kinds]:
                exact = attribute(lm, prompt, None, method)
                assert exact.target is not None
                coarse = attribute(lm, prompt, exact.target.id, method, precision="bfloat16")
                moved = [piece for piece, fixed in enumerate(exact.fixed) if not fixed]
                ranks.append(rank_correlation(exact.scores[moved], coarse.scores[moved]))
                errors.append(difference(coarse.scores, exact.scores))
                if exact.completeness is not None and coarse.completeness is not None:
                    apart.append(abs(exact.completeness.value - coarse.completeness.value))
        note = (
            f"rank correlation {statistics.median(ranks):.4f}, worst {min(ranks):.3f}; "
            f"largest error over the largest score {spread(errors)} (median, worst of {len(ranks)} prompts)"
        )
        rows.append(Row(f"scores in bfloat16, {method!r}", note=note))
        numbers[repr(method)] = {"rank correlation": ranks, "largest error": errors}
    rows.append(Row("F at the prompt in a completeness of bfloat16", figure=max(apart), meaning="nats from float32",
                    target=at_most(1e-3), note="largest of all prompts: F is computed in float32"))  # fmt: skip
    return Line("bfloat16", tuple(rows), numbers)


def rank_correlation(one: Scores, other: Scores) -> float:
    """Spearman's: the correlation of the ranks of the scores; 1 for a single one."""
    if len(one) < 2:
        return 1.0
    ranks = torch.stack([torch.as_tensor(each).argsort().argsort().double() for each in (one, other)])
    return float(torch.corrcoef(ranks)[0, 1])


def memory(bench: Bench) -> Line:
    """Peak memory above the model's weights, each run in a process of its own."""
    plan = bench.plan
    size = (plan.long, plan.memory_steps, bench.threads)
    captum, ours = peak("captum", *size), peak("ours", *size)
    third = peak("ours", *size, memory_budget=int(captum["bytes"] / 3))
    what = f"peak memory above the weights, L = {plan.long}, {plan.memory_steps} steps"
    rows = [
        share(what, ours["bytes"], captum["bytes"], "MB", note="captum runs one point at once, its least"),
        share("seconds of the same", ours["seconds"], captum["seconds"], "s"),
        share("peak memory with memory_budget of a third of captum's", third["bytes"], captum["bytes"], "MB",
              at_most(1 / 3), "some layers run twice"),
        share("seconds of the same, with that budget", third["seconds"], captum["seconds"], "s", at_most(1)),
    ]  # fmt: skip
    within = peak("ours", *size, memory_budget=MEMORY_BUDGET)
    rows.append(Row(f"the same with memory_budget of {MEMORY_BUDGET / 1e6:.0f} MB", within["bytes"], MEMORY_BUDGET,
                    "MB", within["bytes"] / MEMORY_BUDGET, "of the budget", at_most(1)))  # fmt: skip
    bars = {"ours": ours["bytes"], "ours, within a third of captum's": third["bytes"], "captum": captum["bytes"]}
    return Line("memory", tuple(rows), {"bytes": bars, "seconds": [ours, third, captum]})


def growth(bench: Bench) -> Line:
    """Time against the operations that a gradient needs, and time and memory against the number of steps."""
    plan, lm = bench.plan, bench.lm
    size = Size.of(lm)
    runs: dict[str, Callable[[], Any]] = {}
    for length in plan.lengths:
        prompt = lm.prompt(text_of(lm, length).ids)
        objective = Objective.of(lm, prompt, Target.of(None, prompt, lm.vocab, torch.arange(lm_rows(lm)).float()))
        points = objective.x.expand(max(1, plan.work // length), -1, -1)
        runs[str(length)] = lambda objective=objective, points=points: gradients(objective, points)
    timings = in_turns(runs, plan.rounds)
    rates = {
        length: size.gradient(length) * max(1, plan.work // length) / timings[str(length)].median
        for length in plan.lengths
    }
    usual = statistics.geometric_mean(rates.values())
    off = max(abs(rate / usual - 1) for rate in rates.values())
    listed = ", ".join(f"{rate / 1e9:.0f} at {length}" for length, rate in rates.items())
    rows = [Row("growth with L: time and 4PL plus attention", figure=off, meaning="largest deviation",
                target=at_most(0.15), note=f"GFLOP/s: {listed}")]  # fmt: skip
    text = text_of(lm, plan.prompt)
    counts = [plan.steps // 2, plan.steps, 2 * plan.steps]
    paths = in_turns({
        str(count): lambda count=count: attribute(lm, text.ids, text.target_ids[0], path(count)) for count in counts
    }, plan.rounds)  # fmt: skip
    off = abs(paths[str(counts[-1])].median / paths[str(counts[0])].median / (counts[-1] / counts[0]) - 1)
    rows.append(Row(f"growth with steps: time of {counts[-1]} and {counts[0]}", paths[str(counts[-1])].median,
                    paths[str(counts[0])].median, "s", off, "from proportional", at_most(0.15)))  # fmt: skip
    peaks = {count: peak("ours", plan.gemm, count, bench.threads)["bytes"] for count in (counts[0], counts[-1])}
    rows.append(Row(f"growth with steps: memory of {counts[-1]} and {counts[0]}, L = {plan.gemm}", peaks[counts[-1]],
                    peaks[counts[0]], "MB", peaks[counts[-1]] / peaks[counts[0]], "times", at_most(1.15)))  # fmt: skip
    return Line("growth", tuple(rows), {"lengths": seconds(timings), "steps": seconds(paths), "bytes": peaks})


def lm_rows(lm: NextTokenLM) -> int:
    return lm.text_field_embedder.weight.shape[0]  # type: ignore[union-attr,return-value]


def start(bench: Bench) -> Line:
    """The command, as a whole process, with everything in the cache."""
    command = str(Path(sys.executable).with_name("nexttoken"))
    explain = [command, "explain", PROMPT_OF_14_TOKENS, "--method", "gradient-times-input", "--no-check"]
    imports = [sys.executable, "-c", "import torch; from transformers import LlamaForCausalLM, PreTrainedTokenizerFast"]
    runs = {"--help": [command, "--help"], "explain": explain, "imports": imports}
    in_turns({name: lambda run=run: execute(run, bench) for name, run in runs.items()}, 1)
    timings = in_turns({name: lambda run=run: execute(run, bench) for name, run in runs.items()}, bench.plan.rounds)
    help_seconds, explain_seconds, imports_seconds = (timings[name].median for name in runs)
    rows = (
        Row("nexttoken --help", help_seconds, None, "s", help_seconds, "s", at_most(0.4)),
        Row("nexttoken explain, 14 tokens, gradient", explain_seconds, None, "s", explain_seconds, "s", at_most(4)),
        Row(
            "of it, importing torch and the model's class",
            imports_seconds,
            None,
            "s",
            imports_seconds,
            "s",
            note="a Python process that does nothing else",
        ),
    )
    return Line("start", rows, seconds(timings))


def execute(command: Sequence[str], bench: Bench) -> None:
    """Run a command to its end. Raises CalledProcessError if it fails."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(bench.threads)}
    subprocess.run(command, env=environment, check=True, capture_output=True)


MEASUREMENTS: dict[str, Callable[[Bench], Line]] = {
    each.__name__: each
    for each in (start, default, point, certified, continuation, candidates, region, many, bfloat16, memory, growth)
}


def measure(name: str, bench: Bench) -> Line:
    """One measurement, or a row that says why it failed: the others go on."""
    try:
        return MEASUREMENTS[name](bench)
    except Exception as error:
        traceback.print_exc()
        reason = f"failed: {type(error).__name__}: {error}"
        return Line(name, (Row(name, target=at_most(0), note=" ".join(reason.split())),))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the measurements that are named, or all; then write the table. Returns 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"of a measurement: {', '.join(MEASUREMENTS)}")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that everything runs")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the results go")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.names) - set(MEASUREMENTS))
    if unknown:
        parser.error(f"there is no measurement {unknown[0]!r}; there are {', '.join(MEASUREMENTS)}")
    if options.quick and options.folder == FOLDER:
        parser.error("a quick run measures nothing worth keeping; give it a --folder of its own")
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    bench = Bench(QUICK if options.quick else Plan(), options.threads)
    settings = {"threads": options.threads, "rounds": bench.plan.rounds, "quick": options.quick}
    options.folder.mkdir(parents=True, exist_ok=True)
    kept = options.folder / "speed.jsonl"
    lines = [Line.from_json(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    for name in options.names or MEASUREMENTS:
        print(f"{name}: {MEASUREMENTS[name].__doc__}", flush=True)
        line = measure(name, bench)
        line.settings.update(settings)
        lines.append(line)
        with kept.open("a") as file:
            file.write(line.to_json() + "\n")
        for row in line.rows:
            print("  " + " | ".join(row.cells), flush=True)
        write(latest(lines, tuple(MEASUREMENTS)), options.folder)
    return int(any(row.reached is False for line in latest(lines, tuple(MEASUREMENTS)) for row in line.rows))


if __name__ == "__main__":
    sys.exit(main())
