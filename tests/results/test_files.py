"""Results as files: what older versions saved is read, and what is written has the permissions of any new file."""

import json
import os
import stat
import threading
from pathlib import Path

import pytest
import torch

from interpret import Attribution, AttributionMatrix
from interpret.results.files import write_whole
from interpret.results.matrix import ScoreMatrix
from interpret.results.scores import Scores
from tests.results.making import changed, grid, made

SAVED = Path(__file__).parent / "saved"  # by the version before results named their method


def plain(name):
    return json.loads((SAVED / f"{name}.json").read_text(encoding="utf-8"))


def unnamed(saved):
    """What a result saves, without what older versions did not know."""
    newer = ("method_name", "start", "faithfulness", "settings")
    return {name: value for name, value in saved.items() if name not in newer}


def test_older_files_of_integrated_gradients_load():
    old, why = plain("integrated_gradients"), Attribution.load(SAVED / "integrated_gradients.json")
    assert unnamed(json.loads(why.to_json())) == old
    assert why.method_name == "IntegratedGradients"
    assert why.method == old["method"]
    assert why.scores.tolist() == old["scores"]
    assert why.scores.dtype == torch.float64
    assert (why.tokens, why.fixed) == (tuple(old["tokens"]), tuple(old["fixed"]))
    assert why.token_ids == tuple(map(tuple, old["token_ids"]))
    assert why.completeness.gap == old["completeness"]["gap"]
    assert list(why.path.slopes) == old["path"]["slopes"]
    assert why.target.foils[0].id == old["target"]["foils"][0]["id"]
    why.path_plot()


def test_older_files_of_totals_of_a_chat_load():
    old, why = plain("chat_by_word"), Attribution.load(SAVED / "chat_by_word.json")
    assert unnamed(json.loads(why.to_json())) == old
    assert why.by == "word"
    assert [message.role for message in why.messages] == ["system", "user"]
    assert "totals by word" in why.facts
    with pytest.raises(ValueError, match="these are totals by word already"):
        why.totals("line")


def test_older_files_of_a_matrix_load():
    old, matrix = plain("candidates"), AttributionMatrix.load(SAVED / "candidates.json")
    assert [unnamed(each) for each in json.loads(matrix.to_json())["attributions"]] == old["attributions"]
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


def test_results_are_data_that_views_are_put_on():
    one, matrix = made(["a", " b"]), grid(2, 3)
    data, rows = Scores.from_dict(one.to_dict()), ScoreMatrix.from_dict(matrix.to_dict())
    assert (type(data), {type(each) for each in rows}) == (Scores, {Scores})
    assert type(data.totals("line")) is Scores
    assert type(one.totals("line")) is Attribution
    assert not hasattr(data, "heatmap")


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
