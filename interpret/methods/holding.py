"""Which tokens a path leaves where they are: context that is not explained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interpret.gradients import Objective
from nexttoken import Piece

Hold = Literal["template", "first"] | Sequence[int] | Callable[[Piece], bool] | None


def held_tokens(hold: Hold, objective: Objective, x: Float[Tensor, "token dim"]) -> Bool[Tensor, " token"]:
    """True for the tokens that are held. A prompt of one token moves that token whatever `hold` says.

    "first" is the token that carries the attention sink: of a causal model the first, of an encoder-decoder the
    decoder's start. An encoder reads in both directions, so the source's first word is a word like any other.

    Raises:
        ValueError: a position outside the prompt, an unknown name, or nothing left to move.
    """
    held = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    pieces = objective.prompt.pieces if objective.prompt is not None else ()
    if hold in ("first", "template"):
        held[objective.prompt.start if objective.prompt is not None else 0] = len(x) > 1
    elif isinstance(hold, str):
        raise ValueError(f"hold is {hold!r}; it must be 'template', 'first', positions, a function of a piece, or None")
    if hold == "template" or callable(hold):
        chosen = (lambda piece: piece.template) if hold == "template" else hold
        held[[position for piece in pieces if chosen(piece) for position in piece.positions]] = True
    elif isinstance(hold, Sequence) and not isinstance(hold, str):
        outside = [position for position in hold if not -len(x) <= position < len(x)]
        if outside:
            raise ValueError(f"hold names position {outside[0]}, and the prompt has {len(x)} tokens")
        held[list(hold)] = True
    if bool(held.all()):
        raise ValueError("every token is held, so there is nothing to explain")
    return held
