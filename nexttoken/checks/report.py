"""ProbeReport: what was proved about a network when it was loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Feeding = Literal["inputs_embeds", "embedding_output"]
"""How embeddings enter a network: as its argument, or in place of what its embedding layer returns."""


class HeadMissingError(ValueError):
    """A network gives no logits of a next token."""


@dataclass(frozen=True)
class ProbeReport:
    """What was proved about a network when it was loaded, on a fixed text of seven ordinary ids.

    - Causality: exchanging the last id changes no earlier logit.
    - Equality: fed with embeddings, the network gives the logits that it gives when it is called with the ids.
    - Gradient: the gradient of a mixture of the logits with respect to the embeddings is finite, not zero, and within
      5 % of central differences in two random directions (largest over both, in norm). In half precision differences
      are too coarse to tell, and only what the network computes without gradient is looked for.

    Logits agree if their largest difference is at most `tolerance` times the largest logit: 1e-5, or 4 machine
    epsilons of the weights' precision where that is more. A network that fails is refused with a ValueError, so a
    report exists only of one that passed.

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
