"""The page's answers: each kind of question worked out with the same functions that Python calls."""

from __future__ import annotations

import secrets
import time
import warnings
from base64 import b64encode
from collections import OrderedDict
from dataclasses import replace
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from rich.console import Console

from interpret.attribution import Attribution, AttributionMatrix
from interpret.command.explaining import answer, checked, prompt_of
from interpret.command.options import FORMATS, Computation, Output, is_figure
from interpret.command.options import Question as CommandQuestion
from interpret.counterfactual.check import check_prompt
from interpret.counterfactuals import Flip, Reduction, flip, reduce_input
from interpret.engine.run import Run, interruptible
from interpret.explain import attribute_continuation
from interpret.explorer.answering import work_out
from interpret.explorer.call import call_of, expression, names_in, quoted
from interpret.explorer.question import Question, cost_in_words
from interpret.explorer.state import A_SIGN
from interpret.methods.conventions import CONVENTIONS
from interpret.methods.default import default_method
from interpret.methods.listed import METHODS
from interpret.methods.settings import default_instance, settings
from interpret.question.targets import candidates_of
from interpret.server.asked import MOST_NEW, Body
from interpret.server.jobs import Event, Job
from interpret.server.shown import shown_edits, shown_map, shown_targets
from interpret.views.terminal import result_text
from nexttoken import NextTokenLM

Group = TypeVar("Group", CommandQuestion, Computation)
Kept = Attribution | AttributionMatrix | Flip | Reduction
TOP = 10, 1, 50  # next tokens to list: by default, at least and at most
MOST_KEPT = 64  # results that can still be downloaded
MOST_TOKENS = 4096  # of a prompt
COLOURS = ("standard", "256", "truecolor", "windows")  # that a terminal may have
FILES = {
    "png": "image/png", "pdf": "application/pdf", "svg": "image/svg+xml", "html": "text/html; charset=utf-8",
    "json": "application/json", "csv": "text/csv; charset=utf-8",
    "tsv": "text/tab-separated-values; charset=utf-8",
}  # fmt: skip


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
            {"name": f"{each.library}:{each.kind.replace(' ', '-')}", "help": f"as {each.library} does", "settings": []}
            for each in CONVENTIONS
        ]
        most = min(MOST_TOKENS, self.lm.max_length or MOST_TOKENS)
        return {"model": self.lm.name, "chats": chats, "methods": [*listed, *others], "max_tokens": most}

    def predict(self, body: Body, job: Job) -> Event:
        """The most probable next tokens."""
        prompt = self._prompt(body)
        job.still()
        return {"candidates": shown_targets(self.lm.predict(prompt, body.number("top", *TOP))), **_size(prompt)}

    def token(self, body: Body, job: Job) -> Event:
        """A token that was written, as the model rates it after the prompt."""
        prompt, token = self._prompt(body), body.token("token")
        if token is None:
            raise ValueError("write a token, with its leading space")
        return {"candidates": shown_targets(tuple(candidates_of(self.lm, prompt, [token], None)))}

    def explain(self, body: Body, job: Job) -> Event:
        """The next tokens, then the map, then what the check of it found, each told as soon as it is known."""
        size, method = _size(self._prompt(body)), body.method(self.lm)
        question = Question(body.prompt, body.token("target"), body.foils, method)
        signs, begun = _Signs(job), time.monotonic()

        def know(**found: Any) -> None:
            job.still()
            if "candidates" in found:
                told = {name: value for name, value in found.items() if name != "candidates"}
                job.tell("candidates", candidates=shown_targets(found["candidates"]), **size, **told)

        answered = work_out(self.lm, question, body.number("top", *TOP), know, signs.advance)
        why = answered.attribution
        cost = cost_in_words(why, time.monotonic() - begun)
        told = {"code": answered.code, "warnings": list(answered.warnings), "cost": cost}
        wanted = body.flag("check", True)
        job.tell("map", map=self._map(why, body), id=self.keep(why), checking=wanted, **told)
        if wanted:
            run, quantity = Run.of(on_progress=lambda count: job.still()), method.quantity
            with interruptible():
                try:
                    found = check_prompt(self.lm, answered.prompt, why, quantity, run)
                except ValueError as error:  # of a map that cannot be checked; it stands all the same
                    return {"map": self._map(why, body), "id": self.keep(why), "unchecked": str(error), **told}
            why = replace(why, faithfulness=found)
        return {"map": self._map(why, body), "id": self.keep(why), **told}

    def continuation(self, body: Body, job: Job) -> Event:
        """Every token of a continuation, each with its own map."""
        prompt, method, signs = self._prompt(body), body.method(self.lm), _Signs(job)
        text, count = body.text("continuation"), body.number("count", 10, 1, MOST_NEW)
        matrix = attribute_continuation(
            self.lm, prompt, text or None, method, max_new_tokens=count, on_progress=signs.advance
        )
        arguments = [f"continuation={quoted(text)}" if text else f"max_new_tokens={count}"]
        arguments.append(f"method={expression(method)}")
        return {
            "id": self.keep(matrix),
            "tokens": shown_targets(tuple(each.target for each in matrix if each.target is not None)),
            "code": call_of("why", "attribute_continuation", body.prompt, arguments, names_in(method)),
        }

    def flip(self, body: Body, job: Job) -> Event:
        """The smallest change of words."""
        prompt, target, to, foils = self._prompt(body), body.token("target"), body.token("to"), body.foils
        most = body.number("max_edits", 3, 1, 5)
        foils = () if to is not None else foils
        signs = _Signs(job)
        found = flip(
            self.lm, prompt, target, to=to, contrast=list(foils) or None, max_edits=most,
            ignore=body.text("ignore") or None, on_progress=signs.advance,
        )  # fmt: skip
        given = {"target": target, "to": to, "contrast": list(foils) or None, "ignore": body.text("ignore") or None}
        return self._edits(found, "flip", body, [*_given(given), f"max_edits={most}"])

    def reduce(self, body: Body, job: Job) -> Event:
        """The shortest part of the prompt."""
        prompt, target, share = self._prompt(body), body.token("target"), body.number("share", 0, 0, 100)
        keep = share / 100 if share else "first"
        found = reduce_input(self.lm, prompt, target, keep=keep, on_progress=_Signs(job).advance)
        return self._edits(found, "reduce_input", body, [*_given({"target": target}), f"keep={keep!r}"])

    def command(self, body: Body, job: Job) -> Event:
        """What `nexttoken explain` prints and saves, for the width and the colours of a terminal."""
        question, computation = _group(CommandQuestion, body, "question"), _group(Computation, body, "computation")
        question.check()
        colours: Any = body.choice("colours", COLOURS)
        console = Console(
            file=StringIO(), width=body.number("width", 80, 20, 1000), force_terminal=True, color_system=colours,
            legacy_windows=False, no_color=colours is None,
        )  # fmt: skip
        inches = Output(width=body.text("figure_width")).inches()
        printed, endings = body.choice("format", FORMATS), body.choices("endings", tuple(FILES))
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("default")
            prompt = prompt_of(self.lm, question, question.prompt)
            method = computation.build_method() or default_method(self.lm)
            result = answer(self.lm, prompt, question, computation, method, _Signs(job).advance)
            result = checked(self.lm, prompt, result, computation)
        for each in said:
            job.tell("warning", message=" ".join(str(each.message).split()))
        name = self.keep(result)
        files = {ending: b64encode(self.file(name, None, "piece", ending, inches)).decode() for ending in endings}
        return {"text": result_text(result, printed or "table", console), "files": files}

    # What was answered

    def keep(self, result: Kept) -> str:
        """A name under which a result can be asked for again; the oldest are forgotten."""
        name = secrets.token_urlsafe(12)
        with self.lock:
            self.kept[name] = result
            while len(self.kept) > MOST_KEPT:
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
        """A map again, added up otherwise. Raises KeyError, or ValueError for what has no such totals."""
        found = self.result(name, row)
        if not isinstance(found, Attribution):
            raise KeyError(name)
        return shown_map(found, by)

    def file(self, name: str, row: int | None, by: str, ending: str, inches: float | None = None) -> bytes:
        """A result as a file; figures are so many inches wide.

        Raises KeyError, or ValueError for an ending that it does not have.
        """
        found = self.result(name, row)
        with TemporaryDirectory() as folder:
            path = Path(folder) / f"why.{ending}"
            if isinstance(found, Attribution | AttributionMatrix):
                shown = _by(found, by) if isinstance(found, Attribution) else found
                return shown.save(path, inches if is_figure(path) else None).read_bytes()
            return found.save(path).read_bytes()

    def _prompt(self, body: Body) -> Any:
        prompt = self.lm.prompt(body.prompt)
        if len(prompt) > MOST_TOKENS:
            raise ValueError(f"the prompt has {len(prompt)} tokens; the page takes at most {MOST_TOKENS}")
        return prompt

    def _map(self, why: Attribution, body: Body) -> dict[str, Any]:
        return shown_map(why, body.text("by") or "piece")

    def _edits(self, found: Flip | Reduction, function: str, body: Body, arguments: list[str]) -> Event:
        code = call_of(function.split("_")[0], function, body.prompt, arguments)
        return {"id": self.keep(found), "code": code, **shown_edits(found)}


def _group(kind: type[Group], body: Body, name: str) -> Group:
    """A group of the command's options. Raises ValueError for what is none."""
    given = Body.of(body.values.get(name)).values
    hints = get_type_hints(kind)
    unknown = next((each for each in given if each not in hints), None)
    if unknown is not None:
        raise ValueError(f"{name} has no {unknown!r}: the command and the page are of different versions")
    for each, value in given.items():
        if not _fits(value, hints[each]):
            raise ValueError(f"{each} is {value!r}, which is none of its kind")
    try:
        return kind(**given)
    except TypeError as error:
        raise ValueError(f"{name} is incomplete: {error}") from None


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value that came as JSON is of the kind that an option takes."""
    if get_origin(hint) in (Union, UnionType):
        return any(_fits(value, each) for each in get_args(hint))
    if get_origin(hint) is list:
        return isinstance(value, list) and all(_fits(each, get_args(hint)[0]) for each in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return True
    return isinstance(value, hint) and not (hint is int and isinstance(value, bool))


class _Signs:
    """Tells of progress, at most ten times a second, and of nothing once the job is cancelled."""

    def __init__(self, job: Job):
        self.job, self.done, self.last = job, 0, 0.0

    def advance(self, count: int) -> None:
        self.job.still()
        self.done += count
        if time.monotonic() - self.last > A_SIGN:
            self.last = time.monotonic()
            self.job.tell("progress", done=self.done)


def _by(why: Attribution, by: str) -> Attribution:
    return why if by == "piece" else why.totals(by)


def _given(values: dict[str, Any]) -> list[str]:
    return [f"{name}={expression(value)}" for name, value in values.items() if value is not None]


def _size(prompt: Any) -> dict[str, int]:
    return {"tokens": len(prompt)}
