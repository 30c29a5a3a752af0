"""`nexttoken explain --server`: it prints and saves what it would without the page, and says what is wrong."""

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from typer.testing import CliRunner

from interpret import Attribution, AttributionMatrix
from interpret.cli import app
from nexttoken import NextTokenLM
from tests.conftest import gpt2, trained_tokenizer
from tests.server.running import page

PROMPT = "The keys to the cabinet"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("tiny")
    gpt2().float().save_pretrained(path)
    trained_tokenizer().save_pretrained(path)
    return str(path)


@pytest.fixture(scope="module")
def lm(folder):
    """The tiny model, which is loaded once; every command of this process asks it."""
    return NextTokenLM.from_pretrained(folder)


@pytest.fixture(autouse=True)
def loaded(lm, monkeypatch):
    monkeypatch.setattr("interpret.cli._load", lambda *_: lm)


@pytest.fixture(scope="module")
def running(lm):
    with page(lm) as (client, address, _):
        yield client, address


@pytest.fixture
def client(running):
    return running[0]


@pytest.fixture
def address(running):
    return running[1]


def run(*words, status=0, stdin=None, **env):
    result = CliRunner().invoke(app, [str(word) for word in words], input=stdin, env={"COLUMNS": "100", **env})
    assert result.exit_code == status, (result.output, result.exception)
    return result


@pytest.mark.parametrize(
    "words",
    [
        [PROMPT, "--no-check"],
        [PROMPT, "--target", " a", "--contrast", " the", "--by", "word", "--format", "tsv"],
        [PROMPT, "--method", "integrated-gradients", "--set", "tolerance=0.5"],
        [PROMPT, "--candidates", "3", "--format", "json"],
        [PROMPT, "--generate", "2"],
        [PROMPT, "--region", "keys", "--no-check", "--precision", "float64", "--memory-budget", "1"],
        ["--chat", "--no-check", "are we?"],
        ["-", "--no-check"],
    ],
    ids=str,
)
def test_it_prints_what_it_would_without_the_page(folder, address, words):
    stdin = "The cat\nsat\n" if "-" in words else None
    here = run("explain", *words, "--model", folder, stdin=stdin)
    there = run("explain", *words, "--server", address, stdin=stdin)
    if "json" in words:
        one, other = json.loads(here.stdout), json.loads(there.stdout)
        assert one.keys() == other.keys()
        assert [each["target"] for each in one["attributions"]] == [each["target"] for each in other["attributions"]]
        return
    assert there.stdout.splitlines() == here.stdout.splitlines()


def test_it_saves_what_it_would(address, tmp_path):
    paths = [tmp_path / f"why.{ending}" for ending in ("png", "pdf", "svg", "html", "csv", "tsv", "json")]
    saving = [word for path in paths[:-1] for word in ("--save", path)]
    result = run("explain", PROMPT, "--server", address, *saving, "--json", paths[-1])
    assert [f"saved {path}" in result.stderr for path in paths] == [True] * len(paths)
    assert paths[0].read_bytes().startswith(b"\x89PNG")
    assert Attribution.load(paths[-1]).prompt == PROMPT
    run("explain", PROMPT, "--server", address, "--candidates", 2, "--json", tmp_path / "many.json")
    assert len(AttributionMatrix.load(tmp_path / "many.json")) == 2


def test_it_loads_no_torch(address):
    code = (
        "import sys\nfrom interpret.cli import app\n"
        f"app(['explain', {PROMPT!r}, '--server', {address!r}], standalone_mode=False)\n"
        "print([name for name in ('torch', 'transformers', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_environment_may_name_it_and_a_model_is_loaded_without_it(folder, address):
    asked = run("explain", PROMPT, "--no-check", NEXTTOKEN_SERVER=address)
    assert asked.stdout == run("explain", PROMPT, "--no-check", "--server", address).stdout
    own = run("explain", PROMPT, "--no-check", "--model", folder, NEXTTOKEN_SERVER="http://127.0.0.1:1")
    assert "no page" not in own.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--target", "no such token"], "pass one of them"),
        (["--region", "dog"], "'dog' matches nothing"),
        (["--set", "steps=many"], "--method NAME"),
        (["--method", "gradients"], "there is no method 'gradients'"),
        (["--model", "other"], "has its own model; leave out --model"),
        (["--device", "cpu"], "leave out --device"),
    ],
)
def test_mistakes_are_one_line(address, words, said):
    result = run("explain", PROMPT, "--server", address, *words, status=1)
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not result.stdout


@pytest.mark.parametrize("wrong", ["here", "https://127.0.0.1:8000", "http://", "http://127.0.0.1:port", "http://[::1"])
def test_what_is_no_address(wrong):
    result = run("explain", PROMPT, "--server", wrong, status=1)
    assert len(result.stderr.splitlines()) == 1


def test_nobody_there():
    assert (
        "no page answers at http://127.0.0.1:1"
        in run("explain", PROMPT, "--server", "http://127.0.0.1:1", status=1).stderr
    )


def test_a_token_is_sent(lm):
    with page(lm, token="secret") as (_, address, _):
        assert run("explain", PROMPT, "--no-check", "--server", address).stdout
        without = run("explain", PROMPT, "--server", address.partition("#")[0], status=1)
        assert "needs the token" in without.stderr


@pytest.mark.parametrize("said", [b"", b"<html>", b'{"event": "started"}\n', b'{"event": 1\n'])
@pytest.mark.parametrize("status", [200, 404])
def test_another_server_is_no_page(said, status):
    class Other(BaseHTTPRequestHandler):
        def do_POST(self):
            self.send_response(status)
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Other)
    thread = threading.Thread(target=server.handle_request)
    thread.start()
    result = run("explain", PROMPT, "--server", f"http://127.0.0.1:{server.server_port}", status=1)
    thread.join()
    server.server_close()
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"prompt": 3},
        {"prompt": "a", "candidates": True},
        {"prompt": "a", "contrast": 1},
        {"prompt": "a", "other": 1},
        {"prompt": "a", "memory_budget": "all"},
        {"prompt": "a", "precision": "half"},
        {"prompt": "a", "target": "b", "candidates": 2},
    ],
    ids=str,
)
def test_what_a_client_sends_is_checked(client, body):
    found = client.last("command", **body)
    assert found["event"] == "error"
    assert "Traceback" not in found["message"]
