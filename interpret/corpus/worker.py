"""A worker of a corpus, which any engine can run: it loads the model once, and explains one block after another."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from interpret.build import versions
from interpret.corpus.files import as_table, output_schema
from interpret.corpus.schema import OUTPUT, VERSION, failed
from interpret.corpus.staging import ROW, asked
from interpret.corpus.state import ERROR, RunFolder
from interpret.corpus.work import Settings, explain_columns
from interpret.engine.memory.available import available_memory
from interpret.engine.memory.policy import AVAILABLE_SHARE
from interpret.methods.default import default_method
from nexttoken import NextTokenLM, from_pretrained

Load = Callable[[], NextTokenLM]
SAMPLED = 64  # values of each parameter, by which a model is recognized
TRIES_TO_LOAD = 5  # times for each worker that one may die while it loads the model, before the run ends
TRIES = 2  # times that a worker may die of a row, before the row is given up


@dataclass(frozen=True)
class Work:
    """What a worker needs to know.

    Attributes:
        load: returns the model.
        settings: how each row is explained.
        out: the folder of the output.
        workers: how many there are.
        threads: that a worker computes with, on a CPU.
        beside: workers that share the memory of a device.
    """

    load: Load
    settings: Settings
    out: Path
    workers: int = 1
    threads: int = 1
    beside: int = 1


class Worker:
    """Explains blocks of staged rows; a row that cannot be explained, even one that kills the worker, is an error.

    While a block is worked on, a note lies in the run's folder. Who finds one, finds a block that a worker died of;
    then the rows are explained one by one, each named in the note, and one that was named twice is given up.
    """

    def __init__(self, work: Work):
        self.work = work
        self.run = RunFolder(work.out)
        self._ready: tuple[NextTokenLM, Settings] | None = None

    def __call__(self, block: Any) -> Any:
        """A pyarrow.Table of staged rows as one of the output.

        Raises what loading the model raises, and ValueError if it is another model than that of the run's other rows.
        """
        ids = block["id"].to_pylist()
        if not ids:
            return output_schema().empty_table()
        try:
            return as_table(self._explained(ids, asked(block[ROW].to_pylist(), ids)))
        except Exception as error:  # kept in the run's folder, since engines pass on no more than its text
            with suppress(OSError):
                self.run.write(ERROR, {"kind": type(error).__name__, "said": str(error)})
            raise

    def _explained(self, ids: Sequence[str], columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
        lm, settings = self._model()
        note = _Note(self.run.attempts / f"{hashlib.blake2b(repr(ids).encode(), digest_size=12).hexdigest()}.json")
        if not note.found:
            note.write(None)
            try:
                found = explain_columns(lm, columns, settings)
                note.remove()
                return found
            except Exception as error:  # which row it is of shows when they run alone
                _end_if_broken(error)
        rows, errors = [], []
        for place, own in enumerate(ids):
            one = {name: values[place : place + 1] for name, values in columns.items()}
            if note.deaths(own) >= TRIES:
                rows.append(_given_up(one, f"the worker died {TRIES} times while it explained this row"))
                continue
            note.write(own)
            try:
                rows.append({name: values[0] for name, values in explain_columns(lm, one, settings).items()})
            except Exception as error:
                _end_if_broken(error)
                errors.append(error)
                rows.append(_given_up(one, f"{type(error).__name__}: {' '.join(str(error).split())}"))
        note.remove()
        if len(errors) == len(ids) > 1:  # not the rows, but the model or the machine
            raise errors[0]
        return {name: [row[name] for row in rows] for name in OUTPUT}

    def _model(self) -> tuple[NextTokenLM, Settings]:
        """The model and how it is asked, the same for every worker of a run. Loaded when first used."""
        if self._ready is None:
            torch.set_num_threads(self.work.threads)
            with self._loading():
                lm = self.work.load()
            settings = self.work.settings
            if settings.method is None:
                settings = replace(settings, method=default_method(lm))
            if settings.memory_budget is None and self.work.beside > 1:
                share = int(AVAILABLE_SHARE * available_memory(lm) / self.work.beside)
                settings = replace(settings, memory_budget=share)
            self.run.agree("model", facts_of_model(lm, settings))
            self._ready = lm, settings
        return self._ready

    @contextmanager
    def _loading(self) -> Iterator[None]:
        """Within this context a note says that the model is being loaded; too many of them are of workers that died.

        Raises ChildProcessError then.
        """
        died = len(list(self.run.attempts.glob("loading-*")))
        if died >= TRIES_TO_LOAD * self.work.workers:
            raise ChildProcessError(f"workers died {died} times while they loaded the model; is the memory enough?")
        note = self.run.attempts / f"loading-{secrets.token_hex(8)}"
        note.touch()
        try:
            yield
        finally:
            note.unlink(missing_ok=True)


class _Note:
    """What is being worked on, kept in a file for whoever comes after a death."""

    def __init__(self, path: Path):
        self.path = path
        kept = json.loads(path.read_text(encoding="utf-8") or "{}") if path.exists() else None
        self.found = kept is not None
        self.blamed: dict[str, int] = (kept or {}).get("blamed", {})
        at = (kept or {}).get("at")
        if at is not None:
            self.blamed[at] = self.blamed.get(at, 0) + 1

    def deaths(self, own: str) -> int:
        return self.blamed.get(own, 0)

    def write(self, own: str | None) -> None:
        part = self.path.with_suffix(f".{os.getpid()}.part")
        part.write_text(json.dumps({"at": own, "blamed": self.blamed}), encoding="utf-8")
        part.replace(self.path)

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


def loader(model: str | Load | None, device: str | None = None) -> Load:
    """What loads a model that is given by its name, None for the bundled one, or by a function that returns it.

    Raises ValueError for a model that is there already, which processes on other machines cannot share.
    """
    if isinstance(model, torch.nn.Module):
        raise ValueError(
            "each worker loads its own model: give its name or folder, or a function that returns it, such as "
            "lambda: NextTokenLM.from_pretrained(folder)"
        )
    options: dict[str, Any] = {} if device is None else {"device": device}
    if callable(model):
        return partial(model, **options) if options else model
    if model is not None and Path(model).expanduser().exists():
        model = str(Path(model).expanduser().absolute())
    return partial(from_pretrained, model, **options)


def on_gpu(load: Load) -> Load:
    """What loads the same model onto the GPU, unless it was told where, or loads it in its own way."""
    if not isinstance(load, partial) or load.func != from_pretrained or load.keywords.get("device"):
        return load
    return partial(load.func, *load.args, **{**load.keywords, "device": "cuda"})


def facts_of_model(lm: NextTokenLM, settings: Settings) -> dict[str, Any]:
    """What makes two runs the same: the model, its weights, the method with its settings, and the versions.

    The weights are recognized by 64 values of each parameter, so that this takes no second pass over a large model.
    """
    return {
        "model": lm.name, "weights": digest_of_weights(lm), "dtype": str(lm.dtype).removeprefix("torch."),
        "method": named(settings.method), "check": settings.check, "precision": settings.precision,
        "schema": VERSION, **versions(),
    }  # fmt: skip


def digest_of_weights(lm: NextTokenLM) -> str:
    """The names, shapes and some values of all parameters, as a digest. The same on every device."""
    hashed = hashlib.blake2b(digest_size=12)
    for name, parameter in lm.named_parameters():
        flat = parameter.detach().reshape(-1)
        some = flat[:: max(1, flat.numel() // SAMPLED)].to("cpu").contiguous().view(torch.uint8)
        hashed.update(f"{name} {tuple(parameter.shape)} {parameter.dtype}".encode() + bytes(some.tolist()))
    return hashed.hexdigest()


def named(method: Any) -> str:
    """A method with its settings, in the same words in every process."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(method))


def _given_up(one: dict[str, list[Any]], error: str) -> dict[str, Any]:
    prompt = one.get("prompt", [None])[0]
    return failed(one["id"][0], prompt if isinstance(prompt, str) else None, error)


def _end_if_broken(error: Exception) -> None:
    # After an error of CUDA's every later call fails in this process; the engine starts another one.
    if isinstance(error, RuntimeError) and "CUDA error" in str(error):
        os._exit(70)
