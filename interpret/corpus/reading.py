"""Data sets as they come: JSONL, CSV, Parquet or a folder of `datasets`, as rows with an id; a bad row stays one."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from interpret.corpus.files import AT_ONCE, arrow, parquet_files
from interpret.corpus.schema import FAULT, INPUT

Rows = Iterator[dict[str, Any]]
READERS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".jsonl.gz", ".csv.gz", ".tsv.gz")


def read_rows(path: str | Path) -> Rows:
    """The rows of a data set in order, each with an `id`, which is the row's number where it has none.

    Lines that are no row come with their `fault`. Nothing but one row at a time is kept in memory, but for a list in
    a .json file.

    Args:
        path: a file that ends in .jsonl, .ndjson, .json (a line for each row, or a list of them), .csv, .tsv or
            .parquet, the texts also with .gz behind; or a folder: of Parquet files, or as
            `datasets.Dataset.save_to_disk` writes it.

    Raises:
        ValueError: another ending, an id that comes twice, a file that is cut off or damaged, or a saved `DatasetDict`,
            of which one split is to be given.
        OSError: a file that is not there or cannot be read.
        ImportError: pyarrow is missing, for what needs it.
    """
    path = Path(path).expanduser()
    seen: set[bytes] = set()
    for number, row in enumerate(_whole(path)):
        given = row.get("id")
        row_id = str(number) if given is None or given == "" else str(given)
        digest = hashlib.blake2b(row_id.encode("utf-8", "surrogatepass"), digest_size=12).digest()
        if digest in seen:
            raise ValueError(f"the id {row_id!r} comes twice, the second time in row {number}; ids must be unique")
        seen.add(digest)
        yield {**{name: row.get(name) for name in (*INPUT, FAULT)}, "id": row_id}


def _whole(path: Path) -> Rows:
    """The rows as they are read. Raises ValueError, which names the file, for one that is not what its ending says."""
    try:
        yield from _rows(path)
    except (ValueError, EOFError, zlib.error, LookupError, TypeError) as error:
        if repr(str(path)) in str(error):
            raise
        raise ValueError(f"cannot read {str(path)!r}: {error}") from error


def _rows(path: Path) -> Rows:
    name = path.name.lower()
    ending = Path(name.removesuffix(".gz")).suffix
    if path.is_dir():
        return _folder(path)
    if ending == ".json" and _begins_a_list(path):
        return _json_list(path)
    if ending in (".jsonl", ".ndjson", ".json"):
        return _json_lines(path)
    if ending in (".csv", ".tsv"):
        return _table(path, "," if ending == ".csv" else "\t")
    if name.endswith(".parquet"):
        return _parquet(path)
    raise ValueError(f"cannot read {str(path)!r}: the ending must be one of {', '.join(READERS)}, or it is a folder")


def _opened(path: Path) -> Any:
    return gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb")


def _begins_a_list(path: Path) -> bool:
    with _opened(path) as file:
        return file.read(1024).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"["


def _json_list(path: Path) -> Rows:
    with _opened(path) as file:
        try:
            rows = json.loads(file.read().decode("utf-8-sig"))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{str(path)!r} is not JSON: {error}") from None
    for number, row in enumerate(rows):
        yield row if isinstance(row, dict) else {FAULT: f"entry {number} is no JSON object"}


def _json_lines(path: Path) -> Rows:
    with _opened(path) as file:
        for number, raw in enumerate(file, 1):
            line = raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
            if not line.strip():
                continue
            try:
                row = json.loads(line.decode("utf-8"))
            except (ValueError, RecursionError) as error:
                yield {FAULT: f"line {number} is not JSON: {error}"}
                continue
            yield row if isinstance(row, dict) else {FAULT: f"line {number} is no JSON object"}


def _table(path: Path, separator: str) -> Rows:
    with io.TextIOWrapper(_opened(path), encoding="utf-8-sig", newline="", errors="replace") as file:
        reader = csv.DictReader(file, delimiter=separator, restkey=FAULT)
        try:
            for row in reader:
                too_many = row.pop(FAULT, None)  # type: ignore[call-overload]
                if too_many is not None:
                    row = {"id": row.get("id"), FAULT: f"line {reader.line_num} has more fields than there are columns"}
                yield {name: value if value != "" else None for name, value in row.items()}
        except csv.Error as error:
            raise ValueError(f"cannot read {str(path)!r}, line {reader.line_num}: {error}") from None


def _parquet(path: Path) -> Rows:
    parquet = arrow().parquet
    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(AT_ONCE):
            yield from batch.to_pylist()


def _folder(path: Path) -> Rows:
    """The Parquet files of a folder in the order of their names, or the Arrow files of a saved data set in its own."""
    state = path / "state.json"
    if state.exists():
        ipc = arrow().ipc
        for each in json.loads(state.read_text(encoding="utf-8"))["_data_files"]:
            with (path / each["filename"]).open("rb") as file:
                for batch in ipc.open_stream(file):
                    yield from batch.to_pylist()
        return
    if (splits := path / "dataset_dict.json").exists():
        names = json.loads(splits.read_text(encoding="utf-8")).get("splits", [])
        raise ValueError(f"{str(path)!r} holds several splits; give the folder of one of them: {', '.join(names)}")
    for each in parquet_files(path):
        yield from _parquet(each)
