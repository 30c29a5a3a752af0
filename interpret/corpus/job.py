"""A corpus explained by Ray Data, on one machine or a cluster: nothing lost, and begun again where it stopped."""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from interpret.corpus.run_folder import ROW, RunFolder, stage
from interpret.corpus.table import arrow, optional
from interpret.corpus.work import Load, Worker
from interpret.engine.progress import progress as progress_bar
from interpret.engine.run import Precision
from interpret.methods.method import Method

POLL_INTERVAL = 1.0  # seconds between two looks at how much is finished
MAX_THREADS = 4  # of a worker on CPUs: beyond that, a second worker gains more
# What Ray is told of the cores they take. Little per thread, so that where a node is lost the others have room for its
# workers, without which the blocks that these had would wait for ever; and nearly nothing for reading and writing,
# which have to go on beside workers that take all there is.
CPUS_PER_THREAD, CPUS_FOR_FILES = 0.25, 0.05
# The errors that are raised as one of these; any other is a ChildProcessError.
RAISED = (ChildProcessError, OSError, ValueError, ArithmeticError, MemoryError, ImportError)
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is reported to anyone
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # messages of workers and nodes are not repeated here
}
WORKERS_ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false"}


class Interrupted(KeyboardInterrupt):
    """The run was interrupted; what is finished is kept, and the message says how to go on."""


@dataclass(frozen=True)
class Finished:
    """A corpus that has been explained: `rows` Parquet rows in a `folder`, `errors` of which have only an `error`."""

    folder: Path
    rows: int
    errors: int
    seconds: float  # that this run took

    def __str__(self) -> str:
        failed = f", {self.errors:,} of them with an error" if self.errors else ""
        return f"{self.rows:,} rows in {self.folder}{failed}"


def explain(
    source: str | Path,
    out: str | Path,
    model: str | Load | None = None,
    method: Method | None = None,
    *,
    check: bool = False,
    precision: Precision | None = None,
    memory_budget: int | None = None,
    workers: int | None = None,
    address: str | None = None,
    device: str | None = None,
    progress: bool = True,
) -> Finished:
    """Explain every row of a data set, on all cores of this machine or on a cluster, into a folder of Parquet files.

    Ray Data runs it (the extra `[corpus]`): inside this process without any set-up, or on a cluster. Each worker loads
    the model once; prompts of like length run together. A row that cannot be explained is a row with its `error`.

    A run that was stopped, by whatever, goes on where it was when it is started again with the same arguments: at the
    end each id is there exactly once, with the scores that an undisturbed run gives. What it needs for that lies in a
    folder beside the output, `OUT.run`; another model, method or input is refused. The input is read each time.

    A row costs at most `method.cost(tokens)` gradients, and 64 forward passes where it is checked. Memory does not grow
    with the rows, but for about 100 bytes for each id, while the input is read and when a run goes on.

    Args:
        source: the data set, as `read_rows` takes it.
        out: the folder, made if it is not there; on a cluster one that every node sees by this path.
        model: a Hugging Face id, a folder or a GGUF file; None for the bundled one; or a function without parameters
            that returns a model, which each worker calls.
        method: how; by default what `default_method` says of the model.
        check: whether each attribution is checked against the model.
        precision: in which gradients are taken; by default that of the model.
        memory_budget: bytes for each worker, above the model's weights; by default the workers of a machine share
            half of what is free.
        workers: how many; by default one for each GPU, or one for every four cores.
        address: of a Ray cluster, such as "auto" or "10.0.0.1:6379"; by default this machine alone.
        device: where each worker's model runs; by default the GPU where the engine gives it one.
        progress: show a progress bar in a terminal or a notebook.

    Returns:
        How many rows there are, and how many of them are errors.

    Raises:
        ValueError: an id comes twice, the input is of an unknown kind, the folder holds something else or rows of
            another run, a model that is loaded already, or fewer workers than one.
        OSError: the input cannot be read, the model cannot be loaded, the disk is full, workers die
            (ChildProcessError), or another run is writing the folder (BlockingIOError).
        ImportError: ray or pyarrow is missing.
        Interrupted: a KeyboardInterrupt that says how much is kept.
    """
    if workers is not None and workers < 1:
        raise ValueError(f"workers is {workers}; at least one is needed")
    begun = time.perf_counter()
    folder = RunFolder(Path(out).expanduser().absolute())
    worker = Worker(as_named(model), folder, method, check, precision, memory_budget, device)
    _make(folder, Path(source).expanduser())
    with folder.locked():
        staged = stage(Path(source).expanduser(), folder.input)
        total, is_new = staged["rows"], not folder.committed()
        folder.agree("run", {**worker.facts(), **staged}, anew=is_new)
        if is_new:
            folder.forget("model")
        try:
            if sum(folder.committed().values()) < total:
                try:
                    with _watched(folder, total, progress):
                        run(worker, workers, address)
                except RAISED as error:
                    raise type(error)(f"{error}; {_kept(folder, total)}") from None
            folder.settle(total)
            dataset = arrow().dataset
            errors = dataset.dataset(folder.out, format="parquet").count_rows(filter=dataset.field("error").is_valid())
        except KeyboardInterrupt:
            raise Interrupted(f"interrupted; {_kept(folder, total)}") from None
    return Finished(folder.out, total, errors, time.perf_counter() - begun)


def as_named(model: str | Load | None) -> str | Load | None:
    """The model as every process finds it: a folder or file by its whole path.

    Raises ValueError for a model that is loaded already, which processes on other machines cannot share.
    """
    if isinstance(model, torch.nn.Module):
        raise ValueError(
            "each worker loads its own model: give its name or folder, or a function that returns it, such as "
            "lambda: NextTokenLM.from_pretrained(folder)"
        )
    if model is None or callable(model) or not Path(model).expanduser().exists():
        return model
    return str(Path(model).expanduser().absolute())


def _make(folder: RunFolder, source: Path) -> None:
    """Make the output's folder. Raises OSError or ValueError where there is no input, or the output may not be."""
    out = folder.out
    if not source.exists():
        raise FileNotFoundError(f"there is no file or folder {str(source)!r}")
    if out.exists() and not out.is_dir():
        raise NotADirectoryError(f"{str(out)!r} is a file; the output of a corpus is a folder")
    if not out.parent.is_dir():
        raise FileNotFoundError(f"cannot make {str(out)!r}: there is no folder {str(out.parent)!r}")
    if folder.read("run") is None and out.exists() and any(out.iterdir()):
        raise ValueError(f"the folder {str(out)!r} is not empty, and holds no run; choose another one")
    out.mkdir(exist_ok=True)


def _kept(folder: RunFolder, total: int) -> str:
    done = sum(folder.committed().values())
    return f"{done} of {total} rows are kept, and the same call or command goes on from there"


@contextmanager
def _watched(folder: RunFolder, total: int, shown: bool) -> Iterator[None]:
    """Within this context, a bar shows how many rows are finished, the rate and the time left."""
    known, over = folder.committed(), threading.Event()
    with progress_bar(total, "rows", shown=shown, done=sum(known.values())) as advance:

        def watch() -> None:
            seen = known
            while not over.wait(POLL_INTERVAL):
                now = folder.committed(seen)
                advance(sum(now.values()) - sum(seen.values()))
                seen = now

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()


def run(worker: Worker, workers: int | None = None, address: str | None = None) -> None:
    """Explain the staged rows of a run that are not yet finished, block by block, with a checkpoint each.

    Raises what a worker raises, as it was raised there; ChildProcessError where workers die without saying why.
    """
    with _connected(address, workers) as (ray, embedded):
        data = ray.data
        count, threads, gpus = _workers(ray, workers, embedded)
        nodes = len([node for node in ray.nodes() if node["Alive"]])
        sharing = -(-count // nodes) if not gpus else max(1, round(1 / gpus))
        worker = replace(worker, workers=count, threads=threads, sharing=sharing)
        if gpus and not callable(worker.model):
            worker.device = worker.device or "cuda"
        folder = worker.folder
        blocks = len(list(folder.input.glob("*.parquet")))
        context = data.DataContext.get_current().copy()
        context.enable_progress_bars = False
        context.raise_original_map_exception = True
        context.use_datasource_v2 = False  # which joins small files into one block; here a file is a block
        context.checkpoint_config = data.checkpoint.CheckpointConfig(
            id_column="id", checkpoint_path=str(folder.checkpoint), delete_checkpoint_on_success=False
        )
        # The same for reading as for the workers: then they read their blocks themselves.
        needs: dict[str, Any] = {"num_cpus": threads * CPUS_PER_THREAD, "scheduling_strategy": "SPREAD"}
        if gpus:
            needs["num_gpus"] = gpus
        try:
            with data.DataContext.current(context):
                rows = data.read_parquet(
                    str(folder.input), columns=["id", ROW], override_num_blocks=blocks, ray_remote_args=needs
                )
                answers = rows.map_batches(
                    Worker, fn_constructor_kwargs=vars(worker), batch_size=None, batch_format="pyarrow",
                    compute=data.ActorPoolStrategy(size=min(count, blocks)), **needs,
                )  # fmt: skip
                answers.write_parquet(
                    str(folder.out), compression="zstd", ray_remote_args={"num_cpus": CPUS_FOR_FILES}, concurrency=nodes
                )
        except ray.exceptions.RayError as error:
            raise _cause(error) from None


@contextmanager
def _connected(address: str | None, workers: int | None) -> Iterator[tuple[Any, bool]]:
    """Ray within this context, saying nothing of its own, and whether it was started here for this run alone.

    Where the caller has already started Ray, it is used, as a cluster, and left as it is.

    Raises:
        ImportError: it is missing; the message says what to install.
        ConnectionError: there is no cluster at the address, or Ray cannot be started.
    """
    os.environ.update({name: value for name, value in QUIET.items() if name not in os.environ})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ray = optional("ray", "ray.data", "ray.data.checkpoint")
        own = not ray.is_initialized()
        if own:
            _start(ray, address, workers)
        warnings.simplefilter("ignore")  # once more, since Ray asks for its own warnings when it is imported
        logger = logging.getLogger("ray.data")
        level = logger.level
        logger.setLevel(logging.CRITICAL)
        try:
            yield ray, own and address is None
        finally:
            logger.setLevel(level)
            if own:
                ray.shutdown()


def _start(ray: Any, address: str | None, workers: int | None) -> None:
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


def _cause(error: Any) -> Exception:
    """What ended the run, in one line: what was raised in a worker, or what Ray says of workers that died."""
    cause = getattr(error, "cause", None)
    if cause is None:
        return ChildProcessError(f"the workers died: {str(error).strip().splitlines()[-1].strip()}")
    text = re.split(r"(?:: ['\"])?\s*Failed to .* after \d+/\d+ attempts", str(cause))[0]  # then come Ray's settings
    text = " ".join(text.split())
    kind = next((each for each in RAISED if isinstance(cause, each)), None)
    return kind(text) if kind else ChildProcessError(f"{type(cause).__name__}: {text}")
