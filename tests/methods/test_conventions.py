"""The conventions of other libraries, by their formulas; tests/project/test_peers.py runs the libraries themselves."""

import numpy
import pytest
import torch

from interpret import CONVENTIONS, Objective, SmoothGrad, VanillaGradient, attribute, convention
from interpret.engine.evaluate import gradients, values
from interpret.methods.conventions import COLUMNS, share, table
from nexttoken import NextTokenLM
from tests.builders import objective
from tests.conftest import gpt2

SENTENCE = "The keys to the cat"


@pytest.fixture
def f(tiny):
    return objective(tiny, SENTENCE, 69)


def gradient_of(f, points):
    return gradients(f, points)[1]


@pytest.mark.filterwarnings("ignore::interpret.ConvergenceWarning")
def test_allennlp_by_its_formulas(tiny, f):
    """FIELD: |sum over dim| over its sum; the loss; 10 left steps from zero."""
    x = f.x
    simple = (gradient_of(f, x[None])[0] * x).sum(-1).abs()
    path = torch.stack([k / 10 * x for k in range(10)])
    integrated = (x * gradient_of(f, path).mean(0)).sum(-1).abs()
    for kind, expected in (("gradient x input", simple), ("integrated gradients", integrated)):
        result = attribute(tiny, SENTENCE, 69, convention("allennlp", kind))
        torch.testing.assert_close(torch.from_numpy(result.scores), expected / expected.sum())
        assert (result.quantity, result.signed, result.unit) == ("loss", False, "share")
    smooth = attribute(tiny, SENTENCE, 69, convention("allennlp", "smoothgrad"))
    assert float(smooth.scores.sum()) == pytest.approx(1)
    assert smooth.gradients_spent == 10


def test_ecco_by_its_formulas(tiny, f):
    x, p = f.x, values(f, f.x[None]).exp()
    gradient = p * gradient_of(f, x[None])[0]
    for kind, expected in (("gradient", gradient.norm(dim=-1)), ("gradient x input", (gradient * x).norm(dim=-1))):
        result = attribute(tiny, SENTENCE, 69, convention("ecco", kind))
        torch.testing.assert_close(torch.from_numpy(result.scores), expected / expected.sum())
        assert result.quantity == "probability"


def test_interpretos_integrated_gradients_takes_magnitudes_before_the_mean(tiny, f):
    x = f.x
    ids = tiny.tokens(tiny.prompt(SENTENCE))["input_ids"]
    logit = Objective(lambda points: tiny.next_tokens(points, ids.expand(len(points), -1))[1][:, 0, 69], x)
    alphas = torch.linspace(0, 1, 10, dtype=torch.float64)[:, None, None]
    points = 1e-6 + alphas * (x - 1e-6)
    each = (points * gradient_of(logit, points)).abs().mean(-1)
    result = attribute(tiny, SENTENCE, 69, convention("interpreto"))
    torch.testing.assert_close(torch.from_numpy(result.scores), torch.trapezoid(each, dim=0) / 9)


@pytest.mark.filterwarnings("ignore::interpret.ConvergenceWarning")
def test_two_libraries_say_opposite_things_of_the_same_prompt(tiny):
    """The same word, gradient x input: signed in one, unsigned in the other."""
    captums = attribute(tiny, SENTENCE, 69, convention("captum", "gradient x input"))
    inseqs = attribute(tiny, SENTENCE, 69, convention("inseq", "gradient x input"))
    assert captums.signed
    assert (captums.scores < 0).any()
    assert not inseqs.signed
    assert (inseqs.scores >= 0).all()


def test_the_table_names_every_choice():
    lines = table().splitlines()
    assert len(lines) == 2 + len(CONVENTIONS)
    assert lines[0] == f"| {' | '.join(COLUMNS)} |"
    assert {each.library for each in CONVENTIONS} == {"allennlp", "captum", "inseq", "interpreto", "ecco"}
    for each in CONVENTIONS:
        assert all(each.row)
        assert each.name == f"{each.library}'s {each.kind}"


def test_unknown_conventions():
    with pytest.raises(ValueError, match="there is no convention 'shap'; there are allennlp, captum"):
        convention("shap")
    with pytest.raises(ValueError, match="ecco has no 'integrated gradients' here; it has gradient, gradient x input"):
        convention("ecco")


def test_a_probability_has_no_contrast(tiny):
    with pytest.raises(ValueError, match="to explain the probability, leave out the foils"):
        attribute(tiny, SENTENCE, 69, convention("ecco", "gradient"), contrast=70)


def test_shares_keep_the_sign_and_zeros():
    assert share(numpy.array([1.0, -3.0])).tolist() == [0.25, -0.75]
    assert share(numpy.zeros(2)).tolist() == [0, 0]


def test_a_quantity_can_be_named_for_any_method(tiny):
    from interpret import LOGIT, PROBABILITY

    for quantity in (PROBABILITY, LOGIT):
        result = attribute(tiny, SENTENCE, 69, VanillaGradient(), quantity=quantity)
        assert result.quantity == quantity.name
        assert result.unit == f"{quantity.unit} per unit of embedding"


def test_smoothgrad_of_a_convention_keeps_its_quantity_and_shares(tiny):
    result = attribute(tiny, SENTENCE, 69, SmoothGrad(convention("inseq", "gradient"), samples=4))
    assert (result.quantity, result.unit) == ("probability", "share")
    assert float(result.scores.sum()) == pytest.approx(1)


@pytest.mark.filterwarnings("ignore::interpret.ConvergenceWarning")
def test_the_gap_is_in_the_unit_of_what_is_explained(tokenizer):
    lm = NextTokenLM.from_pretrained(gpt2(), tokenizer)
    lm.vocab.unk_id = 2
    result = attribute(lm, SENTENCE, 69, convention("inseq"))
    assert result.completeness.unit == "probability"
    assert "probability)" in result.gap_text
