"""Long prompts within a memory budget: `python -m benchmarks.long [TOKENS...]`, ten minutes on two quiet cores.

Each line is a process of its own: the default map within 4 GB, beside a gradient written by hand that checkpoints all
of its layers; and a region of 32 tokens at the end. Memory is the peak of the resident memory above the loaded model.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import psutil
import torch
from torch import Tensor

from benchmarks.texts import Text, text_of
from interpret import attribute
from nexttoken import NextTokenLM

BUDGET = 4 * 10**9  # bytes
LENGTHS = (1024, 2048, 4096, 8192)
REGION = 32  # tokens


def by_hand(lm: NextTokenLM, text: Text) -> Tensor:
    """The gradient of log p(target), layers checkpointed as transformers does it."""
    network: Any = lm.language_model_head
    network.requires_grad_(False)
    network.gradient_checkpointing_enable({"use_reentrant": False})
    network.train()  # without which it checkpoints nothing; this model has no dropout
    x = network.get_input_embeddings()(torch.tensor([text.ids])).detach().requires_grad_(True)
    logits = network(inputs_embeds=x, use_cache=False, logits_to_keep=1).logits[0, -1]
    return torch.autograd.grad(logits.float().log_softmax(-1)[text.target_ids[0]], x)[0]


def region(lm: NextTokenLM, text: Text) -> Any:
    """The last tokens of a long prompt, the others being context."""
    prompt, before = lm.prompt(text.ids), lm.prompt(text.ids[:-REGION])
    span = (len(before.text), len(prompt.text))
    return attribute(lm, prompt, text.target_ids[0], region=span, memory_budget=BUDGET)


RUNS: dict[str, Callable[[NextTokenLM, Text], Any]] = {
    "the default": lambda lm, text: attribute(lm, text.ids, text.target_ids[0], memory_budget=BUDGET),
    "by hand, checkpointed": by_hand,
    f"a region of {REGION}": region,
}


def measured(name: str, tokens: int) -> dict[str, float]:
    """Seconds and bytes of a run in this process, which has to be a fresh one."""
    torch.set_num_threads(2)
    lm = NextTokenLM.from_pretrained()
    text = text_of(lm, tokens)
    lm.predict(text.ids[:8])  # so that all weights are in memory
    before = psutil.Process().memory_info().rss
    begun = time.perf_counter()
    RUNS[name](lm, text)
    seconds = time.perf_counter() - begun
    return {"seconds": seconds, "bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before}


def main(arguments: list[str] | None = None) -> None:
    """Measure every run at every length, each in a process of its own, and print a table."""
    given = sys.argv[1:] if arguments is None else arguments
    if given[:1] == ["--run"]:
        print(json.dumps(measured(given[1], int(given[2]))))
        return
    print("| tokens | what | seconds | GB |\n|---|---|---|---|")
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    for tokens in [int(each) for each in given] or LENGTHS:
        for name in RUNS:
            command = [sys.executable, "-m", "benchmarks.long", "--run", name, str(tokens)]
            done = subprocess.run(command, capture_output=True, text=True, env=environment)
            if done.returncode:
                print(f"| {tokens} | {name} | {done.stderr.strip().splitlines()[-1]} | |", flush=True)
                continue
            found = json.loads(done.stdout.splitlines()[-1])
            print(f"| {tokens} | {name} | {found['seconds']:.1f} | {found['bytes'] / 1e9:.2f} |", flush=True)


if __name__ == "__main__":
    main()
