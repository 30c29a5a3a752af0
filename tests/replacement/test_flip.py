"""A flip is the fewest words that change the model's choice: by brute force, on paper, and for every kind of prompt."""

import json
from itertools import combinations

import pytest
import torch

from interpret import Flip, Replacements, flip, reduce_input, replacements
from interpret.replacement.editing import Editing
from nexttoken import NextTokenLM, SymbolVocabulary
from tests.conftest import gpt2, trained_tokenizer

SYMBOLS = [*"abcdefghijklmnop", " "]


def weighing(weights):
    """A model in which every symbol adds its weight to the logit of the last one, wherever it stands."""
    embedding = torch.nn.Embedding(len(SYMBOLS), len(SYMBOLS), dtype=torch.float64)
    embedding.weight.data = torch.eye(len(SYMBOLS), dtype=torch.float64)
    own = torch.tensor(weights, dtype=torch.float64)

    def head(states):
        logits = torch.zeros(*states.shape[:-1], len(SYMBOLS), dtype=states.dtype)
        logits[..., -2] = states @ own
        return logits

    return NextTokenLM.from_callables(
        embedding, SymbolVocabulary(SYMBOLS), embed=embedding, head=head,
        contextualize=lambda embeddings: embeddings.cumsum(1),
    )  # fmt: skip


def some_weights(seed):
    generator = torch.Generator().manual_seed(seed)
    return [*(2 * torch.randn(len(SYMBOLS) - 1, generator=generator, dtype=torch.float64)).tolist(), 0.0]


@pytest.fixture(scope="module")
def small():
    return NextTokenLM.from_pretrained(gpt2(), trained_tokenizer())


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("prompt", ["abc", "ponm", "aaaaaa", "hgfedc"])
def test_as_many_edits_as_it_takes_on_paper(seed, prompt):
    """With additive weights: those that weigh most give way to what weighs least, until the sum is below zero."""
    weights = some_weights(seed)
    if sum(weights[SYMBOLS.index(letter)] for letter in prompt) <= 0:  # then the foil is preferred already
        weights = [-weight for weight in weights]
    lm = weighing(weights)
    own = sorted((weights[SYMBOLS.index(letter)] for letter in prompt), reverse=True)
    gains = [value - min(weights[:-1]) for value in own]
    fewest = next((count for count in range(1, 4) if sum(own) - sum(gains[:count]) < 0), None)
    found = flip(lm, prompt, "p", contrast="a", candidates=len(SYMBOLS), max_edits=3)
    assert found.found == (fewest is not None)
    if found.found:
        assert len(found.edits) == fewest
        left = list(prompt)
        for edit in found.edits:
            assert left[edit.start] == edit.old
            left[edit.start] = edit.new
        assert "".join(left) == found.prompt
        value = sum(weights[SYMBOLS.index(letter)] for letter in found.prompt)
        assert value < 0
        torch.testing.assert_close(found.after.margin, value)


def test_no_edit_of_a_flip_can_be_taken_back(small):
    found = flip(small, "The keys to the cabinet are on", max_edits=3, to=" dog", candidates=8)
    assert len(found.edits) > 1
    ids = {edit.start: edit for edit in found.edits}
    for kept in (some for count in range(len(ids)) for some in combinations(ids, count)):
        text = found.original
        for start in sorted(kept, reverse=True):
            text = text[:start] + ids[start].new + text[start + len(ids[start].old) :]
        assert small.predict(text, 1)[0].text != " dog"


@pytest.mark.parametrize(
    "prompt",
    ["The keys to the cabinet", "def add(a, b):\n    return a", "When Mary and John went", "Ünï 12 and 345 ok"],
)
@pytest.mark.parametrize("asked", [{}, {"to": " cats"}, {"contrast": " dog"}])
def test_what_it_says_is_what_the_model_does(small, prompt, asked):
    found = flip(small, prompt, candidates=6, **asked)
    first, *_ = small.predict(found.original, 1)
    assert found.before.first.id == first.id
    again = small.prompt(found.prompt)
    assert "".join(small.vocab.decode(again.ids)) == found.prompt  # what the tokenizer makes of it
    now = {each.id: each.probability for each in small.predict(found.prompt, 400)}
    if found.found:
        best = max(now, key=now.get)
        if "to" in asked:
            assert small.vocab.decode([best]) == " cats"
        elif "contrast" in asked:
            (foil,) = found.after.target.foils
            assert now[foil.id] > now[found.before.target.id]
        else:
            assert best != found.before.target.id
        assert 1 <= len(found.edits) <= 3
        assert found.after.margin < 0 < found.before.margin
    else:
        assert (found.edits, found.prompt) == ((), prompt)
        assert found.closest
    assert all("\ufffd" not in edit.new and edit.new.strip() for edit in (*found.edits, *found.closest))
    assert found.random.trials == 32
    assert found.forwards > 0


def test_not_found_is_an_answer():
    lm = weighing([1.0] * 16 + [0.0])
    found = flip(lm, "abcd", "p", contrast="a")
    assert not found.found
    assert found.prompt == "abcd"
    assert found.random.flipped == 0
    assert "Not found with 3 words changed" in found.sentence


def test_nothing_to_change_is_an_answer(small):
    other = small.predict("The keys", 5)[3]
    found = flip(small, "The keys", other.id)
    assert found.found
    assert found.edits == ()
    assert found.prompt == "The keys"
    assert "Nothing to change" in found.sentence


def test_it_is_the_same_again_whatever_the_memory(small):
    torch.manual_seed(1)
    one = flip(small, "The keys to the cabinet", candidates=8, to=" dog")
    torch.manual_seed(2)
    state = torch.random.get_rng_state()
    other = flip(small, "The keys to the cabinet", candidates=8, to=" dog", memory_budget=400_000)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert one.to_dict() == other.to_dict()
    assert flip(small, "The keys to the cabinet", candidates=8, to=" dog", seed=5).random != one.random


def test_the_model_comes_back_as_it_was_after_a_cancellation(small):
    class EnoughError(Exception):
        pass

    def cancel(count):
        raise EnoughError

    small.train()
    with pytest.raises(EnoughError):
        flip(small, "The keys to the cabinet", on_progress=cancel)
    assert small.training
    assert all(parameter.requires_grad for parameter in small.parameters())
    small.eval()


def test_progress_counts_every_forward_pass(small):
    counted = []
    found = flip(small, "The keys to the cabinet", candidates=4, on_progress=counted.append)
    spent = found.forwards + found.random.trials
    assert abs(spent - sum(counted)) <= 4  # passes that look words up are not told, and the two gradients are


def test_what_is_ignored_stays(small):
    found = flip(small, "The keys to the cabinet", candidates=8, ignore="keys|cabinet")
    assert "keys" in found.prompt
    assert "cabinet" in found.prompt
    with pytest.raises(ValueError, match="no word in the prompt that may be changed"):
        flip(small, "The keys", ignore=".*")


def test_a_chat_keeps_its_template(small):
    messages = [{"role": "system", "content": "be short"}, {"role": "user", "content": "the cats are"}]
    found = flip(small, messages, candidates=8)
    assert found.found
    whole = small.prompt(messages)
    assert [found.prompt.count(mark) for mark in ("<|user|>", "<|system|>", "<|end|>", "<|assistant|>")] == [1, 1, 2, 1]
    assert whole.text == found.original
    changed = small.prompt(list(found.messages))
    assert changed.text == found.prompt
    assert small.predict(changed, 1)[0].id == found.after.first.id != found.before.first.id
    assert [each["role"] for each in found.messages] == ["system", "user"]


def test_a_start_token_stays_in_front(small):
    bare = NextTokenLM.from_pretrained(gpt2(), trained_tokenizer())
    found = flip(bare, "keys to the", candidates=8, start="</s>")
    assert found.before.first.id == bare.predict(bare.prompt("keys to the", "</s>"), 1)[0].id
    assert found.found
    assert bare.predict(bare.prompt(found.prompt, "</s>"), 1)[0].id == found.after.first.id


def test_ids_without_a_tokenizer_are_changed_as_ids():
    lm = NextTokenLM.from_pretrained(gpt2())
    found = flip(lm, [5, 6, 7, 8], candidates=8)
    assert found.found
    ids = [5, 6, 7, 8]
    for edit in found.edits:
        ids[edit.position] = int(edit.new.strip("[]"))
    assert lm.predict(ids, 1)[0].id == found.after.first.id != found.before.first.id


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_edits": 0}, "max_edits is 0"),
        ({"beam": 0}, "beam is 0"),
        ({"candidates": -1}, "candidates is -1"),
        ({"to": " dog", "contrast": " cats"}, "to and contrast ask for different things"),
        ({"to": "ab cd"}, "is .* tokens after this prompt"),
        ({"ignore": "xyz"}, "matches nothing"),
    ],
)
def test_wrong_questions_are_refused(small, options, said):
    with pytest.raises(ValueError, match=said):
        flip(small, "The keys to the", **options)


def test_it_can_be_saved_and_loaded(small, tmp_path):
    found = flip(small, "The <b>keys</b> to the", candidates=6)
    plain = json.loads(found.to_json())
    assert {"found", "edits", "prompt"} <= plain.keys()
    assert all(each.keys() == {"position", "start", "old", "new", "probability"} for each in plain["edits"])
    assert Flip.load(found.save(tmp_path / "flip.json")).to_dict() == found.to_dict()
    page = found.save(tmp_path / "flip.html").read_text()
    assert "<b>" not in page.partition("<main")[2].partition("<script")[0]
    assert "&lt;b&gt;" in page
    assert "<del>" in found.html()
    with pytest.raises(ValueError, match="the ending must be"):
        found.save(tmp_path / "flip.png")
    with pytest.raises(ValueError, match="not a saved Flip"):
        Flip.from_dict({"found": True})
    assert found.sentence in repr(found)


def test_every_word_of_a_prompt_and_nothing_else_may_be_changed(small):
    editing = Editing(small, small.prompt("The cats, 12 of them"))
    assert [word.text for word in editing.words][:3] == ["The", " cats", ","]
    assert [word.text.strip() for word in editing.words if word.text.strip().isdigit()] == ["1", "2"]
    whole = Editing(small, small.prompt("The cats, 12 of them"), whole=True)
    assert [word.text for word in whole.words] == ["The", " cats", ",", " 12", " of", " them"]


@pytest.mark.parametrize("position", [2, " ?keys", -4])
def test_replacements_are_exact(small, position):
    found = replacements(small, "The keys to the cabinet", position, 5, contrast=" dog")
    assert isinstance(found, Replacements)
    text, (foil,) = found.original, found.target.foils
    for each in found:
        changed = text[: found.start] + each.text + text[found.start + len(found.old) :]
        rated = {one.id: one for one in small.predict(changed, 400)}
        odds = rated[found.target.id].probability / rated[foil.id].probability
        torch.testing.assert_close(
            each.value, float(torch.tensor(odds, dtype=torch.float64).log()), rtol=1e-4, atol=1e-4
        )
        torch.testing.assert_close(each.drop, found.value - each.value)
        assert each.first == small.predict(changed, 1)[0].text
    shares = [each.probability for each in found]
    assert shares == sorted(shares, reverse=True)
    assert found.html().count("<tr>") == len(found) + 2
    assert Replacements.from_json(found.to_json()).to_dict() == found.to_dict()


def test_a_prompt_of_one_token(small):
    found = flip(small, "The", candidates=8)
    assert found.found == (small.predict(found.prompt, 1)[0].id != found.before.first.id)
    assert reduce_input(small, "The").prompt == "The"


def test_replacements_are_what_the_model_itself_would_say_there(small):
    found = replacements(small, "The keys to the cabinet", "to", 3)
    before = found.original[: found.start]
    likely = {each.text: each.probability for each in small.predict(before, 400)}
    for each in found:
        torch.testing.assert_close(each.probability, likely[each.text], rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    ("position", "said"),
    [
        (40, "the prompt has 4 tokens"),
        ("The|keys", "must be one word"),
        ("dog", "matches nothing"),
    ],
)
def test_a_position_must_be_a_word(small, position, said):
    with pytest.raises(ValueError, match=said):
        replacements(small, "The keys to the", position)
