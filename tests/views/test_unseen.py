"""Characters that nobody sees, in every view and file."""

import io

import pytest
from rich.console import Console

from interpret import compare
from interpret.views.fonts import drawable
from interpret.views.terminal import running_text, table
from tests.results.making import made

UNSEEN = [
    "\ufeff",
    "\u200b",
    "\u00ad",
    "\ufe0f",
    "\u0301",
    "\x00",
    "\u202e",
    "\u2028",
    "\u3164",
    "\U000e0001",
    "\ufffe",
]


@pytest.mark.parametrize("character", UNSEEN, ids=lambda character: f"U+{ord(character):04X}")
def test_it_breaks_no_view(character):
    tokens = [character + "The", character, " keys" + character, "a" + character + "b", character * 2]
    why = made(tokens, [0.5, -1, 0.25, 0.1, 0.2])
    for figure in (why.heatmap(), why.bars(), compare([why])):
        figure.savefig(io.BytesIO(), format="pdf")
    console = Console(file=io.StringIO(), width=60)
    console.print(running_text(why, None), table(why, None))
    assert "keys" in console.file.getvalue()
    assert "keys" in why.html()
    assert "keys" in repr(why)


def test_a_byte_order_mark_is_left_out_of_a_figure_and_named_where_it_stands_alone():
    assert drawable("\ufeffThe") == "The"
    assert "[U+FEFF]" in made(["\ufeff", "The"]).html()


def test_a_kind_of_file_that_needs_another_program_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"xelatex is not there: install TeX Live, or save it as .pdf"):
        made(["The", " keys"]).save(tmp_path / "why.pgf")
    with pytest.raises(ValueError, match="the ending must be one of"):
        made(["The"]).save(tmp_path / "why.eps")
    assert list(tmp_path.iterdir()) == []
