"""The table of a corpus: its columns, data sets of any kind as rows, and results as Parquet and read back."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from interpret.results.attribution import Attribution
from interpret.results.files import write_whole

Row = dict[str, Any]
Rows = Iterator[Row]

INPUT = ("id", "prompt", "messages", "target", "contrast", "region", "continuation")
FAULT = "fault"  # the column that says why a row of the input could not be read
VERSION = 1  # of the output; it changes when a column changes its meaning
OUTPUT: Mapping[str, Any] = {  # the columns with Arrow's types; a list is one of that type, for each piece or foil
    "id": "string", "prompt": "string", "pieces": ["string"], "scores": ["double"], "target": "string",
    "target_id": "int64", "probability": "double", "rank": "int64", "foils": ["string"], "unit": "string",
    "method": "string", "gap": "double", "verdict": "string", "check": "string", "gradients": "int64",
    "forwards": "int64", "seconds": "double", "error": "string", "labels": ["string"], "token_ids": [["int64"]],
    "standard_error": ["double"], "numerical_error": ["double"], "fixed": ["bool"], "template": ["bool"],
    "facts": "string",
}  # fmt: skip
LISTS = {  # columns with an entry for each piece, and their names in `Attribution.to_dict`
    "pieces": "tokens", "scores": "scores", "labels": "labels", "token_ids": "token_ids",
    "standard_error": "standard_error", "numerical_error": "error", "fixed": "fixed", "template": "template",
}  # fmt: skip
READ = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
ROWS_PER_BATCH = 1024  # of a Parquet file that are in memory at once


def optional(*modules: str) -> Any:
    """The first of some modules, all of them imported. Raises ImportError, which says what to install."""
    try:
        first, *_ = [import_module(module) for module in modules]
        return first
    except ImportError as error:
        package = modules[0].partition(".")[0]
        raise ImportError(
            f"a corpus needs the package {package}; pip install 'nexttoken-interpret[corpus]' installs it ({error})"
        ) from error


def arrow() -> Any:
    """pyarrow, with its `dataset`, `ipc` and `parquet`."""
    return optional("pyarrow", "pyarrow.dataset", "pyarrow.ipc", "pyarrow.parquet")


def read_rows(path: str | Path) -> Rows:
    """The rows of a data set in order, each with an `id`, which is the row's number where it has none.

    Lines that are no row come with their `fault`. Nothing but one row at a time is kept in memory, but for a list in
    a .json file.

    Args:
        path: a file that ends in .jsonl, .ndjson, .json (a line per row, or a list of them), .csv, .tsv or .parquet,
            the texts also with .gz behind; or a folder: of Parquet files, or as `datasets.Dataset.save_to_disk` writes
            it.

    Raises:
        ValueError: another ending, an id that comes twice, a file that is cut off or damaged, or a saved `DatasetDict`,
            of which one split is to be given.
        OSError: a file that is not there or cannot be read.
        ImportError: pyarrow is missing, for what needs it.
    """
    path = Path(path).expanduser()
    seen: set[str] = set()
    for number, row in enumerate(_rows_of(path)):
        given = row.get("id")
        row_id = str(number) if given is None or given == "" else str(given)
        if row_id in seen:
            raise ValueError(f"the id {row_id!r} comes twice, the second time in row {number}; ids must be unique")
        seen.add(row_id)
        yield {**{name: row.get(name) for name in (*INPUT, FAULT)}, "id": row_id}


def _rows_of(path: Path) -> Rows:
    """The rows as they are written. Raises ValueError, naming the file, for one that is not what its ending says."""
    ending = Path(path.name.lower().removesuffix(".gz")).suffix
    try:
        if path.is_dir():
            yield from _folder_rows(path)
        elif ending == ".parquet":
            yield from parquet_rows(path)
        elif ending in (".csv", ".tsv"):
            yield from _delimited_rows(path, "," if ending == ".csv" else "\t")
        elif ending in READ:
            yield from _json_rows(path, ending == ".json")
        else:
            raise ValueError(f"the ending must be one of {', '.join(READ)}, of texts also with .gz, or it is a folder")
    except (ValueError, EOFError, zlib.error, csv.Error, LookupError, TypeError, RecursionError) as error:
        raise ValueError(f"cannot read {str(path)!r}: {error}") from error


def _open(path: Path) -> Any:
    return gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb")


def _json_rows(path: Path, may_be_list: bool) -> Rows:
    def row_of(entry: Any, name: str) -> Row:
        return entry if isinstance(entry, dict) else {FAULT: f"{name} is no JSON object"}

    with _open(path) as file:
        if may_be_list and file.peek(1024).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"[":
            yield from (row_of(entry, f"entry {number}") for number, entry in enumerate(json.loads(file.read())))
            return
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    yield row_of(json.loads(line), f"line {number}")
                except (ValueError, RecursionError) as error:
                    yield {FAULT: f"line {number} is not JSON: {error}"}


def _delimited_rows(path: Path, delimiter: str) -> Rows:
    with io.TextIOWrapper(_open(path), encoding="utf-8-sig", newline="", errors="replace") as file:
        reader: csv.DictReader[Any] = csv.DictReader(file, delimiter=delimiter)
        for row in reader:
            if None in row:  # where fields stand that have no column
                row = {"id": row.get("id"), FAULT: f"line {reader.line_num} has more fields than there are columns"}
            yield {name: value or None for name, value in row.items()}


def _folder_rows(path: Path) -> Rows:
    """The Parquet files of a folder in the order of their names, or the Arrow files of a saved data set in its own."""
    if (state := path / "state.json").exists():
        for each in json.loads(state.read_text(encoding="utf-8"))["_data_files"]:
            with (path / each["filename"]).open("rb") as file:
                for batch in arrow().ipc.open_stream(file):
                    yield from batch.to_pylist()
        return
    if (splits := path / "dataset_dict.json").exists():
        names = json.loads(splits.read_text(encoding="utf-8")).get("splits", [])
        raise ValueError(f"it holds several splits; give the folder of one of them: {', '.join(names)}")
    for each in _parquet_files(path):
        yield from parquet_rows(each)


def parquet_rows(path: Path) -> Rows:
    """The rows of a Parquet file as they stand in it, a batch of them in memory at a time."""
    with arrow().parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(ROWS_PER_BATCH):
            yield from batch.to_pylist()


def _parquet_files(folder: Path) -> list[Path]:
    files = sorted(folder.glob("*.parquet"))
    if not files:
        raise ValueError(f"the folder {str(folder)!r} has no Parquet files, and is no saved data set")
    return files


def result_row(row_id: str, attribution: Attribution, seconds: float) -> Row:
    """A result as a row of the output; `attribution_of` is the inverse."""
    facts, target, check = attribution.to_dict(), attribution.target, attribution.faithfulness
    lists = {column: facts.pop(name) for column, name in LISTS.items()}
    return {
        **dict.fromkeys(OUTPUT),
        "id": row_id,
        "prompt": attribution.prompt,
        "target": "".join(each.text for each in target.continuation) if target else None,
        "target_id": target and target.id,
        "probability": target and target.probability,
        "rank": target and target.rank,
        "foils": [foil.text for foil in target.foils] if target else [],
        "unit": attribution.unit,
        "method": attribution.method,
        "gap": attribution.completeness and attribution.completeness.relative_gap,
        "verdict": check and check.verdict,
        "check": check and check.sentence,
        "gradients": attribution.gradients_spent,
        "forwards": attribution.forwards_spent,
        "seconds": seconds,
        **lists,
        "facts": json.dumps(facts, ensure_ascii=False, allow_nan=False),
    }


def error_row(row_id: str, prompt: Any, error: str, seconds: float = 0.0) -> Row:
    """A row of the output that could not be explained, and why; a prompt other than a text is written as JSON."""
    if prompt is not None and not isinstance(prompt, str):
        prompt = json.dumps(prompt, default=str, ensure_ascii=False)
    return {**dict.fromkeys(OUTPUT), "id": row_id, "prompt": prompt, "error": error, "seconds": seconds}


def attribution_of(row: Mapping[str, Any]) -> Attribution:
    """The result in a row of the output. Raises ValueError for a row with an error."""
    if row.get("error") is not None:
        raise ValueError(f"row {row.get('id')!r} was not explained: {row['error']}")
    if "held" in row:  # what version 0.2 called `fixed`
        row = {"fixed": row["held"], **row}
    lists = {name: plain(row[column]) for column, name in LISTS.items()}
    return Attribution.from_dict({**json.loads(row["facts"]), **lists})


def plain(value: Any) -> Any:
    """A cell of any engine's table, arrays and tuples as lists."""
    value = value.tolist() if hasattr(value, "tolist") else value
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


def output_schema() -> Any:
    """The columns of the output as a pyarrow.Schema, with the version in its metadata."""
    types = arrow()

    def typed(name: Any) -> Any:
        return types.list_(typed(*name)) if isinstance(name, list) else types.type_for_alias(name)

    columns = [(name, typed(of)) for name, of in OUTPUT.items()]
    return types.schema(columns, metadata={"nexttoken.corpus": str(VERSION)})


def as_table(columns: Mapping[str, Sequence[Any]]) -> Any:
    """The columns of an output as a pyarrow.Table."""
    return arrow().table({name: encodable(list(values)) for name, values in columns.items()}, schema=output_schema())


def encodable(values: Any) -> Any:
    """Texts, in lists too, in which lone surrogates, which UTF-8 cannot write, stand as their escapes."""
    if isinstance(values, str):
        return values.encode("utf-8", "backslashreplace").decode()
    return [encodable(each) for each in values] if isinstance(values, list) else values


def write_columns(columns: Mapping[str, Sequence[Any]], path: str | Path) -> Path:
    """Write what `explain_columns` returned as a Parquet file, whole or not at all."""
    table, parquet = as_table(columns), arrow().parquet
    return write_whole(Path(path).expanduser(), lambda part: parquet.write_table(table, part, compression="zstd"))


def read_corpus(folder: str | Path) -> Iterator[tuple[str, Attribution | str]]:
    """The rows of an output, one after the other: their ids, each with its Attribution or with the error it had.

    Raises ValueError for a folder without Parquet files, files that are no output of a corpus, and a file that was cut
    short because the run that wrote it was.
    """
    for path in output_files(folder):
        for row in parquet_rows(path):
            yield row["id"], row["error"] if row["error"] is not None else attribution_of(row)


def output_files(folder: str | Path) -> dict[Path, int]:
    """The files of an output in the order of their names, each with its number of rows. Raises as `read_corpus`."""
    parquet, found = arrow().parquet, {}
    for path in _parquet_files(Path(folder).expanduser()):
        try:
            metadata = parquet.read_metadata(path)
        except arrow().ArrowInvalid:
            raise ValueError(
                f"{str(path)!r} was cut short, as its run was; start the run again, which finishes it"
            ) from None
        missing = [name for name in ("id", "error", "facts") if name not in metadata.schema.to_arrow_schema().names]
        if missing:
            raise ValueError(f"{str(path)!r} is no output of a corpus: it has no column {missing[0]}")
        found[path] = metadata.num_rows
    return found
