"""Which tokens a path leaves where they are: context that is not explained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interpret.engine.objective import Objective
from nexttoken import Piece

Hold = Literal["template", "first"] | Sequence[int] | Callable[[Piece], bool] | None


def held_tokens(hold: Hold, objective: Objective, x: Float[Tensor, "token dim"]) -> Bool[Tensor, " token"]:
    """True for the tokens that are held. A prompt of one token moves that token whatever `hold` says.

    "first" is the token that carries the attention sink: of a causal model the first, of an encoder-decoder the
    decoder's start. An encoder reads in both directions, so the source's first word is a word like any other, and so is
    the first word behind a start token that was put in front. Positions count from the first token of the text.

    Raises:
        ValueError: a position outside the prompt, an unknown name, or nothing left to move.
    """
    places, prompt = objective.places(), objective.context.prompt
    pieces = prompt.pieces if prompt is not None else ()
    chosen: set[int] = set()
    if hold in ("first", "template"):
        start = prompt.start if prompt is not None else 0
        chosen = {start} if len(x) > 1 else set()
    elif isinstance(hold, str):
        raise ValueError(f"hold is {hold!r}; it must be 'template', 'first', positions, a function of a piece, or None")
    if hold == "template" or callable(hold):
        is_held = (lambda piece: piece.template) if hold == "template" else hold
        chosen |= {position for piece in pieces if is_held(piece) for position in piece.positions}
    elif isinstance(hold, Sequence) and not isinstance(hold, str):
        own = prompt.own if prompt is not None else range(len(x))
        outside = [position for position in hold if not -len(own) <= position < len(own)]
        if outside:
            raise ValueError(f"hold names position {outside[0]}, and the prompt has {len(own)} tokens")
        chosen = {own[position] for position in hold}
    held = torch.tensor([place in chosen for place in places], device=x.device)
    if bool(held.all()):
        raise ValueError("every token is held, so there is nothing to explain; hold fewer (hold=None holds none)")
    return held
