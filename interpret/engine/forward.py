"""From the embeddings that move to logits at some places of a text; several texts may run in one forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interpret.question.logits import upcast
from nexttoken import NextTokenLM, Prompt, Target
from nexttoken.model import ROUNDING, PrefixCache

FEWEST_CACHED = 8  # fewer tokens before the first that moves are not worth the forward passes


@dataclass(frozen=True)
class Passage:
    """A text that runs: which of its tokens move, and after which of them a next token is predicted.

    Attributes:
        prompt: its beginning, which has a score.
        places: after which a next token is predicted.
        following: ids that follow the prompt, and do not move.
        moving: the places of the tokens that move; None for all of the prompt but a start token that was put in front.
    """

    prompt: Prompt
    places: tuple[int, ...]
    following: tuple[int, ...] = ()
    moving: tuple[int, ...] | None = None

    @classmethod
    def of_target(cls, prompt: Prompt, target: Target, moving: Sequence[int] | None = None) -> Passage:
        """The text in which a target, of one or several tokens, is predicted."""
        following = tuple(each.id for each in target.continuation[:-1])
        places = range(len(prompt) - 1, len(prompt) + len(following))
        return cls(prompt, tuple(places), following, None if moving is None else tuple(moving))


class Forward:
    """Points (point, token, dim) of a text to logits (point, place, vocab), in float32 or better.

    Where more than one point runs, and the model has a prefix cache, the tokens before the first that moves run once
    only. That is used only if it gives the model's own logits after this very text.

    Args:
        lm: the model.
        text: what runs.
        checkpointed: the number of layers that run again in the backward pass.

    Attributes:
        x: (token, dim) the embeddings of the tokens that move, in float32 or better.
    """

    def __init__(self, lm: NextTokenLM, text: Passage, checkpointed: int = 0):
        self.lm, self.text, self.checkpointed = lm, text, checkpointed
        self.moving = list(text.moving if text.moving is not None else text.prompt.own)
        self.input_ids: Int[Tensor, "1 token"] = lm.tokens(text.prompt, text.following)["input_ids"]
        with torch.no_grad(), lm.frozen():
            self.embeddings: Float[Tensor, "1 token dim"] = lm.embed({"input_ids": self.input_ids}).detach()
        self.x: Float[Tensor, "token dim"] = upcast(self.embeddings[0, self.moving])
        # The number of tokens that need not run, and the cache of them.
        self.cached: tuple[int, PrefixCache | None] = (0, None)
        self.may_cache, self.points_seen = min(self.moving) >= FEWEST_CACHED, 0

    def by(self, lm: NextTokenLM) -> Forward:
        """The same by another model."""
        return self if lm is self.lm else Forward(lm, self.text, self.checkpointed)

    @property
    def length(self) -> int:
        """The number of tokens that run."""
        return self.input_ids.shape[1]

    def __call__(self, points: Float[Tensor, "point token dim"]) -> Float[Tensor, "point place vocab"]:
        self.points_seen += len(points)
        if self.may_cache and self.points_seen > 1:
            self.may_cache, self.cached = False, self._prefix()
        return self.read(points)[0]

    def read(
        self, points: Float[Tensor, "point token dim"], states: bool = False
    ) -> tuple[Float[Tensor, "point place vocab"], Float[Tensor, "point text hidden"] | None]:
        """The logits, and the states of all tokens if they are asked for and all tokens run.

        Without a thought of points to come: a single one is not worth a prefix cache.
        """
        begin, prefix_cache = self.cached
        ids = self.input_ids[:, begin:].expand(len(points), -1)
        places = [place - begin for place in self.text.places]
        rows, states = self.rows(points, begin), states and begin == 0
        found, logits = self.lm.next_tokens(
            rows, ids, places, states=states, prefix_cache=prefix_cache, checkpointed=self.checkpointed
        )
        return upcast(logits), found

    def rows(self, points: Float[Tensor, "point token dim"], begin: int = 0) -> Float[Tensor, "point row dim"]:
        """The embeddings of the whole text from a token on, the tokens that move at the points."""
        rows = points.to(self.embeddings.dtype)
        if len(self.moving) == self.length - begin:
            return rows
        chosen = torch.tensor(self.moving, device=rows.device) - begin
        return self.embeddings[:, begin:].expand(len(points), -1, -1).index_copy(1, chosen, rows)

    def _prefix(self) -> tuple[int, PrefixCache | None]:
        """The number of tokens that need not run again, and their cache; none unless the rest is then the same."""
        first = self.moving[0]
        with torch.no_grad(), self.lm.frozen():
            prefix_cache = self.lm.prefix_cache(self.embeddings[:, :first], self.input_ids[:, :first])
            if prefix_cache is None:
                return 0, None
            _, expected = self.lm.next_tokens(self.embeddings, self.input_ids)
            _, found = self.lm.next_tokens(
                self.embeddings[:, first:], self.input_ids[:, first:], prefix_cache=prefix_cache
            )
        same = bool((found - expected).abs().max() <= ROUNDING * expected.abs().max())
        return (first, prefix_cache) if same else (0, None)


def forward_together(
    forwards: Sequence[Forward], points: Sequence[Float[Tensor, "_ _ dim"]], states: bool = False
) -> list[tuple[Float[Tensor, "_ _ vocab"], Float[Tensor, "_ _ hidden"] | None]]:
    """The logits of several texts, each at its own points, in one forward pass; and states, see `Forward.read`.

    Shorter texts repeat their last token behind their end, which no state at the end of a text can see; texts of
    different lengths are for models that support right padding.
    """
    if len(forwards) == 1:
        return [forwards[0].read(points[0], states) if states else (forwards[0](points[0]), None)]
    longest = max(forward.length for forward in forwards)
    rows, ids = [], []
    for forward, own in zip(forwards, points, strict=True):
        padding = longest - forward.length
        padded = forward.rows(own)
        rows.append(torch.cat([padded, padded[:, -1:].detach().expand(-1, padding, -1)], 1))
        own_ids = torch.cat([forward.input_ids, forward.input_ids[:, -1:].expand(-1, padding)], 1)
        ids.append(own_ids.expand(len(own), -1))
    places = sorted({place for forward in forwards for place in forward.text.places})
    checkpointed = max(forward.checkpointed for forward in forwards)
    every, logits = forwards[0].lm.next_tokens(
        torch.cat(rows), torch.cat(ids), places, states=states, checkpointed=checkpointed
    )
    found, begin = [], 0
    for forward, own in zip(forwards, points, strict=True):
        read, numbers = [places.index(place) for place in forward.text.places], slice(begin, begin + len(own))
        found.append((upcast(logits[numbers, read]), None if every is None else every[numbers, : forward.length]))
        begin += len(own)
    return found
