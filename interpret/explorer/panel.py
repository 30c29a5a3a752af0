"""Widgets for the settings of a method or baseline, each by its type, and the object that they say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import ipywidgets

from interpret.methods.method import Method
from interpret.methods.settings import Setting, settings

NUMBERS = {int: ipywidgets.IntText, float: ipywidgets.FloatText}


class Panel:
    """The settings of one object side by side, wrapping; an object among them brings its own settings along.

    Args:
        value: the object as it is.
        changed: called without arguments when something else was written or chosen.

    Attributes:
        box: the widgets.
    """

    def __init__(self, value: Any, changed: Callable[[], object]):
        self.given = value
        self.parts = {setting.name: _part(setting, changed) for setting in settings(value)}
        self.box = beside([each.box for each in self.parts.values()])

    def value(self) -> Any:
        """The object that the widgets say. Raises ValueError for what it cannot be."""
        settings = {name: each.value() for name, each in self.parts.items()}
        return replace(self.given, **settings) if settings else self.given


class Written:
    """A number or text that is written, or a box that is ticked."""

    def __init__(self, setting: Setting, changed: Callable[[], object]):
        self.setting, words = setting, setting.name.replace("_", " ")
        options: dict[str, Any] = {"description": words, "style": {"description_width": "initial"}}
        if setting.kind is bool:
            self.box: Any = ipywidgets.Checkbox(value=setting.value, indent=False, **options)
        elif setting.kind in NUMBERS and not setting.optional:
            self.box = NUMBERS[setting.kind](value=setting.value, layout=_sized(words, 8), **options)
        else:
            text = "" if setting.value is None else str(setting.value)
            hint = "none" if setting.optional else "text"
            wide = 10 if setting.kind is str else 7
            self.box = ipywidgets.Text(
                text, continuous_update=False, placeholder=hint, layout=_sized(words, wide), **options
            )
        self.box.observe(lambda change: changed(), "value")

    def value(self) -> Any:
        """What is written. Raises ValueError for what is not a number where one is expected."""
        written, setting = self.box.value, self.setting
        if setting.optional and written == "":
            return None
        return written if setting.kind is str or not isinstance(written, str) else setting.parse(written)


class Chosen:
    """A value that is chosen; an object shows its own settings beside the choice."""

    def __init__(self, setting: Setting, changed: Callable[[], object]):
        self.choices: dict[str, Any] = {}
        for label, value in setting.choices:
            if value not in self.choices.values():  # two names of one thing are one choice
                self.choices[value.name if isinstance(value, Method) else label] = value
        self.changed = changed
        label = next(label for label, value in self.choices.items() if value == setting.value)
        words = setting.name.replace("_", " ")
        longest = max(map(len, self.choices))
        self.dropdown = ipywidgets.Dropdown(
            options=list(self.choices), value=label, description=words,
            style={"description_width": "initial"}, layout=_sized(words, 0.55 * longest + 3.5),
        )  # fmt: skip
        self.box = beside([])
        self.open()
        self.dropdown.observe(self.on_choice, "value")

    def on_choice(self, change: Any) -> None:
        self.open()
        self.changed()

    def open(self) -> None:
        """Show the settings of what is chosen."""
        shown, self.panel = self.box.children[1:], Panel(self.choices[self.dropdown.value], self.changed)
        self.box.children = [self.dropdown, self.panel.box]
        for old in shown:
            close(old)

    def value(self) -> Any:
        """What was chosen, with its settings."""
        return self.panel.value()


def _part(setting: Setting, changed: Callable[[], object]) -> Written | Chosen:
    return Chosen(setting, changed) if setting.choices else Written(setting, changed)


def _sized(words: str, room: float) -> ipywidgets.Layout:
    """As wide as the words before it and a number of ems."""
    return ipywidgets.Layout(width=f"{0.5 * len(words) + 1.2 + room:.1f}em", margin="2px 10px 2px 2px")


def wrapping(children: list[Any]) -> ipywidgets.Box:
    """Widgets side by side that go on in the next line where there is no room."""
    return ipywidgets.Box(children, layout={"flex_flow": "row wrap", "align_items": "center"})


def beside(children: list[Any]) -> ipywidgets.Box:
    """Widgets that flow with those around them."""
    return ipywidgets.Box(children, layout={"display": "contents"})


def close(widget: Any) -> None:
    """Close a widget with all that is in it: ipywidgets keeps each that is open, and with it whom it calls."""
    for part in (*getattr(widget, "children", ()), widget.layout, getattr(widget, "style", None)):
        if isinstance(part, ipywidgets.DOMWidget):
            close(part)
        elif part is not None:
            part.close()
    widget.close()
