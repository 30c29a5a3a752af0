"""What the objective becomes when words give way to plausible alternatives, and how that agrees with scores."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from interpret.engine.gradients import values
from interpret.engine.objective import Objective
from interpret.methods.alternatives import alternatives, embedded_words

ALTERNATIVES = 50  # words at a place, the likeliest


def values_with_alternatives(
    objective: Objective,
    groups: Sequence[Sequence[int]],
    masks: Sequence[Sequence[int]],
    generator: torch.Generator,
) -> list[float]:
    """F with some tokens replaced by words drawn from what else might stand there, in the model's own view.

    Costs a forward pass for each mask, and those of `alternatives`.

    Args:
        objective: F, of a model and a prompt; every token of the groups must be one that moves.
        groups: the places in the prompt of tokens that are replaced together.
        masks: for each value, which of the groups are replaced; the words are drawn for each mask anew.
        generator: of the draws.

    Raises:
        ValueError: an objective without a model.
    """
    found, x = alternatives(objective, ALTERNATIVES), objective.x
    lm, prompt = objective.context.lm, objective.context.prompt
    assert lm is not None
    assert prompt is not None
    columns = {place: column for column, place in enumerate(objective.places())}
    replaced = torch.zeros(len(masks), len(columns), dtype=torch.bool)
    for row, mask in enumerate(masks):
        replaced[row, [columns[place] for group in mask for place in groups[group]]] = True
    drawn = found.draw(len(masks), lm.vocab.size(), generator)
    words = torch.where(replaced, drawn, torch.tensor([prompt.ids[place] for place in columns]))
    step, answers = objective.points_at_once(len(x)), list[float]()
    for begin in range(0, len(words), step):
        answers += values(objective, embedded_words(objective, words[begin : begin + step], x)).tolist()
    return answers


def spearman(one: Float[Tensor, "*row item"], other: Float[Tensor, "*row item"]) -> Float[Tensor, "*row"]:
    """Spearman's rank correlation along the last axis; 0 where all of one side are equal. Ties share a rank."""

    def ranks(numbers: Tensor) -> Tensor:
        pairs = numbers[..., :, None] - numbers[..., None, :]
        found = (pairs > 0).double().sum(-1) + 0.5 * (pairs == 0).double().sum(-1)
        return found - found.mean(-1, keepdim=True)

    one, other = ranks(one), ranks(other)
    norm = (one.square().sum(-1) * other.square().sum(-1)).sqrt()
    return torch.where(norm > 0, (one * other).sum(-1) / norm.clamp_min(1e-12), 0.0)
