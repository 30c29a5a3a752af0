"""What a run may take of the device's memory, and what is done when it runs out."""

from __future__ import annotations

import gc
import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from interpret.free import free_on
from interpret.need import PROBE_LENGTHS, need, text_like
from nexttoken import NextTokenLM, Prompt

FREE_SHARE = 0.5  # of what is free, for the points that run at once
OUT_OF_MEMORY = (  # how devices say so
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "bad_alloc",
    "could not create a primitive",  # oneDNN, in bfloat16
)
GIGA = 1e9

Result = TypeVar("Result")


class MemoryShortageWarning(UserWarning):
    """The device ran out of memory, and the run went on with fewer points at once."""


@dataclass
class Memory:
    """What a run may take of the device's memory, and what it has found out about it.

    Attributes:
        budget: bytes above the model's weights; None for a share of what is free.
        most: the number of points at once that it was brought down to; None as long as the device never ran out.
        checkpointed: how many layers run again in the backward pass, since one point does not fit otherwise.
    """

    budget: int | None = None
    most: int | None = None
    checkpointed: int = 0

    def __post_init__(self) -> None:
        if self.budget is not None and self.budget < 1:
            raise ValueError(f"memory_budget is {self.budget}; it is a number of bytes, at least 1")

    def points(self, lm: NextTokenLM, prompt: Prompt, following: int = 0, places: int = 1) -> int:
        """How many points of a prompt, and tokens that follow it, fit at once; at least 1."""
        budget = self.budget if self.budget is not None else FREE_SHARE * free_on(lm)
        return max(1, int(budget // need(lm, prompt).of_point(len(prompt) + following, places)))

    def check(self, lm: NextTokenLM, prompt: Prompt) -> None:
        """Find out how many layers have to run twice for the gradient of a single point of this prompt to fit.

        Where there is no budget, it is half of what is free, and all of it for a point of which every layer runs
        twice; a prompt as short as those that tell what a point needs is simply run.

        Raises:
            ValueError: it does not fit with all of them; the message names what would.
        """
        self.checkpointed = 0
        if self.budget is None and len(prompt) <= PROBE_LENGTHS[1]:
            return
        most = self.budget if self.budget is not None else free_on(lm)
        budget = self.budget if self.budget is not None else FREE_SHARE * most
        each = need(lm, prompt)
        whole = least = each.of_point(len(prompt))
        if whole > budget and (layers := lm.checkpointable_layers(text_like(lm, prompt, PROBE_LENGTHS[0]))):
            again = need(lm, prompt, layers)
            if again.of_point(len(prompt)) < whole:
                each, least = again, again.of_point(len(prompt))
                self.checkpointed = min(layers, math.ceil(layers * (whole - budget) / (whole - least)))
        if least > most:
            name = "memory_budget" if self.budget is not None else "free memory"
            fits = each.longest(most, len(prompt))
            raise ValueError(
                f"a prompt of {len(prompt)} tokens needs about {least / GIGA:.2g} GB above the "
                f"model's weights, and the {name} is {most / GIGA:.2g} GB; "
                + (f"{fits} tokens would fit" if fits else "not even one token would fit")
            )

    def in_chunks(
        self,
        function: Callable[[Tensor], Result],
        points: Float[Tensor, "point token dim"],
        size: int,
        divisible: bool = True,
    ) -> Iterator[Result]:
        """The function on the points in order, so many at once; where the device runs out, half as many from there on.

        Each chunk is a copy, so that nothing of the caller's is touched.

        Raises:
            MemoryError: a point does not fit even alone, or the points cannot be divided.
        """
        done = 0
        while done < len(points):
            chunk = points[done : done + self.at_most(size)].detach()
            count = len(chunk)
            result = attempt(function, chunk)
            if not isinstance(result, Shortage):
                yield result
                done += count
                continue
            if count > 1:
                self.halve(count)
            if count == 1 or not divisible:
                raise MemoryError(
                    f"the device ran out of memory with {count} x {points.shape[1]} tokens at once, which cannot "
                    f"be fewer; shorten the prompt, or take another device ({result.said})"
                )

    def at_most(self, size: int) -> int:
        """So many points, or as many as the run was brought down to."""
        return min(size, self.most or size)

    def halve(self, count: int) -> None:
        """After running out with so many points: half as many from now on, and a warning the first time."""
        if self.most is None:
            warnings.warn(
                f"the device ran out of memory with {count} points at once; the run goes on with fewer, with the same "
                "result; a smaller chunk_size or a memory_budget avoids it",
                MemoryShortageWarning,
                stacklevel=2,
            )
        self.most = count // 2


@dataclass(frozen=True)
class Shortage:
    """The device ran out of memory.

    Attributes:
        said: how it said so.
    """

    said: str


def attempt(function: Callable[[Tensor], Result], chunk: Tensor) -> Result | Shortage:
    """What the function gives, or that the device ran out of memory; what the attempt took is free again then."""
    try:
        return function(chunk.clone())
    except (MemoryError, RuntimeError) as error:
        if not ran_out(error):
            raise
        said = str(error).partition("\n")[0]  # the error itself would keep what the attempt took
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return Shortage(said)


def ran_out(error: Exception) -> bool:
    """Whether an error says that memory could not be had."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(said in str(error) for said in OUT_OF_MEMORY)
