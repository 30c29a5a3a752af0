"""Many prompts, explained one after the other or together, in the order in which they are given."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice, zip_longest
from typing import Any

from interpret.engine.memory.policy import PROMPTS_PER_WINDOW
from interpret.engine.progress import progress as progress_bar
from interpret.engine.run import Precision, Run, interruptible
from interpret.engine.text import Text
from interpret.explain import EXPECTED, attribute_batch, prepared, with_defaults
from interpret.methods.method import Method
from interpret.question.prepared import PreparedQuestion, ask
from interpret.question.quantity import Quantity
from interpret.question.region import Region
from interpret.replacement.check import check_text
from interpret.results.attribution import Attribution
from nexttoken import NextTokenLM, Prompt
from nexttoken.text.prompt import Array, PromptLike, Start, id_rows
from nexttoken.text.target import TokenLike

Given = tuple[PromptLike, Any, Any]  # prompt, target, foils
Asking = Callable[[Given], PreparedQuestion]


@dataclass(frozen=True)
class Failure:
    """A prompt that could not be explained.

    Attributes:
        number: its index among the prompts, from 0.
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
    region: Region | None = None,
    start: Start = None,
    precision: Precision | None = None,
    batch_size: int | None = None,
    memory_budget: int | None = None,
    check: bool = False,
    on_progress: Callable[[int], object] | None = None,
    progress: bool = True,
) -> Iterator[Attribution | Failure]:
    """Explain many prompts, one result for each in the order in which they are given.

    Where a method needs one gradient a prompt, prompts of like length run together (of equal length, where padding is
    not known to change nothing); the scores are those of `attribute`, up to rounding. What is learned about the
    device's memory from one prompt serves the next ones.

    Args:
        prompts: as `attribute` takes them; they may come from a generator. A batch that a tokenizer returned is one for
            each of its rows, without its padding.
        targets: the next token of each prompt; by default the model's first choice.
        contrasts: the foils of each prompt, if any.
        batch_size: prompts that run together are points, too.
        check: each result on its own.
        progress: show a progress bar in a terminal or a notebook.

    The other arguments are those of `attribute`, the same for every prompt.

    Yields:
        An Attribution, or a Failure for a prompt that cannot be explained: a ValueError, ArithmeticError or
        MemoryError of `attribute`.

    Raises:
        ValueError: prompts, targets or contrasts that are one text, or differ in number; settings that `attribute`
            refuses whatever the prompt. What else a prompt raises ends it too.
    """
    method, quantity = with_defaults(lm, method, quantity)
    run = Run.of(precision, batch_size, memory_budget, on_progress)
    for name, given in (("prompts", prompts), ("targets", targets), ("contrasts", contrasts)):
        if isinstance(given, str):
            raise ValueError(f"{name} is one text, {given!r}; give a list, or use attribute for one prompt")
    prompts = _batch(prompts)
    rows, done = _rows(prompts, targets, contrasts), 0
    total = len(prompts) if isinstance(prompts, Sized) else None
    with interruptible(), progress_bar(total, "prompts", shown=progress) as advance:
        while window := list(islice(rows, PROMPTS_PER_WINDOW if method.local else 1)):
            with lm.frozen():
                answers = _in_batches(lm, window, method, quantity, partial(_ask, lm, region, start), run)
            for (prompt, _, _), (answer, text) in zip(window, answers, strict=True):
                advance(1)
                if check and text is not None and not isinstance(answer, Exception):
                    answer = _checked(text, answer, quantity, run)
                yield Failure(done, prompt, answer) if isinstance(answer, Exception) else answer
                done += 1


def _batch(prompts: Any) -> Iterable[PromptLike]:
    # The prompts of a batch of token ids, or what else was given as it is.
    if isinstance(prompts, Prompt) or (isinstance(prompts, Mapping) and "input_ids" not in prompts):
        raise ValueError(f"prompts is one prompt, {prompts!r}; give a list, or use attribute for one prompt")
    if isinstance(prompts, Mapping | Array):
        return id_rows(prompts) or []
    return prompts


def _rows(
    prompts: Iterable[PromptLike], targets: Iterable[Any] | None, contrasts: Iterable[Any] | None
) -> Iterator[Given]:
    """Each prompt with its target and its foils. Raises ValueError unless there are as many of each."""
    given = [prompts, *(each for each in (targets, contrasts) if each is not None)]
    missing = object()
    for number, (prompt, *others) in enumerate(zip_longest(*given, fillvalue=missing)):
        if any(each is missing for each in (prompt, *others)):
            raise ValueError(f"prompts, targets and contrasts differ in number: one ends before number {number}")
        target = others.pop(0) if targets is not None else None
        yield prompt, target, others.pop(0) if contrasts is not None else None


def _checked(text: Text, why: Attribution, quantity: Quantity, run: Run) -> Attribution | Exception:
    try:
        return replace(why, faithfulness=check_text(text, why, quantity, run))
    except EXPECTED as error:
        return error


def _ask(lm: NextTokenLM, region: Region | None, start: Start, given: Given) -> PreparedQuestion:
    prompt, target, contrast = given
    return ask(lm, lm.prompt(prompt, start), target, contrast, region)


def _in_batches(
    lm: NextTokenLM, window: Sequence[Given], method: Method, quantity: Quantity, asking: Asking, run: Run
) -> list[tuple[Attribution | Exception, Text | None]]:
    """The answers to some rows, with their texts; those with prompts of like length together."""
    answers: dict[int, tuple[Attribution | Exception, Text | None]] = {}
    asked: dict[int, tuple[Text, PreparedQuestion]] = {}
    for number, given in enumerate(window):
        try:
            question = asking(given)
            asked[number] = (prepared(lm, question, run), question)
        except EXPECTED as error:
            answers[number] = (error, None)
    for numbers in _batches(lm, {number: question for number, (_, question) in asked.items()}, run):
        found = attribute_batch(lm, [asked[number] for number in numbers], method, quantity, run)
        for number, answer in zip(numbers, found, strict=True):
            answers[number] = (answer if isinstance(answer, Exception) else answer[0], asked[number][0])
    return [answers[number] for number in range(len(window))]


def _batches(lm: NextTokenLM, asked: dict[int, PreparedQuestion], run: Run) -> Iterator[list[int]]:
    """The numbers of the questions that run together, the longest first; one with several targets runs alone."""
    alone = [number for number, question in asked.items() if len(question.positions) > 1]
    yield from ([number] for number in alone)
    left = sorted(asked.keys() - set(alone), key=lambda number: len(asked[number].prompt), reverse=True)
    while left:
        count = min(len(left), run.batch_size or len(left))
        if count > 1:
            lengths = [len(asked[number].prompt) for number in left[:count]]
            try:
                count = run.memory.prompts_at_once(run.grad_lm(lm), lengths, asked[left[0]].prompt)
            except EXPECTED:  # what is wrong with this prompt shows when it runs
                count = 1
        yield left[:count]
        left = left[count:]
