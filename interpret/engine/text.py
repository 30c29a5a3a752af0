"""A text that runs: from the embeddings of its attributed positions to logits, alone or beside other texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interpret.engine.run import Points, Run
from interpret.question.quantity import upcast
from nexttoken import NextTokenLM, Prompt
from nexttoken.model import ROUNDING, PrefixCache

MIN_CACHED = 8  # fewer tokens before the first attributed one are not worth the forward passes


class Text:
    """A prepared text: points (point, token, dim) of its attributed positions to logits, in float32 or better.

    Where more than one point runs, and the model has a prefix cache, the tokens before the first attributed one run
    once only. That is used only if it gives the model's own logits after this very text.

    Args:
        lm: the model.
        prompt: the beginning of the text, which has scores.
        positions: after which a next token is predicted; by default after the prompt and each following token.
        following: ids that follow the prompt, and are context.
        attributed: the positions whose embeddings are explained; by default all of the prompt's own.
        checkpointed: the number of layers that run again in the backward pass.
        whole: a longer text that this one is the beginning of, by which it knows its alternatives.

    Attributes:
        x: (token, dim) the embeddings at the attributed positions.
        states: (token, hidden) what the head was given at the prompt, where a pass has shown it; see `alternatives`.
        end_logits: (vocab,) the network's own after the prompt, where `states` are known.
        found: what was computed of this text and depends on nothing else.
    """

    def __init__(
        self,
        lm: NextTokenLM,
        prompt: Prompt,
        positions: Sequence[int] | None = None,
        following: Sequence[int] = (),
        attributed: Sequence[int] | None = None,
        checkpointed: int = 0,
        whole: Text | None = None,
    ):
        self.lm, self.prompt, self.following, self.checkpointed = lm, prompt, tuple(following), checkpointed
        last = len(prompt) - 1
        self.positions = tuple(positions if positions is not None else range(last, len(prompt) + len(following)))
        self.region = None if attributed is None else tuple(attributed)
        self.attributed = prompt.own if attributed is None else tuple(attributed)
        self.input_ids: Int[Tensor, "1 token"] = lm.tokens(prompt, self.following)["input_ids"]
        with torch.no_grad(), lm.frozen():
            self.embeddings: Float[Tensor, "1 token dim"] = lm.embed({"input_ids": self.input_ids}).detach()
        self.x: Float[Tensor, "token dim"] = upcast(self.embeddings[0, list(self.attributed)])
        self.states: Float[Tensor, "token hidden"] | None = None
        self.end_logits: Float[Tensor, " vocab"] | None = None
        self.whole = whole if whole is not None else self
        self.found: dict[Any, Any] = {}
        self._prefix: tuple[int, PrefixCache | None] | None = None if min(self.attributed) >= MIN_CACHED else (0, None)
        self._points_seen = 0

    @classmethod
    def fitting(
        cls,
        lm: NextTokenLM,
        prompt: Prompt,
        run: Run,
        positions: Sequence[int] | None = None,
        following: Sequence[int] = (),
        attributed: Sequence[int] | None = None,
    ) -> Text:
        """A text of which as many layers run twice as its gradient takes to fit the memory.

        Raises ValueError if it does not fit even so.
        """
        checkpointed = run.memory.checkpointed_layers(run.grad_lm(lm), prompt, len(following))
        return cls(lm, prompt, positions, following, attributed, checkpointed)

    def by(self, lm: NextTokenLM) -> Text:
        """The same text by another model."""
        if lm is self.lm:
            return self
        if lm not in self.found:
            self.found[lm] = Text(lm, self.prompt, self.positions, self.following, self.region, self.checkpointed)
        return self.found[lm]

    def beginning(self, prompt: Prompt) -> Text:
        """The text of a shorter prompt, after which one token is predicted."""
        return Text(self.lm, prompt, None, (), self.region, self.checkpointed, self.whole)

    def seen_by(self, prompt: Prompt) -> int:
        """How many of the attributed positions a shorter prompt has."""
        return len(self.attributed) if self.region is not None else len(prompt.own)

    @property
    def length(self) -> int:
        """The number of tokens that run."""
        return self.input_ids.shape[1]

    def points_at_once(self, run: Run, rows: int = 1) -> int:
        """The number of points with a gradient that fit the run's memory, with a number of values at each."""
        count = max(len(self.positions), rows)
        return run.memory.points_that_fit(run.grad_lm(self.lm), self.prompt, len(self.following), count)

    def __call__(self, points: Points) -> Float[Tensor, "point position vocab"]:
        self._points_seen += len(points)
        if self._prefix is None and self._points_seen > 1:
            self._prefix = self._proved_prefix()
        return self.logits_and_states(points)[0]

    def logits_and_states(
        self, points: Points, states: bool = False
    ) -> tuple[Float[Tensor, "point position vocab"], Float[Tensor, "point text hidden"] | None]:
        """The logits, and the states of all tokens if they are asked for and all tokens run."""
        begin, prefix_cache = self._prefix or (0, None)  # a single point is not worth a prefix cache
        ids = self.input_ids[:, begin:].expand(len(points), -1)
        positions = [position - begin for position in self.positions]
        found, logits = self.lm.next_tokens(
            self.rows(points, begin), ids, positions, states=states and begin == 0, prefix_cache=prefix_cache,
            checkpointed=self.checkpointed,
        )  # fmt: skip
        return upcast(logits), found

    def rows(self, points: Points, begin: int = 0) -> Float[Tensor, "point row dim"]:
        """The embeddings of the whole text from a token on, the attributed ones at the points."""
        rows = points.to(self.embeddings.dtype)
        if len(self.attributed) == self.length - begin:
            return rows
        chosen = torch.tensor(self.attributed, device=rows.device) - begin
        return self.embeddings[:, begin:].expand(len(points), -1, -1).index_copy(1, chosen, rows)

    def _proved_prefix(self) -> tuple[int, PrefixCache | None]:
        # The number of tokens that need not run again, and their cache; none unless the rest is then the same.
        first = self.attributed[0]
        with torch.no_grad():
            prefix_cache = self.lm.prefix_cache(self.embeddings[:, :first], self.input_ids[:, :first])
            if prefix_cache is None:
                return 0, None
            _, expected = self.lm.next_tokens(self.embeddings, self.input_ids)
            _, found = self.lm.next_tokens(
                self.embeddings[:, first:], self.input_ids[:, first:], prefix_cache=prefix_cache
            )
        same = bool((found - expected).abs().max() <= ROUNDING * expected.abs().max())
        return (first, prefix_cache) if same else (0, None)


def run_together(
    texts: Sequence[Text], points: Sequence[Float[Tensor, "_ _ dim"]], states: bool = False
) -> list[tuple[Float[Tensor, "_ _ vocab"], Float[Tensor, "_ _ hidden"] | None]]:
    """The logits of several texts, each at its own points, in one forward pass; and the states if they are asked for.

    Shorter texts repeat their last token behind their end, which no state at the end of a text can see; texts of
    different lengths are for models that support right padding.
    """
    if len(texts) == 1:
        return [texts[0].logits_and_states(points[0], states) if states else (texts[0](points[0]), None)]
    longest = max(text.length for text in texts)
    rows, ids = [], []
    for text, own in zip(texts, points, strict=True):
        padding = longest - text.length
        padded = text.rows(own)
        rows.append(torch.cat([padded, padded[:, -1:].detach().expand(-1, padding, -1)], 1))
        own_ids = torch.cat([text.input_ids, text.input_ids[:, -1:].expand(-1, padding)], 1)
        ids.append(own_ids.expand(len(own), -1))
    positions = sorted({position for text in texts for position in text.positions})
    checkpointed = max(text.checkpointed for text in texts)
    every, logits = texts[0].lm.next_tokens(
        torch.cat(rows), torch.cat(ids), positions, states=states, checkpointed=checkpointed
    )
    found, begin = [], 0
    for text, own in zip(texts, points, strict=True):
        read, numbers = [positions.index(position) for position in text.positions], slice(begin, begin + len(own))
        found.append((upcast(logits[numbers, read]), None if every is None else every[numbers, : text.length]))
        begin += len(own)
    return found
