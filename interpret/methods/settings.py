"""What can be set about a method or baseline: read off its dataclass, so that a new one needs nothing for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from interpret.methods.baselines import Baseline
from interpret.methods.conventions import CONVENTIONS, Convention, convention
from interpret.methods.integrated_gradients import IntegratedGradients
from interpret.methods.listed import BASELINES, METHODS, Listed, find_method, required, slug_of
from interpret.methods.method import Method

WORDS = {int: "a whole number", float: "a number", bool: "true or false"}


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

    def parse(self, text: str) -> Any:
        """The value that a text says: a number, a choice's label, "none". Raises ValueError for what it cannot be."""
        if self.choices:
            labels = dict(self.choices)
            if text not in labels:
                raise ValueError(f"{self.name} is {text!r}; it must be one of {', '.join(labels)}")
            return labels[text]
        if self.optional and text == "none":
            return None
        try:
            return _truth(text) if self.kind is bool else (self.kind or str)(text)
        except ValueError:
            kind = WORDS.get(self.kind or str, "a text")
            raise ValueError(
                f"{self.name} is {text!r}; it must be {kind}{', or none' if self.optional else ''}"
            ) from None

    @property
    def text(self) -> str:
        """The value as `parse` reads it."""
        if self.value is None:
            return "none"
        return next((label for label, value in self.choices if value == self.value), str(self.value))


def settings(value: Any) -> list[Setting]:
    """What can be set about a method or baseline; nothing about another library's convention."""
    if not is_dataclass(value) or isinstance(value, Convention):
        return []
    hints = get_type_hints(type(value))
    found = [_setting(value, field.name, hints[field.name]) for field in fields(value)]
    return [each for each in found if each is not None]


def default_instance(kind: type) -> Any:
    """A method or baseline with its default settings; a text that has no default is empty, to be written."""
    return kind(**dict.fromkeys(required(kind), ""))


def every_method() -> dict[str, Method]:
    """Every method by its `name`: those listed, with their default settings, then other libraries' conventions."""
    made = [*(default_instance(each.load()) for each in METHODS), *CONVENTIONS]
    return {each.name: each for each in made}


def method_by_name(name: str, given: Mapping[str, str] | None = None) -> Method:
    """A method by its listed name, with settings as texts, for which see `with_settings`.

    `method_by_name("idgi", {"steps": "20", "baseline": "token", "baseline.token": " the"})`. Another library's
    convention is LIBRARY:KIND, such as `inseq:gradient`, and has no settings.

    Raises:
        ValueError: an unknown method or setting, or a value that the setting cannot have.
    """
    library, colon, kind = name.partition(":")
    if colon:
        method: Method = convention(library, kind.replace("-", " "))
    else:
        method = default_instance(find_method(name))
    return with_settings(method, given or {})


def convention_names() -> list[str]:
    """The other libraries' conventions, as `method_by_name` takes them."""
    return [f"{each.library}:{each.kind.replace(' ', '-')}" for each in CONVENTIONS]


def with_settings(value: Any, given: Mapping[str, str], path: str = "", others: Sequence[tuple[str, Any]] = ()) -> Any:
    """A method or baseline with some settings changed, which are given as texts.

    Args:
        value: the method or baseline.
        given: the texts by name; `baseline.token` is the setting `token` of the setting `baseline`.
        path: the setting that the value is itself, to be named in errors.
        others: what that setting can be instead, by name.

    Raises:
        ValueError: an unknown setting, or a value that it cannot have.
    """
    known = {setting.name: setting for setting in settings(value)}
    changes: dict[str, Any] = {}
    for name in dict.fromkeys(each.partition(".")[0] for each in given):
        if name not in known:
            having = [label for label, each in others if name in {setting.name for setting in settings(each)}]
            whose = f"{path} is {_named(value)}, which" if path else _named(value)
            remedy = f"set {path}={' or '.join(having)} for it" if having else f"it has {', '.join(known) or 'none'}"
            raise ValueError(f"{whose} has no setting {name!r}; {remedy}")
        inner = {dotted.partition(".")[2]: text for dotted, text in given.items() if dotted.startswith(f"{name}.")}
        changes[name] = known[name].parse(given[name]) if name in given else known[name].value
        if name in given and known[name].choices:
            for needed in required(type(changes[name])):
                if needed not in inner:
                    raise ValueError(f"{name}={given[name]} needs {name}.{needed}; set it as well")
        if inner:
            changes[name] = with_settings(changes[name], inner, f"{path}.{name}".strip("."), known[name].choices)
    if isinstance(value, IntegratedGradients):
        _check_one_way(changes)
    return replace(value, **changes) if changes else value


def _check_one_way(changes: Mapping[str, Any]) -> None:
    """Raise ValueError where settings of the fixed and of the refined path are mixed, as one of them means nothing."""
    if changes.get("steps") is None:
        if "rule" in changes:
            raise ValueError("rule is the quadrature rule for a fixed number of steps; set steps as well")
        return
    for name in ("tolerance", "max_gradients"):
        if name in changes:
            raise ValueError(f"steps fixes the number of gradients, so {name} means nothing beside it")


def _named(value: Any) -> str:
    if isinstance(value, Convention):
        return value.name
    return "none" if value is None else slug_of(value) or repr(value)


def _setting(owner: Any, name: str, hint: Any) -> Setting | None:
    """A setting from the type of its field; None for what can neither be written nor chosen, such as a tensor."""
    value, kinds = getattr(owner, name), _alternatives(hint)
    optional = NoneType in kinds
    listed = next((each for kind, each in ((Method, METHODS), (Baseline, BASELINES)) if kind in kinds), None)
    if listed is not None:
        choices = {**({"none": None} if optional else {}), **_objects(listed)}
        given = {} if value is None else {slug_of(value) or type(value).__name__: value}
        first = {} if given.keys() <= choices.keys() else given
        return Setting(name, value, None, optional, tuple({**first, **choices, **given}.items()))
    literals = [each for kind in kinds if get_origin(kind) is Literal for each in get_args(kind)]
    if literals:
        values = [*literals, *([None] if optional else [])]
        values = values if value in values else [value, *values]
        labels = ("none" if each is None else str(each) for each in values)
        return Setting(name, value, None, optional, tuple(zip(labels, values, strict=True)))
    written = next((kind for kind in (bool, str, int, float) if kind in kinds), None)
    return None if written is None else Setting(name, value, written, optional)


def _objects(listed: Sequence[Listed]) -> dict[str, Any]:
    """What can be chosen from a list, by name; noise on noise is a choice that helps nobody."""
    found = {each.slug: default_instance(each.load()) for each in listed}
    return {slug: made for slug, made in found.items() if not getattr(made, "stochastic", False)}


def _alternatives(hint: Any) -> tuple[Any, ...]:
    """The types that a union consists of; a type alone consists of itself."""
    if get_origin(hint) in (Union, UnionType):
        return tuple(each for part in get_args(hint) for each in _alternatives(part))
    return (hint,)


def _truth(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError
    return text.lower() == "true"
