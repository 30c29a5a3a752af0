"""Work in a thread of its own, one job at a time: what is asked for later cancels what was asked before."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

Job = Callable[[Callable[[], None]], None]

ALONE = threading.Lock()  # a model is used by one job at a time, whoever asked for it
TIMEOUT = 0.05  # seconds after which a job that waits for another one looks whether it is still wanted


class Cancelled(Exception):  # noqa: N818  not an error: it was asked for
    """The job is not wanted any more."""


class Background:
    """One job at a time in a daemon thread, which ends when there is nothing to do.

    A job is called with a function that it has to call between its steps: that raises Cancelled once the job is not
    wanted any more, and then the job has to end by letting it through.
    """

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.number = 0  # of the latest job
        self.waiting: Job | None = None
        self.due = 0.0
        self.running = self.paused = False
        self.thread: threading.Thread | None = None

    def ask(self, job: Job, delay: float = 0.0) -> None:
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

    def still(self, number: int) -> None:
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

    def run(self, job: Job, number: int) -> None:
        """Run a job while no other one runs; put it back if it was stopped by a pause."""
        try:
            while not ALONE.acquire(timeout=TIMEOUT):
                self.still(number)
            try:
                job(lambda: self.still(number))
            finally:
                ALONE.release()
        except Cancelled:
            with self.changed:
                if number == self.number:
                    self.waiting, self.due = job, 0.0
