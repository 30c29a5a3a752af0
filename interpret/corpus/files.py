"""The output of a corpus as Parquet: one schema, whatever the rows, and results read back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from interpret.corpus.schema import VERSION, attribution_of
from interpret.results.attribution import Attribution
from interpret.results.files import write_whole

AT_ONCE = 1024  # rows of a Parquet file that are fixed at once


def arrow() -> Any:
    """pyarrow, with its `ipc` and `parquet`. Raises ImportError, saying what to install, where it is missing."""
    try:
        import pyarrow
        import pyarrow.ipc
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(
            "a corpus needs the package pyarrow; pip install 'nexttoken-interpret[corpus]' installs it"
        ) from error
    return pyarrow


def output_schema() -> Any:
    """The columns of the output with their types, and the version of the schema in its metadata."""
    types = arrow()
    text, number, whole, truth = types.string(), types.float64(), types.int64(), types.bool_()
    kinds = {
        "id": text, "prompt": text, "pieces": types.list_(text), "scores": types.list_(number), "target": text,
        "target_id": whole, "probability": number, "rank": whole, "foils": types.list_(text), "unit": text,
        "method": text, "gap": number, "verdict": text, "check": text, "gradients": whole, "forwards": whole,
        "seconds": number, "error": text, "labels": types.list_(text), "token_ids": types.list_(types.list_(whole)),
        "standard_error": types.list_(number), "numerical_error": types.list_(number), "fixed": types.list_(truth),
        "template": types.list_(truth), "facts": text,
    }  # fmt: skip
    return types.schema(list(kinds.items()), metadata={"nexttoken.corpus": str(VERSION)})


def as_table(columns: Mapping[str, Sequence[Any]]) -> Any:
    """The columns of an output as a pyarrow.Table; characters that are none (lone surrogates) as their escapes."""
    types, schema = arrow(), output_schema()
    plain = {name: list(values) for name, values in columns.items()}
    try:
        return types.table(plain, schema=schema)
    except UnicodeEncodeError:
        return types.table(_encodable(plain), schema=schema)


def _encodable(values: Any) -> Any:
    if isinstance(values, str):
        return values.encode("utf-8", "backslashreplace").decode()
    if isinstance(values, dict):
        return {name: _encodable(each) for name, each in values.items()}
    return [_encodable(each) for each in values] if isinstance(values, list) else values


def write_columns(columns: Mapping[str, Sequence[Any]], path: str | Path) -> Path:
    """Write what `explain_columns` returned as a Parquet file, whole or not at all."""
    table, parquet = as_table(columns), arrow().parquet
    return write_whole(Path(path).expanduser(), lambda part: parquet.write_table(table, part, compression="zstd"))


def read_corpus(folder: str | Path) -> Iterator[tuple[str, Attribution | str]]:
    """The rows of an output, one after the other: their ids, each with its Attribution or with the error it had.

    Raises ValueError for a folder without Parquet files, files that are no output of a corpus, and a file that was cut
    short because the run that wrote it was.
    """
    for row in output_rows(folder):
        yield row["id"], row["error"] if row.get("error") is not None else attribution_of(row)


def output_rows(folder: str | Path, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """The rows of an output one after the other as they stand in its files, all their columns or some of them.

    Raises as `read_corpus`.
    """
    types, parquet = arrow(), arrow().parquet
    for path in parquet_files(Path(folder).expanduser()):
        try:
            file = parquet.ParquetFile(path)
        except types.ArrowInvalid:
            raise ValueError(
                f"{str(path)!r} was cut short, as its run was; start the run again, which finishes it"
            ) from None
        with file:
            missing = [name for name in columns or ("id", "error") if name not in file.schema_arrow.names]
            if missing:
                raise ValueError(f"{str(path)!r} is no output of a corpus: it has no column {missing[0]}")
            for batch in file.iter_batches(AT_ONCE, columns=list(columns) if columns else None):
                yield from batch.to_pylist()


def rows_of_file(path: Path) -> int:
    """How many rows a Parquet file has; none where it was cut short."""
    try:
        return arrow().parquet.read_metadata(path).num_rows
    except arrow().ArrowInvalid:
        return 0


def parquet_files(folder: Path) -> list[Path]:
    """The Parquet files of a folder in the order of their names. Raises ValueError where there are none."""
    files = sorted(folder.glob("*.parquet"))
    if not files:
        raise ValueError(f"the folder {str(folder)!r} has no Parquet files, and is no saved data set")
    return files
