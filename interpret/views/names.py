"""What tells results apart that are shown together: their methods, models and titles, as far as they differ."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import replace

from interpret.results.scores import Scores


def method_names(results: Sequence[Scores]) -> list[str]:
    """The name of each result's method; where methods of one name differ in their settings, with those that do."""
    found = []
    for each in results:
        alike = dict.fromkeys(other.method for other in results if other.method_name == each.method_name)
        settings = {method: _settings(method) for method in alike}
        own = {
            name: value
            for name, value in settings[each.method].items()
            if any(others.get(name) != value for others in settings.values())
        }
        said = ", ".join(f"{name}={value}" for name, value in own.items())
        found.append(each.method_name if len(alike) == 1 else f"{each.method_name} ({said})" if said else each.method)
    return found


def told_apart(results: Sequence[Scores]) -> list[Scores]:
    """The results with methods whose names tell them apart."""
    return [replace(each, method_name=name) for each, name in zip(results, method_names(results), strict=True)]


def rows_of(results: Sequence[Scores]) -> tuple[list[str], str, str]:
    """What distinguishes each of several results, and the title and facts that they have in common."""
    aspects = [method_names(results), [each.model for each in results], [each.title for each in results]]
    telling = [aspect for aspect in aspects if len(set(aspect)) > 1] or aspects[:1]
    names = [", ".join(parts) for parts in zip(*telling, strict=True)]
    common = [aspect[0] for aspect in aspects[:2] if len(set(aspect)) == 1 and aspect[0] not in names]
    return names, aspects[2][0] if len(set(aspects[2])) == 1 else "", ", ".join(common)


def choices_of(results: Sequence[Scores], titles: Sequence[str]) -> list[str]:
    """What a reader chooses results by: titles, methods and models as far as they differ; if need be, numbers."""
    aspects = [list(titles), method_names(results), [each.model for each in results]]
    telling = [aspect for aspect in aspects if len(set(aspect)) > 1] or aspects[1:2]
    names = [" · ".join(parts) for parts in zip(*telling, strict=True)]
    if len(set(names)) == len(names):
        return names
    return [f"{place}. {name}" for place, name in enumerate(names, start=1)]


def _settings(method: str) -> dict[str, str]:
    """The settings in a method's repr, which is an expression; none where it is not."""
    try:
        call = ast.parse(method, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    if not isinstance(call, ast.Call):
        return {}
    return {each.arg: ast.unparse(each.value) for each in call.keywords if each.arg}
