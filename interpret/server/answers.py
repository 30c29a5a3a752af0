"""The page's answers: what each endpoint makes of a question, and the results that can be asked for again."""

from __future__ import annotations

import secrets
import time
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any

from interpret.methods.listed import METHODS
from interpret.methods.settings import convention_names, default_instance, settings
from interpret.question.question import Question, question_of
from interpret.results.attribution import Attribution
from interpret.results.counterfactual import Flip, Reduction
from interpret.results.matrix import AttributionMatrix
from interpret.server.shown import shown_edits, shown_map, shown_targets
from interpret.session.answer import (
    answer,
    answer_flip,
    answer_reduction,
    call_of,
    checked,
    explain_in_steps,
    expression,
    flip_options,
    method_of,
    names_in,
    only_prompt,
    prompt_of,
    rated,
    reduction_options,
)
from interpret.session.work import Event, Job, cost_in_words
from nexttoken import NextTokenLM, Prompt

Kept = Attribution | AttributionMatrix | Flip | Reduction
TOP = 10  # next tokens to list
MAX_KEPT = 64  # results that can still be downloaded
MAX_TOKENS, MAX_CHARACTERS = 4096, 60_000  # of a prompt
MAX_FOILS = 8
LIMITS = {"candidates": 50, "generate": 50, "max_edits": 5}


class Answers:
    """What can be asked of one model; every function runs in the worker's thread.

    Attributes:
        lm: the model; it comes back as it was.
        kept: the latest results, by a name that cannot be guessed.
    """

    def __init__(self, lm: NextTokenLM):
        self.lm = lm
        self.kept: OrderedDict[str, Kept] = OrderedDict()
        self.lock = Lock()

    def about(self) -> dict[str, Any]:
        """The model and the methods, for the page to be built from."""
        chats = getattr(getattr(self.lm.vocab, "tokenizer", None), "chat_template", None) is not None
        listed = [
            {
                "name": each.slug,
                "help": each.help,
                "settings": [
                    {
                        "name": own.name, "value": own.text, "choices": [label for label, _ in own.choices],
                        "kind": own.kind.__name__ if own.kind else "choice", "optional": own.optional,
                    }
                    for own in settings(default_instance(each.load()))
                ],
            }
            for each in METHODS
        ]  # fmt: skip
        others = [
            {"name": name, "help": f"as {name.partition(':')[0]} does", "settings": []} for name in convention_names()
        ]
        max_tokens = min(MAX_TOKENS, self.lm.max_length or MAX_TOKENS)
        return {"model": self.lm.name, "chats": chats, "methods": [*listed, *others], "max_tokens": max_tokens}

    def ask(self, kind: str, body: Mapping[str, Any], job: Job) -> Event:
        """The answer to a question that came as JSON, by the function of that name below.

        Raises ValueError for what is no question, or more than the page takes.
        """
        question = question_of(body)
        if kind != "command":
            _check_limits(question)
        found: Event = getattr(self, kind)(question, job)
        return found

    def predict(self, question: Question, job: Job) -> Event:
        """The most probable next tokens."""
        prompt = self._prompt(question)
        job.raise_if_cancelled()
        return {"candidates": shown_targets(self.lm.predict(prompt, question.candidates or TOP)), "tokens": len(prompt)}

    def token(self, question: Question, job: Job) -> Event:
        """A token that was written, as the model rates it after the prompt."""
        prompt, token = self._prompt(question), question.target
        if not token or not isinstance(token, str | int):
            raise ValueError("write a token, with its leading space")
        return {"candidates": shown_targets(tuple(rated(self.lm, prompt, [token])))}

    def explain(self, question: Question, job: Job) -> Event:
        """The next tokens, then the attribution, then what the check of it found, each told as soon as it is known."""
        size, method, begun = len(self._prompt(question)), method_of(self.lm, question), time.monotonic()
        by = question.by or "piece"

        def update(**found: Any) -> None:
            job.tell("candidates", **{**found, "candidates": shown_targets(found["candidates"])}, tokens=size)

        made = explain_in_steps(self.lm, question, method, TOP, update, job.advance)
        why = made.attribution
        cost = cost_in_words(why.gradients_spent, why.forwards_spent, time.monotonic() - begun)
        told = {"code": made.code, "warnings": list(made.warnings), "cost": cost}
        job.tell("map", map=shown_map(why, by), id=self.keep(why), checking=question.check, **told)
        if question.check:
            try:
                why = checked(self.lm, question, why, made.prompt, lambda count: job.raise_if_cancelled())
            except ValueError as error:  # of what cannot be checked; it stands all the same
                told["unchecked"] = str(error)
        return {"map": shown_map(why, by), "id": self.keep(why), **told}

    def continuation(self, question: Question, job: Job) -> Event:
        """Every token of a continuation, each with its own attribution."""
        prompt, method = self._prompt(question), method_of(self.lm, question)
        text, count = question.continuation, None if question.continuation else question.generate or TOP
        question = replace(only_prompt(question), continuation=text, generate=count)
        matrix = answer(self.lm, question, prompt=prompt, method=method, on_progress=job.advance)
        assert isinstance(matrix, AttributionMatrix)
        given = {
            "continuation": text, "max_new_tokens": count, "method": method,
            "region": question.region, "precision": question.precision,
        }  # fmt: skip
        return {
            "id": self.keep(matrix),
            "tokens": shown_targets(tuple(each.target for each in matrix if each.target is not None)),
            "code": _code("why", "attribute_continuation", question, given),
        }

    def flip(self, question: Question, job: Job) -> Event:
        """The smallest change of words."""
        self._prompt(question)
        found = answer_flip(self.lm, question, job.advance)
        return {
            "id": self.keep(found),
            "code": _code("flip", "flip", question, flip_options(question)),
            **shown_edits(found),
        }

    def reduce(self, question: Question, job: Job) -> Event:
        """The shortest part of the prompt."""
        self._prompt(question)
        found = answer_reduction(self.lm, question, job.advance)
        code = _code("reduce", "reduce_input", question, reduction_options(question))
        return {"id": self.keep(found), "code": code, **shown_edits(found)}

    def command(self, question: Question, job: Job) -> Event:
        """The result that `nexttoken explain` asks for, to be shown and saved by the command itself."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("default")
            result = answer(self.lm, question, on_progress=job.advance)
        for each in caught:
            job.tell("warning", message=" ".join(str(each.message).split()))
        return {"result": result.to_dict()}

    # What was answered

    def keep(self, result: Kept) -> str:
        """A name under which a result can be asked for again; the oldest are forgotten."""
        name = secrets.token_urlsafe(12)
        with self.lock:
            self.kept[name] = result
            while len(self.kept) > MAX_KEPT:
                self.kept.popitem(last=False)
        return name

    def result(self, name: str, row: int | None) -> Kept:
        """A result that was kept, or a row of it. Raises KeyError where there is none."""
        with self.lock:
            found = self.kept[name]
        if row is None:
            return found
        if not isinstance(found, AttributionMatrix) or not 0 <= row < len(found):
            raise KeyError(name)
        return found[row]

    def map_of(self, name: str, row: int | None, by: str) -> dict[str, Any]:
        """An attribution again, added up otherwise. Raises KeyError, or ValueError for what has no such totals."""
        found = self.result(name, row)
        if not isinstance(found, Attribution):
            raise KeyError(name)
        return shown_map(found, by)

    def file(self, name: str, row: int | None, by: str, ending: str) -> bytes:
        """A result as a file. Raises KeyError, or ValueError for an ending that it does not have."""
        found = self.result(name, row)
        if by != "piece" and isinstance(found, Attribution):
            found = found.totals(by)  # type: ignore[arg-type]
        with TemporaryDirectory() as folder:
            return found.save(Path(folder) / f"why.{ending}").read_bytes()

    def _prompt(self, question: Question) -> Prompt:
        prompt = prompt_of(self.lm, question)
        if len(prompt) > MAX_TOKENS:
            raise ValueError(f"the prompt has {len(prompt)} tokens; the page takes at most {MAX_TOKENS}")
        return prompt


def _check_limits(question: Question) -> None:
    for name, limit in LIMITS.items():
        value = getattr(question, name)
        if value is not None and not 1 <= value <= limit:
            raise ValueError(f"{name} is {value}; it must be a whole number from 1 to {limit}")
    if len(question.contrast) > MAX_FOILS:
        raise ValueError(f"contrast has {len(question.contrast)} tokens; the page takes at most {MAX_FOILS}")
    for name in ("prompt", "continuation", "ignore"):
        count = len(str(getattr(question, name)))
        if count > MAX_CHARACTERS:
            raise ValueError(f"the {name} has {count} characters; the page takes at most {MAX_CHARACTERS}")


def _code(result: str, function: str, question: Question, options: Mapping[str, Any]) -> str:
    options = {**options, "start": question.start}
    given = {name: expression(value) for name, value in options.items() if value is not None}
    return call_of(result, function, question.prompt, given, names_in(options.get("method")))
