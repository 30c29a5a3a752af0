"""The work on a corpus without an engine: every row comes back, explained as Python does it, or with its error."""

import gzip
import json

import pytest

from interpret import Attribution, GradientTimesInput, IntegratedGradients, attribute
from interpret.corpus.table import OUTPUT, attribution_of, read_corpus, read_rows, write_columns
from interpret.corpus.work import explain_columns
from nexttoken import NextTokenLM
from tests.conftest import gpt2, trained_tokenizer


@pytest.fixture(scope="module")
def lm():
    return NextTokenLM.from_pretrained(gpt2(), trained_tokenizer())


ROWS = [
    {"id": "a", "prompt": "The keys to the cabinet"},
    {"id": "b", "prompt": "The cats near", "target": " dog", "contrast": " cats"},
    {"id": "c", "prompt": "The cats near the dog", "region": "cats"},
    {"id": "d", "messages": [{"role": "user", "content": "the cats"}]},
    {"id": "e", "prompt": "The keys", "continuation": " are on"},
    {"id": "f", "prompt": ""},
    {"id": "g"},
    {"id": "h", "prompt": "The", "target": " not one token at all"},
    {"id": "i", "prompt": "The", "messages": "[]"},
    {"id": "j", "messages": '[{"role": "user", "content": "hi"}]'},
    {"id": "k", "prompt": "x " * 200},
]


def columns_of(rows):
    names = ("id", "prompt", "messages", "target", "contrast", "region", "continuation")
    return {name: [row.get(name) for row in rows] for name in names}


@pytest.mark.filterwarnings("ignore:the prompt ends in a space")
@pytest.mark.parametrize("method", [None, GradientTimesInput(), IntegratedGradients(steps=4)])
def test_every_row_is_explained_as_python_does_it_or_says_why_not(lm, method):
    found = explain_columns(lm, columns_of(ROWS), method)
    assert list(found) == list(OUTPUT)
    assert found["id"] == [row["id"] for row in ROWS]
    rows = {row["id"]: {name: found[name][number] for name in found} for number, row in enumerate(ROWS)}
    assert {name for name, row in rows.items() if row["error"]} == {"f", "g", "h", "i", "k"}
    assert "the prompt is empty" in rows["f"]["error"] or "neither" in rows["f"]["error"]
    assert "tokens after this prompt" in rows["h"]["error"]
    for name, expected in {
        "a": attribute(lm, ROWS[0]["prompt"], None, method),
        "b": attribute(lm, ROWS[1]["prompt"], " dog", method, contrast=" cats"),
        "c": attribute(lm, ROWS[2]["prompt"], None, method, region="cats"),
        "d": attribute(lm, ROWS[3]["messages"], None, method),
    }.items():
        again = attribution_of(rows[name])
        assert isinstance(again, Attribution)
        assert again.scores.tolist() == pytest.approx(expected.scores.tolist(), abs=1e-9)
        assert {**again.to_dict(), "scores": 0, "error": 0, "completeness": 0, "path": 0, "target": 0} == {
            **expected.to_dict(), "scores": 0, "error": 0, "completeness": 0, "path": 0, "target": 0,
        }  # fmt: skip
        assert rows[name]["target"] == expected.target.text
    assert rows["e"]["target"] == " are on"
    with pytest.raises(ValueError, match="was not explained"):
        attribution_of(rows["f"])


def test_scores_do_not_depend_on_the_other_rows(lm):
    rows = [{"id": str(number), "prompt": "The keys to the cabinet are"[: 5 + number].rstrip()} for number in range(18)]
    together = explain_columns(lm, columns_of(rows))
    for number in (0, 7, 17):
        alone = explain_columns(lm, columns_of(rows[number : number + 1]))
        assert alone["scores"][0] == pytest.approx(together["scores"][number], abs=1e-9)


def test_checked_rows_have_a_verdict(lm):
    found = explain_columns(lm, columns_of(ROWS[:2]), check=True)
    assert all(each in ("passes", "fails", "undecided") for each in found["verdict"])
    assert attribution_of({name: values[0] for name, values in found.items()}).faithfulness is not None


def test_columns_must_fit(lm):
    with pytest.raises(ValueError, match="of one length"):
        explain_columns(lm, {"id": ["a"], "prompt": ["x", "y"]})
    with pytest.raises(ValueError, match="an id for each row"):
        explain_columns(lm, {"prompt": ["x"]})


def test_files_of_every_kind_are_read(tmp_path):
    import pyarrow
    import pyarrow.ipc
    import pyarrow.parquet

    rows = [{"id": "a", "prompt": "one, two\nthree"}, {"id": "b", "prompt": "Ünï"}]
    (tmp_path / "x.jsonl").write_text("\ufeff" + "\n\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    (tmp_path / "x.csv").write_text('id,prompt\na,"one, two\nthree"\nb,Ünï\n', encoding="utf-8")
    table = pyarrow.Table.from_pylist(rows)
    pyarrow.parquet.write_table(table, tmp_path / "x.parquet")
    (tmp_path / "folder").mkdir()
    pyarrow.parquet.write_table(table, tmp_path / "folder" / "0.parquet")
    saved = tmp_path / "saved"
    saved.mkdir()
    with pyarrow.ipc.new_stream(saved / "data.arrow", table.schema) as stream:
        stream.write_table(table)
    (saved / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data.arrow"}]}))
    (tmp_path / "list.json").write_text(json.dumps(rows, indent=2), encoding="utf-8")
    for name in ("x.jsonl", "x.csv"):
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress((tmp_path / name).read_bytes()))
    for name in ("x.jsonl", "x.csv", "x.parquet", "folder", "saved", "list.json", "x.jsonl.gz", "x.csv.gz"):
        found = list(read_rows(tmp_path / name))
        assert [(row["id"], row["prompt"]) for row in found] == [(row["id"], row["prompt"]) for row in rows], name


def test_a_broken_line_is_a_row_with_its_fault(lm, tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"prompt": "a"}\n{"prompt": \n[1]\n\xff\xfe\n{"prompt": "b"}\n')
    rows = list(read_rows(path))
    assert [row["id"] for row in rows] == ["0", "1", "2", "3", "4"]
    assert [row["fault"] is not None for row in rows] == [False, True, True, True, False]
    assert "line 2 is not JSON" in rows[1]["fault"]
    found = explain_columns(lm, {name: [row[name] for row in rows] for name in rows[0]})
    assert found["error"] == [row["fault"] for row in rows]


def test_what_cannot_be_read_is_said(tmp_path):
    (tmp_path / "several").mkdir()
    (tmp_path / "several" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    with pytest.raises(ValueError, match="give the folder of one of them: train, test"):
        list(read_rows(tmp_path / "several"))
    (tmp_path / "x.json").write_text('[{"prompt": "a"},')
    with pytest.raises(ValueError, match=r"cannot read '.*x.json': Expecting value"):
        list(read_rows(tmp_path / "x.json"))
    (tmp_path / "y.json").write_text('[{"prompt": "a"}, 3]')
    assert list(read_rows(tmp_path / "y.json"))[1]["fault"] == "entry 1 is no JSON object"
    (tmp_path / "x.txt").write_text("a")
    with pytest.raises(ValueError, match="the ending must be one of"):
        list(read_rows(tmp_path / "x.txt"))


@pytest.mark.parametrize("name", ["x.parquet", "x.jsonl.gz", "x.csv.gz"])
@pytest.mark.parametrize("part", [0, 30, -8])
def test_a_damaged_file_is_named(name, part, tmp_path):
    whole = tmp_path / f"whole-{name}"
    if name.endswith("gz"):
        whole.write_bytes(gzip.compress(b'{"prompt": "The keys"}\n' * 50))
    else:
        arrow = pytest.importorskip("pyarrow")
        pytest.importorskip("pyarrow.parquet").write_table(arrow.table({"prompt": ["The keys"] * 50}), whole)
    (tmp_path / name).write_bytes(whole.read_bytes()[:part])
    if part == 0 and name != "x.parquet":
        assert list(read_rows(tmp_path / name)) == []
        return
    with pytest.raises((ValueError, OSError), match=r"cannot read .*x\."):
        list(read_rows(tmp_path / name))


def test_ids_that_come_twice_are_refused(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"id": 1, "prompt": "a"}\n{"id": "1", "prompt": "b"}\n')
    with pytest.raises(ValueError, match="the id '1' comes twice"):
        list(read_rows(tmp_path / "x.jsonl"))


def test_a_folder_of_results_is_read_back(lm, tmp_path):
    rows = columns_of(ROWS[:3] + ROWS[5:7])
    write_columns(explain_columns(lm, rows), tmp_path / "part-0.parquet")
    write_columns(explain_columns(lm, columns_of(ROWS[3:5])), tmp_path / "part-1.parquet")
    found = dict(read_corpus(tmp_path))
    assert list(found) == ["a", "b", "c", "f", "g", "d", "e"]
    assert isinstance(found["a"], Attribution)
    assert found["a"].scores.tolist() == pytest.approx(attribute(lm, ROWS[0]["prompt"]).scores.tolist(), abs=1e-9)
    assert isinstance(found["f"], str)
    with pytest.raises(ValueError, match="no Parquet files"):
        dict(read_corpus(tmp_path / "nothing"))


def test_a_corpus_that_version_0_2_wrote_is_read_back(lm, tmp_path):
    """There the column `fixed` was called `held`."""
    parquet = pytest.importorskip("pyarrow.parquet")
    write_columns(explain_columns(lm, columns_of(ROWS[2:3])), tmp_path / "0.parquet")
    ((_, expected),) = read_corpus(tmp_path)
    table = parquet.read_table(tmp_path / "0.parquet")
    names = ["held" if name == "fixed" else name for name in table.column_names]
    parquet.write_table(table.rename_columns(names), tmp_path / "0.parquet")
    ((_, found),) = read_corpus(tmp_path)
    assert True in found.fixed
    assert found.to_dict() == expected.to_dict()


def test_other_programs_read_it(lm, tmp_path):
    import pandas

    write_columns(explain_columns(lm, columns_of(ROWS[:2])), tmp_path / "rows.parquet")
    frame = pandas.read_parquet(tmp_path / "rows.parquet")
    assert list(frame.columns) == list(OUTPUT)
    assert "".join(frame.pieces[0]) == ROWS[0]["prompt"]
    assert frame["rank"].tolist() == [1, attribute(lm, "The cats near", " dog").target.rank]
