"""Ids to strings and back: how a text becomes ids, which characters each covers, any tokenizer as a vocabulary."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import groupby
from operator import index
from typing import Any, SupportsIndex

from nexttoken.text.alignment import Encoding, Spans, align, decoded

BETWEEN_TEXTS = "<|endoftext|>"  # as GPT-2 and most of its heirs call it


class Vocabulary(ABC):
    """Ids to strings and back, by namespace. Ids run from 0 to `size(namespace) - 1`."""

    bos_id: int | None = None
    eos_id: int | None = None
    pad_id: int | None = None
    unk_id: int | None = None

    @property
    def start_id(self) -> int | None:
        """What a text begins with where it begins with nothing else: the start token, or else the end-of-text token."""
        return self.bos_id if self.bos_id is not None else self.eos_id

    @property
    def special_ids(self) -> frozenset[int]:
        """The tokens that stand for no text: what begins, ends, separates or pads it."""
        own = (self.bos_id, self.eos_id, self.pad_id, self.unk_id)
        return frozenset(token_id for token_id in own if token_id is not None)

    @abstractmethod
    def size(self, namespace: str = "bert") -> int:
        """The number of ids in the namespace."""

    @abstractmethod
    def encode(self, text: str, add_special_tokens: bool = True) -> Encoding:
        """The ids of a text. Raises ValueError where the text cannot be written in this vocabulary."""

    @abstractmethod
    def decode(self, ids: Sequence[int], namespace: str = "bert") -> str:
        """The text of the ids, special tokens included. Raises ValueError for an id that does not exist."""

    def token_text(self, token_id: int, namespace: str = "bert") -> str:
        """The text of one token as it stands inside a text, with its leading space. Raises ValueError if unknown."""
        return self.decode([token_id], namespace)

    def one_id(self, token: str | SupportsIndex) -> int:
        """The id of a token given as id, or as text on its own. Raises ValueError if it is not one token."""
        if not isinstance(token, str):
            token_id = whole_number(token)
            self.check([token_id])
            return token_id
        ids = self.encode(token, add_special_tokens=False).ids
        if len(ids) != 1:
            raise ValueError(f"{token!r} is {len(ids)} tokens in this vocabulary; one is expected")
        return ids[0]

    def check(self, ids: Sequence[int], namespace: str = "bert") -> None:
        """Raise ValueError unless every id exists in the namespace."""
        for position, token_id in enumerate(ids):
            if not 0 <= token_id < self.size(namespace):
                raise ValueError(
                    f"token id {token_id} at position {position} is not in this vocabulary; "
                    f"its ids run from 0 to {self.size(namespace) - 1}"
                )


def whole_number(token_id: Any) -> int:
    """A token id as a plain integer. Raises ValueError for what is none, such as 1.5."""
    try:
        return index(token_id)
    except TypeError:
        raise ValueError(f"{token_id!r} is not a token id, which is a whole number") from None


class SymbolVocabulary(Vocabulary):
    """A vocabulary given as lists of symbols (characters, words); a text is cut into the longest symbols that fit.

    Args:
        symbols: the symbols of each namespace, a symbol's id being its index in the list; or one such list for every
            namespace.
        input_namespace: the namespace that texts are encoded in.
        eos: the symbol that ends a text, if there is one.
    """

    def __init__(
        self,
        symbols: Mapping[str, Sequence[str]] | Sequence[str],
        input_namespace: str = "bert",
        eos: str | None = None,
    ):
        by_namespace = symbols if isinstance(symbols, Mapping) else {input_namespace: symbols}
        self.symbols = {namespace: tuple(names) for namespace, names in by_namespace.items()}
        self.input_namespace = input_namespace
        self.ids = {symbol: token_id for token_id, symbol in enumerate(self._names(input_namespace))}
        if eos is not None:
            self.eos_id = self.ids[eos]

    def _names(self, namespace: str) -> tuple[str, ...]:
        if namespace in self.symbols:
            return self.symbols[namespace]
        if len(self.symbols) == 1:
            return next(iter(self.symbols.values()))
        raise ValueError(f"there is no namespace {namespace!r} in this vocabulary; it has {sorted(self.symbols)}")

    def size(self, namespace: str = "bert") -> int:
        return len(self._names(namespace))

    def encode(self, text: str, add_special_tokens: bool = True) -> Encoding:
        ids, spans, start = [], [], 0
        longest = max(map(len, self.ids))
        while start < len(text):
            ends = range(min(len(text), start + longest), start, -1)
            end = next((end for end in ends if text[start:end] in self.ids), None)
            if end is None:
                raise ValueError(f"{text[start]!r} at character {start} is not in this vocabulary")
            ids.append(self.ids[text[start:end]])
            spans.append((start, end))
            start = end
        return Encoding(tuple(ids), tuple(spans), (False,) * len(ids))

    def decode(self, ids: Sequence[int], namespace: str = "bert") -> str:
        self.check(ids, namespace)
        return "".join(self._names(namespace)[token_id] for token_id in ids)


class IdVocabulary(Vocabulary):
    """The vocabulary of a model that came without a tokenizer: prompts and targets are ids, shown as `[id]`."""

    def __init__(self, size: int, eos_id: int | None = None, pad_id: int | None = None):
        self._size, self.eos_id, self.pad_id = size, eos_id, pad_id

    def size(self, namespace: str = "bert") -> int:
        return self._size

    def encode(self, text: str, add_special_tokens: bool = True) -> Encoding:
        raise ValueError(
            f"this model has no tokenizer: give token ids instead of {text!r}, or load it with a tokenizer"
        )

    def decode(self, ids: Sequence[int], namespace: str = "bert") -> str:
        self.check(ids, namespace)
        return "".join(f"[{token_id}]" for token_id in ids)


class TokenizerVocabulary(Vocabulary):
    """Any Hugging Face tokenizer as a vocabulary; it has one namespace, whatever its name.

    Args:
        tokenizer: as `transformers.AutoTokenizer` returns it, fast or slow.
        size: the number of rows of the model's embedding, where it is not the tokenizer's length.
        argument: what a text is to the tokenizer: its `text`, or its `text_target`, which translation models tokenize
            otherwise.
    """

    def __init__(self, tokenizer: Any, size: int | None = None, argument: str = "text"):
        self.tokenizer, self.argument = tokenizer, argument
        self._size = len(tokenizer) if size is None else size
        self.bos_id, self.eos_id = tokenizer.bos_token_id, tokenizer.eos_token_id
        self.pad_id, self.unk_id = tokenizer.pad_token_id, tokenizer.unk_token_id

    @property
    def start_id(self) -> int | None:
        """The token that stood between the texts of the training, where there is one; else as in every vocabulary.

        The start and end tokens of a tokenizer made for chats are those of a message.
        """
        between: int | None = getattr(self.tokenizer, "added_tokens_encoder", {}).get(BETWEEN_TEXTS)
        return super().start_id if between is None else between

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """The tokens that stand for no text, those of chats and tools among them."""
        added = getattr(self.tokenizer, "added_tokens_decoder", {})
        marked = {int(token_id) for token_id, token in added.items() if getattr(token, "special", False)}
        return super().special_ids | marked | set(self.tokenizer.all_special_ids)

    def size(self, namespace: str = "bert") -> int:
        return self._size

    def encode(self, text: str, add_special_tokens: bool = True) -> Encoding:
        fast = bool(getattr(self.tokenizer, "is_fast", False))
        encoded = self.tokenizer(
            **{self.argument: unicode(text)},
            add_special_tokens=add_special_tokens,
            return_special_tokens_mask=add_special_tokens,
            return_offsets_mapping=fast,
            verbose=False,
        )
        ids = tuple(encoded["input_ids"])
        special = encoded["special_tokens_mask"] if add_special_tokens else [0] * len(ids)
        if fast:
            spans = tuple((int(start), int(end)) for start, end in encoded["offset_mapping"])
            added = tuple(bool(mark) and start == end for mark, (start, end) in zip(special, spans, strict=True))
        else:
            # A tokenizer that does not close a text twice may leave out of `ids` what it marks at the end.
            added = tuple(bool(mark) for mark in special) if len(special) == len(ids) else (False,) * len(ids)
            own = iter(self._locate(text, [token_id for token_id, mark in zip(ids, added, strict=True) if not mark]))
            spans = tuple((0, 0) if mark else next(own) for mark in added)
        # The next token comes after the text, so a tokenizer's closing tokens ([SEP], </s>) are left out.
        length = max((at + 1 for at, mark in enumerate(added) if not mark), default=0)
        return Encoding(ids[:length], spans[:length], added[:length])

    def _locate(self, text: str, ids: Sequence[int]) -> Spans:
        # For a tokenizer that does not say which characters its tokens cover.
        written, located = decoded(ids, self.decode)
        if written == text:
            return located
        # Tokens that share characters are looked for together.
        ends: list[int] = []
        pieces: list[str | None] = []
        owners = []
        for token_id, (start, end) in zip(ids, located, strict=True):
            if not pieces or start >= ends[-1]:
                pieces.append("")
                ends.append(start)
            more = written[ends[-1] : end]
            pieces[-1] = None if token_id == self.unk_id or pieces[-1] is None else pieces[-1] + more
            ends[-1] = max(end, ends[-1])
            owners.append(len(pieces) - 1)
        found = align(text, pieces)
        return tuple(found[owner] for owner in owners)

    def token_text(self, token_id: int, namespace: str = "bert") -> str:
        alone = self.decode([token_id])
        before = self.tokenizer("a", add_special_tokens=False)["input_ids"]
        start, whole = self.decode(before), self.decode([*before, token_id])
        return whole[len(start) :] if whole.startswith(start) and whole.endswith(alone) else alone

    def decode(self, ids: Sequence[int], namespace: str = "bert") -> str:
        self.check(ids, namespace)
        if not self._shows_pieces:
            return self._decoded(ids)
        special = set(self.tokenizer.all_special_ids)
        runs = [list(run) for _, run in groupby(ids, lambda token_id: token_id in special and token_id)]
        return "".join(self._decoded(run, skip_special_tokens=run[0] not in special) for run in runs)

    def _decoded(self, ids: Sequence[int], **options: bool) -> str:
        return self.tokenizer.decode(list(ids), clean_up_tokenization_spaces=False, **options)

    @cached_property
    def _shows_pieces(self) -> bool:
        # Whether text is written as the pieces of the vocabulary where special tokens are to be seen, as mistral-common
        # does for SentencePiece.
        ids = self.tokenizer("a b", add_special_tokens=False)["input_ids"]
        return "▁" in self._decoded(ids) and "▁" not in self._decoded(ids, skip_special_tokens=True)


def unicode(text: str) -> str:
    """The text itself. Raises ValueError for lone surrogates, which bytes that are not UTF-8 leave in arguments."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{text!r} is not valid text: character {error.start} stands for a byte that is not UTF-8"
        ) from None
    return text
