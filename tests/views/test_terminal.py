"""The terminal: readable in every colour system, plain where there is none, and lines that other programs can read."""

import csv
import io

import pytest
import torch
from rich.color import ColorSystem
from rich.console import Console

from interpret import AttributionMatrix
from interpret.views.scale import FIXED, Scale, colour, contrast
from interpret.views.spreadsheet import field, tsv
from interpret.views.terminal import headline, matrix_table, running_text, signs, style, table
from tests.results.making import UGLY, changed, grid, made

SYSTEMS = {"truecolor": ColorSystem.TRUECOLOR, "256": ColorSystem.EIGHT_BIT, "standard": ColorSystem.STANDARD}
AA = 4.5  # WCAG 2.1, level AA: the least contrast of text


def shown(*parts, width=60, **settings):
    console = Console(file=io.StringIO(), force_terminal=True, width=width, legacy_windows=False, **settings)
    console.print(*parts, sep="\n\n")
    return console.file.getvalue()


def result():
    return made(["<s>", "The", " keys", "\n", " are"], [0, 0.5, -1, 0.04, 0.25], fixed=[True] + [False] * 4)


@pytest.mark.parametrize(
    ("system", "foreground", "background"), [("truecolor", "38;2;", "48;2;"), ("256", "38;5;", "48;5;")]
)
def test_every_piece_has_its_colours(system, foreground, background):
    text = shown(running_text(result(), system), color_system=system)
    assert text.count(background) == 5
    assert foreground in text or "97;" in text or "30;" in text


@pytest.mark.parametrize("settings", [
    {"color_system": None}, {"color_system": "truecolor", "no_color": True}, {"_environ": {"TERM": "dumb"}},
    {"_environ": {"NO_COLOR": "1", "TERM": "xterm-256color"}},
], ids=["none", "no_color", "dumb", "NO_COLOR"])  # fmt: skip
def test_without_colours_nothing_is_coloured_and_signs_are_seen(settings):
    text = shown(headline(result()), running_text(result()), table(result(), None), **settings)
    assert not any(code in text for code in ("38;", "48;", "[3"[:2] + "31m"))
    lines = [line.split() for line in text.splitlines()]
    assert ["keys", "−1.00", "−" * 10] in lines
    assert ["The", "+0.50", "+++++"] in lines
    assert ["<s>", "fixed"] in lines
    assert "<s>The keys↵" in text


def test_signs_are_as_many_as_the_score_is_strong():
    assert [signs(score, Scale(1, "nats", True)) for score in (1, 0.5, 0.01, 0, -0.01, -1)] == [
        "+" * 10,
        "+" * 5,
        "+",
        "",
        "−",
        "−" * 10,
    ]
    assert signs(0.3, Scale(0.6, "nats", False)) == "#####"
    assert signs(0, Scale(0, "nats", True)) == ""


@pytest.mark.parametrize("system", ["truecolor", "256", "standard"])
@pytest.mark.parametrize("template", [False, True])
def test_text_is_readable_in_every_colour_system(system, template):
    backgrounds = [colour(step / 100, 1, signed) for signed in (True, False) for step in range(-100, 101)]
    for background in [*backgrounds, FIXED]:
        chosen = style(background, template, system)
        for each in (chosen.color, chosen.bgcolor):  # as the terminal shows it: nothing is left for rich to change
            assert each == each.downgrade(SYSTEMS[system])
        ink, paper = (tuple(part / 255 for part in each.get_truecolor()) for each in (chosen.color, chosen.bgcolor))
        assert contrast(ink, paper) >= AA, (background, ink, paper)


@pytest.mark.parametrize("width", [20, 40, 100])
def test_text_wraps_to_the_width(width):
    words = made([f" word{number}" for number in range(50)])
    lines = shown(running_text(words), width=width, color_system=None).splitlines()
    assert all(len(line) <= width for line in lines)
    assert " ".join(" ".join(lines).split()) == "".join(words.tokens).strip()
    assert len(lines) == pytest.approx(len(words.prompt) / width, rel=0.35)


def test_a_matrix_is_a_list_where_its_columns_do_not_fit():
    matrix = grid(6, 9)
    wide = max(map(len, shown(matrix_table(matrix), width=200, color_system=None).splitlines()))
    assert "strongest pieces" not in shown(matrix_table(matrix, wide), width=wide, color_system=None)
    fitting = shown(matrix_table(matrix, wide), width=wide, color_system=None)
    assert f"{float(matrix[5].scores[0]):+.2f}" in fitting
    assert "…" not in fitting
    narrow = shown(matrix_table(matrix, wide - 1), width=wide - 1, color_system=None)
    assert "strongest pieces, nats" in narrow
    assert len(narrow.splitlines()) >= 7


def test_lines_for_other_programs():
    each = changed(
        made(["<s>", "a\tb", " c\n", "\\n", "é"], [0, 0.1, -1 / 3, 1e-12, 2], fixed=[True] + [False] * 4,
             template=[True] + [False] * 4),
        standard_error=torch.tensor([0, 0.1, 0.2, 0.3, 0.4], dtype=torch.float64),
        token_ids=((0,), (1, 11), (2,), (3,), (4,)),
    )  # fmt: skip
    lines = tsv(each).splitlines()
    assert lines[0].split("\t") == ["piece", "ids", "score", "standard_error", "fixed", "template"]
    assert lines[1].split("\t") == ["<s>", "0", "0.0", "0.0", "true", "true"]
    assert lines[2].split("\t") == ["a\\tb", "1 11", "0.1", "0.1", "false", "false"]
    assert [line.split("\t")[0] for line in lines[3:]] == [" c\\n", "\\\\n", "é"]
    assert [float(line.split("\t")[2]) for line in lines[1:]] == each.scores.tolist()
    assert tsv(made(["a"])).splitlines()[1].split("\t") == ["a", "0", "-1.0", "", "false", "false"]


def test_a_matrix_names_the_target_of_each_line():
    matrix = grid(3, 5)
    rows = list(csv.DictReader(io.StringIO(tsv(matrix)), delimiter="\t", quoting=csv.QUOTE_NONE))
    assert [row["target"] for row in rows] == [" $t_"] * 12
    assert [float(row["score"]) for row in rows] == [score for each in matrix for score in each.scores.tolist()]


def test_no_text_breaks_a_line_or_steers_the_terminal():
    hostile = [*UGLY, "\x1b[2J", "\u2028", "\x85", "\r\n", "\ud800"]
    for text in (tsv(made(hostile)), tsv(AttributionMatrix("candidates", (made(hostile),)))):
        lines = text.split("\n")
        assert len(lines) == len(hostile) + 2
        assert len({line.count("\t") for line in lines[:-1]}) == 1
        assert not set(text) & set("\x1b\x85\r\u2028\ud800\x00")
        assert len(text.splitlines()) == len(hostile) + 1
    assert field("\x1b[2J") == "\\u001b[2J"


def test_unsigned_scores_have_no_sign():
    unsigned = made(["a", " b"], [0.5, 1], signed=False)
    lines = [line.split() for line in shown(table(unsigned, None), color_system=None).splitlines()]
    assert lines[1:] == [["a", "0.50", "#####"], ["b", "1.00", "##########"]]
