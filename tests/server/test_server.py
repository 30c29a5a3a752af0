"""The server answers its own page, tells of progress, refuses everybody else, and survives what is thrown at it."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from interpret import Attribution, Flip, attribute, default_method, flip, reduce_input
from interpret.server.app import MAX_BYTES, application
from interpret.server.serve import address_of, is_loopback, listening, own_hosts
from interpret.session.work import FullError, Job, Worker, in_words
from nexttoken import NextTokenLM
from tests.conftest import gpt2, trained_tokenizer
from tests.server.running import Client, page

ROOT = Path(__file__).parents[2]
PROMPT = "The keys to the cabinet"


@pytest.fixture(scope="module")
def lm():
    return NextTokenLM.from_pretrained(gpt2(), trained_tokenizer())


@pytest.fixture(scope="module")
def client(lm):
    with page(lm) as (found, _, _):
        yield found


def events_of(client, kind, **body):
    status, events = client.ask(kind, body)
    assert status == 200
    return [each["event"] for each in events], events


def test_the_page_and_its_files_ask_no_other_host(client):
    status, headers, body = client.get("/")
    assert status == 200
    assert headers["content-type"].startswith("text/html")
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for name in ("page.js", "draw.js", "ask.js", "page.css", "icon.svg"):
        status, _, text = client.get(f"/static/{name}")
        assert status == 200
        assert b"http" not in text.replace(b"http://www.w3.org/2000/svg", b"")
        assert b"innerHTML" not in text
        assert b"eval(" not in text
    assert b"http" not in body
    assert b"style=" not in body
    for path in ("/static/../app.py", "/static/%2e%2e/app.py", "/static/", "/nothing"):
        assert client.get(path)[0] == 404


def test_a_map_comes_before_its_check(lm, client):
    names, events = events_of(client, "explain", prompt=PROMPT)
    assert [name for name in names if name not in ("waiting", "progress")] == [
        "started", "candidates", "candidates", "map", "done",
    ]  # fmt: skip
    why = attribute(lm, PROMPT)
    first, last = events[names.index("map")], events[-1]
    assert first["map"]["check"] is None
    assert last["map"]["check"]["verdict"] in ("passes", "fails", "undecided")
    assert [piece["name"] for piece in last["map"]["pieces"]] == list(why.labels)
    assert [piece["size"] for piece in last["map"]["pieces"]] == pytest.approx(abs(why.scores).tolist())
    assert repr(why.target.text) in last["map"]["title"]
    status, _, data = client.get(f"/api/result/{last['id']}?as=json")
    assert status == 200
    kept = Attribution.from_json(data.decode())
    assert kept.scores.tolist() == pytest.approx(why.scores.tolist())
    assert kept.faithfulness is not None


def test_the_code_gives_the_same(lm, client):
    foil = lm.predict(PROMPT, 3)[2]
    found = client.last(
        "explain", prompt=PROMPT, contrast=[foil.id], method="idgi", settings={"steps": "7"}, check=False
    )
    known = {"lm": lm}
    exec(found["code"], known)
    sizes = [piece["size"] for piece in found["map"]["pieces"]]
    assert sizes == pytest.approx(abs(known["why"].scores).tolist())
    assert known["why"].target.foils[0].id == foil.id
    flipped = client.last("flip", prompt=PROMPT, max_edits=2)
    exec(flipped["code"], known)
    assert known["found"].prompt == flipped["prompt"]
    reduced = client.last("reduce", prompt=PROMPT, keep=0.5)
    exec(reduced["code"], known)
    assert known["found"].prompt == reduced["prompt"]
    continued = client.last("continuation", prompt=PROMPT, generate=3)
    exec(continued["code"], known)
    assert [each["text"] for each in continued["tokens"]] == list(known["why"].targets)


def test_totals_rows_and_files_of_what_was_answered(client):
    found = client.last("explain", prompt="The cats. The dogs", check=False)
    for by, count in (("word", 5), ("sentence", 2), ("piece", len(found["map"]["pieces"]))):
        status, _, data = client.get(f"/api/result/{found['id']}?by={by}")
        assert status == 200
        assert len(json.loads(data)["pieces"]) == count
    status, _, data = client.get(f"/api/result/{found['id']}?by=message")
    assert status == 400
    assert "not a chat" in json.loads(data)["message"]
    beginnings = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml", "html": b"<!doctype", "csv": b"piece"}
    for ending, beginning in beginnings.items():
        status, headers, data = client.get(f"/api/result/{found['id']}?as={ending}")
        assert status == 200
        assert data.startswith(beginning)
        assert "attachment" in headers["content-disposition"]
    assert client.get(f"/api/result/{found['id']}?as=exe")[0] == 400
    assert client.get("/api/result/unknown")[0] == 404
    several = client.last("continuation", prompt=PROMPT, generate=4)
    for row in range(len(several["tokens"])):
        assert client.get(f"/api/result/{several['id']}?row={row}")[0] == 200
    assert client.get(f"/api/result/{several['id']}?row=99")[0] == 404
    assert client.get(f"/api/result/{several['id']}?as=png")[2].startswith(b"\x89PNG")


def test_flips_and_reductions_are_those_of_python(lm, client):
    found = client.last("flip", prompt=PROMPT)
    expected = flip(lm, PROMPT)
    assert (found["prompt"], found["sentence"]) == (expected.prompt, expected.sentence)
    assert "".join(text for kind, text in found["parts"] if kind != "old") == expected.prompt
    assert "".join(text for kind, text in found["parts"] if kind != "new") == PROMPT
    assert Flip.from_json(client.get(f"/api/result/{found['id']}?as=json")[2].decode()).edits == expected.edits
    assert client.last("reduce", prompt=PROMPT)["prompt"] == reduce_input(lm, PROMPT).prompt


def test_chats_are_asked_by_their_messages(lm, client):
    messages = [{"role": "system", "content": "be short"}, {"role": "user", "content": "the cats are"}]
    found = client.last("explain", prompt=messages, by="message")
    assert found["map"]["by"] == "message"
    assert {piece["role"] for piece in found["map"]["pieces"]} >= {"system", "user"}
    known = {"lm": lm}
    exec(found["code"], known)
    assert known["why"].messages
    changed = client.last("flip", prompt=messages)
    assert [each["role"] for each in changed["messages"]] == ["system", "user"]


@pytest.mark.parametrize(
    ("kind", "body", "said"),
    [
        ("explain", {"prompt": ""}, "the prompt is empty"),
        ("explain", {"prompt": 5}, "prompt is 5; it must be a text"),
        ("explain", {"prompt": "x" * 70_000}, "at most 60000"),
        ("explain", {"prompt": "a b " * 200}, "reads at most 64"),
        ("explain", {"prompt": PROMPT, "target": " nothing like one token"}, "tokens after this prompt"),
        ("explain", {"prompt": PROMPT, "target": 10**9}, "is not in this vocabulary"),
        ("explain", {"prompt": PROMPT, "target": []}, "it must be a token"),
        ("explain", {"prompt": PROMPT, "contrast": [1] * 20}, "takes at most 8"),
        ("explain", {"prompt": PROMPT, "method": "nothing"}, "there is no method 'nothing'"),
        ("explain", {"prompt": PROMPT, "method": "idgi", "settings": {"steps": "many"}}, "it must be a whole number"),
        ("explain", {"prompt": PROMPT, "method": "idgi", "settings": {"steps": 3}}, "it must be texts by name"),
        ("explain", {"prompt": PROMPT, "by": "message", "check": False}, "not a chat"),
        ("explain", {"prompt": PROMPT, "check": "yes"}, "it must be true or false"),
        ("explain", {"prompt": []}, "the prompt is empty"),
        ("explain", {"prompt": [{"role": "user"}]}, "the content of message 0 is None"),
        ("explain", {"prompt": PROMPT, "nothing": 1}, "a question has no 'nothing'"),
        ("explain", {"prompt": "\ud800"}, "not valid text"),
        ("predict", {"prompt": PROMPT, "candidates": 0}, "a whole number from 1 to 50"),
        ("token", {"prompt": PROMPT}, "write a token"),
        ("continuation", {"prompt": PROMPT, "generate": 1000}, "a whole number from 1 to 50"),
        ("flip", {"prompt": PROMPT, "max_edits": 9}, "a whole number from 1 to 5"),
        ("flip", {"prompt": PROMPT, "ignore": "("}, "not a regular expression"),
        ("reduce", {"prompt": PROMPT, "keep": 1.01}, "above 0 and at most 1"),
    ],
)
def test_a_wrong_question_is_answered_in_one_sentence(client, kind, body, said):
    last = client.last(kind, **body)
    assert last["event"] == "error"
    assert said in last["message"]
    assert "\n" not in last["message"]
    assert "Traceback" not in last["message"]


@pytest.mark.parametrize("body", [b"", b"[]", b"nothing", b'"text"', b"\xff\xfe", b"[" * 100_000, b"null"])
def test_a_body_that_is_no_question_is_refused(client, body):
    status, (said,) = client.ask("explain", body)
    assert status == 400
    assert said["message"] == "the body must be a JSON object"


def test_only_the_page_itself_is_answered(client):
    own = f"127.0.0.1:{client.port}"
    body = {"prompt": PROMPT}
    assert client.ask("predict", body, Origin=f"http://{own}")[0] == 200
    assert client.ask("predict", body, Host=f"localhost:{client.port}")[0] == 200
    for headers, status in [
        ({"Host": "evil.example"}, 421), ({"Host": f"evil.example:{client.port}"}, 421), ({"Host": "127.0.0.1"}, 421),
        ({"Origin": "https://evil.example"}, 403), ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403), ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Content-Type": "text/plain"}, 415), ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
    ]:  # fmt: skip
        found, said = client.ask("predict", body, **{name.replace("-", "_"): value for name, value in headers.items()})
        assert found == status, headers
        assert said[0]["message"]
    assert client.get("/", Host="evil.example")[0] == 421
    assert client.get("/api/predict")[0] == 405


def test_a_body_may_be_only_so_large(client):
    assert client.ask("predict", b" " * (MAX_BYTES + 1))[0] == 413
    with socket.create_connection(("127.0.0.1", client.port), timeout=30) as raw:  # without saying how large it is
        head = f"POST /api/predict HTTP/1.1\r\nHost: 127.0.0.1:{client.port}\r\nContent-Type: application/json\r\n"
        raw.sendall(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n")
        try:
            for _ in range(40):
                raw.sendall(b"10000\r\n" + b" " * 65536 + b"\r\n")
        except OSError:
            pass
        answer = raw.recv(4096)
    assert b" 413 " in answer.partition(b"\r\n")[0]
    assert client.last("predict", prompt=PROMPT)["candidates"]


def test_another_address_needs_the_token(lm):
    with page(lm, "a-secret-of-the-test") as (client, address, _):
        assert address.endswith("#token=a-secret-of-the-test")
        assert client.last("predict", prompt=PROMPT)["candidates"]
        assert client.get("/")[0] == 200
        for token in (None, "another"):
            other = Client(client.port, token)
            assert other.ask("predict", {"prompt": PROMPT})[0] == 401
            assert other.get("/api/about")[0] == 401
    with pytest.raises(ValueError, match="needs a token"):
        application(lm, Worker(), None, None)


def test_who_leaves_cancels_the_work(lm):
    with page(lm) as (client, _, worker):
        body = {"prompt": "The keys to the cabinet are", "method": "smoothgrad", "settings": {"samples": "100000"}}
        response, connection = client.send("POST", "/api/explain", body)
        while json.loads(response.readline())["event"] != "progress":
            pass
        waiting, other = client.send("POST", "/api/predict", {"prompt": PROMPT})
        assert json.loads(waiting.readline()) == {"event": "waiting", "ahead": 1}
        response.close()
        connection.close()
        rest = [json.loads(line)["event"] for line in waiting.read().splitlines() if line.strip()]
        other.close()
        assert rest == ["started", "done"]
        assert worker.wait(20)


def test_who_leaves_the_queue_is_forgotten(lm):
    with page(lm) as (client, _, worker):
        body = {"prompt": "The keys to the cabinet are", "method": "smoothgrad", "settings": {"samples": "100000"}}
        first, holding = client.send("POST", "/api/explain", body)
        first.readline()
        gone = [client.send("POST", "/api/predict", {"prompt": PROMPT})[1] for _ in range(4)]
        patient, other = client.send("POST", "/api/predict", {"prompt": PROMPT})
        assert json.loads(patient.readline())["ahead"] == 5
        for connection in gone:
            connection.sock.shutdown(socket.SHUT_RDWR)
            connection.close()
        until = time.monotonic() + 20
        while len(worker.jobs) > 2 and time.monotonic() < until:
            time.sleep(0.02)
        assert len(worker.jobs) == 2
        holding.sock.shutdown(socket.SHUT_RDWR)
        holding.close()
        assert json.loads(patient.read().splitlines()[-1])["event"] == "done"
        other.close()


def test_only_so_many_may_wait(lm):
    with page(lm, max_waiting=2) as (client, _, _):
        body = {"prompt": "The keys to the cabinet are", "method": "smoothgrad", "settings": {"samples": "100000"}}
        first, holding = client.send("POST", "/api/explain", body)
        while json.loads(first.readline())["event"] != "started":
            pass
        others = [client.send("POST", "/api/predict", {"prompt": PROMPT}) for _ in range(2)]
        status, (said,) = client.ask("predict", {"prompt": PROMPT})
        assert status == 503
        assert "2 questions are waiting already" in said["message"]
        for _, connection in [(first, holding), *others]:
            connection.close()


def test_the_worker_lives_on_whatever_a_job_does():
    worker, told = Worker(), []

    def broken(job):
        raise KeyError("a bug")

    for work in (broken, lambda job: {"value": object}, lambda job: {"value": 1}):
        ended = threading.Event()
        worker.ask(
            Job(work, lambda event, ended=ended: (told.append(event), event["event"] != "started" and ended.set()))
        )
        assert ended.wait(10)
    assert [event["event"] for event in told] == ["started", "error", "started", "done", "started", "done"]
    assert in_words(told[1]["error"]) == "KeyError: 'a bug'"
    worker.close()
    assert worker.wait(10)
    with pytest.raises(FullError):
        worker.ask(Job(broken, told.append))


def test_the_model_comes_back_as_it_was(lm, client):
    lm.train()
    try:
        client.last("explain", prompt=PROMPT)
        client.last("flip", prompt=PROMPT)
        assert lm.training
    finally:
        lm.eval()
    assert all(parameter.requires_grad for parameter in lm.parameters())


def test_the_default_method_is_the_default(lm, client):
    found = client.last("explain", prompt=PROMPT, check=False)
    assert type(default_method(lm)).__name__ in found["code"]


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False), ("10.0.0.1", False)],
)
def test_which_addresses_are_this_machine(host, loopback):
    assert is_loopback(host) == loopback


def test_addresses_and_hosts():
    assert address_of("127.0.0.1", 8000, None) == "http://127.0.0.1:8000/"
    assert address_of("::1", 80, "x") == "http://[::1]:80/#token=x"
    assert own_hosts("::1", 5) == {"127.0.0.1:5", "localhost:5", "[::1]:5"}
    with listening("127.0.0.1", 0) as taken, pytest.raises(ValueError, match="take another --port"):
        listening("127.0.0.1", taken.getsockname()[1])


@pytest.mark.bundled
def test_the_command_prints_its_address_and_ends_cleanly(tmp_path):
    command = [sys.executable, "-m", "interpret.cli", "serve", "--port", "0", "--no-browser"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ}
    ) as server:
        try:
            address = server.stdout.readline().strip()
            assert address.startswith("http://127.0.0.1:")
            client = Client(int(address.removesuffix("/").rpartition(":")[2]))
            assert client.last("predict", prompt="The capital of France is")["candidates"][0]["text"] == " Paris"
            taken = subprocess.run(
                [*command[:4], "--port", str(client.port), "--no-browser"], capture_output=True, text=True, cwd=ROOT,
                check=False,
            )  # fmt: skip
            assert taken.returncode == 1
            assert taken.stderr.startswith("error: cannot serve on 127.0.0.1, port")
            assert len(taken.stderr.splitlines()) == 1
        finally:
            server.send_signal(signal.SIGINT)
            output, errors = server.communicate(timeout=30)
        assert (output, errors) == ("", "")
        assert server.returncode == 0
