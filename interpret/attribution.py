"""What comes back: scores as data, with the views on top."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from interpret.results.files import write_whole
from interpret.results.matrix import ScoreMatrix
from interpret.results.numbers import NumberFormat
from interpret.results.scores import Scores
from interpret.views.spreadsheet import SEPARATORS, frame, table_text

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Attribution(Scores):
    """One score per piece of the prompt, all that is needed to say what it means, and views of it.

    Its data are those of `Scores`: the `pieces` with their scores, the `target`, the `unit`, the `method` and the
    `model`, and for path methods the `completeness`.
    """

    def heatmap(self, width: float | str | None = None, ax: Axes | None = None) -> Figure:
        """The prompt as running text, each piece on its colour: a matplotlib figure.

        It is `width` inches wide, or as wide as a name says, such as "column" (3.03) and "text" (5.5), which fit ACL,
        ICML and NeurIPS; by default as wide as it needs, up to 6.5. With `ax`, it is drawn there, and that figure is
        returned.
        """
        from interpret.views.heatmap import heatmap

        return heatmap(self, width, ax)

    def bars(self, top: int = 30, width: float | str | None = None, ax: Axes | None = None) -> Figure:
        """The scores as bars with their errors, in the order of the text; of more than `top` pieces, the strongest.

        Returns a matplotlib figure `width` inches wide (6.5), that of `ax` if it is given.
        """
        from interpret.views.bars import bars

        return bars(self, top, width, ax)

    def path_plot(self, width: float | str | None = None, ax: Axes | None = None) -> Figure:
        """The objective along the path from the baseline to the prompt, with the points that were spent on it.

        Returns a matplotlib figure `width` inches wide (6.5), that of `ax` if it is given. Raises ValueError if the
        method followed no straight path.
        """
        from interpret.views.path import path_plot

        return path_plot(self, width, ax)

    def html(self) -> str:
        """The prompt as running text, each piece on its colour: a fragment of HTML that needs no script to be read."""
        from interpret.views.html import html

        return html(self)

    def save(self, path: str | Path, width: float | str | None = None) -> Path:
        """Write it whole or not at all, in the format that the file's ending names.

        The endings are .json, .html, .csv, .tsv, .png, .pdf, .svg and .pgf. Figures are the `heatmap()`, `width` inches
        wide if that is given, with the `provenance()` in their metadata. Tables have a row for each piece, with the
        columns of `to_frame`, in UTF-8.

        Raises:
            ValueError: an ending that is none of these, or a width of what is no figure.
            OSError: the file can't be written.
        """
        return _save(self, path, width)

    def to_frame(self) -> pandas.DataFrame:
        """The pieces as a pandas DataFrame (piece,): piece, ids, score, standard_error, fixed and template.

        A fixed piece has no score, and NaN for it. Raises ImportError without the package pandas.
        """
        return frame(self)

    def _repr_html_(self) -> str:
        return self.html()

    def __repr__(self) -> str:
        width = max(map(len, map(repr, self.labels)))
        numbers = NumberFormat.of(float(self.scores.abs().max()), self.signed)
        rows = [
            f"  {piece.label!r:<{width}}  {'fixed' if piece.fixed else numbers(piece.score)}" for piece in self.pieces
        ]
        of = f"{self.quantity} in {numbers.unit(self.unit)}"
        facts = ", ".join(filter(None, [of, self.method, self.gap_text, f"{self.gradients_spent} gradients"]))
        return "\n".join([f"Attribution: {self.heading}", f"  {facts}", *rows])


class AttributionMatrix(ScoreMatrix[Attribution]):
    """Attributions of several targets, as the rows of a matrix whose columns are the pieces of text; with views of it.

    Its data are those of `ScoreMatrix`: the `kind` and the `attributions`, one for each row.
    """

    row_type: ClassVar[type[Scores]] = Attribution

    def heatmap(self, width: float | str | None = None, ax: Axes | None = None) -> Figure:
        """The matrix on one scale: a figure as wide as its labels need, or `width` inches, or drawn on `ax`.

        Returns a matplotlib figure, that of `ax` if it is given.
        """
        from interpret.views.matrix import matrix_heatmap

        return matrix_heatmap(self, width, ax)

    def html(self) -> str:
        """The matrix as a table, a fragment of HTML that can be read without its script."""
        from interpret.views.html import matrix_html

        return matrix_html(self)

    def save(self, path: str | Path, width: float | str | None = None) -> Path:
        """Write it whole or not at all, as `Attribution.save` does."""
        return _save(self, path, width)

    def to_frame(self) -> pandas.DataFrame:
        """All rows as one pandas DataFrame (row and piece,), as `Attribution.to_frame` and the target's text."""
        return frame(self)

    def _repr_html_(self) -> str:
        return self.html()

    def __repr__(self) -> str:
        width = max(map(len, map(repr, self.targets)))
        numbers = NumberFormat.of(max(float(each.scores.abs().max()) for each in self), self.signed)
        rows = [
            f"  {text!r:<{width}}  " + ", ".join(f"{label!r} {numbers(score)}" for label, score in each.top(3))
            for text, each in zip(self.targets, self, strict=True)
        ]
        first = self[0]
        of = f"{first.quantity} in {numbers.unit(self.unit)}, by {len(self.labels)} pieces"
        facts = ", ".join(filter(None, [of, first.method, self.gap_text, f"{self.gradients_spent} gradients"]))
        return "\n".join([f"AttributionMatrix: {self.heading}", f"  {facts}", *rows])


def _save(result: Attribution | AttributionMatrix, path: str | Path, width: float | str | None) -> Path:
    path = Path(path).expanduser()
    ending = path.suffix.lower()
    if width is not None and ending in (".json", ".html", *SEPARATORS):
        raise ValueError(f"{path.name!r} is no figure, so it has no width")
    if ending == ".json":
        return write_whole(path, lambda part: part.write_text(result.to_json(), encoding="utf-8"))
    if ending == ".html":
        from interpret.views.html import page

        return page([result], path)
    if ending in SEPARATORS:
        text = table_text(result, SEPARATORS[ending])
        return write_whole(path, lambda part: part.write_text(text, encoding="utf-8", newline=""))
    from interpret.views.figure import save_figure

    return save_figure(result.heatmap(width), path)
