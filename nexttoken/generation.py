"""Greedy generation: a text that grows, with what a network has computed of its beginning."""

from __future__ import annotations

from collections.abc import Set

import torch
from jaxtyping import Float, Int
from torch import Tensor

from nexttoken.explainable import ExplainableNetwork, PrefixCache

ROUNDING = 1e-4  # of the largest logit, where the same is computed in another way
NEW_TOKENS = 16  # after which the prefix is cached anew


def greedy_ids(
    network: ExplainableNetwork, input_ids: Int[Tensor, "1 token"], length: int, end_ids: Set[int]
) -> tuple[int, ...]:
    """The most probable token after a text, and so on, up to a length or one of the tokens that end a text."""
    reader, ids, (given,) = _GreedyReader(network), list[int](), input_ids.tolist()
    while len(ids) < length:
        text = torch.tensor([[*given, *ids]], device=input_ids.device)
        chosen = reader.first_choice(text, length - len(ids))
        if chosen in end_ids:
            break
        ids.append(chosen)
    return tuple(ids)


class _GreedyReader:
    """Reads a text that grows, and keeps what the network's prefix cache holds of its beginning."""

    def __init__(self, network: ExplainableNetwork):
        self.network, self.may_cache = network, True
        self.cached: tuple[int, PrefixCache | None] = (0, None)

    def first_choice(self, input_ids: Int[Tensor, "1 token"], left: int) -> int:
        """The most probable token after a text, which begins as the one before did; `left` are still to come.

        Where two tokens are as good as equal, the network reads the whole text.
        """
        embeddings, length = self.network.embed({"input_ids": input_ids}), input_ids.shape[1]
        if self.may_cache and left > 1 and length - self.cached[0] > NEW_TOKENS:
            self._cache(embeddings, input_ids)
        begin, cache = self.cached
        logits = self._logits(embeddings, input_ids, begin, cache)
        if cache is not None:
            first, second = logits.topk(min(2, len(logits))).values[[0, -1]]
            if bool(first - second <= ROUNDING * logits.abs().max()):
                logits = self._logits(embeddings, input_ids)
        return int(logits.argmax())

    def _cache(self, embeddings: Float[Tensor, "1 token dim"], input_ids: Int[Tensor, "1 token"]) -> None:
        # All of a text but its last token, if the network's own logits then follow.
        begin = input_ids.shape[1] - 1
        cache = self.network.prefix_cache(embeddings[:, :begin], input_ids[:, :begin])
        if cache is not None and self.cached[1] is None:
            expected = self._logits(embeddings, input_ids)
            difference = (self._logits(embeddings, input_ids, begin, cache) - expected).abs().max()
            if bool(difference > ROUNDING * expected.abs().max()):
                cache = None
        self.may_cache, self.cached = cache is not None, (begin if cache is not None else 0, cache)

    def _logits(
        self, embeddings: Tensor, input_ids: Tensor, begin: int = 0, cache: PrefixCache | None = None
    ) -> Float[Tensor, " vocab"]:
        return self.network.next_tokens(embeddings[:, begin:], input_ids[:, begin:], prefix_cache=cache)[1][0, 0]
