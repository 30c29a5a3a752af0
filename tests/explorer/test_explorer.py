"""The explorer's state, driven without a browser: type, click, change, cancel, err, run its code, save."""

import gc
import sys
import threading
import time
import weakref
from dataclasses import fields

import ipywidgets
import pytest
import torch

from interpret import (
    CONVENTIONS,
    Attribution,
    Embeddings,
    GradientTimesInput,
    IntegratedGradients,
    SmoothGrad,
    Text,
    Token,
    VanillaGradient,
    VarGrad,
    Zero,
    attribute,
    convention,
    explore,
)
from interpret.methods.listed import METHODS
from interpret.methods.settings import every_method, settings
from interpret.session.answer import expression, quoted
from interpret.session.work import Job, Worker
from nexttoken import NextTokenLM
from tests.conftest import gpt2

PROMPT = "The keys to the cabinet"
FAST = GradientTimesInput()
SLOW = SmoothGrad(VanillaGradient(), samples=50_000)
TIMEOUT = 60


@pytest.fixture
def begin(tiny):
    """Begin to explore; at the end, nothing is left running."""
    begun = []

    def explored(prompt=PROMPT, method=FAST, **options):
        begun.append(explore(tiny, prompt, method=method, **options))
        return begun[-1]

    yield explored
    for explorer in begun:
        explorer.cancel()
        assert explorer.wait(TIMEOUT)


def answered(explorer):
    """The attribution, once it is there."""
    assert explorer.wait(TIMEOUT)
    assert explorer.answer.error is None, explorer.answer.error
    return explorer.answer.attribution


def same(one, other):
    assert (one.scores == other.scores).all()
    assert (one.target, one.method, one.tokens) == (other.target, other.method, other.tokens)


def run(explorer):
    """What the explorer's code makes."""
    names = {"lm": explorer.lm}
    exec(explorer.answer.code, names)
    return names["why"]


def until(condition):
    end = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_it_begins_with_the_models_first_choice_and_the_likeliest(begin, tiny):
    explorer = begin(top=4)
    made = answered(explorer)
    same(made, attribute(tiny, PROMPT, method=FAST))
    assert explorer.answer.candidates == tiny.predict(PROMPT, 4)
    assert explorer.answer.asked == (made.target.id,)
    assert explorer.question.target is None
    assert not explorer.answer.working
    assert "1 gradient," in explorer.answer.status


def test_typing_clicking_and_choosing_change_the_answer(begin, tiny):
    explorer = begin()
    answered(explorer)
    second, third = explorer.answer.candidates[1:3]
    explorer.choose(second.id)
    same(answered(explorer), attribute(tiny, PROMPT, second.id, FAST))
    explorer.oppose(third.id)
    same(answered(explorer), attribute(tiny, PROMPT, second.id, FAST, contrast=third.id))
    assert explorer.answer.asked == (second.id, third.id)
    explorer.choose(third.id)  # a foil that becomes the target is not a foil any more
    same(answered(explorer), attribute(tiny, PROMPT, third.id, FAST))
    explorer.oppose(second.id)
    explorer.change(prompt="are we?", method=IntegratedGradients(steps=4, baseline=Zero()))
    made = answered(explorer)
    same(made, attribute(tiny, "are we?", third.id, explorer.method, contrast=second.id))
    assert {third.id, second.id} <= {each.id for each in explorer.answer.candidates}  # whether they are likely or not
    explorer.oppose(second.id)
    explorer.choose(third.id)  # again: the model's own choice
    same(answered(explorer), attribute(tiny, "are we?", method=explorer.method))


def test_a_token_can_be_written(begin, tiny):
    explorer = begin()
    answered(explorer)
    explorer.choose(" are")
    same(answered(explorer), attribute(tiny, PROMPT, " are", FAST))
    (are,) = explorer.answer.asked
    assert explorer.question.target == are
    explorer.choose(" are you there at all")
    assert explorer.wait(TIMEOUT)
    assert "tokens after this prompt" in explorer.answer.status
    assert explorer.answer.candidates  # they can still be clicked on


EVERY = [
    IntegratedGradients(steps=3, rule="left", baseline=Text("are we!"), fixed=None),
    IntegratedGradients(max_gradients=32, tolerance=0.5, baseline=Token(" are")),
    SmoothGrad(IntegratedGradients(steps=2), samples=2, sigma=0.1),
    VarGrad(samples=4),
    convention("inseq", "gradient"),
    GradientTimesInput(Zero()),
]


@pytest.mark.parametrize("method", EVERY, ids=repr)
def test_its_code_gives_the_same_scores(method, begin):
    explorer = begin("are we?", method)
    made = answered(explorer)
    explorer.choose(explorer.answer.candidates[2].id)
    same(answered(explorer), run(explorer))
    assert (made.scores != explorer.answer.attribution.scores).any()


@pytest.mark.parametrize("prompt", ['say "it\'s"\n\\n', "  two\tspaces", "你好 😀", "</pre><b>"])
def test_its_code_is_exact_for_any_text(prompt, begin):
    explorer = begin(prompt, top=3)
    answered(explorer)
    explorer.choose(explorer.answer.candidates[1].id)
    answered(explorer)
    explorer.oppose(explorer.answer.candidates[0].id)
    answered(explorer)
    explorer.oppose(explorer.answer.candidates[2].id)
    same(answered(explorer), run(explorer))
    assert len(explorer.answer.attribution.target.foils) == 2


def test_expressions_leave_out_what_is_the_default():
    assert expression(IntegratedGradients()) == "IntegratedGradients()"
    assert expression(SmoothGrad(IntegratedGradients(steps=5, baseline=Zero()), seed=3)) == (
        "SmoothGrad(method=IntegratedGradients(baseline=Zero(), steps=5), seed=3)"
    )
    assert expression(convention("inseq", "gradient")) == 'convention("inseq", "gradient")'
    for text in ("it's", 'a "b"', "\\\n", ""):
        assert eval(quoted(text)) == text


def test_every_method_can_be_chosen_and_everything_about_it_set():
    offered = every_method()
    assert len(offered) == len(METHODS) + len(CONVENTIONS)
    for name, method in offered.items():
        assert method.name == name
        own = set() if method in CONVENTIONS else {field.name for field in fields(method)}
        assert {setting.name for setting in settings(method)} == own
    kinds = {setting.name: setting for setting in settings(IntegratedGradients())}
    assert (kinds["tolerance"].kind, kinds["max_gradients"].kind) == (float, int)
    assert (kinds["steps"].kind, kinds["steps"].optional) == (int, True)
    assert [label for label, _ in kinds["fixed"].choices] == ["template", "first", "none"]
    assert {label for label, _ in kinds["baseline"].choices} > {"line-break", "zero", "text", "token"}
    given = IntegratedGradients(baseline=Embeddings(torch.zeros(())), fixed=(0, 1))
    kinds = {setting.name: setting for setting in settings(given)}
    assert kinds["fixed"].choices[0] == ("(0, 1)", (0, 1))  # what cannot be chosen stays as it was given
    assert kinds["baseline"].choices[0] == ("Embeddings", given.baseline)


def test_work_is_cancelled_between_chunks_and_leaves_the_model_alone(tiny, untouched, begin):
    with untouched(tiny):
        explorer = begin()
        explorer.change(method=SLOW)
        until(lambda: explorer.answer.done > 0)
        assert explorer.answer.working
        assert f"of at most {SLOW.samples} gradients" in explorer.answer.status
        explorer.cancel()
        assert explorer.wait(TIMEOUT)
        answer = explorer.answer
        assert (answer.status, answer.attribution, answer.working) == ("cancelled", None, False)
        with pytest.raises(ValueError, match="no map to save"):
            explorer.save("why.pdf")
        explorer.change(method=FAST)
        same(answered(explorer), attribute(tiny, PROMPT, method=FAST))
        until(lambda: all(thread.name != "model" for thread in threading.enumerate()))  # no thread is left behind


def test_a_newer_question_cancels_the_older_and_is_never_overwritten(begin, tiny):
    explorer = begin()
    seen = []
    explorer.listeners.append(lambda: seen.append((explorer.question.prompt, explorer.answer.attribution)))
    explorer.change(prompt="the old one", method=SLOW)
    until(lambda: explorer.answer.done > 0)
    explorer.change(prompt="are you")
    explorer.change(prompt="are they", method=FAST)
    same(answered(explorer), attribute(tiny, "are they", method=FAST))
    shown = [(prompt, made.prompt) for prompt, made in seen if made is not None]
    assert shown
    assert all(prompt == made for prompt, made in shown)


def test_typing_waits_until_the_typist_rests(begin):
    explorer = begin()
    begun = []
    work = explorer.work
    explorer.work = lambda question, *others: (begun.append(question.prompt), work(question, *others))[1]
    for length in range(1, 9):
        explorer.change(0.2, prompt=PROMPT[:length])
    assert answered(explorer).prompt == PROMPT[:8]
    assert begun == [PROMPT[:8]]


def test_errors_are_said_in_words(begin, monkeypatch):
    explorer = begin()
    for wrong, words in (
        ({"prompt": ""}, "the prompt is empty"),
        ({"prompt": "are " * 80}, "this model reads at most 64"),
        ({"prompt": PROMPT, "target": 3, "contrast": (3,)}, "the same token"),
        (
            {"target": None, "contrast": (), "method": IntegratedGradients(fixed=lambda piece: True)},
            "every token is fixed",
        ),
    ):
        explorer.change(**wrong)
        assert explorer.wait(TIMEOUT)
        assert words in explorer.answer.status
        assert words in repr(explorer)
        assert explorer.answer.attribution is None
        assert not explorer.answer.working
    monkeypatch.setattr("interpret.session.answer.attribute", lambda *_, **__: 1 / 0)
    explorer.change(method=FAST)
    assert explorer.wait(TIMEOUT)
    assert explorer.answer.status == "division by zero"
    monkeypatch.setattr("interpret.session.answer.attribute", lambda *_, **__: {}["<b>"])
    explorer.again()
    assert explorer.wait(TIMEOUT)
    assert explorer.answer.status == "KeyError: '<b>'"
    assert "&lt;b&gt;" in explorer._repr_html_()
    assert isinstance(explorer.answer.error, KeyError)  # to be raised, with its traceback


def test_an_objective_that_is_not_finite_is_said_in_words(tokenizer):
    model = gpt2()
    lm = NextTokenLM.from_pretrained(model, tokenizer)
    with torch.no_grad():
        model.transformer.ln_f.weight.fill_(float("nan"))
    explorer = explore(lm, PROMPT, " are", FAST)
    assert "nan at point 1" in explorer.answer.status
    assert isinstance(explorer.answer.error, FloatingPointError)


def test_warnings_are_shown_beside_the_map(begin):
    explorer = begin("are you ", GradientTimesInput())
    answered(explorer)
    assert any("ends in a space" in text for text in explorer.answer.warnings)


@pytest.mark.parametrize("ending", ["json", "html", "svg"])
def test_it_saves_what_is_shown(ending, begin, tmp_path):
    explorer = begin()
    made = answered(explorer)
    path = explorer.save(tmp_path / f"why.{ending}")
    assert path.stat().st_size > 500
    if ending == "json":
        same(Attribution.load(path), made)
    with pytest.raises(ValueError, match="ending"):
        explorer.save(tmp_path / "why.doc")


def test_what_cannot_be_explored_is_refused(tiny):
    for wrong, words in (
        ({"prompt": [1, 2]}, "is a text that can be edited"),
        ({"top": 0}, "at least 1"),
    ):
        with pytest.raises(ValueError, match=words):
            getattr(explore, "__wrapped__", explore)(tiny, **wrong)  # without the tests' own check of types


# The work in the background


def silent(event):
    """What an application does with an event that it does not show."""


def test_jobs_run_one_at_a_time_whoever_asks():
    inside, most = [], []

    def work(job):
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.02)
        inside.pop()
        return {}

    workers = [Worker() for _ in range(3)]
    for worker in workers:
        worker.ask(Job(work, silent))
    assert all(worker.wait(TIMEOUT) for worker in workers)
    assert most == [1, 1, 1]


def test_a_pause_stops_the_work_and_begins_it_anew_afterwards(begin, tiny):
    explorer = begin()
    explorer.change(method=SLOW)
    until(lambda: explorer.answer.done > 0)
    explorer.pause()
    assert explorer.worker.jobs == []
    assert explorer.answer.working
    explorer.change(method=FAST)
    assert explorer.worker.jobs == []
    explorer.resume()
    same(answered(explorer), attribute(tiny, PROMPT, method=FAST))


def test_waiting_in_a_pause_lets_the_work_go_on_meanwhile(begin, tiny):
    explorer, begun = begin(), []
    work = explorer.work
    explorer.work = lambda *given: (begun.append(1), work(*given))[1]
    explorer.pause()
    explorer.change(method=SLOW)
    assert begun == []
    assert not explorer.wait(1)
    assert (explorer.worker.jobs, explorer.paused, begun) == ([], True, [1])
    explorer.change(method=FAST)
    same(answered(explorer), attribute(tiny, PROMPT, method=FAST))


def test_what_waits_for_another_job_can_be_cancelled():
    first, second, done = Worker(), Worker(), []
    release, begun = threading.Event(), threading.Event()

    def work(job):
        begun.set()
        release.wait(TIMEOUT)
        return {}

    first.ask(Job(work, silent))
    assert begun.wait(TIMEOUT)
    second.ask(Job(lambda job: done.append(1) or {}, silent))
    second.cancel()
    assert second.wait(TIMEOUT)  # although the first goes on
    assert first.jobs
    release.set()
    assert first.wait(TIMEOUT)
    assert done == []


class Shell:
    """A notebook's shell, as far as the explorer knows one."""

    def __init__(self):
        self.kernel, self.events, self.calls, self.running = object(), self, {}, None

    def register(self, event, function):
        self.calls.setdefault(event, []).append(function)

    def unregister(self, event, function):
        self.calls[event].remove(function)

    def get_parent(self):
        return {"metadata": {"cellId": self.running}}

    def run_cell(self, cell, named=None):
        self.running = named
        for event, action in (("pre_execute", None), (None, cell), ("post_execute", None)):
            for function in list(self.calls.get(event, ())) if event else (action,):
                function()


def test_no_work_is_done_while_a_cell_runs(begin, tiny, monkeypatch):
    shell = Shell()
    monkeypatch.setattr("interpret.explorer.explorer.notebook_shell", lambda: shell)
    monkeypatch.setattr("interpret.explorer.explorer.FIRST_MAP", 0.05)
    tiny.train()
    try:
        explorer = begin(method=SLOW)
        assert explorer.answer.working  # the cell did not wait
        seen = []
        until(lambda: explorer.answer.done > 0)
        shell.run_cell(lambda: seen.append((bool(explorer.worker.jobs), tiny.training, torch.manual_seed(7))))
        assert [each[:2] for each in seen] == [(False, True)]
        expected = torch.Generator().manual_seed(7)
        until(lambda: explorer.answer.done > 0)
        explorer.cancel()
        assert explorer.wait(TIMEOUT)
        assert torch.equal(torch.rand(3), torch.rand(3, generator=expected))  # the cell's seed stands
        assert tiny.training
    finally:
        tiny.eval()


@pytest.mark.parametrize("shown", [False, True])
def test_an_explorer_whose_cell_runs_again_leaves_nothing_behind(tiny, monkeypatch, shown):
    shell, kept, made = Shell(), [], []
    monkeypatch.setattr("interpret.explorer.explorer.notebook_shell", lambda: shell)

    def cell():
        explorer = explore(tiny, PROMPT, method=SmoothGrad(samples=2))
        assert explorer.wait(TIMEOUT)
        if shown:
            assert explorer.widget is not None
            explorer.view.method.value = "integrated gradients"  # which exchanges the panel of settings
            explorer.view.panel.parts["baseline"].dropdown.value = "token"
            explorer.view.panel.parts["baseline"].dropdown.value = "mean"
        kept[:] = [explorer]
        made.append(weakref.ref(explorer))

    before = len(ipywidgets.widgets.widget._instances)
    shell.run_cell(cell, "first")
    widgets = len(ipywidgets.widgets.widget._instances) - before
    shell.run_cell(lambda: None, "another")
    assert made[0]().view is not None or not shown
    for _ in range(2):
        shell.run_cell(cell, "first")
    until(lambda: gc.collect() is not None and [each() is None for each in made] == [True, True, False])
    assert [len(calls) for calls in shell.calls.values()] == [1, 1]
    assert len(ipywidgets.widgets.widget._instances) - before == widgets
    kept.pop().close()
    assert [len(calls) for calls in shell.calls.values()] == [0, 0]
    assert len(ipywidgets.widgets.widget._instances) == before


def test_an_explorer_that_is_dropped_takes_its_hooks_along(tiny, monkeypatch):
    shell = Shell()
    monkeypatch.setattr("interpret.explorer.explorer.notebook_shell", lambda: shell)
    explorer = explore(tiny, PROMPT, method=FAST)
    assert explorer.wait(TIMEOUT)
    gone = weakref.ref(explorer)
    del explorer
    until(lambda: gc.collect() is not None and gone() is None)
    shell.run_cell(lambda: None)
    assert [len(calls) for calls in shell.calls.values()] == [0, 0]


# The widgets


@pytest.fixture
def view(begin):
    """An explorer's widgets."""
    explorer = begin()
    assert isinstance(explorer.widget, ipywidgets.Widget)
    return explorer.view


def settled(view):
    """The map as it is shown, once it is there."""
    assert view.explorer.wait(TIMEOUT)
    return view.map.value


def test_the_widgets_ask_and_show(view, tiny, tmp_path, monkeypatch):
    explorer, begun = view.explorer, settled(view)
    assert begun == attribute(tiny, PROMPT, method=FAST).html()
    assert view.buttons[0].description.startswith("✓ ")
    view.buttons[1].click()
    assert settled(view) != begun
    view.role.value = "foil"
    view.buttons[0].click()
    assert settled(view) == explorer.answer.attribution.html()
    assert [button.description[0] for button in view.buttons[:2]] == ["≠", "✓"]
    assert view.buttons[0].style.button_color != view.buttons[1].style.button_color
    view.role.value = "target"
    view.other.value = " are"
    settled(view)
    assert explorer.answer.attribution.target.text == " are"
    assert view.other.value == ""
    view.prompt.value = "are they"
    assert "opacity" in view.map.value  # the old map is dimmed until the new one is there
    assert view.save.disabled
    settled(view)
    assert explorer.answer.attribution.prompt == "are they"
    assert not view.save.disabled
    view.show.value = True
    assert "attribute(" in view.code.value
    monkeypatch.chdir(tmp_path)
    view.file.value = "map.json"
    view.save.click()
    same(Attribution.load("map.json"), explorer.answer.attribution)
    assert "saved map.json" in view.saved.value
    view.file.value = "<i>.doc"
    view.save.click()
    assert "ending" in view.saved.value
    assert "<i>" not in view.saved.value


def test_settings_are_widgets(view):
    explorer = view.explorer
    view.method.value = "integrated gradients"
    parts = view.panel.parts
    parts["steps"].box.value = "3"
    parts["rule"].dropdown.value = "left"
    parts["fixed"].dropdown.value = "none"
    parts["baseline"].dropdown.value = "token"
    parts["baseline"].panel.parts["token"].box.value = " are"
    settled(view)
    assert explorer.method == IntegratedGradients(steps=3, rule="left", fixed=None, baseline=Token(" are"))
    assert explorer.answer.attribution.gradients_spent == 3
    parts["steps"].box.value = "three"
    assert "steps is &#x27;three&#x27;; it must be a whole number" in view.status.value
    assert settled(view) == ""
    parts["steps"].box.value = ""
    parts["max_gradients"].box.value = "3"
    assert "it must be at least 17" in view.status.value
    parts["max_gradients"].box.value = "64"
    settled(view)
    assert explorer.method == IntegratedGradients(rule="left", fixed=None, baseline=Token(" are"), max_gradients=64)
    view.method.value = "SmoothGrad"
    view.panel.parts["samples"].box.value = "4"
    view.panel.parts["method"].dropdown.value = "gradient norm"
    view.panel.parts["method"].panel.parts["norm"].box.value = "1"
    settled(view)
    assert explorer.method == SmoothGrad(VanillaGradient(norm=1), samples=4)
    view.method.value = "inseq's gradient"
    settled(view)
    assert explorer.method == convention("inseq", "gradient")


def test_the_same_question_after_an_error_is_answered_again(view):
    settled(view)
    view.method.value = "gradient norm"
    settled(view)
    view.panel.parts["norm"].box.value = "3"
    assert "it must be 1 or 2" in view.status.value
    view.panel.parts["norm"].box.value = "2"
    assert settled(view) == view.explorer.answer.attribution.html()


def test_the_button_cancels_and_runs_again(view):
    settled(view)
    view.explorer.change(method=SLOW)
    until(lambda: view.progress.value > 0)
    assert (view.stop.description, view.progress.max) == ("cancel", SLOW.samples)
    view.stop.click()
    assert "cancelled" in view.status.value
    assert view.stop.description == "run again"
    assert view.explorer.wait(TIMEOUT)
    view.stop.click()
    until(lambda: view.progress.value > 0)
    assert view.explorer.answer.working


def test_a_notebook_that_is_only_read_shows_the_map(begin, monkeypatch):
    explorer = begin()
    shown = explorer._repr_mimebundle_()
    assert set(shown) == {"text/plain", "text/html", "application/vnd.jupyter.widget-view+json"}
    assert shown["text/html"] == explorer.answer.attribution.html()
    assert shown["text/plain"] == repr(explorer)
    assert repr(explorer.answer.attribution) in repr(explorer)
    explorer.view = None
    for name in ("ipywidgets", "interpret.explorer.widgets", "interpret.explorer.panel"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    shown = explorer._repr_mimebundle_()
    assert set(shown) == {"text/plain", "text/html"}
    assert explorer.answer.attribution.html() in shown["text/html"]
    assert "nexttoken-interpret[notebook]" in shown["text/html"]
    with pytest.raises(ImportError, match="pip install"):
        explorer.widget  # noqa: B018
