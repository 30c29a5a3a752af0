"""A question that can be asked of a model, and what is known of its answer: plain values that never change."""

from __future__ import annotations

from dataclasses import dataclass, field

from interpret.explorer.background import Cancelled
from interpret.methods.integrated_gradients import IntegratedGradients
from interpret.methods.method import Method
from interpret.results.attribution import Attribution
from nexttoken import Target
from nexttoken.text.prompt import PromptLike
from nexttoken.text.target import TokenLike


@dataclass(frozen=True)
class Question:
    """What is asked: why this next token after this prompt, rather than those, by this method?

    Attributes:
        prompt: the text; the page asks about chats as well, by their messages.
        target: the next token that is explained, as text or id; None for the model's first choice.
        foils: what it is contrasted with.
        method: how.
    """

    prompt: PromptLike = ""
    target: TokenLike | None = None
    foils: tuple[TokenLike, ...] = ()
    method: Method = field(default_factory=IntegratedGradients)


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
        most: how many gradients they take at most; None until that is known.
        done: how many have been taken.
        seconds: how long it took.
    """

    candidates: tuple[Target, ...] = ()
    asked: tuple[int, ...] = ()
    attribution: Attribution | None = None
    error: BaseException | None = None
    warnings: tuple[str, ...] = ()
    code: str = ""
    most: int | None = None
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
            return "working" if self.most is None else f"{self.done} of at most {self.most} gradients"
        made = self.attribution
        gap = made.gap_text or "no completeness gap: it makes no such promise"
        return f"{gap}; {cost_in_words(made, self.seconds)}"


def cost_in_words(made: Attribution, seconds: float) -> str:
    """What a map took: gradients, forward passes and seconds."""
    gradients = _counted(made.gradients_spent, "gradient")
    return f"{gradients}, {_counted(made.forwards_spent, 'forward pass', 'es')}, {seconds:.1f} s"


def _counted(count: int, name: str, plural: str = "s") -> str:
    return f"{count} {name}{'' if count == 1 else plural}"


def in_words(error: BaseException) -> str:
    """What an error says; its type as well, unless it is one that is meant to be read."""
    readable = isinstance(error, (ValueError, OSError, ArithmeticError, MemoryError, ImportError, Cancelled))
    return str(error) if readable and str(error) else f"{type(error).__name__}: {error}"
