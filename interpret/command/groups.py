"""Options in groups: a dataclass of options as one parameter of a command."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from functools import wraps
from inspect import Parameter
from typing import Any, get_type_hints

from typer.core import TyperGroup


class DefaultCommand(TyperGroup):
    """Commands of which the first is meant where none is named, so that `corpus IN OUT` stands for its `explain`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """The arguments, behind the first command's name unless they begin with a command or ask for help."""
        if args and args[0] not in self.commands and args[0] != "--help":
            args = [next(iter(self.commands)), *args]
        return super().parse_args(ctx, args)


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """A command that takes its options in dataclasses, as typer wants to see it: with one parameter for each option.

    Typer reads arguments and options off a function's signature, and a command with many of them would be a function
    with as many parameters. Here a parameter whose annotation is a dataclass stands for the dataclass's fields: the
    signature that typer sees has a parameter for each field, with its name, its default and its annotation
    (`Annotated[int, typer.Option(...)]`), in the order of the fields. When the command is called, the dataclass is made
    from what was given. No two groups of a command may have a field of the same name.
    """
    annotations = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: kind for name, kind in annotations.items() if is_dataclass(kind)}
    parameters: list[Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        if name in groups:
            parameters += _parameters(groups[name])
        else:
            parameters.append(parameter.replace(annotation=annotations[name], kind=Parameter.KEYWORD_ONLY))

    @wraps(command)
    def expanded(**given: Any) -> None:
        made = {
            name: group(**{field.name: given.pop(field.name) for field in fields(group)})
            for name, group in groups.items()
        }
        command(**given, **made)

    expanded.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    expanded.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return expanded


def _parameters(group: Any) -> list[Parameter]:
    annotations = get_type_hints(group, include_extras=True)
    return [
        Parameter(
            field.name,
            Parameter.KEYWORD_ONLY,
            default=Parameter.empty if field.default is MISSING else field.default,
            annotation=annotations[field.name],
        )
        for field in fields(group)
    ]
