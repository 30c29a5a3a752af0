"""Chats: messages through a tokenizer's own template, to the character, and where each one stands in the text."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any

from nexttoken.text.alignment import common_length

ASSISTANT = "assistant"
SET_HERE = ("tokenize", "return_dict", "return_tensors", "padding", "truncation", "max_length")
READ_BY_ALL = ("chat_template", "add_generation_prompt", "continue_final_message")
JINJA = "transformers.tokenization_utils_base"  # where transformers renders templates of Jinja's
REASONING = ("reasoning_content", "reasoning", "thinking")  # names of one thing in templates
MARKER = "7402918365"  # digits, which no template changes; since none is there twice, it never overlaps itself
SHOWN = 40  # characters of a message in a warning

Chat = Sequence[Mapping[str, Any]]
Span = tuple[int, int]


@dataclass(frozen=True)
class Message:
    """One message of a chat, by where its text stands in the filled-in template.

    Attributes:
        role: of its author, such as "user".
        start: the first character in the prompt's text of what the template kept of it.
        end: the character after the last one; `start` where it has no text, or the template leaves it out.
    """

    role: str
    start: int
    end: int


@dataclass(frozen=True)
class RenderedChat:
    """A chat as its template writes it, up to where the next token follows."""

    text: str
    messages: tuple[Message, ...]
    written: tuple[Span, ...]  # the characters of all texts of the messages; the rest is the template's
    begun: bool  # whether the last message is an answer that the next token continues
    ids: tuple[int, ...] | None = None  # where the text alone does not become them


@dataclass(frozen=True)
class _Text:
    """One text in a message, by the keys that lead to it; None for data that the template turns into text."""

    message: int
    keys: tuple[str | int, ...]
    text: str | None
    what: str = ""  # if not the content: "the reasoning"


def render_chat(
    messages: Sequence[Any], tokenizer: Any, decode: Callable[[Sequence[int]], str], options: Mapping[str, Any]
) -> RenderedChat:
    """A chat in its tokenizer's template, and where each message stands in it.

    The texts of the messages are found by rendering the template once more for each, with a marker in its place. A
    message that the template rewrites, repeats or leaves out is told in a warning.

    Args:
        messages: dictionaries or objects with a role and a content, tool calls or reasoning.
        tokenizer: with a chat template.
        decode: from ids to their text, special tokens included.
        options: what the template takes beside them, such as `tools`, `documents`, `enable_thinking=False`.

    Raises:
        ValueError: no messages, one without a text, a tokenizer without a chat template, options that are not the
            template's, or a template that refuses the messages or leaves out an answer that has begun.
    """
    if not messages:
        raise ValueError("the chat is empty; give at least one message with a role and a content")
    given = [_plain(message) for message in messages]
    for number, message in enumerate(given):
        _check(message, number)
    last, asked = given[-1], options.get("continue_final_message")
    begun = last["role"] == ASSISTANT and not last.get("tool_calls") if asked is None else bool(asked)
    template = _Template(tokenizer, decode, options, begun)
    chat, text, marked = template.render_as_read(given)
    texts = _texts_of(chat)
    spans, faults = _locate_all(text, chat, texts, marked)
    if begun:
        answer = texts[-1] if texts and texts[-1].message == len(chat) - 1 else None
        if answer is None or (spans[-1][0] == spans[-1][1] and (answer.text or "").strip()):
            raise ValueError("this tokenizer's chat template leaves out the answer that has begun")
        text = text if template.writes_alone else text[: spans[-1][1]]
    if text == "":
        raise ValueError("the chat is empty: neither its template nor its messages have a character")
    if faults:
        warnings.warn(f"this tokenizer's chat template {'; it '.join(faults)}", stacklevel=5)
    found, end = [], 0
    for number, message in enumerate(chat):
        own = [span for each, span in zip(texts, spans, strict=True) if each.message == number]
        own = [span for span in own if span[0] < span[1]] or own[:1] or [(end, end)]
        end = max(last for _, last in own)
        found.append(Message(message["role"], min(own)[0], end))
    written = tuple(span for span in spans if span[0] < span[1])
    return RenderedChat(text, tuple(found), written, begun, template.ids(chat))


def is_message(given: Any) -> bool:
    """Whether something is given as a message of a chat: a dictionary, or an object of a client's library."""
    fields = is_dataclass(given) and not isinstance(given, type)
    return isinstance(given, Mapping) or fields or callable(getattr(given, "model_dump", None))


def _plain(message: Any) -> Any:
    if isinstance(message, Mapping) or not is_message(message):
        return dict(message) if isinstance(message, Mapping) else message
    dump = getattr(message, "model_dump", None)
    return dump(exclude_none=True) if callable(dump) else asdict(message)


def _check(message: Any, number: int) -> None:
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        raise ValueError(f"message {number} is {message!r}; it needs a role, such as 'user'")
    content = message.get("content")
    if isinstance(content, str | Mapping) or (content is None and _texts_of([message])):
        return
    if not isinstance(content, Sequence) or not all(isinstance(part, Mapping) for part in content):
        raise ValueError(f"the content of message {number} is {content!r}; it must be a text or a list of text parts")
    strange = next((part for part in content if part.get("type", "text") != "text" or "text" not in part), None)
    if strange is not None and message["role"] != "tool":  # whose results may be any list
        raise ValueError(
            f"message {number} has the part {strange!r}; only text is read: {{'type': 'text', 'text': ...}}"
        )


def _texts_of(chat: Chat) -> list[_Text]:
    # All texts of the messages, in the order in which templates write them.
    found = []
    for number, message in enumerate(chat):
        name = next((name for name in REASONING if isinstance(message.get(name), str)), None)
        if name is not None:
            found.append(_Text(number, (name,), message[name], "the reasoning"))
        content = message.get("content")
        if content is not None and not isinstance(content, str) and _is_text(content):
            found += [_Text(number, ("content", at, "text"), part["text"]) for at, part in enumerate(content)]
        elif content is not None:
            found.append(_Text(number, ("content",), content if isinstance(content, str) else None))
        calls = message.get("tool_calls") or ()
        found += [_Text(number, ("tool_calls", at), None, "a tool call") for at in range(len(calls))]
    return found


def _is_text(content: Any) -> bool:
    # A text, none, or a list of parts that are texts.
    if isinstance(content, Sequence) and not isinstance(content, str):
        return all(isinstance(part, Mapping) and "text" in part for part in content)
    return content is None or isinstance(content, str)


@dataclass(frozen=True)
class _Template:
    """A tokenizer's chat template with its options."""

    tokenizer: Any
    decode: Callable[[Sequence[int]], str]
    options: Mapping[str, Any]
    begun: bool

    def __post_init__(self) -> None:
        template = self.options.get("chat_template") or getattr(self.tokenizer, "chat_template", None)
        if template is None and not self.writes_alone:
            raise ValueError("this model's tokenizer has no chat template; give the prompt as text")
        wrong = next((name for name in self.options if name in SET_HERE), None)
        if wrong is not None:
            raise ValueError(f"{wrong!r} is no option of a chat template; a prompt is always one row of tokens")
        source = " ".join(template.values()) if isinstance(template, Mapping) else template or ""
        unread = [
            repr(name) for name, value in self.options.items()
            if value is not None and name not in READ_BY_ALL and not re.search(rf"\b{re.escape(name)}\b", source)
        ]  # fmt: skip
        if unread and not self.writes_alone:
            warnings.warn(f"this tokenizer's chat template does not read {' and '.join(unread)}", stacklevel=7)

    @property
    def writes_alone(self) -> bool:
        """Whether the tokenizer writes chats by a method of its own, without Jinja, as mistral-common's do."""
        own = getattr(type(self.tokenizer), "apply_chat_template", None)
        return own is not None and getattr(own, "__module__", JINJA) != JINJA

    def _apply(self, chat: Chat, **how: Any) -> Any:
        generates = not self.begun and chat[-1]["role"] != ASSISTANT  # an answer stands there, or has begun
        continues = self.begun and self.writes_alone  # the others are cut where the answer ends
        default = {"continue_final_message": True} if continues else {"add_generation_prompt": generates}
        options = default | {name: value for name, value in self.options.items() if name != "continue_final_message"}
        try:
            return self.tokenizer.apply_chat_template([dict(each) for each in chat], **how, **options)
        except Exception as error:  # of the template's own code, of any kind
            reason = (str(error).strip().splitlines() or [""])[0]
            fault = reason if type(error).__module__.startswith("jinja2") else f"{type(error).__name__}: {reason}"
            raise ValueError(f"this tokenizer's chat template refuses these messages: {fault}") from None

    def ids(self, chat: Chat) -> tuple[int, ...] | None:
        """The ids of a chat, where its text alone does not become them."""
        return tuple(self._apply(chat, tokenize=True, return_dict=False)) if self.writes_alone else None

    def render(self, chat: Chat) -> str:
        """The text of a chat. Raises ValueError where the template refuses it."""
        ids = self.ids(chat)
        return self._apply(chat, tokenize=False) if ids is None else self.decode(ids)

    def render_as_read(self, given: Chat) -> tuple[Chat, str, list[str]]:
        """The chat in the form that the template reads, its text, and its text with a marker in place of each text.

        As it was given, unless the template refuses that, or garbles or loses contents that it reads as plain texts or
        as lists of parts, or arguments of tool calls that it reads as JSON or as data.
        """
        first: tuple[Chat, str, list[str]] | None = None
        refusal: ValueError | None = None
        for change in ((), (_contents_switched,), (_arguments_switched,), (_contents_switched, _arguments_switched)):
            try:
                chat = given
                for switched in change:
                    chat = switched(chat)
                text = self.render(chat)
            except ValueError as error:
                refusal = refusal or error
                continue
            marker, texts = _marker_for(text), _texts_of(chat)
            marked = [self._render_marked(chat, each, marker) for each in texts]
            first = first or (chat, text, marked)
            frames = [frame for each, frame in zip(texts, marked, strict=True) if (each.text or "").strip()]
            if all(marker in frame and f"'text': '{marker}" not in frame for frame in frames):  # as Python shows a list
                return chat, text, marked
        if first is None and refusal is not None:
            raise refusal
        assert first is not None
        return first

    def _render_marked(self, chat: Chat, text: _Text, marker: str) -> str:
        try:
            return self.render(_with(chat, (text.message, *text.keys), marker))
        except ValueError:  # the template takes no other text there
            return ""


def _contents_switched(chat: Chat) -> Chat:
    # Contents as texts where one is none or a list of parts, else all as lists of parts.
    def switched(content: Any) -> Any:
        if not _is_text(content):
            return content
        if all_texts:
            return [{"type": "text", "text": content}]
        return content if isinstance(content, str) else "".join(part["text"] for part in content or ())

    all_texts = all(isinstance(each.get("content"), str) for each in chat)
    return [{**each, "content": switched(each.get("content"))} for each in chat]


def _arguments_switched(chat: Chat) -> Chat:
    # Those of tool calls as JSON where they are data, as data where they are JSON.
    def switched(call: Any) -> Any:
        if not isinstance(call, Mapping):
            return call
        if isinstance(call.get("function"), Mapping):
            return {**call, "function": switched(call["function"])}
        given = call.get("arguments")
        return {
            **call,
            "arguments": json.loads(given) if isinstance(given, str) else json.dumps(given, ensure_ascii=False),
        }

    return [
        {**each, "tool_calls": list(map(switched, each["tool_calls"]))} if each.get("tool_calls") else each
        for each in chat
    ]


def _marker_for(text: str) -> str:
    marker = MARKER
    while marker in text:
        marker += "0"
    return marker


def _with(data: Any, keys: Sequence[str | int], marker: str) -> Any:
    # A copy with the marker at the end of the keys; in a tool call as its name, without arguments.
    if keys:
        copied: Any = list(data) if isinstance(data, Sequence) else dict(data)
        copied[keys[0]] = _with(copied[keys[0]], keys[1:], marker)
        return copied
    if isinstance(data, Mapping) and isinstance(data.get("function"), Mapping):
        return {**data, "function": _with(data["function"], (), marker)}
    if isinstance(data, Mapping) and "name" in data:
        return {**data, "name": marker, "arguments": "{}" if isinstance(data.get("arguments"), str) else {}}
    return marker


def _locate_all(text: str, chat: Chat, texts: Sequence[_Text], marked: Sequence[str]) -> tuple[list[Span], list[str]]:
    # Where each text stands, none reaching into another, and what to say of those that are not as they were given.
    spans, faults, previous = [], [], 0
    marker = _marker_for(text)
    for each, frame in zip(texts, marked, strict=True):
        (start, end), fault = _locate(text, each.text, frame, marker)
        if start == end and fault:
            start = end = previous
        if fault:
            whose = f"message {each.message} ({chat[each.message]['role']})"
            kept = text[start:end]
            kept = kept if len(kept) <= SHOWN else f"{kept[: SHOWN // 2]} … {kept[-SHOWN // 2 :]}"
            faults.append(fault.format(f"{each.what} of {whose}" if each.what else whose, repr(kept)))
        spans.append((start, end))
        previous = end
    reached = 0
    for number in sorted(range(len(spans)), key=spans.__getitem__):
        start = max(spans[number][0], reached)
        reached = max(start, spans[number][1])
        spans[number] = start, reached
    return spans, faults


def _locate(text: str, given: str | None, frame: str, marker: str) -> tuple[Span, str]:
    """Where a text stands in the chat's, by what changes in the chat's where a marker takes its place.

    Returns (start, end) in characters; then what to say if it does not stand there as it was given, else nothing.
    """
    before, after = (frame.partition(marker)[0], frame.rpartition(marker)[2]) if marker in frame else (frame, frame)
    start = common_length(text, before)
    end = len(text) - common_length(text[start:][::-1], after[::-1])
    exact = marker in frame and start == len(before) and len(text) - end == len(after)
    kept, plain = text[start:end].strip(), given.strip() if given is not None else None
    if plain == "":
        return (start, end if exact else start), ""
    if plain is None or (exact and kept == plain):
        return (start, end), "" if start < end else "leaves out {0}"
    room = 0 if exact else len(plain)  # a change may begin within the text
    near = text.rfind(plain, max(0, start - room), end + room)
    if near >= 0:
        return (near, near + len(plain)), "writes {0} more than once" if frame.count(marker) > 1 else ""
    start += len(text[start:end]) - len(text[start:end].lstrip())
    return (start, start + len(kept)), "rewrites {0} as {1}" if kept else "leaves out {0}"
