"""The page's answers: JSON as a question, and its answer as texts, numbers and colours; a browser gets no markup."""

from __future__ import annotations

import secrets
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any

from interpret import Attribution, AttributionMatrix, Flip, Reduction, attribute_continuation, flip, reduce_input
from interpret.methods.listed import METHODS
from interpret.methods.settings import convention_names, default_instance, settings
from interpret.question.question import Question, question_of
from interpret.results.files import endings
from interpret.results.numbers import format_number
from interpret.session.answer import answer, ask, code_of, cost_in_words, explain_in_steps, method_of, prompt_of, rated
from interpret.session.work import Event, Job
from interpret.views.cells import NOTES, Cell, cells_of, escape_invisible, legend_keys
from interpret.views.html import LOOKS, STOPS
from interpret.views.scale import NIGHT, Scale, ink, pale_ink, to_hex
from interpret.views.tables import parts_of, sentence_of, table_of
from nexttoken import NextTokenLM, Prompt, Target

Kept = Attribution | AttributionMatrix | Flip | Reduction
EDITS: dict[str, Callable[..., Flip | Reduction]] = {"flip": flip, "reduce": reduce_input}
KINDS = ("predict", "token", "explain", "continuation", "command", *EDITS)  # of questions
TOP = 10  # next tokens to list
MAX_KEPT = 64  # results that can still be downloaded
MAX_TOKENS, MAX_CHARACTERS = 4096, 60_000  # of a prompt
MAX_FOILS = 8
LIMITS = {"candidates": 50, "generate": 50, "max_edits": 5}


class Answers:
    """What can be asked of one model: a function for each of KINDS but EDITS, which runs in the worker's thread."""

    def __init__(self, lm: NextTokenLM):
        self.lm = lm
        self.kept: OrderedDict[str, Kept] = OrderedDict()  # by names that cannot be guessed
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
        listed += [
            {"name": name, "help": f"as {name.partition(':')[0]} does", "settings": []} for name in convention_names()
        ]
        max_tokens = min(MAX_TOKENS, self.lm.max_length or MAX_TOKENS)
        return {"model": self.lm.name, "chats": chats, "methods": listed, "max_tokens": max_tokens}

    def ask(self, kind: str, body: Mapping[str, Any], job: Job) -> Event:
        """The answer to a question that came as JSON, by the function of that name below.

        Raises ValueError for what is no question, or more than the page takes.
        """
        question = question_of(body)
        if kind == "command":
            return self.command(question, job)
        _check_limits(question)
        prompt = prompt_of(self.lm, question)
        if len(prompt) > MAX_TOKENS:
            raise ValueError(f"the prompt has {len(prompt)} tokens; the page takes at most {MAX_TOKENS}")
        job.raise_if_cancelled()
        if kind in EDITS:
            return self._answered(EDITS[kind], question, prompt, job)
        return getattr(self, kind)(question, prompt, job)

    def predict(self, question: Question, prompt: Prompt, job: Job) -> Event:
        """The most probable next tokens."""
        return {"candidates": shown_targets(self.lm.predict(prompt, question.candidates or TOP)), "tokens": len(prompt)}

    def token(self, question: Question, prompt: Prompt, job: Job) -> Event:
        """A token that was written, as the model rates it after the prompt."""
        if not question.target or not isinstance(question.target, str | int):
            raise ValueError("write a token, with its leading space")
        return {"candidates": shown_targets(rated(self.lm, prompt, [question.target]))}

    def explain(self, question: Question, prompt: Prompt, job: Job) -> Event:
        """The next tokens, then the attribution, then what the check of it found, each told as soon as it is known."""

        def shown(*, attribution: Attribution, seconds: float, **found: Any) -> Event:
            found |= {"map": shown_map(attribution, question.by or "piece"), "id": self.keep(attribution)}
            return {**found, "cost": cost_in_words(attribution, seconds)}

        def update(**found: Any) -> None:
            if "candidates" in found:
                found["candidates"] = shown_targets(found["candidates"])
                job.tell("candidates", **found, tokens=len(prompt))
            else:
                job.tell("map", checking=True, **shown(**found))

        return shown(**explain_in_steps(self.lm, question, method_of(self.lm, question), TOP, update, job.advance))

    def continuation(self, question: Question, prompt: Prompt, job: Job) -> Event:
        """Every token of a continuation, each with its own attribution."""
        count = None if question.continuation else question.generate or TOP
        given = {"continuation": question.continuation or None, "max_new_tokens": count}
        return self._answered(
            attribute_continuation, question, prompt, job, method=method_of(self.lm, question), **given
        )

    def command(self, question: Question, job: Job) -> Event:
        """The result that `nexttoken explain` asks for, to be shown and saved by the command itself."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("default")
            result = answer(self.lm, question, on_progress=job.advance)
        for each in caught:
            job.tell("warning", message=" ".join(str(each.message).split()))
        return {"result": result.to_dict()}

    def _answered(
        self, function: Callable[..., Kept], question: Question, prompt: Prompt, job: Job, **others: Any
    ) -> Event:
        """What one of the public functions answers, with the Python that gives the same."""
        found = ask(function, self.lm, question, prompt, on_progress=job.advance, **others)
        several = isinstance(found, AttributionMatrix)
        code = code_of(function, question, "why" if several else "found", **others)
        shown = {"tokens": shown_targets(each.target for each in found)} if several else shown_edits(found)
        return {"id": self.keep(found), "code": code, **shown}

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
        if f".{ending}" not in endings(type(found).__name__) or ending == "pgf":  # which needs LaTeX to be run
            raise ValueError(f"there is no file of the kind {ending!r}")
        if by != "piece" and isinstance(found, Attribution):
            found = found.totals(by)  # type: ignore[arg-type]
        with TemporaryDirectory() as folder:
            return found.save(Path(folder) / f"why.{ending}").read_bytes()


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


# Results as the page draws them


def shown_map(whole: Attribution, by: str = "piece") -> dict[str, Any]:
    """A map: each piece with its colours by day and by night, the legend, and what the check of it found.

    With `by`, its scores are added up; the check is that of the pieces. Raises ValueError for what has no such totals.
    """
    result = whole if by == "piece" else whole.totals(by)
    scale = Scale.of(result)
    marks = scale.steps(2 * STOPS)
    looks = {**{key: look.striptags() for key, look in LOOKS.items()}, "fixed": "hatched"}
    notes = [f"{looks[key]}: {NOTES[key]}" for key in legend_keys(scale, [result])]
    found = whole.faithfulness
    return {
        "title": escape_invisible(result.heading),
        "facts": escape_invisible(result.facts),
        "by": result.by,
        "unit": scale.numbers.after(scale.unit),
        "signed": scale.signed,
        "pieces": [_piece(cell) for cell in cells_of(result, scale)],
        "legend": {
            "low": scale.ticks[0][1],
            "high": scale.ticks[-1][1],
            "stops": [[to_hex(scale.colour(mark)), to_hex(scale.colour(mark, NIGHT))] for mark in marks],
            "notes": [result.quantity, *notes],
        },
        "check": found and {"verdict": found.verdict, "sentence": found.sentence, "details": found.details},
    }


def _piece(cell: Cell) -> dict[str, Any]:
    shade = pale_ink if cell.piece.template else ink
    day, night = cell.colour(), cell.colour(NIGHT)
    return {
        "name": cell.name, "number": cell.number, "says": cell.says, "mark": cell.mark, "role": cell.role,
        "note": cell.note, "share": cell.share, "size": abs(cell.piece.score), "day": to_hex(day),
        "night": to_hex(night), "ink": [to_hex(shade(day)), to_hex(shade(night))], "template": cell.piece.template,
    }  # fmt: skip


def shown_targets(targets: Iterable[Target]) -> list[dict[str, Any]]:
    """Next tokens with their probabilities, for buttons."""
    return [
        {
            "id": each.id, "text": each.text, "name": escape_invisible(each.text, edge_spaces=True),
            "probability": each.probability, "written": format_number(each.probability), "rank": each.rank,
        }
        for each in targets
    ]  # fmt: skip


def shown_edits(result: Flip | Reduction) -> dict[str, Any]:
    """A flip or a reduction: its running text in parts, its sentence and its table."""
    heads, rows = table_of(result)
    return {
        "title": escape_invisible(sentence_of(result.title)),
        "sentence": escape_invisible(result.sentence),
        "facts": escape_invisible(result.facts),
        "found": not isinstance(result, Flip) or result.found,
        "parts": [[kind, escape_invisible(part).replace("↵", "↵\n")] for kind, part in parts_of(result) if part],
        "heads": heads,
        "rows": rows,
        "prompt": result.prompt,
        "messages": list(result.messages),
    }
