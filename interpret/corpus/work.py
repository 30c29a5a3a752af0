"""The work on a corpus, which any engine can run: columns in and columns out on a model, and a worker that loads it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch

from interpret.corpus import table
from interpret.corpus.run_folder import ROW, RunFolder
from interpret.corpus.table import FAULT, INPUT, OUTPUT, Row, error_row
from interpret.engine.memory.available import available_memory
from interpret.engine.memory.policy import AVAILABLE_SHARE
from interpret.engine.run import Precision
from interpret.many import Failure, attribute_many
from interpret.methods.default import default_method
from interpret.methods.method import Method
from interpret.results.files import versions
from nexttoken import NextTokenLM, from_pretrained
from nexttoken.text.target import continuation_ids

Columns = Mapping[str, Sequence[Any]]
Load = Callable[[], NextTokenLM]
VALUES_PER_PARAMETER = 64  # by which a model is recognized
MAX_DEATHS_LOADING = 5  # for each worker, while it loads the model, before the run ends
MAX_DEATHS = 2  # of workers that explain a row, before the row is given up


def explain_columns(
    lm: NextTokenLM,
    columns: Columns,
    method: Method | None = None,
    *,
    check: bool = False,
    precision: Precision | None = None,
    memory_budget: int | None = None,
) -> dict[str, list[Any]]:
    """Explain the rows of a table: columns in, columns out, in the same order. Any engine can call it.

    Rows of like length run together, where a method needs one gradient. A row that cannot be explained is a row with
    its `error`; nothing else is lost. See docs/corpora.md for the columns. A row costs at most `method.cost(tokens)`
    gradients, and 64 forward passes where it is checked.

    Args:
        lm: the model; it comes back as it was.
        columns: `id` and `prompt` or `messages`, and where wanted `target`, `contrast`, `region`, `continuation`,
            and `fault` as `read_rows` gives it; a list (or an array) for each, of the same length.
        method: the same for every row; `default_method` by default.
        check: whether each attribution is checked against the model.
        precision: in which gradients are taken; by default that of the model.
        memory_budget: bytes, above the model's weights; by default half of what is free.

    Returns:
        A list for each column of the output.

    Raises:
        ValueError: columns of different lengths, or no column `id`.
    """
    lengths = {name: len(values) for name, values in columns.items()}
    if "id" not in columns or len(set(lengths.values())) > 1:
        raise ValueError(f"the columns must be of one length, with an id for each row; they have {lengths}")
    found: dict[int, Row] = {}
    by_region: dict[str, dict[int, Row]] = {}
    for number in range(lengths["id"]):
        asked: Row = {name: _cell(columns[name][number]) if name in columns else None for name in (*INPUT, FAULT)}
        asked["id"] = str(columns["id"][number])
        try:
            _prepare(lm, asked)
            by_region.setdefault(json.dumps(asked["region"]), {})[number] = asked
        except (ValueError, TypeError) as error:
            found[number] = error_row(asked["id"], asked["prompt"], _one_line(error))
    for rows in by_region.values():
        begun = time.perf_counter()
        answers = attribute_many(
            lm, [row["prompt"] for row in rows.values()], [row["target"] for row in rows.values()], method,
            contrasts=[row["contrast"] for row in rows.values()], region=next(iter(rows.values()))["region"],
            precision=precision, memory_budget=memory_budget, check=check, progress=False,
        )  # fmt: skip
        for (number, row), answer in zip(rows.items(), answers, strict=True):
            seconds, begun = time.perf_counter() - begun, time.perf_counter()
            if isinstance(answer, Failure):
                found[number] = error_row(row["id"], row["prompt"].text, _one_line(answer.error), seconds)
            else:
                found[number] = table.result_row(row["id"], answer, seconds)
    return {name: [found[number][name] for number in range(lengths["id"])] for name in OUTPUT}


def _prepare(lm: NextTokenLM, asked: Row) -> None:
    """Make prompt and target of a row what `attribute` takes. Raises ValueError for a row without a clear question."""
    if asked[FAULT] is not None:
        raise ValueError(str(asked[FAULT]))
    if asked["messages"] is not None:
        if asked["prompt"] is not None:
            raise ValueError("the row has a prompt and messages; give one of them")
        messages = asked["messages"]
        asked["prompt"] = json.loads(messages) if isinstance(messages, str) else messages
    if asked["prompt"] is None:
        raise ValueError("the row has neither a prompt nor messages")
    prompt = lm.prompt(asked["prompt"])
    if asked["continuation"] is not None:
        if asked["target"] is not None:
            raise ValueError("the row has a target and a continuation; give one of them")
        asked["target"] = list(continuation_ids(asked["continuation"], prompt, lm.vocab))
    asked["prompt"] = prompt


def _cell(value: Any) -> Any:
    # None where it is empty, as tables write it.
    value = table.plain(value)
    return None if value == "" or value != value else value


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def stable_text(value: Any) -> str:
    """A method with its settings, or what loads a model, in the same words in every process."""
    return re.sub(r" at 0x[0-9a-f]+", "", value if isinstance(value, str) else repr(value))


def digest_of_weights(lm: NextTokenLM) -> str:
    """The names and shapes of all parameters and 64 values of each, as a digest. The same on every device."""
    hashed = hashlib.blake2b(digest_size=12)
    for name, parameter in lm.named_parameters():
        flat = parameter.detach().reshape(-1)
        some = flat[:: max(1, flat.numel() // VALUES_PER_PARAMETER)].to("cpu").contiguous().view(torch.uint8)
        hashed.update(f"{name} {tuple(parameter.shape)} {parameter.dtype}".encode() + bytes(some.tolist()))
    return hashed.hexdigest()


@dataclass
class Worker:
    """Explains blocks of staged rows; a row that cannot be explained, even one that kills the worker, is an error.

    While a worker computes, a note lies in the run's folder; a note that is found is of a worker that died. Then the
    block's rows are explained one by one, each named in the note, and one that was named twice is given up.

    Of `workers` in all, `sharing` share the memory of a device; each computes with `threads` on a CPU.
    """

    model: str | Load | None
    folder: RunFolder
    method: Method | None = None
    check: bool = False
    precision: Precision | None = None
    memory_budget: int | None = None
    device: str | None = None
    workers: int = 1
    threads: int = 1
    sharing: int = 1

    def facts(self) -> dict[str, Any]:
        """What a run is of, as far as it is known before a model is loaded."""
        model = "the bundled one" if self.model is None else self.model
        method = "the default" if self.method is None else self.method
        return {
            "model": stable_text(model), "method": stable_text(method), "check": self.check, "precision": self.precision
        }  # fmt: skip

    def __call__(self, block: Any) -> Any:
        """A pyarrow.Table of staged rows as one of the output.

        Raises what loading the model raises, ChildProcessError where workers died of that, and ValueError if it is
        another model than that of the run's other rows.
        """
        rows = [{**json.loads(each[ROW]), "id": each["id"]} for each in block.to_pylist()]
        if not rows:
            return table.output_schema().empty_table()
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        explain, note = self._explain, self.folder.note_of(columns["id"])
        found = self.folder.read(note)
        if found is None:
            self.folder.write(note, {})
            try:
                answers = explain(columns)
            except Exception as error:  # which row it is of shows when they run alone
                _exit_if_broken(error)
                found = {}
        if found is not None:
            answers = self._one_by_one(note, found, rows)
        self.folder.forget(note)
        return table.as_table(answers)

    def _one_by_one(self, note: str, found: dict[str, Any], rows: Sequence[Row]) -> dict[str, list[Any]]:
        deaths = Counter(found.get("deaths", {}))
        deaths.update([found["row"]] if "row" in found else [])
        answers, errors = [], []
        for row in rows:
            if deaths[row["id"]] >= MAX_DEATHS:
                message = f"the worker died {MAX_DEATHS} times while it explained this row"
                answers.append(error_row(row["id"], row["prompt"], message))
                continue
            self.folder.write(note, {"row": row["id"], "deaths": deaths})
            try:
                answer = self._explain({name: [value] for name, value in row.items()})
                answers.append({name: values[0] for name, values in answer.items()})
            except Exception as error:
                _exit_if_broken(error)
                errors.append(error)
                answers.append(error_row(row["id"], row["prompt"], f"{type(error).__name__}: {_one_line(error)}"))
        if len(errors) == len(rows) > 1:  # not the rows, but the model or the machine
            raise errors[0]
        return {name: [answer[name] for answer in answers] for name in OUTPUT}

    @cached_property
    def _explain(self) -> Callable[[Columns], dict[str, list[Any]]]:
        """`explain_columns` with the model, which is loaded when first used and the same for every worker of a run."""
        torch.set_num_threads(self.threads)
        died = len(list(self.folder.attempts.glob("loading-*")))
        if died >= MAX_DEATHS_LOADING * self.workers:
            raise ChildProcessError(f"workers died {died} times while they loaded the model; is the memory enough?")
        note = self.folder.attempts / f"loading-{secrets.token_hex(8)}"
        note.touch()
        try:
            options: dict[str, Any] = {} if self.device is None else {"device": self.device}
            lm = self.model(**options) if callable(self.model) else from_pretrained(self.model, **options)
        finally:
            note.unlink(missing_ok=True)
        method = default_method(lm) if self.method is None else self.method
        budget = self.memory_budget
        if budget is None and self.sharing > 1:
            budget = int(AVAILABLE_SHARE * available_memory(lm) / self.sharing)
        known = {"model": lm.name, "weights": digest_of_weights(lm), "dtype": str(lm.dtype).removeprefix("torch.")}
        self.folder.agree("model", {**known, "method": stable_text(method), "schema": table.VERSION, **versions()})
        return partial(
            explain_columns, lm, method=method, check=self.check, precision=self.precision, memory_budget=budget
        )


def _exit_if_broken(error: Exception) -> None:
    # After an error of CUDA's every later call fails in this process; the engine starts another one.
    if isinstance(error, RuntimeError) and "CUDA error" in str(error):
        os._exit(70)
