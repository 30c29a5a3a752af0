"""The views: every prompt can be shown, with the right colours, the unit, and nothing of it taken for markup."""

import io
from itertools import pairwise

import numpy
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from rich.console import Console

from interpret import (
    AttributionMatrix,
    GradientTimesInput,
    IntegratedGradients,
    VanillaGradient,
    aligned,
    attribute,
    compare,
)
from interpret.views.cells import NOTES, escape_invisible
from interpret.views.fonts import TEXT_SIZE, text_width
from interpret.views.html import html
from interpret.views.scale import (
    AGAINST,
    FIXED,
    FOR,
    STRENGTH,
    colour,
    contrast,
    ink,
    luminance,
    pale_ink,
    to_hex,
)
from interpret.views.terminal import headline, matrix_table, running_text, table
from nexttoken import Message
from tests.results.making import UGLY, changed, grid, made


def cells(figure):
    return [patch for axes in figure.axes for patch in axes.patches if isinstance(patch, Rectangle)]


def words(figure):
    return [text.get_text() for axes in figure.findobj(Axes) for text in axes.texts]


def bars_of(figure):
    """The axes of the colour bars, which lie in others."""
    return [inset for axes in figure.axes for inset in axes.child_axes]


def test_colours_diverge_about_zero_and_grow_darker():
    assert colour(0, 1, True) == colour(0, 1, False) == colour(5, 0, True) == (1, 1, 1)
    for signed, sign in ((True, 1), (True, -1), (False, 1)):
        lights = [luminance(colour(sign * step / 20, 1, signed)) for step in range(21)]
        assert lights == sorted(lights, reverse=True)
        assert lights[0] == 1
    assert colour(1, 1, True) == pytest.approx(FOR[-1])
    assert colour(-1, 1, True) == pytest.approx(AGAINST[-1])
    assert colour(2, 1, False) == pytest.approx(STRENGTH[-1])


def test_pale_ink_can_be_read_on_every_colour_and_is_paler_where_it_can_be():
    backgrounds = [colour(step / 100, 1, signed) for signed in (True, False) for step in range(-100, 101)]
    for background in [*backgrounds, FIXED]:
        shown, behind = (tuple(round(255 * part) / 255 for part in rgb) for rgb in (pale_ink(background), background))
        assert contrast(shown, behind) >= 4.5
        assert contrast(pale_ink(background), background) <= contrast(ink(background), background)
    for background in (FIXED, *(anchors[position] for anchors in (FOR, AGAINST, STRENGTH) for position in (0, 1, -1))):
        assert contrast(pale_ink(background), background) < 0.75 * contrast(ink(background), background)


def test_the_template_is_pale_and_in_italics_in_every_view():
    result = made(["<u>", " hi", "<e>"], template=[True, False, True], fixed=[True, False, False])
    drawn = {text.get_text(): text for text in result.heatmap().axes[0].texts}
    assert [drawn[word].get_fontstyle() for word in ("<u>", "hi", "<e>")] == ["italic", "normal", "italic"]
    backgrounds = [FIXED, colour(0, 1, True), colour(1, 1, True)]
    for word, background in zip(("<u>", "<e>"), (backgrounds[0], backgrounds[2]), strict=True):
        assert drawn[word].get_color() == pale_ink(background)
    assert drawn["hi"].get_color() == ink(backgrounds[1])
    assert f"pale italics: {NOTES['template']}" in words(result.heatmap())
    page = html(result)
    assert page.split("<details>")[0].count("font-style:italic") == 2
    assert f"color:{to_hex(pale_ink(FIXED))};font-style:italic" in page
    assert f"fixed: context, no score; {NOTES['template']}" in page
    pieces = running_text(result).spans
    assert [bool(piece.style.italic) for piece in pieces] == [True, False, True]
    columns = {text.get_text(): text for text in aligned([result]).axes[0].texts}
    assert [columns[word].get_fontstyle() for word in ("<u>", "hi", "<e>")] == ["italic", "normal", "italic"]
    plain = made(["hi"])
    assert "font-style:italic" not in html(plain)
    assert not any("italics" in text for text in words(plain.heatmap()))


def test_the_legend_goes_below_the_bar_where_there_is_no_room_beside_it():
    result = made(["<u>", " hi"], template=[True, False], fixed=[True, False])
    for width in (2.5, 3.3, 6.5):
        figure = result.heatmap(width)
        figure.draw_without_rendering()
        lines = [text.get_window_extent() for axes in figure.axes for text in axes.texts]
        assert all(line.x0 >= 0 and line.x1 <= figure.bbox.width and line.y0 >= 0 for line in lines)
        assert "nats," in " ".join(words(figure))


def test_totals_wrap_between_words():
    whole = made([" ".join(f"word{number}" for number in range(30))], by="line")
    drawn = {text.get_text() for text in whole.heatmap(3.3).axes[0].texts}
    assert {f"word{number}" for number in range(30)} <= drawn
    assert "totals by line" in " ".join(words(whole.heatmap()))
    assert "totals by line" in html(whole)
    assert "totals by line" in headline(whole).plain


def test_the_table_names_roles():
    result = made(["<u>", "hi"], template=[True, False], messages=(Message("user", 3, 5),))
    console = Console(file=io.StringIO(), width=80, color_system=None)
    console.print(table(result))
    rows = [line.split() for line in console.file.getvalue().splitlines()]
    assert rows == [["piece", "role", "nats"], ["<u>", "template", "−1.00"], ["hi", "user", "+1.00"]]


def test_heatmap_colours_every_piece_by_its_score():
    figure = made(["a", " b", " c"], [0.5, -1.0, 0.0], fixed=[False, False, True]).heatmap()
    assert isinstance(figure, Figure)
    shown = [cell.get_facecolor()[:3] for cell in cells(figure)]
    for one, other in zip(shown, [colour(0.5, 1, True), colour(-1, 1, True), FIXED], strict=True):
        assert one == pytest.approx(other)


def test_heatmap_says_what_it_shows(tiny):
    result = attribute(tiny, "The keys", 69, IntegratedGradients(steps=300), contrast=70)
    text = " ".join(words(result.heatmap()))
    for part in (repr(result.target.text), "rather than", "integrated gradients", "gap 0.0 %", "nats", "fixed"):
        assert part in text
    unsigned = attribute(tiny, "The keys", 69, VanillaGradient())
    assert "nats per unit of embedding" in " ".join(words(unsigned.heatmap()))
    assert next(tick.get_text() for tick in bars_of(unsigned.heatmap())[0].get_xticklabels()) == "0"


@pytest.mark.parametrize("width", [2.5, 6.5, 12])
def test_heatmap_wraps_within_its_width(width):
    result = made([f" word{number}" for number in range(60)])
    figure = result.heatmap(width=width)
    room = width * 72 - 20
    assert all(cell.get_x() >= 0 and cell.get_x() + cell.get_width() <= room + 1e-6 for cell in cells(figure))
    lines = sorted({cell.get_y() for cell in cells(figure)})
    assert len(lines) > 1
    assert figure.get_size_inches()[0] == width
    rows = [[cell for cell in cells(figure) if cell.get_y() == line] for line in lines]
    for one, following in pairwise(rows):
        first = following[0].get_width()
        assert one[-1].get_x() + one[-1].get_width() + first > room * 0.9


def test_heatmap_needs_room():
    with pytest.raises(ValueError, match="width is 1 inches; it must be at least"):
        made(["a"]).heatmap(width=1)


def test_a_line_end_in_the_prompt_ends_the_line():
    figure = made(["a", "\n\n", "b", " c\n", "d"]).heatmap()
    lines = {}
    for cell in cells(figure):
        lines.setdefault(cell.get_y(), 0)
        lines[cell.get_y()] += 1
    assert len(lines) == 4


def test_text_width_counts_spaces():
    assert text_width(" a") > text_width("a") > 0
    assert text_width("a ") == pytest.approx(text_width(" a"), abs=0.5)
    assert text_width("mm", TEXT_SIZE) == pytest.approx(2 * text_width("m", TEXT_SIZE), rel=0.02)


def test_all_zero_scores_can_be_drawn():
    for signed in (True, False):
        figure = made(["a", " b"], [0.0, 0.0], signed=signed).heatmap()
        figure.savefig(io.BytesIO(), format="png")
        assert all(cell.get_facecolor()[:3] == (1, 1, 1) for cell in cells(figure))


def test_compare_puts_panels_below_each_other():
    one, other = made(["a", " b"]), made(["a", " b"], signed=False)
    figure = compare([one, other])
    assert len(bars_of(figure)) == 2
    with pytest.raises(ValueError, match="nothing to show"):
        compare([])


def test_html_escapes_what_comes_from_outside():
    page = html(made(["<script>alert(1)</script>", '" onmouseover="x', " &amp;", "\n"]))
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert '" onmouseover' not in page
    assert "&amp;amp;" in page
    assert page.count('<span class="piece') == 4


def test_html_shows_scores_unit_and_fixed_pieces():
    page = html(made(["a", "b"], [0.25, -0.5], fixed=[True, False]))
    assert "fixed: context, no score" in page
    assert "−0.500 nats" in page


def test_terminal_shows_the_text_and_the_scores():
    result = made(UGLY)
    console = Console(file=io.StringIO(), width=200, color_system=None)
    console.print(headline(result))
    console.print(running_text(result))
    console.print(table(result))
    shown = console.file.getvalue()
    assert "[red]" in shown
    assert "$x_1$" in shown
    assert "+1.00" in shown
    assert "\x00" not in shown


def test_terminal_colours_text():
    console = Console(file=io.StringIO(), force_terminal=True, color_system="truecolor", width=80, legacy_windows=False)
    console.print(running_text(made(["a", " b"], [1.0, -1.0])))
    codes = console.file.getvalue()
    for background in (FOR[-1], AGAINST[-1]):
        assert "48;2;" + ";".join(str(round(255 * part)) for part in background) in codes


def test_visible():
    assert escape_invisible("a\tb\r\n\x00\x7f\x85") == "a⇥b␍↵␀␡\ufffd"
    assert escape_invisible("  ", edge_spaces=True) == "␣␣"
    assert escape_invisible(" a", edge_spaces=True) == " a"


def test_a_notebook_shows_the_figure_and_the_text(tiny):
    result = attribute(tiny, "The keys", 69, GradientTimesInput())
    assert result._repr_html_() == result.html()
    assert result.heatmap()._repr_png_().startswith(b"\x89PNG")


def test_aligned_gives_every_piece_a_column_and_every_attribution_a_row():
    one, other = made(["a", " b"], [0.5, -1.0]), made(["a", " b"], [2.0, 1.0], signed=False, fixed=[True, False])
    figure = aligned([one, other], ["first", "second"])
    assert {"first", "second", "a", "b", "+0.50", "−1.00", "fixed", "1.00"} <= set(words(figure))
    assert {"first: nats, log-probability (positive raises it)", "second: nats, log-probability"} <= set(words(figure))
    shown = [cell.get_facecolor()[:3] for cell in cells(figure)]
    expected = [colour(0.5, 1, True), FIXED, colour(-1, 1, True), colour(1, 2, False)]
    for found, wanted in zip(shown, expected, strict=True):
        assert found == pytest.approx(wanted)
    figure.savefig(io.BytesIO(), format="png")


def test_aligned_needs_one_prompt_and_a_label_for_each():
    with pytest.raises(ValueError, match="nothing to show"):
        aligned([])
    with pytest.raises(ValueError, match="different texts"):
        aligned([made(["a"]), made(["b"])])
    with pytest.raises(ValueError, match="1 labels for 2 attributions"):
        aligned([made(["a"]), made(["a"])], ["one"])
    assert "Method" in words(aligned([made(["a"])]))


# Matrices


def image_of(figure):
    """The cells of a matrix, (target, piece, 3)."""
    return next(axes.images[0].get_array() for axes in figure.axes if axes.images)


@pytest.mark.parametrize("signed", [True, False])
def test_matrix_colours_every_cell_on_one_scale(signed):
    matrix = grid(5, 10, signed)
    shades, limit = image_of(matrix.heatmap()), float(numpy.nanmax(abs(matrix.scores)))
    for row, line in enumerate(matrix.scores.tolist()):
        for column, score in enumerate(line):
            expected = (1, 1, 1) if score != score else colour(score, limit, signed)
            assert tuple(shades[row, column]) == pytest.approx(expected)


def test_a_small_matrix_has_all_labels_and_numbers():
    matrix = grid(5, 10)
    shown = words(matrix.heatmap())
    assert {f"w{position}" for position in range(10)} <= set(shown)
    assert shown.count("$t_  p = 0.5") == 5
    numbers = [
        f"{score:+.2f}".replace("-", "−").replace("+0.00", "0.00")
        for score in matrix.scores.flatten().tolist()
        if score == score
    ]
    limit = float(numpy.nanmax(abs(matrix.scores)))
    assert 1 < limit < 10
    assert sorted(text for text in shown if text.startswith(("+", "−", "0."))) == sorted(numbers)


@pytest.mark.slow
def test_a_large_matrix_can_be_read():
    """Every row and column has its label, none overlaps its neighbour."""
    figure = grid(100, 200).heatmap()
    labels = [text for axes in figure.axes for text in axes.texts]
    columns = [text for text in labels if text.get_rotation() == 90]
    rows = [text for text in labels if text.get_text().endswith("p = 0.5")]
    assert (len(rows), len(columns)) == (100, 200)
    figure.draw_without_rendering()
    for group, side in ((columns, "x"), (rows, "y")):
        boxes = [text.get_window_extent() for text in group]
        edges = sorted((getattr(box, side + "0"), getattr(box, side + "1")) for box in boxes)
        assert all(one[1] <= other[0] + 0.5 for one, other in pairwise(edges))
        assert min(text.get_fontsize() for text in group) >= 5


@pytest.mark.parametrize("width", [3.3, 6.5, 12])
def test_a_matrix_of_a_given_width(width):
    figure = grid(20, 60).heatmap(width)
    assert figure.get_size_inches()[0] == pytest.approx(width)
    figure.draw_without_rendering()
    boxes = [t.get_window_extent() for axes in figure.axes for t in axes.texts if t.get_rotation() == 90]
    assert len(boxes) > 5
    assert all(one.x1 <= other.x0 + 0.5 for one, other in pairwise(boxes))


def test_a_matrix_without_room():
    with pytest.raises(ValueError, match="no room for 60 columns"):
        grid(20, 60).heatmap(1)


def test_ugly_labels_in_a_matrix(tmp_path):
    row = made(UGLY)
    matrix = AttributionMatrix("candidates", (row, row))
    for ending in ("png", "pdf", "svg", "html", "json"):
        assert matrix.save(tmp_path / f"m.{ending}").stat().st_size > 500
    page = html(matrix)
    assert "<b>&" not in page
    assert page.count("<td") == 2 * len(UGLY)
    console = Console(file=io.StringIO(), width=200)
    console.print(headline(matrix), matrix_table(matrix))
    assert "[red]" in console.file.getvalue()


def test_a_matrix_of_zeros_and_of_fixed_pieces():
    row = made([" a", " b"], [0.0, 0.0], fixed=[True, False])
    matrix = AttributionMatrix("candidates", (row,))
    assert tuple(image_of(matrix.heatmap())[0, 0]) == pytest.approx(FIXED)
    assert "fixed: context" in matrix.html()


def test_a_matrix_labels_the_template_pale():
    row = changed(made(["<s>", " a"]), template=(True, False))
    labels = {
        text.get_text(): text for axes in AttributionMatrix("candidates", (row,)).heatmap().axes for text in axes.texts
    }
    assert (labels["<s>"].get_fontstyle(), labels["a"].get_fontstyle()) == ("italic", "normal")
    assert labels["<s>"].get_color() != labels["a"].get_color() == (0, 0, 0)


def test_columns_are_as_wide_as_their_numbers():
    """A tiny score is a long number; it may not run into its neighbour."""
    figure = aligned([made(["a", " b", " c"], [1.0, -4.3e-6, -0.00054]), made(["a", " b", " c"], [-0.0016, 2.7e-5, 1])])
    figure.draw_without_rendering()
    texts = [text for text in figure.axes[0].texts if text.get_text().strip("+−").startswith(("0", "4", "2"))]
    boxes = [text.get_window_extent() for text in texts]
    assert len(boxes) == 4
    for one in boxes:
        assert not any(one.overlaps(other) for other in boxes if other is not one)
