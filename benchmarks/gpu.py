"""A GPU beside captum, in under ten minutes: `make gpu`. Without a GPU it runs in a reduced form, and says so.

First the tests, with whatever of them needs a GPU. Then networks in the shapes of known models with random weights,
since speed and memory do not depend on what the weights are: one gradient, integrated gradients with 50 steps, and up
to 16 targets, beside a gradient written by hand and captum's caller who asks for the last logits only; as ratios, and
as a share of the best rate of a product of matrices on this device. `--record FILE` keeps the table.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.measuring import Size, in_turns
from interpret import GradientTimesInput, IntegratedGradients, Token, attribute, attribute_candidates
from interpret.engine.memory.profile import memory_profile
from nexttoken import NextTokenLM

STEPS = 50
TARGETS = (2, 4, 8, 16)
TOKENS_AT_ONCE = (512, 2048, 8192)  # of points that run together
SHORT = 128  # tokens, up to which targets are measured, and paths more than once
SHARE_OF_MEMORY = 0.8  # of what is free, which a network and one gradient may take


@dataclass(frozen=True)
class Shape:
    """The shape of a known model.

    Attributes:
        name: what the table calls it.
        dtype: of its weights.
        settings: of its configuration, that of a Llama.
    """

    name: str
    dtype: torch.dtype
    settings: dict[str, Any]

    @property
    def parameters(self) -> int:
        width, layers, wide, vocabulary, heads, groups = (
            self.settings[name]
            for name in (
                "hidden_size", "num_hidden_layers", "intermediate_size", "vocab_size", "num_attention_heads",
                "num_key_value_heads",
            )
        )  # fmt: skip
        attention = 2 * width**2 + 2 * width**2 * groups // heads
        tables = 1 if self.settings.get("tie_word_embeddings") else 2
        return layers * (attention + 3 * width * wide) + tables * vocabulary * width


def shape(
    name: str,
    dtype: torch.dtype,
    width: int,
    layers: int,
    wide: int,
    heads: int,
    groups: int,
    vocabulary: int,
    tied: bool,
) -> Shape:
    """A shape by its numbers."""
    return Shape(
        name,
        dtype,
        {
            "hidden_size": width, "num_hidden_layers": layers, "intermediate_size": wide, "num_attention_heads": heads,
            "num_key_value_heads": groups, "vocab_size": vocabulary, "tie_word_embeddings": tied,
            "max_position_embeddings": 16384,
        },
    )  # fmt: skip


SHAPES = (
    shape("135M", torch.float32, 576, 30, 1536, 9, 3, 49152, True),
    shape("1B", torch.bfloat16, 2048, 16, 8192, 32, 8, 128256, True),
    shape("8B", torch.bfloat16, 4096, 32, 14336, 32, 8, 128256, False),
)
REDUCED = (shape("135M, 4 layers", torch.float32, 576, 4, 1536, 9, 3, 49152, True),)


def network_of(shape: Shape, device: torch.device) -> NextTokenLM:
    """A network of a shape with random weights, made on the device."""
    from transformers import LlamaConfig, LlamaForCausalLM

    before = torch.get_default_dtype()
    torch.set_default_dtype(shape.dtype)
    try:
        with torch.random.fork_rng(), device:
            torch.manual_seed(0)
            network = LlamaForCausalLM(LlamaConfig(**shape.settings)).eval().requires_grad_(False)
    finally:
        torch.set_default_dtype(before)
    return NextTokenLM.from_pretrained(network)


def wait(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def best_rate(device: torch.device, dtype: torch.dtype, side: int) -> float:
    """The best rate, in operations a second, of multiplying squares."""
    one, other = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    found = []
    for _ in range(6):
        wait(device)
        begun = time.perf_counter()
        _ = one @ other
        wait(device)
        found.append(2 * side**3 / (time.perf_counter() - begun))
    return statistics.median(found[1:])


def by_hand(lm: NextTokenLM, ids: list[int], target_id: int) -> Tensor:
    """One gradient, as one would write it in torch."""
    network: Any = lm.language_model_head
    x = network.get_input_embeddings()(torch.tensor([ids], device=lm.device)).detach().requires_grad_(True)
    logits = network(inputs_embeds=x, use_cache=False, logits_to_keep=1).logits[0, -1]
    gradient = torch.autograd.grad(logits.float().log_softmax(-1)[target_id], x)[0]
    wait(lm.device)
    return gradient


def captum_path(lm: NextTokenLM, ids: list[int], target_id: int, at_once: int) -> Tensor:
    """captum's integrated gradients from the embedding of token 0, its caller asking for the last logits only."""
    from captum.attr import IntegratedGradients as Captum

    network: Any = lm.language_model_head

    def log_probability(points: Tensor) -> Tensor:
        logits = network(inputs_embeds=points, use_cache=False, logits_to_keep=1).logits[:, -1]
        return logits.float().log_softmax(-1)[:, target_id]

    x, start = (
        network.get_input_embeddings()(torch.tensor([each], device=lm.device)) for each in (ids, [0] * len(ids))
    )
    scores = Captum(log_probability).attribute(x, start, n_steps=STEPS, internal_batch_size=at_once).sum(-1)[0]
    wait(lm.device)
    return scores


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


def gradient_rows(lm: NextTokenLM, name: str, ids: list[int], rounds: int, peak: float) -> Iterator[list[str]]:
    """One gradient and the default beside one by hand, and what share of the best rate it is."""
    target = 1
    contenders: dict[str, Callable[[], Any]] = {
        "by hand": lambda: by_hand(lm, ids, target),
        "gradient": lambda: attribute(lm, ids, target, GradientTimesInput()),
        "default": lambda: attribute(lm, ids, target),
    }
    for run in contenders.values():
        run()
    found = {each: timing.median for each, timing in in_turns(contenders, rounds).items()}
    rate = Size.of(lm).gradient(len(ids)) / found["gradient"]
    beside = {each: f"{found[each] / found['by hand']:.2f} by hand" for each in found}
    yield [name, "one gradient", milliseconds(found["gradient"]), beside["gradient"], f"{rate / peak:.0%} of the best"]
    yield [name, "the default", milliseconds(found["default"]), beside["default"], ""]


def path_rows(lm: NextTokenLM, name: str, ids: list[int], rounds: int, sizes: tuple[int, ...]) -> Iterator[list[str]]:
    """Integrated gradients, with some numbers of points at once, beside captum with the one that suits it best."""
    method = IntegratedGradients(steps=STEPS, baseline=Token(0), fixed=None, rule="gauss-legendre")
    many = sorted({min(STEPS, max(1, tokens // len(ids))) for tokens in sizes})

    def ours(at_once: int | None) -> Callable[[], Any]:
        return lambda: attribute(lm, ids, 1, method, batch_size=at_once)

    contenders = {"ours": ours(None)} | {f"ours, {each} at once": ours(each) for each in many}
    if find_spec("captum"):
        contenders |= {f"captum, {each} at once": (lambda each=each: captum_path(lm, ids, 1, each)) for each in many}
    for run in contenders.values():
        run()
    timings = in_turns(contenders, rounds)
    peers = {each: timing.median for each, timing in timings.items() if each.startswith("captum")}
    fastest = min(peers, key=lambda each: peers[each]) if peers else None
    for each, timing in timings.items():
        ratio = f"{timing.median / peers[fastest]:.2f} {fastest}" if fastest else "captum is not installed"
        yield [name, f"IG {STEPS}, {each}", f"{timing.median:.2f} s", ratio, ""]
    if fastest:
        scores, theirs = timings["ours"].result.scores, timings[fastest].result.double().cpu()
        difference = float((torch.from_numpy(scores) - theirs).abs().max() / theirs.abs().max())
        yield [name, "largest difference of scores", "", f"{difference:.1e} of the largest", ""]


def target_rows(lm: NextTokenLM, name: str, ids: list[int], rounds: int) -> Iterator[list[str]]:
    """Several targets of one prompt, over as many gradients."""
    contenders: dict[str, Callable[[], Any]] = {"one": lambda: attribute(lm, ids, 1, GradientTimesInput())}
    contenders |= {
        f"{count}": (lambda count=count: attribute_candidates(lm, ids, count, GradientTimesInput()))
        for count in TARGETS
    }
    for run in contenders.values():
        run()
    found = {each: timing.median for each, timing in in_turns(contenders, rounds).items()}
    for count in TARGETS:
        each = found[str(count)]
        yield [
            name,
            f"{count} targets",
            f"{each * 1000:.1f} ms",
            f"{each / count / found['one']:.2f} a gradient each",
            "",
        ]


def memory_row(lm: NextTokenLM, name: str, ids: list[int]) -> list[str]:
    """The estimate of what one gradient takes, beside what it took."""
    estimate = memory_profile(lm, lm.prompt(ids)).of_point(len(ids))
    if lm.device.type != "cuda":
        return [name, "memory of one gradient", f"{estimate / 1e9:.2f} GB estimated", "no GPU: not measured", ""]
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    attribute(lm, ids, 1, GradientTimesInput())
    taken = torch.cuda.max_memory_allocated() - before
    return [name, "memory of one gradient", f"{estimate / 1e9:.2f} GB estimated", f"{taken / 1e9:.2f} GB taken", ""]


def parts(lm: NextTokenLM, name: str, ids: list[int], rounds: int, peak: float) -> Iterator[Iterator[list[str]]]:
    """What is measured of a network at one length."""
    yield gradient_rows(lm, name, ids, 2 * rounds, peak)
    yield iter([memory_row(lm, name, ids)])
    if len(ids) <= SHORT:
        yield target_rows(lm, name, ids, rounds)
    yield path_rows(lm, name, ids, rounds if len(ids) <= SHORT else 1, TOKENS_AT_ONCE)


def rows(device: torch.device, seconds: float, reduced: bool) -> Iterator[list[str]]:
    """The table, row by row, until the time is used up."""
    ends = time.perf_counter() + seconds
    lengths, side, rounds = ((32, 128), 1024, 2) if reduced else ((128, 1024, 8192), 8192, 3)
    for each in REDUCED if reduced else SHAPES:
        size = each.parameters * each.dtype.itemsize
        if device.type == "cuda" and size > SHARE_OF_MEMORY * torch.cuda.mem_get_info(device)[0]:
            yield [each.name, "left out", f"{size / 1e9:.0f} GB of weights do not fit", "", ""]
            continue
        lm, peak = network_of(each, device), best_rate(device, each.dtype, side)
        yield [each.name, "best rate of a product", f"{peak / 1e12:.3g} TFLOP/s", "", ""]
        for length in lengths:
            name, ids = f"{each.name}, {length} tokens", [5 + place % 1000 for place in range(length)]
            for part in parts(lm, name, ids, rounds, peak):
                if time.perf_counter() > ends:
                    yield [name, "left out", "the time is used up", "", ""]
                    break
                try:
                    yield from part
                except (MemoryError, ValueError, torch.OutOfMemoryError) as error:
                    yield [name, "refused", str(error).partition(";")[0], "", ""]


def tests() -> str:
    """pytest's closing line, of all tests that are not slow."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "not slow", "-p", "no:cacheprovider"]
    workers = min(8, os.cpu_count() or 1)
    done = subprocess.run([*command, "-n", str(workers), "--dist", "worksteal"], capture_output=True, text=True)
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    return "\n".join([*failed, done.stdout.strip().splitlines()[-1] if done.stdout.strip() else done.stderr])


def main(arguments: list[str] | None = None) -> int:
    """Test, measure and print the table. Returns 1 where a test fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=420, help="that the measurements may take (default: 420)")
    parser.add_argument("--no-tests", action="store_true", help="measure only")
    parser.add_argument("--record", type=Path, help="a file that keeps the table")
    options = parser.parse_args(arguments)
    reduced = not torch.cuda.is_available()
    device = torch.device("cpu" if reduced else "cuda")
    named = "no GPU: the CPU, in a reduced form" if reduced else torch.cuda.get_device_name(device)
    said = [f"{named}; torch {torch.__version__}", ""]
    print(said[0], flush=True)
    closing = "not run" if options.no_tests else tests()
    print(f"tests: {closing}", flush=True)
    said += [f"tests: {closing}", "", "| network | what | time or size | beside | rate |", "|---|---|---|---|---|"]
    print("\n".join(said[-2:]))
    for row in rows(device, options.seconds, reduced):
        said.append(f"| {' | '.join(row)} |")
        print(said[-1], flush=True)
    if options.record:
        options.record.write_text("\n".join(said) + "\n", encoding="utf-8")
    return int("failed" in closing or "error" in closing)


if __name__ == "__main__":
    sys.exit(main())
