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
from typer.testing import CliRunner

from interpret.cli import app
from interpret.corpus import explain, explain_columns, read_corpus, read_rows
from interpret.corpus.run_folder import RunFolder
from interpret.corpus.table import attribution_of
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
    return str(folder)


def command(source, out, model, *options):
    return [sys.executable, "-m", "interpret.cli", "corpus", str(source), str(out), "--model", str(model), *options]


def start(*arguments):
    return subprocess.Popen(
        command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


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
    for number, row in enumerate(some):
        if expected["error"][number] is not None:
            assert answers[row["id"]] == expected["error"][number]
        else:
            one = attribution_of({name: values[number] for name, values in expected.items()})
            assert answers[row["id"]].scores.tolist() == pytest.approx(one.scores.tolist(), abs=1e-6)


@pytest.mark.slow
def test_a_run_says_what_is_wrong_in_one_line_and_is_not_repeated(model, tmp_path, monkeypatch):
    source, out = tmp_path / "rows.jsonl", tmp_path / "answers"
    write_rows(source, 40)
    with source.open("ab") as file:
        file.write(b'{"prompt": "The keys"\n{"id": "x", "prompt": "bad \\ud800 text"}\n{"prompt": ""}\n')
        file.write(b'{"prompt": "The cats near", "target": " dog", "contrast": " cats"}\n')
    done = subprocess.run(command(source, out, model), capture_output=True, text=True, timeout=LIMIT, check=False)
    said = f"44 rows in {out}, 3 of them with an error"
    assert (done.returncode, done.stdout + done.stderr) == (0, f"{said}\n")
    assert_whole(out, source, model)
    assert "line 41 is not JSON" in dict(read_corpus(out))["40"]

    monkeypatch.setattr("interpret.corpus.job.run", None)  # from here on no engine may be started
    assert str(explain(source, out, model)) == said
    refused = CliRunner().invoke(app, command(source, out, model, "--method", "gradient-times-input")[3:])
    assert (refused.exit_code, refused.output.count("\n")) == (1, 1)
    assert "has rows of another run: they were made with method the default, not GradientTimesInput(" in refused.output
    as_it_was = source.read_text()
    for changed in (as_it_was + '{"prompt": "one more"}\n', as_it_was.replace("near", "under")):
        source.write_text(changed)
        with pytest.raises(ValueError, match="the input has changed since"):
            explain(source, out, model)
    source.write_text(as_it_was)
    assert str(explain(source, out, model)) == said
    assert len(list(read_corpus(out))) == 44


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A cluster of two nodes on this machine, in a process that says its address, and ends one node when told to."""
    script = tmp_path_factory.mktemp("cluster") / "cluster.py"
    script.write_text(
        "import sys\n"
        "from ray.cluster_utils import Cluster\n"
        "cluster = Cluster(initialize_head=True, head_node_args={'num_cpus': 2, 'include_dashboard': False})\n"
        "other = cluster.add_node(num_cpus=2)\n"
        "cluster.wait_for_nodes(timeout=300)\n"
        "print(cluster.address, flush=True)\n"
        "if sys.stdin.readline():\n"
        "    cluster.remove_node(other, allow_graceful=False)\n"
        "    print('gone', flush=True)\n"
        "    sys.stdin.readline()\n"
        "cluster.shutdown()\n"
    )
    process = subprocess.Popen(
        [sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0"},
    )  # fmt: skip
    process.address = process.stdout.readline().strip()
    assert process.address, "the cluster could not be started"
    yield process
    process.communicate(timeout=60)


@pytest.mark.slow
def test_a_missing_model_and_a_full_disk_are_said_and_the_run_goes_on_after_them(model, cluster, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", disk], capture_output=True, check=False
    )
    try:
        source, out = tmp_path / "rows.jsonl", disk / "answers"
        write_rows(source, 300)
        with pytest.raises(OSError, match=r"cannot load the model .*; 0 of 300 rows are kept") as refused:
            explain(source, out, str(tmp_path / "nothing"), address=cluster.address)
        assert len(str(refused.value).splitlines()) == 1
        if not mounted.returncode:  # a small disk can be mounted by root only
            with pytest.raises(OSError, match=r"No space left on device.*of 300 rows are kept") as refused:
                explain(source, out, model, address=cluster.address)
            assert len(str(refused.value).splitlines()) == 1
            subprocess.run(["mount", "-o", "remount,size=20m", disk], check=True)
        assert str(explain(source, out, model, address=cluster.address)) == f"300 rows in {out}"
        assert_whole(out, source, model)
    finally:
        if not mounted.returncode:
            subprocess.run(["umount", "-l", disk], check=True)


@pytest.mark.slow
def test_killed_interrupted_and_left_by_a_worker_and_a_node_it_goes_on_where_it_was(model, cluster, tmp_path):
    source, out = tmp_path / "rows.jsonl", tmp_path / "answers"
    write_rows(source, 1500)
    options = (source, out, model, "--workers", "2", "--address", cluster.address)
    with RunFolder(out).locked(), pytest.raises(BlockingIOError, match="another run is writing"):
        explain(source, out, model)

    killed = start(*options)
    wait_for_more(out, killed, 0)
    killed.kill()
    killed.communicate()
    kept = finished(out)

    interrupted = start(*options)
    wait_for_more(out, interrupted, len(kept))
    os.killpg(interrupted.pid, signal.SIGINT)
    said, _ = interrupted.communicate(timeout=LIMIT)
    assert interrupted.returncode == 130
    assert said.startswith("error: interrupted; ")
    assert said.endswith(" of 1500 rows are kept, and the same call or command goes on from there\n")

    last = start(*options)
    wait_for_more(out, last, len(finished(out)))
    workers_of(cluster)[0].kill()
    wait_for_more(out, last, len(finished(out)))
    cluster.stdin.write("\n")
    cluster.stdin.flush()
    assert cluster.stdout.readline() == "gone\n"
    said, _ = last.communicate(timeout=LIMIT)
    assert (last.returncode, said) == (0, f"1,500 rows in {out}\n")
    assert kept <= finished(out)  # what was finished is not explained again
    assert_whole(out, source, model)


def workers_of(cluster):
    import psutil

    family = psutil.Process(cluster.pid).children(recursive=True)
    return [each for each in family if "MapWorker" in " ".join(each.cmdline())]


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


def test_a_run_goes_on_where_it_stopped_whatever_the_engine(model, tmp_path, monkeypatch):
    """An engine in this process, which commits some blocks as Ray Data does and then fails."""
    import pyarrow.parquet

    source, out = tmp_path / "rows.jsonl", tmp_path / "answers"
    write_rows(source, 40)
    explained = []

    def engine(worker, *_, blocks=1):
        worker.folder.checkpoint.mkdir(exist_ok=True)
        done = [row for name in worker.folder.committed() for row in ids(worker.folder.checkpoint / f"{name}.parquet")]
        for path in sorted(worker.folder.input.glob("*.parquet")):
            block = pyarrow.parquet.read_table(path)
            if block["id"][0].as_py() in done:
                continue
            if not blocks:
                (out / "unfinished-000000.parquet").write_bytes(b"half a file")
                raise OSError("the disk is full")
            blocks -= 1
            explained.append(path.name)
            found = worker(block)
            pyarrow.parquet.write_table(found, out / f"{path.stem}-000000.parquet")
            pyarrow.parquet.write_table(found.select(["id"]), worker.folder.checkpoint / path.name)

    def ids(path):
        return pyarrow.parquet.read_table(path)["id"].to_pylist()

    monkeypatch.setattr("interpret.corpus.job.run", engine)
    for kept in (16, 32):
        with pytest.raises(OSError, match=rf"^the disk is full; {kept} of 40 rows are kept, and the same call"):
            explain(source, out, model)
    with pytest.raises(ValueError, match="they were made with check False, not True"):
        explain(source, out, model, check=True)
    whole = source.read_text()
    source.write_text(whole.replace("cabinet", "table"))
    with pytest.raises(ValueError, match="the input has changed since"):
        explain(source, out, model)
    source.write_text(whole)
    assert str(explain(source, out, model)) == f"40 rows in {out}"
    assert explained == ["00000000.parquet", "00000001.parquet", "00000002.parquet"]
    assert_whole(out, source, model)
    assert not Path(f"{out}.run/input").exists()
    (out / "00000001-000000.parquet").unlink()
    with pytest.raises(OSError, match="has 24 of 40 rows, since its files were changed"):
        explain(source, out, model)
