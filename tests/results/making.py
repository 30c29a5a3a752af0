"""Results that are made up, for tests that need no model."""

import dataclasses

import torch

from interpret import Attribution, AttributionMatrix
from nexttoken import Target

UGLY = ["$x_1$ ", "\\alpha{", " <b>&", "\n", "\t", " [red]", "😀", " 你好", "\x00", "   ", "%", "_" * 90, " end"]


def made(tokens, scores=None, signed=True, fixed=None, unit="nats", template=None, **more):
    """An attribution of some tokens; all that is known of it may be changed."""
    count = len(tokens)
    usual = Attribution(
        tokens=tuple(tokens), scores=torch.linspace(-1, 1, count, dtype=torch.float64).numpy(), labels=tuple(tokens),
        token_ids=tuple((number,) for number in range(count)), fixed=(False,) * count, template=(False,) * count,
        unit=unit, target=Target(" $t_", 1, 0.5, 1), quantity="log-probability", method="Method()",
        method_name="Method", reduction="sum", signed=signed, model="model", gradients_spent=1, forwards_spent=1,
    )  # fmt: skip
    given = {"scores": scores, "fixed": fixed, "template": template}
    return changed(usual, **{name: value for name, value in given.items() if value is not None}, **more)


def changed(result, **more):
    """The same with other facts; a method that is not named is called what stands before its settings."""
    for name in {"scores", "standard_error", "error"} & more.keys():
        more[name] = None if more[name] is None else torch.as_tensor(more[name], dtype=torch.float64).numpy()
    for name in {"tokens", "labels", "fixed", "template"} & more.keys():
        more[name] = tuple(more[name])
    if "token_ids" in more:
        more["token_ids"] = tuple(map(tuple, more["token_ids"]))
    if "method" in more:
        more.setdefault("method_name", more["method"].partition("(")[0])
    return dataclasses.replace(result, **more)


def grid(targets, pieces, signed=True):
    """A continuation of so many targets, the last of which sees so many pieces."""
    generator = torch.Generator().manual_seed(0)
    rows = []
    for number in range(targets):
        seen = pieces - targets + 1 + number
        scores = torch.randn(seen, generator=generator).numpy()
        rows.append(made([f" w{place}" for place in range(seen)], scores if signed else abs(scores), signed))
    return AttributionMatrix("continuation", tuple(rows))
