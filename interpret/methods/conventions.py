"""What five libraries mean by "saliency", as data: printed side by side, and reproduced number by number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields

import torch
from jaxtyping import Float
from numpy import ndarray

from interpret.engine.objective import Objective
from interpret.engine.run import BackwardRules, Points, Values
from interpret.methods.baselines import Baseline, Embeddings, Token, Unknown, Zero
from interpret.methods.gradient_times_input import GradientTimesInput
from interpret.methods.integrated_gradients import IntegratedGradients
from interpret.methods.listed import changed
from interpret.methods.method import Evidence, Method
from interpret.methods.path import Line, quadrature
from interpret.methods.vanilla_gradient import VanillaGradient
from interpret.question.quantity import LOG_PROBABILITY, LOGIT, LOSS, PROBABILITY, Quantity
from interpret.results.reduction import ABSOLUTE_SUM, MEAN_ABSOLUTE, NORM_2, SUM, Reduction


@dataclass(frozen=True)
class Normalization:
    """What is done with a prompt's scores together.

    Attributes:
        name: as it stands in results.
        function: scores (piece,) to scores (piece,).
    """

    name: str
    function: Callable[[ndarray], ndarray] = field(repr=False)


def share(scores: Float[ndarray, " piece"]) -> Float[ndarray, " piece"]:
    """Each score over the sum of all magnitudes; zeros stay zeros."""
    total = abs(scores).sum()
    return scores / total if total > 0 else scores


NONE = Normalization("none", lambda scores: scores)
SHARE = Normalization("share of the sum of magnitudes", share)


@dataclass(frozen=True, repr=False, kw_only=True)
class Convention(Method):
    """What one library computes when it is asked for one kind of attribution, with its defaults.

    Attributes:
        library: its name.
        kind: what it is asked for.
        quantity: the scalar that is explained.
        method: the formula, with the library's baseline, rule and steps.
        reduction: how the embedding's dimensions become one score.
        normalization: what is done with the scores of a prompt together.
    """

    library: str
    kind: str
    quantity: Quantity
    method: Method
    reduction: Reduction
    normalization: Normalization

    @property
    def local(self) -> bool:  # type: ignore[override]
        return self.method.local

    @property
    def stochastic(self) -> bool:  # type: ignore[override]
        return self.method.stochastic

    @property
    def rules(self) -> BackwardRules | None:  # type: ignore[override]
        return self.method.rules

    @property
    def exact_values(self) -> bool:  # type: ignore[override]
        return self.method.exact_values

    def points(self, objective: Objective) -> Points | None:
        return self.method.points(objective)

    def attributions(self, objective: Objective, points: Points, values: Values, gradients: Points) -> Evidence:
        return self.method.attributions(objective, points, values, gradients)

    def __call__(self, objective: Objective) -> Evidence:
        return self.method(objective)

    def cost(self, tokens: int) -> int:
        return self.method.cost(tokens)

    def unit(self, quantity: str) -> str:
        return self.method.unit(quantity) if self.normalization is NONE else "share"

    def normalized(self, scores: Float[ndarray, " piece"]) -> Float[ndarray, " piece"]:
        return self.normalization.function(scores)

    @property
    def name(self) -> str:
        return f"{self.library}'s {self.kind}"

    def __repr__(self) -> str:
        if self in CONVENTIONS:
            return f"convention({self.library!r}, {self.kind!r})"
        settings = (f"{each.name}={getattr(self, each.name)!r}" for each in fields(self))
        return f"Convention({', '.join(settings)})"

    @property
    def row(self) -> tuple[str, ...]:
        """The convention in words: see COLUMNS."""
        sign = "signed" if self.reduction.signed else "unsigned"
        settings = ", ".join(f"{name}={own!r}" for name, own in changed(self.method))
        formula = f"{type(self.method).__name__}({settings})"
        words = (self.quantity.name, formula, self.reduction.name, self.normalization.name, sign)
        return (self.library, self.kind, *words)


COLUMNS = ("library", "kind", "explains", "formula", "reduction", "normalization", "sign")


@dataclass(frozen=True)
class MagnitudesAlongPath(Method):
    """The mean along a path of |x * gradient|: the magnitude is taken before the mean, so this is no integral.

    a_td = sum_k w_k |z_k * dF/dx(z_k)|_td, z_k on the straight path from the baseline; what interpreto calls
    integrated gradients. Unsigned. Costs `steps` gradients.
    """

    name = "mean of |gradient x input| along the path"

    steps: int
    baseline: Baseline

    def cost(self, tokens: int) -> int:
        return self.steps

    def points(self, objective: Objective) -> Points:
        return Line.of(self.baseline, None, objective).at(quadrature("trapezoid", self.steps)[0])

    def attributions(self, objective: Objective, points: Points, values: Values, gradients: Points) -> Evidence:
        _, weights = quadrature("trapezoid", self.steps)
        return Evidence((weights.to(points)[:, None, None] * (points * gradients).abs()).sum(0))


@dataclass(frozen=True)
class PlainNoise(Method):
    """The mean gradient over noisy embeddings, not multiplied by them: AllenNLP's SmoothGrad.

    a = mean over e of dF/dx(x + e), e ~ N(0, (scale * (max x - min x))^2). Signed, per unit of embedding.
    """

    name = "mean gradient over noise"

    samples: int
    scale: float
    seed: int = 0

    stochastic = True

    def cost(self, tokens: int) -> int:
        return self.samples

    def unit(self, quantity: str) -> str:
        return f"{quantity} per unit of embedding"

    def attributions(self, objective: Objective, points: Points, values: Values, gradients: Points) -> Evidence:
        return Evidence(gradients.mean(0), samples=gradients)

    def points(self, objective: Objective) -> Points:
        x = objective.x
        generator = torch.Generator().manual_seed(self.seed)
        noise = torch.randn((self.samples, *x.shape), generator=generator, dtype=x.dtype).to(x.device)
        return x + self.scale * (x.max() - x.min()) * noise


IG, GI, GRADIENT, SMOOTHGRAD = "integrated gradients", "gradient x input", "gradient", "smoothgrad"
FIRST_ID = IntegratedGradients(steps=50, rule="gauss-legendre", baseline=Token(0), fixed=None)
LEFT_FROM_ZERO = IntegratedGradients(steps=10, rule="left", baseline=Zero(), fixed=None)
UNKNOWN = IntegratedGradients(steps=50, rule="gauss-legendre", baseline=Unknown(), fixed=None)
ALMOST_ZERO = Embeddings(1e-6)


_Row = tuple[str, str, Quantity, Method, Reduction, Normalization]
ROWS: tuple[_Row, ...] = (
    ("allennlp", GI, LOSS, GradientTimesInput(), ABSOLUTE_SUM, SHARE),
    ("allennlp", IG, LOSS, LEFT_FROM_ZERO, ABSOLUTE_SUM, SHARE),
    ("allennlp", SMOOTHGRAD, LOSS, PlainNoise(samples=10, scale=0.01), ABSOLUTE_SUM, SHARE),
    ("captum", GI, LOG_PROBABILITY, GradientTimesInput(), SUM, NONE),
    ("captum", IG, LOG_PROBABILITY, FIRST_ID, SUM, NONE),
    ("inseq", GRADIENT, PROBABILITY, VanillaGradient(), NORM_2, SHARE),
    ("inseq", GI, PROBABILITY, GradientTimesInput(), NORM_2, SHARE),
    ("inseq", IG, PROBABILITY, UNKNOWN, NORM_2, SHARE),
    ("interpreto", GI, LOGIT, GradientTimesInput(), MEAN_ABSOLUTE, NONE),
    ("interpreto", IG, LOGIT, MagnitudesAlongPath(10, ALMOST_ZERO), MEAN_ABSOLUTE, NONE),
    ("ecco", GRADIENT, PROBABILITY, VanillaGradient(), NORM_2, SHARE),
    ("ecco", GI, PROBABILITY, GradientTimesInput(), NORM_2, SHARE),
)
CONVENTIONS: tuple[Convention, ...] = tuple(
    Convention(library=library, kind=kind, quantity=quantity, method=method, reduction=reduction, normalization=norm)
    for library, kind, quantity, method, reduction, norm in ROWS
)


def convention(library: str, kind: str = IG) -> Convention:
    """A library's convention for one kind of attribution, as a method.

    Raises:
        ValueError: an unknown library, or a kind that it does not have.
    """
    of_library = [each for each in CONVENTIONS if each.library == library]
    if not of_library:
        known = dict.fromkeys(each.library for each in CONVENTIONS)
        raise ValueError(f"there is no convention {library!r}; there are {', '.join(known)}")
    found = next((each for each in of_library if each.kind == kind), None)
    if found is None:
        raise ValueError(f"{library} has no {kind!r} here; it has {', '.join(each.kind for each in of_library)}")
    return found


def table(conventions: Sequence[Convention] = CONVENTIONS) -> str:
    """The conventions side by side, as a Markdown table."""
    rows = [COLUMNS, ("---",) * len(COLUMNS), *(each.row for each in conventions)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
