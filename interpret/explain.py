"""The one entry point: a model, a prompt, a target and a method in, an Attribution out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version

import torch
from jaxtyping import Float
from torch import Tensor

from interpret.attribution import Attribution
from interpret.gradients import Objective, Quantity
from interpret.methods.integrated_gradients import IntegratedGradients
from interpret.methods.method import Evidence, Method
from interpret.reduction import SUM
from nexttoken import NextTokenLM, Target
from nexttoken.prompt import PromptLike
from nexttoken.target import TokenLike


def attribute(
    lm: NextTokenLM,
    prompt: PromptLike,
    target: TokenLike | None = None,
    method: Method | None = None,
    *,
    contrast: TokenLike | Sequence[TokenLike] | None = None,
    quantity: Quantity | None = None,
    chunk_size: int | None = None,
    on_progress: Callable[[int], object] | None = None,
) -> Attribution:
    """Say which parts of a prompt speak for a next token.

    Args:
        lm: the model; it comes back as it was, after errors too.
        prompt: text, token ids, or chat messages with `role` and `content`; for an encoder-decoder, a text or a pair
            (source, target prefix).
        target: the next token that is explained, as text or id; None for the model's own first choice.
        method: how; by default IntegratedGradients().
        contrast: a foil, or several: then log p(target) - log p(foils) is explained.
        quantity: what about the target is explained; by default its log-probability, or what a convention says.
        chunk_size: how many points (path steps, noise samples) run at once; scores do not depend on it.
        on_progress: called with the number of gradients just taken, for a progress bar.

    Returns:
        One score per piece of text, with its unit and how it was made. Costs at most `method.cost(tokens)` gradients.

    Raises:
        ValueError: a prompt that is empty, too long or has unknown ids; a target that is not one token there.
        FloatingPointError: the objective or a gradient is not finite.
    """
    method = method if method is not None else IntegratedGradients()
    quantity = quantity if quantity is not None else method.quantity
    encoded = lm.prompt(prompt)
    tokens = lm.tokens(encoded)
    with torch.no_grad(), lm.at_rest():
        logits = lm.logits(lm.embed(tokens), tokens)[0]
    resolved = Target.of(target, encoded, lm.vocab, logits, contrast)
    objective = Objective.of(lm, encoded, resolved, quantity, chunk_size, on_progress)
    evidence = method(objective, objective.embeddings)
    positions = [piece.positions for piece in encoded.pieces]
    held = evidence.held.tolist() if evidence.held is not None else [False] * len(encoded)
    return Attribution(
        tokens=tuple(piece.text for piece in encoded.pieces),
        scores=method.normalized(method.reduction(evidence.attributions, positions)),
        unit=method.unit(quantity.unit),
        target=resolved,
        quantity=f"{quantity.name} difference" if resolved.foils else quantity.name,
        method=repr(method),
        reduction=method.reduction.name,
        signed=method.reduction.signed,
        model=lm.name,
        gradients_spent=objective.gradients_spent,
        forwards_spent=objective.forwards_spent + 1,
        completeness=evidence.completeness and replace(evidence.completeness, unit=quantity.unit),
        standard_error=standard_error(evidence, method, positions),
        error=None if evidence.error is None else SUM(evidence.error[:, None], positions),
        held=tuple(all(held[position] for position in piece) for piece in positions),
        template=tuple(piece.template for piece in encoded.pieces),
        labels=tuple(piece.label for piece in encoded.pieces),
        token_ids=tuple(tuple(encoded.ids[position] for position in piece) for piece in positions),
        versions=versions(),
    )


def standard_error(
    evidence: Evidence, method: Method, pieces: Sequence[Sequence[int]]
) -> Float[Tensor, " piece"] | None:
    """The jackknife standard error of each score, from the independent samples of a method that has them.

    It holds for every reduction; for a sum it equals the standard error of the mean. Tukey 1958; Efron 1982.
    """
    samples = evidence.samples
    if samples is None or len(samples) < 2:
        return None
    total, count = samples.double().sum(0), len(samples)
    without = torch.stack(
        [method.normalized(method.reduction((total - sample) / (count - 1), pieces)) for sample in samples]
    )
    return ((count - 1) * without.var(0, unbiased=False)).sqrt()


@cache
def _versions() -> tuple[tuple[str, str], ...]:
    """Name and version of the packages that a result depends on."""
    found = []
    for name in ("nexttoken-interpret", "torch", "transformers"):
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            continue
    return tuple(found)


def versions() -> dict[str, str]:
    """The versions of the packages that a result depends on, as far as they are installed."""
    return dict(_versions())
