"""One question for every application: read from JSON strictly, each mistake named by its field."""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from interpret.question.question import Question, question_of

FULL = Question(
    [{"role": "user", "content": "The keys"}], " are", (" is", 5), region="keys", start=True, by="word", method="idgi",
    settings={"steps": "7"}, precision="float64", memory_budget=10**9, check=False,
)  # fmt: skip


@pytest.mark.parametrize("question", [Question("The keys"), FULL, Question("a", to=3, ignore="a", keep=0.5, beam=2)])
def test_a_question_comes_back_from_json(question):
    assert question_of(json.loads(json.dumps(asdict(question)))) == question


@pytest.mark.parametrize(
    ("plain", "said"),
    [
        ({"prompt": 3}, "prompt is 3; it must be a text or messages"),
        ({"target": 3.5}, "target is 3.5; it must be a token"),
        ({"target": True}, "target is True; it must be a token"),
        ({"contrast": None}, "contrast is None; it must be a list of tokens"),
        ({"to": [3]}, "to is [3]; it must be a token"),
        ({"candidates": "3"}, "candidates is '3'; it must be a whole number"),
        ({"memory_budget": 1.0}, "memory_budget is 1.0; it must be a whole number"),
        ({"check": 1}, "check is 1; it must be true or false"),
        ({"settings": {"steps": 3}}, "settings is {'steps': 3}; it must be texts by name"),
        ({"by": 3}, "by is 3; it must be a text"),
        ({"question": {}}, "a question has no 'question'"),
        (["The keys"], "a question is a JSON object, not ['The keys']"),
    ],
)
def test_what_is_no_question_is_refused_by_its_field(plain, said):
    with pytest.raises(ValueError) as error:  # noqa: PT011  the whole sentence is compared
        question_of(plain)
    assert str(error.value).startswith(said)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"target": "a", "candidates": 2}, "--target and --candidates ask for different things"),
        ({"continuation": "a", "generate": 2}, "--continuation and --generate ask for different things"),
        ({"continuation": "a", "contrast": ("b",)}, "--contrast is for one next token"),
        ({"by": "word", "candidates": 2}, "--by adds up the scores of one target"),
    ],
)
def test_one_question_asks_one_thing(fields, said):
    with pytest.raises(ValueError, match=said):
        Question(**fields).check_consistency()


def test_it_is_read_without_torch():
    code = (
        "import sys; from interpret.question.question import question_of\n"
        "question_of({'prompt': 'a'}); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
