"""From what a method found to an Attribution: scores per piece, and all that is said about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from interpret.engine.objective import Objective
from interpret.methods.method import Evidence, Method
from interpret.question.quantity import Quantity
from interpret.results.attribution import Attribution
from interpret.results.files import versions
from interpret.results.reduction import SUM
from nexttoken import Target


def build_attribution(
    objective: Objective, evidence: Evidence, target: Target, method: Method, quantity: Quantity
) -> Attribution:
    """The attribution of one objective, from the evidence that a method found: scores and provenance."""
    lm, prompt, counts = objective.lm, objective.prompt, objective.counts
    assert lm is not None
    assert prompt is not None
    evidence = _scatter_to_prompt(evidence, objective)
    other = objective.run.grad_lm(lm)
    remark = "" if other is lm else f" (gradients in {str(other.dtype).removeprefix('torch.')})"
    positions = [piece.positions for piece in prompt.pieces]
    fixed = evidence.fixed.tolist() if evidence.fixed is not None else [False] * len(prompt)
    error = None if evidence.error is None else SUM(_as_array(evidence.error[:, None]), positions)
    return Attribution(
        tokens=tuple(piece.text for piece in prompt.pieces),
        scores=method.normalized(method.reduction(_as_array(evidence.attributions), positions)),
        labels=tuple(piece.label for piece in prompt.pieces),
        token_ids=tuple(tuple(prompt.ids[position] for position in piece) for piece in positions),
        standard_error=_standard_error(evidence, method, positions),
        error=error,
        fixed=tuple(all(fixed[position] for position in piece) for piece in positions),
        template=tuple(piece.template for piece in prompt.pieces),
        unit=method.unit(quantity.unit),
        target=target if quantity.of_target else None,
        quantity=f"{quantity.name} difference" if target.foils and quantity.of_target else quantity.name,
        method=repr(method),
        method_name=method.name,
        settings=method.description,
        reduction=method.reduction.name,
        signed=method.reduction.signed,
        model=lm.name + remark,
        gradients_spent=counts.gradients,
        forwards_spent=counts.forwards,
        completeness=evidence.completeness and replace(evidence.completeness, unit=quantity.unit),
        versions=versions(),
        messages=prompt.messages,
        path=evidence.path,
        start=None if prompt.start_token is None else lm.vocab.decode([prompt.start_token]),
    )


def _scatter_to_prompt(evidence: Evidence, objective: Objective) -> Evidence:
    """The evidence for all tokens of the prompt, where only some positions are attributed: the others are fixed."""
    prompt = objective.prompt
    if prompt is None or len(objective.positions) == len(prompt):
        return evidence
    length, positions = len(prompt), torch.tensor(objective.positions)

    def wide(found: Tensor | None, axis: int, rest: float = 0) -> Tensor | None:
        if found is None:
            return None
        shape = list(found.shape)
        shape[axis] = length
        return found.new_full(shape, rest).index_copy(axis, positions.to(found.device), found)

    fixed = evidence.fixed if evidence.fixed is not None else torch.zeros(len(positions), dtype=torch.bool)
    attributions = wide(evidence.attributions, 0)
    assert attributions is not None
    return replace(
        evidence, attributions=attributions, fixed=wide(fixed, 0, True), error=wide(evidence.error, 0),
        samples=wide(evidence.samples, 1),
    )  # fmt: skip


def _as_array(found: Tensor) -> ndarray:
    return found.detach().double().cpu().numpy()


def _standard_error(
    evidence: Evidence, method: Method, pieces: Sequence[Sequence[int]]
) -> Float[ndarray, " piece"] | None:
    """The jackknife standard error of each score, from the independent samples of a method that has them.

    It holds for every reduction; for a sum it equals the standard error of the mean. Tukey 1958; Efron 1982.
    """
    samples = evidence.samples
    if samples is None or len(samples) < 2:
        return None
    total, count = samples.double().sum(0), len(samples)
    without = numpy.stack(
        [method.normalized(method.reduction(_as_array((total - each) / (count - 1)), pieces)) for each in samples]
    )
    return numpy.sqrt((count - 1) * without.var(0))
