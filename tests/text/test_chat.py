"""Chats as they are today: to the character what the template writes, whatever it does to the messages."""

import json
import warnings
from copy import deepcopy
from dataclasses import dataclass
from functools import wraps
from pathlib import Path

import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st

from interpret import GradientTimesInput, attribute
from nexttoken import NextTokenLM
from nexttoken.text.prompt import Prompt
from nexttoken.text.target import ids_after
from nexttoken.text.vocabulary import TokenizerVocabulary
from tests.conftest import trained_tokenizer
from tests.text.templates import TEMPLATES, TOOLS

CALL = {"type": "function", "id": "abc123456", "function": {"name": "get_weather", "arguments": {"city": "Paris"}}}
WEATHER = {
    "type": "function",
    "function": {"name": "get_weather", "description": "Ask for the weather.", "parameters": {"type": "object"}},
}
CALLED = [{"role": "user", "content": "Is it warm?"}, {"role": "assistant", "tool_calls": [CALL]}]
ANSWERED = [*CALLED, {"role": "tool", "name": "get_weather", "content": '{"deg": "21 °C"}'}]


def with_template(template):
    tokenizer = deepcopy(trained_tokenizer())
    tokenizer.chat_template, tokenizer.bos_token, tokenizer.eos_token = template, "<s>", "</s>"
    return TokenizerVocabulary(tokenizer)


@pytest.fixture(scope="module")
def vocabs():
    return {name: with_template(template) for name, template in TEMPLATES.items()}


def prompt_and_remarks(chat, vocab, **options):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        prompt = Prompt.of(chat, vocab, **options)
    remarks = [str(each.message) for each in caught]
    return prompt, [each for each in remarks if "ends in a space" not in each]


def kept(prompt):
    return [prompt.text[message.start : message.end] for message in prompt.messages]


def written(prompt):
    return "".join(piece.text for piece in prompt.pieces if not piece.template)


words = st.sampled_from(
    ["The keys", " are", "\n", " ", "<think>", "</think>", '"', "\\", "'text': '", "{}", "<|im_end|>", "system", "é",
     "😀", "user", "[INST]", "{{ x }}", "0", "7402918365", "\t", "a", "Paris."]
)  # fmt: skip
contents = st.lists(words, min_size=1, max_size=6).map("".join).filter(str.strip)


@st.composite
def conversations(draw):
    system = [{"role": "system", "content": draw(contents)}] if draw(st.booleans()) else []
    turns = draw(st.lists(contents, min_size=1, max_size=5))
    return system + [
        {"role": ("user", "assistant")[place % 2], "content": content} for place, content in enumerate(turns)
    ]


@pytest.mark.parametrize("name", TEMPLATES)
@given(chat=conversations())
def test_any_conversation_is_what_the_template_writes(vocabs, name, chat):
    vocab = vocabs[name]
    begun = chat[-1]["role"] == "assistant"
    try:
        prompt, remarks = prompt_and_remarks(chat, vocab)
    except ValueError as error:  # a begun answer of which the template keeps nothing
        assert "leaves out the answer" in str(error)  # noqa: PT017
        assert chat[-1]["content"].split("</think>")[-1].strip() == ""
        return
    asked = chat
    if name == "parts only":
        asked = [{**each, "content": [{"type": "text", "text": each["content"]}]} for each in chat]
    text = vocab.tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=not begun)
    assert text.startswith(prompt.text) if begun else text == prompt.text
    assert "".join(piece.text for piece in prompt.pieces) == prompt.text
    assert prompt.ids == tuple(vocab.tokenizer(prompt.text, add_special_tokens=False)["input_ids"])
    ends = [0]
    for message in sorted(prompt.messages, key=lambda message: message.start):
        assert ends[-1] <= message.start <= message.end <= len(prompt.text)
        ends.append(message.end)
    for number, (message, found) in enumerate(zip(chat, kept(prompt), strict=True)):
        if found.strip() != message["content"].strip():
            assert any(f"message {number} ({message['role']})" in remark for remark in remarks)
    if begun:
        assert prompt.text.endswith(kept(prompt)[-1])


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_chat_is_rendered_twice_however_long_it_is(vocabs, name, monkeypatch):
    rendered, tokenizer = [], vocabs[name].tokenizer
    own = type(tokenizer).apply_chat_template
    counting = wraps(own)(lambda *args, **options: rendered.append(1) or own(*args, **options))
    monkeypatch.setattr(type(tokenizer), "apply_chat_template", counting)
    turns = [{"role": ("user", "assistant")[number % 2], "content": f"This is {number}."} for number in range(9)]
    if name == "parts only":
        turns = [{**each, "content": [{"type": "text", "text": each["content"]}]} for each in turns]
    prompt, remarks = prompt_and_remarks(turns, vocabs[name])
    assert len(rendered) == 2
    assert kept(prompt) == [f"This is {number}." for number in range(9)]
    assert not remarks


@pytest.mark.parametrize("name", TOOLS)
def test_tool_calls_and_their_results(vocabs, name):
    vocab = vocabs[name]
    prompt, remarks = prompt_and_remarks({"messages": ANSWERED, "tools": [WEATHER]}, vocab)
    own = vocab.tokenizer.apply_chat_template(ANSWERED, tools=[WEATHER], tokenize=False, add_generation_prompt=True)
    assert prompt.text == own
    assert "Ask for the weather." in prompt.text
    _, call, result = kept(prompt)
    assert call.startswith("get_weather")
    assert call.endswith('{"city": "Paris"')
    assert json.loads(f'"{result}"' if name == "Llama 3.1" else json.dumps(result)) == ANSWERED[2]["content"]
    assert [remark for remark in remarks if "rewrites message 2 (tool)" not in remark] == []
    assert bool(remarks) == (name == "Llama 3.1")  # which writes a text as JSON
    assert "Paris" in written(prompt)
    assert "Ask for" not in written(prompt)


@pytest.mark.parametrize("name", [*TOOLS, "DeepSeek R1"])
def test_a_chat_that_ends_in_a_tool_call_keeps_it(vocabs, name):
    prompt, remarks = prompt_and_remarks(CALLED, vocabs[name])
    assert not remarks
    assert "get_weather" in kept(prompt)[1]
    assert '"city": "Paris"' in prompt.text


def test_arguments_may_be_json_or_data(vocabs):
    as_json = deepcopy(CALLED)
    as_json[1]["tool_calls"][0]["function"]["arguments"] = '{"city": "Paris"}'
    data = Prompt.of(CALLED, vocabs["DeepSeek R1"])  # which reads only JSON
    assert data.text == Prompt.of(as_json, vocabs["DeepSeek R1"]).text
    assert Prompt.of(as_json, vocabs["Qwen 3"]).text == Prompt.of(CALLED, vocabs["Qwen 3"]).text


def test_a_template_without_tools_says_what_it_leaves_out(vocabs):
    prompt, remarks = prompt_and_remarks({"messages": ANSWERED, "tools": [WEATHER]}, vocabs["ChatML"])
    assert remarks == [
        "this tokenizer's chat template does not read 'tools'",
        "this tokenizer's chat template leaves out or changes a tool call of message 1 (assistant)",
    ]
    assert kept(prompt) == ["Is it warm?", "", ANSWERED[2]["content"]]


def test_switches_and_documents(vocabs):
    chat = [{"role": "user", "content": "Why?"}]
    plain = Prompt.of(chat, vocabs["Qwen 3"])
    assert Prompt.of(chat, vocabs["Qwen 3"], enable_thinking=False).text == plain.text + "<think>\n\n</think>\n\n"
    request = {"messages": chat, "chat_template_kwargs": {"enable_thinking": False}}
    assert Prompt.of(request, vocabs["Qwen 3"]).text.endswith("</think>\n\n")
    documents = [{"title": "Keys", "text": "They are here."}]
    assert "They are here." in Prompt.of(chat, vocabs["Command R"], documents=documents).text
    with pytest.warns(UserWarning, match="does not read 'enable_thinkin'"):
        Prompt.of(chat, vocabs["Qwen 3"], enable_thinkin=False)
    with pytest.raises(ValueError, match="'tokenize' is no option of a chat template"):
        Prompt.of(chat, vocabs["Qwen 3"], tokenize=True)
    with pytest.raises(ValueError, match="'tools' can only be given with the messages of a chat"):
        Prompt.of("Why?", vocabs["Qwen 3"], tools=[WEATHER])


def test_dropped_and_kept_reasoning(vocabs):
    thought = "<think>\nhm, hm\n</think>\n\nParis"
    earlier = [{"role": "user", "content": "Where?"}, {"role": "assistant", "content": thought}]
    prompt, remarks = prompt_and_remarks([*earlier, {"role": "user", "content": "Why?"}], vocabs["Qwen 3"])
    assert kept(prompt) == ["Where?", "Paris", "Why?"]
    assert remarks == ["this tokenizer's chat template rewrites message 1 (assistant) as 'Paris'"]
    prompt, remarks = prompt_and_remarks(earlier, vocabs["Qwen 3"])  # the last one keeps it
    assert kept(prompt)[1] == thought
    assert not remarks
    field = [earlier[0], {"role": "assistant", "reasoning_content": "hm, hm", "content": "Paris"}]
    prompt, remarks = prompt_and_remarks(field, vocabs["Qwen 3"])
    assert kept(prompt)[1] == "hm, hm\n</think>\n\nParis"
    assert written(prompt).endswith("hm, hmParis")
    _, remarks = prompt_and_remarks([*field, {"role": "user", "content": "Why?"}], vocabs["Qwen 3"])
    assert remarks == ["this tokenizer's chat template leaves out or changes the reasoning of message 1 (assistant)"]


def test_parts_as_the_template_joins_them(vocabs):
    parts = [{"type": "text", "text": "The cats "}, {"type": "text", "text": " are"}]
    chat = [{"role": "user", "content": parts}]
    for name in ("Gemma", "parts only"):
        prompt, remarks = prompt_and_remarks(chat, vocabs[name])
        own = vocabs[name].tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        assert prompt.text == own
        assert kept(prompt) == ["The catsare" if name == "Gemma" else "The cats are"]
        assert not remarks
    joined = Prompt.of([{"role": "user", "content": "The cats  are"}], vocabs["ChatML"])
    assert Prompt.of(chat, vocabs["ChatML"]).text == joined.text  # which reads texts alone
    as_text = Prompt.of([{"role": "user", "content": "The cats"}], vocabs["parts only"])
    assert "The cats" in as_text.text


@pytest.mark.parametrize(
    ("template", "found", "remark"),
    [
        ("{{ messages[0].content | upper }}", "HELLO", "rewrites message 0 (user) as 'HELLO'"),
        ("{{ messages[0].content[:2] }}!", "", "leaves out or changes message 0 (user)"),
        ("[{{ messages[0].content }}][{{ messages[0].content }}]", "Hello", "writes message 0 (user) more than once"),
        ("[{{ messages | length }}]", "", "leaves out or changes message 0 (user)"),
        ("{{ messages[0].content | replace('l', '') }}", "Heo", "rewrites message 0 (user) as 'Heo'"),
        ("{{ messages[0].content | list | join('-') }}", "", "leaves out or changes message 0 (user)"),
        ("{{ messages[0] | tojson }}", "Hello", ""),
        (
            "{% if messages[0].content == 'Hello' %}So: {{ messages[0].content }}{% else %}No.{% endif %}",
            "",
            "leaves out or",
        ),
    ],
)
def test_what_a_template_keeps_of_a_message(template, found, remark):
    prompt, remarks = prompt_and_remarks([{"role": "user", "content": "Hello"}], with_template(template))
    assert kept(prompt) == [found]
    assert (remark in "".join(remarks)) if remark else not remarks


def test_answers_that_are_complete_or_go_on(vocabs):
    chat = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because"}]
    assert Prompt.of(chat, vocabs["ChatML"]).text.endswith("Because")
    assert Prompt.of(chat, vocabs["ChatML"], continue_final_message=False).text.endswith("Because<|im_end|>\n\n")
    asked = Prompt.of(chat[:1], vocabs["ChatML"], add_generation_prompt=False)
    assert asked.text.endswith("Why?<|im_end|>\n\n")
    with pytest.raises(ValueError, match="leaves out the answer that has begun"):
        Prompt.of(chat, with_template("{{ messages[0].content }}"))


@dataclass
class Said:
    role: str
    content: str


class Model:
    """As clients' libraries give answers."""

    def __init__(self, **fields):
        self.fields = fields

    def model_dump(self, exclude_none):
        return {name: value for name, value in self.fields.items() if not (exclude_none and value is None)}


def test_messages_as_objects(vocabs):
    expected = Prompt.of([{"role": "user", "content": "Why?"}], vocabs["ChatML"])
    assert Prompt.of([Said("user", "Why?")], vocabs["ChatML"]) == expected
    assert Prompt.of([Model(role="user", content="Why?", tool_calls=None)], vocabs["ChatML"]) == expected
    with pytest.raises(ValueError, match="one message; give a list"):
        Prompt.of(Said("user", "Why?"), vocabs["ChatML"])


def network_for(tokenizer):
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2
    )
    return transformers.LlamaForCausalLM(config).eval()


def test_a_chat_with_tools_is_explained_whole():
    tokenizer = with_template(TEMPLATES["Qwen 3"]).tokenizer
    lm = NextTokenLM.from_pretrained(network_for(tokenizer), tokenizer)
    prompt = lm.prompt(ANSWERED, tools=[WEATHER], enable_thinking=False)
    why = attribute(lm, prompt, 69, GradientTimesInput())
    assert why.prompt == prompt.text
    assert [message.role for message in why.messages] == ["user", "assistant", "tool"]
    totals = why.role_totals()
    assert sum(totals.values()) == pytest.approx(float(why.scores.sum()))
    request = {"messages": ANSWERED, "tools": [WEATHER], "chat_template_kwargs": {"enable_thinking": False}}
    assert attribute(lm, request, 69, GradientTimesInput()).prompt == prompt.text


# Tokenizers that write chats without a template of Jinja's


class WritesAlone(transformers.PreTrainedTokenizerFast):
    """As mistral-common's: control tokens are written by the chat alone, and a text never becomes one."""

    def apply_chat_template(self, conversation, tokenize=True, continue_final_message=False, **options):
        assert tokenize
        ids = [0]
        for message in conversation:
            ids += [2] if message["role"] == "user" else []
            ids += self(message["content"], add_special_tokens=False)["input_ids"]
            ids += [3] if message["role"] == "user" else [1]
        return ids[:-1] if continue_final_message else ids


def test_a_tokenizer_that_writes_chats_alone():
    backend = deepcopy(trained_tokenizer().backend_tokenizer)
    vocab = TokenizerVocabulary(WritesAlone(tokenizer_object=backend, bos_token="<s>", eos_token="</s>"))
    assert vocab.tokenizer.chat_template is None
    chat = [{"role": "user", "content": "The cats"}, {"role": "assistant", "content": "Yes"}]
    prompt = Prompt.of(chat, vocab)
    assert prompt.text == "<s><|user|>The cats<|assistant|>Yes"
    assert prompt.ids[:2] == (0, 2)
    assert kept(prompt) == ["The cats", "Yes"]
    assert Prompt.of(chat, vocab, continue_final_message=False).ids[-1] == 1
    assert written(prompt) == "The catsYes"
    asked = Prompt.of(chat[:1], vocab)  # a target after it is tokenized as it stands there, without a warning
    for target in (" are", "Yes"):
        assert ids_after(target, asked, vocab) == vocab.encode(target, add_special_tokens=False).ids
    assert ids_after(" are", prompt, vocab) == vocab.encode("Yes are", add_special_tokens=False).ids[-1:]


@pytest.mark.parametrize("file", ["tekken_240911.json", "mistral_instruct_tokenizer_241114.model.v7"])
def test_tokenizers_of_mistral_common(file):
    common = pytest.importorskip(
        "mistral_common", reason="mistral-common is not installed: its tokenizers were not run"
    )
    from transformers.tokenization_mistral_common import MistralCommonBackend

    vocab = TokenizerVocabulary(MistralCommonBackend(str(Path(common.__file__).parent / "data" / file)))
    text = Prompt.from_text("The keys to 😀 the  <s>", vocab)
    assert "".join(piece.text for piece in text.pieces) == text.text
    assert [piece.text for piece in text.pieces][:4] == ["", "The", " keys", " to"]
    calls = [
        {"id": "abc123456", "type": "function", "function": {"name": "get_weather", "arguments": '{"c": "Paris"}'}}
    ]
    chat = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hello there "},
        {"role": "assistant", "content": "", "tool_calls": calls},
        {"role": "tool", "name": "get_weather", "tool_call_id": "abc123456", "content": '{"deg": "21 °C"}'},
    ]
    prompt, remarks = prompt_and_remarks({"messages": chat, "tools": [WEATHER]}, vocab)
    assert prompt.ids == tuple(vocab.tokenizer.apply_chat_template(chat, tools=[WEATHER], return_dict=False))
    assert [found.strip() for found in kept(prompt)[:2]] == ["Be kind.", "Hello there"]
    assert "Paris" in kept(prompt)[2]
    assert kept(prompt)[3] == '{"deg": "21 °C"}'
    assert not remarks
    begun = Prompt.of([chat[1], {"role": "assistant", "content": "It is"}], vocab)
    assert begun.text.endswith("It is")
    assert vocab.decode(ids_after(" warm", begun, vocab)) in (" warm", "warm")
    assert vocab.decode(ids_after("Paris", prompt, vocab)) == "Paris"
