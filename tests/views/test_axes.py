"""Views in the caller's axes and styles: at their real size, in their fonts and colours; bars, columns and the path."""

from itertools import pairwise

import matplotlib.pyplot as plt
import pytest
import torch
from matplotlib.colors import to_rgb

from interpret import AttributionMatrix, Completeness, StraightPath, aligned, compare
from interpret.views.bars import jumps, strokes
from interpret.views.cells import method_names
from interpret.views.fonts import text_width
from interpret.views.scale import AGAINST, FOR, colour
from tests.results.making import changed, made
from tests.views.test_views import bars_of, cells, words

LONG = made([f" word{number}" for number in range(24)], by="word")
WALK = changed(
    made(["a", " b"]), completeness=Completeness(0.0, -5.0, 0.0, 0.0),
    path=StraightPath((0.0, 0.5, 0.75, 1.0), (-5.0, -4.0, -0.5, 0.0), (2.0, 2.0, 2.0, 2.0)),
)  # fmt: skip
VIEWS = {
    "heatmap": LONG.heatmap,
    "bars": LONG.bars,
    "aligned": lambda **how: aligned([LONG, LONG], ["one", "other"], **how),
    "matrix": AttributionMatrix("candidates", (LONG, LONG)).heatmap,
    "path": WALK.path_plot,
}


@pytest.fixture
def axes():
    figure = plt.figure(figsize=(7, 8))
    yield figure.add_axes((0.2, 0.15, 0.5, 0.7))
    plt.close(figure)


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_draws_into_the_axes_and_returns_their_figure(view, axes):
    position = axes.get_position().bounds
    assert VIEWS[view](ax=axes) is axes.figure
    assert axes.figure.axes == [axes]
    assert axes.get_position().bounds == position
    with pytest.raises(ValueError, match="either a width or an axes"):
        VIEWS[view](width=5, ax=axes)


@pytest.mark.parametrize("view", ["heatmap", "aligned", "matrix"])
@pytest.mark.parametrize("size", [6, 10])
def test_text_stays_within_the_axes_and_has_its_size(view, size, axes):
    with plt.rc_context({"font.size": size}):
        figure = VIEWS[view](ax=axes)
    figure.draw_without_rendering()
    box = axes.get_window_extent()
    assert len(axes.texts) > 20
    for text in axes.texts:
        extent = text.get_window_extent()
        assert box.x0 - 1 <= extent.x0
        assert extent.x1 <= box.x1 + 1
        assert box.y0 - 1 <= extent.y0
        assert extent.y1 <= box.y1 + 1
    titles = [text for text in axes.texts if text.get_fontweight() == "bold"]
    assert titles[0].get_fontsize() == pytest.approx(1.05 * size)


def test_heatmap_wraps_at_the_width_of_the_axes(axes):
    LONG.heatmap(ax=axes)
    room = 0.5 * 7 * 72
    lines = {}
    for cell in axes.patches:
        lines.setdefault(cell.get_y(), []).append(cell.get_x() + cell.get_width())
    assert len(lines) > 2
    assert all(max(ends) <= room + 1e-6 for ends in lines.values())
    first = axes.transData.transform((0, 0)) - axes.transData.transform((1, 1))
    assert abs(first) == pytest.approx([100 / 72, 100 / 72])  # a unit is a point at 100 dots per inch


def test_axes_that_are_too_low_say_how_high_they_must_be():
    figure, axes = plt.subplots(figsize=(3, 1))
    plt.close(figure)
    with pytest.raises(ValueError, match=r"this takes (\d\.\d\d) inches of height, but it has 0\.77") as error:
        LONG.heatmap(ax=axes)
    needed = float(str(error.value).split("takes ")[1][:4])
    figure = plt.figure(figsize=(3, needed))
    plt.close(figure)
    LONG.heatmap(ax=figure.add_axes((0.1125, 0, 0.775, 1)))
    with pytest.raises(ValueError, match=r"24 bars do not fit in these axes; .* give top=\d+"):
        LONG.bars(ax=axes)


def test_a_layout_engine_is_asked_before_measuring():
    figure, axes = plt.subplots(1, 2, figsize=(9, 5), layout="constrained")
    plt.close(figure)
    for each in axes:
        each.axis("off")  # makes room, so before anything is measured
    for each in axes:
        LONG.heatmap(ax=each)
    figure.draw_without_rendering()
    for each in axes:
        unit = abs(each.transData.transform((0, 0)) - each.transData.transform((1, 1)))
        assert unit == pytest.approx([100 / 72, 100 / 72], rel=0.02)


@pytest.mark.parametrize("view", ["heatmap", "aligned", "matrix"])
def test_a_picture_keeps_its_scale_and_says_when_its_axes_have_shrunk(view):
    figure, (axes, _) = plt.subplots(1, 2, figsize=(11, 6), layout="constrained")
    plt.close(figure)
    VIEWS[view](ax=axes)
    bar = bars_of(figure)[0]
    for size in ((14, 8), (7, 4)):
        figure.set_size_inches(size)
        if size == (14, 8):
            figure.draw_without_rendering()
        else:
            with pytest.warns(UserWarning, match=r"runs past its axes, which have shrunk to 3\.\d\d by 3\.\d\d since"):
                figure.draw_without_rendering()
        unit = abs(axes.transData.transform((0, 0)) - axes.transData.transform((1, 1)))
        assert unit == pytest.approx([100 / 72, 100 / 72])
        lowest = min(text.get_window_extent().y0 for text in axes.texts)
        assert bar.get_window_extent().width < 151 * 100 / 72
        assert lowest - 20 < bar.get_window_extent().y1 < lowest


def test_text_is_as_wide_as_it_was_measured_at_every_resolution():
    figure = LONG.heatmap()
    for dpi in (72, 80, 100, 144, 300):
        figure.set_dpi(dpi)
        figure.draw_without_rendering()
        for text in figure.axes[0].texts:
            bold = text.get_fontweight() == "bold"
            measured = text_width(text.get_text(), text.get_fontsize(), "bold" if bold else "normal")
            assert text.get_window_extent().width * 72 / dpi == pytest.approx(measured, rel=0.03, abs=1.5)


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("style", ["dark_background", "seaborn-v0_8-whitegrid", "Solarize_Light2"])
def test_styles_are_obeyed(view, style):
    with plt.style.context(style), plt.rc_context({"font.family": "DejaVu Serif", "font.size": 12}):
        figure = VIEWS[view]()
        ink, page = to_rgb(plt.rcParams["text.color"]), to_rgb(plt.rcParams["figure.facecolor"])
    assert to_rgb(figure.get_facecolor()) == page
    texts = figure.axes[0].texts
    title = next(text for text in texts if text.get_fontweight() == "bold")
    assert to_rgb(title.get_color()) == ink
    assert title.get_fontsize() == pytest.approx(1.05 * 12)
    assert title.get_fontfamily() == ["DejaVu Serif"]


def test_widths_are_those_of_the_font_that_is_asked_for():
    sans = text_width("Wide")
    with plt.rc_context({"font.family": "DejaVu Sans Mono"}):
        mono = text_width("Wide")
        assert text_width("iiii") == pytest.approx(mono)
    assert text_width("Wide") == sans != mono


def test_cells_take_the_pages_colour_where_they_are_zero():
    zero = made(["a", " b"], [0.0, 1.0])
    with plt.style.context("dark_background"):
        shown = [cell.get_facecolor()[:3] for cell in cells(zero.heatmap())]
    assert shown == [(0, 0, 0), pytest.approx(colour(1, 1, True, (0.0, 0.0, 0.0)))]


# Several


ONE, OTHER = made(["a", " b"], [0.5, -1.0]), made(["a", " b"], [0.02, 0.01])
THIRD = made(["a", " b"], [0.1, 0.2], unit="share")


def limits(figure):
    """The ends of the colour bars."""
    return [bar.get_xlim() for bar in bars_of(figure)]


def test_each_panel_has_its_own_scale_and_says_so():
    figure = compare([ONE, OTHER, THIRD])
    assert limits(figure) == [(-1, 1), (-0.02, 0.02), (-0.2, 0.2)]
    assert words(figure).count("each panel on its own scale") == 3
    assert [cell.get_facecolor()[:3] for cell in cells(figure)][1:3] == [
        pytest.approx(AGAINST[-1]),
        pytest.approx(FOR[-1]),
    ]
    assert not any("scale" in text for text in words(compare([ONE])))


def test_panels_share_a_scale_on_request_where_units_agree():
    figure = compare([ONE, OTHER, THIRD], shared_scale=True)
    assert limits(figure) == [(-1, 1), (-1, 1), (-0.2, 0.2)]
    assert words(figure).count("one scale for all panels in the same unit") == 3
    assert words(compare([ONE, OTHER], shared_scale=True)).count("one scale for all panels") == 2


def test_each_row_has_its_own_scale_and_numbers_and_says_so():
    figure = aligned([ONE, OTHER], ["one", "other"])
    assert "each row on its own scale" in words(figure)
    assert numbers(figure) == ["+0.50", "+0.0200", "−1.00", "+0.0100"]
    shown = [cell.get_facecolor()[:3] for cell in cells(figure)]
    assert shown == [pytest.approx(colour(score, 1, True)) for score in (0.5, 1, -1, 0.5)]
    assert limits(figure) == [(-1, 1)]
    ticks = [tick.get_text() for tick in bars_of(figure)[0].get_xticklabels()]
    assert ticks == ["−max", "0", "+max"]
    assert bars_of(aligned([ONE, made(["a", " b"], [1.0, 2.0], signed=False)])) == []


def test_rows_share_a_scale_on_request_where_units_agree():
    figure = aligned([ONE, OTHER], ["one", "other"], shared_scale=True)
    assert "one scale for all rows" in words(figure)
    assert numbers(figure) == ["+0.50", "+0.02", "−1.00", "+0.01"]
    assert limits(figure) == [(-1, 1)]
    assert cells(figure)[1].get_facecolor()[:3] == pytest.approx(colour(0.02, 1, True))
    mixed = aligned([ONE, OTHER, THIRD], ["one", "other", "third"], shared_scale=True)
    assert "one scale for all rows in the same unit" in words(mixed)
    assert bars_of(mixed) == []
    assert cells(mixed)[2].get_facecolor()[:3] == pytest.approx(colour(0.5, 1, True))


def test_a_row_of_tiny_scores_says_its_power_of_ten():
    figure = aligned([ONE, made(["a", " b"], [2.5e-6, -1e-7])], ["one", "other"])
    assert {"one", "other (× 10⁻⁶)", "+2.50", "−0.10"} <= set(words(figure))


def numbers(figure):
    """The rows of an aligned figure: the texts in order of position, without headings."""
    return [text for text in words(figure) if text[:1] in "+−0" or text == "fixed"]


def test_tokenizers_are_aligned_by_the_borders_they_share():
    one = made(["<s>", "un", "happi", "ness", " is", " here"], [9.0, 1.0, 2.0, 4.0, 0.5, -1.0])
    one = changed(one, tokens=("", *one.tokens[1:]))
    other = made(["unhapp", "iness ", "is ", "he", "re"], [3.0, -1.0, 0.25, 1.0, 1.5])
    figure = aligned([one, other], ["one", "other"])
    shown = words(figure)
    assert [word for word in shown if word in ("<s>", "unhappiness", "is", "here")] == [
        "<s>",
        "unhappiness",
        "is",
        "here",
    ]
    assert numbers(figure) == ["+9.00", "+7.00", "+2.00", "+0.50", "+0.25", "−1.00", "+2.50"]


def test_unsigned_scores_are_joined_as_their_reduction_says():
    one = changed(made(["a", "b"], [3.0, 4.0], signed=False), reduction="L2 norm")
    other = changed(made(["ab"], [2.0], signed=False), reduction="L2 norm")
    assert {"5.00", "2.00"} <= set(words(aligned([one, other], ["one", "other"])))
    lost = changed(one, reduction="absolute value of the sum")
    with pytest.raises(ValueError, match="do not tell their total"):
        aligned([lost, other])


def test_long_texts_are_broken_into_blocks():
    figure = aligned([LONG, LONG], ["one", "other"], width=3.3)
    assert figure.get_size_inches()[0] == pytest.approx(3.3)
    assert words(figure).count("one") > 5
    assert {f"word{number}" for number in range(24)} <= set(words(figure))
    assert len(cells(figure)) == 48
    assert all(cell.get_x() + cell.get_width() <= 3.3 * 72 - 20 + 1e-6 for cell in cells(figure))
    with pytest.raises(ValueError, match="no room beside the labels"):
        aligned([LONG], ["a label that is long"], width=0.8)


def test_rows_are_named_by_what_distinguishes_them():
    one = made(["a"])
    settings = [changed(one, method=f"IG(steps={steps})") for steps in (1, 2)]
    assert {"IG (steps=1)", "IG (steps=2)", one.heading} <= set(words(aligned(settings)))
    nested = [changed(one, method=f"S(method=G(a=1), n={n}, of=[1, '(,'], f={n})") for n in (1, 2)]
    assert method_names(nested) == ["S (n=1, f=1)", "S (n=2, f=2)"]
    spoken = [changed(one, method=f"our {n}", method_name="ours") for n in (1, 2)]
    assert method_names(spoken) == ["our 1", "our 2"]
    said = [changed(one, method=f"IG(steps={steps})", settings=f"{steps} steps") for steps in (1, 2)]
    assert method_names(said) == ["IG, 1 steps", "IG, 2 steps"]
    methods = [changed(one, method=name) for name in ("IG(steps=1)", "Gradient()")]
    methods[0] = changed(methods[0], settings="1 step")
    assert {"IG", "Gradient", one.heading, "IG, 1 step"} <= set(words(aligned(methods)))
    models = [changed(one, model=name) for name in ("small", "large")]
    assert {"small", "large", "Method"} <= set(words(aligned(models)))


# Bars


def test_bars_have_the_scores_lengths_colours_and_errors():
    errors = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)
    result = made(["a", " b", "<e>"], [0.5, -1.0, 0.0], fixed=[False, False, True], standard_error=errors)
    axes = result.bars().axes[0]
    assert [(bar.get_width(), bar.get_y() + bar.get_height() / 2) for bar in axes.patches] == [(0.5, 0), (-1.0, 1)]
    assert [bar.get_facecolor()[:3] for bar in axes.patches] == [pytest.approx(FOR[2]), pytest.approx(AGAINST[2])]
    whiskers = [collection.get_segments()[0][:, 0].tolist() for collection in axes.collections]
    assert whiskers == [pytest.approx([0.4, 0.6]), pytest.approx([-1.2, -0.8])]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["a", "b", "<e>"]
    assert {"+0.50", "−1.00", "fixed"} <= set(words(axes.figure))
    assert "whiskers: standard error" in " ".join(words(axes.figure))
    assert axes.get_xlabel() == "nats, log-probability (positive raises it)"
    numerical = changed(result, standard_error=None, error=errors)
    assert "whiskers: numerical error" in " ".join(words(numerical.bars()))
    assert "whiskers" not in " ".join(words(made(["a"]).bars()))


def test_bars_of_a_long_prompt_are_the_strongest_in_the_order_of_the_text():
    axes = LONG.bars(top=3).axes[0]
    strongest = sorted(range(24), key=lambda position: -abs(float(LONG.scores[position])))[:3]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == [f"word{position}" for position in sorted(strongest)]
    others = sum(float(score) for position, score in enumerate(LONG.scores) if position not in strongest)
    said = " ".join(words(axes.figure))
    assert f"the 3 strongest of 24 with a score (the others add up to {others:+.2f} nats)".replace("-", "−") in said
    assert "strongest" not in " ".join(words(LONG.bars()))
    with pytest.raises(ValueError, match="at least one bar"):
        LONG.bars(top=0)


@pytest.mark.parametrize("width", [3.3, 6.5])
@pytest.mark.parametrize("size", [7, 10, 14])
def test_nothing_of_a_chart_is_cut_off(width, size):
    text = "a sentence that is much too long to be the label of a bar, however wide the figure is " * 3
    with plt.rc_context({"font.size": size}):
        figures = [made([text, "b", "\n"], [1.0, -2.0, 0.5]).bars(width=width), WALK.path_plot(width=width)]
    for figure in figures:
        figure.draw_without_rendering()
        assert figure.get_size_inches()[0] == pytest.approx(width)
        (axes,) = figure.axes
        low, high = sorted(axes.get_ylim())
        ticks = [
            tick for tick in axes.get_yticklabels() if low <= tick.get_position()[1] <= high
        ]  # others aren't drawn
        everything = [*axes.texts, axes.xaxis.label, axes.yaxis.label, *ticks]
        for each in everything:
            box = each.get_window_extent()
            assert box.x0 >= -1, each
            assert box.x1 <= figure.bbox.width + 1, each
            assert box.y0 >= -1, each
            assert box.y1 <= figure.bbox.height + 1, each
        labels = [tick.get_window_extent() for tick in ticks]
        assert all(one.y0 >= other.y1 - 1 or one.y1 <= other.y0 + 1 for one, other in pairwise(labels))


def test_bars_of_nothing_and_of_zeros():
    for result in (made(["a", "b"], [0.0, 0.0]), made(["a"], [0.0], fixed=[True]), made(["a"], [1.0], signed=False)):
        result.bars().draw_without_rendering()


# The path


def test_the_path_has_its_points_slopes_and_jumps():
    axes = WALK.path_plot().axes[0]
    (line,) = axes.lines
    assert line.get_xydata().tolist() == [[0, -5], [0.5, -4], [0.75, -0.5], [1, 0]]
    slopes, dots, rug = axes.collections
    assert dots.get_offsets().tolist() == line.get_xydata().tolist()
    assert len(rug.get_segments()) == 4
    assert slopes.get_segments()[1].tolist() == [[0.25, -4.5], [0.625, -3.75]]
    assert jumps(WALK.path) == [1]
    assert "+3.5 nats" in words(axes.figure)
    assert axes.get_ylabel() == "log-probability (nats)"
    assert "dots: 4 points spent" in " ".join(words(axes.figure))


def test_a_path_without_a_slope_at_its_ends_and_a_flat_one():
    path = StraightPath((0.0, 0.5, 1.0), (1.0, 2.0, 3.0), (None, 2.0, None))
    assert strokes(path) == [[(0.25, 1.5), (0.75, 2.5)]]
    assert jumps(path) == []
    flat = StraightPath((0.0, 1.0), (1.0, 1.0), (0.0, 0.0))
    assert jumps(flat) == []
    changed(WALK, path=flat).path_plot().draw_without_rendering()
