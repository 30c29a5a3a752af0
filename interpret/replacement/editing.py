"""What may be changed in a prompt, and whether what comes of it is a prompt: words, and their texts tokenized anew."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from typing import NamedTuple

from interpret.question.region import Region, positions_in
from interpret.results.totals import message_numbers, word_numbers
from nexttoken import NextTokenLM, Prompt

FRAGMENT = "\ufffd"  # what stands for a part of a character


@dataclass(frozen=True)
class Word:
    """What is changed or taken away at once: a word with its leading space, a mark, a digit.

    Attributes:
        places: of its tokens in the prompt.
        text: the exact characters.
        start: of the first of them in the prompt's text.
        message: the chat message it is of; None in other prompts.
    """

    places: tuple[int, ...]
    text: str
    start: int
    message: int | None

    @property
    def end(self) -> int:
        """The character after its last one."""
        return self.start + len(self.text)


class Edited(NamedTuple):
    """A changed prompt: its ids, as `lm.tokens` gives them, its text, and what stands in place of each changed word."""

    row: list[int]
    text: str
    words: dict[int, str]


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

    Attributes:
        words: in the order of the text; digits of a number each on its own.
        whole: the same with numbers as one word.

    Raises:
        ValueError: nothing in the prompt may be changed, or the part to be ignored is not there.
    """

    def __init__(self, lm: NextTokenLM, prompt: Prompt, ignore: Region | None = None):
        self.lm, self.prompt = lm, prompt
        kept = set() if ignore is None else set(positions_in(ignore, prompt))
        self.row = lm.tokens(prompt)["input_ids"][0].tolist()
        with quiet():
            self.by_text = self.rewritten([piece.text for piece in prompt.pieces]) == self.row
        self.words = self._words(kept, numbers=False)
        self.whole = self._words(kept, numbers=True)
        self._texts: dict[int, str] = {}
        if not self.words:
            raise ValueError(
                "there is no word in the prompt that may be changed: all of it is template, or is to be ignored"
            )

    def _words(self, kept: set[int], numbers: bool) -> tuple[Word, ...]:
        pieces = self.prompt.pieces
        texts = [piece.text for piece in pieces]
        of_message = message_numbers(texts, self.prompt.messages)
        starts = [0]
        for piece in pieces:
            starts.append(starts[-1] + len(piece.text))
        characters = not numbers and all(len(piece.text) <= 1 for piece in pieces)
        sections = word_numbers(texts) if self.by_text and not characters else range(len(pieces))

        def is_fixed(place: int) -> bool:
            piece = pieces[place]
            return piece.template or not piece.text or bool(kept & set(piece.positions))

        def key(place: int) -> tuple[object, ...]:
            digit = not numbers and any(character.isdigit() for character in pieces[place].text)
            return sections[place], of_message[place], is_fixed(place), place if digit else -1, self._in_source(place)

        words = []
        for _, group in groupby(range(len(pieces)), key):
            own = list(group)
            if not is_fixed(own[0]):
                places = tuple(place for each in own for place in pieces[each].positions)
                text = "".join(pieces[each].text for each in own)
                words.append(Word(places, text, starts[own[0]], of_message[own[0]]))
        return tuple(words)

    def _in_source(self, piece: int) -> bool:
        source = self.prompt.source
        return source is not None and self.prompt.pieces[piece].positions[0] < source

    @cached_property
    def usable(self) -> frozenset[int]:
        """Ids that may be written into a prompt: those that stand for text."""
        return frozenset(range(self.lm.vocab.size())) - self.lm.vocab.special_ids

    def text_of(self, token_id: int) -> str:
        """The text of a token as it stands inside a text."""
        if token_id not in self._texts:
            self._texts[token_id] = self.lm.vocab.token_text(token_id)
        return self._texts[token_id]

    def edited(self, edits: Mapping[int, int]) -> Edited | None:
        """The prompt with some words, by number, replaced by one token each.

        None where it is no prompt: the tokenizer would write its text with other ids, or a token is no text. A word
        gives way to a word, a number to a number and a mark to a mark, with a space before it if there was one.
        """
        if not edits.keys() <= set(range(len(self.words))) or not set(edits.values()) <= self.usable:
            return None
        texts = {number: self._standing(number, token_id) for number, token_id in edits.items()}
        if self.by_text and not all(_alike(self.words[number], text) for number, text in texts.items()):
            return None
        row = self._row_of({self.words[number].places: [token_id] for number, token_id in edits.items()})
        whole = self._whole({self.words[number]: text for number, text in texts.items()})
        return Edited(row, "".join(whole), texts) if not self.by_text or self.rewritten(whole) == row else None

    def _standing(self, number: int, token_id: int) -> str:
        """The text of a token in place of a word: some tokenizers add a space before a text that begins without one."""
        word, text = self.words[number], self.text_of(token_id)
        return text.removeprefix(" ") if word.start == 0 and not word.text.startswith(" ") else text

    def without(self, words: Sequence[Word]) -> tuple[list[int], str] | None:
        """The prompt without some words, tokenized anew: its ids and its text. None where nothing would be left."""
        if not self.by_text:
            row = self._row_of({word.places: [] for word in words})
            gone = self._whole(dict.fromkeys(words, ""))
            return (row, "".join(gone)) if row else None
        texts = self._whole(dict.fromkeys(words, ""))
        self._close_up(texts, words)
        row_or_none = self.rewritten(texts)
        return None if row_or_none is None else (row_or_none, "".join(texts))

    def _close_up(self, texts: list[str], gone: Sequence[Word]) -> None:
        """Take away the space before the first word left where the first of the text, or of the message, had none."""
        lost = {word.start for word in gone}
        for _, group in groupby(self.whole, lambda word: (word.message, self._side(word))):
            words = list(group)
            left = [word for word in words if word.start not in lost]
            if left and left[0] is not words[0] and not words[0].text.startswith(" "):
                number = self._piece_at(left[0].places[0])
                texts[number] = texts[number].removeprefix(" ")

    def _side(self, word: Word) -> bool:
        return self.prompt.source is not None and word.places[0] < self.prompt.source

    def _piece_at(self, place: int) -> int:
        return next(number for number, piece in enumerate(self.prompt.pieces) if place in piece.positions)

    def _row_of(self, changed: Mapping[tuple[int, ...], list[int]]) -> list[int]:
        """The ids with the tokens at some places replaced."""
        first = {places[0]: ids for places, ids in changed.items()}
        gone = {place for places in changed for place in places}
        row: list[int] = []
        for place, token_id in enumerate(self.row):
            row += first.get(place, [] if place in gone else [token_id])
        return row

    def _whole(self, changed: Mapping[Word, str]) -> list[str]:
        """The texts of all pieces, some words replaced: each by a text that stands in the place of its first piece."""
        first = {word.places[0]: text for word, text in changed.items()}
        gone = {place for word in changed for place in word.places}
        texts = []
        for piece in self.prompt.pieces:
            place = piece.positions[0]
            texts.append(first.get(place, "" if place in gone else piece.text))
        return texts

    def rewritten(self, texts: Sequence[str]) -> list[int] | None:
        """The ids that the tokenizer makes of the texts of the pieces; None where it can't."""
        prompt = self.prompt
        try:
            if prompt.messages:
                ids = self.lm.vocab.encode("".join(texts), add_special_tokens=False).ids
                start = [] if prompt.start_token is None else [prompt.start_token]
                return [*start, *ids]
            if prompt.source is None:
                whole = self.lm.prompt("".join(texts), prompt.start_token)
            else:
                sides: list[list[str]] = [[], []]
                for text, piece in zip(texts, prompt.pieces, strict=True):
                    sides[piece.positions[0] > prompt.source].append(text)
                whole = self.lm.prompt(("".join(sides[0]), "".join(sides[1])), prompt.start_token)
            return list(map(int, self.lm.tokens(whole)["input_ids"][0].tolist()))
        except ValueError:
            return None

    def as_prompt(self, row: Sequence[int], text: str) -> Prompt:
        """A changed prompt to be run: its ids and text are right, its pieces those of the original."""
        ids, source = list(row), self.prompt.source
        if source is not None:  # the decoder's start is marked in a row
            at = ids.index(self.row[source])
            ids[at], source = self.prompt.ids[source], at
        return replace(self.prompt, ids=tuple(ids), text=text, source=source)

    def messages_of(self, text: str, row: Sequence[int]) -> tuple[dict[str, str], ...]:
        """A changed chat as messages; none where the template does not write them so."""
        old, changed = self.prompt.text, []
        if not self.prompt.messages:
            return ()
        # What stands between the messages is the template's, which is the same in both.
        begin, at = 0, 0
        for number, message in enumerate(self.prompt.messages):
            between = old[begin : message.start]
            after_end = self.prompt.messages[number + 1].start if number + 1 < len(self.prompt.messages) else len(old)
            closing = old[message.end : after_end]
            at += len(between)
            until = text.find(closing, at) if closing else len(text)
            if until < 0:
                return ()
            changed.append({"role": message.role, "content": text[at:until]})
            begin, at = message.end, until
        try:
            with quiet():
                again = self.lm.prompt(changed, self.prompt.start_token)
        except ValueError:
            return ()
        return tuple(changed) if list(again.ids) == list(row) else ()


def _alike(word: Word, text: str) -> bool:
    """Whether a text is of the kind of a word, with no part of a character in it."""
    if FRAGMENT in text or not text.isprintable() or _kind(text) != _kind(word.text):
        return False
    return text.startswith(" ") == word.text.startswith(" ")


def _kind(text: str) -> str:
    """Whether a text begins with a letter, a digit or a mark, or is all spaces."""
    first = text.strip()[:1]
    return "letters" if first.isalpha() else "digits" if first.isdigit() else "marks" if first else "spaces"


@contextmanager
def quiet() -> Iterator[None]:
    """Within this context, nothing is warned of: what is tried out is nobody's prompt."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
