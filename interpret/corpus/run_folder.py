"""What a run keeps beside its output, in `OUT.run`: what it is a run of, its input made ready, and what is finished."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count, islice
from pathlib import Path
from typing import Any

from interpret.corpus.table import arrow, encodable, read_rows
from interpret.results.files import write_whole

ROW = "row"  # the column of the input made ready that holds what a row asks, as JSON
SMALLEST_BLOCK, LARGEST_BLOCK, BLOCKS_PER_SIZE = 16, 1024, 64
PENDING = ".pending.parquet"  # how Ray Data ends the name of a checkpoint whose data file is being written
INPUT_FACTS = ("rows", "digest")


class RunFolder:
    """The folder `OUT.run` beside an output folder, and what lies in it."""

    def __init__(self, out: Path):
        self.out = out
        self.path = out.with_name(f"{out.name}.run")
        self.input = self.path / "input"
        self.checkpoint = self.path / "checkpoint"
        self.attempts = self.path / "attempts"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only run in this folder, with a fresh folder of attempts; it and the input are gone in the end.

        Raises BlockingIOError while another process is in it.
        """
        import filelock

        self.path.mkdir(parents=True, exist_ok=True)
        try:
            lock = filelock.FileLock(self.path / "lock").acquire(timeout=0)
        except filelock.Timeout:
            raise BlockingIOError(f"another run is writing {str(self.out)!r} at this moment") from None
        with lock:
            shutil.rmtree(self.attempts, ignore_errors=True)  # of a run that was killed
            self.attempts.mkdir()
            try:
                yield
            finally:
                for done in (self.input, self.attempts):
                    shutil.rmtree(done, ignore_errors=True)

    def read(self, name: str) -> dict[str, Any] | None:
        """A file of facts, or None where there is none."""
        path = self.path / f"{name}.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def write(self, name: str, facts: Mapping[str, Any]) -> None:
        text = json.dumps(facts, indent=1, ensure_ascii=False)
        write_whole(self.path / f"{name}.json", lambda part: part.write_text(text, encoding="utf-8"))

    def forget(self, name: str) -> None:
        (self.path / f"{name}.json").unlink(missing_ok=True)

    def note_of(self, ids: Sequence[str]) -> str:
        """The name of the file of facts about attempts to explain a block of rows."""
        return f"{self.attempts.name}/{hashlib.blake2b(repr(ids).encode(), digest_size=12).hexdigest()}"

    def agree(self, name: str, facts: Mapping[str, Any], anew: bool = False) -> None:
        """Keep facts, where there are none or a run begins anew; raise ValueError if others are kept than these."""
        import filelock

        with filelock.FileLock(self.path / f"{name}.lock"):
            kept = self.read(name)
            if anew or kept is None:
                self.write(name, facts)
                return
        for key in facts:
            if kept.get(key) != facts[key]:
                if key in INPUT_FACTS:
                    differs = "the input has changed since; explain it into another folder"
                else:
                    differs = f"they were made with {key} {kept.get(key)!s:.120}, not {facts[key]!s:.120}; "
                    differs += "choose another folder, or ask as then"
                raise ValueError(f"{str(self.out)!r} has rows of another run: {differs}")

    def committed(self, known: Mapping[str, int] | None = None) -> dict[str, int]:
        """How the names of finished data files begin, each with its number of rows; `known` are not read again."""
        parquet, found = arrow().parquet, dict(known or {})
        for path in self.checkpoint.glob("*.parquet"):
            if not path.name.endswith(PENDING) and path.stem not in found:
                try:
                    found[path.stem] = parquet.read_metadata(path).num_rows
                except FileNotFoundError:  # renamed just now
                    continue
        return found

    def settle(self, rows: int) -> None:
        """Delete data files that were not finished, and make sure that what is left is every row once.

        A data file counts when its checkpoint, which has the same ids, was committed. Ids are unique in the input, and
        those that are committed are not given out again, so that it is enough to count rows. Raises OSError otherwise.
        """
        committed, found = self.committed(), 0
        for path in self.out.glob("*.parquet"):
            if re.sub(r"-\d+$", "", path.stem) in committed:
                found += arrow().parquet.read_metadata(path).num_rows
            else:
                path.unlink()
        if found != rows:
            raise OSError(
                f"{str(self.out)!r} has {found} of {rows} rows, since its files were changed; delete it and its folder "
                "of the run, and start anew"
            )


def stage(source: str | Path, folder: Path) -> dict[str, Any]:
    """Read a data set and lay its rows into a folder as Parquet files, a block each, with the columns `id` and `row`.

    The first blocks are small, so that a small data set keeps every worker busy and something is soon finished; they
    grow to 1,024 rows. What is in the folder before is deleted; the memory needed is that of a block, and about
    100 bytes for each id.

    Returns the number of `rows`, and a `digest` of them all in their order. Raises what `read_rows` raises, and
    ValueError for a data set without rows.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    hashed, total, rows, types = hashlib.blake2b(digest_size=16), 0, read_rows(source), arrow()
    for number in count():
        block = list(islice(rows, min(LARGEST_BLOCK, SMALLEST_BLOCK << number // BLOCKS_PER_SIZE)))
        if not block:
            break
        texts = [json.dumps(row, default=str, sort_keys=True) for row in block]
        for text in texts:
            hashed.update(text.encode() + b"\n")
        table = types.table({"id": encodable([row["id"] for row in block]), ROW: texts})
        types.parquet.write_table(table, folder / f"{number:08d}.parquet")
        total += len(block)
    if not total:
        raise ValueError(f"there is no row in {str(source)!r}")
    return {"rows": total, "digest": hashed.hexdigest()}
