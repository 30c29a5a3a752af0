"""What the explorer does: the question is changed, the answer worked out, and who listens is told."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from interpret.methods.method import Method
from interpret.question.question import Question, Token
from interpret.results.attribution import Attribution
from interpret.session.answer import cost_in_words, explain_in_steps
from interpret.session.work import Cancelled, Event, Job, Worker, in_words
from nexttoken import NextTokenLM, Target


@dataclass(frozen=True)
class Answer:
    """What has been found out about a question.

    Attributes:
        candidates: the most probable next tokens, and those that were chosen; of an older prompt until they are known.
        asked: the ids of the target and its foils, once they are found among the model's tokens.
        attribution: None until it is known.
        error: why there is none.
        code: Python that gives the same scores.
        max_gradients: how many gradients they take at most; None until that is known.
        done: how many have been taken.
    """

    candidates: tuple[Target, ...] = ()
    asked: tuple[int, ...] = ()
    attribution: Attribution | None = None
    error: BaseException | None = None
    warnings: tuple[str, ...] = ()
    code: str = ""
    max_gradients: int | None = None
    done: int = 0
    seconds: float = 0.0

    @property
    def working(self) -> bool:
        """Whether there is an attribution to come."""
        return self.attribution is None and self.error is None

    @property
    def status(self) -> str:
        """How far it is, in words."""
        if self.error is not None:
            return in_words(self.error)
        if self.attribution is None:
            known = self.max_gradients is not None
            return f"{self.done} of at most {self.max_gradients} gradients" if known else "working"
        made = self.attribution
        gap = made.gap_text or "no completeness gap: it makes no such promise"
        return f"{gap}; {cost_in_words(made, self.seconds)}"


class State:
    """A question that can be changed, and its answer, worked out in the background; see `Explorer`."""

    def __init__(self, lm: NextTokenLM, question: Question, method: Method, top: int):
        self.lm, self.top = lm, top
        self.question, self.method, self.answer = question, method, Answer()
        self.listeners: list[Callable[[], object]] = []
        self.lock = threading.RLock()
        self.worker, self.paused = Worker(math.inf), False

    def change(self, delay: float = 0.0, *, method: Method | None = None, **asked: Any) -> None:
        """Ask something else, such as another prompt, target, contrast or method. What is as before changes nothing.

        Work begins after `delay` seconds without another change.
        """
        with self.lock:
            before, self.question = self.question, replace(self.question, **asked)
            own, self.method = self.method, self.method if method is None else method
            if (self.question, self.method) == (before, own) and self.answer.error is None:
                return
            self.again(delay)

    def again(self, delay: float = 0.0) -> None:
        """Work the question out, also if that was done or cancelled before."""
        with self.lock:
            self.answer = Answer(self.answer.candidates)
            self.worker.cancel()
            if not self.paused:
                job = Job(partial(self.work, self.question, self.method), lambda event: self.heard(job, event), delay)
                self.worker.ask(job)
        self.tell()

    def choose(self, token: Token) -> None:
        """Make a token the target; if it is that already, leave the target to the model."""
        contrast = tuple(foil for foil in self.question.contrast if foil != token)
        self.change(target=None if token == self.question.target else token, contrast=contrast)

    def oppose(self, token: Token) -> None:
        """Make a token a foil; if it is one already, not any more."""
        foils = self.question.contrast
        self.change(contrast=tuple(foil for foil in foils if foil != token) if token in foils else (*foils, token))

    def refuse(self, error: Exception) -> None:
        """Show why what was written is no question."""
        with self.lock:
            self.worker.cancel()
            self.answer = Answer(self.answer.candidates, error=error)
        self.tell()

    def cancel(self) -> None:
        """Stop working; takes effect when the gradients that are being computed are done."""
        if self.answer.working:
            self.refuse(Cancelled("cancelled"))

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until nothing is left to do, at most `timeout` seconds; whether that is so. It lifts a pause."""
        paused = self.paused
        self.resume()
        try:
            return self.worker.wait(timeout)
        finally:
            if paused:
                self.pause()

    def pause(self) -> None:
        """Stop working, to begin again with `resume`; when this returns, nothing runs."""
        self.paused = True
        self.worker.cancel()
        self.worker.wait()

    def resume(self) -> None:
        """Go on after a pause."""
        paused, self.paused = self.paused, False
        if paused and self.answer.working:
            self.again()

    def save(self, path: str | Path) -> Path:
        """Save the attribution in a format of `Attribution.save`. Raises ValueError while there is none."""
        if self.answer.attribution is None:
            raise ValueError("there is no map to save yet; wait until it is made")
        return self.answer.attribution.save(path)

    def work(self, question: Question, method: Method, job: Job) -> Event:
        """Find the answer, in the job's thread."""
        return explain_in_steps(self.lm, question, method, self.top, partial(job.tell, "found"), job.advance)

    def heard(self, job: Job, event: Event) -> None:
        """Take what a job has found into the answer."""
        kind, found = event["event"], {name: value for name, value in event.items() if name != "event"}
        if kind in ("waiting", "started", "cancelled"):
            return
        with self.lock:
            if job.cancelled:
                return
            self.answer = replace(self.answer, **found)
            if "asked" in found:  # from now on, the question's tokens are those that were found for it
                target, *foils = found["asked"]
                target = None if self.question.target is None else target
                self.question = replace(self.question, target=target, contrast=tuple(foils))
        self.tell()

    def tell(self) -> None:
        """Tell those who listen that something has changed."""
        for listener in list(self.listeners):
            listener()
