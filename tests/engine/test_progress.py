"""The bar: where somebody looks, while the work lasts."""

import sys

import pytest

from interpret.engine.progress import progress


@pytest.fixture
def terminal(monkeypatch):
    """Makes a terminal of standard error."""
    return lambda: monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)


def test_nothing_is_written_where_nobody_looks(capsys):
    with progress(3, "gradients") as advance:
        advance(3)
    assert capsys.readouterr() == ("", "")


def test_a_bar_is_gone_when_the_work_is_done(terminal, capsys):
    terminal()
    with progress(3, "gradients") as advance:
        advance(2)
    written = capsys.readouterr()
    assert written.out == ""
    assert "gradients:" in written.err
    assert "0/3" in written.err
    assert written.err.rpartition("\r")[0].rpartition("\r")[2].strip() == ""  # overwritten by spaces
    assert "\n" not in written.err


def test_a_bar_of_an_unknown_number_counts(terminal, capsys):
    terminal()
    with progress(None, "prompts"):
        pass
    assert "prompts: 0" in capsys.readouterr().err


def test_no_bar_is_asked_for_or_the_work_is_quick(terminal, capsys):
    terminal()
    with progress(3, "gradients", shown=False) as advance:
        advance(3)
    with progress(3, "gradients", delay=60) as advance:
        advance(3)
    assert capsys.readouterr().err.strip() == ""


def test_a_bar_is_gone_after_an_error(terminal, capsys):
    terminal()
    with pytest.raises(ZeroDivisionError), progress(3, "gradients"):
        raise ZeroDivisionError
    assert "\n" not in capsys.readouterr().err


def test_in_a_notebook_it_is_a_widget_that_closes_without_blame(monkeypatch):
    """It takes fewer gradients than at most, and nothing red is left."""
    import tqdm.auto
    from tqdm.notebook import tqdm as notebook

    made = []

    class Kept(notebook):
        def __init__(self, *args, **options):
            super().__init__(*args, **options, display=False)
            made.append(self)

    monkeypatch.setattr(tqdm.auto, "tqdm", Kept)
    with progress(256, "gradients") as advance:
        advance(17)
    assert made[0].container.children[1].bar_style != "danger"
    assert made[0].container.comm is None
