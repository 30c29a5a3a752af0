"""The prompt: token ids with the exact text that each one covers."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from nexttoken.text.alignment import BROKEN, Encoding, Piece, cut, decoded, mark_template
from nexttoken.text.chat import Message, is_message, render_chat
from nexttoken.text.vocabulary import Vocabulary, unicode, whole_number

if TYPE_CHECKING:
    from tokenizers import Encoding as Encoded
else:
    Encoded = Any

Side = str | Sequence[int]
"""What an encoder-decoder's source or target prefix is given as."""


@runtime_checkable
class Array(Protocol):
    """An array or a tensor of any library."""

    def tolist(self) -> Any:
        """Its numbers, in lists."""


@dataclass(frozen=True)
class Prompt:
    """A tokenized prompt. The texts of its pieces, joined, are exactly its text.

    Attributes:
        text: the prompt as the model reads it; for a chat, the filled-in template.
        ids: one token id per token.
        pieces: the text cut where tokens meet, never inside a character.
        messages: of a chat, in the chat's order; none for other prompts.
        source: for an encoder-decoder, the number of the source's tokens; the next one is the decoder's start, and the
            target prefix follows. None for a causal model.
        start_token: the first of the ids, where a start token was put in front as context: it is in no piece. None
            for a prompt that is read as it is.
    """

    text: str
    ids: tuple[int, ...]
    pieces: tuple[Piece, ...] = field(repr=False)
    messages: tuple[Message, ...] = ()
    source: int | None = None
    start_token: int | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def __add__(self, other: Prompt) -> Prompt:
        return Prompt(self.text + other.text, self.ids + other.ids, self.pieces + other.shifted(len(self)))

    @property
    def start(self) -> int:
        """The position of the first token that has a next one: 0, or that of the decoder's start."""
        return self.source or 0

    @property
    def own(self) -> range:
        """The positions of the tokens of its text: all, but for a start token that was put in front."""
        return range(0 if self.start_token is None else 1, len(self))

    def with_start_token(self, start: Start, vocab: Vocabulary) -> Prompt:
        """The prompt with a start token in front, as context; as it is where there is to be none, or it begins with it.

        Raises ValueError for what is not one token of the vocabulary, or True where this has no `start_id`.
        """
        if start is None or start is False:
            return self
        token = vocab.start_id if start is True else vocab.one_id(start)
        if token is None:
            raise ValueError("this vocabulary has no start or end-of-text token; name the token to put in front")
        front = self.own.start
        put = int(self.ids[front] != token)
        source = None if self.source is None else self.source + put - front
        ids, pieces = (token,) * put + self.ids[front:], self.shifted(put - front)
        return replace(self, ids=ids, pieces=pieces, source=source, start_token=token if put else None)

    @property
    def continued(self) -> Prompt:
        """What the next token continues: the whole text, or for an encoder-decoder the target prefix."""
        begin = self.own.start if self.source is None else self.source + 1
        pieces = tuple(piece for piece in self.shifted(-begin) if min(piece.positions) >= 0)
        return Prompt("".join(piece.text for piece in pieces), self.ids[begin:], pieces)

    def shifted(self, by: int) -> tuple[Piece, ...]:
        """The pieces, their positions increased by a number."""
        return tuple(
            replace(piece, positions=tuple(position + by for position in piece.positions)) for piece in self.pieces
        )

    @classmethod
    def of(cls, prompt: PromptLike, vocab: Vocabulary, **template: Any) -> Prompt:
        """A prompt from text, token ids in any form that a tokenizer returns, chat messages, or a Prompt as it is.

        A chat with its tools is `{"messages": [...], "tools": [...]}`; for `template`, see `from_messages`. Raises
        ValueError for an empty prompt, ids that are not in the vocabulary, a batch of several rows, or options of a
        template for what is no chat.
        """
        if isinstance(prompt, Mapping) and "messages" in prompt:  # as data sets and requests write it
            beside = {name: prompt[name] for name in ("tools", "documents") if prompt.get(name)}
            template = beside | dict(prompt.get("chat_template_kwargs") or {}) | template
            prompt = prompt["messages"]
            if not isinstance(prompt, Sequence) or isinstance(prompt, str):
                raise ValueError(f"the chat's messages are {prompt!r}; a list of them is expected")
            return cls.from_messages(prompt, vocab, **template)
        if isinstance(prompt, Sequence) and len(prompt) > 0 and is_message(prompt[0]):
            return cls.from_messages(prompt, vocab, **template)
        if template:
            raise ValueError(f"{', '.join(map(repr, template))} can only be given with the messages of a chat")
        if isinstance(prompt, Prompt):
            return prompt
        if isinstance(prompt, str):
            return cls.from_text(prompt, vocab)
        if isinstance(prompt, tuple) and prompt and isinstance(prompt[0], str):
            raise ValueError(
                "a pair of source and target prefix is for encoder-decoders; a causal model takes one text"
            )
        if is_message(prompt) and not isinstance(prompt, Mapping):
            raise ValueError("the prompt is one message; give a list of messages")
        rows = id_rows(prompt)
        if rows is None and isinstance(prompt, Sequence) and not isinstance(prompt, bytes):
            rows = [list(prompt)]
        if rows is None:
            raise ValueError(f"the prompt is {prompt!r}; it must be text, token ids or chat messages")
        if len(rows) > 1:
            raise ValueError(f"the prompt is a batch of {len(rows)} rows; give one of them, or all to attribute_many")
        return cls.from_ids(rows[0], vocab)

    @classmethod
    def from_text(cls, text: str, vocab: Vocabulary) -> Prompt:
        """Tokenize a text, with the special tokens that the tokenizer puts before it. Raises ValueError if empty."""
        if text == "":
            raise ValueError("the prompt is empty; give at least one character")
        encoding = vocab.encode(unicode(text))
        if not encoding.ids:
            raise ValueError(f"the prompt {text!r} has no tokens in this vocabulary")
        vocab.check(encoding.ids)
        once = _once(encoding)
        pieces = cut(text, once, vocab.decode)
        if once is not encoding:
            warnings.warn(
                f"the prompt begins with {pieces[0].text!r}, which the tokenizer puts in front as well; it is "
                "there once",
                stacklevel=4,
            )
            begun = once.spans[encoding.added.index(False) - 1][1]
            pieces = mark_template(pieces, ((begun, len(text)),))
        return cls(text, once.ids, pieces)._warned_of_last_space(vocab)

    def _warned_of_last_space(self, vocab: Vocabulary, add_special_tokens: bool = True) -> Prompt:
        if self.text.endswith(" "):
            following = _once(vocab.encode(self.text + "a", add_special_tokens))
            if following.ids[: len(self)] != self.ids:
                warnings.warn(
                    "the prompt ends in a space, which the tokenizer writes at the beginning of the next word; write "
                    f"the prompt {ending(self.text.rstrip(' '))!r} instead, and a space before the target",
                    stacklevel=5,
                )
        return self

    @classmethod
    def added(cls, ids: Sequence[int], vocab: Vocabulary) -> Prompt:
        """Tokens that stand for no text, as a tokenizer adds them."""
        pieces = (Piece("", vocab.decode([each]), (at,), template=True) for at, each in enumerate(ids))
        return cls("", tuple(ids), tuple(pieces))

    @classmethod
    def from_ids(cls, ids: Sequence[Any], vocab: Vocabulary) -> Prompt:
        """A prompt from token ids, decoded for display. Raises ValueError for no ids or an unknown one."""
        if len(ids) == 0:
            raise ValueError("the prompt is empty; give at least one token id")
        whole = tuple(map(whole_number, ids))
        vocab.check(whole)
        text, spans = decoded(whole, vocab.decode)
        return cls(text, whole, cut(text, Encoding(whole, spans, (False,) * len(whole)), vocab.decode))

    def first(self, count: int) -> Prompt:
        """The prompt's first `count` tokens. A piece that loses some of its tokens is shown as U+FFFD."""
        pieces = [piece for piece in self.pieces if piece.positions[0] < count]
        if pieces and pieces[-1].positions[-1] >= count:
            last = pieces[-1]
            pieces[-1] = Piece(BROKEN, BROKEN, tuple(p for p in last.positions if p < count), last.template)
        return replace(self, text="".join(piece.text for piece in pieces), ids=self.ids[:count], pieces=tuple(pieces))

    def extended(self, ids: Sequence[int], vocab: Vocabulary) -> Prompt:
        """The prompt with more tokens after it, of which the first may complete its last character."""
        if not ids:
            return self
        before, pieces = self.continued, list(self.pieces)
        for piece in Prompt.from_ids([*before.ids, *ids], vocab).shifted(len(self) - len(before)):
            new = tuple(at for at in piece.positions if at >= len(self))
            if len(new) == len(piece.positions):
                pieces.append(piece)
            elif new:  # it completes the last character of the prompt
                last = pieces[-1]
                pieces[-1] = Piece(piece.text, piece.text, (*last.positions, *new), last.template)
        text = "".join(piece.text for piece in pieces)
        return replace(self, text=text, ids=(*self.ids, *ids), pieces=tuple(pieces))

    @classmethod
    def from_messages(cls, messages: Sequence[Any], vocab: Vocabulary, **options: Any) -> Prompt:
        """A chat through the tokenizer's own template, to the character, up to where the answer begins.

        If the last message is the assistant's own, it is an answer that has begun, and the next token continues it; one
        that calls a tool is complete. Costs two renderings, more where the template reads messages in another form.

        Args:
            messages: dictionaries with `role` and `content`, a text or a list of `{"type": "text", "text": ...}`; with
                `tool_calls` or reasoning where the template reads them. Objects of a client's library are read too.
            vocab: the vocabulary of a tokenizer with a chat template.
            options: what the template takes: `tools`, `documents`, switches such as `enable_thinking=False`, also
                `continue_final_message` and `add_generation_prompt`, as in `apply_chat_template`.

        Raises:
            ValueError: no messages, one without a role or a text, a tokenizer without a chat template, or a template
                that refuses the messages. One that leaves out, repeats or rewrites a message warns.
        """
        tokenizer: Any = getattr(vocab, "tokenizer", None)
        text, ids, found, written = render_chat(messages, tokenizer, vocab.decode, options)
        if ids is None:
            encoding = vocab.encode(unicode(text), add_special_tokens=False)
        else:
            encoding = Encoding(ids, decoded(ids, vocab.decode)[1], (False,) * len(ids))
        vocab.check(encoding.ids)
        prompt = cls(text, encoding.ids, mark_template(cut(text, encoding, vocab.decode), written), found)
        return prompt._warned_of_last_space(vocab, False) if found[-1].end == len(text) else prompt


Start = str | int | bool | None
"""A start token to put in front: text or id, True for the vocabulary's own, None for none."""

PromptLike = Prompt | Side | Sequence[Any] | tuple[Side, Side] | Mapping[str, Any] | Array | Encoded
"""What a prompt is given as: text, token ids or what a tokenizer returned, chat messages (alone, or with their tools in
a dictionary), or a pair of source and target prefix."""


def id_rows(given: Any) -> list[list[Any]] | None:
    """The rows of token ids in what a tokenizer returned, without its padding; None for anything else.

    Args:
        given: a mapping with `input_ids`, and `attention_mask` where there is padding; an array or tensor (token,) or
            (row, token); a list of such rows; an encoding with `ids`.

    Raises:
        ValueError: an array of more than two dimensions.
    """
    ids, mask = given, None
    if isinstance(given, Mapping):
        ids, mask = given.get("input_ids"), given.get("attention_mask")
    elif hasattr(given, "ids") and hasattr(given, "attention_mask"):
        ids, mask = given.ids, given.attention_mask
    rows, masks = _rows(ids), _rows(mask)
    if rows is None or masks is None:
        return rows
    pairs = [zip(row, real, strict=True) for row, real in zip(rows, masks, strict=True)]
    return [[token for token, real in pair if real] for pair in pairs]


def _rows(ids: Any) -> list[list[Any]] | None:
    if len(getattr(ids, "shape", ())) > 2:
        raise ValueError(f"token ids have the shape {tuple(ids.shape)}; give one row of them, or (row, token)")
    listed = _listed(ids)
    if not isinstance(listed, list) or any(isinstance(each, str | bytes | Mapping) for each in listed):
        return None
    rows = [_listed(each) for each in listed]
    nested = [isinstance(row, list) for row in rows]
    return rows if rows and all(nested) else None if any(nested) else [rows]


def _listed(given: Any) -> Any:
    if isinstance(given, Array):
        return given.tolist()
    return list(given) if isinstance(given, Sequence) and not isinstance(given, str | bytes) else given


def _once(encoding: Encoding) -> Encoding:
    # Without the tokens that the tokenizer put in front, where the text begins with the same.
    front = next((at for at, added in enumerate(encoding.added) if not added), 0)
    if not front or encoding.ids[:front] != encoding.ids[front : 2 * front] or any(encoding.added[front : 2 * front]):
        return encoding
    return Encoding(encoding.ids[front:], encoding.spans[front:], encoding.added[front:])


def ending(text: str, length: int = 20) -> str:
    """The last `length` characters of a text, for a message, after an ellipsis if there are more."""
    return text if len(text) <= length else f"…{text[-length:]}"
