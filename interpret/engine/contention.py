"""Threads that another busy process keeps interrupting: seen while a step runs, and said once."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from interpret.results.warned import warn_caller

LONG = 2.0  # seconds, below which a step is not looked at
OFTEN = 100  # interruptions a second; alone on a machine there are a few, beside a busy process 250 and more
_SAID: set[str] = set()  # so that a process says it once


class BusyMachineWarning(UserWarning):
    """Another process keeps the cores busy on which threads wait for each other actively; see the message."""


@contextmanager
def watched() -> Iterator[None]:
    """Within this context runs a step, which is warned of once if it is long and its threads are interrupted often.

    Torch's threads wait for each other in a loop. If another process takes a core from one of them, the others burn
    theirs until it is back, and a step takes 10 to 70 times its time.
    """
    if _SAID or sys.platform == "win32" or not _waiting_actively():
        yield
        return
    import resource

    interrupted, begun = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw, time.perf_counter()
    yield
    seconds = time.perf_counter() - begun
    rate = (resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw - interrupted) / max(seconds, LONG)
    if seconds >= LONG and rate > OFTEN:
        _SAID.add("busy")
        warn_caller(
            f"a step took {seconds:.0f} s, in which {torch.get_num_threads()} threads that wait for each other were "
            f"interrupted {rate:.0f} times a second: another process keeps this machine's cores busy, which makes "
            "steps 10 times slower and more. Set OMP_WAIT_POLICY=PASSIVE in the environment before torch is imported, "
            "or call torch.set_num_threads(1)",
            BusyMachineWarning,
        )


def _waiting_actively() -> bool:
    """Whether there are several threads that wait in a loop."""
    return torch.get_num_threads() > 1 and os.environ.get("OMP_WAIT_POLICY", "").upper() != "PASSIVE"
