"""A worker without any engine: what it leaves for others, rows that kill it, and a model that is another one."""

import multiprocessing
import os

import pyarrow
import pytest
import torch

from interpret import GradientTimesInput
from interpret.corpus.job import as_named
from interpret.corpus.run_folder import RunFolder, stage
from interpret.corpus.table import output_schema
from interpret.corpus.work import Worker, digest_of_weights, explain_columns, stable_text
from nexttoken import NextTokenLM
from tests.conftest import gpt2, trained_tokenizer


def load():
    torch.manual_seed(0)
    return NextTokenLM.from_pretrained(gpt2(), trained_tokenizer())


def at_every_embedding(lm, hook):
    for module in lm.modules():
        if isinstance(module, torch.nn.Embedding):
            module.register_forward_pre_hook(hook)
    return lm


def deadly():
    """A model that ends the process at one word, as a prompt may that the memory does not suffice for."""
    lm = load()
    own = lm.prompt(PROMPTS[1]).ids[-1]

    def hook(module, inputs):
        if (inputs[0] == own).any():
            os._exit(9)

    return at_every_embedding(lm, hook)


def broken():
    """A model of which nothing can be computed."""

    def hook(module, inputs):
        raise RuntimeError("the network\nis broken")

    return at_every_embedding(load(), hook)


PROMPTS = ["The keys to", "The cats near the dog", "The keys to the cabinet are", "The"]


@pytest.fixture
def block(tmp_path):
    (tmp_path / "rows.csv").write_text("prompt\n" + "\n".join(PROMPTS) + "\n")
    folder = RunFolder(tmp_path / "out")
    stage(tmp_path / "rows.csv", folder.input)
    folder.attempts.mkdir()
    return pyarrow.parquet.read_table(folder.input)


def worker_of(load, tmp_path, **options):
    return Worker(load, RunFolder(tmp_path / "out"), GradientTimesInput(), **options)


def test_a_block_is_answered_and_leaves_nothing_behind(block, tmp_path):
    worker = worker_of(load, tmp_path)
    found = worker(block)
    assert found.schema.equals(output_schema())
    expected = explain_columns(load(), {"id": ["0", "1", "2", "3"], "prompt": PROMPTS}, worker.method)
    assert found["scores"].to_pylist() == expected["scores"]
    assert list(worker.folder.attempts.iterdir()) == []
    assert worker(block.slice(0, 0)).num_rows == 0


def in_process(target, *arguments):
    process = multiprocessing.get_context("fork").Process(target=target, args=arguments)
    process.start()
    process.join(120)
    return process.exitcode


def explain_and_keep(load, tmp_path, block):
    torch.set_num_threads(1)
    pyarrow.parquet.write_table(worker_of(load, tmp_path)(block), tmp_path / "found.parquet")


@pytest.mark.slow
def test_a_row_that_kills_workers_is_given_up_alone(block, tmp_path):
    """The second prompt ends the process: once with the others, then twice on its own."""
    codes = [in_process(explain_and_keep, deadly, tmp_path, block) for _ in range(4)]
    assert codes == [9, 9, 9, 0]
    found = pyarrow.parquet.read_table(tmp_path / "found.parquet").to_pylist()
    assert [row["error"] is not None for row in found] == [False, True, False, False]
    assert found[1]["error"] == "the worker died 2 times while it explained this row"
    explain_and_keep(load, tmp_path, block)
    undisturbed = pyarrow.parquet.read_table(tmp_path / "found.parquet").to_pylist()
    assert found[2]["scores"] == pytest.approx(undisturbed[2]["scores"], abs=1e-9)


def test_a_model_that_fails_at_every_row_ends_the_run(block, tmp_path):
    worker = worker_of(broken, tmp_path)
    with pytest.raises(RuntimeError, match="is broken"):
        worker(block)


def test_workers_that_die_while_they_load_end_the_run(block, tmp_path):
    folder = RunFolder(tmp_path / "out")
    for number in range(5):
        (folder.attempts / f"loading-{number}").touch()
    with pytest.raises(ChildProcessError, match="workers died 5 times while they loaded the model"):
        worker_of(load, tmp_path)(block)


def test_all_workers_have_the_same_model(block, tmp_path):
    def other():
        lm = load()
        with torch.no_grad():
            next(iter(lm.parameters()))[0, 0] += 1e-3
        return lm

    assert digest_of_weights(load()) == digest_of_weights(load()) != digest_of_weights(other())
    worker_of(load, tmp_path)(block)
    worker_of(load, tmp_path)(block)
    with pytest.raises(ValueError, match="they were made with weights"):
        worker_of(other, tmp_path)(block)
    folder = RunFolder(tmp_path / "out")
    folder.agree("run", worker_of(load, tmp_path).facts())
    with pytest.raises(ValueError, match="they were made with precision None, not float32"):
        folder.agree("run", worker_of(load, tmp_path, precision="float32").facts())


def test_a_method_has_the_same_name_in_every_process():
    class Own(GradientTimesInput):
        def __repr__(self):
            return f"Own({object.__repr__(self)})"

    assert "0x" not in stable_text(Own())


def test_a_path_is_the_same_in_every_process(tmp_path, monkeypatch):
    (tmp_path / "tiny").mkdir()
    monkeypatch.chdir(tmp_path)
    assert as_named("tiny") == str(tmp_path / "tiny")
    assert as_named("some/model") == "some/model"
    assert as_named(load) is load
    with pytest.raises(ValueError, match="each worker loads its own model"):
        as_named(load())
