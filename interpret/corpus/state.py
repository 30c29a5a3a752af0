"""What a run keeps beside its output, in `OUT.run`: what it is a run of, its input made ready, and what is finished."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from interpret.corpus.files import arrow
from interpret.results.files import write_whole

PENDING = ".pending.parquet"  # how Ray Data ends the name of a checkpoint whose data file is being written
ERROR = "error"  # the file that says what ended a worker's work
OF_THE_INPUT = ("rows", "digest")  # facts that are others where the input is
LONGEST_SHOWN = 120  # characters of a fact in a message


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
        """Fixed the run alone. Raises BlockingIOError while another process does."""
        import filelock

        self.path.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(self.path / "lock")
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            raise BlockingIOError(f"another run is writing {str(self.out)!r} at this moment") from None
        try:
            yield
        finally:
            lock.release()

    def read(self, name: str) -> dict[str, Any] | None:
        """A file of facts, or None where there is none."""
        path = self.path / f"{name}.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def write(self, name: str, facts: Mapping[str, Any]) -> None:
        """Keep facts in a file, whole or not at all."""
        text = json.dumps(facts, indent=1, ensure_ascii=False)
        write_whole(self.path / f"{name}.json", lambda part: part.write_text(text, encoding="utf-8"))

    def forget(self, name: str) -> None:
        """Delete a file of facts, if it is there."""
        (self.path / f"{name}.json").unlink(missing_ok=True)

    def agree(self, name: str, facts: Mapping[str, Any]) -> None:
        """Keep facts if nobody has before. Raises ValueError, naming one that differs, if they are others.

        Of processes that come at the same time, one keeps its facts and the others are compared with them.
        """
        path = self.path / f"{name}.json"
        part = self.path / f".{name}-{secrets.token_hex(8)}"
        part.write_text(json.dumps(facts, indent=1, ensure_ascii=False), encoding="utf-8")
        try:
            os.link(part, path)
        except FileExistsError:
            self.compare(name, facts)
        except OSError:  # a file system without hard links
            if path.exists():
                self.compare(name, facts)
            else:
                part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    def compare(self, name: str, facts: Mapping[str, Any]) -> None:
        """Raise ValueError, in one line, if facts that were kept are others than these."""
        kept = self.read(name) or {}
        for key in facts:
            if key in kept and kept[key] != facts[key]:
                if key in OF_THE_INPUT:
                    said = "the input has changed since; explain it into another folder"
                else:
                    said = f"they were made with {key} {_short(kept[key])}, not {_short(facts[key])}; "
                    said += "choose another folder, or ask as then"
                raise ValueError(f"{str(self.out)!r} has rows of another run: {said}")

    def committed(self, known: Mapping[str, int] | None = None) -> dict[str, int]:
        """What is finished: the beginning of the names of data files, each with its number of rows.

        What was known to be finished before is not looked at again.
        """
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

        A data file counts when its checkpoint was committed, which holds the same ids; ids are unique in the input and
        those that are committed are not given out again. So the rows of both are compared, file by file, without
        holding ids in memory. Raises OSError, saying what is missing, otherwise.
        """
        parquet, committed, found = arrow().parquet, self.committed(), dict[str, int]()
        for path in self.out.glob("*.parquet"):
            own = re.sub(r"-\d+$", "", path.stem)
            if own not in committed:
                path.unlink()
            else:
                found[own] = found.get(own, 0) + parquet.read_metadata(path).num_rows
        missing = [name for name, count in committed.items() if found.get(name) != count]
        if missing or sum(found.values()) != rows:
            raise OSError(
                f"{str(self.out)!r} has {sum(found.values())} of {rows} rows"
                + (f"; files that were written are gone, such as {missing[0]}" if missing else "")
                + "; delete it and its folder of the run, and start anew"
            )

    def forget_input(self) -> None:
        """Delete the input that was made ready, which nobody needs when all is done."""
        shutil.rmtree(self.input, ignore_errors=True)
        shutil.rmtree(self.attempts, ignore_errors=True)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."
