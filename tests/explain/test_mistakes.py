"""What the annotations forbid and Python lets through: run without the tests' checks of them, as a user would."""

import subprocess
import sys

import pytest

SCRIPT = """
import numpy, torch, warnings
from torch import nn
from interpret import Attribution, AttributionMatrix, ConvergenceWarning, Failure
from interpret import GradientTimesInput, IntegratedGradients
from interpret import attribute, attribute_candidates, attribute_continuation, attribute_many
from nexttoken import NextTokenLM, SymbolVocabulary

torch.manual_seed(0)  # of some weights, one step misses next to nothing
lm = NextTokenLM(SymbolVocabulary("abcdef"), nn.Embedding(6, 4), nn.Linear(4, 6))
method = GradientTimesInput()


class Curved(nn.Module):
    def forward(self, embeddings):
        return embeddings.cumsum(1).pow(3)


curved = NextTokenLM(SymbolVocabulary("abcdef"), nn.Embedding(6, 4), nn.Linear(4, 6), Curved())

def says(words, **question):
    try:
        attribute(lm, **{"prompt": "abc", "method": method, **question})
    except ValueError as error:
        assert words in str(error), error
    else:
        raise AssertionError(question)

says("1.5 is not a token id", target=1.5)
says("is not a token id", target=IntegratedGradients())
says("give an instance, such as IntegratedGradients()", method=IntegratedGradients)
says("give an instance", method="integrated-gradients")
says("precision is 'half'; it must be 'float64', 'float32', 'bfloat16', or None", precision="half")
for size in (0, 2.5, "a"):
    says("it must be at least 1, a whole number of points", batch_size=size)
for region in ((0.5, 1.5), 0.5, [None], [[0, 1], 2], {"a": 1}):
    says("it must be (start, end)", region=region)

def refuses(words, call):
    try:
        call()
    except ValueError as error:
        assert words in str(error), error
    else:
        raise AssertionError(words)

refuses("it must be a text or a list of tokens", lambda: attribute_continuation(lm, "abc", 3, method))
refuses("it must be a whole number or a list of tokens", lambda: attribute_candidates(lm, "abc", None, method))
why = attribute(lm, "abc", "d", method)
for by in (1, None, [1], [(0, 1, 2)], "letter"):
    refuses("by is", lambda: why.totals(by))
for width in ([], "wide", 0, 1e9):
    refuses("the width is", lambda: why.heatmap(width))
for text in ("", "{", "[]", "3", '{"tokens": 1}', why.to_json()[:300], "[" * 100_000):
    refuses("this is not a saved", lambda: Attribution.from_json(text))

number = attribute_candidates(lm, "abc", numpy.int64(2), method=method, region=(numpy.int64(0), numpy.int64(2)))
assert AttributionMatrix.from_json(number.to_json()).to_dict() == number.to_dict()
assert (number.scores == attribute_candidates(lm, "abc", 2, method=method, region=(0, 2)).scores).all()

prompts = [None, float("nan"), 5, ["a", "b"], [1.5], b"ab", torch.tensor([[1, 2], [2, 3]]), torch.tensor([[1, 2]])]
*failures, last = attribute_many(lm, prompts, method=method)
assert all(isinstance(each, Failure) for each in failures)
assert "the prompt is None; it must be text" in str(failures[0].error)
assert "'a' is not a token id" in str(failures[3].error)
assert "a batch of 2 rows; give one of them, or all to attribute_many" in str(failures[6].error)
assert last.token_ids == ((1,), (2,))
assert attribute(lm, "abc", "d", method).target.text == "d"  # a vocabulary without a space

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    attribute(curved, "abc", "d", IntegratedGradients(steps=1, rule="left", fixed=None))
assert [(each.category, each.filename) for each in caught] == [(ConvergenceWarning, "<string>")]
"""


@pytest.mark.slow
def test_mistakes_are_named():
    subprocess.run([sys.executable, "-c", SCRIPT], check=True)
