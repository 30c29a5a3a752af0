"""Counterfactuals with every kind of tokenizer and script: a changed prompt is what the tokenizer makes of its text."""

import warnings

import pytest

from interpret import flip, reduce_input
from nexttoken import NextTokenLM
from tests.conftest import gpt2
from tests.text.test_text import FAMILY, SCRIPTS

PROMPTS = ["  two, 12 cats.\n\nAnd", f"{SCRIPTS['accents']} {SCRIPTS['chinese'][:4]}"]
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module", params=FAMILY)
def lm(request, tmp_path_factory):
    tokenizer = FAMILY[request.param](tmp_path_factory.mktemp("tokenizer"))
    return NextTokenLM.from_pretrained(gpt2(vocab_size=len(tokenizer)), tokenizer)


def first(lm, text):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return lm.predict(text, 1)[0].id


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_flip_says_what_the_model_does(lm, prompt):
    if len(lm.prompt(prompt)) > 60:
        pytest.skip("longer than the tiny model reads")
    try:
        found = flip(lm, prompt, candidates=2, max_edits=2, beam=1)
    except ValueError as error:
        assert "no word in the prompt that may be changed" in str(error)  # noqa: PT017
        return
    assert found.original == prompt
    assert found.before.first.id == first(lm, prompt)
    if found.found:
        assert found.after.first.id == first(lm, found.prompt) != found.before.first.id
        text = prompt
        for edit in sorted(found.edits, key=lambda edit: -edit.start):
            assert text[edit.start :].startswith(edit.old)
            text = text[: edit.start] + edit.new + text[edit.start + len(edit.old) :]
            assert "\ufffd" not in edit.new
        assert text == found.prompt


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_reduction_says_what_the_model_does(lm, prompt):
    if len(lm.prompt(prompt)) > 60:
        pytest.skip("longer than the tiny model reads")
    try:
        found = reduce_input(lm, prompt, beam=1)
    except ValueError as error:
        assert "no word in the prompt that may be changed" in str(error)  # noqa: PT017
        return
    assert first(lm, found.prompt) == found.before.id == found.after.id
    spans = sorted((*found.kept, *found.removed), key=lambda span: span.start)
    written = "".join(piece.text for piece in lm.prompt(prompt).pieces if not piece.template)
    assert "".join(span.text for span in spans) == written
