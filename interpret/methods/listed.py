"""The one list of methods and baselines: command, explorer and documentation read it, and loading it loads no torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Listed:
    """A class that can be chosen by name.

    Attributes:
        slug: its name on the command line.
        path: where the class is, as module:class.
        help: what it is, in a line.
    """

    slug: str
    path: str
    help: str

    def load(self) -> type:
        """The class."""
        module, name = self.path.split(":")
        found: type = getattr(import_module(module), name)
        return found


ROOM = "interpret.methods"
OTHERS = "LIBRARY:KIND, such as inseq:gradient"
METHODS = (
    Listed(
        "integrated-gradients", f"{ROOM}.integrated_gradients:IntegratedGradients",
        "the change of log p from a baseline to the prompt, divided among the tokens, with a certificate",
    ),
    Listed(
        "gradient-times-input", f"{ROOM}.gradient_times_input:GradientTimesInput",
        "the part of log p that is linear in a token's embedding; one gradient",
    ),
    Listed(
        "vanilla-gradient", f"{ROOM}.vanilla_gradient:VanillaGradient",
        "the norm of the gradient: where the model is sensitive, without a sign; one gradient",
    ),
    Listed(
        "gim", f"{ROOM}.gim:GIM",
        "gradient x input whose backward pass splits the gradients of products and keeps norms constant; one gradient",
    ),
    Listed("smoothgrad", f"{ROOM}.smoothgrad:SmoothGrad", "the mean of a method over noisy embeddings"),
    Listed(
        "smoothgrad-squared", f"{ROOM}.smoothgrad:SmoothGradSquared",
        "the mean square of a method over noisy embeddings",
    ),
    Listed("vargrad", f"{ROOM}.smoothgrad:VarGrad", "the variance of a method over noisy embeddings"),
    Listed(
        "idgi", f"{ROOM}.idgi:IDGI",
        "each step's change of log p along a path, divided by the squared gradient",
    ),
    Listed(
        "sequential-ig", f"{ROOM}.sequential_ig:SequentialIG",
        "integrated gradients of one token at a time, the others at the prompt",
    ),
    Listed(
        "discretized-ig", f"{ROOM}.discretized_ig:DiscretizedIG",
        "integrated gradients along a path that leads through words",
    ),
    Listed(
        "expected-gradients", f"{ROOM}.expected_gradients:ExpectedGradients",
        "integrated gradients averaged over baselines of random words",
    ),
    Listed(
        "marginalization", f"{ROOM}.marginalization:Marginalization",
        "the mean change of log p when a token gives way to what else might stand there; forward passes only",
    ),
)  # fmt: skip
BASELINES = (
    Listed("line-break", f"{ROOM}.baselines:LineBreak", "a line break at every token"),
    Listed(
        "alternatives",
        f"{ROOM}.baselines:PlausibleAlternatives",
        "what else might stand at each position, in the model's own view",
    ),
    Listed("mean", f"{ROOM}.baselines:MeanEmbedding", "the mean of all word embeddings"),
    Listed("zero", f"{ROOM}.baselines:Zero", "embeddings of zero"),
    Listed("unknown", f"{ROOM}.baselines:Unknown", "the token for unknown words"),
    Listed("token", f"{ROOM}.baselines:Token", "one token, baseline.token; by default the end-of-text token"),
    Listed("eos", f"{ROOM}.baselines:Token", "the end-of-text token, or else the padding token"),
    Listed("text", f"{ROOM}.baselines:Text", "another text with as many tokens, baseline.text"),
)


def find_method(slug: str) -> type:
    """A method's class. Raises ValueError for an unknown name, with those that there are."""
    found = next((each for each in METHODS if each.slug == slug), None)
    if found is None:
        names = ", ".join(each.slug for each in METHODS)
        raise ValueError(f"there is no method {slug!r}; the methods are {names}; another library's is {OTHERS}")
    return found.load()


def slug_of(value: object) -> str | None:
    """Under which name the class of a method or baseline is listed; None where it is not."""
    own = f"{type(value).__module__}:{type(value).__qualname__}"
    return next((each.slug for each in (*METHODS, *BASELINES) if each.path == own), None)


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
