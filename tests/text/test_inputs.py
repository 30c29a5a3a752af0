"""What tokenizers return is a prompt, and a start token stands there once."""

import numpy
import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

from interpret import Failure, GradientTimesInput, attribute, attribute_many
from nexttoken import NextTokenLM, Prompt, TokenizerVocabulary
from nexttoken.text.target import ids_after, one_token
from tests.conftest import gpt2, trained_tokenizer

TEXT = "The keys to the cat"
CHAT = [{"role": "user", "content": "The cats"}]


def opening():
    """The tokenizer of the tests, putting a start token in front of every text."""
    tokenizer = trained_tokenizer()
    backend = tokenizer.backend_tokenizer
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", pad_token="</s>",
        chat_template=tokenizer.chat_template,
    )  # fmt: skip


def sentencepiece():
    """A unigram tokenizer in the manner of Llama 2, with its start token."""
    pieces = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0), ("▁", -3.0), ("▁The", -1.0), ("▁keys", -1.0), ("▁a", -2.0)]
    tokenizer = Tokenizer(models.Unigram(pieces + [(letter, -9.0) for letter in "abcdehikrstuvy[]ING/"], 0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens(["<s>", "</s>"])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")


@pytest.fixture(scope="module")
def tokenizer():
    return opening()


@pytest.fixture(scope="module")
def lm(tokenizer):
    return NextTokenLM.from_pretrained(gpt2(), tokenizer)


FORMS = {
    "list": lambda tok: tok(TEXT)["input_ids"],
    "tensor": lambda tok: tok(TEXT, return_tensors="pt")["input_ids"],
    "row of a tensor": lambda tok: tok(TEXT, return_tensors="pt")["input_ids"][0],
    "encoding": lambda tok: tok(TEXT),
    "encoding of tensors": lambda tok: tok(TEXT, return_tensors="pt"),
    "encoding of arrays": lambda tok: tok(TEXT, return_tensors="np"),
    "dictionary": lambda tok: dict(tok(TEXT)),
    "dictionary of one row": lambda tok: {"input_ids": [tok(TEXT)["input_ids"]]},
    "array": lambda tok: numpy.array(tok(TEXT)["input_ids"]),
    "array of one row": lambda tok: numpy.array([tok(TEXT)["input_ids"]]),
    "list of one row": lambda tok: [tok(TEXT)["input_ids"]],
    "raw encoding": lambda tok: tok.backend_tokenizer.encode(TEXT),
    "padded on the left": lambda tok: tok(TEXT, return_tensors="pt", padding="max_length", max_length=16),
    "scalars": lambda tok: list(torch.tensor(tok(TEXT)["input_ids"])),
}


@pytest.mark.parametrize("form", FORMS)
def test_whatever_a_tokenizer_returns_is_a_prompt(lm, tokenizer, form):
    tokenizer.padding_side = "left"
    assert lm.prompt(FORMS[form](tokenizer)).ids == lm.prompt(TEXT).ids
    made = attribute(lm, FORMS[form](tokenizer), 69, GradientTimesInput())
    torch.testing.assert_close(made.scores, attribute(lm, TEXT, 69, GradientTimesInput()).scores)


@pytest.mark.parametrize("options", [{"return_tensors": "pt"}, {}, {"return_dict": False}, {"return_tensors": "np"}])
def test_a_chat_that_was_tokenized_is_a_prompt(lm, tokenizer, options):
    ids = tokenizer.apply_chat_template(CHAT, add_generation_prompt=True, **options)
    assert lm.prompt(ids).ids == lm.prompt(CHAT).ids


@pytest.mark.parametrize(
    "given",
    [
        {"input_ids": [[3, 4], [5, 6]]},
        torch.tensor([[3, 4], [5, 6]]),
        numpy.array([[3, 4], [5, 6]]),
        [[3, 4], [5, 6]],
        [torch.tensor([3, 4]), torch.tensor([5, 6])],
    ],
)
def test_a_batch_says_what_takes_it(lm, given):
    with pytest.raises(ValueError, match="a batch of 2 rows; give one of them, or all to attribute_many"):
        attribute(lm, given)
    many = list(attribute_many(lm, given, [69, 69], GradientTimesInput(), progress=False))
    for row, found in zip(([3, 4], [5, 6]), many, strict=True):
        torch.testing.assert_close(found.scores, attribute(lm, row, 69, GradientTimesInput()).scores)


def test_rows_of_a_batch_lose_their_padding(lm, tokenizer):
    texts = [TEXT, "The", "are you"]
    for side in ("left", "right"):
        batch = tokenizer(texts, return_tensors="pt", padding=True, padding_side=side)
        many = list(attribute_many(lm, batch, method=GradientTimesInput(), progress=False))
        assert [found.token_ids for found in many] == [attribute(lm, text).token_ids for text in texts]


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({}, "it must be text, token ids or chat messages"),
        ({"text": "hi"}, "it must be text, token ids or chat messages"),
        (b"hi", "it must be text, token ids or chat messages"),
        (torch.tensor(3), "it must be text, token ids or chat messages"),
        (torch.zeros(1, 1, 2, dtype=torch.long), r"have the shape \(1, 1, 2\)"),
        (torch.zeros(1, 0, dtype=torch.long), "the prompt is empty"),
        ({"input_ids": []}, "the prompt is empty"),
        ({"input_ids": [3, 4], "attention_mask": [0, 0]}, "the prompt is empty"),
        ({"messages": "hi"}, "a list of them is expected"),
        ({"messages": []}, "the chat is empty"),
        ([3, "a"], "is not a token id"),
        ([1.5], "is not a token id"),
        (torch.tensor([1.5]), "is not a token id"),
    ],
)
def test_what_is_no_prompt(lm, given, fault):
    with pytest.raises(ValueError, match=fault):
        lm.prompt(given)


def test_many_takes_no_single_prompt(lm):
    with pytest.raises(ValueError, match="prompts is one prompt"):
        list(attribute_many(lm, {"messages": CHAT}))


# A start token twice


@pytest.mark.parametrize(
    ("make", "text"), [(opening, "The keys"), (sentencepiece, "The keys"), (sentencepiece, "[INST]")]
)
def test_a_start_token_that_is_there_stands_there_once(make, text):
    tokenizer = make()
    vocab = TokenizerVocabulary(tokenizer)
    with pytest.warns(
        UserWarning, match="begins with '<s>', which the tokenizer puts in front as well; it is there once"
    ):
        prompt = Prompt.from_text("<s>" + text, vocab)
    plain = tuple(tokenizer("<s>" + text, add_special_tokens=False)["input_ids"])
    assert prompt.ids == plain
    assert prompt.ids.count(vocab.bos_id) == 1
    assert "".join(piece.text for piece in prompt.pieces) == "<s>" + text
    assert [piece.text for piece in prompt.pieces if piece.template] == ["<s>"]


def test_a_chat_as_text_is_the_chat(lm, tokenizer):
    template = "{{ bos_token }}{% for message in messages %}[{{ message.content }}]{% endfor %}"
    text = tokenizer.apply_chat_template(CHAT, tokenize=False, chat_template=template)
    with pytest.warns(UserWarning, match="there once"):
        prompt = lm.prompt(text)
    assert prompt.ids == lm.prompt(CHAT, chat_template=template).ids
    with pytest.warns(UserWarning, match="there once"):
        fixed = attribute(lm, text, " are", start=True)
    assert fixed.start is None  # the prompt has it
    assert fixed.prompt == text
    with pytest.warns(UserWarning, match="there once"):
        moved = attribute(lm, text, 69).template
    assert moved[0]


def test_ids_are_taken_as_they_are(lm):
    prompt = lm.prompt([0, 0, *lm.vocab.encode("The", add_special_tokens=False).ids])
    assert prompt.ids[:2] == (0, 0)
    assert lm.vocab.encode(prompt.text).ids != prompt.ids  # and yet a target is what it is behind them
    assert ids_after(" keys", prompt, lm.vocab) == lm.vocab.encode(" keys", add_special_tokens=False).ids


# A target without its leading space


@pytest.mark.parametrize(
    "template",
    [
        "{{ bos_token }}[INST] {{ messages[0].content }} [/INST]",
        "a: {{ messages[0].content }}\n[",
        "{{ messages[0].content }}\n",
    ],
)
def test_a_target_without_its_space_in_a_chat_says_which_has_it(template):
    tokenizer = sentencepiece()
    tokenizer.chat_template = template
    vocab = TokenizerVocabulary(tokenizer)
    prompt = Prompt.of([{"role": "user", "content": "The a"}], vocab)
    spaced = vocab.encode("The keys", add_special_tokens=False).ids[-1]
    probabilities = torch.zeros(vocab.size()).index_fill(0, torch.tensor([spaced]), 0.5)
    with pytest.raises(ValueError, match=r"'keys' is 4 tokens .*with its leading space it is one, ' keys' \(p = 0.5\)"):
        one_token("keys", prompt, vocab, probabilities)
    article = vocab.encode("The a", add_special_tokens=False).ids[-1]
    probabilities = torch.zeros(vocab.size()).index_fill(0, torch.tensor([article]), 0.5)
    with pytest.warns(UserWarning, match=r"'a' has no leading space .*write ' a' \(p = 0.5\)"):
        one_token("a", prompt, vocab, probabilities)


def test_a_folder_of_prompts_with_every_fault(lm, tokenizer):
    good = ["The keys", CHAT, {"messages": CHAT}, tokenizer("are you"), [70, 71], torch.tensor([[70, 71, 72]])]
    bad = ["", [], [[1, 2], [3, 4]], [{"role": "user"}], {"messages": []}, [9999], "a" * 500, b"hi", {"x": 1},
           [{"content": "hi"}], "\ud800", [1.5], [{"role": "user", "content": 3}]]  # fmt: skip
    given = [each for pair in zip(good * 40, (bad * 20)[: len(good) * 40], strict=True) for each in pair]
    found = list(attribute_many(lm, given, method=GradientTimesInput(), progress=False))
    assert len(found) == len(given)
    for place, each in enumerate(found):
        assert isinstance(each, Failure) == (place % 2 == 1)
        if isinstance(each, Failure):
            assert each.number == place
            assert isinstance(each.error, ValueError)
            assert len(str(each.error)) > 20
        else:
            same = attribute(lm, given[place], method=GradientTimesInput())
            torch.testing.assert_close(each.scores, same.scores, rtol=1e-9, atol=1e-12)
