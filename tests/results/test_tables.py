"""Scores as tables: read whole by other programs with their usual settings, from files with any name."""

import csv
import io
from pathlib import Path

import pandas
import pytest

import interpret
from interpret import Attribution, AttributionMatrix, GradientTimesInput, attribute, attribute_candidates, page
from interpret.views.spreadsheet import tsv
from tests.results.making import made

TOKENS = [
    "The", ' "', '"', "a\tb", "\n", "null", "NA", "007", "=1+1", "-", " ", "'", '""', "a,b", "\\", "1e5", "True", "+3",
    "é", "", ";", "\r\n", " keys",
]  # fmt: skip


def why():
    return made(TOKENS, [0.5 - place / 8 for place in range(len(TOKENS))], fixed=[True] + [False] * (len(TOKENS) - 1))


def test_a_csv_reader_with_its_usual_settings_reads_every_row():
    rows = list(csv.DictReader(io.StringIO(tsv(why())), delimiter="\t"))
    assert len(rows) == len(TOKENS)
    plain = [token for token in TOKENS if token.isprintable() and "\\" not in token]
    assert [row["piece"] for row in rows if row["piece"] in plain] == plain
    assert [float(row["score"]) for row in rows] == why().scores.tolist()
    assert len(tsv(why()).splitlines()) == len(TOKENS) + 1  # a line for each row


def test_a_csv_file_has_every_text_as_it_is(tmp_path):
    path = why().save(tmp_path / "WHY.CSV")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["piece"] for row in rows] == TOKENS
    assert [float(row["score"]) for row in rows] == why().scores.tolist()
    assert [row["fixed"] for row in rows] == ["true"] + ["false"] * (len(TOKENS) - 1)


def test_pandas_reads_both_as_documented(tmp_path):
    texts = {"keep_default_na": False, "dtype": {"piece": str, "ids": str}}
    found = pandas.read_csv(why().save(tmp_path / "why.csv"), **texts)
    assert found["piece"].tolist() == TOKENS
    assert found["score"].tolist() == why().scores.tolist()
    found = pandas.read_csv(why().save(tmp_path / "why.tsv"), sep="\t", **texts)
    assert len(found) == len(TOKENS)
    assert found["piece"][5:9].tolist() == ["null", "NA", "007", "=1+1"]
    assert len(pandas.read_csv(tmp_path / "why.tsv", sep="\t")) == len(TOKENS)  # whole with its usual settings, too


def test_a_frame_has_numbers_and_truths():
    frame = why().to_frame()
    assert frame["piece"].tolist() == TOKENS
    assert frame["score"].isna().tolist() == [True] + [False] * (len(TOKENS) - 1)
    assert frame["score"][1:].tolist() == why().scores.tolist()[1:]
    assert frame["fixed"].dtype == bool
    matrix = AttributionMatrix("candidates", (why(), why()))
    frame = matrix.to_frame()
    assert len(frame) == 2 * len(TOKENS)
    assert frame.columns.tolist()[-1] == "target"


def test_without_pandas_a_frame_says_what_it_needs(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(ImportError, match="to_frame needs the package pandas; run: pip install pandas"):
        why().to_frame()


@pytest.mark.parametrize(
    "name", ["why.json", "why.html", "why.csv", "why.tsv", "why.png", "WHY.PDF", "Why.Svg", "W.JSON"]
)
def test_a_tilde_is_the_home_folder_and_endings_have_any_case(monkeypatch, tmp_path, tiny, name):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    one = attribute(tiny, "The keys", 69, GradientTimesInput())
    for result in (one, attribute_candidates(tiny, "The keys", 2, method=GradientTimesInput())):
        path = result.save(f"~/{name}")
        assert path == tmp_path / name
        assert path.stat().st_size > 100
    if name.lower().endswith("json"):
        one.save(f"~/{name}")
        assert Attribution.load(f"~/{name}").scores.tolist() == one.scores.tolist()


def test_other_files_in_the_home_folder(monkeypatch, tmp_path, tiny):
    monkeypatch.setenv("HOME", str(tmp_path))
    one = attribute(tiny, "The keys", 69, GradientTimesInput())
    assert page([one], "~/all.HTML") == tmp_path / "all.HTML"
    assert interpret.save_figure(one.bars(), "~/bars.pdf") == tmp_path / "bars.pdf"
    one.heatmap().savefig("~/map.svg")
    assert (tmp_path / "map.svg").exists()
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        one.save(Path("~") / "nowhere" / "why.json")


def test_a_file_that_windows_saved_is_loaded(tmp_path):
    path = tmp_path / "why.json"
    path.write_text(why().to_json(), encoding="utf-8-sig")
    assert Attribution.load(path).scores.tolist() == why().scores.tolist()
