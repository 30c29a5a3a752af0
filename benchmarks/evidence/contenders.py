"""The methods that are compared: ours, what was tried beside them, and what other libraries compute."""

from __future__ import annotations

from benchmarks.evidence.examples import EXAMPLES_A_KIND
from benchmarks.evidence.measure import Contender
from interpret import (
    CONVENTIONS,
    GIM,
    IDGI,
    DiscretizedIG,
    ExpectedGradients,
    GradientTimesInput,
    IntegratedGradients,
    LineBreak,
    Marginalization,
    MeanEmbedding,
    PlausibleAlternatives,
    SmoothGrad,
    VanillaGradient,
)

ALL, SOME, FEW, FEWEST = EXAMPLES_A_KIND, 20, 2, 1
DEFAULT = "GIM, half way from plausible alternatives"
EXACT = "replacing each word by alternatives"
OURS = {
    "random order": Contender(None, ALL),
    "gradient x input": Contender(GradientTimesInput(), ALL),
    "gradient norm": Contender(VanillaGradient(), ALL),
    "GIM": Contender(GIM(), ALL),
    "GIM, from plausible alternatives": Contender(GIM(PlausibleAlternatives()), ALL),
    DEFAULT: Contender(GIM(PlausibleAlternatives(weight=0.5)), ALL),
    EXACT: Contender(Marginalization(seed=1), 4, 4),
    "integrated gradients, from a line break": Contender(IntegratedGradients(baseline=LineBreak()), FEW, 4),
    "integrated gradients, from plausible alternatives": Contender(
        IntegratedGradients(baseline=PlausibleAlternatives()), FEW, 4
    ),
}
TRIED = {
    "gradient x (input - alternatives)": Contender(GradientTimesInput(PlausibleAlternatives()), SOME),
    "GIM, from the mean embedding": Contender(GIM(MeanEmbedding()), SOME),
    "GIM, from a line break": Contender(GIM(LineBreak()), SOME),
    "GIM at temperature 2, from plausible alternatives": Contender(GIM(PlausibleAlternatives(), temperature=2.0), SOME),
    "GIM at temperature 2, half way from alternatives": Contender(
        GIM(PlausibleAlternatives(weight=0.5), temperature=2.0), SOME
    ),
    "GIM, half way from alternatives, behind a start token": Contender(
        GIM(PlausibleAlternatives(weight=0.5)), SOME, 0, True
    ),
    "GIM, behind a start token": Contender(GIM(), SOME, 0, True),
    "gradient x input, behind a start token": Contender(GradientTimesInput(), SOME, 0, True),
    "gradient norm, behind a start token": Contender(VanillaGradient(), SOME, 0, True),
    "integrated gradients, behind a start token": Contender(IntegratedGradients(baseline=LineBreak()), FEWEST, 0, True),
    "GIM, from alternatives, mean of two noisy points": Contender(
        SmoothGrad(GIM(PlausibleAlternatives()), samples=2), SOME
    ),
    "IDGI": Contender(IDGI(), FEWEST, 2),
    "discretized integrated gradients": Contender(DiscretizedIG(), FEWEST, 2),
    "expected gradients": Contender(ExpectedGradients(samples=50), FEWEST, 2),
    "SmoothGrad of gradient x input": Contender(SmoothGrad(GradientTimesInput()), FEWEST, 2),
}
LIBRARIES = {
    each.name: Contender(each, SOME if each.local else FEW, ORDINARY)
    for each in CONVENTIONS
    if (ORDINARY := 4 if each.local else 2)
}
CONTENDERS = {**OURS, **TRIED, **LIBRARIES}
