"""The view model: what is computed once, and read by every view."""

import io

import pytest
from markupsafe import Markup
from rich.console import Console

from interpret import AttributionMatrix, aligned, compare
from interpret.views.cells import cells_of
from interpret.views.html import fill
from interpret.views.scale import Scale, scales, sharing
from interpret.views.terminal import matrix_table, table
from tests.results.making import changed, made
from tests.views.test_views import words


def test_a_cell_knows_its_number_mark_and_facts():
    pieces = ["<s>", " a", "\n", " "]
    first, strong, faint, none = cells_of(
        made(pieces, [0.0, -2.0, 0.05, 1.0], fixed=[True] + [False] * 3, standard_error=[0.0, 0.25, 0.1, 0.1])
    )
    assert [cell.number for cell in (first, strong, faint, none)] == ["fixed", "−2.00", "+0.05", "+1.00"]
    assert [cell.mark for cell in (first, strong, faint, none)] == ["fixed", "against", "", "for"]
    assert [cell.text for cell in (first, strong, faint, none)] == ["<s>", " a", "↵", " "]
    assert none.name == "␣"
    assert first.says == "fixed: context, no score; id 0"
    assert strong.says == "−2.00 nats; 65.6 % of all magnitudes; standard error 0.25 nats; id 1"
    assert (first.standard_error, strong.standard_error) == ("", "0.25")


def test_ticks_are_numbers_of_the_scale_and_zero_is_exact():
    assert Scale(1.5, "nats", True).ticks == ((-1.5, "−1.50"), (0.0, "0"), (1.5, "+1.50"))
    assert Scale(1.5, "nats", False).ticks == ((0.0, "0"), (1.5, "1.50"))
    assert Scale(0.0, "nats", True).ticks == ((0.0, "0"),)


def test_scales_are_own_or_shared_by_unit_and_direction():
    one, other = made(["a"], [1.0]), made(["a"], [-3.0])
    share, unsigned = made(["a"], [5.0], unit="share"), made(["a"], [7.0], signed=False)
    every = [one, other, share, unsigned]
    assert [each.limit for each in scales(every, shared=False)] == [1, 3, 5, 7]
    assert [each.limit for each in scales(every, shared=True)] == [3, 3, 5, 7]
    assert sharing([one], False, "row") == sharing([one], True, "row") == ""
    assert sharing(every, False, "row") == "each row on its own scale"
    assert sharing([one, other], True, "row") == "one scale for all rows"
    assert sharing(every, True, "row") == "one scale for all rows in the same unit"
    with pytest.raises(AssertionError, match="different units"):
        Scale.of(one, share)


def printed(rows):
    console = Console(file=io.StringIO(), width=120, color_system=None)
    console.print(rows)
    return console.file.getvalue()


@pytest.mark.parametrize(("factor", "power"), [(1.0, ""), (1e-6, "10⁻⁶"), (1e6, "10⁶")])
def test_every_view_writes_the_same_numbers(factor, power):
    why = made(["a", " b", " c"], [2.0 * factor, -0.00054 * factor, -0.125 * factor])
    numbers = {"+2.00", "0.00", "−0.12"}
    matrix = AttributionMatrix("candidates", (why,))
    for figure in (why.bars(), aligned([why]), matrix.heatmap()):
        assert numbers <= set(words(figure))
    for text in (why.html(), matrix.html()):
        assert all(f">{number}<" in text for number in numbers)
    for text in (printed(table(why)), printed(matrix_table(matrix)), repr(why)):
        assert numbers <= set(text.split())
    unit = f"{power} nats".strip()
    for text in (*map(" ".join, map(words, (why.heatmap(), aligned([why]), matrix.heatmap()))), why.html(), repr(why),
                 printed(table(why)), printed(matrix_table(matrix)), why.bars().axes[0].get_xlabel()):  # fmt: skip
        assert unit in text
    for text in (why.html(), matrix.html(), *words(why.bars()), repr(why), printed(table(why))):
        assert "e-0" not in text
        assert "-0." not in text


def test_compared_methods_of_one_name_say_what_differs():
    one = made(["a"])
    both = [changed(one, method=f"IG(steps={steps}, fixed=None)") for steps in (1, 2)]
    assert {"IG (steps=1)", "IG (steps=2)"} <= set(words(compare(both)))
    assert words(compare(both[:1])).count("IG") == 1


def test_what_fills_html_is_text_unless_it_is_markup():
    text = "{x.__class__}<i>'\"&\u202e"
    assert fill("<b title='{x}'>{x}{y}</b>", x=text, y=Markup("<br>")) == (
        "<b title='{x.__class__}&lt;i&gt;&#39;&#34;&amp;[U+202E]'>{x.__class__}&lt;i&gt;&#39;&#34;&amp;[U+202E]<br></b>"
    )
