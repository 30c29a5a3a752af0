"""Chats: messages through a tokenizer's own template, to the character, and where what each says stands in the text."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any

from nexttoken.text.saying import Saying, find, garbled, mark_for, replaced, sayings_of

ASSISTANT = "assistant"
OURS = ("tokenize", "return_dict", "return_tensors", "padding", "truncation", "max_length")
FILLING = "transformers.tokenization_utils_base"  # where templates of Jinja's are filled in
SHOWN = 40  # characters of a message in a remark

Chat = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Message:
    """One message of a chat, by where what it says stands in the filled-in template.

    Attributes:
        role: of who says it, such as "user".
        start: the first character in the prompt's text of what the template kept of it.
        end: the character after the last one; `start` where it says nothing, or the template leaves it out.
    """

    role: str
    start: int
    end: int


@dataclass(frozen=True)
class FilledIn:
    """A chat as its template writes it, up to where the next token follows.

    Attributes:
        text: to the character.
        messages: in the chat's order.
        written: (start, end) in characters of all that the messages say; the rest is the template's.
        begun: whether the last message is an answer that the next token continues.
        ids: of the text, where the tokenizer gives them with it, since a text alone does not become them.
    """

    text: str
    messages: tuple[Message, ...]
    written: tuple[tuple[int, int], ...]
    begun: bool
    ids: tuple[int, ...] | None = None


def filled_in(
    messages: Sequence[Any], tokenizer: Any, decode: Callable[[Sequence[int]], str], options: Mapping[str, Any]
) -> FilledIn:
    """A chat in its tokenizer's template, and where each message stands in it.

    What the messages say is found by filling in the template once more for each text in them, with another in its
    place. A message that the template rewrites, repeats or leaves out is told in a warning.

    Args:
        messages: dictionaries or objects with a role and a content, tool calls or reasoning.
        tokenizer: with a chat template.
        decode: from ids to their text, special tokens included.
        options: what the template takes beside them, such as `tools`, `documents`, `enable_thinking=False`.

    Raises:
        ValueError: no messages, one that says nothing, a tokenizer without a chat template, options that are not the
            template's, or a template that refuses the messages or leaves out an answer that has begun.
    """
    if not messages:
        raise ValueError("the chat is empty; give at least one message with a role and a content")
    given = [_plain(message) for message in messages]
    for number, message in enumerate(given):
        _check(message, number)
    template = _Template(tokenizer, decode, options, begun=_has_begun(given, options))
    chat, text = template.shaped(given)
    sayings = sayings_of(chat)
    spans, faults = _places(text, chat, sayings, template.fill)
    if template.begun:
        last = spans[-1] if sayings and sayings[-1].message == len(chat) - 1 else None
        if last is None or (last[0] == last[1] and (sayings[-1].text or "").strip()):
            raise ValueError("this tokenizer's chat template leaves out the answer that has begun")
        text = text if template.continues else text[: last[1]]
    if text == "":
        raise ValueError("the chat is empty: neither its template nor its messages have a character")
    if faults:
        warnings.warn(f"this tokenizer's chat template {'; it '.join(faults)}", stacklevel=5)
    written = tuple(span for span in spans if span[0] < span[1])
    return FilledIn(text, _messages(chat, sayings, spans), written, template.begun, template.ids(chat))


def is_message(given: Any) -> bool:
    """Whether something is given as a message of a chat: a dictionary, or an object of a client's library."""
    return isinstance(given, Mapping) or callable(getattr(given, "model_dump", None)) or _is_dataclass(given)


def _is_dataclass(given: Any) -> bool:
    return is_dataclass(given) and not isinstance(given, type)


def _plain(message: Any) -> Any:
    if _is_dataclass(message):
        message = asdict(message)
    elif not isinstance(message, Mapping) and is_message(message):
        message = message.model_dump(exclude_none=True)
    return dict(message) if isinstance(message, Mapping) else message


def _has_begun(messages: Chat, options: Mapping[str, Any]) -> bool:
    # Whether the last message is an answer that goes on; one that calls a tool is complete.
    asked = options.get("continue_final_message")
    return messages[-1]["role"] == ASSISTANT and not messages[-1].get("tool_calls") if asked is None else bool(asked)


def _check(message: Any, number: int) -> None:
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        raise ValueError(f"message {number} is {message!r}; it needs a role, such as 'user'")
    content = message.get("content")
    if isinstance(content, str | Mapping) or (content is None and len(sayings_of([message])) > 0):
        return
    if not isinstance(content, Sequence) or not all(isinstance(part, Mapping) for part in content):
        raise ValueError(f"the content of message {number} is {content!r}; it must be a text or a list of text parts")
    strange = next((part for part in content if part.get("type", "text") != "text" or "text" not in part), None)
    if strange is not None and message["role"] != "tool":  # whose results may be any list
        raise ValueError(
            f"message {number} has the part {strange!r}; only text is read: {{'type': 'text', 'text': ...}}"
        )


@dataclass(frozen=True)
class _Template:
    """A tokenizer's chat template with its options."""

    tokenizer: Any
    decode: Callable[[Sequence[int]], str]
    options: Mapping[str, Any]
    begun: bool

    def __post_init__(self) -> None:
        template = self.options.get("chat_template") or getattr(self.tokenizer, "chat_template", None)
        if template is None and not self._writes_alone:
            raise ValueError("this model's tokenizer has no chat template; give the prompt as text")
        wrong = next((name for name in self.options if name in OURS), None)
        if wrong is not None:
            raise ValueError(f"{wrong!r} is no option of a chat template; a prompt is always one row of tokens")
        unread = [
            name for name, value in self.options.items()
            if value is not None and name not in READ_BY_ALL and not self._reads(name)
        ]  # fmt: skip
        if unread:
            names = " and ".join(map(repr, unread))
            warnings.warn(f"this tokenizer's chat template does not read {names}", stacklevel=7)

    @property
    def _writes_alone(self) -> bool:
        # Without a template of Jinja's, by a method of its own, as mistral-common's do.
        own = getattr(type(self.tokenizer), "apply_chat_template", None)
        return own is not None and getattr(own, "__module__", FILLING) != FILLING

    @property
    def continues(self) -> bool:
        """Whether the tokenizer itself ends the text where an answer that has begun does."""
        return self.begun and self._writes_alone

    def _reads(self, name: str) -> bool:
        if self._writes_alone:
            return True
        template = self.options.get("chat_template") or self.tokenizer.chat_template
        source = " ".join(template.values()) if isinstance(template, Mapping) else template
        return re.search(rf"\b{re.escape(name)}\b", source) is not None

    def _apply(self, chat: Chat, tokenize: bool) -> Any:
        default = {"continue_final_message": True} if self.continues else {"add_generation_prompt": not self.begun}
        if not self.begun and chat[-1]["role"] == ASSISTANT:
            default = {"add_generation_prompt": False}  # an answer that is complete
        options = default | {name: value for name, value in self.options.items() if name != "continue_final_message"}
        more = {"return_dict": False} if tokenize else {}
        try:
            return self.tokenizer.apply_chat_template(
                [dict(each) for each in chat], tokenize=tokenize, **options, **more
            )
        except Exception as error:  # of the template's own code, of any kind
            said = (str(error).strip().splitlines() or [""])[0]
            fault = said if type(error).__module__.startswith("jinja2") else f"{type(error).__name__}: {said}"
            raise ValueError(f"this tokenizer's chat template refuses these messages: {fault}") from None

    def fill(self, chat: Chat) -> str:
        """The text of a chat. Raises ValueError where the template refuses it."""
        ids = self.ids(chat)
        return self._apply(chat, tokenize=False) if ids is None else self.decode(ids)

    def ids(self, chat: Chat) -> tuple[int, ...] | None:
        """The ids of a chat, where its text alone does not become them."""
        return tuple(self._apply(chat, tokenize=True)) if self._writes_alone else None

    def shaped(self, chat: list[dict[str, Any]]) -> tuple[Chat, str]:
        """The chat in the shape that the template reads, and its text.

        As it was given, unless the template refuses that, or garbles or loses contents that it reads as plain texts or
        as lists of parts; then with the arguments of tool calls as JSON where they were data, and the other way round.
        """
        best: tuple[int, Chat, str] | None = None
        refusal: ValueError | None = None
        shapes: list[Chat] = [chat, _contents(chat, _as_text), _contents(chat, _as_parts)]
        if any(message.get("tool_calls") for message in chat):
            shapes += [_with_other_arguments(shape) for shape in shapes]
        for number, shaped in enumerate(shapes):
            if number == 3 and best is not None:
                break
            try:
                text = self.fill(shaped)
            except ValueError as error:
                refusal = refusal or error
                continue
            said = [each for each in sayings_of(shaped) if each.text is not None and each.text.strip()]
            read = self._read(shaped, said, text)
            if best is None or read > best[0]:
                best = read, shaped, text
            if read == len(said):
                break
        if best is None:
            assert refusal is not None
            raise refusal
        return best[1], best[2]

    def _read(self, chat: Chat, said: Sequence[Saying], text: str) -> int:
        # The number of texts that come out whole, or, where the template does not take other texts, none.
        marks = [mark_for(each, text, number) for number, each in enumerate(said)]
        marked: Chat = chat
        for each, mark in zip(said, marks, strict=True):
            marked = replaced(marked, each, mark)
        try:
            frame = self.fill(marked)
        except ValueError:
            return 0
        return sum(mark in frame and not garbled(frame, mark) for mark in marks)


READ_BY_ALL = ("chat_template", "add_generation_prompt", "continue_final_message")


def _contents(chat: Chat, shape: Callable[[Any], Any]) -> Chat:
    # The chat with contents in another shape, those that are no text aside.
    return [{**each, "content": shape(each.get("content"))} if _is_text(each.get("content")) else each for each in chat]


def _is_text(content: Any) -> bool:
    if isinstance(content, Sequence) and not isinstance(content, str):
        return all(isinstance(part, Mapping) and "text" in part for part in content)
    return content is None or isinstance(content, str)


def _as_text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content or ())


def _as_parts(content: Any) -> Any:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content or []


def _with_other_arguments(chat: Chat) -> Chat:
    # Arguments of tool calls as JSON where they are data, as data where they are JSON.
    def switched(call: Any) -> Any:
        if not isinstance(call, Mapping):
            return call
        if isinstance(call.get("function"), Mapping):
            return {**call, "function": switched(call["function"])}
        given = call.get("arguments")
        try:
            other = json.loads(given) if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
        except ValueError:
            return call
        return {**call, "arguments": other}

    return [
        {**message, "tool_calls": [switched(call) for call in message["tool_calls"]]}
        if message.get("tool_calls")
        else message
        for message in chat
    ]


def _places(
    text: str, chat: Chat, sayings: Sequence[Saying], fill: Callable[[Chat], str]
) -> tuple[list[tuple[int, int]], list[str]]:
    # Where each text stands, and what is to be said of those that do not stand there as they were given.
    spans, faults, end = [], [], 0
    for saying in sayings:
        mark = mark_for(saying, text)
        try:
            frame = fill(replaced(chat, saying, mark))
        except ValueError:  # the template takes no other text there
            frame = None
        (first, last), fault = find(text, saying.text, frame, mark)
        if first == last and fault:
            first = last = end
        spans.append((first, last))
        end = last
        if fault:
            whose = f"message {saying.message} ({chat[saying.message]['role']})"
            faults.append(fault.format(f"{saying.what} of {whose}" if saying.what else whose, shown(text[first:last])))
    return _apart(spans), faults


def shown(text: str) -> str:
    """A text for a remark, its middle left out if it is long."""
    return repr(text if len(text) <= SHOWN else f"{text[: SHOWN // 2]} … {text[-SHOWN // 2 :]}")


def _apart(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    # The same, none reaching into the one before it in the text.
    found, reached = list(spans), 0
    for number in sorted(range(len(spans)), key=lambda number: spans[number]):
        first, last = spans[number]
        first = max(first, reached) if first < last else first
        found[number] = first, max(first, last)
        reached = max(reached, last)
    return found


def _messages(chat: Chat, sayings: Sequence[Saying], spans: Sequence[tuple[int, int]]) -> tuple[Message, ...]:
    said, end = [], 0
    for number, message in enumerate(chat):
        own = [span for saying, span in zip(sayings, spans, strict=True) if saying.message == number]
        full = [span for span in own if span[0] < span[1]] or own[:1] or [(end, end)]
        said.append(Message(message["role"], min(first for first, _ in full), max(last for _, last in full)))
        end = said[-1].end
    return tuple(said)
