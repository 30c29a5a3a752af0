"""Any attribution of captum's that works on an input, as a method here."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy
import torch
from torch import nn

from interpret.engine.objective import Objective
from interpret.engine.run import Points, Values
from interpret.methods.baselines import Baseline, LineBreak
from interpret.methods.method import Evidence, Method

BARE_GRADIENTS = ("Saliency", "Deconvolution", "GuidedBackprop")


class Captum(Method):
    """A captum attribution, run on the prompt's embeddings: `Captum(GradientShap, n_samples=50)`.

    The formula is captum's own (Kokhlikyan et al. 2020, arXiv:2009.07896). Scores are the sum over the embedding's
    dimensions, signed (captum's `abs` is off unless it is set), in nats, or in nats per unit of embedding for the
    classes that give bare gradients. Where captum changes features (FeatureAblation, Occlusion, Lime and others), a
    feature is a token. Where it takes baselines, it gets `baseline`; its random numbers come from `seed`, and the
    global state is put back. Costs what captum's settings say; gradients are counted by their forward passes. What runs
    at once is captum's to decide: `batch_size` and `memory_budget` have no effect.

    Args:
        attribution: the class, from captum.attr.
        baseline: where captum asks for one.
        seed: of captum's random numbers.
        **settings: passed on to captum's `attribute`.

    Raises:
        ValueError: a class that explains layers or neurons or wraps another, or a setting it does not have.
    """

    def __init__(self, attribution: type, *, baseline: Baseline | None = None, seed: int = 0, **settings: Any):
        accepted = inspect.signature(attribution.attribute).parameters  # type: ignore[attr-defined]
        first = list(inspect.signature(attribution).parameters)
        if (
            first[:1] not in (["forward_func"], ["model"])
            or "layer" in first
            or "inputs" not in accepted
            or ("neuron_selector" in accepted)
        ):
            raise ValueError(
                f"{attribution.__name__} does not explain an input as a whole; take a captum class that does"
            )
        strange = sorted(set(settings) - set(accepted))
        if strange:
            raise ValueError(
                f"{attribution.__name__} has no setting {strange[0]!r}; it has {', '.join(list(accepted)[2:])}"
            )
        self.attribution, self.seed, self.settings = attribution, seed, settings
        self.baseline = baseline if baseline is not None else LineBreak()
        self.accepted = frozenset(accepted)
        self.masked, self.window = "feature_mask" in accepted, "sliding_window_shapes" in accepted
        self.takes_baselines = "baselines" in accepted

    @property
    def name(self) -> str:
        return f"captum's {self.attribution.__name__}"

    @property
    def description(self) -> str:
        start = [f"from {self.baseline.description}"] if self.takes_baselines else []
        return ", ".join([*start, *(f"{name} {value}" for name, value in self.settings.items())])

    def __repr__(self) -> str:
        settings = {**({"baseline": self.baseline} if self.takes_baselines else {}), **self.settings, "seed": self.seed}
        return f"Captum({', '.join([self.attribution.__name__, *(f'{k}={v!r}' for k, v in settings.items())])})"

    def unit(self, quantity: str) -> str:
        bare = self.attribution.__name__ in BARE_GRADIENTS
        return f"{quantity} per unit of embedding" if bare else quantity

    def cost(self, tokens: int) -> int:
        return int(self.settings.get("n_samples", self.settings.get("n_steps", tokens)))

    def __call__(self, objective: Objective) -> Evidence:
        x = objective.x
        settings = {**({"abs": False} if "abs" in self.accepted else {}), **self.settings}
        if self.takes_baselines:
            settings.setdefault("baselines", self.baseline(objective)[None].clone())
        if self.window:
            settings.setdefault("sliding_window_shapes", (1, x.shape[1]))
        if self.masked:
            settings.setdefault(
                "feature_mask", torch.arange(len(x), device=x.device)[None, :, None].repeat(1, 1, x.shape[1])
            )
        explainer = self.attribution(AsModule(objective))
        with objective.frozen(), seeded(self.seed):
            result = explainer.attribute(x[None].clone().requires_grad_(), **settings)
        if isinstance(result, tuple):  # with return_convergence_delta
            result = result[0]
        attributions = result.detach()[0]
        # The change by what is replaced together stands at every dimension of it.
        return Evidence(attributions.mean(-1, keepdim=True) if self.masked or self.window else attributions)


class AsModule(nn.Module):
    """An objective as a module, which is what captum asks for."""

    def __init__(self, objective: Objective):
        super().__init__()
        self.objective = objective
        self.lm = objective.lm  # so that captum finds the modules that it puts its hooks on

    def forward(self, points: Points) -> Values:
        objective = self.objective
        if not torch.is_grad_enabled():
            objective.counts.forwards += len(points)
            return objective.function(points)
        objective.counts.gradients += len(points)
        objective.run.advance(len(points))
        return (objective.grad_function or objective.function)(points)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """The global random numbers of torch and numpy from a seed; put back afterwards."""
    state = numpy.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        numpy.random.seed(seed)
        try:
            yield
        finally:
            numpy.random.set_state(state)
