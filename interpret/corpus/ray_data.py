"""The work on Ray Data: staged blocks go to workers, and what comes of them is written and checkpointed."""

from __future__ import annotations

import builtins
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

from interpret.corpus.run_folder import ERROR, ROW, RunFolder
from interpret.corpus.work import Work, Worker

MAX_THREADS = 4  # of a worker on CPUs: beyond that, a second worker gains more
# What Ray is told of the cores they take. Little per thread, so that where a node is lost the others have room for its
# workers, without which the blocks that these had would wait for ever; and nearly nothing for reading and writing,
# which have to go on beside workers that take all there is.
CPUS_PER_THREAD, CPUS_FOR_FILES = 0.25, 0.05
RAISED = (OSError, ValueError, ArithmeticError, MemoryError, ImportError)  # errors that are raised as they were
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is reported to anyone
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # messages of workers and nodes are not repeated here
}
WORKERS_ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false"}


def run(folder: RunFolder, work: Work, workers: int | None = None, address: str | None = None) -> None:
    """Explain the staged rows of a run that are not yet finished, block by block, with a checkpoint each.

    Raises what a worker raises, as it was raised there; ChildProcessError where workers die without saying why.
    """
    with _connected(address, workers) as (ray, embedded), _quiet():
        from ray.data import ActorPoolStrategy, DataContext, read_parquet
        from ray.data.checkpoint import CheckpointConfig

        count, threads, gpus = _workers(ray, workers, embedded)
        nodes = len([node for node in ray.nodes() if node["Alive"]])
        sharing = -(-count // nodes) if not gpus else max(1, round(1 / gpus))
        work = replace(work, workers=count, threads=threads, sharing=sharing)
        if gpus and not callable(work.model):
            work = replace(work, device=work.device or "cuda")
        blocks = len(list(folder.input.glob("*.parquet")))
        context = DataContext.get_current().copy()
        context.enable_progress_bars = False
        context.use_datasource_v2 = False  # which joins small files into one block; here a file is a block
        context.checkpoint_config = CheckpointConfig(
            id_column="id", checkpoint_path=str(folder.checkpoint), delete_checkpoint_on_success=False
        )
        # The same for reading as for the workers: then they read their blocks themselves.
        needs: dict[str, Any] = {"num_cpus": threads * CPUS_PER_THREAD, "scheduling_strategy": "SPREAD"}
        if gpus:
            needs["num_gpus"] = gpus
        try:
            with DataContext.current(context):
                rows = read_parquet(
                    str(folder.input), columns=["id", ROW], override_num_blocks=blocks, ray_remote_args=needs
                )
                answers = rows.map_batches(
                    Worker, fn_constructor_args=(work,), batch_size=None, batch_format="pyarrow",
                    compute=ActorPoolStrategy(size=min(count, blocks)), **needs,
                )  # fmt: skip
                answers.write_parquet(
                    str(folder.out), compression="zstd", ray_remote_args={"num_cpus": CPUS_FOR_FILES}, concurrency=nodes
                )
        except ray.exceptions.RayError as error:
            raise _cause(folder, error) from None


@contextmanager
def _connected(address: str | None, workers: int | None) -> Iterator[tuple[Any, bool]]:
    """Ray within this context, and whether it is inside this process and ends with it, or a cluster by its address.

    Where the caller has already started Ray, it is used, as a cluster, and left as it is.

    Raises:
        ImportError: it is missing; the message says what to install.
        ConnectionError: there is no cluster at the address, or Ray cannot be started.
    """
    ray = _ray()
    if ray.is_initialized():
        yield ray, False
        return
    options: dict[str, Any] = {"address": address, "runtime_env": {"env_vars": WORKERS_ENVIRONMENT}}
    if address is None:  # the workers inherit the environment, and one that waits already can be taken
        options = {"address": "local", "num_cpus": max(_usable_cores(), workers or 1), "include_dashboard": False}
    try:
        with _native_stderr_closed(), ExitStack() as environment:
            for name in WORKERS_ENVIRONMENT.keys() - os.environ.keys():
                os.environ[name] = WORKERS_ENVIRONMENT[name]
                environment.callback(os.environ.pop, name)
            ray.init(**options, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # Ray raises plain ones, too
        failed = "Ray cannot be started" if address is None else f"there is no cluster at {address!r}"
        raise ConnectionError(f"{failed}: {' '.join(str(error).split())[:200]}") from None
    try:
        yield ray, address is None
    finally:
        ray.shutdown()


def _ray() -> Any:
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import ray
            import ray.data
    except ImportError as error:
        raise ImportError(
            "explaining a corpus needs the package ray; pip install 'nexttoken-interpret[corpus]' installs it "
            f"({error})"
        ) from error
    return ray


def _workers(ray: Any, workers: int | None, embedded: bool) -> tuple[int, int, float]:
    """How many workers there are, the threads of each, and the share of a GPU that each takes (0 without GPUs)."""
    resources = ray.cluster_resources()
    gpus = int(resources.get("GPU", 0))
    if gpus:
        count = workers or gpus
        return count, 1, min(1.0, gpus / count)
    cores = _usable_cores() if embedded else max(1, int(resources.get("CPU", 1)) - len(ray.nodes()))
    count = workers or max(1, cores // MAX_THREADS)
    return count, max(1, cores // count), 0.0


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _quiet() -> Iterator[None]:
    """Within this context, Ray Data says nothing of its own."""
    logger = logging.getLogger("ray.data")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


@contextmanager
def _native_stderr_closed() -> Iterator[None]:
    """Within this context, what Ray's native code writes to standard error is dropped: it says that it is quiet now."""
    sys.stderr.flush()
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


def _cause(folder: RunFolder, error: BaseException) -> Exception:
    """What ended the run: what a worker has left of it in the run's folder, or what Ray knows."""
    left = folder.read(ERROR)
    if left is not None:
        kind = getattr(builtins, left["kind"], None)
        if isinstance(kind, type) and issubclass(kind, RAISED):
            return kind(left["message"])  # type: ignore[no-any-return]
        return ChildProcessError(f"{left['kind']}: {left['message']}")
    inner = getattr(error, "cause", None)
    if isinstance(inner, OSError) and inner.errno:
        return OSError(inner.errno, os.strerror(inner.errno), str(folder.out))
    if isinstance(inner, RAISED):
        return inner
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return ChildProcessError(f"the workers died: {lines[-1] if lines else type(error).__name__}")
