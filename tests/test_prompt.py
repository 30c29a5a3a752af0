"""Prompts and targets: the pieces joined are the prompt, the target is the token that would stand there."""

import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nexttoken import IdVocabulary, Prompt, SymbolVocabulary, Target, TokenizerVocabulary
from nexttoken.vocabulary import align

UGLY = "Hi 👩‍👩‍👧 é e\u0301 你好 नमस्ते مرحبا <s> </script> $x_1$\\\r\n\t x   y\x00"
texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)


@pytest.fixture(scope="module")
def vocab(tokenizer):
    return TokenizerVocabulary(tokenizer)


def logits(**by_id):
    values = torch.zeros(400)
    for token_id, value in by_id.items():
        values[int(token_id[1:])] = value
    return values


def test_pieces_joined_are_the_prompt(vocab):
    prompt = Prompt.from_text(UGLY, vocab)
    assert "".join(piece.text for piece in prompt.pieces) == UGLY
    assert sorted(position for piece in prompt.pieces for position in piece.positions) == list(range(len(prompt)))
    assert all("\ufffd" not in piece.text for piece in prompt.pieces)


@given(text=texts)
def test_pieces_joined_are_any_prompt(vocab, text):
    prompt = Prompt.from_text(text, vocab)
    assert "".join(piece.text for piece in prompt.pieces) == text
    positions = [position for piece in prompt.pieces for position in piece.positions]
    assert positions == list(range(len(prompt)))
    ids = vocab.encode(text).ids
    again = Prompt.from_ids(ids, vocab)
    assert again.text == text
    assert [piece.positions for piece in again.pieces] == [piece.positions for piece in prompt.pieces]


def test_a_character_of_several_tokens_is_one_piece(vocab):
    prompt = Prompt.from_text("a😀b", vocab)
    assert [piece.text for piece in prompt.pieces] == ["a", "😀", "b"]
    assert prompt.pieces[1].positions == (1, 2, 3, 4)


def test_chat_messages_go_through_the_template(vocab):
    messages = [{"role": "system", "content": "user"}, {"role": "user", "content": "The cats? <|end|>"}]
    prompt = Prompt.from_messages(messages, vocab)
    assert prompt.text == "<|system|>\nuser<|end|>\n<|user|>\nThe cats? <|end|><|end|>\n<|assistant|>\n"
    assert "".join(piece.text for piece in prompt.pieces) == prompt.text
    assert "".join(piece.text for piece in prompt.pieces if not piece.template) == "userThe cats? <|end|>"
    assert Prompt.of(messages, vocab) == prompt


def test_chat_without_template_or_messages():
    with pytest.raises(ValueError, match="no chat template"):
        Prompt.from_messages([{"role": "user", "content": "hi"}], SymbolVocabulary("hi"))
    with pytest.raises(ValueError, match="the chat is empty"):
        Prompt.from_messages([], SymbolVocabulary("hi"))


def test_target_is_what_would_stand_there(vocab):
    prompt = Prompt.from_text("The keys to the cabinet", vocab)
    resolved = Target.of(" are", prompt, vocab, logits())
    assert resolved.text == " are"
    assert resolved.probability == pytest.approx(1 / 400)
    assert resolved.rank == 1
    chosen = Target.of(None, prompt, vocab, logits(_70=5.0, _71=3.0), contrast=71)
    assert (chosen.id, chosen.rank, chosen.foils[0].id, chosen.foils[0].rank) == (70, 1, 71, 2)


def test_a_target_of_several_tokens_names_its_pieces(vocab):
    prompt = Prompt.from_text("The keys to the cabinet", vocab)
    with pytest.raises(
        ValueError, match=r"target ' zebra' is \d tokens after this prompt \(' ', 'z', .*pass one of them"
    ):
        Target.of(" zebra", prompt, vocab, logits())


def test_target_errors(vocab):
    prompt = Prompt.from_text("The keys", vocab)
    with pytest.raises(ValueError, match="the target is empty"):
        Target.of("", prompt, vocab, logits())
    with pytest.raises(ValueError, match="token id 999"):
        Target.of(999, prompt, vocab, logits())
    with pytest.raises(ValueError, match="the same token"):
        Target.of(" are", prompt, vocab, logits(), contrast=" are")


def test_a_missing_leading_space_is_noticed(vocab):
    prompt = Prompt.from_text("The keys to the cabinet", vocab)
    spaced, bare = vocab.encode(" are").ids[0], vocab.encode("are").ids
    assert len(bare) == 1
    with pytest.warns(UserWarning, match=r"for the next word write ' are'"):
        resolved = Target.of("are", prompt, vocab, logits(**{f"_{spaced}": 4.0}))
    assert resolved.id == bare[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Target.of("are", prompt, vocab, logits(**{f"_{bare[0]}": 4.0}))


def test_a_prompt_that_ends_in_a_space_is_noticed(vocab):
    prompt = Prompt.from_text("The keys to the cabinet ", vocab)
    with pytest.warns(UserWarning, match=r"write the prompt '… keys to the cabinet' and the target ' are' instead"):
        Target.of("are", prompt, vocab, logits())


def test_ids_without_a_tokenizer():
    vocab = IdVocabulary(7)
    prompt = Prompt.of(torch.tensor([[3, 5]]), vocab)
    assert [piece.text for piece in prompt.pieces] == ["[3]", "[5]"]
    assert Target.of(2, prompt, vocab, torch.zeros(7)).text == "[2]"
    with pytest.raises(ValueError, match="this model has no tokenizer: give token ids instead of 'hello'"):
        Prompt.of("hello", vocab)
    with pytest.raises(ValueError, match="this model has no tokenizer"):
        Target.of("x", prompt, vocab, torch.zeros(7))
    with pytest.raises(ValueError, match="give at least one token id"):
        Prompt.of([], vocab)


def test_symbols_are_cut_greedily():
    vocab = SymbolVocabulary(["a", "ab", "b", "c"])
    assert vocab.encode("abcab").ids == (1, 3, 1)
    assert vocab.decode([1, 3]) == "abc"
    with pytest.raises(ValueError, match="'x' at character 2 is not in this vocabulary"):
        vocab.encode("abx")
    with pytest.raises(ValueError, match="no namespace 'words'"):
        SymbolVocabulary({"one": "a", "two": "b"}, input_namespace="one").size("words")


def test_align_finds_pieces_in_order():
    assert align("Hello world", ["hello", None, "wor", "##ld"]) == ((0, 5), (5, 6), (6, 9), (9, 11))
    assert align("aXa", ["a", "\ufffd", "a"]) == ((0, 1), (1, 2), (2, 3))
