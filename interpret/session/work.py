"""Jobs in the background, one at a time for all models, whoever asked for them."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

Event = dict[str, Any]
LAST = ("done", "error", "cancelled")  # events after which there is none
ALONE = threading.Lock()  # a model is used by one job at a time
INTERVAL = 0.05  # seconds after which a job that waits for another worker's looks whether it is still wanted
UPDATES = 0.1  # seconds between two signs of progress


class Cancelled(Exception):  # noqa: N818  not an error: it was asked for
    """The job is not wanted any more."""


class FullError(RuntimeError):
    """The worker takes no more jobs."""


def in_words(error: BaseException) -> str:
    """What an error says; its type as well, unless it is one that is meant to be read."""
    readable = isinstance(error, (ValueError, OSError, ArithmeticError, MemoryError, ImportError, Cancelled))
    return str(error) if readable and str(error) else f"{type(error).__name__}: {error}"


class Job:
    """Some work that was asked for.

    Args:
        work: called with the job in the worker's thread; what it returns is the last event's content.
        emit: called with every event, in whichever thread.
        delay: seconds from now before which it does not begin.
    """

    def __init__(self, work: Callable[[Job], Event], emit: Callable[[Event], object], delay: float = 0.0):
        self.work, self.emit, self.due = work, emit, time.monotonic() + delay
        self.cancelled = False
        self.done, self.last = 0, 0.0

    def raise_if_cancelled(self) -> None:
        """Raise Cancelled if the job is not wanted any more; to be called between its steps."""
        if self.cancelled:
            raise Cancelled

    def tell(self, event: str, **content: Any) -> None:
        """Emit an event. Raises Cancelled if the job is not wanted any more."""
        self.raise_if_cancelled()
        self.emit({"event": event, **content})

    def advance(self, count: int) -> None:
        """Tell of progress, at most ten times a second. Raises Cancelled if the job is not wanted any more."""
        self.raise_if_cancelled()
        self.done += count
        if time.monotonic() - self.last > UPDATES:
            self.last = time.monotonic()
            self.tell("progress", done=self.done)

    def run(self) -> None:
        """Do the work while no other job runs, and tell how it ended, whatever happens."""
        try:
            while not ALONE.acquire(timeout=INTERVAL):
                self.raise_if_cancelled()
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # what is worth saying is in the answer
                    self.tell("started")
                    self.emit({"event": "done", **self.work(self)})
            finally:
                ALONE.release()
        except Cancelled:
            self.emit({"event": "cancelled"})
        except Exception as error:  # whatever it is, it is shown to who asked
            self.emit({"event": "error", "error": error})


class Worker:
    """Does one job after the other in a daemon thread, which ends when there is none; who asked first comes first.

    Args:
        max_waiting: how many jobs may wait.
    """

    def __init__(self, max_waiting: float = 16):
        self.max_waiting, self.closed = max_waiting, False
        self.jobs: list[Job] = []  # the first one runs, the others wait
        self.changed = threading.Condition()

    def ask(self, job: Job) -> Job:
        """Let a job wait its turn, which it is told of. Raises FullError where too many wait."""
        with self.changed:
            if len(self.jobs) > self.max_waiting or self.closed:
                raise FullError(f"{self.max_waiting} questions are waiting already; try again in a moment")
            self.jobs.append(job)
            self._tell_turns()
            if len(self.jobs) == 1:
                threading.Thread(target=self._work, name="model", daemon=True).start()
        return job

    def cancel(self, *jobs: Job) -> None:
        """Take jobs back, by default all: at once where one waits, between two of its steps where it runs."""
        with self.changed:
            for job in jobs or self.jobs:
                job.cancelled = True
            left = [job for job in self.jobs[1:] if not job.cancelled]
            if len(left) < len(self.jobs) - 1:
                self.jobs[1:] = left
                self._tell_turns()
            self.changed.notify_all()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until all jobs have ended, at most `timeout` seconds; whether they have."""
        with self.changed:
            return self.changed.wait_for(lambda: not self.jobs, timeout)

    def close(self) -> None:
        """Cancel everything, and wait for the step that runs, at most 5 seconds."""
        self.closed = True
        self.cancel()
        self.wait(5)

    def _tell_turns(self) -> None:
        for ahead, job in enumerate(self.jobs):
            if ahead:
                job.emit({"event": "waiting", "ahead": ahead})

    def _work(self) -> None:
        ended = False
        while not ended:
            with self.changed:
                job = self.jobs[0]
                while not job.cancelled and (early := job.due - time.monotonic()) > 0:
                    self.changed.wait(early)
            try:
                job.run()
            finally:
                with self.changed:
                    del self.jobs[0]
                    self._tell_turns()
                    self.changed.notify_all()
                    ended = not self.jobs
