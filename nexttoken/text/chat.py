"""Chats: messages through a tokenizer's own template, to the character, and where each one stands in the text."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any, NamedTuple, TypeGuard

from nexttoken.text.alignment import common_length

ASSISTANT = "assistant"
SET_HERE = ("tokenize", "return_dict", "return_tensors", "padding", "truncation", "max_length")
READ_BY_ALL = ("chat_template", "add_generation_prompt", "continue_final_message")
JINJA = "transformers.tokenization_utils_base"  # where transformers renders templates of Jinja's
REASONING = ("reasoning_content", "reasoning", "thinking")  # names of one thing in templates
MARKER = "7402918365"  # digits, which no template changes
AHEAD = 12  # characters of the template that have to follow a text
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


class _Text(NamedTuple):
    message: int
    keys: tuple[str | int, ...]  # that lead to it in the message
    given: Any  # a string, or data that the template turns into text
    what: str = ""  # if not the content: "the reasoning of "


def render_chat(
    messages: Sequence[Any], tokenizer: Any, decode: Callable[[Sequence[int]], str], options: Mapping[str, Any]
) -> tuple[str, tuple[int, ...] | None, tuple[Message, ...], tuple[Span, ...]]:
    """A chat in its tokenizer's template, up to where the next token follows: what `Prompt.from_messages` makes of it.

    The texts are found by rendering the template once more, with a marker in place of each. A message that the template
    rewrites, repeats or leaves out is named in a warning.

    Returns:
        The text; its ids, where the text alone does not become them; the messages; and the characters of all that they
        wrote, the rest being the template's.
    """
    if not messages:
        raise ValueError("the chat is empty; give at least one message with a role and a content")
    given = [_plain(message) for message in messages]
    for number, message in enumerate(given):
        _check(message, number)
    last, asked = given[-1], options.get("continue_final_message")
    begun = last["role"] == ASSISTANT and not last.get("tool_calls") if asked is None else bool(asked)
    template = _Template(tokenizer, decode, options, begun)
    chat, text, texts, frame = _in_a_form_it_reads(template, given)
    spans, faults = _locate(chat, text, texts, frame)
    if begun:
        end = spans[-1] if texts and texts[-1].message == len(chat) - 1 else None
        if end is None:
            raise ValueError("this tokenizer's chat template leaves out the answer that has begun")
        text = text if template.writes_alone else text[: end[1]]
    if text == "":
        raise ValueError("the chat is empty: neither its template nor its messages have a character")
    if faults:
        warnings.warn(f"this tokenizer's chat template {'; it '.join(faults)}", stacklevel=5)
    found, reached = [], 0
    for number, message in enumerate(chat):
        own = [span for each, span in zip(texts, spans, strict=True) if each.message == number and span]
        start, reached = (min(own)[0], max(own)[1]) if own else (reached, reached)
        found.append(Message(message["role"], start, reached))
    written = tuple(span for span in spans if span and span[0] < span[1])
    return text, template.ids(chat), tuple(found), written


def is_message(given: Any) -> bool:
    """Whether it is given as a message of a chat: a dictionary, or an object of a client's library."""
    fields = is_dataclass(given) and not isinstance(given, type)
    return isinstance(given, Mapping) or fields or callable(getattr(given, "model_dump", None))


def _plain(message: Any) -> Any:
    if isinstance(message, Mapping) or not is_message(message):
        return message
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
    # In the order in which templates write them.
    found = []
    for number, message in enumerate(chat):
        name = next((name for name in REASONING if isinstance(message.get(name), str)), None)
        if name is not None:
            found.append(_Text(number, (name,), message[name], "the reasoning of "))
        content = message.get("content")
        if _is_parts(content):
            found += [_Text(number, ("content", at, "text"), part["text"]) for at, part in enumerate(content)]
        elif content is not None:
            found.append(_Text(number, ("content",), content))
        for at, call in enumerate(message.get("tool_calls") or ()):
            inside = ("function",) if isinstance(call.get("function"), Mapping) else ()
            named = call["function"] if inside else call
            for key in ("name", "arguments"):
                if key in named:
                    keys = ("tool_calls", at, *inside, key)
                    found.append(_Text(number, keys, named[key], "a tool call of "))
    return found


def _is_parts(content: Any) -> TypeGuard[Sequence[Mapping[str, str]]]:
    return isinstance(content, Sequence) and not isinstance(content, str) and all("text" in part for part in content)


@dataclass(frozen=True)
class _Template:
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
        # Where its text alone does not become them.
        return tuple(self._apply(chat, tokenize=True, return_dict=False)) if self.writes_alone else None

    def render(self, chat: Chat) -> str:
        ids = self.ids(chat)
        return self._apply(chat, tokenize=False) if ids is None else self.decode(ids)


def _in_a_form_it_reads(template: _Template, given: Chat) -> tuple[Chat, str, list[_Text], list[str]]:
    """A chat, its text, the texts in it, and what the template writes around them, with a text's number for each.

    As it was given, unless the template refuses that, or garbles or loses contents or arguments in this form.
    """
    found: list[tuple[Chat, str, list[_Text], list[str]]] = []
    refusals: list[ValueError] = []
    for chat in _forms(given):
        try:
            text = template.render(chat)
        except ValueError as error:
            refusals.append(error)
            continue
        marker, texts = MARKER, _texts_of(chat)
        while marker in text:
            marker += "0"
        marked = {number for number, each in enumerate(texts) if each.given or (template.begun and each is texts[-1])}
        copied: Any = chat
        for number in marked:
            copied = _marked(copied, (texts[number].message, *texts[number].keys), f"{marker}{number:04}")
        try:
            written = template.render(copied)
        except ValueError:  # the template takes no other text there
            written = ""
        frame = re.split(rf"{marker}(\d{{4}})", written)
        found.append((chat, text, texts, frame))
        if marked <= set(map(int, frame[1::2])) and f"'text': '{marker}" not in written:  # as Python shows a list
            return found[-1]
    if not found:
        raise refusals[0]
    return found[0]


def _forms(given: Chat) -> Iterator[Chat]:
    # As given; then contents as texts or as lists of parts, arguments of tool calls as data or as JSON.
    yield given
    for as_parts, as_json in ((False, False), (False, True), (True, False)):
        yield [_in_form(message, as_parts, as_json) for message in given]


def _in_form(message: Mapping[str, Any], as_parts: bool, as_json: bool) -> dict[str, Any]:
    content: Any = message.get("content")
    if isinstance(content, str) and as_parts:
        content = [{"type": "text", "text": content}]
    elif (content is None or _is_parts(content)) and not as_parts:
        content = "".join(part["text"] for part in content or ())
    formed = {**message, "content": content}
    if formed.get("tool_calls"):
        formed["tool_calls"] = [_with_arguments(call, as_json) for call in formed["tool_calls"]]
    return formed


def _with_arguments(call: Mapping[str, Any], as_json: bool) -> Mapping[str, Any]:
    if isinstance(call.get("function"), Mapping):
        return {**call, "function": _with_arguments(call["function"], as_json)}
    given = call.get("arguments")
    if isinstance(given, str) == as_json:
        return call
    return {**call, "arguments": json.dumps(given, ensure_ascii=False) if as_json else json.loads(given or "{}")}


def _marked(data: Any, keys: Sequence[str | int], marker: str) -> Any:
    # A copy with the marker in place of the text, or of what is in the data, that the keys lead to.
    if isinstance(data, str):
        return marker
    if not keys:
        return {marker: int(marker)} if isinstance(data, Mapping) else [_marked(each, (), marker) for each in data[:1]]
    copied: Any = list(data) if isinstance(data, Sequence) else dict(data)
    copied[keys[0]] = _marked(copied[keys[0]], keys[1:], marker)
    return copied


def _locate(chat: Chat, text: str, texts: Sequence[_Text], frame: Sequence[str]) -> tuple[list[Span | None], list[str]]:
    # Where each text stands, and what the template does to those that do not stand there as they were given.
    order: list[int] = []
    around = [frame[0]]  # what the template writes before each of them, and after the last
    for number, after in zip(map(int, frame[1::2]), frame[2::2], strict=True):
        if number not in order:
            order.append(number)
            around.append(after)
        elif not isinstance(texts[number].given, str):  # the marker is there twice, and what is between belongs to it
            around[-1] = after
        else:
            around[-1] += f"{texts[number].given}{after}"
    spans: list[Span | None] = [None] * len(texts)
    cursor = 0
    for at, number in enumerate(order):
        last = at + 1 == len(order)
        spans[number] = found = _span(text, cursor, around[at], texts[number].given, around[at + 1], last)
        cursor = found[1] if found else cursor
    faults = []
    for number, (each, span) in enumerate(zip(texts, spans, strict=True)):
        kept = text[slice(*span)] if span else ""
        given = each.given.strip() if isinstance(each.given, str) else kept or each.given
        whose = f"{each.what}message {each.message} ({chat[each.message]['role']})"
        if kept.strip() != given:
            shown = kept if len(kept) <= SHOWN else f"{kept[: SHOWN // 2]} … {kept[-SHOWN // 2 :]}"
            faults.append(f"rewrites {whose} as {shown!r}" if kept else f"leaves out or changes {whose}")
        elif isinstance(each.given, str) and frame[1::2].count(f"{number:04}") > 1:
            faults.append(f"writes {whose} more than once")
    return spans, list(dict.fromkeys(faults))


def _span(text: str, cursor: int, before: str, given: Any, after: str, last: bool) -> Span | None:
    # Where a text stands that follows the cursor, between what the template writes before and after it.
    candidates = (given, given.strip()) if isinstance(given, str) else ()
    for each in candidates:
        if text.startswith(before + each + after[:AHEAD], cursor):
            return cursor + len(before), cursor + len(before) + len(each)
    # The template writes something else before it, or has changed it.
    start = cursor + common_length(text[cursor:], before)
    end = text.rfind(after) if last else text.find(after, start)
    for each in candidates:
        if each and text.endswith(each, cursor, max(end, cursor)):
            return end - len(each), end
    kept = text[start : max(end, start)]
    start += len(kept) - len(kept.lstrip())
    return (start, start + len(kept.strip())) if kept.strip() else None
