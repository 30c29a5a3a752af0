"""A reduction is the shortest part that does: by brute force on paper, and by what the model says."""

from itertools import combinations

import pytest

from interpret import Reduction, reduce_input
from nexttoken import NextTokenLM
from tests.conftest import gpt2, trained_tokenizer
from tests.replacement.test_flip import SYMBOLS, some_weights, weighing


@pytest.fixture(scope="module")
def small():
    return NextTokenLM.from_pretrained(gpt2(), trained_tokenizer())


@pytest.mark.parametrize("seed", range(10))
def test_it_is_the_shortest_by_brute_force(seed):
    weights, words = some_weights(seed), ["a", "c", "h", "n", "b", "k"]
    if sum(weights[SYMBOLS.index(letter)] for letter in words) <= 0:  # then another is the first choice
        weights = [-weight for weight in weights]
    lm = weighing(weights)

    def value(some):
        return sum(weights[SYMBOLS.index(letter)] for letter in some)

    shortest = min(len(some) for count in range(1, 7) for some in combinations(words, count) if value(some) >= 0)
    found = reduce_input(lm, " ".join(words), "p")
    assert len(found.prompt.split()) == shortest
    assert found.after.rank == 1
    assert value(found.prompt.split()) >= 0


@pytest.mark.parametrize("keep", ["first", 0.5, 1.0])
@pytest.mark.parametrize(
    "prompt", ["The keys to the cabinet are on the table", "def add(a, b):\n    return a", "  cats 12"]
)
def test_what_it_says_is_what_the_model_does(small, prompt, keep):
    found = reduce_input(small, prompt, keep=keep)
    first, *_ = small.predict(prompt, 1)
    assert found.before.id == first.id
    rated = {each.id: each for each in small.predict(found.prompt, 400)}
    now = rated[first.id]
    if keep == "first":
        assert now.rank == 1
    else:
        assert now.probability >= keep * first.probability * (1 - 1e-9)
    spans = sorted((*found.kept, *found.removed), key=lambda span: span.start)
    assert all(prompt[span.start : span.end] == span.text for span in spans)
    assert "".join(span.text for span in spans) == prompt
    assert found.prompt.strip() == "".join(span.text for span in found.kept).strip()
    assert sum(len(step.removed) for step in found.steps) == sum(len(span.text) for span in found.removed)


@pytest.mark.parametrize("prompt", ["The keys to the cabinet are on the table", "When Mary and John went to the store"])
def test_every_word_that_is_left_is_needed(small, prompt):
    found = reduce_input(small, prompt)
    words = found.prompt.split(" ")
    for place in range(len(words)):
        rest = " ".join(words[:place] + words[place + 1 :])
        assert not rest or small.predict(rest, 1)[0].id != found.before.id


def test_a_long_prompt_loses_blocks_first(small):
    prompt = "the cats near the dog are asleep and " * 5 + "the"
    steps = reduce_input(small, prompt).steps
    assert len(steps) < len(prompt.split())
    assert max(len(step.removed.split()) for step in steps) > 1


def test_a_chat_keeps_its_template(small):
    messages = [{"role": "system", "content": "be short now"}, {"role": "user", "content": "the cats are near"}]
    found = reduce_input(small, messages)
    changed = small.prompt(list(found.messages))
    assert changed.text == found.prompt
    assert small.predict(changed, 1)[0].id == found.before.id
    assert found.prompt.startswith("<|system|>")
    assert found.prompt.endswith("<|assistant|>\n")


def test_ids_without_a_tokenizer_are_deleted_as_ids():
    lm = NextTokenLM.from_pretrained(gpt2())
    found = reduce_input(lm, [5, 6, 7, 8])
    left = [int(number) for number in found.prompt.strip("[]").split("][")]
    assert lm.predict(left, 1)[0].id == found.before.id


def test_it_does_not_depend_on_the_memory_or_leave_a_trace(small):
    small.train()
    one = reduce_input(small, "The keys to the cabinet")
    other = reduce_input(small, "The keys to the cabinet", memory_budget=400_000)
    assert small.training
    small.eval()
    assert one.to_dict() == other.to_dict()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"keep": "all"}, "keep is 'all'"), ({"keep": 0}, "keep is 0"), ({"keep": 1.5}, "keep is 1.5"),
        ({"keep": True}, "keep is True"), ({"beam": 0}, "beam is 0"),
        ({"target": 3}, "is not the model's first choice"),
    ],
)  # fmt: skip
def test_wrong_questions_are_refused(small, options, said):
    with pytest.raises(ValueError, match=said):
        reduce_input(small, "The keys to the", **options)


def test_it_can_be_saved_and_loaded(small, tmp_path):
    found = reduce_input(small, "The <keys> to the")
    assert {"prompt", "kept"} <= found.to_dict().keys()
    assert Reduction.load(found.save(tmp_path / "reduction.json")).to_dict() == found.to_dict()
    assert "&lt;" in found.save(tmp_path / "reduction.html").read_text()
    assert found.sentence in repr(found)
