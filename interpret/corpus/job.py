"""A corpus explained on one machine or a cluster: nothing lost, nothing twice, and begun again where it stopped."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from interpret.corpus.ray_data import RAISED, run
from interpret.corpus.run_folder import ERROR, OF_THE_INPUT, RunFolder, source_state, stage
from interpret.corpus.table import arrow
from interpret.corpus.work import Load, Work
from interpret.engine.progress import progress as progress_bar
from interpret.engine.run import Precision
from interpret.methods.method import Method

POLL_INTERVAL = 1.0  # seconds between two looks at how much is finished


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
    folder beside the output, `OUT.run`. There stands too what it is a run of, and another model, method or input is
    refused.

    A row costs at most `method.cost(tokens)` gradients, and 64 forward passes where it is checked. Memory does not grow
    with the rows, but for about 100 bytes for each id, while the input is read and when a run goes on.

    Args:
        source: the data set, as `read_rows` takes it.
        out: the folder, made if it is not there; on a cluster one that every node sees by this path.
        model: a Hugging Face id, a folder or a GGUF file; None for the bundled one; or a function without parameters
            that returns a model, which each worker calls.
        method: how; by default what `default_method` says of the model.
        check: whether each attribution is checked against the model.
        precision: as for `attribute`.
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
    work = Work(as_named(model), folder.out, method, check, precision, memory_budget, device)
    state = source_state(source)
    _check_free(folder)
    with folder.locked():
        if folder.committed():
            folder.compare("run", work.facts())
        else:  # nothing is kept that could be of another model
            folder.forget("model")
        staged = _staged(folder, source, state)
        folder.write("run", {**work.facts(), **staged, "source": state})
        total = staged["rows"]
        try:
            if sum(folder.committed().values()) < total:
                shutil.rmtree(folder.attempts, ignore_errors=True)  # of an earlier run, which was stopped
                folder.attempts.mkdir()
                folder.forget(ERROR)
                try:
                    with _watched(folder, total, progress):
                        run(folder, work, workers, address)
                except RAISED as error:
                    raise type(error)(f"{' '.join(str(error).split())}; {_kept(folder, total)}") from None
            folder.settle(total)
            dataset = arrow().dataset
            errors = dataset.dataset(folder.out, format="parquet").count_rows(filter=dataset.field("error").is_valid())
        except KeyboardInterrupt:
            raise Interrupted(f"interrupted; {_kept(folder, total)}") from None
        for done in (folder.input, folder.attempts):
            shutil.rmtree(done, ignore_errors=True)
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


def _check_free(folder: RunFolder) -> None:
    """Make the output's folder. Raises OSError or ValueError unless the output may be written there."""
    out = folder.out
    if out.exists() and not out.is_dir():
        raise NotADirectoryError(f"{str(out)!r} is a file; the output of a corpus is a folder")
    if not out.parent.is_dir():
        raise FileNotFoundError(f"cannot make {str(out)!r}: there is no folder {str(out.parent)!r}")
    if folder.read("run") is None and out.exists() and any(out.iterdir()):
        raise ValueError(f"the folder {str(out)!r} is not empty, and holds no run; choose another one")
    out.mkdir(exist_ok=True)


def _staged(folder: RunFolder, source: str | Path, state: list[list[Any]]) -> dict[str, Any]:
    """The input, read and made ready, unless it lies ready or all is done. Raises ValueError if it is another one."""
    kept = folder.read("run")
    ready = kept is not None and (folder.input.exists() or sum(folder.committed().values()) == kept["rows"])
    if kept is not None and ready and kept["source"] == state:
        return {name: kept[name] for name in OF_THE_INPUT}
    new = folder.path / "input.new"
    staged = stage(Path(source).expanduser(), new)
    if folder.committed():
        try:
            folder.compare("run", staged)
        except ValueError:
            shutil.rmtree(new)
            raise
    shutil.rmtree(folder.input, ignore_errors=True)
    new.rename(folder.input)
    return staged


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
