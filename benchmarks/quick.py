"""A few timings in under eight minutes, beside the last ones of this machine: `make bench-quick`.

Each is the median of some rounds, taken in turns with a gradient written by hand in torch, and kept as a ratio to it,
so that a slower hour of the machine is no slower version. What got slower by more than a tenth is named. `--record`
adds a line to benchmarks/results/history.jsonl, which has one for each release and machine.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from benchmarks.measuring import in_turns
from benchmarks.prompts import PROMPTS
from benchmarks.report import versions
from benchmarks.texts import Text, mixed, text_of
from interpret import (
    GradientTimesInput,
    IntegratedGradients,
    attribute,
    attribute_candidates,
    attribute_continuation,
    attribute_many,
)
from nexttoken import NextTokenLM

HISTORY = Path(__file__).parent / "results" / "history.jsonl"
SLOWER = 1.1  # times its last ratio, from where on it is named
SHORT = PROMPTS["short"][0]
YARDSTICK = "by hand"
LONG = 1024  # tokens, which take two rounds only
IMPORTS = "import torch; from transformers import LlamaForCausalLM, PreTrainedTokenizerFast"
BUSY = "import torch\ntorch.set_num_threads(2)\na = torch.randn(1500, 1500)\nwhile True: a @ a"
DEFAULT = """
import time
from benchmarks.texts import text_of
from interpret import attribute
from nexttoken import NextTokenLM
lm = NextTokenLM.from_pretrained()
text = text_of(lm, 64)
attribute(lm, text.ids, text.target_ids[0])
begun = time.perf_counter()
for _ in range(5): attribute(lm, text.ids, text.target_ids[0])
print((time.perf_counter() - begun) / 5)
"""


def by_hand(lm: NextTokenLM, text: Text) -> torch.Tensor:
    """The gradient of log p(target) with respect to the embeddings, as one would write it in torch."""
    network: Any = lm.language_model_head
    ids = torch.tensor([text.ids])
    embeddings = network.get_input_embeddings()(ids).detach().requires_grad_(True)
    logits = network(inputs_embeds=embeddings, use_cache=False, logits_to_keep=1).logits[0, -1]
    loss = logits.float().log_softmax(-1)[text.target_ids[0]]
    return torch.autograd.grad(loss, embeddings)[0]


def ratios(lm: NextTokenLM, rounds: int, lengths: tuple[int, ...] = (16, 64, 128, 512, 2048)) -> dict[str, float]:
    """Each timing over that of the gradient by hand on a prompt of the same length.

    Those of several targets or prompts are over ten gradients by hand of 64 tokens.
    """
    for parameter in lm.parameters():
        parameter.requires_grad_(False)
    found = {}
    for length in lengths:
        text = text_of(lm, length)
        runs: dict[str, Callable[[], Any]] = {
            "one gradient": lambda text=text: attribute(lm, text.ids, text.target_ids[0], GradientTimesInput()),
            "the default": lambda text=text: attribute(lm, text.ids, text.target_ids[0]),
        }
        if length == lengths[0]:
            runs["the default, checked"] = lambda text=text: attribute(lm, text.ids, text.target_ids[0], check=True)
        found |= {
            f"{name}, {length} tokens": each
            for name, each in beside(runs, lambda text=text: by_hand(lm, text), rounds if length < LONG else 2).items()
        }
    text, prompts = text_of(lm, 64, 16), mixed(48)
    certified = [PROMPTS[kind][0] for kind in PROMPTS]
    runs = {
        "certified integrated gradients, a prompt of each kind, over ten": lambda: [
            attribute(lm, prompt, None, IntegratedGradients()) for prompt in certified
        ],
        "10 candidates after 64 tokens, over ten": lambda: attribute_candidates(lm, text.ids, 10, GradientTimesInput()),
        "16 tokens after 64, over ten": lambda: attribute_continuation(
            lm, list(text.ids), list(text.target_ids), GradientTimesInput()
        ),
        "48 prompts, over ten": lambda: list(attribute_many(lm, prompts, progress=False)),
    }
    return found | beside(runs, lambda: [by_hand(lm, text) for _ in range(10)], max(2, rounds // 2))


def beside(runs: Mapping[str, Callable[[], Any]], yardstick: Callable[[], Any], rounds: int) -> dict[str, float]:
    """The median time of each over the median of the yardstick, which takes a turn before each of them."""
    for run in (*runs.values(), yardstick):
        run()
    contenders = {}
    for name, run in runs.items():
        contenders |= {f"{YARDSTICK}, before {name}": yardstick, name: run}
    timings = in_turns(contenders, rounds)
    by = statistics.median(each for name in runs for each in timings[f"{YARDSTICK}, before {name}"].seconds)
    return {name: timings[name].median / by for name in runs}


def processes(rounds: int, threads: int) -> dict[str, float]:
    """The command beside a process that only imports, and the default map beside a busy process and without one."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    command = str(Path(sys.executable).with_name("nexttoken"))
    explain = [command, "explain", SHORT, "--method", "gradient-times-input", "--no-check"]

    def execute(arguments: list[str]) -> str:
        done = subprocess.run(arguments, env=environment, check=True, capture_output=True, text=True)
        return done.stdout

    imports = [sys.executable, "-c", IMPORTS]
    start = beside({"start": lambda: execute(explain)}, lambda: execute(imports), rounds)["start"]
    passive = {**environment, "OMP_WAIT_POLICY": "PASSIVE"}

    def default() -> float:
        done = subprocess.run([sys.executable, "-c", DEFAULT], env=passive, check=True, capture_output=True, text=True)
        return float(done.stdout)

    idle = default()
    other = subprocess.Popen([sys.executable, "-c", BUSY])
    try:
        busy = default()
    finally:
        other.kill()
        other.wait()
    return {"nexttoken explain over its imports": start, "the default beside a busy process over without": busy / idle}


def machine() -> str:
    """The processor and how many cores of it can be used."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", info.read_text()) if info.exists() else None
    return f"{found[1].strip() if found else 'unknown processor'}, {len(os.sched_getaffinity(0))} cores"


def slower(now: Mapping[str, float], before: Mapping[str, float]) -> list[str]:
    """What got slower by more than a tenth, in words."""
    return [
        f"{name}: {ratio:.2f}, before {before[name]:.2f} ({ratio / before[name] - 1:+.0%})"
        for name, ratio in now.items() if name in before and ratio > SLOWER * before[name]
    ]  # fmt: skip


def last(lines: list[dict[str, Any]], where: str, threads: int) -> dict[str, Any] | None:
    """The last line of a machine with as many threads."""
    own = [line for line in lines if (line["machine"], line["threads"]) == (where, threads)]
    return own[-1] if own else None


def main(arguments: list[str] | None = None) -> int:
    """Measure, compare and say. Returns 1 where something got slower by more than a tenth."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", action="store_true", help="add a line to the history")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--history", type=Path, default=HISTORY)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    now = processes(max(2, options.rounds // 2), options.threads)
    now |= ratios(NextTokenLM.from_pretrained(), options.rounds)
    lines = [json.loads(line) for line in options.history.read_text().splitlines()] if options.history.exists() else []
    before = last(lines, machine(), options.threads)
    print("| over a gradient by hand, or as it says | now | before |\n|---|---|---|")
    for name, ratio in now.items():
        known = f"{before['ratios'][name]:.2f}" if before and name in before["ratios"] else ""
        print(f"| {name} | {ratio:.2f} | {known} |")
    if options.record:
        line = {
            "date": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine(), "threads": options.threads,
            "versions": versions(), "ratios": {name: round(ratio, 3) for name, ratio in now.items()},
        }  # fmt: skip
        with options.history.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    found = slower(now, before["ratios"]) if before else []
    for words in found:
        print(f"slower: {words}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
