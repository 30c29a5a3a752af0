"""A corpus of growing size on Ray Data beside one process of `attribute_many`: rows a second, memory, overhead.

    python -m benchmarks.corpus            # the tiny model, 240, 2,400 and 24,000 rows
    python -m benchmarks.corpus bundled    # the bundled model, 240 and 2,400 rows

Both sides explain the same rows with the default method; the one process has one thread, and so has each worker.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

TEXT = "the keys to cabinet are on table near dog and cats in house old red of quiet man saw river stone"
ONE = """
import json, sys, time, torch
torch.set_num_threads(1)
from interpret import attribute_many
from nexttoken import NextTokenLM
lm = NextTokenLM.from_pretrained(sys.argv[1] or None)
prompts = [json.loads(line)["prompt"] for line in open(sys.argv[2])]
next(iter(attribute_many(lm, prompts[:1])))
begun = time.perf_counter()
for _ in attribute_many(lm, prompts): pass
print(time.perf_counter() - begun)
"""
MANY = """
import sys, time
from interpret.corpus import explain
print(explain(sys.argv[2], sys.argv[3], sys.argv[1] or None, workers=int(sys.argv[4])).seconds)
"""


def rows(path, count):
    import random

    chance = random.Random(0)
    lines = [
        json.dumps({"id": number, "prompt": "The " + " ".join(chance.choices(TEXT.split(), k=chance.randint(5, 15)))})
        for number in range(count)
    ]
    path.write_text("\n".join(lines))


def tiny(folder):
    from tests.conftest import gpt2, trained_tokenizer

    gpt2().float().save_pretrained(folder)
    trained_tokenizer().save_pretrained(folder)


def measured(code, *arguments):
    """Seconds that the code says, of the whole process, and the most memory of the driver and of a worker, in MB."""
    peaks, over, begun = {"driver": 0, "worker": 0}, threading.Event(), time.perf_counter()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE, text=True, env=environment
    )

    def watch():
        while not over.wait(0.5):
            for each in psutil.process_iter(["cmdline", "memory_info"]):
                worker = " ".join(each.info["cmdline"] or []).startswith("ray::MapWorker")
                kind = "driver" if each.pid == process.pid else "worker" if worker else None
                if kind and each.info["memory_info"]:
                    peaks[kind] = max(peaks[kind], each.info["memory_info"].rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    said = process.communicate()[0]
    over.set()
    watcher.join()
    return float(said.strip().splitlines()[-1]), time.perf_counter() - begun, {k: v / 1e6 for k, v in peaks.items()}


def working(out):
    """Seconds between the first and the last committed block, and the rows committed after the first."""
    import pyarrow.parquet

    files = sorted(Path(f"{out}.run/checkpoint").glob("*.parquet"), key=lambda path: path.stat().st_mtime)
    counts = [pyarrow.parquet.read_metadata(path).num_rows for path in files]
    return files[-1].stat().st_mtime - files[0].stat().st_mtime, sum(counts[1:])


def main(kind="tiny"):
    workers = len(os.sched_getaffinity(0))
    heads = ["rows", "one process, rows/s", f"{workers} workers at work, rows/s", "ratio", "whole run, s"]
    heads += ["until the first block and after the last, s", "again, s", "driver, MB", "a worker, MB"]
    print(f"| {' | '.join(heads)} |")
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model = str(folder / "model") if kind == "tiny" else ""
        if model:
            tiny(model)
        for count in (240, 2400, 24000) if kind == "tiny" else (240, 2400):
            source, out = folder / f"{count}.jsonl", folder / f"out{count}"
            rows(source, count)
            one, _, _ = measured(ONE, model, source)
            seconds, whole, peaks = measured(MANY, model, source, out, workers)
            at_work, done = working(out)
            again, _, _ = measured(MANY, model, source, out, workers)
            numbers = [count / one, done / at_work, done / at_work / (count / one), whole, seconds - at_work, again]
            memory = [f"{peaks[name]:.0f}" for name in ("driver", "worker")]
            print(f"| {count:,} | {' | '.join([*(f'{each:.2f}' for each in numbers), *memory])} |", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
