"""The benchmark's table and the check of its targets; nothing is timed here."""

import pytest
import torch

from benchmarks import quick
from benchmarks.measuring import Size, in_turns
from benchmarks.report import COLUMNS, Line, Row, at_least, at_most, latest, share, table, times, write
from benchmarks.speed import MEASUREMENTS, Bench, Plan, batches, equality, main, measure, rank_correlation
from benchmarks.texts import Text, exactly, mixed
from interpret import GradientTimesInput, attribute
from nexttoken import NextTokenLM
from tests.builders import shared
from tests.conftest import gpt2


def test_targets_are_bounds_from_either_side():
    assert at_most(0.75).met(0.75)
    assert not at_most(0.75).met(0.76)
    assert at_least(2.5).met(2.5)
    assert not at_least(2.5).met(2.4)
    assert not at_most(0.75).met(float("nan"))
    assert not at_least(2.5).met(float("nan"))


def test_ratios_are_taken_the_way_their_target_is_meant():
    faster, smaller = (
        times("continuation", 10.0, 30.0, "s", at_least(2.5)),
        share("memory", 3e8, 9e8, "MB", at_most(0.3)),
    )
    assert (faster.figure, faster.reached) == (3.0, True)
    assert smaller.figure == pytest.approx(1 / 3)
    assert smaller.reached is False
    assert share("for information", 1.0, 2.0, "s").reached is None
    assert Row("without a figure", target=at_most(1)).reached is False


def test_the_table_shows_units_ratios_and_what_is_missed():
    rows = (
        times("continuation", 10.0, 31.25, "s", at_least(2.5), "beside captum"),
        share("memory", 3e8, 9e8, "MB", at_most(0.3)),
        share("rate", 135e9, 178e9, "GFLOP/s", at_least(0.8)),
        Row("a | b", note="only says something"),
    )
    page = table(
        [Line("point", rows, settings={"threads": 2}, date="2026-01-02T03:04:05+00:00", versions={"torch": "2"})]
    )
    assert "| " + " | ".join(COLUMNS) + " |" in page
    assert "| continuation | 10 s | 31.2 s | 3.12 peer / ours | at least 2.5 | yes | beside captum |" in page
    assert "| memory | 300 MB | 900 MB | 0.333 ours / peer | at most 0.3 | **no** |  |" in page
    assert "| rate | 135 GFLOP/s | 178 GFLOP/s | 0.758 ours / peer | at least 0.8 | **no** |  |" in page
    assert "1 of 3 targets are reached." in page
    assert "- point: 2026-01-02, threads 2; torch 2" in page
    assert "| a \\| b | – | – | – | – | – | only says something |" in page


def test_lines_are_kept_whole_and_the_last_of_each_counts(tmp_path):
    old, new = (Line("point", (share("gradient", ours, 2.0, "s", at_most(0.75)),), {"a": [1]}) for ours in (2.0, 1.0))
    other = Line("start", (Row("nexttoken --help"),))
    lines = [Line.from_json(line.to_json()) for line in (old, other, new)]
    assert lines == [old, other, new]
    assert latest(lines, ("start", "many", "point")) == [other, new]


def test_page_and_figures_are_written_and_small(tmp_path):
    seconds = {"ours": {"16": 0.05, "128": 0.4}, "captum": {"16": 0.07, "128": 0.52}}
    write(
        [Line("point", (), {"seconds": seconds}), Line("memory", (), {"bytes": {"ours": 3e8, "captum": 9e8}})], tmp_path
    )
    page = (tmp_path / "speed.md").read_text()
    for name in ("seconds.png", "memory.png"):
        assert 1000 < (tmp_path / name).stat().st_size < 200_000
        assert f"({name})" in page


def test_a_failing_measurement_is_a_missed_target(monkeypatch, tmp_path, capsys):
    def point(bench):
        raise AssertionError("scores differ")

    monkeypatch.setitem(MEASUREMENTS, "point", point)
    (row,) = measure("point", Bench(Plan(), 1)).rows
    assert row.reached is False
    assert row.note == "failed: AssertionError: scores differ"
    threads = torch.get_num_threads()
    assert main(["point", "--threads", str(threads), "--folder", str(tmp_path)]) == 1
    assert "scores differ" in (tmp_path / "speed.md").read_text()
    with pytest.raises(SystemExit):
        main(["points"])
    assert "there is no measurement 'points'" in capsys.readouterr().err


def test_scores_that_differ_miss_every_target():
    scores = torch.tensor([1.0, -2.0, 0.5])
    same, other = (scores, scores + 1e-5), (scores, scores + 1e-3)
    assert equality([same, same]) == ("scores equal to 5e-06", True)
    note, equal = equality([same, other])
    assert (note, equal) == ("SCORES DIFFER by 5e-04 of the largest; 1 of 2 are equal to 1e-04", False)
    assert times("faster, but not the same", 1.0, 9.0, "s", at_least(2), note, equal).reached is False
    judged, ours_hold = equality([same, other], lambda number: other[0])
    assert ours_hold
    assert judged == f"{note}; from float64, ours are off by 0e+00 there and the peer's by 5e-04"
    assert not equality([same, other], lambda number: other[1])[1]
    with pytest.raises(AssertionError, match="2 scores are to equal 3"):
        equality([(scores[:2], scores)])


def test_contenders_take_turns():
    order = []
    timings = in_turns({"a": lambda: order.append("a"), "b": lambda: order.append("b") or 7}, 3)
    assert order == ["a", "b"] * 3
    assert timings["b"].result == 7
    assert len(timings["a"].seconds) == 3
    assert timings["a"].median > 0


def test_rank_correlation_on_paper():
    scores = torch.tensor([3.0, -1.0, 2.0, 0.0])
    assert rank_correlation(scores, scores.exp()) == pytest.approx(1)
    assert rank_correlation(scores, -scores) == pytest.approx(-1)
    assert rank_correlation(scores, torch.tensor([3.0, -1.0, 0.0, 2.0])) == pytest.approx(0.8)


def test_operations_of_a_gradient(tokenizer):
    """GPT-2: 12 d^2 + 13 d a layer, two norms' 2 d beside, 2 d of the last norm; positions count as the body's."""
    lm = NextTokenLM.from_pretrained(gpt2(torch.float32, layers=2), tokenizer)
    body = 2 * (12 * 16**2 + 13 * 16) + 2 * 16 + 64 * 16
    assert Size.of(lm) == Size(body, 2, 16, 400)
    assert Size(100, 1, 4, 10).matrices(8) == 4 * 100 * 8
    assert Size(100, 1, 4, 10).gradient(8) == 4 * 100 * 8 + 6 * 4 * 8**2 + 4 * 10 * 4


def test_batch_sizes_fill_rows_of_tokens():
    assert batches(16) == [8, 16, 32]
    assert batches(512) == [1]


def test_texts_have_exact_lengths_and_mixed_ones_differ(tiny):
    words = ["one", "two", "three", "four"]
    for count in range(1, 4):
        tokens = len(tiny.vocab.encode(" ".join(words[:count])).ids)
        assert exactly(tiny, words, tokens, "") == " ".join(words[:count])
    assert exactly(tiny, words, 10_000, "") == ""
    prompts = mixed(200)
    assert len(set(prompts)) == 200
    assert mixed(200) == prompts


def test_what_got_slower_by_a_tenth_is_named():
    lines = [
        {"machine": "one", "threads": 2, "ratios": {"a": 1.0}}, {"machine": "two", "threads": 2, "ratios": {"a": 9.0}},
        {"machine": "one", "threads": 1, "ratios": {"a": 5.0}}, {"machine": "one", "threads": 2, "ratios": {"a": 2.0}},
    ]  # fmt: skip
    assert quick.last(lines, "one", 2) is lines[3]
    assert quick.last(lines, "three", 2) is None
    now = {"a": 2.3, "b": 4.0, "new": 9.0}
    assert quick.slower(now, {"a": 2.0, "b": 3.9}) == ["a: 2.30, before 2.00 (+15%)"]
    assert quick.slower({"a": 2.19}, {"a": 2.0}) == []


def test_a_ratio_is_taken_to_what_runs_beside_it():
    order = []
    runs = {"one": lambda: order.append("one"), "two": lambda: order.append("two")}
    found = quick.beside(runs, lambda: order.append("by hand"), 2)
    assert set(found) == {"one", "two"}
    assert order[3:7] == ["by hand", "one", "by hand", "two"]


def test_the_gradient_by_hand_is_ours():
    lm = shared(gpt2)
    text = Text("", (3, 5, 7, 11), "", (13,))
    found = attribute(lm, text.ids, 13, GradientTimesInput()).scores
    embeddings = lm.language_model_head.get_input_embeddings()(torch.tensor(text.ids))
    torch.testing.assert_close((quick.by_hand(lm, text)[0] * embeddings).sum(-1).detach(), torch.as_tensor(found))
