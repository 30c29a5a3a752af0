"""Prompts and targets: the pieces joined are the prompt, the target is the token that would stand there."""

import warnings
from copy import deepcopy

import numpy
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from nexttoken import IdVocabulary, Prompt, SymbolVocabulary, Target, TokenizerVocabulary
from nexttoken.text.alignment import align

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
@pytest.mark.filterwarnings("ignore:the prompt ends in a space")
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
    with pytest.warns(UserWarning, match=r"write the prompt '… keys to the cabinet' instead"):
        prompt = Prompt.from_text("The keys to the cabinet ", vocab)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Target.of("a", prompt, vocab, logits()).text == "a"
        Prompt.from_text("ab ", SymbolVocabulary("ab "))


def test_bytes_that_are_not_text_are_an_error(vocab):
    with pytest.raises(ValueError, match="is not valid text: character 1"):
        Prompt.from_text("a\udcff", vocab)
    with pytest.raises(ValueError, match="is not valid text"):
        Target.of("\udcff", Prompt.from_text("a", vocab), vocab, logits())


def test_ids_beyond_the_embedding_are_an_error(tokenizer):
    small = TokenizerVocabulary(tokenizer, size=50)
    assert small.size() == 50
    with pytest.raises(ValueError, match="its ids run from 0 to 49"):
        Prompt.from_text("The keys", small)


def test_numpy_integers_are_ids(vocab):
    prompt = Prompt.from_text("The keys", vocab)
    resolved = Target.of(numpy.int64(7), prompt, vocab, logits(), contrast=numpy.int64(8))
    assert (resolved.id, resolved.foils[0].id) == (7, 8)


def test_a_foil_named_twice_counts_once(vocab):
    resolved = Target.of(7, Prompt.from_text("The keys", vocab), vocab, logits(), contrast=[8, 8, 9])
    assert [foil.id for foil in resolved.foils] == [8, 9]


def said(messages, vocab):
    """Role and text of each message, as they stand in the prompt."""
    prompt = Prompt.from_messages(messages, vocab)
    return [(message.role, prompt.text[message.start : message.end]) for message in prompt.messages]


def test_a_chat_of_several_turns_knows_who_says_what(vocab):
    contents = [("system", "<|user|>\n"), ("user", "user"), ("assistant", ""), ("user", "user<|end|>\n<|user|>\nuser")]
    messages = [{"role": role, "content": content} for role, content in contents]
    assert said(messages, vocab) == contents
    prompt = Prompt.from_messages(messages, vocab)
    assert "".join(piece.text for piece in prompt.pieces if not piece.template) == "".join(text for _, text in contents)
    assert Prompt.from_text("The cats", vocab).messages == ()


@given(contents=st.lists(texts, min_size=1, max_size=4))
def test_messages_that_say_anything_are_found(vocab, contents):
    messages = [{"role": "user", "content": content} for content in contents]
    assert said(messages, vocab) == [("user", content) for content in contents]


def test_an_answer_that_has_begun_is_continued(vocab):
    messages = [{"role": "user", "content": "Where?"}, {"role": "assistant", "content": "The cats are"}]
    prompt = Prompt.from_messages(messages, vocab)
    assert prompt.text == vocab.tokenizer.apply_chat_template(messages, tokenize=False, continue_final_message=True)
    assert prompt.text.endswith("<|assistant|>\nThe cats are")
    assert said(messages, vocab) == [("user", "Where?"), ("assistant", "The cats are")]
    nothing = [messages[0], {"role": "assistant", "content": ""}]
    assert Prompt.from_messages(nothing, vocab).text == Prompt.from_messages(messages[:1], vocab).text
    with pytest.warns(UserWarning, match="the prompt ends in a space"):
        Prompt.from_messages([messages[0], {"role": "assistant", "content": "The cats "}], vocab)


def test_parts_of_text_are_joined(vocab):
    parts = [{"type": "text", "text": "The cats"}, {"type": "text", "text": " are"}]
    assert said([{"role": "user", "content": parts}], vocab) == [("user", "The cats are")]


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        ({"content": "hi"}, "message 0 is .* it needs a role"),
        ({"role": "user"}, "the content of message 0 is None; it must be a text or a list of text parts"),
        ({"role": "user", "content": ["hi"]}, "it must be a text or a list of text parts"),
        ({"role": "user", "content": [{"type": "image", "url": "x"}]}, "has the part .*image.*only text is read"),
    ],
)
def test_messages_that_are_no_text_are_an_error(vocab, message, fault):
    with pytest.raises(ValueError, match=fault):
        Prompt.from_messages([message], vocab)


def templated(vocab, template):
    """The vocabulary of the same tokenizer with another chat template."""
    tokenizer = deepcopy(vocab.tokenizer)
    tokenizer.chat_template = template
    return TokenizerVocabulary(tokenizer)


def test_a_default_system_prompt_is_the_templates(vocab):
    default = "{% if messages[0].role != 'system' %}[You are kind.]{% endif %}"
    chatty = templated(vocab, default + "{% for message in messages %}[{{ message.content }}]{% endfor %}")
    user = [{"role": "user", "content": "You are kind."}]
    prompt = Prompt.from_messages(user, chatty)
    assert prompt.text == "[You are kind.][You are kind.]"
    assert (prompt.messages[0].start, prompt.messages[0].end) == (16, 29)


def test_a_template_that_moves_the_system_prompt_is_followed(vocab):
    moving = templated(
        vocab, "{% for message in messages[1:] %}[{% if loop.last %}{{ messages[0].content }}: {% endif %}"
        "{{ message.content | trim }}]{% endfor %}"
    )  # fmt: skip
    contents = [("system", " Be kind "), ("user", " a "), ("assistant", "b"), ("user", "c ")]
    messages = [{"role": role, "content": content} for role, content in contents]
    assert Prompt.from_messages(messages, moving).text == "[a][b][ Be kind : c]"
    assert said(messages, moving) == [("system", " Be kind "), ("user", "a"), ("assistant", "b"), ("user", "c")]


def test_a_template_that_refuses_says_why(vocab):
    strict = templated(vocab, "{{ raise_exception('roles must alternate') }}")
    with pytest.raises(ValueError, match="chat template refuses these messages: roles must alternate"):
        Prompt.from_messages([{"role": "user", "content": "a"}], strict)
    bare = templated(vocab, "{{ messages[0].content }}")
    with pytest.raises(ValueError, match="the chat is empty: neither its template"):
        Prompt.from_messages([{"role": "assistant", "content": ""}], bare)


def test_sentencepiece_tokens_are_named_with_their_space():
    metaspace = Tokenizer(
        models.WordLevel({"▁cat": 0, "cat": 1, "a": 2, "▁a": 3, "▁": 4, "<unk>": 5}, unk_token="<unk>")
    )
    metaspace.pre_tokenizer = pre_tokenizers.Metaspace()
    metaspace.decoder = decoders.Metaspace()
    vocab = TokenizerVocabulary(transformers.PreTrainedTokenizerFast(tokenizer_object=metaspace))
    assert vocab.token_text(0) == " cat"
    assert vocab.token_text(1) == "cat"


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
