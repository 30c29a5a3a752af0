"""What tells results apart that are shown together: their methods, models and titles, as far as they differ."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from dataclasses import replace

from interpret.results.attribution import Attribution
from interpret.results.files import Result


def method_names(results: Sequence[Attribution]) -> list[str]:
    """The name of each result's method; where methods of one name differ in their settings, with those that do."""
    found = []
    for each in results:
        alike = {other.method: other.settings for other in results if other.method_name == each.method_name}
        if len(alike) == 1:
            found.append(each.method_name)
        elif len(set(alike.values())) == len(alike):
            found.append(", ".join(filter(None, [each.method_name, each.settings])))
        else:
            found.append(_with_settings(each, alike))
    return found


def disambiguate(results: Sequence[Attribution]) -> list[Attribution]:
    """The results with methods whose names tell them apart."""
    return [
        each if name == each.method_name else replace(each, method_name=name, settings=_unsaid(each, name))
        for each, name in zip(results, method_names(results), strict=True)
    ]


def rows_of(results: Sequence[Attribution]) -> tuple[list[str], str, str]:
    """What distinguishes each of several results, the title that they have in common, and the other facts."""
    methods, models, titles = method_names(results), [each.model for each in results], [each.title for each in results]
    telling = [aspect for aspect in (methods, models, titles) if len(set(aspect)) > 1] or [methods]
    names = [", ".join(parts) for parts in zip(*telling, strict=True)]
    if len({each.heading for each in results}) == 1:
        heading = results[0].heading
    else:
        heading = next((aspect[0] for aspect in (titles, models) if len(set(aspect)) == 1), "")
    said = [
        f"{method}, {more}" if (more := _unsaid(each, method)) else method if methods not in telling else ""
        for each, method in zip(results, methods, strict=True)
    ]
    return names, heading, "; ".join(filter(None, dict.fromkeys(said)))


def choices_of(results: Sequence[Attribution], shown: Sequence[Result]) -> list[str]:
    """What a reader chooses results by: what is asked, methods and models as far as they differ; if need be, numbers.

    Args:
        results: one that stands for each.
        shown: what is chosen.
    """
    asked = [each.heading for each in shown] if len({each.title for each in shown}) > 1 else [""] * len(shown)
    models = [each.model for each in results] if not any(asked) else [""] * len(results)
    aspects = [asked, method_names(results), models]
    telling = [aspect for aspect in aspects if len(set(aspect)) > 1] or aspects[1:2]
    names = [" · ".join(parts) for parts in zip(*telling, strict=True)]
    if len(set(names)) == len(names):
        return names
    return [f"{place}. {name}" for place, name in enumerate(names, start=1)]


def _with_settings(result: Attribution, alike: Iterable[str]) -> str:
    """A method's name with the settings in which it differs from others of that name, as its repr has them."""
    settings = {method: _settings(method) for method in alike}
    own = {
        name: value
        for name, value in settings[result.method].items()
        if any(others.get(name) != value for others in settings.values())
    }
    said = ", ".join(f"{name}={value}" for name, value in own.items())
    return f"{result.method_name} ({said})" if said else result.method


def _unsaid(result: Attribution, name: str) -> str:
    """What matters of a method's settings, as far as its name does not say it."""
    return "" if result.settings and result.settings in name else result.settings


def _settings(method: str) -> dict[str, str]:
    """The settings in a method's repr, which is an expression; none where it is not."""
    try:
        call = ast.parse(method, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    if not isinstance(call, ast.Call):
        return {}
    return {each.arg: ast.unparse(each.value) for each in call.keywords if each.arg}
