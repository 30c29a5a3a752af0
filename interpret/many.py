"""Many prompts, explained one after the other or together, in the order in which they are given."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice, zip_longest
from typing import Any

from interpret.attribution import Attribution
from interpret.explain import Question, attribute, chosen, local
from interpret.memory import Memory
from interpret.methods.method import LocalMethod, Method
from interpret.objective import ROWS_A_CHUNK
from interpret.quantity import Quantity
from interpret.span import Span
from interpret.targets import is_span
from nexttoken import NextTokenLM
from nexttoken.text.prompt import PromptLike
from nexttoken.text.target import TokenLike

WINDOW = 256  # so many prompts are looked at together, to find those of like length
PADDING = 0.1  # of the tokens that run together, at most
MOST_LENGTHS = 4  # that run together: the logits of every row are computed at the end of each
EXPECTED = (ValueError, ArithmeticError, MemoryError)

Row = tuple[PromptLike, Any, Any]  # prompt, target, foils


@dataclass(frozen=True)
class Failure:
    """A prompt that could not be explained.

    Attributes:
        number: its place among the prompts, from 0.
        prompt: as it was given.
        error: why.
    """

    number: int
    prompt: PromptLike
    error: Exception


def attribute_many(
    lm: NextTokenLM,
    prompts: Iterable[PromptLike],
    targets: Iterable[TokenLike | Sequence[TokenLike] | None] | None = None,
    method: Method | None = None,
    *,
    contrasts: Iterable[TokenLike | Sequence[TokenLike] | None] | None = None,
    quantity: Quantity | None = None,
    span: Span | None = None,
    memory_budget: int | None = None,
    progress: bool = True,
) -> Iterator[Attribution | Failure]:
    """Explain many prompts, one result for each in the order in which they are given.

    Where a method needs one gradient a prompt, prompts of like length run together (of equal length, where padding is
    not known to change nothing); the scores are those of `attribute`, up to rounding.

    Args:
        lm: the model; it comes back as it was.
        prompts: as `attribute` takes them; they may come from a generator.
        targets: the next token of each prompt; by default the model's first choice.
        method: how; by default IntegratedGradients().
        contrasts: the foils of each prompt, if any.
        quantity: as for `attribute`.
        span: as for `attribute`.
        memory_budget: as for `attribute`.
        progress: show a progress bar in a terminal or a notebook.

    Yields:
        An Attribution, or a Failure for a prompt that cannot be explained: a ValueError, ArithmeticError or
        MemoryError of `attribute`. Other errors, and fewer or more targets than prompts, end it.
    """
    method, quantity = chosen(method, quantity)
    for name, given in (("prompts", prompts), ("targets", targets), ("contrasts", contrasts)):
        if isinstance(given, str):
            raise ValueError(f"{name} is one text, {given!r}; give a list, or use attribute for one prompt")
    questions, memory = rows(prompts, targets, contrasts), Memory(memory_budget)
    local_method = method if isinstance(method, LocalMethod) and span is None else None
    done = 0
    with progress_bar(len(prompts) if isinstance(prompts, Sized) else None, progress) as advance:
        while window := list(islice(questions, WINDOW if local_method else 1)):
            if local_method is not None:
                answers = in_batches(lm, window, local_method, quantity, memory)
            else:
                answers = [alone(lm, window[0], method, quantity, memory, span)]
            for (prompt, _, _), answer in zip(window, answers, strict=True):
                advance()
                yield Failure(done, prompt, answer) if isinstance(answer, Exception) else answer
                done += 1


def rows(
    prompts: Iterable[PromptLike], targets: Iterable[Any] | None, contrasts: Iterable[Any] | None
) -> Iterator[Row]:
    """Each prompt with its target and its foils. Raises ValueError unless there are as many of each."""
    given = [prompts, *(each for each in (targets, contrasts) if each is not None)]
    missing = object()
    for number, (prompt, *others) in enumerate(zip_longest(*given, fillvalue=missing)):
        if any(each is missing for each in (prompt, *others)):
            raise ValueError(f"from number {number} on there are not as many prompts, targets and contrasts")
        target = others.pop(0) if targets is not None else None
        yield prompt, target, others.pop(0) if contrasts is not None else None


def alone(
    lm: NextTokenLM, row: Row, method: Method, quantity: Quantity, memory: Memory, span: Span | None = None
) -> Attribution | Exception:
    """One answer, or the error that stands for it."""
    prompt, target, contrast = row
    try:
        return attribute(
            lm, prompt, target, method, contrast=contrast, quantity=quantity, span=span, memory_budget=memory.budget
        )
    except EXPECTED as error:
        return error


def in_batches(
    lm: NextTokenLM, window: Sequence[Row], method: LocalMethod, quantity: Quantity, memory: Memory
) -> list[Attribution | Exception]:
    """The answers to some questions, those with prompts of like length together."""
    answers: dict[int, Attribution | Exception] = {}
    asked: dict[int, Question] = {}
    checkpointed: dict[int, int] = {}
    for number, row in enumerate(window):
        prompt, target, contrast = row
        if is_span(target):
            answers[number] = alone(lm, row, method, quantity, memory)
            continue
        try:
            question = Question(lm.prompt(prompt), target, contrast)
            memory.check(lm, question.prompt)
        except EXPECTED as error:
            answers[number] = error
        else:
            asked[number], checkpointed[number] = question, memory.checkpointed
    left = sorted(asked, key=lambda number: len(asked[number].prompt), reverse=True)
    while left:
        longest = asked[left[0]].prompt
        fitting = memory.points(lm, longest, places=MOST_LENGTHS)
        size = memory.at_most(min(max(1, ROWS_A_CHUNK // len(longest)), fitting))
        lengths = [len(asked[number].prompt) for number in left[:size]]
        count = how_many(lengths, padded=lm.supports_right_padding)
        numbers, left = left[:count], left[count:]
        memory.checkpointed = checkpointed[numbers[0]]
        try:
            found = local(lm, [asked[number] for number in numbers], method, quantity, memory=memory)
        except EXPECTED:  # one of them, or together they do not fit; which one shows alone
            found = [alone(lm, window[number], method, quantity, memory) for number in numbers]
        answers |= dict(zip(numbers, found, strict=True))
    return [answers[number] for number in range(len(window))]


def how_many(lengths: Sequence[int], padded: bool) -> int:
    """How many of the prompts of these lengths, longest first, run together."""
    count = 1
    while count < len(lengths):
        some, longest = lengths[: count + 1], lengths[0]
        if len(set(some)) > (MOST_LENGTHS if padded else 1) or 1 - sum(some) / (longest * len(some)) > PADDING:
            break
        count += 1
    return count


@contextmanager
def progress_bar(total: int | None, wanted: bool) -> Iterator[Callable[[], None]]:
    """A bar on standard error or in the notebook, gone when the work is done; none where nobody looks."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("prompts"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    shown = wanted and (console.is_terminal or console.is_jupyter)
    with Progress(*columns, console=console, transient=True, disable=not shown) as bar:
        task = bar.add_task("prompts", total=total)
        yield lambda: bar.advance(task)
