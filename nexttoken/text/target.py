"""The target: the next token that is asked about, how the model rates it, and what it is contrasted with."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, SupportsIndex

from jaxtyping import Float

from nexttoken.text.prompt import Prompt, ending
from nexttoken.text.vocabulary import Vocabulary, unicode

if TYPE_CHECKING:
    from torch import Tensor
else:
    Tensor = Any  # a target is plain data: a saved result is read where torch is never loaded

PIECES_BEFORE = 8  # that a target is tokenized with, where the whole prompt cannot be
TokenLike = str | SupportsIndex  # a token as text or as id


@dataclass(frozen=True)
class Target:
    """A next token that is asked about, and how the model rates it.

    Attributes:
        text: the token as text.
        id: its token id.
        probability: the model's probability of it as the next token.
        rank: 1 plus the number of tokens that are more probable.
        foils: the tokens it is contrasted with; empty where the target alone is explained.
        following: for a continuation of several tokens, those after the first, each rated after those before it.
    """

    text: str
    id: int
    probability: float
    rank: int
    foils: tuple[Target, ...] = ()
    following: tuple[Target, ...] = ()

    @property
    def continuation(self) -> tuple[Target, ...]:
        """The target and the tokens that follow it, in order; one token for a target of one."""
        return (self, *self.following)

    @classmethod
    def of_continuation(cls, ids: Sequence[int], vocab: Vocabulary, logits: Float[Tensor, "position vocab"]) -> Target:
        """Several tokens in a row, each rated by its own row of logits. Raises ValueError for none or an unknown id."""
        if not ids:
            raise ValueError("the target has no tokens; give at least one")
        vocab.check(ids)
        first, *following = (cls.rated(token_id, vocab, each) for token_id, each in zip(ids, logits, strict=True))
        return replace(first, following=tuple(following))

    @classmethod
    def rated(cls, token_id: int, vocab: Vocabulary, logits: Float[Tensor, " vocab"]) -> Target:
        """A token as the model rates it, by a softmax in float32."""
        probabilities = logits.detach().float().softmax(-1)
        probability = probabilities[token_id]
        rank = int((probabilities > probability).sum()) + 1
        return cls(vocab.token_text(token_id), token_id, float(probability), rank)

    @classmethod
    def of(
        cls,
        target: TokenLike | None,
        prompt: Prompt,
        vocab: Vocabulary,
        logits: Float[Tensor, " vocab"],
        contrast: TokenLike | Sequence[TokenLike] | None = None,
    ) -> Target:
        """Resolve a target: text as it would stand after the prompt, a token id, or None for the model's first choice.

        The contrast, one foil or several, is resolved in the same way. Raises ValueError for a target that is not
        exactly one token there, is not in the vocabulary, or equals its foil.
        """
        probabilities = logits.detach().float().softmax(-1)
        several = isinstance(contrast, Sequence) and not isinstance(contrast, str)
        foils: Any = contrast if several else () if contrast is None else (contrast,)
        chosen = int(logits.argmax()) if target is None else one_token(target, prompt, vocab, probabilities)
        others = tuple(dict.fromkeys(one_token(foil, prompt, vocab, probabilities) for foil in foils))
        if chosen in others:
            raise ValueError(
                f"the target and its contrast are the same token, {vocab.decode([chosen])!r}; their difference is 0"
            )
        return replace(cls.rated(chosen, vocab, logits), foils=tuple(cls.rated(each, vocab, logits) for each in others))


def one_token(target: TokenLike, prompt: Prompt, vocab: Vocabulary, probabilities: Float[Tensor, " vocab"]) -> int:
    """The id of a target that is one token after the prompt; ValueError says what its pieces are if it is not."""
    if not isinstance(target, str):
        return vocab.one_id(target)
    if target == "":
        raise ValueError("the target is empty; give one token, or none for the model's own first choice")
    ids = ids_after(target, prompt, vocab)
    before = prompt.continued.text
    spaced: tuple[int, ...] = ()
    if target[0].isalnum() and before and not before.endswith(" "):
        with warnings.catch_warnings(), contextlib.suppress(ValueError):  # where there are no spaces
            warnings.simplefilter("ignore")  # it is not what was asked about
            spaced = ids_after(" " + target, prompt, vocab)
    if len(ids) != 1:
        pieces = ", ".join(repr(vocab.token_text(token_id)) for token_id in ids)
        hint = ""
        if len(spaced) == 1:
            hint = f"; with its leading space it is one, {' ' + target!r} (p = {float(probabilities[spaced[0]]):.2g})"
        raise ValueError(
            f"target {target!r} is {len(ids)} tokens after this prompt ({pieces}){hint}; pass one of them, or all of "
            f"them in a list, [{pieces}], to explain the continuation"
        )
    if len(spaced) == 1 and probabilities[spaced[0]] > probabilities[ids[0]]:
        warnings.warn(
            f"target {target!r} has no leading space and follows {ending(before)!r} directly "
            f"(p = {float(probabilities[ids[0]]):.2g}); for the next word write {' ' + target!r} "
            f"(p = {float(probabilities[spaced[0]]):.2g})",
            stacklevel=2,
        )
    return ids[0]


def continuation_ids(target: str | Sequence[TokenLike], prompt: Prompt, vocab: Vocabulary) -> tuple[int, ...]:
    """The ids of tokens that follow the prompt in a row, given as one text or as a list of tokens.

    Raises ValueError if there are none, or if the texts in the list are not the tokens they stand for together.
    """
    if not isinstance(target, str | Sequence):
        raise ValueError(f"the continuation is {target!r}; it must be a text or a list of tokens")
    if isinstance(target, str):
        ids = ids_after(target, prompt, vocab) if target else ()
    elif all(isinstance(token, str) for token in target):
        texts = [str(token) for token in target]
        ids = ids_after("".join(texts), prompt, vocab) if target else ()
        pieces = [vocab.token_text(token_id) for token_id in ids]
        if pieces != texts:
            raise ValueError(f"{texts} is not how these tokens stand after the prompt, which is {pieces}")
    else:
        ids = tuple(vocab.one_id(token) for token in target)
    if not ids:
        raise ValueError("the continuation is empty; give at least one token")
    vocab.check(ids)
    return ids


def ids_after(target: str, prompt: Prompt, vocab: Vocabulary) -> tuple[int, ...]:
    """The ids of a text, tokenized as it would stand after the prompt.

    Where the tokenizer would join the two across their border, the text is tokenized alone, with a warning.
    """
    prompt = prompt.continued
    text, ids = prompt.text, prompt.ids
    for special in (True, False):
        joined = vocab.encode(text + unicode(target), special).ids
        if joined[: len(ids)] == ids and len(joined) > len(ids):
            return joined[len(ids) :]
    if ids in (vocab.encode(text).ids, vocab.encode(text, add_special_tokens=False).ids):
        if not text.endswith(" "):
            warnings.warn(
                f"together, {ending(text)!r} and {target!r} are tokenized otherwise than apart, so the model has "
                "hardly ever seen this target there; end the prompt where a word ends",
                stacklevel=2,
            )
        return vocab.encode(target, add_special_tokens=False).ids
    # The prompt was given as ids, or its tokenizer writes control tokens in chats alone: after its last pieces.
    for count in range(min(PIECES_BEFORE, len(prompt.pieces)), 0, -1):
        pieces = prompt.pieces[-count:]
        last = tuple(ids[at] for piece in pieces for at in piece.positions)
        joined = vocab.encode("".join(piece.text for piece in pieces) + target, add_special_tokens=False).ids
        if joined[: len(last)] == last and len(joined) > len(last):
            return joined[len(last) :]
    return vocab.encode(target, add_special_tokens=False).ids
