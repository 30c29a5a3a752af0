"""How the explorer shows itself: as widgets where they run, as the map that it has where they do not."""

from __future__ import annotations

from html import escape
from typing import Any

from interpret.explorer.cells import Cells
from interpret.explorer.question import Question
from interpret.explorer.state import State
from nexttoken import NextTokenLM


class Explorer(State):
    """A question that can be changed, and its answer, worked out in the background: what `explore` returns.

    In a notebook it shows itself as widgets; elsewhere, and where a notebook is only read, as the map that it has.
    Only one thing is worked out at a time; a question that is changed cancels the work on the one before.

    Attributes:
        lm: the model, used only while there is work to do, and left as it was.
        top: how many of the most probable next tokens to list.
        question: what is asked; `change` changes it.
        answer: what has been found out about it.
        listeners: called without arguments, in whichever thread, when one of the two has changed.
    """

    def __init__(self, lm: NextTokenLM, question: Question, top: int):
        super().__init__(lm, question, top)
        self.view: Any = None  # the widgets, once they are shown
        self.cells: Cells | None = None  # of the notebook that it was made in

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
        if self.cells is not None:
            self.cells.leave()
            self.cells = None
        if self.view is not None:
            self.listeners.remove(self.view.draw)
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
