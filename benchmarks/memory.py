"""The peak memory of one attribution in a process of its own: `python -m benchmarks.memory` with settings as JSON."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

WARM_UP = 8  # tokens


def peak(who: str, tokens: int, steps: int, threads: int, batch: int = 1, **options: Any) -> dict[str, float]:
    """Seconds, and bytes above those of the loaded and warm model, that integrated gradients of a prompt take.

    Args:
        who: "ours" or "captum".
        tokens: length of the prompt.
        steps: of the path, by Gauss-Legendre, from the embedding of token 0, every token moving.
        threads: of torch.
        batch: how many points captum runs at once.
        **options: for our `attribute`.
    """
    settings = {"who": who, "tokens": tokens, "steps": steps, "threads": threads, "batch": batch, "options": options}
    command = [sys.executable, "-m", "benchmarks.memory", json.dumps(settings)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the run of {who} on {tokens} tokens failed: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def resident(which: str) -> int:
    """Bytes of this process in memory: VmRSS now, or VmHWM at the peak."""
    found = re.search(rf"{which}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return 1024 * int(found[1])


def run(who: str, tokens: int, steps: int, threads: int, batch: int, options: dict[str, Any]) -> dict[str, float]:
    """What `peak` returns, measured in this process."""
    import torch

    from benchmarks.peers import Peers
    from benchmarks.texts import Text, text_of
    from interpret import IntegratedGradients, Token, attribute
    from nexttoken import NextTokenLM

    warnings.simplefilter("ignore")
    torch.set_num_threads(threads)
    lm = NextTokenLM.from_pretrained()
    peers = Peers(lm, copied=False) if who == "captum" else None

    def explain(text: Text, count: int) -> None:
        if peers is not None:
            peers.captum_path(text.ids, text.target_ids[0], count, batch)
        else:
            method = IntegratedGradients(steps=count, rule="gauss-legendre", baseline=Token(0), fixed=None)
            attribute(lm, text.ids, text.target_ids[0], method, **options)

    explain(text_of(lm, WARM_UP), batch)
    text = text_of(lm, tokens)
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here on
    before, begun = resident("VmRSS"), time.perf_counter()
    explain(text, steps)
    return {"seconds": time.perf_counter() - begun, "bytes": resident("VmHWM") - before}


if __name__ == "__main__":
    print(json.dumps(run(**json.loads(sys.argv[1]))))
