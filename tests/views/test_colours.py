"""The colours of scores: told apart in every kind of colour vision, equally strong both ways, marked in grey."""

import io

import matplotlib.pyplot as plt
import numpy
import pytest
from matplotlib.collections import LineCollection
from PIL import Image

from interpret import AttributionMatrix, aligned
from interpret.views.scale import colour, contrast, fixed_colour, ink, luminance, neutral
from tests.results.making import made

# Machado, Oliveira & Fernandes 2009: what is left of linear RGB without one kind of cone.
VISIONS = {
    "all cones": numpy.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
XYZ = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
D65 = [0.95047, 1.0, 1.08883]
PAGES = {"white": (1.0, 1.0, 1.0), "cream": (0.99, 0.96, 0.89), "black": (0.0, 0.0, 0.0), "grey": (0.5, 0.5, 0.5)}


def linear(rgb):
    rgb = numpy.asarray(rgb)
    return numpy.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(light):
    """CIE L*a*b* of linear RGB."""
    part = numpy.asarray(XYZ) @ numpy.clip(light, 0, 1) / D65
    f = numpy.where(part > 0.008856, numpy.cbrt(part), 7.787 * part + 16 / 116)
    return numpy.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def test_lab_is_right():
    assert lab(linear((1.0, 1.0, 1.0))) == pytest.approx([100, 0, 0], abs=0.01)
    assert lab(linear((1.0, 0.0, 0.0))) == pytest.approx([53.24, 80.09, 67.20], abs=0.05)


@pytest.mark.parametrize("page", ["white", "black"])
@pytest.mark.parametrize("vision", VISIONS)
def test_the_signs_differ_in_every_colour_vision(vision, page):
    """From a quarter of the scale on, by more than 10 CIE units; 2.3 can just be seen."""
    for step in range(25, 101):
        seen = [lab(numpy.asarray(VISIONS[vision]) @ linear(colour(sign * step, 100, True, PAGES[page])))
                for sign in (1, -1)]  # fmt: skip
        assert numpy.linalg.norm(seen[0] - seen[1]) > 10


@pytest.mark.parametrize("page", PAGES)
def test_strength_is_lightness_in_every_colour_vision(page):
    for vision in VISIONS.values():
        for signed, sign in ((True, 1), (True, -1), (False, 1)):
            shades = [colour(sign * step, 100, signed, PAGES[page]) for step in range(101)]
            lights = [lab(numpy.asarray(vision) @ linear(shade))[0] for shade in shades]
            away = numpy.diff(lights) * (-1 if luminance(neutral(PAGES[page])) > 0.5 else 1)
            assert (away > 0).all()


@pytest.mark.parametrize("page", ["white", "black"])
def test_neither_sign_looks_stronger_in_grey(page):
    for step in range(101):
        for_it, against = (lab(linear(colour(sign * step, 100, True, PAGES[page])))[0] for sign in (1, -1))
        assert for_it == pytest.approx(against, abs=2.5)


@pytest.mark.parametrize("page", PAGES)
def test_ink_can_be_read_on_every_page(page):
    for signed in (True, False):
        for step in range(-100, 101):
            background = colour(step, 100, signed, PAGES[page])
            assert contrast(background, ink(background)) >= 4.5
    assert contrast(fixed_colour(PAGES[page]), ink(fixed_colour(PAGES[page]))) >= 4.5


def grey(figure, dpi=200):
    """The picture in grey, 0 to 1."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=dpi)
    return numpy.asarray(Image.open(file).convert("L")) / 255


def slits(figure):
    (found,) = (each for each in figure.axes[0].collections if isinstance(each, LineCollection))
    return found.get_segments()


def test_negative_scores_have_a_slit_in_every_view():
    one = made(["<s>", " a", " b", " c"], [-1.0, -0.5, 1.0, 0.0], fixed=[True, False, False, False])
    unsigned = made(["a", " b"], [1.0, 0.5], signed=False)
    for figure in (one.heatmap(), aligned([one]), AttributionMatrix("candidates", (one,)).heatmap()):
        assert len(slits(figure)) == 1  # " a" alone: <s> was fixed
    for figure in (unsigned.heatmap(), aligned([unsigned]), AttributionMatrix("candidates", (unsigned,)).heatmap()):
        assert slits(figure) == []


@pytest.mark.parametrize("style", ["default", "dark_background"])
def test_the_slit_can_be_seen_in_grey(style):
    """Down through the middle of a cell without text: a negative one is interrupted by the page, a positive one not."""
    with plt.style.context(style):
        figure = made(["      ", ".", "      "], [-1.0, 0.0, 1.0]).heatmap(width=3)
        picture = grey(figure)
        axes = figure.axes[0]
        page = picture[2, 2]
        for cell, runs in ((axes.patches[0], 2), (axes.patches[2], 1)):
            corner, width = cell.get_xy(), cell.get_width()
            left, top = axes.transData.transform(corner) / figure.dpi * 200
            right, bottom = (
                axes.transData.transform((corner[0] + width, corner[1] + cell.get_height())) / figure.dpi * 200
            )
            height = picture.shape[0]
            column = picture[round(height - top) : round(height - bottom), round((left + right) / 2)]
            strong = numpy.abs(column - page) > 0.4
            assert (numpy.diff(strong.astype(int)) == 1).sum() + int(strong[0]) == runs
