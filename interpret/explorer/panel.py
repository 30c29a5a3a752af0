"""Widgets for the settings of a method or baseline, each by its type, and the object that they say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import ipywidgets

from interpret.methods.method import Method
from interpret.methods.settings import Setting, settings


class Panel:
    """The settings of one object side by side, wrapping; an object among them brings its own settings along.

    `changed` is called without arguments when something else was written or chosen.
    """

    def __init__(self, value: Any, changed: Callable[[], object]):
        self.given = value
        self.parts = {each.name: (Chosen if each.choices else Written)(each, changed) for each in settings(value)}
        self.box = beside([each.box for each in self.parts.values()])

    def value(self) -> Any:
        """The object that the widgets say. Raises ValueError for what it cannot be."""
        settings = {name: each.value() for name, each in self.parts.items()}
        return replace(self.given, **settings) if settings else self.given


class Written:
    """A number or text that is written, or a box that is ticked."""

    def __init__(self, setting: Setting, changed: Callable[[], object]):
        self.setting = setting
        if setting.kind is bool:
            self.box: Any = ipywidgets.Checkbox(setting.value, indent=False, **_named(setting))
        else:
            text, hint = "" if setting.value is None else setting.text, "none" if setting.optional else ""
            self.box = ipywidgets.Text(text, placeholder=hint, continuous_update=False, **_named(setting, 8))
        self.box.observe(lambda change: changed(), "value")

    def value(self) -> Any:
        """What is written. Raises ValueError for what is not a number where one is expected."""
        written = self.box.value
        if isinstance(written, bool):
            return written
        return self.setting.parse("none" if self.setting.optional and not written else written)


class Chosen:
    """A value that is chosen; an object shows its own settings beside the choice."""

    def __init__(self, setting: Setting, changed: Callable[[], object]):
        self.choices: dict[str, Any] = {}
        for label, value in setting.choices:
            if value not in self.choices.values():  # two names of one thing are one choice
                self.choices[value.name if isinstance(value, Method) else label] = value
        self.changed = changed
        label = next(label for label, value in self.choices.items() if value == setting.value)
        room = 0.55 * max(map(len, self.choices)) + 3.5
        self.dropdown = ipywidgets.Dropdown(options=list(self.choices), value=label, **_named(setting, room))
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


def _named(setting: Setting, room: float | None = None) -> dict[str, Any]:
    """What a setting's widget has before it, and how wide both are: a number of ems, or what it takes."""
    words = setting.name.replace("_", " ")
    width = {} if room is None else {"width": f"{0.5 * len(words) + 1.2 + room:.1f}em"}
    layout = {**width, "margin": "2px 10px 2px 2px"}
    return {"description": words, "style": {"description_width": "initial"}, "layout": layout}


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
