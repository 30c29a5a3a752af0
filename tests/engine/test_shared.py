"""The shared pass: every row has a real objective, whoever runs beside it and in whatever order it is asked."""

import inspect
import warnings
from dataclasses import dataclass

import pytest
import torch

from interpret import (
    GIM,
    Attribution,
    Failure,
    GradientTimesInput,
    IntegratedGradients,
    LocalMethod,
    MemoryShortageWarning,
    Objective,
    SmoothGrad,
    attribute,
    attribute_candidates,
    attribute_continuation,
    attribute_many,
    gradients,
    values,
)
from interpret.engine import evaluate
from interpret.engine.memory.profile import memory_profile
from interpret.engine.run import Run
from interpret.explain import prepared
from interpret.question.prepared import ask_candidates, ask_continuation
from interpret.question.quantity import LOG_PROBABILITY
from tests.builders import Device
from tests.checking import close
from tests.conftest import letters_lm

TEXT = "The keys to the cabinet"
PROMPTS = ["The keys to", "are we?", "The dog", "The cats near the dog are asleep", "are you", "the table"]
ENTRIES = (attribute, attribute_candidates, attribute_continuation, attribute_many)


@dataclass(frozen=True)
class Asking(LocalMethod):
    """Gradient x input, weighted by the objective at three points: it asks inside `at`."""

    def at(self, objective, points, gradient):
        x = objective.x
        three = torch.stack([0.5 * x, x, 1.5 * x])
        found = values(objective, three)
        assert found.shape == (3,)
        own, slopes = gradients(objective, three)
        torch.testing.assert_close(own, found)
        assert slopes.shape == three.shape
        torch.testing.assert_close(slopes[1], gradient[0])
        return gradient * points * (found[0] + 2 * found[1] + 3 * found[2])


@pytest.mark.parametrize(
    "options", [{}, {"region": (4, 8)}, {"region": "keys|cabinet", "precision": "float64"}, {"batch_size": 1}]
)
def test_a_local_method_may_ask_for_any_number_of_points(tiny, options):
    alone = attribute(tiny, TEXT, " a", Asking(), **options)
    assert float(abs(alone.scores).max()) > 0
    assert (alone.gradients_spent, alone.forwards_spent) == (4, 3)
    several = [f"{TEXT} are", TEXT, f"{TEXT} is", TEXT]
    found = list(attribute_many(tiny, several, [" a"] * 4, Asking(), **options))
    assert all(isinstance(each, Attribution) for each in found)
    for each in (found[1], found[3]):
        close(each.scores, alone.scores)
        assert (each.gradients_spent, each.forwards_spent) == (4, 3)
    candidates = attribute_candidates(tiny, TEXT, [" a", 70], Asking(), **options)
    close(candidates[0].scores, alone.scores)
    continuation = attribute_continuation(tiny, TEXT, [tiny.vocab.one_id(" a"), 70], Asking(), **options)
    close(continuation[0].scores, alone.scores)


@pytest.mark.parametrize("method", [GradientTimesInput(), GIM()], ids=repr)
def test_methods_of_one_gradient_run_together(tiny, method, monkeypatch, untouched):
    alone = [attribute(tiny, prompt, method=method) for prompt in PROMPTS]
    sizes, next_tokens = [], tiny.next_tokens

    def counting(embeddings, *args, **options):
        sizes.append(len(embeddings) if embeddings.requires_grad else 0)
        return next_tokens(embeddings, *args, **options)

    monkeypatch.setattr(tiny, "next_tokens", counting)
    with untouched(tiny):
        found = list(attribute_many(tiny, PROMPTS, method=method))
    assert max(sizes) > 1
    assert sum(sizes) == len(PROMPTS)
    for one, other in zip(found, alone, strict=True):
        close(one.scores, other.scores)
        assert (one.gradients_spent, one.forwards_spent) == (other.gradients_spent, other.forwards_spent)


@pytest.mark.parametrize("method", [GradientTimesInput(), GIM(), IntegratedGradients(steps=3)], ids=repr)
@pytest.mark.filterwarnings("ignore::interpret.ConvergenceWarning")
def test_many_take_the_options_of_one(tiny32, method):
    prompts = ["The keys to the", "The keys to the cat", "keys are there"]
    for options in ({"region": "keys"}, {"precision": "bfloat16"}, {"precision": "float64", "batch_size": 2}):
        found = list(attribute_many(tiny32, prompts, method=method, **options))
        for prompt, each in zip(prompts, found, strict=True):
            alone = attribute(tiny32, prompt, method=method, **options)
            close(each.scores, alone.scores, 0.05 if options.get("precision") == "bfloat16" else 1e-4)
            assert (each.model, each.fixed, each.target.id) == (alone.model, alone.fixed, alone.target.id)


def test_entry_points_take_the_same_options():
    how = {"precision", "batch_size", "memory_budget", "on_progress", "quantity", "region"}
    for entry in ENTRIES:
        parameters = inspect.signature(entry).parameters
        assert how <= set(parameters)
        assert all(parameters[name].default is None for name in how)


@pytest.mark.parametrize("kind", ["candidates", "continuation"])
def test_gradients_of_rows_together_are_those_of_each(tiny, kind):
    """At any points of the text, as far as the row sees it."""
    prompt, run = tiny.prompt(TEXT), Run()
    if kind == "candidates":
        question = ask_candidates(tiny, prompt, [70, 71, 72])
    else:
        (question,) = ask_continuation(tiny, prompt, [70, 71, 72], None, 16)
    text, evaluator = prepared(tiny, question, run), evaluate.Evaluator(tiny, LOG_PROBABILITY, run)
    with tiny.frozen():
        (scored,) = evaluator.score_targets([text], [question])
        points = torch.tensor([0.25, 0.5, 1.0], dtype=torch.float64)[:, None, None] * text.x
        (together,) = evaluator.gradients_at(scored, points)
    for number, row in enumerate(scored.rows):
        seen = text.seen_by(row.prompt)
        f = Objective.of_row(text, row, LOG_PROBABILITY, run)
        value, gradient = gradients(f, points[:, :seen])
        close(together.values[:, number], value)
        close(together.gradients[number][:, :seen], gradient)
        assert not together.gradients[number][:, seen:].any()
        assert (f.counts.gradients, f.counts.forwards) == (3, 0)


@dataclass(frozen=True)
class InPlace(LocalMethod):
    """It writes into all that it is given, and asks again."""

    def at(self, objective, points, gradient):
        gradient *= 0
        value = values(objective, points)
        value -= 1e6
        again = gradients(objective, objective.x[None])[1] * objective.x
        again += values(objective, objective.x[None]) - values(objective, torch.stack(2 * [objective.x]))[0]
        objective.x.zero_()
        return again


def test_what_a_method_is_given_is_its_own(tiny):
    expected = attribute(tiny, TEXT, 70, GradientTimesInput()).scores
    close(attribute(tiny, TEXT, 70, InPlace()).scores, expected)
    for row in attribute_candidates(tiny, TEXT, [70, 71, 72], InPlace()):
        close(row.scores, attribute(tiny, TEXT, row.target.id, GradientTimesInput()).scores)
    for each in attribute_many(tiny, [TEXT, TEXT], [70, 70], InPlace()):
        close(each.scores, expected)
    close(attribute_continuation(tiny, TEXT, [70, 71], InPlace())[0].scores, expected)


# Progress


class StoppedError(Exception):
    pass


@pytest.mark.parametrize("error", [ValueError("stop"), MemoryError("stop"), StoppedError("stop")], ids=repr)
@pytest.mark.parametrize("method", [GradientTimesInput(), IntegratedGradients(steps=3)], ids=repr)
@pytest.mark.filterwarnings("ignore::interpret.ConvergenceWarning")
def test_who_watches_may_end_it_with_any_error(tiny, method, error, untouched):
    def stop(count):
        raise error

    for ask_for in (
        lambda: attribute(tiny, TEXT, 70, method, on_progress=stop),
        lambda: attribute_candidates(tiny, TEXT, 3, method, on_progress=stop),
        lambda: attribute_continuation(tiny, TEXT, [70, 71], method, on_progress=stop),
        lambda: list(attribute_many(tiny, PROMPTS, method=method, on_progress=stop)),
    ):
        with untouched(tiny), pytest.raises(type(error), match="stop"):
            ask_for()


# Memory


@pytest.mark.parametrize("method", [IntegratedGradients(steps=8), SmoothGrad(samples=8)], ids=repr)
@pytest.mark.filterwarnings("ignore::interpret.ConvergenceWarning")
def test_what_the_first_of_many_learns_serves_the_rest(tiny, method, monkeypatch):
    prompts = [list(range(5, 5 + length)) for length in (10, 10, 9, 5, 10)]
    expected = [attribute(tiny, prompt, 70, method).scores for prompt in prompts]
    device = Device(tiny, monkeypatch, tokens=25)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", MemoryShortageWarning)
        found = list(attribute_many(tiny, prompts, [70] * 5, method))
    assert [each.category for each in said].count(MemoryShortageWarning) == 1
    assert device.refused == 2  # with 8 and 4 points of the first prompt; 2 from then on, and 4 of the short one
    for one, other in zip(found, expected, strict=True):
        close(one.scores, other)


def test_prompts_that_do_not_fit_together_are_halved(tiny, monkeypatch):
    prompts = [[7 + number, 8, 9, 10] for number in range(8)]
    expected = [attribute(tiny, prompt, 70, GradientTimesInput()).scores for prompt in prompts]
    device = Device(tiny, monkeypatch, tokens=9)
    with pytest.warns(MemoryShortageWarning, match="with 8 points at once"):
        found = list(attribute_many(tiny, prompts, [70] * 8, GradientTimesInput()))
    assert device.refused == 2  # 8 and 4, and then two at a time
    for one, other in zip(found, expected, strict=True):
        close(one.scores, other)


def test_a_prompt_that_does_not_fit_alone_is_a_failure_of_its_own(tiny, monkeypatch):
    prompts = [[5, 6, 7], list(range(5, 35)), [8, 9, 10]]
    Device(tiny, monkeypatch, tokens=20)
    found = list(attribute_many(tiny, prompts, [70] * 3, GradientTimesInput()))
    assert [isinstance(each, Failure) for each in found] == [False, True, False]
    assert isinstance(found[1].error, MemoryError)


def test_many_candidates_run_in_blocks(tiny, monkeypatch):
    expected = attribute_candidates(tiny, TEXT, 40, GradientTimesInput())
    rows, own = [], evaluate.vjp

    def vjp(value, *args, **options):
        rows.append(value.shape[1])
        return own(value, *args, **options)

    monkeypatch.setattr(evaluate, "vjp", vjp)
    found = attribute_candidates(tiny, TEXT, 40, GradientTimesInput())
    assert rows == [16, 16, 8]
    close(found.scores, expected.scores)
    assert [each.gradients_spent for each in found] == [1] * 40


@pytest.mark.parametrize("method", [GradientTimesInput(), IntegratedGradients(steps=2)], ids=repr)
@pytest.mark.filterwarnings("ignore::interpret.ConvergenceWarning")
def test_targets_whose_gradients_do_not_fit_together_are_halved(tiny, method, monkeypatch):
    expected = attribute_candidates(tiny, TEXT, 8, method)
    sizes, own = [], evaluate.vjp

    def vjp(value, *args, **options):
        if value.shape[1] > 3:
            raise MemoryError
        sizes.append(value.shape[1])
        return own(value, *args, **options)

    monkeypatch.setattr(evaluate, "vjp", vjp)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MemoryShortageWarning)
        found = attribute_candidates(tiny, TEXT, 8, method)
    assert set(sizes) == {2}
    close(found.scores, expected.scores)


def test_a_profile_that_fails_is_that_prompts_failure(monkeypatch):
    class Picky(torch.nn.Module):
        def forward(self, embeddings):
            if embeddings.shape[1] == 8:
                raise ValueError("not eight")
            return embeddings.cumsum(1)

    lm = letters_lm(Picky())
    for method in (GradientTimesInput(), IntegratedGradients(steps=3, fixed=None)):
        found = list(attribute_many(lm, ["abcdefgh", "abc", "abd", "abcdefg"], method=method))
        assert isinstance(found[0], Failure)
        alone = [attribute_or_error(lm, prompt, method) for prompt in ("abc", "abd", "abcdefg")]
        assert [isinstance(each, Failure) for each in found[1:]] == [isinstance(each, ValueError) for each in alone]


def attribute_or_error(lm, prompt, method):
    try:
        return attribute(lm, prompt, None, method)
    except ValueError as error:
        return error


def test_tokens_that_follow_count(tiny):
    """A list of many tokens after a short prompt is refused like a long prompt."""
    budget = memory_profile(tiny, tiny.prompt([5, 6, 7])).of_point(6)
    with pytest.raises(ValueError, match="a prompt of 32 tokens needs about"):
        attribute(tiny, [5, 6, 7], [10] * 30, GradientTimesInput(), memory_budget=budget)
