"""Hundreds of questions from eight clients, many taken back: no error, and the memory stays what it was."""

import json
import random
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from tests.server.running import Client

ROOT = Path(__file__).parents[2]
CLIENTS, EACH, WARM = 8, 63, 25
SERVER = """
from interpret.server.serve import serve
from nexttoken import NextTokenLM
from tests.conftest import gpt2, trained_tokenizer

serve(NextTokenLM.from_pretrained(gpt2(), trained_tokenizer()), port=0, browser=False)
"""
PROMPTS = ["The keys to the cabinet", "When Mary and John went", "def add(a, b):", "Ünï <b>12</b>", "a b c d e f g h"]


def visit(client, number, count, problems):
    """One client's questions; about a third of them are taken back before they are answered."""
    chance = random.Random(number)
    for _ in range(count):
        kind = chance.choice(["predict", "explain", "explain", "continuation", "flip", "reduce"])
        body = {"prompt": chance.choice(PROMPTS), "max_edits": 1, "generate": 3}
        if chance.random() < 0.33:
            response, connection = client.send("POST", f"/api/{kind}", body)
            if chance.random() < 0.7:
                response.readline()
            connection.close()
            continue
        try:
            status, events = client.ask(kind, body)
            if status != 200 or events[-1]["event"] != "done":
                problems.append((kind, body, status, events[-1]))
            elif "id" in events[-1] and chance.random() < 0.5:
                found, _, data = client.get(f"/api/result/{events[-1]['id']}?as=json")
                if found not in (200, 404):
                    problems.append((kind, found, data))
        except OSError as error:
            problems.append((kind, repr(error)))


def everybody(client, count):
    problems = []
    threads = [threading.Thread(target=visit, args=(client, number, count, problems)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(600)
    return problems


@pytest.mark.slow
def test_five_hundred_questions_leave_nothing_behind():
    with subprocess.Popen(
        [sys.executable, "-c", SERVER], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as server:
        try:
            client = Client(int(server.stdout.readline().strip().removesuffix("/").rpartition(":")[2]))
            process = psutil.Process(server.pid)
            assert everybody(client, WARM) == []
            before = process.memory_info().rss
            assert everybody(client, EACH) == []
            after, files = process.memory_info().rss, process.num_fds()
            print(json.dumps({"before": before, "after": after, "growth": after / before - 1, "files": files}))
            assert after < 1.05 * before
            assert files < 64
            assert client.last("predict", prompt=PROMPTS[0])["candidates"]
        finally:
            server.terminate()
            output, errors = server.communicate(timeout=30)
        assert (output, errors) == ("", "")
