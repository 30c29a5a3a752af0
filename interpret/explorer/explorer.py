"""The explorer: a model in, an explorer of its next tokens out, which shows itself beside the user's cells."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Sequence
from html import escape
from importlib.util import find_spec
from operator import index
from typing import Any

from interpret.explain import with_defaults
from interpret.explorer.state import State
from interpret.methods.method import Method
from interpret.question.question import Question, Token
from nexttoken import NextTokenLM
from nexttoken.text.target import TokenLike

FIRST_MAP = 5.0  # seconds that a cell waits for the first map, so that it is in the notebook when that is only read


class Explorer(State):
    """A question that can be changed, and its answer, worked out in the background: what `explore` returns.

    In a notebook it shows itself as widgets; elsewhere, and where a notebook is only read, as the attribution that it
    has. Only one thing is worked out at a time; a question that is changed cancels the work on the one before.

    Attributes:
        lm: the model, used only while there is work to do, and left as it was.
        top: how many of the most probable next tokens to list.
        question: what is asked; `change` changes it.
        method: how; likewise.
        answer: what has been found out about it.
        listeners: called without arguments, in whichever thread, when one of the three has changed.
    """

    def __init__(self, lm: NextTokenLM, question: Question, method: Method, top: int):
        super().__init__(lm, question, method, top)
        self.view: Any = None  # the widgets, once they are shown
        self.leave_notebook: Callable[[], object] | None = None  # takes back the hooks of the notebook it was made in

    @property
    def widget(self) -> Any:
        """The widgets. Raises ImportError, saying what to install, where ipywidgets is missing."""
        if self.view is None:
            from interpret.explorer.widgets import View

            self.view = View(self)
        return self.view.box

    def close(self) -> None:
        """Stop the work, close the widgets and take back the notebook's hooks, which keep an explorer in memory.

        A notebook does so when the cell that made the explorer runs again. (IPython's `Out` keeps each cell's value.)
        """
        self.cancel()
        if self.leave_notebook is not None:
            self.leave_notebook()
            self.leave_notebook = None
        if self.view is not None:
            self.view.close()
            self.view = None

    def _repr_html_(self) -> str:
        made = self.answer.attribution
        return f"<p>{escape(self.answer.status)}</p>" if made is None else made.html()

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        static = {"text/plain": repr(self), "text/html": self._repr_html_()}
        try:
            return {**self.widget._repr_mimebundle_(**options), **static}
        except ImportError as error:
            return {**static, "text/html": f"{static['text/html']}<p>{escape(str(error))}</p>"}

    def __repr__(self) -> str:
        made = self.answer.attribution
        return f"Explorer of {self.question.prompt!r}: {self.answer.status if made is None else made!r}"


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

    The widgets need the package ipywidgets; without it, and where a notebook is only read, the attribution stands in
    their place. Work is done in the background between the cells that run: a cell stops it, and it begins anew after
    the cell. It can be cancelled between two batches of gradients, and leaves the model as it was.

    Args:
        lm: the model.
        prompt: the text to begin with.
        target: the next token to begin with, as text or id; None for the model's first choice.
        method: how; by default what `default_method(lm)` says.
        contrast: a foil, or several.
        top: how many of the most probable next tokens to list.

    Returns:
        What shows itself as widgets if it is a cell's last line. Its `answer.attribution` is what stands there.

    Raises:
        ValueError: a prompt that is not a text, what is not a method, or no next tokens to list.
    """
    if not isinstance(prompt, str):
        raise ValueError(f"the explorer's prompt is a text that can be edited, not {prompt!r}; for this, use attribute")
    if top < 1:
        raise ValueError(f"top is {top}; it is the number of next tokens to list, at least 1")
    several = isinstance(contrast, Sequence) and not isinstance(contrast, str)
    foils: Any = contrast if several else () if contrast is None else (contrast,)
    question = Question(prompt, None if target is None else _plain(target), tuple(map(_plain, foils)), check=False)
    explorer = Explorer(lm, question, with_defaults(lm, method, None)[0], top)
    shell = notebook_shell()
    if shell is not None:
        explorer.leave_notebook = Cells(shell, explorer).leave
    explorer.again()
    try:
        explorer.wait(FIRST_MAP if shell is not None and find_spec("ipywidgets") else None)
    except KeyboardInterrupt:
        explorer.cancel()
    return explorer


class Cells:
    """Pauses an explorer's work while a cell of the notebook runs, and keeps nothing in memory.

    The notebook's shell holds this object, which knows the explorer by a weak reference. When the cell that made the
    explorer runs again, that explorer is closed, as its output is gone from the screen.
    """

    def __init__(self, shell: Any, explorer: Explorer):
        self.shell, self.explorer = shell, weakref.ref(explorer)
        self.cell = _running_cell(shell)
        shell.events.register("pre_execute", self.before)
        shell.events.register("post_execute", self.after)

    def before(self) -> None:
        explorer = self.explorer()
        if explorer is None:
            self.leave()
        elif self.cell is not None and self.cell == _running_cell(self.shell):
            explorer.close()
        else:
            explorer.pause()

    def after(self) -> None:
        explorer = self.explorer()
        if explorer is not None:
            explorer.resume()

    def leave(self) -> None:
        """Listen to the shell no longer."""
        self.shell.events.unregister("pre_execute", self.before)
        self.shell.events.unregister("post_execute", self.after)


def notebook_shell() -> Any:
    """The shell that runs a notebook's cells; None elsewhere."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell if hasattr(shell, "kernel") else None


def _running_cell(shell: Any) -> str | None:
    """The id that the notebook gave to the cell that runs, where it gives one."""
    message: dict[str, Any] = getattr(shell, "get_parent", dict)() or {}
    return (message.get("metadata") or {}).get("cellId")


def _plain(token: TokenLike) -> Token:
    return token if isinstance(token, str) else index(token)
