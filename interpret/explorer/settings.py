"""Which methods there are, and what can be set about one: read off its dataclass, so that a new one needs nothing."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields, is_dataclass
from inspect import isabstract
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import interpret
from interpret.baselines import Baseline
from interpret.conventions import CONVENTIONS, Convention
from interpret.explorer.call import default
from interpret.methods.method import Method


@dataclass(frozen=True)
class Setting:
    """One setting of a method or baseline.

    Attributes:
        name: of the field.
        value: what it is.
        kind: what is written: int, float, bool or str; None where there are only choices.
        optional: whether nothing, which is None, may be written.
        choices: values that can be chosen, with their labels; none where the value is written.
    """

    name: str
    value: Any
    kind: type | None
    optional: bool = False
    choices: tuple[tuple[str, Any], ...] = ()


def methods() -> dict[str, Method]:
    """Every method by its label: those of interpret with their default settings, then what other libraries compute."""
    own = {type(method).__name__: method for method in instances(Method)}
    return own | {repr(convention): convention for convention in CONVENTIONS}


def instances(base: type) -> list[Any]:
    """An object of every class of interpret that is one of these, the default settings in it, in the order of names.

    A text that has no default is empty, to be written; a class that needs something else is left out.
    """
    found = []
    for name in dir(interpret):
        each = getattr(interpret, name)
        if not isinstance(each, type) or not issubclass(each, base) or not is_dataclass(each):
            continue
        needed = [field for field in fields(each) if field.init and default(field) is MISSING]
        hints = get_type_hints(each)
        if not isabstract(each) and all(str in alternatives(hints[field.name]) for field in needed):
            found.append(each(**{field.name: "" for field in needed}))
    return found


def settings(value: Any) -> list[Setting]:
    """What can be set about a method or baseline; nothing about another library's convention."""
    if not is_dataclass(value) or isinstance(value, Convention):
        return []
    hints = get_type_hints(type(value))
    found = [setting(value, field.name, hints[field.name]) for field in fields(value)]
    return [each for each in found if each is not None]


def setting(owner: Any, name: str, hint: Any) -> Setting | None:
    """A setting from the type of its field; None for what can neither be written nor chosen, such as a tensor."""
    value, kinds = getattr(owner, name), alternatives(hint)
    optional = NoneType in kinds
    objects = next((kind for kind in kinds if kind in (Method, Baseline)), None)
    if objects is not None:  # noise on noise is a choice that helps nobody
        found = [each for each in instances(objects) if not getattr(each, "stochastic", False)]
        choices = {"none": None} if optional else {}
        choices |= {type(each).__name__: each for each in found}
        given = {} if value is None else {type(value).__name__: value}
        return Setting(name, value, None, choices=tuple(({**given, **choices} | given).items()))
    literals = [each for kind in kinds if get_origin(kind) is Literal for each in get_args(kind)]
    if literals:
        values = [*literals, *([None] if optional else [])]
        values = values if value in values else [value, *values]
        return Setting(
            name, value, None, choices=tuple(("none" if each is None else str(each), each) for each in values)
        )
    kind = next((kind for kind in (bool, str, int, float) if kind in kinds), None)
    return None if kind is None else Setting(name, value, kind, optional)


def alternatives(hint: Any) -> tuple[Any, ...]:
    """The types that a union consists of; a type alone consists of itself."""
    if get_origin(hint) in (Union, UnionType):
        return tuple(each for part in get_args(hint) for each in alternatives(part))
    return (hint,)
