"""A data set made ready: read once, its ids known to be unique, in blocks of rows that workers take one by one."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any

from interpret.corpus.files import arrow
from interpret.corpus.reading import Rows, read_rows

SMALLEST, LARGEST, BLOCKS_OF_A_SIZE = 16, 1024, 64
ROW = "row"  # the column that holds what a row asks, as JSON


@dataclass(frozen=True)
class Staged:
    """A data set that lies ready.

    Attributes:
        rows: how many there are.
        digest: of all rows in their order.
    """

    rows: int
    digest: str


def stage(source: str | Path, folder: Path) -> Staged:
    """Read a data set and lay its rows into a folder as Parquet files, a block each, with the columns `id` and `row`.

    The first blocks are small, so that a small data set keeps every worker busy and something is soon finished; they
    grow to 1,024 rows. What is in the folder before is deleted; the memory needed is that of a block, and about
    100 bytes for each id.

    Raises what `read_rows` raises, and ValueError for a data set without rows.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    hashed, rows = hashlib.blake2b(digest_size=16), 0
    types, parquet = arrow(), arrow().parquet
    for number, block in enumerate(_blocks(read_rows(source))):
        texts = [json.dumps(row, default=str, sort_keys=True) for row in block]
        for text in texts:
            hashed.update(text.encode() + b"\n")
        ids = [row["id"].encode("utf-8", "backslashreplace").decode() for row in block]
        parquet.write_table(types.table({"id": ids, ROW: texts}), folder / f"{number:08d}.parquet")
        rows += len(block)
    if not rows:
        raise ValueError(f"there is no row in {str(source)!r}")
    return Staged(rows, hashed.hexdigest())


def _blocks(rows: Rows) -> Iterator[list[dict[str, Any]]]:
    for number in count():
        block = list(islice(rows, min(LARGEST, SMALLEST << number // BLOCKS_OF_A_SIZE)))
        if not block:
            return
        yield block


def source_state(source: str | Path) -> list[list[Any]]:
    """The names, sizes and times of a data set's files: while they stay the same, it need not be read again.

    Raises FileNotFoundError where there is none.
    """
    path = Path(source).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"there is no file or folder {str(path)!r}")
    files = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
    return [[str(each.absolute()), each.stat().st_size, each.stat().st_mtime_ns] for each in files]


def asked(rows: list[str], ids: list[str]) -> dict[str, list[Any]]:
    """The columns that staged rows ask, as `explain_columns` takes them."""
    read = [{**json.loads(text), "id": own} for own, text in zip(ids, rows, strict=True)]
    return {name: [row.get(name) for row in read] for name in (read[0] if read else ())}
