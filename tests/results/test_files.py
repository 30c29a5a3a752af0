"""Results as files: what older versions saved is read, and what is written has the permissions of any new file."""

import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import numpy
import pytest

from interpret import Attribution, AttributionMatrix, Flip, Reduction, Replacements
from interpret.results.files import FIGURES, WRITERS, endings, function_of, write_whole
from interpret.results.report import Report
from tests.results.making import changed, made

SAVED = Path(__file__).parent / "saved"  # by 0.2.0, the first three by a version before results named their method
KINDS = {
    "checked": Attribution,
    "candidates": AttributionMatrix,
    "flip": Flip,
    "reduction": Reduction,
    "replacements": Replacements,
    "report": Report,
}


def plain(name):
    return json.loads((SAVED / f"{name}.json").read_text(encoding="utf-8"))


def renamed(saved):
    """What an attribution saves now, as 0.2.0 and the version before it did."""
    newer = ("schema", "method_name", "start", "faithfulness", "settings")
    return {"held" if name == "fixed" else name: value for name, value in saved.items() if name not in newer}


def test_older_files_of_integrated_gradients_load():
    old, why = plain("integrated_gradients"), Attribution.load(SAVED / "integrated_gradients.json")
    assert renamed(json.loads(why.to_json())) == old
    assert why.method_name == "IntegratedGradients"
    assert why.method == old["method"]
    assert why.scores.tolist() == old["scores"]
    assert why.scores.dtype == numpy.float64
    assert (why.tokens, why.fixed) == (tuple(old["tokens"]), tuple(old["held"]))
    assert why.token_ids == tuple(map(tuple, old["token_ids"]))
    assert why.completeness.gap == old["completeness"]["gap"]
    assert list(why.path.slopes) == old["path"]["slopes"]
    assert why.target.foils[0].id == old["target"]["foils"][0]["id"]
    why.path_plot()


def test_older_files_of_totals_of_a_chat_load():
    old, why = plain("chat_by_word"), Attribution.load(SAVED / "chat_by_word.json")
    assert renamed(json.loads(why.to_json())) == old
    assert why.by == "word"
    assert [message.role for message in why.messages] == ["system", "user"]
    assert "totals by word" in why.facts
    with pytest.raises(ValueError, match="these are totals by word already"):
        why.totals("line")


def test_older_files_of_a_matrix_load():
    old, matrix = plain("candidates"), AttributionMatrix.load(SAVED / "candidates.json")
    assert [renamed(each) for each in json.loads(matrix.to_json())["attributions"]] == old["attributions"]
    assert {type(each) for each in matrix} == {Attribution}
    assert matrix[0].standard_error.tolist() == old["attributions"][0]["standard_error"]
    assert matrix.facts == "SmoothGrad"


def test_a_method_keeps_its_name():
    why = changed(made(["a"]), method="IntegratedGradients(steps=5)", method_name="integrated gradients")
    again = Attribution.from_json(why.to_json())
    assert (again.method, again.method_name) == (why.method, why.method_name)
    assert again.facts == "integrated gradients"
    spoken = changed(why, settings="from a line break, 5 midpoint steps")
    assert Attribution.from_json(spoken.to_json()).facts == "integrated gradients, from a line break, 5 midpoint steps"
    assert why.provenance()["method"] == "IntegratedGradients(steps=5)"


def test_edits_and_replacements_have_new_names():
    old, flip = plain("flip"), Flip.load(SAVED / "flip.json")
    assert [(each.position, each.old, each.new) for each in flip.edits] == [
        (each["place"], each["from"], each["to"]) for each in old["edits"]
    ]
    assert flip.sentence == old["sentence"]
    assert Replacements.load(SAVED / "replacements.json").position == plain("replacements")["place"]
    assert Report.load(SAVED / "report.json").failed_checks[0].id == plain("report")["doubts"][0]["id"]
    assert Attribution.load(SAVED / "checked.json").faithfulness.verdict == plain("checked")["faithfulness"]["verdict"]


@pytest.mark.parametrize(("name", "kind"), KINDS.items(), ids=str)
def test_what_is_written_is_plain_complete_and_read_again(name, kind):
    result = kind.load(SAVED / f"{name}.json")
    again = json.loads(result.to_json())
    assert again == result.to_dict()
    assert again["schema"] == 2
    assert set(kind.__dataclass_fields__) <= set(again)
    assert kind.from_dict(again).to_dict() == again
    for wrong in ({**again, "other": 1}, {"schema": 2}, {**again, "schema": 3}, [again], {**again, "schema": 2.5}):
        with pytest.raises(ValueError, match=f"this is not a saved {kind.__name__}: "):
            kind.from_json(json.dumps(wrong))


def test_results_load_save_and_print_without_torch(tmp_path):
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from interpret import Attribution, AttributionMatrix, Flip, Reduction, Replacements\n"
        "from interpret.results.report import Report\n"
        f"for name, kind in {{{', '.join(f'{name!r}: {kind.__name__}' for name, kind in KINDS.items())}}}.items():\n"
        f"    result = kind.load(Path({str(SAVED)!r}) / f'{{name}}.json')\n"
        "    print(result)\n"
        "    assert kind.from_json(result.to_json()).to_dict() == result.to_dict()\n"
        f"    kind.load(result.save(Path({str(tmp_path)!r}) / f'{{name}}.json'))\n"
        "    assert '<section' in result.html()\n"
        "assert 'torch' not in sys.modules, 'torch was loaded'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=SAVED.parents[2])
    assert done.returncode == 0, done.stderr
    assert [line.split(":")[0] for line in done.stdout.splitlines() if not line.startswith(" ")] == [
        kind.__name__ for kind in KINDS.values()
    ]


def test_the_table_of_writers_names_what_there_is(tmp_path):
    for kind, writers in WRITERS.items():
        assert all(callable(function_of(name)) for name in writers.values())
        assert endings(kind) == tuple(writers)
    result = Report.load(SAVED / "report.json")
    assert set(endings("Report")) == {".json", ".html", *FIGURES} - {".pgf"}
    for ending in endings("Report"):
        assert result.save(tmp_path / f"report{ending}").stat().st_size > 100
    with pytest.raises(ValueError, match=r"the ending must be one of \.json, \.html$"):
        Flip.load(SAVED / "flip.json").save(tmp_path / "flip.png")
    with pytest.raises(ValueError, match="is no figure, so it has no width"):
        result.save(tmp_path / "report.html", width=3)


def test_columns_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="these differ in length"):
        changed(made(["a", "b"]), labels=["a"])


def test_what_is_known_of_no_piece_is_none():
    assert made(["a"]).standard_error is None
    assert changed(made(["a", "b"]), error=[0.5, 0.25]).error.tolist() == [0.5, 0.25]


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_a_file_has_the_permissions_of_any_new_one(mask, tmp_path):
    before = os.umask(mask)
    try:
        written = write_whole(tmp_path / "why.json", lambda part: part.write_text("{}"))
        (tmp_path / "other").touch()
    finally:
        os.umask(before)
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (written, tmp_path / "other")]
    assert modes == [0o666 & ~mask] * 2


def test_a_thread_beside_it_writes_with_its_own_permissions(tmp_path, monkeypatch):
    """The umask is the whole process's: whoever changes it for a moment changes it for all threads."""
    monkeypatch.setattr(os, "umask", lambda mask: pytest.fail("the umask was touched"))
    done = threading.Event()

    def beside():
        number = 0
        while not done.is_set():
            (tmp_path / f"beside-{number}").touch()
            number += 1

    thread = threading.Thread(target=beside)
    thread.start()
    for number in range(50):
        write_whole(tmp_path / f"why-{number}.json", lambda part: part.write_text("{}"))
    done.set()
    thread.join()
    assert len({stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}) == 1
