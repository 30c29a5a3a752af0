"""Output to streams of any encoding, and prompts from files of any editor."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from interpret.command.terminal import as_data, never_fail, read_text
from tests.command.test_cli import QUICK

ROOT = Path(__file__).parents[2]
HARD = "The “café” — 你好 😀"


def stream(data, encoding="utf-8"):
    return io.TextIOWrapper(io.BytesIO(data), encoding=encoding)


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (HARD.encode(), "utf-8"),
        (b"\xef\xbb\xbf" + HARD.encode(), "utf-8"),
        (HARD.encode("utf-16"), "utf-8"),
        (b"\xfe\xff" + HARD.encode("utf-16-be"), "utf-8"),
        (HARD.encode("utf-32"), "utf-8"),
        (b"\xef\xbb\xbf" + HARD.encode(), "cp1252"),
        (HARD.encode(), "ascii"),
    ],
)
def test_a_file_of_any_editor_is_read(data, encoding):
    assert read_text(stream(data, encoding)) == HARD


def test_line_ends_and_other_encodings():
    assert read_text(stream(b"one\r\ntwo\rthree\n")) == "one\ntwo\nthree\n"
    assert read_text(stream("été".encode("cp1252"), "cp1252")) == "été"  # the stream's own
    assert read_text(stream(b"")) == ""


def test_what_is_no_text_says_where():
    with pytest.raises(ValueError, match="standard input is no text in utf-8: byte 0xe9 at 4; save it as UTF-8"):
        read_text(stream(b"The \xe9t\xe9"))


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp437", "latin-1", "koi8-r", "shift_jis"])
def test_nothing_that_is_written_fails_and_signs_stay_signs(encoding):
    out = stream(b"", encoding)
    never_fail(out, io.StringIO())
    out.write(f"{HARD} −0.5 × 2 … \ud800")
    out.flush()
    written = out.buffer.getvalue().decode(encoding)
    assert written.startswith("The ")
    assert "-0.5" in written.replace("−", "-")
    assert "x 2" in written.replace("×", "x")


def test_data_are_utf8():
    out = stream(b"", "cp1252")
    as_data(out)
    out.write(HARD)
    out.flush()
    assert out.buffer.getvalue() == HARD.encode()
    as_data(io.StringIO())  # which takes everything


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
@pytest.mark.parametrize("words", [("explain", *QUICK), ("predict",)])
def test_the_command_in_a_pipe(folder, encoding, words):
    command = Path(sys.executable).parent / "nexttoken"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": encoding}

    def run(printed):
        done = subprocess.run(
            [command, words[0], "-", *map(str, words[1:]), "--model", folder, "--format", printed],
            input=b"\xef\xbb\xbf" + HARD.encode(), capture_output=True, env=environment, check=True,
        )  # fmt: skip
        return done.stdout

    assert run("table").decode(encoding)
    assert json.loads(run("json").decode("utf-8"))
    assert len(list(csv.reader(io.StringIO(run("tsv").decode("utf-8")), delimiter="\t"))) > 1
