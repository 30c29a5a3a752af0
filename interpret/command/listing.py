"""What `nexttoken methods` prints: every method with its settings, and what these can be."""

from __future__ import annotations

from interpret.methods.listed import BASELINES, METHODS
from interpret.methods.settings import convention_names, default_instance, settings


def methods_listing() -> str:
    """The methods, each with its line of help and its settings with their defaults; then the values to choose from."""
    choices: dict[str, dict[str, None]] = {}
    lines = []
    for each in METHODS:
        own = settings(default_instance(each.load()))
        lines += [each.slug, f"  {each.help}", f"  settings: {', '.join(f'{one.name}={one.text}' for one in own)}", ""]
        for one in own:
            choices.setdefault(one.name, {}).update(dict.fromkeys(label for label, _ in one.choices))
    starts = [(each.slug, each.help) for each in BASELINES]
    starts += [("none", "for gradient-times-input and gim: the embedding itself, not its way from a baseline")]
    wide = max(len(slug) for slug, _ in starts)
    lines += ["--set baseline=NAME", *(f"  {slug:<{wide}}  {words}" for slug, words in starts)]
    for name, labels in choices.items():
        if labels and name != "baseline":
            lines += ["", f"--set {name}=NAME", f"  {', '.join(labels)}"]
    lines += ["", "--set method.NAME=VALUE, --set baseline.NAME=VALUE", "  a setting of the method or baseline within"]
    lines += ["", "What other libraries compute, without settings:", *(f"  {name}" for name in convention_names())]
    return "\n".join(lines) + "\n"
