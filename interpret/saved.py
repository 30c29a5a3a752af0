"""What every result can do: be saved and loaded without loss, and shown in a notebook."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from interpret.writing import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Own = TypeVar("Own", bound="Saved")


class Saved(ABC):
    """A result that can be written as plain values, as a figure and as HTML."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """All of it as plain Python values."""

    @classmethod
    @abstractmethod
    def from_dict(cls: type[Own], plain: Mapping[str, Any]) -> Own:
        """The inverse of `to_dict`. Raises ValueError if it is something else."""

    @property
    @abstractmethod
    def title(self) -> str:
        """What is explained, in words."""

    @abstractmethod
    def provenance(self) -> dict[str, Any]:
        """What was explained, how and with which versions, without the scores: plain values, for a file's metadata."""

    @abstractmethod
    def heatmap(self) -> Figure:
        """A matplotlib figure of it."""

    @abstractmethod
    def html(self) -> str:
        """A fragment of HTML that can be read without its script."""

    def to_json(self) -> str:
        """`to_dict` as JSON; numbers keep all their digits."""
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=1, allow_nan=False)

    @classmethod
    def from_json(cls: type[Own], text: str) -> Own:
        """The inverse of `to_json`."""
        return cls.from_dict(json.loads(text))

    @classmethod
    def load(cls: type[Own], path: str | Path) -> Own:
        """Read one that was saved as JSON."""
        return cls.from_json(Path(path).read_text(encoding="utf-8"))

    def save(self, path: str | Path) -> Path:
        """Write it whole or not at all, in the format of the file's ending: .json, .html, .png, .pdf or .svg.

        Figures are the `heatmap()`, with the `provenance()` in their metadata.

        Raises:
            ValueError: an ending that is none of these.
            OSError: the file can't be written.
        """
        path = Path(path)
        if path.suffix == ".json":
            return write_whole(path, lambda part: part.write_text(self.to_json(), encoding="utf-8"))
        if path.suffix == ".html":
            from interpret.views.page import page

            return page([self], path)  # type: ignore[list-item]
        from interpret.views.figure import save_figure

        return save_figure(self.heatmap(), path)

    def _repr_html_(self) -> str:
        return self.html()
