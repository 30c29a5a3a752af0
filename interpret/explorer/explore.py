"""The entry point: a model in, an explorer of its next tokens out, which shares the kernel with the user's cells."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from interpret.explain import with_defaults
from interpret.explorer.cells import Cells, notebook_shell
from interpret.explorer.explorer import Explorer
from interpret.explorer.question import Question
from interpret.methods.method import Method
from nexttoken import NextTokenLM
from nexttoken.text.target import TokenLike

FIRST_MAP = 5.0  # seconds that a cell waits for the first map, so that it is in the notebook when that is only read


def explore(
    lm: NextTokenLM,
    prompt: str = "",
    target: TokenLike | None = None,
    method: Method | None = None,
    *,
    contrast: TokenLike | Sequence[TokenLike] | None = None,
    top: int = 10,
) -> Explorer:
    """Explore a model's next tokens in a notebook: type a prompt, click on a next token, see why.

    The widgets need the package ipywidgets; without it, and where a notebook is only read, the map of the question
    stands in their place. Work is done in the background between the cells that run: a cell stops it, and it begins
    anew after the cell. It can be cancelled between two chunks of gradients, and leaves the model as it was.

    Args:
        lm: the model.
        prompt: the text to begin with.
        target: the next token to begin with, as text or id; None for the model's first choice.
        method: how; by default what `default_method(lm)` says.
        contrast: a foil, or several.
        top: how many of the most probable next tokens to list.

    Returns:
        What shows itself as widgets if it is a cell's last line. Its `answer.attribution` is the map as it stands.

    Raises:
        ValueError: a prompt that is not a text, what is not a method, or no next tokens to list.
    """
    if not isinstance(prompt, str):
        raise ValueError(f"the explorer's prompt is a text that can be edited, not {prompt!r}; for this, use attribute")
    if top < 1:
        raise ValueError(f"top is {top}; it is the number of next tokens to list, at least 1")
    several = isinstance(contrast, Sequence) and not isinstance(contrast, str)
    foils: Any = contrast if several else () if contrast is None else (contrast,)
    explorer = Explorer(lm, Question(prompt, target, tuple(foils), with_defaults(lm, method, None)[0]), top)
    shell = notebook_shell()
    if shell is not None:
        explorer.cells = Cells(shell, explorer)
    explorer.again()
    try:
        explorer.wait(FIRST_MAP if shell is not None and find_spec("ipywidgets") else None)
    except KeyboardInterrupt:
        explorer.cancel()
    return explorer
