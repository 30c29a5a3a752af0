"""What the explorer does: the question is changed, the answer worked out, and who listens is told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from interpret.explorer.answering import work_out
from interpret.explorer.background import Background, Cancelled
from interpret.explorer.question import Answer, Question
from nexttoken import NextTokenLM
from nexttoken.text.target import TokenLike

A_SIGN = 0.1  # seconds between two signs of progress


class State:
    """A question that can be changed, and its answer, worked out in the background.

    Only one thing is worked out at a time; a question that is changed cancels the work on the one before.
    The attributes are described where it is shown, in `Explorer`.
    """

    def __init__(self, lm: NextTokenLM, question: Question, top: int):
        self.lm, self.top = lm, top
        self.question, self.answer = question, Answer()
        self.listeners: list[Callable[[], object]] = []
        self.lock = threading.RLock()
        self.background = Background()

    # Asking

    def change(self, delay: float = 0.0, **asked: Any) -> None:
        """Ask something else: any of prompt, target, foils and method. Work begins after `delay` seconds without more.

        What is the same as before changes nothing.
        """
        with self.lock:
            question = replace(self.question, **asked)
            if question == self.question and self.answer.error is None:
                return
            self.question = question
            self.ask(delay)
        self.tell()

    def again(self) -> None:
        """Work the question out, also if that was done or cancelled before."""
        with self.lock:
            self.ask()
        self.tell()

    def ask(self, delay: float = 0.0) -> None:
        """Forget the answer, and have the question worked out."""
        self.answer, question = Answer(self.answer.candidates), self.question
        self.background.ask(lambda still: self.work(question, still), delay)

    def choose(self, token: TokenLike) -> None:
        """Make a token the target; if it is that already, leave the target to the model."""
        foils = tuple(foil for foil in self.question.foils if foil != token)
        self.change(target=None if token == self.question.target else token, foils=foils)

    def oppose(self, token: TokenLike) -> None:
        """Make a token a foil; if it is one already, not any more."""
        foils = self.question.foils
        self.change(foils=tuple(foil for foil in foils if foil != token) if token in foils else (*foils, token))

    def refuse(self, error: Exception) -> None:
        """Show why what was written is no question."""
        with self.lock:
            self.background.cancel()
            self.answer = Answer(self.answer.candidates, error=error)
        self.tell()

    def cancel(self) -> None:
        """Stop working; takes effect when the gradients that are being computed are done."""
        if self.answer.working:
            self.refuse(Cancelled("cancelled"))

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until nothing is left to do, at most `timeout` seconds; whether that is so."""
        return self.background.wait(timeout)

    def save(self, path: str | Path) -> Path:
        """Save the map: .json, .html, .png, .pdf or .svg. Raises ValueError while there is none."""
        if self.answer.attribution is None:
            raise ValueError("there is no map to save yet; wait until it is made")
        return self.answer.attribution.save(path)

    # Working

    def work(self, question: Question, still: Callable[[], None]) -> None:
        """Find the answer, in the background's thread; `still` raises Cancelled when the question was changed."""
        begun = signed = time.monotonic()

        def know(**found: Any) -> None:
            with self.lock:
                still()
                self.answer = replace(self.answer, **found)
                if "asked" in found:
                    self.settle(question, found["asked"], still)
            self.tell()

        def advance(count: int) -> None:
            nonlocal signed
            with self.lock:
                still()
                self.answer = replace(self.answer, done=self.answer.done + count)
            if time.monotonic() - signed > A_SIGN:
                signed = time.monotonic()
                self.tell()

        still()
        with self.lock:
            self.answer = replace(self.answer, done=0)
        try:
            answered = work_out(self.lm, question, self.top, know, advance)
        except Cancelled:
            raise
        except Exception as error:  # whatever it is, it is shown
            know(error=error)
            return
        know(
            attribution=answered.attribution, code=answered.code, warnings=answered.warnings,
            seconds=time.monotonic() - begun,
        )  # fmt: skip

    def settle(self, question: Question, asked: tuple[int, ...], still: Callable[[], None]) -> None:
        """From now on, the tokens of a question are those that were found for it."""
        target, *foils = asked
        with self.lock:
            still()
            self.question = replace(question, target=None if question.target is None else target, foils=tuple(foils))

    def tell(self) -> None:
        """Tell those who listen that something has changed."""
        for listener in list(self.listeners):
            listener()
