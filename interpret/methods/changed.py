"""The settings of a dataclass against its defaults: which have to be given, which were given otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any


def changed(value: Any) -> Iterator[tuple[str, Any]]:
    """The settings of a method or baseline that are not the default, by name."""
    for each in fields(value):
        own = getattr(value, each.name)
        if own != _default(each):
            yield each.name, own


def required(kind: type) -> list[str]:
    """The settings that have no default; none of what is no dataclass."""
    return [each.name for each in fields(kind) if _default(each) is MISSING] if is_dataclass(kind) else []


def _default(setting: Field[Any]) -> Any:
    return setting.default_factory() if setting.default_factory is not MISSING else setting.default
