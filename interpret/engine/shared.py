"""The shared pass: rows (prompt, target) whose forward pass is one, with batched backward passes and a lookup for each.

One forward pass runs the texts of some questions and rates their targets; the gradients of all rows follow from it.
Each row has an objective of its own, which takes any number of points: those that the pass has computed are looked up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from interpret.engine.forward import Forward, Passage, forward_together
from interpret.engine.gradients import vjp
from interpret.engine.memory.policy import TOKENS_PER_BATCH, Shortage
from interpret.engine.objective import Objective
from interpret.engine.run import BackwardRules, Counts, Known, Predicted, Run
from interpret.question.prepared import PreparedQuestion, Row
from interpret.question.quantity import Quantity
from nexttoken import NextTokenLM


@dataclass(frozen=True, eq=False)
class SharedRow:
    """A row of a pass: what it explains, and what the pass knows about it.

    Attributes:
        row: the prompt, the target, and where it is read.
        question: the question that it is part of.
        forwards: the number of forward passes without a gradient that it took to rate the target.
        known: what has been computed.
    """

    row: Row
    question: Asked
    forwards: int
    known: Known

    def objective(self, quantity: Quantity, run: Run) -> Objective:
        """What is explained, as a function of the embeddings that the row sees; with counts of its own."""
        asked, row = self.question, self.row
        own = replace(run, counts=Counts(forwards=self.forwards), known=self.known)
        whole = row.prompt is asked.question.prompt and len(row.read) == len(asked.question.places)
        forward = asked.forward if whole else asked.of_prefix(row)
        grad_forward = asked.grad_forward if whole else forward.by(asked.grad_forward.lm)
        return Objective.over(forward, grad_forward, row.target, quantity, own)


@dataclass(frozen=True, eq=False)
class Asked:
    """A question with the forward pass of its text."""

    question: PreparedQuestion
    forward: Forward
    grad_forward: Forward

    @classmethod
    def of(cls, lm: NextTokenLM, question: PreparedQuestion, run: Run) -> Asked:
        """Raises ValueError if the text does not fit the memory."""
        text = Passage(question.prompt, question.places, question.following, question.moving)
        forward = Forward(lm, text, run.checkpointed_layers(lm, question.prompt, len(question.following)))
        return cls(question, forward, forward.by(run.grad_lm(lm)))

    def of_prefix(self, row: Row) -> Forward:
        """The forward pass of a row that sees the beginning of the text only."""
        text = Passage(row.prompt, (len(row.prompt) - 1,), (), self.question.moving)
        return Forward(self.forward.lm, text, self.forward.checkpointed)

    def seen(self, row: Row) -> int:
        """How many of the tokens that move a row sees."""
        return len(self.forward.moving) if self.question.moving is not None else len(row.prompt.own)


@dataclass(frozen=True)
class SharedPass:
    """How the rows of some questions about a model are computed together.

    Args:
        lm: the model.
        quantity: what about each target is explained.
        run: how it is computed.
        rules: of the backward pass.
        predicted: whether it is kept what the model predicts after each token, as far as it shows in the pass.
    """

    lm: NextTokenLM
    quantity: Quantity
    run: Run
    rules: BackwardRules | None = None
    predicted: bool = False

    @property
    def grad_lm(self) -> NextTokenLM:
        """The model whose gradients are taken."""
        return self.run.grad_lm(self.lm)

    def rate(self, asked: Sequence[Asked]) -> list[list[SharedRow] | ValueError]:
        """The rows of each question, or why it has none. One forward pass for all of them, without gradient."""

        def rated() -> list[list[SharedRow] | ValueError]:
            x = [each.forward.x[None] for each in asked]
            forwards = [each.forward for each in asked]
            one = len(asked) == 1
            read = [forwards[0].read(x[0], self.predicted)] if one else forward_together(forwards, x, self.predicted)
            return [self._rows(each, *own, forwards=1)[0] for each, own in zip(asked, read, strict=True)]

        with torch.no_grad(), self.lm.frozen():
            outcome = self.run.memory.attempt(rated, len(asked), max(each.forward.length for each in asked))
        if isinstance(outcome, Shortage):
            half = len(asked) // 2
            return self.rate(asked[:half]) + self.rate(asked[half:])
        return outcome

    def at_prompts(self, asked: Sequence[Asked]) -> list[list[SharedRow] | ValueError]:
        """The rows of each question, with the gradients at the prompt.

        One forward pass for all questions, which rates the targets as well, unless gradients are taken
        in another precision; and one backward pass a row of a question, for all questions at once.
        """
        return self._gradients(asked, None if self.grad_lm is self.lm else self.rate(asked))

    def at_points(
        self, asked: Asked, rows: Sequence[SharedRow], points: Float[Tensor, "point token dim"]
    ) -> list[SharedRow]:
        """The rows of one question with the gradients at points of its text, chunk by chunk.

        Costs one forward pass a point, and one backward pass a point and row.
        """
        memory, question = self.run.memory, asked.question
        places = max(len(question.places), len(rows))
        fitting = memory.fitting(self.grad_lm, question.prompt, len(question.following), places)
        size = self.run.batch_size or min(max(1, TOKENS_PER_BATCH // points.shape[1]), fitting)

        def of_chunk(chunk: Tensor) -> tuple[Tensor, Tensor]:
            ((_, values, gradient),) = self._evaluate([asked], [chunk], [rows])
            return values, gradient

        every_value, every_gradient = [], []
        with self._gradients_taken():
            for value, gradient in memory.in_chunks(of_chunk, points, size):
                every_value.append(value)
                every_gradient.append(gradient)
                self.run.advance(value.numel())
        return self._known(asked, rows, points, torch.cat(every_value), torch.cat(every_gradient, 1))

    def _gradients(
        self, asked: Sequence[Asked], rated: Sequence[list[SharedRow] | ValueError] | None
    ) -> list[list[SharedRow] | ValueError]:
        """`at_prompts`, of targets rated before or by this pass; where the device runs out, half at a time."""
        x = [each.forward.x[None] for each in asked]
        with self._gradients_taken():
            outcome = self.run.memory.attempt(
                lambda: self._evaluate(asked, x, rated), len(asked), max(each.forward.length for each in asked)
            )
        if isinstance(outcome, Shortage):
            half = len(asked) // 2
            halves = (None, None) if rated is None else (rated[:half], rated[half:])
            return self._gradients(asked[:half], halves[0]) + self._gradients(asked[half:], halves[1])
        found: list[list[SharedRow] | ValueError] = []
        for each, points, (rows, values, gradient) in zip(asked, x, outcome, strict=True):
            found.append(rows if isinstance(rows, ValueError) else self._known(each, rows, points, values, gradient))
        self.run.advance(sum(len(rows) for rows in found if not isinstance(rows, ValueError)))
        return found

    def _evaluate(
        self,
        asked: Sequence[Asked],
        points: Sequence[Float[Tensor, "_ _ dim"]],
        rated: Sequence[Sequence[SharedRow] | ValueError] | None,
    ) -> list[tuple[Sequence[SharedRow] | ValueError, Tensor, Tensor]]:
        """For each question its rows, their values (point, row) and gradients (row, point, token, dim)."""
        leaves = [each.detach().clone().requires_grad_(True) for each in points]
        states = self.predicted and rated is None
        read = forward_together([each.grad_forward for each in asked], [leaf.clone() for leaf in leaves], states)
        if rated is None:  # the points are the prompts
            found = [self._rows(each, *own) for each, own in zip(asked, read, strict=True)]
            rated = [rows for rows, _ in found]
            values = [value for _, value in found]
        else:
            values = [
                own.new_zeros(len(own), 0) if isinstance(rows, ValueError) else self._values(own, rows)
                for rows, (own, _) in zip(rated, read, strict=True)
            ]
        alone = self.grad_lm.is_sharded or any(each.grad_forward.checkpointed for each in asked)
        with self._ruled(values):
            gradients = self._vjps(values, leaves, threads=not alone)
        return list(zip(rated, [value.detach() for value in values], gradients, strict=True))

    def _vjps(self, values: Sequence[Tensor], leaves: Sequence[Tensor], threads: bool) -> list[Tensor]:
        """The gradient of each value with respect to its question's points (row, point, token, dim)."""
        if len(leaves) == 1 and values[0].numel():
            batched = values[0].shape[1] > 1 and self.grad_lm.batches_backward
            return [vjp(values[0], leaves[0], batched, threads)]
        wanted = [place for place, value in enumerate(values) if value.numel()]
        assert all(values[place].shape[1] == 1 for place in wanted), "questions that run together have one row each"
        found = [leaf.new_zeros(0, *leaf.shape) for leaf in leaves]
        if wanted:
            total = torch.stack([values[place].sum() for place in wanted]).sum()
            every = torch.autograd.grad(total, [leaves[place] for place in wanted])
            for place, gradient in zip(wanted, every, strict=True):
                found[place] = gradient[None]
        return found

    def _rows(
        self,
        asked: Asked,
        logits: Float[Tensor, "1 place vocab"],
        states: Float[Tensor, "1 token hidden"] | None,
        forwards: int = 0,
    ) -> tuple[list[SharedRow] | ValueError, Float[Tensor, "1 row"]]:
        """The rows of a question from the model's own logits at the prompt, or why it has none; and their values."""
        try:
            rows = asked.question.rows(logits[0].detach())
            values = torch.stack([self._value(logits, row) for row in rows], 1)
        except ValueError as error:
            return error, logits.new_zeros(1, 0)
        own, found = values.detach(), []
        for number, row in enumerate(rows):
            predicted = None
            if states is not None:
                seen = len(row.prompt)
                predicted = Predicted(states[0, :seen].detach(), logits[0, row.read[0]].detach())
            found.append(SharedRow(row, asked, forwards, Known(own[:, number], predicted=predicted)))
        return found, values

    def _values(
        self, logits: Float[Tensor, "point place vocab"], rows: Sequence[SharedRow]
    ) -> Float[Tensor, "point row"]:
        return torch.stack([self._value(logits, each.row) for each in rows], 1)

    def _value(self, logits: Float[Tensor, "point place vocab"], row: Row) -> Float[Tensor, " point"]:
        return self.quantity.of_continuation(logits[:, list(row.read)], row.target.continuation)

    def _known(
        self,
        asked: Asked,
        rows: Sequence[SharedRow],
        points: Float[Tensor, "point token dim"],
        values: Float[Tensor, "point row"],
        gradients: Float[Tensor, "row point token dim"],
    ) -> list[SharedRow]:
        """The rows with what was computed for each, as far as it sees the text."""
        found = []
        for number, each in enumerate(rows):
            seen = asked.seen(each.row)
            known = replace(
                each.known, points=points[:, :seen], values=values[:, number], gradients=gradients[number][:, :seen],
                rules=self.rules,
            )  # fmt: skip
            found.append(replace(each, known=known))
        return found

    def _ruled(self, values: Sequence[Tensor]) -> AbstractContextManager[None]:
        """The context in which gradients of the values flow back by the rules."""
        if self.rules is None:
            return nullcontext()
        return self.rules.applied(torch.cat([value.flatten() for value in values]))

    @contextmanager
    def _gradients_taken(self) -> Iterator[None]:
        """The context in which gradients are taken: the model frozen."""
        with self.lm.frozen(), torch.enable_grad():
            yield
