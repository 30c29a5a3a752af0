"""Results as files: one converter to plain values and back, one table of what writes which kind of file."""

from __future__ import annotations

import json
import os
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

if TYPE_CHECKING:
    from cattrs import Converter

SCHEMA = 2  # of the plain values; 1 is that of 0.2.0, which did not say so
PACKAGES = ("nexttoken-interpret", "torch", "transformers")  # that results depend on
FIGURES = (".png", ".pdf", ".svg", ".pgf")
JSON = "interpret.results.files:Result.to_json"
TABLES = {".csv": "interpret.views.spreadsheet:csv_text", ".tsv": "interpret.views.spreadsheet:tsv"}
PAGE = {".json": JSON, ".html": "interpret.views.html:document"}
EDITS = {".json": JSON, ".html": "interpret.views.tables:document"}
REPORT = {".json": JSON, ".html": "interpret.views.tables:document"}

# What writes each kind of result as each kind of file: a function to its text, or to its figure for FIGURES.
WRITERS: dict[str, dict[str, str]] = {
    "Attribution": {**PAGE, **TABLES, **dict.fromkeys(FIGURES, "interpret.views.heatmap:heatmap")},
    "AttributionMatrix": {**PAGE, **TABLES, **dict.fromkeys(FIGURES, "interpret.views.matrix:matrix_heatmap")},
    "Flip": EDITS,
    "Reduction": EDITS,
    "Replacements": EDITS,
    "Report": {**REPORT, **dict.fromkeys(FIGURES[:3], "interpret.views.bars:report_figure")},
}


def versions() -> dict[str, str]:
    """Name and version of the packages that a result depends on."""
    return {name: found for name in PACKAGES if (found := _version(name))}


@cache
def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def endings(kind: str) -> tuple[str, ...]:
    """The endings of the files that results of a class, such as "Attribution", are saved as."""
    return tuple(WRITERS[kind])


def function_of(name: str) -> Callable[..., Any]:
    """A function by "module:function", whose module is loaded on use: views import results, never the reverse."""
    module, _, function = name.partition(":")
    return attrgetter(function)(import_module(module))


class Result(ABC):
    """What can be saved as plain values and loaded again, and says what it is about."""

    fragment: ClassVar[str]  # what writes it as a fragment of HTML, as "module:function"

    @property
    @abstractmethod
    def title(self) -> str:
        """What is explained, in words."""

    @property
    def heading(self) -> str:
        """What stands above every view: the title, and for maps the model."""
        return self.title

    @property
    def checked(self) -> str:
        """What a check of it against the model found, in a sentence; empty where there was none."""
        return ""

    @property
    @abstractmethod
    def facts(self) -> str:
        """How it was computed, in words: the method, its gap and the model."""

    @abstractmethod
    def provenance(self) -> dict[str, Any]:
        """What was explained, how and with which versions, without the scores: plain values, for a file's metadata."""

    def html(self) -> str:
        """A fragment of HTML that asks for nothing and needs no script to be read."""
        return str(function_of(self.fragment)(self))

    def _repr_html_(self) -> str:
        return self.html()

    def save(self, path: str | Path, width: float | str | None = None) -> Path:
        """Write it whole or not at all, in the format that the file's ending names.

        The endings are .json (all of it), .html (a page of its own) and, for attributions and matrices, .csv, .tsv and
        the figures .png, .pdf, .svg and .pgf; a report has figures too, but .pgf. Figures are `width` inches wide if
        that is given, with the `provenance()` in their metadata. Tables have a row for each piece, with the columns of
        `to_frame`, in UTF-8.

        Raises:
            ValueError: an ending that is none of these, or a width of what is no figure.
            OSError: the file can't be written.
        """
        path = Path(path).expanduser()
        ending, writers = path.suffix.lower(), WRITERS[type(self).__name__]
        if ending not in writers:
            raise ValueError(f"cannot save to {str(path)!r}: the ending must be one of {', '.join(writers)}")
        write = function_of(writers[ending])
        if ending in FIGURES:
            return Path(function_of("interpret.views.figure:save_figure")(write(self, width=width), path, self))
        if width is not None:
            raise ValueError(f"{path.name!r} is no figure, so it has no width")
        text = write(self)
        return write_whole(path, lambda part: part.write_text(text, encoding="utf-8", newline=""))

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain Python values under the names of its fields, and the number of this `schema`."""
        return {"schema": SCHEMA, **_converter().unstructure(self)}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`, of this version or an older one. Raises ValueError if it is something else."""
        return cls._from(plain)

    def to_json(self) -> str:
        """`to_dict` as JSON; numbers keep all their digits."""
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=1, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The inverse of `to_json`. Raises ValueError for any other text."""
        return cls._from(text)

    @classmethod
    def _from(cls, given: Any) -> Self:
        try:
            plain = json.loads(given) if isinstance(given, str) else given
            schema = plain.get("schema", 1)
            if schema not in (1, SCHEMA):
                raise ValueError(f"its schema is {schema!r}, and this version reads up to {SCHEMA}; update the package")
            plain = {name: value for name, value in plain.items() if name != "schema"}
            return _converter().structure(upgraded(plain) if schema == 1 else plain, cls)
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            why = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
            raise ValueError(f"this is not a saved {cls.__name__}: {why}") from error

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read one that was saved as JSON, by this version or an older one.

        Raises:
            ValueError: the file is something else.
            OSError: it can't be read.
        """
        try:
            return cls.from_json(Path(path).expanduser().read_text(encoding="utf-8-sig"))
        except ValueError as error:
            raise ValueError(f"cannot load {str(path)!r}: {error}") from error


def upgraded(plain: Any) -> Any:
    """What 0.2.0 saved, under the names of today."""
    if isinstance(plain, list | tuple):
        return [upgraded(each) for each in plain]
    if not isinstance(plain, Mapping):
        return plain
    renamed: dict[str, str] = {}
    if "tokens" in plain:  # an attribution, which before 0.2.0 did not name its method
        renamed = {"held": "fixed"}
        plain = {"method_name": str(plain.get("method")).partition("(")[0], **plain}
    elif {"from", "to"} <= plain.keys():  # an edit
        renamed = {"place": "position", "from": "old", "to": "new"}
    elif "rows" in plain:  # replacements, or a report
        renamed = {"place": "position", "doubts": "failed_checks"}
    return {renamed.get(name, name): upgraded(value) for name, value in plain.items()}


@cache
def _converter() -> Converter:
    """Strict about names: what is unknown or missing is an error. Arrays are lists of numbers, DERIVED names values."""
    import numpy  # with cattrs, on use: the command reads the table of writers before it loads anything
    from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn
    from cattrs.preconf.json import make_converter

    def is_array(kind: Any) -> bool:
        return getattr(kind, "array_type", None) is numpy.ndarray

    converter = make_converter(detailed_validation=False, unstruct_collection_overrides={tuple: list})
    converter.register_structure_hook_func(is_array, lambda values, _: numpy.array(values, dtype=numpy.float64))
    converter.register_unstructure_hook_func(is_array, lambda array: array.tolist())
    converter.register_unstructure_hook(numpy.ndarray, lambda array: array.tolist())

    @converter.register_unstructure_hook_factory(is_dataclass)
    def unstructure(kind: Any) -> Callable[[Any], dict[str, Any]]:
        of_fields, derived = make_dict_unstructure_fn(kind, converter), getattr(kind, "DERIVED", ())
        return lambda value: {**of_fields(value), **{name: getattr(value, name) for name in derived}}

    @converter.register_structure_hook_factory(is_dataclass)
    def structure(kind: Any) -> Callable[[Any, Any], Any]:
        of_fields, derived = make_dict_structure_fn(kind, converter), set(getattr(kind, "DERIVED", ()))
        known = {each.name for each in fields(kind)}
        needed = {each.name for each in fields(kind) if each.default is each.default_factory is MISSING}

        def of_plain(plain: Any, _: Any) -> Any:
            wrong = (needed - plain.keys()) | (plain.keys() - known - derived)
            if wrong:
                raise ValueError(f"missing or unknown are {sorted(wrong)}")
            return of_fields(plain, kind)

        return of_plain

    return converter


def write_whole(path: Path, write: Callable[[Path], object]) -> Path:
    """Let `write` fill a file beside `path`, then move it there at once; what stood there before stays if it fails.

    The kernel gives it the permissions of any new file, by the umask that holds then.
    """
    check_writable(path)
    part = path.with_name(f".{path.stem}-{secrets.token_hex(8)}{path.suffix}")
    os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        write(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def check_writable(path: Path) -> None:
    """Raise OSError, saying why, unless a file can be written there."""
    if path.is_dir():
        raise IsADirectoryError(f"cannot write {str(path)!r}: it is a folder")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"cannot write {str(path)!r}: there is no folder {str(path.parent)!r}")
    if not os.access(path.parent, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise PermissionError(f"cannot write {str(path)!r}: no permission")
