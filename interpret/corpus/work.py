"""The work on a corpus, without any engine: columns in, columns out, on a model that is there."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from interpret.corpus.schema import FAULT, OUTPUT, columns_of, failed
from interpret.engine.run import Precision
from interpret.many import Failure, attribute_many
from interpret.methods.method import Method
from interpret.results.attribution import Attribution
from nexttoken import NextTokenLM
from nexttoken.text.target import continuation_ids

Columns = Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class Settings:
    """How every row of a corpus is explained.

    Attributes:
        method: how; None for the model's default.
        check: whether each map is checked against the model.
        precision: as for `attribute`.
        memory_budget: as for `attribute`.
    """

    method: Method | None = None
    check: bool = False
    precision: Precision | None = None
    memory_budget: int | None = None


@dataclass(frozen=True)
class Row:
    """What a row of the input asks.

    Attributes:
        id: of the row.
        prompt: a text, or the messages of a chat.
        target: the next token, several in a row, or None for the model's first choice.
        contrast: the foils.
        region: the part of the prompt that it is explained by.
        continuation: a text, explained as a whole in place of a target.
    """

    id: str
    prompt: Any
    target: Any = None
    contrast: Any = None
    region: Any = None
    continuation: str | None = None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Row:
        """From the columns of a row; what is missing or empty is not asked.

        Raises ValueError for a row that could not be read, or has no prompt.
        """
        if _given(row.get(FAULT)) is not None:
            raise ValueError(str(row[FAULT]))
        given = {name: _given(row.get(name)) for name in ("prompt", "messages", "target", "contrast", "region")}
        messages = given.pop("messages")
        if messages is not None:
            if given["prompt"] is not None:
                raise ValueError("the row has a prompt and messages; give one of them")
            given["prompt"] = json.loads(messages) if isinstance(messages, str) else _plain(messages)
        if given["prompt"] is None:
            raise ValueError("the row has neither a prompt nor messages")
        return cls(str(row["id"]), **given, continuation=_given(row.get("continuation")))


def explain_columns(lm: NextTokenLM, columns: Columns, settings: Settings | None = None) -> dict[str, list[Any]]:
    """Explain the rows of a table: columns in, columns out, in the same order. Any engine can call it.

    Rows of like length run together, where a method needs one gradient. A row that cannot be explained is a row with
    its `error`; nothing else is lost. See docs/corpora.md for the columns. A row costs at most `method.cost(tokens)`
    gradients, and 64 forward passes where it is checked.

    Args:
        lm: the model; it comes back as it was.
        columns: `id` and `prompt` or `messages`, and where wanted `target`, `contrast`, `region`, `continuation`,
            and `fault` as `read_rows` gives it; a list (or an array) for each, of the same length.
        settings: how.

    Returns:
        A list for each column of the output.

    Raises:
        ValueError: columns of different lengths, or no column `id`.
    """
    settings = settings if settings is not None else Settings()
    lengths = {name: len(values) for name, values in columns.items()}
    if "id" not in columns or len(set(lengths.values())) > 1:
        raise ValueError(f"the columns must be of one length, with an id for each row; they have {lengths}")
    rows = [{name: values[place] for name, values in columns.items()} for place in range(lengths["id"])]
    found: dict[int, dict[str, Any]] = {}
    asked: dict[Any, dict[int, Row]] = {}
    for place, row in enumerate(rows):
        try:
            own = Row.of(row)
            asked.setdefault(_key(own.region), {})[place] = own
        except (ValueError, TypeError) as error:
            found[place] = failed(str(row["id"]), _text(row.get("prompt")), _one_line(error))
    for some in asked.values():
        found.update(_explained(lm, some, settings))
    return {name: [found[place][name] for place in range(len(rows))] for name in OUTPUT}


def _explained(lm: NextTokenLM, rows: Mapping[int, Row], settings: Settings) -> dict[int, dict[str, Any]]:
    """Rows that have their region in common, explained together."""
    found, ready = {}, {}
    for place, row in rows.items():
        try:
            prompt = lm.prompt(row.prompt)
            target = row.target
            if row.continuation is not None:
                if target is not None:
                    raise ValueError("the row has a target and a continuation; give one of them")
                target = list(continuation_ids(row.continuation, prompt, lm.vocab))
            ready[place] = (prompt, target, row)
        except ValueError as error:
            found[place] = failed(row.id, _text(row.prompt), _one_line(error))
    region = next((row.region for _, _, row in ready.values()), None)
    begun = time.perf_counter()
    answers: Iterable[Attribution | Failure] = attribute_many(
        lm, [prompt for prompt, _, _ in ready.values()], [target for _, target, _ in ready.values()], settings.method,
        contrasts=[row.contrast for _, _, row in ready.values()], region=region, precision=settings.precision,
        memory_budget=settings.memory_budget, check=settings.check, progress=False,
    )  # fmt: skip
    for place, answer in zip(ready, answers, strict=True):
        now = time.perf_counter()
        prompt, _, row = ready[place]
        if isinstance(answer, Failure):
            found[place] = failed(row.id, prompt.text, _one_line(answer.error), now - begun)
        else:
            found[place] = columns_of(row.id, answer, now - begun)
        begun = now
    return found


def _given(value: Any) -> Any:
    """A cell's value; None where it is empty, as tables write it."""
    if value is None or (isinstance(value, float) and value != value) or (isinstance(value, str) and value == ""):
        return None
    if hasattr(value, "tolist"):
        value = value.tolist()
    return list(value) if isinstance(value, tuple) else value


def _plain(messages: Any) -> Any:
    return [dict(each) for each in messages]


def _key(region: Any) -> Any:
    return json.dumps(region) if region is not None else None


def _text(prompt: Any) -> str | None:
    return prompt if isinstance(prompt, str) or prompt is None else json.dumps(prompt, default=str, ensure_ascii=False)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
