"""Threads on a CPU: work done side by side, and a warning where another busy process keeps interrupting them."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

from interpret.engine.progress import warn_caller

LONG_STEP = 2.0  # seconds, below which a step is not looked at
OFTEN = 100  # interruptions a second; alone on a machine there are a few, beside a busy process 250 and more
_SAID: set[str] = set()  # so that a process says it once
MAX_WORKERS = 4  # with more threads than these, each worker gets several

Job = TypeVar("Job")
Outcome = TypeVar("Outcome")


def available(device: torch.device) -> int:
    """How many workers a device has: on a CPU as many as torch has threads, up to 4."""
    return min(MAX_WORKERS, torch.get_num_threads()) if device.type == "cpu" else 1


def side_by_side(function: Callable[[Job], Outcome], jobs: Sequence[Job], workers: int) -> Iterator[Outcome]:
    """The function of each job, in order, by a number of workers at once; in the caller's thread if one is enough.

    Workers share the caller's threads evenly and have its gradient mode. What is begun is what is asked for next.
    """
    workers = min(workers, len(jobs))
    if workers < 2:
        yield from map(function, jobs)
        return
    threads, enabled = torch.get_num_threads(), torch.is_grad_enabled()

    def work(job: Job) -> Outcome:
        with torch.set_grad_enabled(enabled):
            return function(job)

    waiting: deque[Future[Outcome]] = deque()
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(threads // workers,)) as crew:
            for job in jobs:
                if len(waiting) == workers:
                    yield waiting.popleft().result()
                waiting.append(crew.submit(work, job))
            while waiting:
                yield waiting.popleft().result()
    finally:
        torch.set_num_threads(threads)


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
    rate = (resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw - interrupted) / max(seconds, LONG_STEP)
    if seconds >= LONG_STEP and rate > OFTEN:
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
