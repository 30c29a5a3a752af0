"""Which tokens a path leaves where they are: context that is not explained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interpret.engine.objective import Objective
from nexttoken import Piece

Fixed = Literal["template", "first"] | Sequence[int] | Callable[[Piece], bool] | None


def fixed_tokens(fixed: Fixed, objective: Objective, x: Float[Tensor, "token dim"]) -> Bool[Tensor, " token"]:
    """True for the tokens that are fixed. A prompt of one token moves that token whatever `fixed` says.

    "first" is the token that carries the attention sink: of a causal model the first, of an encoder-decoder the
    decoder's start. An encoder reads in both directions, so the source's first word is a word like any other, and so is
    the first word behind a start token that was put in front. Positions count from the first token of the text.

    Raises:
        ValueError: a position outside the prompt, an unknown name, or nothing left to move.
    """
    places, prompt = objective.places(), objective.context.prompt
    pieces = prompt.pieces if prompt is not None else ()
    chosen: set[int] = set()
    if fixed in ("first", "template"):
        start = prompt.start if prompt is not None else 0
        chosen = {start} if len(x) > 1 else set()
    elif isinstance(fixed, str):
        raise ValueError(
            f"fixed is {fixed!r}; it must be 'template', 'first', positions, a function of a piece, or None"
        )
    if fixed == "template" or callable(fixed):
        is_fixed = (lambda piece: piece.template) if fixed == "template" else fixed
        chosen |= {position for piece in pieces if is_fixed(piece) for position in piece.positions}
    elif isinstance(fixed, Sequence) and not isinstance(fixed, str):
        own = prompt.own if prompt is not None else range(len(x))
        outside = [position for position in fixed if not -len(own) <= position < len(own)]
        if outside:
            raise ValueError(f"fixed names position {outside[0]}, and the prompt has {len(own)} tokens")
        chosen = {own[position] for position in fixed}
    found = torch.tensor([place in chosen for place in places], device=x.device)
    if bool(found.all()):
        raise ValueError("every token is fixed, so there is nothing to explain; fix fewer (fixed=None fixes none)")
    return found
