"""The cells of a notebook: the explorer's work rests while one runs, and ends when its own cell runs again."""

from __future__ import annotations

import sys
import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interpret.explorer.explorer import Explorer


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
            explorer.background.pause()

    def after(self) -> None:
        explorer = self.explorer()
        if explorer is not None:
            explorer.background.resume()

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
