"""Counterfactuals with every kind of tokenizer and script: a changed prompt is what the tokenizer makes of its text."""

import warnings

import pytest

from interpret import flip, reduce_input, replacements
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
    found = flip(lm, prompt, candidates=2, max_edits=2, beam=1)
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
    found = reduce_input(lm, prompt, beam=1)
    assert first(lm, found.prompt) == found.before.id == found.after.id
    spans = sorted((*found.kept, *found.removed), key=lambda span: span.start)
    written = "".join(piece.text for piece in lm.prompt(prompt).pieces if not piece.template)
    assert "".join(span.text for span in spans) == written


def test_the_first_word_of_a_text_is_named_as_it_stands(tmp_path):
    """A tokenizer may write a space before a text that has none: it is no part of the new word."""
    tokenizer = FAMILY["llama"](tmp_path)
    lm = NextTokenLM.from_pretrained(gpt2(vocab_size=len(tokenizer)), tokenizer)
    found = replacements(lm, "the keys", "the", 4, start=True)
    assert len(found) > 0
    for each in found:
        assert not each.text.startswith(" ")
        assert each.first == lm.predict(lm.prompt(f"{each.text} keys", True), 1)[0].text
