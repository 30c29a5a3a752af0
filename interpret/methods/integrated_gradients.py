"""Integrated gradients: the objective's change from a baseline to the prompt, divided among the tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from interpret.engine.evaluate import each_gradient
from interpret.engine.evaluate import values as values_at
from interpret.engine.objective import Objective
from interpret.engine.run import Points, Values
from interpret.methods.adaptive import Point, certified_gap, first_alphas, integrate, total
from interpret.methods.baselines import Baseline, PlausibleAlternatives
from interpret.methods.method import Evidence, Method
from interpret.methods.path import SMALLEST_GAP, Fixed, Line, Rule, quadrature, warn, warn_of_gap
from interpret.results.certificate import Completeness, StraightPath

FIRST_SEGMENTS = 8


@dataclass(frozen=True)
class IntegratedGradients(Method):
    """The gradient averaged along the straight path from a baseline x' to the prompt x, times x - x'.

    s_t = sum_d (x - x')_td * integral over alpha from 0 to 1 of (dF/dx)_td(x' + alpha (x - x'))

    Sundararajan, Taly & Yan 2017 (arXiv:1703.01365). Scores are signed, in nats, and complete: they add up to
    F(x) - F(x'). On language models the integrand jumps, and fixed rules miss it; so by default the path is bisected
    where the scores miss the change of F, until the *sum of absolute* misses is under `tolerance`. That sum is the
    certificate in the result's completeness. It is about the sum over tokens; for single scores, `error` estimates how
    far off each one may be (Simpson's rule against the trapezoid rule on the same points). Costs 17 gradients at least
    and `max_gradients` at most.

    Args:
        tolerance: the certified gap that is good enough, relative to |F(x) - F(x')|, or 0.01 nats if that is larger.
        max_gradients: what it may cost; short of the tolerance, a ConvergenceWarning says what to change.
        baseline: x', where the path starts: by default what else might stand at each position.
        fixed: the tokens that are not moved, and so have no score: "template" (the first token, which carries the
            attention sink, and what a chat template wrote), "first", positions, a function of a Piece, or None.
        steps: a fixed number of gradients instead, without a certificate; the gap of the whole path is still known.
        rule: the quadrature rule for `steps`.

    Raises:
        ValueError: a tolerance that is not above 0, `max_gradients` below 17, an unknown rule, or fewer steps than it
            takes; where it runs, a baseline that does not fit the prompt, or a prompt of which every token is fixed.
        FloatingPointError: the objective or a gradient is not finite on the path.
    """

    name = "integrated gradients"

    tolerance: float = 0.05
    max_gradients: int = 256
    baseline: Baseline = PlausibleAlternatives()
    fixed: Fixed = "template"
    steps: int | None = None
    rule: Rule = "midpoint"

    @property
    def description(self) -> str:
        return f"from {self.baseline.description}" + (f", {self.steps} {self.rule} steps" if self.steps else "")

    def __post_init__(self) -> None:
        if not 0 < self.tolerance < float("inf"):
            raise ValueError(f"tolerance is {self.tolerance}; it must be a number above 0 (0.05 is usual)")
        if self.max_gradients < 2 * FIRST_SEGMENTS + 1:
            raise ValueError(f"max_gradients is {self.max_gradients}; it must be at least {2 * FIRST_SEGMENTS + 1}")
        quadrature(self.rule, 2 if self.steps is None else self.steps)

    def cost(self, tokens: int) -> int:
        return self.max_gradients if self.steps is None else self.steps

    @property
    def exact_values(self) -> bool:  # type: ignore[override]
        return self.steps is None

    def points(self, objective: Objective) -> Points:
        return Line.of(self.baseline, self.fixed, objective).at(self._alphas())

    def attributions(self, objective: Objective, points: Points, values: Values, gradients: Points) -> Evidence:
        return self._integral(objective, zip(values, gradients, strict=True))

    def __call__(self, objective: Objective) -> Evidence:
        return self._integral(objective, None)

    def _alphas(self) -> Values:
        if self.steps is None:
            return torch.tensor(first_alphas(FIRST_SEGMENTS), dtype=torch.float64)
        return quadrature(self.rule, self.steps)[0]

    def _integral(self, objective: Objective, first: Iterable[tuple[Tensor, Tensor]] | None) -> Evidence:
        """The integral from the values and gradients at the first points, which are taken one by one if not given."""
        line = Line.of(self.baseline, self.fixed, objective)

        def at(alphas: Iterable[float]) -> Iterator[tuple[Tensor, Tensor]]:
            points = (line.at(torch.tensor([alpha], dtype=torch.float64))[0] for alpha in alphas)
            return each_gradient(objective, points, self.exact_values)

        try:
            first = first if first is not None else at(self._alphas().tolist())
            return self._certified(line, first, at) if self.steps is None else self._by_rule(objective, line, first)
        except FloatingPointError as error:
            raise FloatingPointError(
                f"{error}, on the path from the baseline {self.baseline!r}; take another baseline (where a network has "
                "no biases, its norms divide by zero at embeddings of zero)"
            ) from error

    def _certified(
        self,
        line: Line,
        first: Iterable[tuple[Tensor, Tensor]],
        at: Callable[[Iterable[float]], Iterator[tuple[Tensor, Tensor]]],
    ) -> Evidence:
        """The path refined until its certified gap is within the tolerance; attributions summed over dimensions."""
        given: list[Iterable[tuple[Tensor, Tensor]]] = [first]

        def explore(alphas: Sequence[float]) -> list[Point]:
            found = given.pop() if given else at(alphas)
            return [
                Point(alpha, float(value), (gradient.double() * line.delta.double()).sum(-1))
                for alpha, (value, gradient) in zip(alphas, found, strict=True)
            ]

        segments = integrate(explore, self.tolerance, SMALLEST_GAP, self.max_gradients, FIRST_SEGMENTS)
        scores, gap = total([segment.scores for segment in segments]), certified_gap(segments)
        error = total([segment.error_estimate for segment in segments])
        value, baseline_value = segments[-1].end.value, segments[0].start.value
        completeness = Completeness.of(value, baseline_value, float(scores.sum()), gap)
        enough = max(self.tolerance * abs(value - baseline_value), SMALLEST_GAP)
        if gap > enough:
            jumps = certified_gap([segment for segment in segments if segment.narrow])
            more = f"more than max_gradients={self.max_gradients}, " if gap - jumps > enough else ""
            why = f" (jumps of the network on this path make {jumps:.2g} of it)" if jumps > SMALLEST_GAP else ""
            warn(completeness, f"{more}another baseline, or fix more tokens{why}")
        points = [point for segment in segments for point in (segment.start, segment.middle)] + [segments[-1].end]
        path = StraightPath(
            tuple(point.alpha for point in points),
            tuple(point.value for point in points),
            tuple(float(point.slope.sum()) for point in points),
        )
        return Evidence(scores[:, None], completeness, line.fixed, error=error, path=path)

    def _by_rule(self, objective: Objective, line: Line, first: Iterable[tuple[Tensor, Tensor]]) -> Evidence:
        """The path by a fixed rule."""
        alphas, weights = (each.to(line.x) for each in quadrature(self.rule, self.steps or 0))
        attributions = torch.zeros_like(line.x)
        points: list[tuple[float, float, float | None]] = []
        for alpha, weight, (point_value, gradient) in zip(alphas, weights, first, strict=True):
            slopes = gradient * line.delta
            attributions += weight * slopes
            points.append((float(alpha), float(point_value), float(slopes.double().sum())))
        value, baseline_value = values_at(objective, torch.stack([line.x, line.start])).tolist()
        completeness = Completeness.of(value, baseline_value, float(attributions.double().sum()))
        warn_of_gap(completeness, f"more steps than {self.steps}, another baseline, or leave out steps")
        ends = [(0.0, baseline_value, None), (1.0, value, None)]
        points += [end for end in ends if all(alpha != end[0] for alpha, *_ in points)]
        path = StraightPath(*zip(*sorted(points, key=lambda point: point[0]), strict=True))
        return Evidence(attributions, completeness, line.fixed, path=path)
