"""What a corpus says, against answers on paper and an independent oracle; and its views."""

import json
import statistics
import tracemalloc

import pytest
from scipy import stats
from typer.testing import CliRunner

from interpret import GradientTimesInput, VanillaGradient
from interpret.cli import app
from interpret.corpus import Report, explain_columns, report, write_columns
from interpret.corpus import summary as summary_room
from interpret.corpus import table as table_room
from nexttoken import NextTokenLM
from tests.conftest import gpt2, trained_tokenizer

PROMPTS = ["The keys to the cabinet", "the cats near the dog", "The dog", "The cats are on the table", "keys"]


@pytest.fixture(scope="module")
def lm():
    return NextTokenLM.from_pretrained(gpt2(), trained_tokenizer())


def columns_of(lm, prompts, **columns):
    rows = {"id": [f"r{number}" for number in range(len(prompts))], "prompt": prompts, **columns}
    return explain_columns(lm, rows, GradientTimesInput())


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def test_means_errors_and_rates_are_those_of_an_oracle(lm, folder):
    """Each piece has its number as its score, so that every mean can be written down."""
    columns = columns_of(lm, [f"{prompt} are" for prompt in PROMPTS], target=[" on"] * len(PROMPTS))
    columns["scores"] = [[float(number + 1) for number in range(len(each))] for each in columns["scores"]]
    write_columns(columns, folder / "0.parquet")
    found = report(folder, min_rows=2, top=100)
    assert (found.rows, found.errors, found.others) == (5, {}, 0)
    (target,) = found.targets
    assert (target.target, target.foils, target.rows, target.by_role) == (" on", (), 5, ())
    expected = {}
    for pieces, scores in zip(columns["pieces"], columns["scores"], strict=True):
        text, starts, own = "".join(pieces), [], {}
        for piece in pieces:
            starts.append(sum(map(len, pieces[: len(starts)])) + len(piece) - len(piece.lstrip()))
        words, at = text.split(), 0
        for word in words:
            start = text.index(word, at)
            at = start + len(word)
            inside = [score for begin, score in zip(starts, scores, strict=True) if start <= begin < at]
            own[word.lower()] = own.get(word.lower(), 0.0) + sum(inside)
        for word, score in own.items():
            expected.setdefault(word, []).append(score)
    several = {word: scores for word, scores in expected.items() if len(scores) >= 2}
    words = {word.text: word for word in target.words}
    assert set(words) == set(several)
    assert found.left_out == len(expected) - len(several)
    rates = stats.false_discovery_control([stats.ttest_1samp(scores, 0.0).pvalue for scores in several.values()])
    for (name, scores), rate in zip(several.items(), rates, strict=True):
        word = words[name]
        assert word.rows == len(scores)
        assert word.mean == pytest.approx(statistics.fmean(scores))
        assert word.standard_error == pytest.approx(statistics.stdev(scores) / len(scores) ** 0.5)
        assert word.q == pytest.approx(rate)
        assert word.examples[0].score == max(scores, key=abs)
    assert found.looked_at == len(several)
    example = words["cats"].examples[0]
    assert f"{example.before}{example.text}{example.after}" in [f"{prompt} are" for prompt in PROMPTS]
    assert example.text.strip() == "cats"


def test_targets_roles_errors_and_others_are_kept_apart(lm, folder):
    chats = [json.dumps([{"role": "system", "content": "the dog"}, {"role": "user", "content": "the cats"}])] * 3
    rows = {
        "id": [f"r{number}" for number in range(8)],
        "prompt": [None, None, None, "the dog is", "the dog was", "", "", "x" * 4000],
        "messages": [*chats, None, None, None, None, None],
        "target": [" a", " a", " a", " b", " c", None, None, None],
        "contrast": [" b", " b", " b", None, None, None, None, None],
    }
    write_columns(explain_columns(lm, rows, GradientTimesInput()), folder / "0.parquet")
    found = report(folder, min_rows=2, targets=1)
    assert (found.rows, sum(found.errors.values()), found.others) == (8, 3, 2)
    (target,) = found.targets
    assert (target.target, target.foils, target.rows) == (" a", (" b",), 3)
    roles = {(word.role, word.text) for word in target.by_role}
    assert {("system", "dog"), ("user", "cats")} <= roles
    assert ("user", "dog") not in roles
    assert "3 of 8 rows could not be explained" in found.sentence


def test_unsigned_scores_are_counted_by_piece(lm, folder):
    rows = {"id": ["a", "b", "c"], "prompt": PROMPTS[:3], "target": [" on"] * 3}
    write_columns(explain_columns(lm, rows, VanillaGradient()), folder / "0.parquet")
    assert all(word.mean > 0 for word in report(folder, min_rows=2).targets[0].words)


def test_it_is_the_same_whatever_the_files(lm, folder, tmp_path):
    columns = columns_of(lm, PROMPTS)
    write_columns(columns, folder / "0.parquet")
    (tmp_path / "two").mkdir()
    for name, part in (("a", slice(0, 2)), ("b", slice(2, None))):
        write_columns({key: values[part] for key, values in columns.items()}, tmp_path / "two" / f"{name}.parquet")
    one, two = report(folder, min_rows=2).to_dict(), report(tmp_path / "two", min_rows=2).to_dict()
    assert {**one, "source": ""} == {**two, "source": ""}


def test_memory_does_not_grow_with_the_rows(lm, folder, monkeypatch):
    """Five times the rows, each with a word of its own: the same peak, since the rarest words go."""
    monkeypatch.setattr(summary_room, "MAX_WORDS", 50)
    monkeypatch.setattr(table_room, "ROWS_PER_BATCH", 20)
    (one,) = ({name: values[0] for name, values in columns_of(lm, ["the keys are"], target=[" on"]).items()},)
    peaks = []
    for rows in (100, 500):
        pieces = [[*one["pieces"][:-1], f" word{number}"] for number in range(rows)]
        many = {name: [value] * rows for name, value in one.items()}
        many |= {"id": [str(number) for number in range(rows)], "pieces": pieces}
        write_columns({**many, "prompt": ["".join(each) for each in pieces]}, folder / "0.parquet")
        report(folder, min_rows=2, progress=False)  # what is imported when first used
        tracemalloc.start()
        found = report(folder, min_rows=2, progress=False)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert found.rows == rows
        assert found.left_out == rows  # the words of one row each, whether they were forgotten or not
        assert {word.text for word in found.targets[0].words} == {"the", "keys"}
    assert peaks[1] < 1.3 * peaks[0]


def test_views_and_files(lm, folder, tmp_path):
    columns = columns_of(lm, [f"<b>{prompt} & co" for prompt in PROMPTS], target=[" on"] * 5)
    columns["gap"] = [0.002, 0.03, 0.3, 2.0, None]
    columns["verdict"] = ["passes", "fails", "undecided", "fails", None]
    columns["check"] = ["fine", "bad <i>", "who knows", "bad", None]
    write_columns(columns, folder / "0.parquet")
    found = report(folder, min_rows=2)
    assert found.verdicts == {"fails": 2, "passes": 1, "undecided": 1}
    assert [failed.id for failed in found.failed_checks] == ["r1", "r3"]
    assert sum(count for _, count in found.gaps) == 4
    assert found.gaps[-1] == (None, 1)
    assert "2 of 4 maps that were checked fail their check (50 %)" in found.sentence
    again = Report.from_json(found.to_json())
    assert again.to_dict() == found.to_dict()
    assert "<i>" not in found.html()
    assert "bad &lt;i&gt;" in found.html()
    for ending in ("html", "json", "png", "pdf", "svg"):
        assert found.save(tmp_path / f"report.{ending}").stat().st_size > 1000
    with pytest.raises(ValueError, match="the ending must be one of"):
        found.save(tmp_path / "report.txt")
    with pytest.raises(ValueError, match="there is no target number 3"):
        found.figure(3)
    with pytest.raises(ValueError, match="this is not a saved Report"):
        Report.from_dict({"rows": 3})
    axes = found.figure(top=4).axes[0]
    assert len(axes.get_yticklabels()) == 4


def test_nothing_but_errors_is_a_report_too(lm, folder):
    write_columns(columns_of(lm, ["", ""]), folder / "0.parquet")
    found = report(folder)
    assert found.targets == ()
    assert "2 of 2 rows could not be explained" in found.sentence
    assert "could not be explained" in found.html()
    with pytest.raises(ValueError, match="there is no target number 0"):
        found.figure()


def test_what_is_no_output_is_said(folder, tmp_path):
    import pyarrow
    import pyarrow.parquet

    with pytest.raises(ValueError, match="no Parquet files"):
        report(folder)
    pyarrow.parquet.write_table(pyarrow.table({"id": ["a"], "prompt": ["b"]}), folder / "0.parquet")
    with pytest.raises(ValueError, match="is no output of a corpus: it has no column error"):
        report(folder)
    (folder / "0.parquet").write_bytes(b"PAR1 half of a file")
    with pytest.raises(ValueError, match="was cut short, as its run was"):
        report(folder)
    with pytest.raises(ValueError, match="min_rows is at least 2"):
        report(tmp_path, min_rows=1)


def test_the_command_prints_and_saves_it(lm, folder, tmp_path):
    write_columns(columns_of(lm, PROMPTS, target=[" on"] * 5), folder / "0.parquet")
    arguments = ["corpus", "report", str(folder), "--min-rows", "2", "--save", str(tmp_path / "r.html")]
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    assert "For ' on', over 5 prompts" in result.output
    assert (tmp_path / "r.html").exists()
    printed = CliRunner().invoke(app, [*arguments[:5], "--format", "json"])
    assert json.loads(printed.stdout)["rows"] == 5
    refused = CliRunner().invoke(app, [*arguments[:5], "--by", "letter"])
    assert refused.exit_code == 2
    assert "is not one of 'word', 'piece'" in refused.output
