"""What about the next token is explained: a differentiable function of its logits, with a name and a unit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from nexttoken import NextTokenLM, Prompt, Target


@dataclass(frozen=True)
class Quantity:
    """A differentiable function of the next-token logits that is explained.

    Attributes:
        name: as it stands on figures.
        unit: the unit of its value.
        function: logits (point, vocab) and the target to values (point,).
        of_target: False for a function of the whole distribution, which has no target.
    """

    name: str
    unit: str
    function: Callable[[Float[Tensor, "point vocab"], Target], Float[Tensor, " point"]] = field(repr=False)
    of_target: bool = True

    def of_continuation(
        self, logits: Float[Tensor, "point position vocab"], targets: Sequence[Target]
    ) -> Float[Tensor, " point"]:
        """The quantity of targets that follow each other, added up.

        Raises ValueError for several targets and a quantity whose sum over tokens means nothing.
        """
        if len(targets) > 1 and self not in (LOG_PROBABILITY, LOSS):
            raise ValueError(
                f"several tokens in a row are explained by the log-probabilities of its tokens, not by the {self.name}"
            )
        values = [self.function(logits[:, number], target) for number, target in enumerate(targets)]
        return sum(values[1:], start=values[0])


def log_probability(logits: Float[Tensor, "point vocab"], target: Target) -> Float[Tensor, " point"]:
    """log p(target); with foils, log p(target) - log of the foils' summed probability, the log-odds between them."""
    if not target.foils:
        return logits.log_softmax(-1)[:, target.id]
    return logits[:, target.id] - logits[:, [foil.id for foil in target.foils]].logsumexp(-1)


def entropy(logits: Float[Tensor, "point vocab"], target: Target) -> Float[Tensor, " point"]:
    """-sum p log p over the next tokens: how undecided the model is."""
    log_probabilities = logits.log_softmax(-1)
    return -(log_probabilities.exp() * log_probabilities).sum(-1)


def without_foils(target: Target, name: str) -> int:
    """The id of a target that is not contrasted. Raises ValueError if it is."""
    if target.foils:
        raise ValueError(f"a contrast is a difference of log-probabilities; to explain the {name}, leave out the foils")
    return target.id


LOG_PROBABILITY = Quantity("log-probability", "nats", log_probability)
"""log p(target); with foils, the log-odds of the target against them."""
LOSS = Quantity("loss", "nats", lambda logits, target: -log_probability(logits, target))
"""-log p(target), or with foils minus the log-odds; a positive score raises the loss, and lowers the probability."""
PROBABILITY = Quantity(
    "probability", "probability", lambda logits, target: logits.softmax(-1)[:, without_foils(target, "probability")]
)
LOGIT = Quantity("logit", "logits", lambda logits, target: logits[:, without_foils(target, "logit")])
ENTROPY = Quantity("entropy of the next token", "nats", entropy, of_target=False)
"""How undecided the model is: 0 when it is sure of a token, log of the vocabulary's size at most. It has no target."""


def log_odds(lm: NextTokenLM, words: Sequence[str | int], others: Sequence[str | int]) -> Quantity:
    """The log-odds of one set of words against another: log of p(any of `words`) over p(any of `others`), in nats.

    Args:
        lm: the model whose tokens they are.
        words: tokens, as ids or as text with their leading space; positive scores raise these.
        others: the tokens they are weighed against.

    Raises:
        ValueError: an empty set, or a word that is not one token.
    """
    if not words or not others:
        raise ValueError("log-odds need at least one word on each side")
    ids, other_ids = ([lm.vocab.one_id(word) for word in side] for side in (words, others))
    names = ["/".join(repr(lm.vocab.token_text(token_id)) for token_id in side) for side in (ids, other_ids)]
    return Quantity(
        f"log-odds of {names[0]} against {names[1]}",
        "nats",
        lambda logits, target: logits[:, ids].logsumexp(-1) - logits[:, other_ids].logsumexp(-1),
        of_target=False,
    )


# The logits themselves


def next_logits(
    lm: NextTokenLM, prompt: Prompt, positions: Sequence[int], following: Sequence[int] = ()
) -> Float[Tensor, "position vocab"]:
    """The logits after some positions of a prompt and of the tokens that follow it. One forward pass."""
    tokens = lm.tokens(prompt, following)
    with torch.no_grad(), lm.frozen():
        logits = lm.next_tokens(lm.embed(tokens), tokens["input_ids"], list(positions))[1][0]
    return upcast(logits)


def upcast(numbers: Tensor) -> Tensor:
    """The numbers in float32, or in float64 if that is what they are in."""
    return numbers if numbers.dtype == torch.float64 else numbers.float()


def lead(logits: Float[Tensor, "row vocab"], token_id: int) -> Float[Tensor, " row"]:
    """By how many nats a token is ahead of the likeliest other one; negative where that is the first choice."""
    mask = torch.zeros_like(logits).index_fill(1, torch.tensor([token_id], device=logits.device), -torch.inf)
    return logits[:, token_id] - (logits + mask).amax(-1)
