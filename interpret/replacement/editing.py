"""What may be changed in a prompt, and whether what comes of it is a prompt: words, and their texts tokenized anew."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import groupby
from numbers import Integral
from typing import NamedTuple

from interpret.question.region import Region, positions_in
from interpret.results.reduction import message_numbers, offsets, word_numbers
from nexttoken import NextTokenLM, Prompt

FRAGMENT = "\ufffd"  # what stands for a part of a character


@dataclass(frozen=True)
class Word:
    """What is changed or taken away at once: a word with its leading space, a mark, a digit.

    Attributes:
        positions: of its tokens in the prompt.
        text: the exact characters.
        start: of the first of them in the prompt's text.
        message: the number of the chat message it is of; None in other prompts.
    """

    positions: tuple[int, ...]
    text: str
    start: int
    message: int | None

    @property
    def end(self) -> int:
        """The character after its last one."""
        return self.start + len(self.text)


class Edited(NamedTuple):
    """A changed prompt: its ids, as `lm.tokens` gives them, the texts of its pieces, and the new texts of words."""

    row: list[int]
    pieces: list[str]
    words: dict[int, str]

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(self.pieces)


class Editing:
    """The words of a prompt that may be changed, and the prompts that come of it.

    What the tokenizer or a chat template wrote stays as it is, and so does a start token. A changed prompt counts if
    its ids are what the tokenizer makes of its text, the new token is no part of a character and no control token. Of a
    prompt whose own text does not become its ids (it was given as ids, or has no tokenizer), ids are changed as they
    are. Where every token is a character, characters take the place of words.

    Args:
        lm: the model.
        prompt: what is changed.
        ignore: a part of it that stays as it is.
        whole: True for words that are taken away: a number is one of them, and not each digit and character.

    Raises:
        ValueError: nothing in the prompt may be changed, or the part to be ignored is not there.
    """

    def __init__(self, lm: NextTokenLM, prompt: Prompt, ignore: Region | None = None, whole: bool = False):
        self.lm, self.prompt, self.text_of = lm, prompt, cache(lm.vocab.token_text)
        self.row: list[int] = lm.tokens(prompt)["input_ids"][0].tolist()
        with quiet():
            self.by_text = self.rewritten([piece.text for piece in prompt.pieces]) == self.row
        self.words = self._words(set() if ignore is None else set(positions_in(ignore, prompt)), whole)
        if not self.words:
            raise ValueError(
                "there is no word in the prompt that may be changed: all of it is template, or is to be ignored"
            )

    def _words(self, ignored: set[int], whole: bool) -> tuple[Word, ...]:
        pieces = self.prompt.pieces
        texts = [piece.text for piece in pieces]
        starts, of_message = offsets(texts), message_numbers(texts, self.prompt.messages)
        characters = not whole and all(len(text) <= 1 for text in texts)
        sections = word_numbers(texts) if self.by_text and not characters else range(len(pieces))

        def is_fixed(number: int) -> bool:
            piece = pieces[number]
            return piece.template or not piece.text or bool(ignored & set(piece.positions))

        def key(number: int) -> tuple[object, ...]:
            digit = not whole and any(character.isdigit() for character in texts[number])
            in_source = self._in_source(pieces[number].positions[0])
            return sections[number], of_message[number], is_fixed(number), number if digit else -1, in_source

        words = []
        for _, group in groupby(range(len(pieces)), key):
            own = list(group)
            if not is_fixed(own[0]):
                positions = tuple(position for number in own for position in pieces[number].positions)
                text = "".join(texts[number] for number in own)
                words.append(Word(positions, text, starts[own[0]], of_message[own[0]]))
        return tuple(words)

    def _in_source(self, position: int) -> bool:
        return self.prompt.source is not None and position < self.prompt.source

    @cached_property
    def usable(self) -> frozenset[int]:
        """Ids that may be written into a prompt: those that stand for text."""
        return frozenset(range(self.lm.vocab.size())) - self.lm.vocab.special_ids

    def edited(self, edits: Mapping[int, int]) -> Edited | None:
        """The prompt with some words, by number, replaced by one token each.

        None where it is no prompt: the tokenizer would write its text with other ids, or a token is no text. A word
        gives way to a word, a number to a number and a mark to a mark, with a space before it if there was one.
        """
        if not self.usable.issuperset(edits.values()):
            return None
        texts = {number: self._text_at(number, token_id) for number, token_id in edits.items()}
        if self.by_text and not all(_alike(self.words[number].text, text) for number, text in texts.items()):
            return None
        row, pieces = self._replaced({self.words[each]: ([edits[each]], text) for each, text in texts.items()})
        return Edited(row, pieces, texts) if not self.by_text or self.rewritten(pieces) == row else None

    def _text_at(self, number: int, token_id: int) -> str:
        # Some tokenizers add a space before a text that begins without one.
        word, text = self.words[number], self.text_of(token_id)
        return text.removeprefix(" ") if word.start == 0 and not word.text.startswith(" ") else text

    def without(self, words: Sequence[Word]) -> Edited | None:
        """The prompt without some words, tokenized anew. None where nothing would be left."""
        row, pieces = self._replaced(dict.fromkeys(words, ([], "")))
        if self.by_text:
            self._close_up(pieces, words)
            row = self.rewritten(pieces) or []
        return Edited(row, pieces, {}) if row else None

    def _close_up(self, pieces: list[str], gone: Sequence[Word]) -> None:
        # The first word left has no space before it where the first of the text, or of the message, had none.
        starts = {word.start for word in gone}
        for _, group in groupby(self.words, lambda word: (word.message, self._in_source(word.positions[0]))):
            words = list(group)
            left = next((word for word in words if word.start not in starts), words[0])
            if left is not words[0] and not words[0].text.startswith(" "):
                at = next(at for at, piece in enumerate(self.prompt.pieces) if left.positions[0] in piece.positions)
                pieces[at] = pieces[at].removeprefix(" ")

    def _replaced(self, changed: Mapping[Word, tuple[list[int], str]]) -> tuple[list[int], list[str]]:
        # The ids, and the texts of all pieces, with ids and a text in the place of some words.
        first = {word.positions[0]: given for word, given in changed.items()}
        gone = {position for word in changed for position in word.positions}
        row, texts = self.row[: self.prompt.own.start], []
        for piece in self.prompt.pieces:
            own = [self.row[position] for position in piece.positions], piece.text
            ids, text = first.get(piece.positions[0], ([], "") if piece.positions[0] in gone else own)
            row += ids
            texts.append(text)
        return row, texts

    def rewritten(self, texts: Sequence[str]) -> list[int] | None:
        """The ids that the tokenizer makes of the texts of the pieces; None where it can't."""
        prompt, text = self.prompt, "".join(texts)
        try:
            if prompt.messages:
                ids = self.lm.vocab.encode(text, add_special_tokens=False).ids
                return [*([] if prompt.start_token is None else [prompt.start_token]), *ids]
            if prompt.source is None:
                whole = self.lm.prompt(text, prompt.start_token)
            else:
                count = sum(piece.positions[0] <= prompt.source for piece in prompt.pieces)
                whole = self.lm.prompt(("".join(texts[:count]), "".join(texts[count:])), prompt.start_token)
            return list(map(int, self.lm.tokens(whole)["input_ids"][0].tolist()))
        except ValueError:
            return None

    def as_prompt(self, edited: Edited) -> Prompt:
        """A changed prompt to be run: its ids and text are right, its pieces those of the original."""
        ids, source = list(edited.row), self.prompt.source
        if source is not None:  # the decoder's start is marked in a row
            at = ids.index(self.row[source])
            ids[at], source = self.prompt.ids[source], at
        return replace(self.prompt, ids=tuple(ids), text=edited.text, source=source)

    def messages_of(self, edited: Edited) -> tuple[dict[str, str], ...]:
        """A changed chat as messages; none where the template does not write them so."""
        messages, pieces = self.prompt.messages, self.prompt.pieces
        contents = [""] * len(messages)
        for start, piece, text in zip(offsets([piece.text for piece in pieces]), pieces, edited.pieces, strict=True):
            for number, message in enumerate(messages):
                own = piece.text[max(0, message.start - start) : max(0, message.end - start)]
                contents[number] += own if text == piece.text else text if own else ""
        changed = [{"role": each.role, "content": text} for each, text in zip(messages, contents, strict=True)]
        try:
            again = self.lm.prompt(changed, self.prompt.start_token) if changed else None
        except ValueError:
            return ()
        return tuple(changed) if again is not None and list(again.ids) == edited.row else ()


def _alike(old: str, new: str) -> bool:
    """Whether a text is of the kind of another, with no part of a character in it."""
    if FRAGMENT in new or not new.isprintable() or _kind(new) != _kind(old):
        return False
    return new.startswith(" ") == old.startswith(" ")


def _kind(text: str) -> str:
    first = text.strip()[:1]
    return "letters" if first.isalpha() else "digits" if first.isdigit() else "marks" if first else "spaces"


@contextmanager
def quiet() -> Iterator[None]:
    """Within this context, nothing is warned of: what is tried out is nobody's prompt."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def check_count(name: str, value: int) -> None:
    """Raise ValueError unless a setting is a whole number, at least 1."""
    if not isinstance(value, Integral) or value < 1:
        raise ValueError(f"{name} is {value!r}; it must be a whole number, at least 1")
