"""What a run may take of a device's memory: how many points run at once, and which layers run twice."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from interpret.engine.memory.available import available_memory
from interpret.engine.memory.profile import PROBE_LENGTHS, memory_profile, text_like
from interpret.engine.progress import warn_caller
from interpret.engine.threads import watched
from nexttoken import NextTokenLM, Prompt

AVAILABLE_SHARE = 0.5  # of the available memory, for the points that run at once
TOKENS_PER_BATCH = 512  # rows of tokens in a forward pass; more brings nothing on a CPU, see docs/performance.md
TOKENS_PER_BACKWARD = 384  # rows of tokens in backward passes that run at once
TARGETS_PER_PASS = 16  # tokens of a continuation that share a pass, which may stop at its own end
PROMPTS_PER_WINDOW = 256  # prompts of a data set that are looked at together, to find those of like length
PADDING_SHARE = 0.1  # of the tokens that run together, at most
LENGTHS_PER_PASS = 4  # different lengths that run together: the logits of every row are computed at the end of each
OUT_OF_MEMORY = (  # how devices say so
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "bad_alloc",
    "could not create a primitive",  # oneDNN, in bfloat16
)
LOGITS_AT_ONCE = 2**26  # numbers; more positions than fit take another forward pass
GIGA = 1e9

Outcome = TypeVar("Outcome")


class MemoryShortageWarning(UserWarning):
    """The device ran out of memory, and the run went on with fewer points at once."""


@dataclass
class Memory:
    """What a run may take of the device's memory, and what it has learned about it.

    Attributes:
        budget: bytes above the model's weights; None for half of what is available.
        batch_cap: the number of tokens at once that the run was brought down to; None while the device never ran out.
        is_sharded: whether several processes share the model, and take every step together.
    """

    budget: int | None = None
    batch_cap: int | None = None
    is_sharded: bool = False

    def __post_init__(self) -> None:
        if self.budget is not None and self.budget < 1:
            raise ValueError(f"memory_budget is {self.budget}; it is a number of bytes, at least 1")

    def points_that_fit(self, lm: NextTokenLM, prompt: Prompt, following: int = 0, positions: int = 1) -> int:
        """The number of points that fit at once, at least 1.

        Args:
            lm: the model whose gradients are taken.
            prompt: the text.
            following: the number of tokens that follow it.
            positions: the number of positions at which a next token is predicted.
        """
        self.is_sharded = lm.is_sharded
        budget = self.budget if self.budget is not None else AVAILABLE_SHARE * available_memory(lm)
        return max(1, int(budget // memory_profile(lm, prompt).of_point(len(prompt) + following, positions)))

    def checkpointed_layers(self, lm: NextTokenLM, prompt: Prompt, following: int = 0) -> int:
        """The number of layers that have to run twice for the gradient of a single point of a text to fit.

        The text is a prompt and a number of tokens that follow it, each of which is predicted.

        Where there is no budget, it is half of what is available, and all of it for a point of which every layer runs
        twice; a prompt as short as those that the profile is measured on is simply run.

        Raises:
            ValueError: it does not fit with all of them; the message names the length that would.
        """
        self.is_sharded = lm.is_sharded
        length, positions = len(prompt) + following, 1 + following
        if self.budget is None and length <= PROBE_LENGTHS[1]:
            return 0
        most = self.budget if self.budget is not None else available_memory(lm)
        budget = self.budget if self.budget is not None else AVAILABLE_SHARE * most
        profile = memory_profile(lm, prompt)
        whole = least = profile.of_point(length, positions)
        checkpointed = 0
        if whole > budget and (layers := lm.checkpointable_layers(text_like(lm, prompt, PROBE_LENGTHS[0]))):
            thrifty = memory_profile(lm, prompt, layers)
            if thrifty.of_point(length, positions) < whole:
                profile, least = thrifty, thrifty.of_point(length, positions)
                checkpointed = min(layers, math.ceil(layers * (whole - budget) / (whole - least)))
        if least > most:
            name = "memory_budget" if self.budget is not None else "free memory"
            fits = profile.longest(most, length)
            raise ValueError(
                f"a prompt of {length} tokens needs about {least / GIGA:.2g} GB above the "
                f"model's weights, and the {name} is {most / GIGA:.2g} GB; "
                + (f"{fits} tokens would fit" if fits else "not even one token would fit")
            )
        return checkpointed

    def prompts_at_once(self, lm: NextTokenLM, lengths: Sequence[int], longest: Prompt) -> int:
        """The number of prompts, of those with these lengths from the longest on, that run together; at least 1.

        Prompts of different lengths run together only where padding is known to change nothing.
        """
        fitting = self.points_that_fit(lm, longest, positions=LENGTHS_PER_PASS)
        size = self.capped(min(max(1, TOKENS_PER_BATCH // lengths[0]), fitting), lengths[0])
        return _alike(lengths[:size], padded=lm.supports_right_padding)

    def capped(self, count: int, length: int) -> int:
        """The number of points of a length that run at once, within what the run was brought down to."""
        return count if self.batch_cap is None else max(1, min(count, self.batch_cap // length))

    def in_batches(
        self, function: Callable[[Any], Outcome], items: Any, length: int, size: int | None = None
    ) -> Iterator[Outcome]:
        """The function on some items of a length at once, in order; where the device runs out, half as many from there.

        Items are a sequence or the rows of a tensor; `size` of them run at once, by default all. The first shortage of
        a run is warned of.

        Raises:
            MemoryError: one does not fit even alone, or several processes share the model.
        """
        done = 0
        while done < len(items):
            some = items[done : done + self.capped(size or len(items), length)]
            shortage = ""
            try:
                with watched():
                    result = function(some)
            except (MemoryError, RuntimeError) as error:
                if not _ran_out(error):
                    raise
                # The error itself would keep what the attempt took.
                shortage = str(error).partition("\n")[0] or type(error).__name__
            if shortage:
                self._halve(len(some), length, shortage)
            else:
                yield result
                done += len(some)

    def _halve(self, count: int, length: int, shortage: str) -> None:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if self.is_sharded:  # the other processes wait in the middle of the step
            raise MemoryError(
                f"a device ran out of memory with {count} x {length} tokens at once, and processes that share a "
                f"model cannot go on with fewer; give a smaller memory_budget or batch_size ({shortage})"
            )
        if count == 1:
            raise MemoryError(
                f"the device ran out of memory with 1 x {length} tokens at once, which cannot "
                f"be fewer; shorten the prompt, or take another device ({shortage})"
            )
        if self.batch_cap is None:
            warn_caller(
                f"the device ran out of memory with {count} points at once; the run goes on with fewer, with the "
                "same result; a smaller batch_size or a memory_budget avoids it",
                MemoryShortageWarning,
            )
        self.batch_cap = count // 2 * length


def _ran_out(error: Exception) -> bool:
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(text in str(error) for text in OUT_OF_MEMORY)


def _alike(lengths: Sequence[int], padded: bool) -> int:
    """How many of the prompts of these lengths, longest first, run together."""
    count = 1
    while count < len(lengths):
        some, longest = lengths[: count + 1], lengths[0]
        padding = 1 - sum(some) / (longest * len(some))
        if len(set(some)) > (LENGTHS_PER_PASS if padded else 1) or padding > PADDING_SHARE:
            break
        count += 1
    return count
