"""Results that are made up, for tests that need no model."""

import dataclasses

import torch

from interpret import Attribution, AttributionMatrix
from interpret.results.pieces import ScoredPiece
from nexttoken import Target

UGLY = ["$x_1$ ", "\\alpha{", " <b>&", "\n", "\t", " [red]", "😀", " 你好", "\x00", "   ", "%", "_" * 90, " end"]
COLUMNS = ("tokens", "scores", "labels", "token_ids", "standard_error", "error", "fixed", "template")


def made(tokens, scores=None, signed=True, fixed=None, unit="nats", template=None, **more):
    """An attribution of some tokens; what is known per piece may be changed like the rest."""
    count = len(tokens)
    scores = torch.linspace(-1, 1, count, dtype=torch.float64).tolist() if scores is None else scores
    pieces = ScoredPiece.from_columns(
        tokens, scores, labels=tokens, token_ids=[(number,) for number in range(count)], fixed=fixed, template=template
    )
    usual = Attribution(
        pieces=pieces, unit=unit, target=Target(" $t_", 1, 0.5, 1), quantity="log-probability", method="Method()",
        method_name="Method", reduction="sum", signed=signed, model="model", gradients_spent=1, forwards_spent=1,
    )  # fmt: skip
    return changed(usual, **more)


def changed(result, **more):
    """The same with other facts; a method that is not named is called what stands before its settings."""
    columns = {name: more.pop(name, getattr(result, name)) for name in COLUMNS}
    columns = {name: value.tolist() if isinstance(value, torch.Tensor) else value for name, value in columns.items()}
    if "method" in more:
        more.setdefault("method_name", more["method"].partition("(")[0])
    return dataclasses.replace(result, pieces=ScoredPiece.from_columns(**columns), **more)


def grid(targets, pieces, signed=True):
    """A continuation of so many targets, the last of which sees so many pieces."""
    generator = torch.Generator().manual_seed(0)
    rows = []
    for number in range(targets):
        seen = pieces - targets + 1 + number
        scores = torch.randn(seen, generator=generator).abs() if not signed else torch.randn(seen, generator=generator)
        rows.append(made([f" w{place}" for place in range(seen)], scores.tolist(), signed))
    return AttributionMatrix("continuation", tuple(rows))
