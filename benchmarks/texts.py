"""Prompts of exact lengths, and many of mixed length, cut out of the benchmark's own prompts."""

from __future__ import annotations

import random
from dataclasses import dataclass

from benchmarks.prompts import PROMPTS
from nexttoken import NextTokenLM

KINDS = ("prose", "short", "few-shot and code")
FEWEST_WORDS = 3


@dataclass(frozen=True)
class Text:
    """A prompt and what follows it there, cut between words, so that both are tokenized alike apart and together.

    Attributes:
        prompt: the text that is explained.
        ids: its tokens.
        target: what follows, with the space before it.
        target_ids: its tokens.
    """

    prompt: str
    ids: tuple[int, ...]
    target: str
    target_ids: tuple[int, ...]


def text_of(lm: NextTokenLM, tokens: int, following: int = 1) -> Text:
    """A text of some number of tokens, followed by others. Raises ValueError if there is none."""
    words = " ".join(text for kind in KINDS for text in PROMPTS[kind]).split()
    words *= 1 + 2 * (tokens + following) // len(words)
    for first in range(len(words)):
        prompt = exactly(lm, words[first:], tokens, "")
        target = prompt and exactly(lm, words[first + len(prompt.split()) :], following, " ")
        if prompt and target:
            ids = lm.vocab.encode(prompt + target).ids
            if ids[:tokens] == lm.vocab.encode(prompt).ids and len(ids) == tokens + following:
                return Text(prompt, ids[:tokens], target, ids[tokens:])
    raise ValueError(f"no text of {tokens} and {following} tokens can be cut out of the prompts")


def exactly(lm: NextTokenLM, words: list[str], tokens: int, before: str) -> str:
    """The first of the words, as many as make that number of tokens; empty if no number of them does."""
    least, most = 1, min(tokens, len(words))
    while least <= most:  # more words are never fewer tokens
        middle = (least + most) // 2
        text = before + " ".join(words[:middle])
        found = len(lm.vocab.encode(text).ids)
        if found == tokens:
            return text
        least, most = (middle + 1, most) if found < tokens else (least, middle - 1)
    return ""


def mixed(count: int, seed: int = 0) -> list[str]:
    """Different beginnings of the prompts, of three words and more, in random order."""
    texts = [text.split(" ") for kind, texts in PROMPTS.items() if kind != "chat" for text in texts]
    beginnings = {
        " ".join(words[:length]): None for words in texts for length in range(FEWEST_WORDS, len(words) + 1)
    }  # a dictionary keeps their order
    return random.Random(seed).sample([text for text in beginnings if not text.endswith((" ", "\n"))], count)
