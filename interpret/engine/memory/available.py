"""How much of a device's memory is available, within the limits of the process and its control groups."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import torch

from nexttoken import NextTokenLM


def available_memory(lm: NextTokenLM) -> int:
    """The bytes available to a model: on that of its devices where they are fewest.

    Processes that share a sharded model get the same number, those on one machine's CPUs the same share of it each.
    """
    devices = {parameter.device for parameter in lm.parameters() if parameter.device.type != "meta"} | {lm.device}
    bytes_here = min(available_on(device) for device in devices)
    if lm.is_sharded and lm.device.type == "cpu":
        bytes_here //= int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return int(agreed(lm, bytes_here, least=True))


def agreed(lm: NextTokenLM, number: float, *, least: bool) -> float:
    """The least, or else the greatest, of the numbers that the processes have that share a sharded model.

    They take every step of a run together, so they have to decide alike. Other models' numbers stay as they are.
    """
    if not lm.is_sharded:
        return number
    import torch.distributed as dist
    from torch.distributed.tensor import DTensor

    mesh = next(each.device_mesh for each in lm.parameters() if isinstance(each, DTensor))
    value = torch.tensor([number], dtype=torch.float64, device=lm.device)
    for dimension in range(mesh.ndim):
        dist.all_reduce(value, dist.ReduceOp.MIN if least else dist.ReduceOp.MAX, group=mesh.get_group(dimension))
    return value.item()


def available_on(device: torch.device) -> int:
    """The bytes available on a device: on a CPU, within the limits of the process and its control groups."""
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
                    yield int(most) - int(used) + bytes_of_files(group)


def bytes_of_files(group: Path) -> int:
    """The bytes of a control group's memory that hold files and can be given up."""
    statistics = (line.split() for line in (group / "memory.stat").read_text().splitlines())
    return next((int(count) for name, count in statistics if name in ("total_inactive_file", "inactive_file")), 0)
