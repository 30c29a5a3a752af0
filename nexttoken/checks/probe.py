"""The proof that feeding a network with embeddings equals feeding it with ids, gradients included."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from nexttoken.model import NextTokenLM

PROBE_LENGTH = 7  # tokens
PROBE_TOLERANCE = 1e-5  # of logits, relative to the largest
PROBE_EPSILONS = 4  # or this number of machine epsilons, where that is more
PROBE_STEPS = (1e-2, 1e-3, 1e-4, 1e-1)  # of central differences, in standard deviations of the embeddings
PROBE_SLOPE_TOLERANCE = 0.05  # of gradients, relative in norm
PROBE_NOISE = 2  # standard deviations of rounding that a slope may be off by, in addition
PROBE_COARSE = 0.03  # of the slopes: with more rounding than that, a step tells nothing

Feeding = Literal["inputs_embeds", "embedding_output"]
"""How embeddings enter a network: as its argument, or in place of what its embedding layer returns."""


class HeadMissingError(ValueError):
    """A network gives no logits of a next token."""


@dataclass(frozen=True)
class ProbeReport:
    """What was proved about a network when it was loaded, on a fixed text of seven ordinary ids.

    - Causality: exchanging the last id changes no earlier logit.
    - Equality: fed with embeddings, the network gives the logits that it gives when it is called with the ids: their
      largest difference is at most `tolerance` times the largest, 1e-5 or 4 machine epsilons of the precision.
    - Gradient: that of a mixture of the logits with respect to the embeddings is finite, not zero, and within 5 % of
      central differences in two random directions (in norm). Half precision is too coarse for differences, and only
      what the network computes without gradient is looked for.

    A network that fails is refused with a ValueError, so a report exists only of one that passed.

    Attributes:
        feeding: how embeddings enter the network: "inputs_embeds", its own argument, or "embedding_output", in place of
            what its embedding layer returns, while it is called with ids.
        force_grad: whether it computes a part without gradient that has one (more than 5 % of the gradient), so that
            `no_grad` and `detach` are switched off in its forward pass.
        reads_ids: whether its logits depend on the ids even where the embeddings are given.
        length_matters: whether a prediction depends on how many tokens follow it, though not on which.
        tolerance: the largest relative difference at which logits count as equal.
        logit_error: the largest difference between the logits, relative to the largest.
        gradient_error: the relative distance of the gradient from central differences; 0 in half precision.
    """

    feeding: Feeding
    force_grad: bool
    reads_ids: bool
    length_matters: bool
    tolerance: float
    logit_error: float
    gradient_error: float


Feed = Callable[[Tensor, Tensor, Feeding, bool], Tensor]
"""Embeddings (row, token, dim), their ids (row, token), how they are fed, and whether the gradient is forced, to the
logits (row, vocab) of the token that follows."""

OwnLogits = Callable[[Tensor], Tensor]
"""Ids (row, token) to the network's own logits (row, position, vocab)."""


def probe(
    lm: NextTokenLM, feed: Feed, own_logits: OwnLogits, ids: Int[Tensor, " id"], feedings: Sequence[Feeding]
) -> ProbeReport:
    """Find a way of feeding embeddings to a network that equals feeding it with ids. Nothing of the model changes.

    Costs three forward passes with ids; then, for each way that is tried, at most three backward passes and eight
    forward passes, each of `PROBE_LENGTH` tokens.

    Args:
        lm: the model, for its embeddings, its vocabulary and its modes.
        feed: runs the network on embeddings.
        own_logits: runs the network on ids.
        ids: ordinary ids; the first `PROBE_LENGTH` are the text, and the next one takes the place of the last.
        feedings: the ways that are tried, in order; the first that holds is reported.

    Raises:
        ValueError: the network cannot run on ids alone, is not causal, or no way gives its own logits and a gradient.
    """
    kind = type(lm.language_model_head).__name__
    input_ids = ids[None, :PROBE_LENGTH]
    last_changed = torch.cat([input_ids[:, :-1], ids[None, PROBE_LENGTH : PROBE_LENGTH + 1]], 1)
    reasons = []
    with lm.frozen():
        try:
            with torch.no_grad():
                whole, other, shorter = (
                    own_logits(row).float() for row in (input_ids, last_changed, input_ids[:, :-2])
                )
        except HeadMissingError:
            raise
        except Exception as error:
            raise ValueError(f"{kind} cannot run on ids alone: {in_one_line(error)}") from error
        expected, tolerance = whole[:, -1], tolerance_of(lm.compute_dtype)
        if whole.shape == other.shape and relative(other[:, :-1], whole[:, :-1]) > tolerance:
            config: Any = getattr(lm.language_model_head, "config", None)
            switch = next((name for name in ("causal", "is_decoder") if hasattr(config, name)), None)
            hint = f"; a model of its kind needs {switch}=True in its configuration" if switch else ""
            raise ValueError(f"{kind} is not causal: what it predicts before a token depends on that token{hint}")
        length_matters = relative(whole[:, : shorter.shape[1]], shorter) > tolerance
        for feeding in feedings:

            def fed(x: Tensor, force_grad: bool, feeding: Feeding = feeding) -> Tensor:
                return feed(x, input_ids.expand(len(x), -1), feeding, force_grad)

            try:
                embeddings = lm.embed({"input_ids": input_ids}).detach()
                force_grad, logits, gradient = _with_all_its_gradient(fed, embeddings)
                fine = lm.compute_dtype.itemsize >= 4
                gradient_error = _distance_from_differences(fed, embeddings, gradient) if fine else 0.0
            except Exception as error:
                reasons.append(f"{feeding}: {in_one_line(error)}")
                continue
            logit_error = relative(logits, expected)
            if not logit_error <= tolerance:
                reasons.append(f"{feeding}: the logits differ from the model's own by {logit_error:.1e} of the largest")
            elif not bool(gradient.isfinite().all()) or not bool(gradient.any()):
                reasons.append(f"{feeding}: the gradient with respect to the embeddings is zero or not finite")
            elif not gradient_error <= PROBE_SLOPE_TOLERANCE:
                reasons.append(f"{feeding}: the gradient is off by {gradient_error:.0%}, a part being computed without")
            else:
                reads_ids = False  # with inputs_embeds, the network is given none
                if feeding == "embedding_output":
                    with torch.no_grad():
                        unlike = feed(embeddings.clone(), input_ids.flip(1), feeding, False).float()
                    reads_ids = relative(unlike, expected) > tolerance
                return ProbeReport(
                    feeding, force_grad, reads_ids, length_matters, tolerance, logit_error, gradient_error
                )
    raise ValueError(
        f"{kind} cannot be explained by its embeddings, since feeding it with them does not equal "
        f"feeding it with ids ({'; '.join(reasons)})"
    )


def _with_all_its_gradient(
    fed: Callable[[Tensor, bool], Tensor], embeddings: Float[Tensor, "1 token dim"]
) -> tuple[bool, Float[Tensor, "1 vocab"], Float[Tensor, "1 token dim"]]:
    """Whether the network computes a part without gradient that has one; then logits and gradient with all of it.

    Exact in half precision too. A network that cannot run with all of its gradient is taken as it is, and central
    differences have to tell.
    """
    logits, gradient = logits_and_gradient(lambda x: fed(x, False), embeddings)
    try:
        forced_logits, forced_gradient = logits_and_gradient(lambda x: fed(x, True), embeddings)
    except RuntimeError:
        return False, logits, gradient
    if relative(forced_gradient, gradient) > PROBE_SLOPE_TOLERANCE:
        return True, forced_logits, forced_gradient
    return False, logits, gradient


def _distance_from_differences(
    fed: Callable[[Tensor, bool], Tensor],
    embeddings: Float[Tensor, "1 token dim"],
    gradient: Float[Tensor, "1 token dim"],
) -> float:
    """The relative distance of a gradient from central differences in two random directions, at the best step size.

    It finds networks that take no embeddings but those of tokens (an error), and those that compute a part without
    gradient. What rounding explains does not count; where it hides the slopes at every step, nothing can be told, and
    the distance is 0. Half precision is too coarse for it from the start.
    """
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(2, *embeddings.shape[1:], generator=generator).to(embeddings) * embeddings.std()
    slopes = (directions * gradient).flatten(1).sum(1)

    def values(points: Tensor) -> Tensor:
        with torch.no_grad():
            return mixture(fed(points, False))

    errors = []
    for step in PROBE_STEPS:
        above, below = (values(embeddings + sign * step * directions) for sign in (1, -1))
        errors.append(float(((above - below) / (2 * step) - slopes).norm() / slopes.norm()))
        if errors[-1] <= PROBE_SLOPE_TOLERANCE:
            return errors[-1]
    # The same point but for rounding: what the values differ by there is noise.
    nudges = torch.randn(4, *embeddings.shape[1:], generator=generator).to(embeddings)
    noise = values(embeddings * (1 + torch.finfo(embeddings.dtype).eps * nudges)).std() / slopes.norm()
    left = [
        max(0.0, error - PROBE_NOISE * float(noise) / step)
        for error, step in zip(errors, PROBE_STEPS, strict=True)
        if float(noise) / step <= PROBE_COARSE
    ]
    return min(left, default=0.0)


def logits_and_gradient(
    function: Callable[[Tensor], Tensor], embeddings: Float[Tensor, "1 token dim"]
) -> tuple[Float[Tensor, "1 vocab"], Float[Tensor, "1 token dim"]]:
    """Next-token logits as a function of embeddings, and the gradient of a fixed mixture of them.

    Costs one forward and one backward pass.
    """
    with torch.enable_grad():
        x = embeddings.clone().requires_grad_(True)
        logits = function(x.clone()).float()
        (gradient,) = torch.autograd.grad(mixture(logits)[0], x)
    return logits.detach(), gradient


def mixture(logits: Float[Tensor, "row vocab"]) -> Float[Tensor, " row"]:
    """A fixed random mixture of a row's logits, in which all of them have a part, those that are not finite aside.

    A single logit may hardly depend on the embeddings; its slopes are then smaller than what rounding does to it.
    """
    weights = torch.randn(logits.shape[-1], generator=torch.Generator().manual_seed(0)) / logits.shape[-1] ** 0.5
    finite = logits.isfinite()
    return (logits.where(finite, 0.0) * weights.to(logits)).sum(-1)


def relative(found: Tensor, expected: Tensor) -> float:
    """The largest difference, relative to the largest expected value."""
    return float((found - expected).abs().max() / expected.abs().max().clamp_min(1e-12))


def tolerance_of(dtype: torch.dtype) -> float:
    """The relative difference up to which numbers computed in this precision count as equal."""
    return max(PROBE_TOLERANCE, PROBE_EPSILONS * torch.finfo(dtype).eps)


def in_one_line(error: Exception) -> str:
    """The type of an error and the first line of its message."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
