"""A corpus on Ray Data, run as users run it: in a process that is killed, interrupted, left without disk or a node."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from interpret.corpus import explain, explain_columns, read_corpus, read_rows
from interpret.corpus.schema import attribution_of
from interpret.corpus.state import RunFolder
from nexttoken import NextTokenLM
from tests.conftest import gpt2, trained_tokenizer

TEXT = "The keys to the cabinet are on the table near the dog and the cats are in the house"
LIMIT = 400  # seconds, after which a run hangs


def write_rows(path, count):
    rows = [{"id": f"row {number}", "prompt": TEXT[: 8 + 7 * number % 60].rstrip()} for number in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [row["id"] for row in rows]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    gpt2().float().save_pretrained(folder)
    trained_tokenizer().save_pretrained(folder)
    return folder


def command(source, out, model, *options):
    return [sys.executable, "-m", "interpret.cli", "corpus", str(source), str(out), "--model", str(model), *options]


def start(*arguments):
    return subprocess.Popen(
        command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def run(*arguments, env=None):
    done = subprocess.run(command(*arguments), capture_output=True, text=True, timeout=LIMIT, check=False, env=env)
    return done.returncode, done.stdout + done.stderr


def finished(out):
    return {path.name for path in Path(f"{out}.run/checkpoint").glob("*") if "pending" not in path.name}


def wait_for_more(out, process, before, more=2):
    """Until some more blocks are finished."""
    end = time.monotonic() + LIMIT
    while len(finished(out)) < before + more:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end
        time.sleep(0.05)


def assert_whole(out, source, model):
    """Each id once, with the scores that the same rows have without any engine."""
    found = list(read_corpus(out))
    rows = list(read_rows(source))
    assert sorted(own for own, _ in found) == sorted(row["id"] for row in rows)
    answers = dict(found)
    some = rows[:: max(1, len(rows) // 40)]
    lm = NextTokenLM.from_pretrained(model)
    expected = explain_columns(lm, {name: [row[name] for row in some] for name in rows[0]})
    for place, row in enumerate(some):
        if expected["error"][place] is not None:
            assert answers[row["id"]] == expected["error"][place]
        else:
            one = attribution_of({name: values[place] for name, values in expected.items()})
            assert answers[row["id"]].scores.tolist() == pytest.approx(one.scores.tolist(), abs=1e-6)


@pytest.mark.slow
def test_a_run_says_what_is_wrong_in_one_line_and_is_not_repeated(model, tmp_path):
    source, out = tmp_path / "rows.jsonl", tmp_path / "answers"
    write_rows(source, 40)
    with source.open("ab") as file:
        file.write(b'{"prompt": "The keys"\n{"id": "x", "prompt": "bad \\ud800 text"}\n{"prompt": ""}\n')
        file.write(b'{"prompt": "The cats near", "target": " dog", "contrast": " cats"}\n')
    code, said = run(source, out, model)
    assert (code, said) == (0, f"44 rows in {out}, 3 of them with an error\n")
    assert_whole(out, source, model)
    assert "line 41 is not JSON" in dict(read_corpus(out))["40"]

    (tmp_path / "without").mkdir()  # from here on no engine may be started
    (tmp_path / "without" / "ray.py").write_text("raise AssertionError('the engine was started')")
    without = {**os.environ, "PYTHONPATH": str(tmp_path / "without")}
    assert run(source, out, model, env=without) == (0, said)
    code, said = run(source, out, model, "--method", "gradient-times-input", env=without)
    assert code == 1
    assert said.count("\n") == 1
    assert "has rows of another run: they were made with method the default, not GradientTimesInput(" in said
    as_it_was = source.read_text()
    for changed in (as_it_was + '{"prompt": "one more"}\n', as_it_was.replace("near", "under")):
        source.write_text(changed)
        code, said = run(source, out, model, env=without)
        assert (code, said.count("\n")) == (1, 1)
        assert "the input has changed since" in said
    source.write_text(as_it_was)
    assert run(source, out, model, env=without)[0] == 0
    assert len(list(read_corpus(out))) == 44


@pytest.mark.slow
def test_killed_and_interrupted_it_goes_on_where_it_was(model, tmp_path):
    source, out = tmp_path / "rows.jsonl", tmp_path / "answers"
    write_rows(source, 1200)
    with RunFolder(out).locked():
        code, said = run(source, out, model)
    assert (code, said.count("\n")) == (1, 1)
    assert "another run is writing" in said

    killed = start(source, out, model, "--workers", "2")
    wait_for_more(out, killed, 0)
    killed.kill()
    killed.communicate()
    kept = finished(out)

    interrupted = start(source, out, model, "--workers", "2")
    wait_for_more(out, interrupted, len(kept))
    os.killpg(interrupted.pid, signal.SIGINT)
    said, _ = interrupted.communicate(timeout=LIMIT)
    assert interrupted.returncode == 130
    assert said.startswith("error: interrupted; ")
    assert said.endswith(" of 1200 rows are kept, and the same call or command goes on from there\n")

    assert run(source, out, model, "--workers", "2") == (0, f"1,200 rows in {out}\n")
    assert kept <= finished(out)  # what was finished is not explained again
    assert_whole(out, source, model)


@pytest.mark.slow
def test_a_full_disk_is_said_and_the_run_goes_on_when_there_is_room(model, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a small disk can be mounted by root only")
    try:
        source, out = tmp_path / "rows.jsonl", disk / "answers"
        write_rows(source, 300)
        code, said = run(source, out, model)
        assert (code, said.count("\n")) == (1, 1)
        assert "No space left on device" in said
        assert "of 300 rows are kept" in said
        subprocess.run(["mount", "-o", "remount,size=20m", disk], check=True)
        assert run(source, out, model)[0] == 0
        assert_whole(out, source, model)
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


@pytest.mark.slow
def test_a_worker_and_a_node_may_die(model, tmp_path):
    """On a cluster of two nodes, both on this machine: a worker is killed, then the second node."""
    source, out, script = tmp_path / "rows.jsonl", tmp_path / "answers", tmp_path / "cluster.py"
    write_rows(source, 1500)
    script.write_text(
        "import sys\n"
        "from ray.cluster_utils import Cluster\n"
        "cluster = Cluster(initialize_head=True, head_node_args={'num_cpus': 2, 'include_dashboard': False})\n"
        "other = cluster.add_node(num_cpus=2)\n"
        "cluster.wait_for_nodes()\n"
        "print(cluster.address, flush=True)\n"
        "sys.stdin.readline()\n"
        "cluster.remove_node(other, allow_graceful=False)\n"
        "print('gone', flush=True)\n"
        "sys.stdin.readline()\n"
        "cluster.shutdown()\n"
    )
    cluster = subprocess.Popen(
        [sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0"},
    )  # fmt: skip
    try:
        address = cluster.stdout.readline().strip()
        process = start(source, out, model, "--workers", "2", "--address", address)
        wait_for_more(out, process, 0)
        workers_of(cluster)[0].kill()
        wait_for_more(out, process, len(finished(out)))
        cluster.stdin.write("\n")
        cluster.stdin.flush()
        assert cluster.stdout.readline() == "gone\n"
        said, _ = process.communicate(timeout=LIMIT)
        assert (process.returncode, said) == (0, f"1,500 rows in {out}\n")
        assert_whole(out, source, model)
    finally:
        cluster.communicate(timeout=60)


def workers_of(cluster):
    import psutil

    family = psutil.Process(cluster.pid).children(recursive=True)
    return [each for each in family if "MapWorker" in " ".join(each.cmdline())]


@pytest.mark.slow
def test_a_model_that_cannot_be_loaded_is_said_and_another_one_can_be_taken(model, tmp_path):
    source, out = tmp_path / "rows.jsonl", tmp_path / "answers"
    write_rows(source, 3)
    code, said = run(source, out, tmp_path / "nothing")
    assert (code, said.count("\n")) == (1, 1)
    assert "cannot load the model" in said
    assert "0 of 3 rows are kept" in said
    assert run(source, out, model) == (0, f"3 rows in {out}\n")


def test_what_cannot_begin_is_refused_before_any_work(tmp_path):
    source = tmp_path / "rows.jsonl"
    write_rows(source, 3)
    with source.open("a") as file:
        file.write('{"id": "row 1", "prompt": "again"}\n')
    with pytest.raises(ValueError, match="the id 'row 1' comes twice"):
        explain(source, tmp_path / "answers")
    with pytest.raises(ValueError, match="workers is 0; at least one is needed"):
        explain(source, tmp_path / "answers", workers=0)
    with pytest.raises(FileNotFoundError, match="there is no file or folder"):
        explain(tmp_path / "no.jsonl", tmp_path / "answers")
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(ValueError, match="there is no row"):
        explain(tmp_path / "empty.jsonl", tmp_path / "answers")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a.txt").write_text("mine")
    with pytest.raises(ValueError, match="is not empty"):
        explain(source, tmp_path / "full")
    with pytest.raises(NotADirectoryError, match="is a file"):
        explain(source, source)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        explain(source, tmp_path / "no" / "answers")
    assert (tmp_path / "full" / "a.txt").read_text() == "mine"
    shutil.rmtree(tmp_path / "full")
