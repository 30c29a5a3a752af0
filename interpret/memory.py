"""The device's memory: how much of it is free, how much a point needs, and what is done when it runs out."""

from __future__ import annotations

import gc
import sys
import warnings
import weakref
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import psutil
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from interpret.workers import side_by_side
from nexttoken import NextTokenLM, Prompt

FREE_SHARE = 0.5  # of what is free, for the points that run at once
PROBE_LENGTHS = (8, 16)
VOCABULARY_COPIES = 4  # logits, log-probabilities, and the gradients of both
ALLOCATOR_OVERHEAD = 1.2  # what the allocator takes for what is asked of it; 1.0 to 1.4 measured with glibc's
OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "bad_alloc")  # how devices say so
GIGA = 1e9

Result = TypeVar("Result")


class MemoryShortageWarning(UserWarning):
    """The device ran out of memory, and the run went on with fewer points at once."""


@dataclass(frozen=True)
class Need:
    """The bytes that the gradient of one point takes above the model's weights.

    Attributes:
        token: for each token.
        pair: for each pair of tokens, where attention matrices are kept.
        place: for each place that a next token is predicted at.
    """

    token: float
    pair: float
    place: float

    def of_point(self, length: int, places: int = 1) -> int:
        """For a text of so many tokens, of which so many places are read."""
        return int(self.token * length + self.pair * length**2 + self.place * places)

    def longest(self, budget: float, length: int) -> int:
        """The most tokens, fewer than `length`, whose need is within the budget; 0 for none."""
        return max((shorter for shorter in range(1, length) if self.of_point(shorter) <= budget), default=0)


@dataclass
class Memory:
    """What a run may take of the device's memory, and what it has found out about it.

    Attributes:
        budget: bytes above the model's weights; None for a share of what is free.
        most: the number of points at once that it was brought down to; None as long as the device never ran out.
    """

    budget: int | None = None
    most: int | None = None

    def __post_init__(self) -> None:
        if self.budget is not None and self.budget < 1:
            raise ValueError(f"memory_budget is {self.budget}; it is a number of bytes, at least 1")

    def points(self, lm: NextTokenLM, prompt: Prompt, following: int = 0, places: int = 1) -> int:
        """How many points of a prompt, and tokens that follow it, fit at once; at least 1."""
        budget = self.budget if self.budget is not None else FREE_SHARE * free_on(lm)
        return max(1, int(budget // need(lm, prompt).of_point(len(prompt) + following, places)))

    def check(self, lm: NextTokenLM, prompt: Prompt) -> None:
        """Raise ValueError, naming what would fit, if the gradient of a single point of this prompt does not."""
        budget = self.budget if self.budget is not None else free_on(lm)
        each = need(lm, prompt)
        if each.of_point(len(prompt)) > budget:
            name = "memory_budget" if self.budget is not None else "free memory"
            fits = each.longest(budget, len(prompt))
            raise ValueError(
                f"a prompt of {len(prompt)} tokens needs about {each.of_point(len(prompt)) / GIGA:.2g} GB above the "
                f"model's weights, and the {name} is {budget / GIGA:.2g} GB; "
                + (f"{fits} tokens would fit" if fits else "not even one token would fit")
            )

    def in_chunks(
        self,
        function: Callable[[Tensor], Result],
        points: Float[Tensor, "point token dim"],
        size: int,
        divisible: bool = True,
        workers: int = 1,
    ) -> Generator[Result, None, None]:
        """The function on the points in order, so many at once; where the device runs out, half as many from there on.

        Each chunk is a copy, so that nothing of the caller's is touched. Several run side by side if there are workers.

        Raises:
            MemoryError: a point does not fit even alone, or the points cannot be divided.
        """
        done = 0
        while done < len(points):
            chunks = points[done:].detach().split(self.at_most(size))
            count = len(chunks[0])
            for chunk, result in zip(chunks, side_by_side(partial(attempt, function), chunks, workers), strict=False):
                if result is None:
                    break
                yield result[0]
                done += len(chunk)
            else:
                return
            if workers > 1:  # first, one at a time
                workers = 1
                continue
            if count > 1:
                self.halve(count)
            if count == 1 or not divisible:
                raise MemoryError(
                    f"the device ran out of memory with {count} x {points.shape[1]} tokens at once, which cannot "
                    "be fewer; shorten the prompt, or take another device"
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


def attempt(function: Callable[[Tensor], Result], chunk: Tensor) -> tuple[Result] | None:
    """What the function gives, or None if the device ran out of memory; what the attempt took is free again then."""
    try:
        return (function(chunk.clone()),)
    except (MemoryError, RuntimeError) as error:
        if not ran_out(error):
            raise
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None


def ran_out(error: Exception) -> bool:
    """Whether an error says that memory could not be had."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(said in str(error) for said in OUT_OF_MEMORY)


# What a point needs


class Alive(TorchDispatchMode):
    """Within this context, the bytes of all tensors that come into being are counted for as long as they live.

    Attributes:
        bytes: how many are alive.
        peak: how many were at most.
    """

    def __init__(self, outside: Sequence[Tensor]):
        super().__init__()
        self.outside = {tensor.untyped_storage().data_ptr() for tensor in outside}
        self.sizes: dict[int, int] = {}
        self.bytes = self.peak = 0

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self.count(tensor.untyped_storage())
        return result

    def count(self, storage: torch.UntypedStorage) -> None:
        """Count a storage that was not seen before, until it is gone."""
        if id(storage) in self.sizes or storage.data_ptr() in self.outside:
            return
        self.sizes[id(storage)] = storage.nbytes()
        self.bytes += storage.nbytes()
        self.peak = max(self.peak, self.bytes)
        weakref.finalize(storage, self.gone, id(storage))

    def gone(self, key: int) -> None:
        """Stop counting a storage."""
        self.bytes -= self.sizes.pop(key)


NEEDS: WeakKeyDictionary[NextTokenLM, dict[torch.dtype, Need]] = WeakKeyDictionary()


def need(lm: NextTokenLM, prompt: Prompt) -> Need:
    """What a point of this model needs, measured once for each model and precision on a few tokens of the prompt.

    What the forward pass keeps for the backward pass is counted at two lengths, which tells what grows with the length
    from what grows with its square. The peak is taken to be as far above that as it is there.
    """
    row = lm.tokens(prompt)["input_ids"][0]
    with torch.no_grad(), lm.at_rest():
        dtype = lm.embed({"input_ids": row[None]}).dtype
    known = NEEDS.setdefault(lm, {})
    if dtype not in known:
        long = min(PROBE_LENGTHS[1], lm.max_length or PROBE_LENGTHS[1])
        short = min(PROBE_LENGTHS[0], long - 1)
        kept_short, _, _ = taken(lm, sample(row, prompt.start, short)[None], backward=False)
        kept, peak, vocabulary = taken(lm, sample(row, prompt.start, long)[None])
        pair = max(0.0, (kept / long - kept_short / short) / (long - short))
        token = kept / long - pair * long
        factor = ALLOCATOR_OVERHEAD * peak / kept
        known[dtype] = Need(factor * token, factor * pair, ALLOCATOR_OVERHEAD * VOCABULARY_COPIES * vocabulary)
    return known[dtype]


def taken(lm: NextTokenLM, input_ids: Int[Tensor, "1 token"], backward: bool = True) -> tuple[int, int, int]:
    """The bytes of one gradient: kept for the backward pass, at the peak, and of one row of logits in float32.

    Without the backward pass, the peak is that of the forward pass.
    """
    with lm.at_rest(), torch.enable_grad():
        points = lm.embed({"input_ids": input_ids}).detach().clone().requires_grad_(True)
        with Alive([*lm.parameters(), *lm.buffers()]) as alive:
            _, logits = lm.next_tokens(points.clone(), input_ids)
            rows = logits.untyped_storage().nbytes()  # those that were computed, more than were asked for
            kept = alive.bytes - rows
            if backward:
                torch.autograd.grad(logits.sum(), points)
        return max(kept, 1), max(alive.peak - rows, 1), logits.float().nbytes


def sample(row: Int[Tensor, " token"], start: int, length: int) -> Int[Tensor, " length"]:
    """So many tokens like those of a row; where reading on begins in its middle, half of them stand before."""
    before = length // 2 if start else 0
    after = length - before - 1
    ends = row[start + 1 :] if len(row) > start + 1 else row[: max(start, 1)]
    return torch.cat([
        *([row[:start].repeat(before)[:before]] if start else []), row[start : start + 1],
        ends.repeat(max(after, 1))[:after],
    ])  # fmt: skip


# What is free


def free_on(lm: NextTokenLM) -> int:
    """The bytes that are free for a model, on that of its devices where least is free."""
    devices = {parameter.device for parameter in lm.parameters() if parameter.device.type != "meta"} | {lm.device}
    return min(free_memory(device) for device in devices)


def free_memory(device: torch.device) -> int:
    """The bytes that can be had on a device: on a CPU, within the limits of the process and its control groups."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return max(0, min([psutil.virtual_memory().available, *limits_of_process(), *limits_of_groups()]))


def limits_of_process() -> Iterator[int]:
    """The bytes left of the address space that the process may use, if that is limited."""
    if sys.platform != "win32":
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY:
            yield limit - psutil.Process().memory_info().vms


def limits_of_groups(root: Path = Path("/")) -> Iterator[int]:
    """The bytes left to each control group (cgroup, of either version) that the process is in, if that is limited.

    What the group holds of files that were read counts as left.
    """
    listed = root / "proc/self/cgroup"
    for line in listed.read_text().splitlines() if listed.exists() else ():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            top, limit, usage = root / "sys/fs/cgroup", "memory.max", "memory.current"
        elif "memory" in controllers.split(","):
            top, limit, usage = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        folder = top / path.strip("/")
        for group in (folder, *folder.parents):
            if group.is_relative_to(top) and (group / limit).exists() and (group / usage).exists():
                most, used = ((group / name).read_text().strip() for name in (limit, usage))
                if most != "max":
                    yield int(most) - int(used) + files_held(group)


def files_held(group: Path) -> int:
    """The bytes of a control group's memory that hold files and can be given up."""
    statistics = (line.split() for line in (group / "memory.stat").read_text().splitlines())
    return next((int(count) for name, count in statistics if name in ("total_inactive_file", "inactive_file")), 0)
