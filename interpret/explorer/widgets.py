"""The explorer's widgets: what is typed, clicked and chosen goes to the state, and what the state knows is shown."""

from __future__ import annotations

import threading
from html import escape
from typing import Any

try:
    import ipywidgets
except ImportError as error:
    raise ImportError(
        "the explorer's widgets need the package ipywidgets; pip install 'nexttoken-interpret[notebook]' installs it"
    ) from error

from interpret.explorer.panel import Panel, beside, close, wrapping
from interpret.explorer.state import State
from interpret.methods.listed import slug_of
from interpret.methods.method import Method
from interpret.methods.settings import every_method
from interpret.question.question import Token
from interpret.results.numbers import format_number
from interpret.views.cells import escape_invisible
from interpret.views.scale import AGAINST, FOR, ink, to_hex

TYPING = 0.4  # seconds without a key or a click after which work begins
NOTE = '<div role="{role}" style="border-left:4px solid {colour};padding:0 .6em;line-height:1.5">{text}</div>'
COLOURS = {"target": FOR[2], "foil": AGAINST[2]}


class View:
    """The widgets of an explorer's state; `box` has all of them."""

    def __init__(self, explorer: State):
        self.explorer, self.lock = explorer, threading.RLock()
        self.shown = explorer.question.prompt, explorer.method  # the prompt and method that the widgets show
        self.last = ""  # the attribution as they show it
        full = {"width": "calc(100% - 4px)"}
        self.prompt = ipywidgets.Textarea(
            self.shown[0], placeholder="type a prompt that ends where the next token begins", rows=2,
            tooltip="the prompt", layout={**full, "height": "auto"},
        )  # fmt: skip
        self.role = ipywidgets.ToggleButtons(
            options=[("✓ target", "target"), ("≠ foil", "foil")], style={"button_width": "7em"},
            layout={"width": "auto", "margin": "0 8px 0 0"},
            tooltips=["a click explains this next token", "a click contrasts the target with this one"],
        )  # fmt: skip
        self.buttons: list[Any] = []
        self.candidates = beside([])
        self.other = ipywidgets.Text(
            placeholder="another token, then Enter", tooltip="another token, with its leading space",
            continuous_update=False, layout={"width": "13em"},
        )  # fmt: skip
        self.methods = every_method()
        name = self.listed(explorer.method)
        self.method = ipywidgets.Dropdown(
            options=list(self.methods), value=name, tooltip="the method",
            layout={"width": "17em", "margin": "2px 10px 2px 2px"},
        )  # fmt: skip
        self.panel = Panel(explorer.method, self.on_setting)
        self.settings = wrapping([self.method, self.panel.box])
        self.progress = ipywidgets.IntProgress(layout={"width": "10em"})
        self.stop = ipywidgets.Button(layout={"width": "7em"})
        self.status = ipywidgets.HTML(layout={"flex": "1 1 20em", "margin": "2px"})
        work = wrapping([self.stop, self.progress, self.status])
        work.layout.min_height = "32px"  # that of a button, so that the scores do not jump when the work is done
        self.map, self.saved, self.code = ipywidgets.HTML(layout=full), ipywidgets.HTML(), ipywidgets.HTML(layout=full)
        self.map.add_class("nexttoken-map")
        self.file = ipywidgets.Text("why.pdf", placeholder="where to save it", layout={"width": "13em"})
        self.save = ipywidgets.Button(description="save figure", layout={"width": "8em"})
        self.show = ipywidgets.ToggleButton(description="show me the code", layout={"width": "11em"})
        next_tokens = wrapping([self.role, self.candidates, self.other])
        saving = wrapping([self.file, self.save, self.show, self.saved])
        parts = [self.prompt, next_tokens, self.settings, work, self.map, saving, self.code]
        self.box = ipywidgets.VBox(parts, layout={"max_width": "72em"})
        self.box.add_class("nexttoken-explorer")
        self.draw()
        self.prompt.observe(self.on_prompt, "value")
        self.other.observe(self.on_other, "value")
        self.method.observe(self.on_method, "value")
        self.stop.on_click(lambda button: explorer.cancel() if explorer.answer.working else explorer.again())
        self.save.on_click(self.on_save)
        self.show.observe(lambda change: self.draw(), "value")
        explorer.listeners.append(self.draw)

    def close(self) -> None:
        """Close the widgets, here and on the screen: ipywidgets keeps each that is open, with whom it calls."""
        self.explorer.listeners.remove(self.draw)
        for widget in (self.box, *self.buttons):
            close(widget)

    # What is done to the widgets

    def on_prompt(self, change: Any) -> None:
        self.ask(prompt=self.prompt.value)

    def on_method(self, change: Any) -> None:
        self.open(self.methods[self.method.value])
        self.on_setting()

    def on_setting(self) -> None:
        try:
            self.ask(method=self.panel.value())
        except ValueError as error:
            self.explorer.refuse(error)

    def ask(self, **asked: Any) -> None:
        """Ask for the prompt or the method that the widgets show by now."""
        with self.lock:
            prompt, method = self.shown
            self.shown = asked.get("prompt", prompt), asked.get("method", method)
            self.explorer.change(TYPING, **asked)

    def on_other(self, change: Any) -> None:
        token, self.other.value = self.other.value, ""
        if token:
            self.take(token)

    def take(self, token: Token) -> None:
        """A token is the target or a foil from now on, as the toggle says."""
        (self.explorer.choose if self.role.value == "target" else self.explorer.oppose)(token)

    def open(self, method: Method) -> None:
        """Show the settings of a method."""
        old, self.panel = self.panel, Panel(method, self.on_setting)
        self.settings.children = [self.method, self.panel.box]
        close(old.box)

    def on_save(self, button: Any) -> None:
        try:
            self.saved.value = f"saved {escape(str(self.explorer.save(self.file.value)))}"
        except (ValueError, OSError) as error:
            self.saved.value = _note("alert", "#d32f2f", str(error))

    # What the widgets show

    def draw(self) -> None:
        """Show the state as it is; what is shown already is not sent again."""
        with self.lock:
            answer = self.explorer.answer
            self.draw_question()
            self.draw_candidates()
            self.progress.max, self.progress.value = answer.max_gradients or 1, answer.done
            self.progress.layout.display = None if answer.working else "none"
            self.stop.layout.display = None if answer.attribution is None else "none"
            self.stop.description = "cancel" if answer.working else "run again"
            if answer.error is not None:
                self.status.value = _note("alert", "#d32f2f", answer.status)
            else:
                warned = "".join(_note("note", "#f9a825", text) for text in answer.warnings)
                self.status.value = f'<div style="line-height:1.5">{escape(answer.status)}</div>{warned}'
            if answer.attribution is not None:
                self.last = answer.attribution.html()
                self.map.value = self.last
            elif answer.error is not None:
                self.map.value = self.last = ""
            else:
                self.map.value = f'<div style="opacity:.4">{self.last}</div>'
            self.save.disabled = answer.attribution is None
            pre = "line-height:1.4;white-space:pre-wrap;overflow-wrap:anywhere;margin:0"
            self.code.value = f'<pre style="{pre}">{escape(answer.code)}</pre>' if self.show.value else ""

    def draw_question(self) -> None:
        """Show a question that was changed otherwise than by these widgets."""
        prompt, method = self.shown
        self.shown = self.explorer.question.prompt, self.explorer.method
        if prompt != self.shown[0]:
            self.prompt.value = self.shown[0]
        if method != self.shown[1]:
            name = self.listed(self.shown[1])
            self.method.options, self.method.value = list(self.methods), name
            self.open(self.shown[1])

    def listed(self, method: Method) -> str:
        """The label of a method, under which it is listed with its settings."""
        slug = slug_of(method)
        same = (name for name, each in self.methods.items() if slug is not None and slug_of(each) == slug)
        name = next(same, method.name)
        self.methods[name] = method
        return name

    def draw_candidates(self) -> None:
        """Show the next tokens: the target in the colour of what supports it, foils in the colour of the others."""
        question, answer = self.explorer.question, self.explorer.answer
        asked: tuple[Any, ...] = answer.asked or (question.target, *question.contrast)
        for number in range(len(self.buttons), len(answer.candidates)):
            button = ipywidgets.Button(layout={"width": "auto"})
            button.on_click(lambda button, number=number: self.take(self.explorer.answer.candidates[number].id))
            self.buttons.append(button)
        for button, candidate in zip(self.buttons, answer.candidates, strict=False):
            role = "target" if candidate.id == asked[0] else "foil" if candidate.id in asked[1:] else None
            sign = {"target": "✓ ", "foil": "≠ ", None: ""}[role]
            shown = repr(escape_invisible(candidate.text))
            button.description = f"{sign}{shown} {format_number(candidate.probability)}"
            button.tooltip = f"{role or 'next token'}: id {candidate.id}, rank {candidate.rank}"
            button.style.button_color = to_hex(COLOURS[role]) if role else None
            button.style.text_color = to_hex(ink(COLOURS[role])) if role else None
        buttons = tuple(self.buttons[: len(answer.candidates)])
        if self.candidates.children != buttons:
            self.candidates.children = buttons


def _note(role: str, colour: str, text: str) -> str:
    return NOTE.format(role=role, colour=colour, text=escape(text))
