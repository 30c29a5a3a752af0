"""One worker owns the model: jobs wait in a queue, tell of their progress as events, and can be cancelled."""

from __future__ import annotations

import threading
import warnings
from collections import deque
from collections.abc import Callable
from typing import Any

from interpret.explorer.background import ALONE, Cancelled
from interpret.explorer.question import in_words

Event = dict[str, Any]
Emit = Callable[[Event], object]
LAST = ("done", "error", "cancelled")  # events after which there is none


class FullError(RuntimeError):
    """The queue takes no more jobs."""


class Job:
    """Some work that was asked for.

    Args:
        work: called in the worker's thread with the job; what it returns is the last event's content.
        emit: told of every event; called in whichever thread.
    """

    def __init__(self, work: Callable[[Job], Event], emit: Emit):
        self.work, self.emit = work, emit
        self.cancelled = False

    def still(self) -> None:
        """Raise Cancelled if the job is not wanted any more; to be called between its steps."""
        if self.cancelled:
            raise Cancelled

    def tell(self, event: str, **content: Any) -> None:
        """Emit an event, if the job is still wanted."""
        self.still()
        self.emit({"event": event, **content})


class Worker:
    """A thread that does one job after the other; who asked first comes first.

    Args:
        most: how many jobs may wait.
    """

    def __init__(self, most: int = 16):
        self.most = most
        self.changed = threading.Condition()
        self.waiting: deque[Job] = deque()
        self.running: Job | None = None
        self.closed = False
        self.thread = threading.Thread(target=self._work, name="model", daemon=True)
        self.thread.start()

    def ask(self, job: Job) -> Job:
        """Let a job wait its turn, which it is told of. Raises FullError where too many wait."""
        with self.changed:
            if len(self.waiting) >= self.most or self.closed:
                raise FullError(f"{self.most} questions are waiting already; try again in a moment")
            self.waiting.append(job)
            self._say_whose_turn()
            self.changed.notify_all()
        return job

    def cancel(self, job: Job) -> None:
        """Take a job back: at once where it waits, between two of its steps where it runs."""
        with self.changed:
            job.cancelled = True
            if job in self.waiting:
                self.waiting.remove(job)
                self._say_whose_turn()

    def close(self) -> None:
        """Cancel everything, and end when the step that runs is done."""
        with self.changed:
            self.closed = True
            for job in (*self.waiting, *([self.running] if self.running else [])):
                job.cancelled = True
            self.waiting.clear()
            self.changed.notify_all()
        self.thread.join(5)

    def _say_whose_turn(self) -> None:
        ahead = int(self.running is not None)
        for place, job in enumerate(self.waiting):
            if ahead + place:
                job.emit({"event": "waiting", "ahead": ahead + place})

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
                    self._say_whose_turn()

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
