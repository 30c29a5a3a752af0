"""Work done side by side on a CPU's threads: what stands between matrix products leaves a second thread idle."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

MOST = 4  # with more threads than these, each worker gets several

Job = TypeVar("Job")
Outcome = TypeVar("Outcome")


def available(device: torch.device) -> int:
    """How many workers a device has: on a CPU as many as torch has threads, up to 4."""
    return min(MOST, torch.get_num_threads()) if device.type == "cpu" else 1


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
