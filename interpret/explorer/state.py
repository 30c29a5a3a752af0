"""What the explorer does: the question is changed, the answer worked out, and who listens is told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from interpret.methods.method import Method
from interpret.question.question import Question, Token
from interpret.results.attribution import Attribution
from interpret.session.answer import explain_in_steps
from interpret.session.work import UPDATES, Background, Cancelled, cost_in_words, in_words
from nexttoken import NextTokenLM, Target


@dataclass(frozen=True)
class Answer:
    """What has been found out about a question.

    Attributes:
        candidates: the most probable next tokens, and those that were chosen; of an older prompt until they are known.
        asked: the ids of the target and its foils, once they are found among the model's tokens.
        attribution: the scores; None until they are known.
        error: why there are none.
        warnings: what was warned of on the way.
        code: Python that gives the same scores.
        max_gradients: how many gradients they take at most; None until that is known.
        done: how many have been taken.
        seconds: how long it took.
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
        return f"{gap}; {cost_in_words(made.gradients_spent, made.forwards_spent, self.seconds)}"


class State:
    """A question that can be changed, and its answer, worked out in the background.

    Only one thing is worked out at a time; a question that is changed cancels the work on the one before.
    The attributes are described where it is shown, in `Explorer`.
    """

    def __init__(self, lm: NextTokenLM, question: Question, method: Method, top: int):
        self.lm, self.top = lm, top
        self.question, self.method, self.answer = question, method, Answer()
        self.listeners: list[Callable[[], object]] = []
        self.lock = threading.RLock()
        self.background = Background()

    # Asking

    def change(self, delay: float = 0.0, *, method: Method | None = None, **asked: Any) -> None:
        """Ask something else, such as another prompt, target, contrast or method. What is as before changes nothing.

        Work begins after `delay` seconds without another change.
        """
        with self.lock:
            before, self.question = self.question, replace(self.question, **asked)
            own, self.method = self.method, self.method if method is None else method
            if (self.question, self.method) == (before, own) and self.answer.error is None:
                return
            self.ask(delay)
        self.tell()

    def again(self) -> None:
        """Work the question out, also if that was done or cancelled before."""
        with self.lock:
            self.ask()
        self.tell()

    def ask(self, delay: float = 0.0) -> None:
        """Forget the answer, and have the question worked out."""
        self.answer, question, method = Answer(self.answer.candidates), self.question, self.method
        self.background.ask(lambda raise_if_cancelled: self.work(question, method, raise_if_cancelled), delay)

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
        """Save the attribution in a format of `Attribution.save`. Raises ValueError while there is none."""
        if self.answer.attribution is None:
            raise ValueError("there is no map to save yet; wait until it is made")
        return self.answer.attribution.save(path)

    # Working

    def work(self, question: Question, method: Method, raise_if_cancelled: Callable[[], None]) -> None:
        """Find the answer, in the background's thread."""
        begun = signed = time.monotonic()

        def update(**found: Any) -> None:
            with self.lock:
                raise_if_cancelled()
                self.answer = replace(self.answer, **found)
                if "asked" in found:  # from now on, the question's tokens are those that were found for it
                    target, *foils = found["asked"]
                    target = None if question.target is None else target
                    self.question = replace(question, target=target, contrast=tuple(foils))
            self.tell()

        def advance(count: int) -> None:
            nonlocal signed
            with self.lock:
                raise_if_cancelled()
                self.answer = replace(self.answer, done=self.answer.done + count)
            if time.monotonic() - signed > UPDATES:
                signed = time.monotonic()
                self.tell()

        raise_if_cancelled()
        with self.lock:
            self.answer = replace(self.answer, done=0)
        try:
            made = explain_in_steps(self.lm, question, method, self.top, update, advance)
        except Cancelled:
            raise
        except Exception as error:  # whatever it is, it is shown
            update(error=error)
            return
        update(attribution=made.attribution, code=made.code, warnings=made.warnings, seconds=time.monotonic() - begun)

    def tell(self) -> None:
        """Tell those who listen that something has changed."""
        for listener in list(self.listeners):
            listener()
