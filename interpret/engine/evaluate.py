"""The one evaluator: values and gradients at points, for one objective or for all rows of some texts at once."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interpret.engine.memory.policy import LOGITS_AT_ONCE, TOKENS_PER_BACKWARD, TOKENS_PER_BATCH
from interpret.engine.objective import Objective
from interpret.engine.run import BackwardRules, Counts, Points, Run, Values
from interpret.engine.text import Text, run_together
from interpret.engine.threads import available, side_by_side
from interpret.question.prepared import PreparedQuestion, Row
from interpret.question.quantity import Quantity, upcast
from nexttoken import NextTokenLM, Prompt

# One objective


def values(objective: Objective, points: Points) -> Values:
    """The objective at each point. Costs one forward pass a point. Raises FloatingPointError if not finite."""
    found = []
    with torch.no_grad(), objective.frozen():
        for batch in _in_batches(objective, objective.function, points):
            found.append(batch)
            objective.run.advance(0)  # no gradient, but a moment to stop at
    result = torch.cat(found)
    objective.counts.forwards += len(points)
    _refuse_non_finite_values(result)
    return result


def gradients(
    objective: Objective, points: Points, exact_values: bool = False, rules: BackwardRules | None = None
) -> tuple[Values, Points]:
    """The objective's values (point,) and their gradients (point, token, dim) at each point.

    Costs one forward and one backward pass a point. The points, the model's parameters, their `.grad`, its mode and the
    global random state stay as they were, after errors too. The result does not depend on the batch size beyond
    rounding.

    Args:
        objective: what is explained.
        points: where.
        exact_values: the values are those of `values`, which costs another forward pass a point where gradients are
            taken in another precision.
        rules: of the backward pass, where the gradient is not to be the objective's own.

    Raises:
        FloatingPointError: a value or gradient is not finite; the message says at which point and token.
    """
    function, found = objective.grad_function or objective.function, []

    def of_batch(batch: Tensor) -> tuple[Tensor, Tensor]:
        batch.requires_grad_(True)
        value = function(batch.clone())
        return value.detach(), _backward([value[:, None]], [batch], rules)[0][0]

    with objective.frozen(), torch.enable_grad():
        for value, gradient in _in_batches(objective, of_batch, points):
            found.append((value, gradient))
            objective.run.advance(len(value))
    value, gradient = (torch.cat(each) for each in zip(*found, strict=True))
    return counted(objective, points, value, gradient, exact_values)


def counted(
    objective: Objective, points: Points, value: Values, gradient: Points, exact_values: bool = False
) -> tuple[Values, Points]:
    """What an objective's gradients were found to be, counted; see `gradients`. Raises FloatingPointError likewise."""
    objective.counts.gradients += len(points)
    _refuse_non_finite_values(value)
    if not bool(gradient.isfinite().all()):
        point, token = (~gradient.isfinite()).any(-1).nonzero()[0].tolist()
        position, named = objective.positions[token], ""
        if objective.lm is not None and objective.prompt is not None:
            named = f" ({objective.lm.vocab.decode([objective.prompt.ids[position]])!r})"
        raise FloatingPointError(
            f"the gradient is not finite at point {point + 1} of {len(gradient)}, token {position + 1}{named}"
        )
    return values(objective, points) if exact_values and objective.grad_function is not None else value, gradient


def each_gradient(
    objective: Objective, points: Iterable[Float[Tensor, "token dim"]], exact_values: bool = False
) -> Iterator[tuple[Float[Tensor, ""], Float[Tensor, "token dim"]]]:
    """The same point by point, for points that are made when they are needed: only those that run next are kept."""
    left, size = iter(points), objective.points_at_once(len(objective.x))
    while batch := list(islice(left, size)):
        yield from zip(*gradients(objective, torch.stack(batch), exact_values), strict=True)


def _in_batches(objective: Objective, function: Callable[[Tensor], object], points: Points) -> Iterator[Any]:
    size = objective.points_at_once(points.shape[1]) if len(points) > 1 else 1
    return objective.run.memory.in_batches(lambda some: function(some.detach().clone()), points, points.shape[1], size)


def _refuse_non_finite_values(value: Values) -> None:
    if not bool(value.isfinite().all()):
        point = int((~value.isfinite()).nonzero()[0])
        raise FloatingPointError(f"the objective is {float(value[point])} at point {point + 1} of {len(value)}")


# All rows of some texts


@dataclass(frozen=True, eq=False)
class Scored:
    """The rows of a question, whose targets a pass has scored.

    Attributes:
        text: that they are of.
        rows: each with its target.
        forwards: the number of forward passes without a gradient that it took.
        points: (point, token, dim) where gradients were taken; None where none were.
        values: (point, row) of the function whose gradients were taken.
        gradients: (row, point, token, dim)
    """

    text: Text
    rows: Sequence[Row]
    forwards: int = 0
    points: Points | None = None
    values: Float[Tensor, "point row"] | None = None
    gradients: Float[Tensor, "row point token dim"] | None = None


@dataclass(frozen=True)
class Evaluator:
    """How the rows of some questions about a model are computed together: one forward pass, a backward pass for each.

    Args:
        lm: the model, frozen by who asks.
        quantity: what about each target is explained.
        run: how it is computed.
        rules: of the backward pass.
        keep_states: whether texts keep what the model predicts after each token, as far as a pass shows it.
    """

    lm: NextTokenLM
    quantity: Quantity
    run: Run
    rules: BackwardRules | None = None
    keep_states: bool = False

    def score_targets(self, texts: Sequence[Text], questions: Sequence[PreparedQuestion]) -> list[Scored | ValueError]:
        """The rows of each question, or why it has none. One forward pass for all of them, without gradient."""

        def of_some(some: Sequence[tuple[Text, PreparedQuestion]]) -> list[Scored | ValueError]:
            read = run_together([text for text, _ in some], [text.x[None] for text, _ in some], self.keep_states)
            return [self._rows(*each, *own, forwards=1)[0] for each, own in zip(some, read, strict=True)]

        with torch.no_grad():
            return self._halving(of_some, list(zip(texts, questions, strict=True)))

    def gradients_at_prompts(
        self, texts: Sequence[Text], questions: Sequence[PreparedQuestion]
    ) -> list[Scored | ValueError]:
        """The rows of each question, with the gradients at its prompt.

        One forward pass for all questions, which scores the targets as well, unless gradients are taken in another
        precision; and one backward pass a row of a question, for all questions at once.
        """
        exact = self.run.grad_lm(self.lm) is self.lm
        scored: Sequence[Scored | ValueError | None]
        scored = [None] * len(texts) if exact else self.score_targets(texts, questions)
        found = self._halving(self._gradients, list(zip(texts, questions, scored, strict=True)))
        self.run.advance(sum(len(each.rows) for each in found if isinstance(each, Scored)))
        return found

    def gradients_at(self, scored: Scored, points: Points) -> list[Scored]:
        """The rows of one question with the gradients at points of its text, together or in halves.

        Costs one forward pass a point, and one backward pass a point and row.
        """
        text, memory = scored.text, self.run.memory
        fitting = text.points_at_once(self.run, len(scored.rows))
        size = self.run.batch_size or min(max(1, TOKENS_PER_BATCH // points.shape[1]), fitting)

        def of_some(rows: Sequence[Row]) -> Scored:
            def of_batch(batch: Tensor) -> tuple[Tensor, Tensor]:
                grad_text, leaf = text.by(self.run.grad_lm(self.lm)), batch.detach().clone().requires_grad_(True)
                value = self._values(run_together([grad_text], [leaf.clone()])[0][0], rows)
                return value.detach(), self._backward([value], [leaf], [grad_text])[0]

            found = []
            for value, gradient in memory.in_batches(of_batch, points, points.shape[1], size):
                found.append((value, gradient))
                self.run.advance(value.numel())
            every_value, every_gradient = zip(*found, strict=True)
            return Scored(text, rows, scored.forwards, points, torch.cat(every_value), torch.cat(every_gradient, 1))

        def of_rows(rows: Sequence[Row]) -> list[Scored]:
            try:
                return [of_some(rows)]
            except MemoryError:
                if len(rows) == 1:
                    raise
                half = len(rows) // 2
                return of_rows(rows[:half]) + of_rows(rows[half:])

        with torch.enable_grad():
            return of_rows(scored.rows)

    def _halving(self, function: Callable[[Any], list[Any]], items: Sequence[Any]) -> list[Any]:
        length = max(text.length for text, *_ in items)
        return [each for some in self.run.memory.in_batches(function, items, length) for each in some]

    def _gradients(
        self, some: Sequence[tuple[Text, PreparedQuestion, Scored | ValueError | None]]
    ) -> list[Scored | ValueError]:
        # At the prompts; of questions that were scored before, or that this pass scores.
        texts = [text.by(self.run.grad_lm(self.lm)) for text, *_ in some]
        with torch.enable_grad():
            leaves = [text.x[None].detach().clone().requires_grad_(True) for text, *_ in some]
            keep_states = self.keep_states and some[0][2] is None
            read = run_together(texts, [leaf.clone() for leaf in leaves], keep_states)
            scored: list[Scored | ValueError] = []
            every: list[Tensor] = []
            for (text, question, before), own in zip(some, read, strict=True):
                rows, value = self._rows(text, question, *own) if before is None else (before, own[0].new_zeros(1, 0))
                if isinstance(before, Scored):
                    value = self._values(own[0], before.rows)
                scored.append(rows)
                every.append(value)
            gradients = self._backward(every, leaves, texts)
        return [
            each if isinstance(each, ValueError)
            else Scored(each.text, each.rows, each.forwards, each.text.x[None], value.detach(), gradient)
            for each, value, gradient in zip(scored, every, gradients, strict=True)
        ]  # fmt: skip

    def _rows(
        self,
        text: Text,
        question: PreparedQuestion,
        logits: Float[Tensor, "1 position vocab"],
        states: Float[Tensor, "1 token hidden"] | None,
        forwards: int = 0,
    ) -> tuple[Scored | ValueError, Float[Tensor, "1 row"]]:
        # The rows of a question from the model's own logits at the prompt, or why it has none; and their values.
        try:
            rows = question.rows(logits[0].detach())
            found = self._values(logits, rows)
        except ValueError as error:
            return error, logits.new_zeros(1, 0)
        if states is not None:
            text.states = states[0, : len(text.prompt)].detach()
            text.end_logits = logits[0, text.positions.index(len(text.prompt) - 1)].detach()
        return Scored(text, rows, forwards), found

    def _values(self, logits: Float[Tensor, "point position vocab"], rows: Sequence[Row]) -> Float[Tensor, "point row"]:
        each = [self.quantity.of_continuation(logits[:, list(row.read)], row.target.continuation) for row in rows]
        return torch.stack(each, 1)

    def _backward(self, every: Sequence[Tensor], leaves: Sequence[Tensor], texts: Sequence[Text]) -> list[Tensor]:
        lm = self.run.grad_lm(self.lm)
        alone = lm.is_sharded or any(text.checkpointed for text in texts)
        return _backward(every, leaves, self.rules, lm.batches_backward, threads=not alone)


def _backward(
    every: Sequence[Float[Tensor, "_ _"]],
    leaves: Sequence[Float[Tensor, "_ _ dim"]],
    rules: BackwardRules | None,
    batched: bool = False,
    threads: bool = False,
) -> list[Float[Tensor, "_ _ _ dim"]]:
    """The gradient of each text's values (point, row) with respect to its points: (row, point, token, dim).

    Some texts run together with one row each, one text with any number of rows; their backward passes may be `batched`,
    and run in `threads` side by side: not where layers run again in them, which takes one thread, nor where processes
    exchange messages in them, whose order must be the same everywhere.
    """
    flat = torch.cat([value.flatten() for value in every]) if rules is not None else None
    with rules.applied(flat) if rules is not None and flat is not None else contextlib.nullcontext():
        if len(every) == 1 and every[0].shape[1] > 1:
            return [vjp(every[0], leaves[0], batched, threads)]
        wanted = [number for number, value in enumerate(every) if value.numel()]
        assert all(every[number].shape[1] == 1 for number in wanted), "texts that run together have one row each"
        found = [leaf.new_zeros(0, *leaf.shape) for leaf in leaves]
        if wanted:
            total = torch.stack([every[number].sum() for number in wanted]).sum()
            for number, each in zip(wanted, torch.autograd.grad(total, [leaves[n] for n in wanted]), strict=True):
                found[number] = each[None]
        return found


def vjp(
    value: Float[Tensor, "point row"], points: Points, batched: bool, threads: bool
) -> Float[Tensor, "row point token dim"]:
    """The gradient of each column of values with respect to the points; see `_backward`."""
    rows = value.shape[1]
    workers, tokens = available(points.device) if threads else 1, rows * points[..., 0].numel()
    at_once = math.ceil(rows / (workers * math.ceil(tokens / (workers * TOKENS_PER_BACKWARD)))) if batched else 1

    def of_some(begin: int) -> Tensor:
        some = value[:, begin : begin + at_once].sum(0)
        one_each = torch.eye(len(some)).to(some)
        if len(some) == 1:
            return torch.autograd.grad(some, points, one_each[0], retain_graph=True)[0][None]
        return torch.autograd.grad(some, points, one_each, is_grads_batched=True, retain_graph=True)[0]

    return torch.cat(list(side_by_side(of_some, range(0, rows, at_once), workers)))


# Many texts without gradient


def read_next_tokens(
    lm: NextTokenLM,
    rows: Sequence[Sequence[int]],
    read: Callable[[Tensor], Tensor],
    like: Prompt,
    run: Run,
    counts: Counts,
) -> Float[Tensor, "row number"]:
    """What is read off the logits of the token that follows each row. Costs one forward pass a row, no gradient.

    Rows of one length run together, so that none is padded; what is read does not depend on how many do.

    Args:
        lm: the model; it comes back as it was.
        rows: token ids, as `lm.tokens` gives them.
        read: logits (row, vocab), in float32 or better, to numbers (row, number).
        like: a prompt of this kind, by which the memory of a row is estimated.
        run: its memory and progress.
        counts: what it has cost.
    """

    def of_batch(ids: Int[Tensor, "row token"]) -> Tensor:
        return read(upcast(lm.next_tokens(lm.embed({"input_ids": ids}), ids)[1][:, 0]))

    tokens = min(TOKENS_PER_BATCH, run.memory.points_that_fit(lm, like) * len(like))
    return _by_length(lm, rows, of_batch, lambda length: max(1, tokens // length), run, counts)


def log_likelihoods(
    lm: NextTokenLM, rows: Sequence[Sequence[int]], like: Prompt, run: Run, counts: Counts
) -> Float[Tensor, " row"]:
    """How likely a causal model finds each row: the sum of log p of each token but the first. A forward pass a row."""

    def of_batch(ids: Int[Tensor, "row token"]) -> Tensor:
        if ids.shape[1] == 1:  # there is nothing that follows anything
            return torch.zeros(len(ids), 1, device=ids.device)
        logits = lm.next_tokens(lm.embed({"input_ids": ids}), ids, range(ids.shape[1] - 1))[1]
        shares = upcast(logits).log_softmax(-1).gather(-1, ids[:, 1:, None])
        return shares.sum((1, 2))[:, None]

    fitting, vocabulary = run.memory.points_that_fit(lm, like), lm.vocab.size()

    def at_once(length: int) -> int:
        return max(1, min(fitting, LOGITS_AT_ONCE // (length * vocabulary)))

    return _by_length(lm, rows, of_batch, at_once, run, counts).flatten()


def _by_length(
    lm: NextTokenLM,
    rows: Sequence[Sequence[int]],
    of_batch: Callable[[Tensor], Tensor],
    at_once: Callable[[int], int],
    run: Run,
    counts: Counts,
) -> Float[Tensor, "row number"]:
    by_length: dict[int, list[int]] = {}
    for number, row in enumerate(rows):
        by_length.setdefault(len(row), []).append(number)
    order, found = list[int](), list[Tensor]()
    with torch.no_grad(), lm.frozen():
        for length, numbers in by_length.items():
            ids = torch.tensor([list(rows[number]) for number in numbers], device=lm.device)
            for batch in run.memory.in_batches(of_batch, ids, length, at_once(length)):
                found.append(batch)
                counts.forwards += len(batch)
                run.advance(len(batch))
            order += numbers
    return torch.cat(found)[torch.tensor(order).argsort()] if found else torch.zeros(0, 0)
