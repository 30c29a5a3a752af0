"""Results as files: JSON without loss, written whole or not at all."""

from __future__ import annotations

import json
import os
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

Own = TypeVar("Own", bound="Result")


class Result(ABC):
    """What can be saved as plain values and loaded again, and says what it is about."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """All of it as plain Python values."""

    @classmethod
    @abstractmethod
    def from_dict(cls: type[Own], plain: Mapping[str, Any]) -> Own:
        """The inverse of `to_dict`. Raises ValueError if it is something else."""

    @property
    @abstractmethod
    def title(self) -> str:
        """What is explained, in words."""

    @property
    def heading(self) -> str:
        """What stands above a view of it: the title, by default."""
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

    def to_json(self) -> str:
        """`to_dict` as JSON; numbers keep all their digits."""
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=1, allow_nan=False)

    @classmethod
    def from_json(cls: type[Own], text: str) -> Own:
        """The inverse of `to_json`. Raises ValueError for any other text."""
        try:
            return cls.from_dict(json.loads(text))
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            said = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
            begin = "this is not a saved"
            raise ValueError(said if said.startswith(begin) else f"{begin} {cls.__name__}: {said}") from error

    @classmethod
    def load(cls: type[Own], path: str | Path) -> Own:
        """Read one that was saved as JSON, by this version or an older one.

        Raises:
            ValueError: the file is something else.
            OSError: it can't be read.
        """
        try:
            return cls.from_json(Path(path).expanduser().read_text(encoding="utf-8-sig"))
        except ValueError as error:
            raise ValueError(f"cannot load {str(path)!r}: {error}") from error


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
