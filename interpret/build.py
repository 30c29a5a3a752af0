"""From what a method found to an Attribution: scores per piece, and all that is said about them."""

from __future__ import annotations

from collections.abc import Callable
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
    pieces = [piece.positions for piece in prompt.pieces]

    def of_prompt(found: Tensor, rest: float = 0.0) -> ndarray:  # where only some positions are attributed
        whole = numpy.full((len(prompt), *found.shape[1:]), rest)
        whole[list(objective.positions)] = found.detach().double().cpu().numpy()
        return whole

    def scores(found: Tensor) -> Float[ndarray, " piece"]:
        return method.normalized(method.reduction(of_prompt(found), pieces))

    attributions, samples = evidence.attributions, evidence.samples
    fixed = of_prompt(torch.zeros(len(objective.positions)) if evidence.fixed is None else evidence.fixed, 1.0)
    other = objective.run.grad_lm(lm)
    remark = "" if other is lm else f" (gradients in {str(other.dtype).removeprefix('torch.')})"
    return Attribution(
        tokens=tuple(piece.text for piece in prompt.pieces),
        scores=scores(attributions),
        labels=tuple(piece.label for piece in prompt.pieces),
        token_ids=tuple(tuple(prompt.ids[position] for position in piece) for piece in pieces),
        standard_error=None if samples is None or len(samples) < 2 else _jackknife(samples, scores),
        error=None if evidence.error is None else SUM(of_prompt(evidence.error[:, None]), pieces),
        fixed=tuple(bool(all(fixed[position] for position in piece)) for piece in pieces),
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


def _jackknife(samples: Tensor, scores: Callable[[Tensor], ndarray]) -> Float[ndarray, " piece"]:
    """The standard error of each score, from the independent samples of a method.

    It holds for every reduction; for a sum it equals the standard error of the mean. Tukey 1958; Efron 1982.
    """
    total, count = samples.double().sum(0), len(samples)
    without = numpy.stack([scores((total - each) / (count - 1)) for each in samples])
    return numpy.sqrt((count - 1) * without.var(0))
