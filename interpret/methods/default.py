"""The method that is taken where none is named."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from interpret.engine.evaluate import gradients
from interpret.engine.objective import Objective
from interpret.methods.baselines import PlausibleAlternatives
from interpret.methods.gim import GIM
from interpret.methods.integrated_gradients import IntegratedGradients
from interpret.methods.method import Method
from nexttoken import NextTokenLM, Target

_CHOSEN: WeakKeyDictionary[NextTokenLM, Method] = WeakKeyDictionary()  # so that a model is tried once


def default_method(lm: NextTokenLM) -> Method:
    """GIM, halfway from plausible alternatives; certified integrated gradients for a network that GIM refuses.

    Of the methods measured that cost at most three gradients, it puts known evidence first most often, and its scores
    predict best what replacements do (see the documentation of evidence). The first call for a model takes one gradient
    at two tokens, to see whether its network hides products in fused operations.
    """
    if lm not in _CHOSEN:
        _CHOSEN[lm] = GIM(PlausibleAlternatives(weight=0.5)) if _sees_products(lm) else IntegratedGradients()
    return _CHOSEN[lm]


def _sees_products(lm: NextTokenLM) -> bool:
    objective = Objective.of(lm, lm.prompt([0, 0]), Target("", 0, 0.0, 1))
    try:
        gradients(objective, objective.x[None], rules=GIM().rules)
    except ValueError:
        return False
    except ArithmeticError:
        return True
    return True
