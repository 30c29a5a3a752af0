"""Hostile inputs through the API, the command, the page and a corpus, and processes that are killed: what breaks?

`python -m benchmarks.fuzz` tries 10,000 inputs and kills 50 processes, in some minutes on two cores. An input is
answered or refused by a message of ours; anything else is a failure, printed with the smallest input that shows it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from typer.testing import CliRunner

from interpret import (
    GIM,
    Attribution,
    AttributionMatrix,
    GradientTimesInput,
    IntegratedGradients,
    VanillaGradient,
    attribute,
    attribute_candidates,
    attribute_continuation,
    attribute_many,
    cli,
    flip,
    reduce_input,
)
from interpret.corpus import explain_columns, read_corpus, read_rows
from nexttoken import NextTokenLM

ROOT = Path(__file__).parents[1]
OWN = tuple(str(ROOT / package) for package in ("interpret", "nexttoken"))
REFUSALS = (ValueError, OSError, ArithmeticError, MemoryError)  # with a message that was written for whoever asked
SLOW = 20.0  # seconds in which a tiny model has answered
TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
Draw = Callable[[st.SearchStrategy[Any]], Any]


class BrokenError(AssertionError):
    """An input was neither answered nor refused."""


# The model


def save_model(folder: Path) -> Path:
    """A GPT-2 of 40 kB with a tokenizer for bytes and a chat template."""
    special = ["<s>", "</s>", "<|user|>", "<|assistant|>", "<|system|>", "<|end|>"]
    signs = sorted(pre_tokenizers.ByteLevel.alphabet())
    bytewise = Tokenizer(models.BPE({sign: place for place, sign in enumerate(signs)}, []))
    bytewise.pre_tokenizer, bytewise.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    bytewise.add_special_tokens(special)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=bytewise, bos_token="<s>", eos_token="</s>", chat_template=TEMPLATE
    )
    torch.manual_seed(0)
    sizes = {"n_positions": 96, "n_embd": 16, "n_layer": 1, "n_head": 2}
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(vocab_size=262, **sizes))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


# What is drawn

ODD = [
    "", " ", "\n", "\t", "\r\n", "\0", "\x1b[31m", "\ufeff", "\u200b", "\u202e", "\u2028", "\ud800", "e\u0301\u0301",
    "👩‍👩‍👧", "<s>", "</s>", "<|end|>", "<|user|>", "{{ messages }}", "{% for %}", "a" * 500,
    "<script>", "$x_1$", "\\", "'", '"',
    "[/red]", "%s", "-", "--help", "../..", "नमस्ते", "مرحبا", "中文", " are", "The keys to the cabinet near the door",
]  # fmt: skip
any_text = st.lists(
    st.sampled_from(ODD) | st.text(max_size=8) | st.text("abc \n", max_size=20), min_size=0, max_size=5
).map("".join)
texts = st.one_of(st.just("The keys to the cat"), any_text)
numbers = st.one_of(st.integers(-3, 300), st.sampled_from([2**31, -(2**63), 10**30]), st.floats(), st.booleans())
junk = st.recursive(
    st.none() | numbers | any_text | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text, inner, max_size=3),
    max_leaves=6,
)
message = st.fixed_dictionaries(
    {}, optional={"role": st.sampled_from(["user", "system", "assistant", "tool", ""]) | junk, "content": texts | junk}
)
chats = st.lists(message | junk, max_size=4)
ids = st.lists(st.integers(-2, 270) | numbers, max_size=8)
prompts = st.one_of(texts, texts, texts, chats, ids, junk)
tokens = st.one_of(st.none(), st.sampled_from(["a", " ", "e", "<s>", 69, 0, 261]), any_text, numbers)
targets = st.one_of(tokens, tokens, st.lists(tokens, max_size=3), junk)
regions = st.one_of(
    st.none(), st.sampled_from(["keys", "(a+)+$", "(", "", "(?<=x*)k", "^", "\\", "(?P<a>", "[[:foo:]]", ".*"]),
    any_text, st.tuples(numbers, numbers), st.integers(-3, 5), junk,
)  # fmt: skip
methods = st.sampled_from([None, GIM(), GradientTimesInput(), VanillaGradient(), IntegratedGradients(steps=2)])
fields = {
    name: junk | strategy
    for name, strategy in {
        "prompt": texts | chats, "target": tokens, "contrast": st.lists(tokens, max_size=3),
        "to": tokens, "method": st.sampled_from(["gim", "vanilla-gradient", "gradient-times-input", "inseq:gradient"]),
        "settings": st.dictionaries(any_text | st.sampled_from(["norm", "baseline", "steps"]), any_text, max_size=2),
        "candidates": numbers, "check": st.booleans(), "by": st.sampled_from(["piece", "word", "message", "line"]),
        "continuation": texts, "generate": numbers, "max_edits": numbers, "ignore": texts, "keep": numbers,
        "region": texts, "start": tokens, "precision": any_text, "memory_budget": numbers, "beam": numbers,
        "seed": numbers, "nothing": junk,
    }.items()
}  # fmt: skip
usual_bodies = st.fixed_dictionaries(
    {"prompt": st.just("The keys to the cat")},
    optional={
        "target": st.sampled_from(["a", 69]), "contrast": st.just(["e"]), "check": st.booleans(),
        "candidates": st.integers(1, 10), "method": st.just("gim"), "by": st.just("word"),
        "generate": st.just(2), "max_edits": st.just(1), "keep": st.just(0.5),
    },
)  # fmt: skip
bodies = st.builds(
    lambda usual, odd: {**usual, **odd},
    usual_bodies,
    st.lists(st.sampled_from(sorted(fields)), max_size=2).flatmap(
        lambda names: st.fixed_dictionaries({name: fields[name] for name in names})
    ),
)


def mostly(usual: Any, odd: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Something usual twice as often as something odd, so that what is odd stands in a question that has an answer."""
    return st.one_of(st.just(usual), st.just(usual), odd)


# What must hold


def tried(work: Callable[[], Any]) -> str:
    """Whether a call is answered or refused. Raises BrokenError for all else: what is not ours, or says nothing."""
    begun = time.monotonic()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            work()
    except REFUSALS as error:
        if not refused(error):
            raise BrokenError("".join(traceback.format_exception(error)[-3:])) from error
        found = "refused"
    except Exception as error:
        raise BrokenError("".join(traceback.format_exception(error)[-3:])) from error
    else:
        found = "answered"
    if time.monotonic() - begun > SLOW:
        raise BrokenError(f"took {time.monotonic() - begun:.0f} s")
    return found


def refused(error: Exception) -> bool:
    """Whether an error was raised by us, or by the system about a file, and says something."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = frames[-1].filename.startswith(OWN) or isinstance(error, OSError)
    return ours and len(str(error)) > 8 and not isinstance(error, UnicodeError)


class Surfaces:
    """Each surface tries one input of its own, drawn from `draw`."""

    def __init__(self, lm: NextTokenLM, folder: Path):
        from starlette.testclient import TestClient

        from interpret.server.app import application
        from interpret.session.work import Worker

        self.lm, self.folder, self.kept = lm, folder, attribute(lm, "The keys", method=GIM())
        self.worker = Worker()
        page = application(lm, self.worker, ("127.0.0.1",))
        self.client = TestClient(page, base_url="http://127.0.0.1", raise_server_exceptions=True)

    def api(self, draw: Draw) -> str:
        """A prompt, a target, foils, a region and a method."""
        prompt, target, method = draw(mostly("The keys to the cat", prompts)), draw(mostly("a", targets)), draw(methods)
        more = {
            "contrast": draw(mostly(None, targets)), "region": draw(mostly(None, regions)),
            "start": draw(mostly(None, tokens)),
        }  # fmt: skip
        kind = draw(st.sampled_from(["one", "candidates", "continuation", "many", "flip", "reduce"]))
        lm = self.lm

        def work() -> None:
            if kind == "one":
                whole(attribute(lm, prompt, target, method, **more))
            elif kind == "candidates":
                whole(attribute_candidates(lm, prompt, target, method, region=more["region"]))
            elif kind == "continuation":
                whole(attribute_continuation(lm, prompt, target, method, region=more["region"], max_new_tokens=2))
            elif kind == "many":
                list(attribute_many(lm, [prompt, "The keys"], [target, None], method, region=more["region"]))
            elif kind == "flip":
                flip(lm, prompt, target, contrast=more["contrast"], max_edits=1, beam=1, candidates=2).to_json()
            else:
                reduce_input(lm, prompt, target, beam=1).to_json()

        return tried(work)

    def results(self, draw: Draw) -> str:
        """A file that is no result, totals by what is no division, an ending or width that is none."""
        path = self.folder / "result.json"
        plain = self.kept.to_dict()
        plain.update(draw(st.dictionaries(st.sampled_from(sorted(plain)), junk, max_size=2)))
        data = draw(st.binary(max_size=30) | st.just(json.dumps(plain, default=repr).encode()))
        ending, by, width = draw(any_text), draw(junk), draw(junk | st.sampled_from(["column", "ACL text"]))
        path.write_bytes(data[: draw(st.sampled_from([None, 40, len(data) // 2]))])
        work = draw(st.sampled_from([
            lambda: Attribution.load(path), lambda: AttributionMatrix.load(path), lambda: self.kept.totals(by),
            lambda: self.kept.save(self.folder / f"x.{ending}", width), lambda: self.kept.heatmap(width),
        ]))  # fmt: skip
        return tried(work)

    def command(self, draw: Draw) -> str:
        """Words on a command line."""
        name = draw(st.sampled_from(["explain", "predict", "flip", "reduce"]))
        option = st.sampled_from([
            "--target", "--contrast", "--region", "--chat", "--by", "--candidates", "--continuation", "--generate",
            "--start", "--method", "--set", "--format", "--width", "--to", "--ignore", "--keep", "--top", "--json",
            "--nothing",
        ])  # fmt: skip
        word = texts | st.sampled_from(["gim", "table", "json", "1", "-1", "word", "norm=3", "steps=2", "nan", "auto"])
        words = [
            name,
            draw(mostly("The keys to the cat", texts | chats.map(lambda chat: json.dumps(chat, default=repr)))),
        ]
        for _ in range(draw(st.integers(0, 3))):
            words += [draw(option), draw(word)]
        words += draw(st.sampled_from([[], ["--save", str(self.folder / "out.html")]]))
        shown = CliRunner().invoke(
            cli.app, words, input=draw(texts).encode("utf-8", "surrogatepass"), env={"COLUMNS": "200"}
        )
        if shown.exception is not None and not isinstance(shown.exception, SystemExit):
            raise BrokenError("".join(traceback.format_exception(shown.exception)[-3:])) from shown.exception
        if "Traceback" in shown.output or shown.exit_code not in (0, 1, 2):
            raise BrokenError(f"exit status {shown.exit_code}: {shown.output}")
        if shown.exit_code and not shown.stderr.strip():
            raise BrokenError("it failed, and said nothing")
        return "refused" if shown.exit_code else "answered"

    def page(self, draw: Draw) -> str:
        """The body of a request."""
        kind = draw(st.sampled_from(["predict", "token", "explain", "continuation", "flip", "reduce", "command"]))
        body = draw(st.one_of(bodies, bodies, bodies, junk))
        data = draw(mostly(json.dumps(body, default=repr).encode(), st.binary(max_size=20)))
        begun = time.monotonic()
        answer = self.client.post(f"/api/{kind}", content=data, headers={"content-type": "application/json"})
        if answer.status_code >= 500:
            raise BrokenError(f"status {answer.status_code}: {answer.text}")
        lines = [json.loads(line) for line in answer.text.splitlines() if line.strip()]
        if time.monotonic() - begun > SLOW:
            raise BrokenError(f"took {time.monotonic() - begun:.0f} s")
        last = lines[-1]
        if answer.status_code == 200 and last["event"] not in ("done", "error"):
            raise BrokenError(f"it ended with {last}")
        if answer.status_code == 200 and last["event"] == "error" and len(last["message"]) < 9:
            raise BrokenError(f"it said {last['message']!r}")
        return "answered" if answer.status_code == 200 and last["event"] == "done" else "refused"

    def rows(self, draw: Draw) -> str:
        """A row of a table, beside one that is right: it has an error of its own, and the other its answer."""
        row = {
            "prompt": draw(mostly("The keys to the cat", prompts)), "target": draw(mostly(None, targets)),
            "contrast": draw(mostly(None, targets)), "region": draw(mostly(None, regions)),
        }  # fmt: skip
        columns = {name: [value, "The keys" if name == "prompt" else None] for name, value in row.items()}
        columns["id"] = ["first", "second"]
        found: dict[str, list[Any]] = {}
        status = tried(lambda: found.update(explain_columns(self.lm, columns)))
        if status == "refused":
            raise BrokenError("a row spoiled the others")
        if found["error"][1] is not None:
            raise BrokenError(f"a row spoiled its neighbour: {found['error'][1]}")
        if found["error"][0] is not None and len(found["error"][0]) < 9:
            raise BrokenError(f"a row's error is {found['error'][0]!r}")
        return "answered" if found["error"][0] is None else "refused"

    def files(self, draw: Draw) -> str:
        """A data set's file: cut off, in another encoding, compressed, with other columns, or none at all."""
        ending = draw(st.sampled_from([".jsonl", ".json", ".csv", ".tsv", ".parquet", ".jsonl.gz", ".txt", ".csv.gz"]))
        line = st.one_of(
            st.fixed_dictionaries({"prompt": texts}, optional={"id": junk, "target": junk}).map(
                lambda row: json.dumps(row, default=repr)
            ),
            any_text, st.just('id,prompt\n1,"The keys'), st.just("id\tprompt\n1\tThe keys\n"),
        )  # fmt: skip
        text = "\n".join(draw(st.lists(line, max_size=4)))
        encoding = draw(st.sampled_from(["utf-8", "utf-16", "latin-1", "utf-8-sig"]))
        data = draw(st.just(text.encode(encoding, "replace")) | st.binary(max_size=60))
        path = self.folder / f"rows{ending}"
        path.write_bytes(data)
        return tried(lambda: list(read_rows(path)))


def whole(result: Attribution | AttributionMatrix) -> None:
    """Show and save a result in every way, and load it again."""
    repr(result)
    result.html()
    result.heatmap()
    again = type(result).from_json(result.to_json())
    if again.to_dict() != result.to_dict():
        raise BrokenError("what was saved is not what was loaded")


# What runs


def fuzz(surfaces: Surfaces, name: str, count: int, start: int) -> tuple[Counter[str], str]:
    """How many inputs of a surface were answered and refused, and the smallest that was neither."""
    found: Counter[str] = Counter()

    @seed(start)
    @settings(
        max_examples=count, deadline=None, database=None, phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck), print_blob=False,
    )  # fmt: skip
    @given(st.data())
    def one(data: Any) -> None:
        drawn: list[Any] = []

        def draw(strategy: st.SearchStrategy[Any]) -> Any:
            drawn.append(data.draw(strategy))
            return drawn[-1]

        try:
            found[getattr(surfaces, name)(draw)] += 1
        except BrokenError as error:
            raise BrokenError(f"{error}\ndrawn: {drawn!r}") from None

    try:
        one()
    except BrokenError as error:
        return found, str(error)
    except BaseExceptionGroup as group:
        return found, "\n".join(str(error) for error in group.exceptions)
    return found, ""


def kills(model: Path, folder: Path, count: int, start: int) -> list[str]:
    """Kill commands at random moments: what stands in their files afterwards is old, new, or absent, and never half."""
    chance, failures = random.Random(start), []
    rows = folder / "kills.jsonl"
    rows.write_text(
        "".join(json.dumps({"id": f"r{n}", "prompt": "The keys to the cat"[: 5 + n % 9]}) + "\n" for n in range(40))
    )
    saved = [folder / f"killed.{ending}" for ending in ("json", "html", "png", "pdf")]
    explain = ["explain", "The keys to the cat", "--model", str(model), *(f"--save={path}" for path in saved)]
    out = folder / "killed-corpus"
    corpus = ["corpus", str(rows), str(out), "--model", str(model)]
    usual = {"explain": timed(explain)}
    begun = time.monotonic()
    for number in range(count):
        name, words = ("corpus", corpus) if number % 5 == 4 else ("explain", explain)
        if name not in usual:
            usual[name] = timed([*corpus[:2], f"{out}-whole", *corpus[3:]])
        process = started(words)
        time.sleep(chance.uniform(0, usual[name]))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        failures += [f"after kill {number + 1} of {name}: {each}" for each in broken_files(saved, folder)]
    print(f"{count} kills in {time.monotonic() - begun:.0f} s", flush=True)
    if "corpus" not in usual:  # none of so few was killed
        return failures
    done = started(corpus)
    said = done.communicate(timeout=600)[0]
    found = sorted(own for own, _ in read_corpus(out)) if done.returncode == 0 else []
    if found != sorted(f"r{n}" for n in range(40)):
        failures.append(f"the corpus does not go on: {done.returncode}, {len(found)} rows\n{said}")
    return failures


def started(words: list[str]) -> subprocess.Popen[str]:
    """The command as a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "interpret.cli", *words], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, start_new_session=True,
    )  # fmt: skip


def timed(words: list[str]) -> float:
    """The seconds of a run that nobody kills."""
    begun, process = time.monotonic(), started(words)
    said = process.communicate(timeout=600)[0]
    if process.returncode:
        raise RuntimeError(said)
    return time.monotonic() - begun


def broken_files(paths: list[Path], folder: Path) -> list[str]:
    """The files that are neither whole nor absent."""
    from PIL import Image

    found = []
    for path in paths:
        if not path.exists():
            continue
        data = path.read_bytes()
        try:
            if path.suffix == ".json":
                Attribution.load(path)
            elif path.suffix == ".png":
                Image.open(path).load()
            elif not data.rstrip().endswith((b"</html>", b"%%EOF")):
                raise ValueError("its end is missing")
        except (ValueError, OSError, SyntaxError) as error:
            found.append(f"{path.name}: {error}")
    return found


def main() -> int:
    """Try all of it, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=10_000, help="inputs, over all surfaces")
    parser.add_argument("--kills", type=int, default=50, help="processes that are killed")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn")
    asked = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    failures = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = save_model(folder / "model")
        lm = NextTokenLM.from_pretrained(model)
        cli._load = lambda *given: lm  # every command of this process asks the same model
        surfaces = Surfaces(lm, folder)
        shares = {"api": 0.25, "results": 0.1, "command": 0.2, "page": 0.2, "rows": 0.15, "files": 0.1}
        print(f"{'surface':10}{'answered':>10}{'refused':>10}{'seconds':>10}")
        for surface, share in shares.items():
            begun = time.monotonic()
            found, failure = fuzz(surfaces, surface, round(asked.examples * share), asked.seed)
            seconds = time.monotonic() - begun
            print(f"{surface:10}{found['answered']:10}{found['refused']:10}{seconds:10.0f}", flush=True)
            failures += [f"{surface}: {failure}"] if failure else []
        surfaces.worker.close()
        if asked.kills:
            failures += kills(model, folder, asked.kills, asked.seed)
    print(*failures, sep="\n\n")
    print(f"{len(failures)} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
