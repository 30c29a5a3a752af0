"""The one list of methods: complete, with names that agree, and every method's repr makes it again."""

import inspect
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import captum.attr
import pytest
import torch

import interpret
from interpret import (
    CONVENTIONS,
    GIM,
    IDGI,
    Captum,
    Convention,
    DiscretizedIG,
    Embeddings,
    ExpectedGradients,
    GradientTimesInput,
    IntegratedGradients,
    LineBreak,
    LocalMethod,
    Marginalization,
    MeanEmbedding,
    Method,
    PlausibleAlternatives,
    SequentialIG,
    SmoothGrad,
    SmoothGradSquared,
    Text,
    Token,
    Unknown,
    VanillaGradient,
    VarGrad,
    Zero,
    convention,
)
from interpret.methods.baselines import Baseline
from interpret.methods.listed import BASELINES, METHODS, find_method, slug_of
from interpret.methods.settings import every_method

ROOT = Path(__file__).parent.parent.parent
PUBLIC = {name: getattr(interpret, name) for name in interpret.__all__}
NOT_LISTED = {Captum, Convention}  # one takes a class of captum's, the other stands for several: see CONVENTIONS
SET = [
    IntegratedGradients(tolerance=0.01, max_gradients=300, baseline=Text('it\'s "so"'), fixed=(0, 2)),
    IntegratedGradients(steps=7, rule="trapezoid", baseline=Token(" the"), fixed=None),
    GradientTimesInput(Embeddings(1e-6, "almost zero")),
    VanillaGradient(norm=1),
    GIM(temperature=1.5),
    IDGI(steps=9, baseline=Token(3)),
    SequentialIG(rule="left", baseline=MeanEmbedding()),
    DiscretizedIG(neighbours=5, baseline=LineBreak()),
    ExpectedGradients(samples=4, seed=9, fixed="first"),
    Marginalization(samples=2, seed=1, top=9),
    GIM(baseline=PlausibleAlternatives(top=3)),
    SmoothGrad(GIM(), samples=4, sigma=0.1, seed=3),
    SmoothGradSquared(IntegratedGradients(steps=2, baseline=Zero())),
    VarGrad(SmoothGrad(GradientTimesInput(Unknown())), samples=6),
]


def concrete(base):
    return {each for each in PUBLIC.values() if inspect.isclass(each) and issubclass(each, base)} - {
        each for each in PUBLIC.values() if inspect.isabstract(each)
    }


def test_every_public_method_and_baseline_is_listed():
    assert {each.load() for each in METHODS} == concrete(Method) - NOT_LISTED
    assert {each.load() for each in BASELINES} == concrete(Baseline) - {Embeddings}
    for listed in (METHODS, BASELINES):
        assert len({each.slug for each in listed}) == len(listed)
        assert all(each.help and "\n" not in each.help for each in listed)


def test_slug_class_and_name_agree():
    for each in METHODS:
        made = find_method(each.slug)
        assert made is PUBLIC[made.__name__]
        assert made.__name__.lower() == each.slug.replace("-", "")
        assert slug_of(made()) == each.slug
    names = {each.slug: each.load()().name for each in METHODS}
    short = {"gradient-times-input": "gradient x input", "vanilla-gradient": "gradient norm"}
    for slug, name in names.items():
        written_out = slug.replace("-ig", "-integrated-gradients").replace("-", " ")
        assert name.lower() == short.get(slug, written_out)


def test_the_list_is_loaded_without_torch():
    code = "import sys, interpret.methods.listed; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_an_unknown_method_is_told_those_that_there_are():
    with pytest.raises(ValueError, match="there is no method 'magic'; the methods are integrated-gradients, "):
        find_method("magic")
    assert slug_of("magic") is None


@pytest.mark.parametrize("method", [*every_method().values(), *SET], ids=lambda method: method.name)
def test_a_repr_makes_the_method_again_with_all_settings(method):
    assert eval(repr(method), PUBLIC.copy()) == method


def test_every_listed_method_has_been_set_otherwise():
    assert {type(each) for each in SET} == {each.load() for each in METHODS}


def test_reprs_that_need_more_than_our_names():
    made = Captum(captum.attr.GradientShap, n_samples=5, baseline=Zero(), seed=2)
    assert repr(eval(repr(made), {**PUBLIC, "GradientShap": captum.attr.GradientShap})) == repr(made)
    given = Embeddings(torch.zeros(3, 2), "mine")
    assert repr(given) == "Embeddings(embeddings=<tensor of shape (3, 2)>, name='mine')"
    own = Convention(**{**vars(convention("inseq")), "method": GIM()})
    assert repr(own).startswith("Convention(library='inseq', kind='integrated gradients', ")
    assert "method=GIM(baseline=None, temperature=1.0)" in repr(own)


def test_embeddings_are_the_same_where_all_numbers_are():
    one, same, other = (Embeddings(torch.full((2,), value)) for value in (1.0, 1.0, 2.0))
    assert one == same
    assert hash(one) == hash(same)
    assert len({one, other, Embeddings(torch.zeros(3)), Embeddings(0.0), Embeddings(0.0), Embeddings(0.0, "zero")}) == 5
    assert one != "given"


def test_names_say_what_is_wrapped_where_it_is_not_the_usual():
    assert SmoothGrad().name == "SmoothGrad"
    assert SmoothGrad(GIM()).name == "SmoothGrad of GIM"
    assert SmoothGradSquared(VanillaGradient(norm=1)).name == "SmoothGrad squared"
    assert VarGrad(SmoothGrad(IDGI())).name == "VarGrad of SmoothGrad of IDGI"
    assert Captum(captum.attr.GradientShap).name == "captum's GradientShap"
    assert convention("inseq").name == "inseq's integrated gradients"
    assert len({each.name for each in CONVENTIONS}) == len(CONVENTIONS)


def test_a_method_of_ones_own_has_its_classs_name_until_it_says_another():
    @dataclass(frozen=True)
    class Erasure(LocalMethod):
        def at(self, objective, points, gradient):
            return gradient

    @dataclass(frozen=True)
    class Halved(Erasure):
        name = "half of it"
        factor: float = 0.5

    assert Erasure().name == "Erasure"
    assert (Halved().name, Halved(0.1).name) == ("half of it", "half of it")
    assert SmoothGrad(Erasure()).name == "SmoothGrad of Erasure"
