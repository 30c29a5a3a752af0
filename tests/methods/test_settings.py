"""Settings as texts: each is read back as what it is, and every mistake is said in one line."""

import re
from dataclasses import dataclass
from typing import Literal

import pytest

from interpret import (
    CONVENTIONS,
    IDGI,
    Embeddings,
    GradientTimesInput,
    IntegratedGradients,
    MeanEmbedding,
    SmoothGrad,
    Text,
    Token,
    VanillaGradient,
    Zero,
)
from interpret.methods.settings import convention_names, every_method, method_by_name, settings, with_settings


@pytest.mark.parametrize("method", every_method().values(), ids=lambda method: method.name)
def test_every_setting_is_read_back_from_its_text(method):
    for setting in settings(method):
        assert setting.parse(setting.text) == setting.value


def test_a_method_by_its_name_with_settings_as_texts():
    made = method_by_name("integrated-gradients", {"steps": "3", "rule": "left", "baseline": "zero", "fixed": "none"})
    assert made == IntegratedGradients(steps=3, rule="left", baseline=Zero(), fixed=None)
    made = method_by_name("smoothgrad", {"samples": "4", "method": "vanilla-gradient", "method.norm": "1"})
    assert made == SmoothGrad(VanillaGradient(norm=1), samples=4)
    made = method_by_name("idgi", {"baseline": "token", "baseline.token": " the"})
    assert made == IDGI(baseline=Token(" the"))
    made = method_by_name("smoothgrad", {"method": "idgi", "method.baseline": "text", "method.baseline.text": "a=b.c"})
    assert made == SmoothGrad(IDGI(baseline=Text("a=b.c")))
    assert method_by_name("gradient-times-input", {"baseline": "mean"}) == GradientTimesInput(MeanEmbedding())
    assert method_by_name("gradient-times-input", {"baseline": "none"}) == GradientTimesInput()
    assert method_by_name("integrated-gradients", {"steps": "none", "tolerance": "0.1"}).tolerance == 0.1
    assert [method_by_name(name) for name in convention_names()] == list(CONVENTIONS)


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("vanilla-gradient", {"steps": "3"}, "vanilla-gradient has no setting 'steps'; it has norm"),
        ("inseq:gradient", {"norm": "1"}, "inseq's gradient has no setting 'norm'; it has none"),
        ("inseq:magic", {}, "inseq has no 'magic' here; it has gradient, gradient x input"),
        ("idgi", {"steps": "many"}, "steps is 'many'; it must be a whole number"),
        ("integrated-gradients", {"steps": "2.5"}, "steps is '2.5'; it must be a whole number, or none"),
        ("smoothgrad", {"sigma": "much"}, "sigma is 'much'; it must be a number"),
        ("smoothgrad", {"sigma": "nan"}, "sigma is nan"),
        ("idgi", {"fixed": "all"}, "fixed is 'all'; it must be one of template, first, none"),
        (
            "idgi",
            {"baseline": "nothing"},
            "baseline is 'nothing'; it must be one of line-break, alternatives, mean",
        ),
        ("idgi", {"baseline": "text"}, "baseline=text needs baseline.text; set it as well"),
        (
            "idgi",
            {"baseline.token": " the"},
            "baseline is line-break, which has no setting 'token'; set baseline=token",
        ),
        (
            "gradient-times-input",
            {"baseline.token": "a"},
            "baseline is none, which has no setting 'token'; set baseline=token",
        ),
        (
            "smoothgrad",
            {"method": "vargrad"},
            "method is 'vargrad'; it must be one of integrated-gradients, ",
        ),
        (
            "smoothgrad",
            {"method.steps": "3"},
            "method is gradient-times-input, which has no setting 'steps'; set method=integrated-gradients or idgi or ",
        ),
        ("integrated-gradients", {"rule": "left"}, "set steps as well"),
        ("integrated-gradients", {"steps": "5", "tolerance": "0.1"}, "so tolerance means nothing beside it"),
        ("integrated-gradients", {"steps": "5", "max_gradients": "50"}, "so max_gradients means nothing beside it"),
        ("smoothgrad", {"method": "integrated-gradients", "method.rule": "left"}, "set steps as well"),
    ],
)
def test_mistakes_are_named(name, given, message):
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        method_by_name(name, given)
    assert "\n" not in str(error.value)


def test_settings_of_any_type_that_can_be_written():
    @dataclass(frozen=True)
    class Every:
        flag: bool = True
        word: str = "a"
        maybe: float | None = None
        choice: Literal["one", "two"] = "one"
        unwritten: object = None

    made = with_settings(Every(), {"flag": "False", "word": "none", "maybe": "1e-3", "choice": "two"})
    assert made == Every(False, "none", 1e-3, "two")
    assert [each.name for each in settings(made)] == ["flag", "word", "maybe", "choice"]
    with pytest.raises(ValueError, match="flag is 'perhaps'; it must be true or false"):
        with_settings(made, {"flag": "perhaps"})


def test_what_was_given_otherwise_can_be_kept():
    given = IDGI(baseline=Embeddings(0.5))
    (baseline,) = [each for each in settings(given) if each.name == "baseline"]
    assert baseline.text == "Embeddings"
    assert baseline.parse("Embeddings") == given.baseline
