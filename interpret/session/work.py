"""Work beside whoever asks for it, one job at a time for all models: the latest one, or one after the other."""

from __future__ import annotations

import threading
import time
import warnings
from collections import deque
from collections.abc import Callable
from typing import Any

Work = Callable[[Callable[[], None]], None]
Event = dict[str, Any]
LAST = ("done", "error", "cancelled")  # events after which there is none
ALONE = threading.Lock()  # a model is used by one job at a time, whoever asked for it
INTERVAL = 0.05  # seconds after which a job that waits for another one looks whether it is still wanted
UPDATES = 0.1  # seconds between two signs of progress


class Cancelled(Exception):  # noqa: N818  not an error: it was asked for
    """The job is not wanted any more."""


def in_words(error: BaseException) -> str:
    """What an error says; its type as well, unless it is one that is meant to be read."""
    readable = isinstance(error, (ValueError, OSError, ArithmeticError, MemoryError, ImportError, Cancelled))
    return str(error) if readable and str(error) else f"{type(error).__name__}: {error}"


def cost_in_words(gradients: int, forwards: int, seconds: float) -> str:
    """What an attribution took."""
    counted = f"{gradients} gradient{'s' * (gradients != 1)}, {forwards} forward pass{'es' * (forwards != 1)}"
    return f"{counted}, {seconds:.1f} s"


class Background:
    """One job at a time in a daemon thread, which ends when there is nothing to do.

    A job is called with a function that it has to call between its steps: that raises Cancelled once the job is not
    wanted any more, and then the job has to end by letting it through.
    """

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.number = 0  # of the latest job
        self.waiting: Work | None = None
        self.due = 0.0
        self.running = self.paused = False
        self.thread: threading.Thread | None = None

    def ask(self, job: Work, delay: float = 0.0) -> None:
        """Run a job after `delay` seconds without a newer one; cancel what runs."""
        with self.changed:
            self.number += 1
            self.waiting, self.due = job, time.monotonic() + delay
            if self.thread is None or not self.thread.is_alive():
                self.thread = threading.Thread(target=self.work, name="explorer", daemon=True)
                self.thread.start()
            self.changed.notify_all()

    def cancel(self) -> None:
        """Cancel what runs, between two of its steps, and what waits."""
        with self.changed:
            self.number += 1
            self.waiting = None
            self.changed.notify_all()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until nothing is left to do, at most `timeout` seconds; whether it is so. It lifts a pause."""
        with self.changed:
            paused, self.paused = self.paused, False
            self.changed.notify_all()
            try:
                return self.changed.wait_for(lambda: self.waiting is None and not self.running, timeout)
            finally:
                if paused:
                    self.pause()

    def pause(self) -> None:
        """Stop what runs, to be begun again by `resume`; when this returns, nothing runs."""
        with self.changed:
            self.paused = True
            self.changed.notify_all()
            self.changed.wait_for(lambda: not self.running)

    def resume(self) -> None:
        """Go on after a pause."""
        with self.changed:
            self.paused = False
            self.changed.notify_all()

    def raise_if_cancelled(self, number: int) -> None:
        """Raise Cancelled unless this job is the latest, and there is no pause."""
        if number != self.number or self.paused:
            raise Cancelled

    def work(self) -> None:
        """Run what waits, when it is due, until nothing does."""
        while True:
            with self.changed:
                while self.waiting is not None and (self.paused or time.monotonic() < self.due):
                    self.changed.wait(None if self.paused else self.due - time.monotonic())
                if self.waiting is None:
                    self.thread = None
                    self.changed.notify_all()
                    return
                job, number = self.waiting, self.number
                self.waiting, self.running = None, True
            try:
                self.run(job, number)
            finally:
                with self.changed:
                    self.running = False
                    self.changed.notify_all()

    def run(self, job: Work, number: int) -> None:
        """Run a job while no other one runs; put it back if it was stopped by a pause."""
        try:
            while not ALONE.acquire(timeout=INTERVAL):
                self.raise_if_cancelled(number)
            try:
                job(lambda: self.raise_if_cancelled(number))
            finally:
                ALONE.release()
        except Cancelled:
            with self.changed:
                if number == self.number:
                    self.waiting, self.due = job, 0.0


class FullError(RuntimeError):
    """The queue takes no more jobs."""


class Job:
    """Some work that was asked for.

    Args:
        work: called in the worker's thread with the job; what it returns is the last event's content.
        emit: told of every event; called in whichever thread.
    """

    def __init__(self, work: Callable[[Job], Event], emit: Callable[[Event], object]):
        self.work, self.emit = work, emit
        self.cancelled = False
        self.done, self.last = 0, 0.0

    def raise_if_cancelled(self) -> None:
        """Raise Cancelled if the job is not wanted any more; to be called between its steps."""
        if self.cancelled:
            raise Cancelled

    def tell(self, event: str, **content: Any) -> None:
        """Emit an event, if the job is still wanted."""
        self.raise_if_cancelled()
        self.emit({"event": event, **content})

    def advance(self, count: int) -> None:
        """Tell of progress, at most ten times a second, and of nothing once the job is cancelled."""
        self.raise_if_cancelled()
        self.done += count
        if time.monotonic() - self.last > UPDATES:
            self.last = time.monotonic()
            self.tell("progress", done=self.done)


class Worker:
    """A thread that does one job after the other; who asked first comes first.

    Args:
        max_waiting: how many jobs may wait.
    """

    def __init__(self, max_waiting: int = 16):
        self.max_waiting = max_waiting
        self.changed = threading.Condition()
        self.waiting: deque[Job] = deque()
        self.running: Job | None = None
        self.closed = False
        self.thread = threading.Thread(target=self._work, name="model", daemon=True)
        self.thread.start()

    def ask(self, job: Job) -> Job:
        """Let a job wait its turn, which it is told of. Raises FullError where too many wait."""
        with self.changed:
            if len(self.waiting) >= self.max_waiting or self.closed:
                raise FullError(f"{self.max_waiting} questions are waiting already; try again in a moment")
            self.waiting.append(job)
            self._tell_turns()
            self.changed.notify_all()
        return job

    def cancel(self, job: Job) -> None:
        """Take a job back: at once where it waits, between two of its steps where it runs."""
        with self.changed:
            job.cancelled = True
            if job in self.waiting:
                self.waiting.remove(job)
                self._tell_turns()

    def close(self) -> None:
        """Cancel everything, and end when the step that runs is done."""
        with self.changed:
            self.closed = True
            for job in (*self.waiting, *([self.running] if self.running else [])):
                job.cancelled = True
            self.waiting.clear()
            self.changed.notify_all()
        self.thread.join(5)

    def _tell_turns(self) -> None:
        ahead = int(self.running is not None)
        for before, job in enumerate(self.waiting, ahead):
            if before:
                job.emit({"event": "waiting", "ahead": before})

    def _work(self) -> None:
        while True:
            with self.changed:
                self.changed.wait_for(lambda: bool(self.waiting) or self.closed)
                if self.closed:
                    return
                job = self.running = self.waiting.popleft()
            try:
                self._run(job)
            finally:
                with self.changed:
                    self.running = None
                    self._tell_turns()

    def _run(self, job: Job) -> None:
        """Do a job, and say how it ended: whatever happens, the worker lives on."""
        try:
            with ALONE, warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what is worth saying is in the answer
                job.tell("started")
                job.emit({"event": "done", **job.work(job)})
        except Cancelled:
            job.emit({"event": "cancelled"})
        except Exception as error:  # whatever it is, it is shown to who asked
            job.emit({"event": "error", "message": in_words(error)})
