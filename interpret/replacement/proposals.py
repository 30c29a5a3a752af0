"""Which words are tried at each place: the model's own next words there, those of first order, and random ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import cycle

import torch
from jaxtyping import Float
from torch import Tensor

from interpret.engine.alternatives import predictions, text_of
from interpret.engine.evaluate import gradients
from interpret.engine.objective import Objective
from interpret.methods.baselines import every_embedding
from interpret.replacement.editing import Editing, Word

TURNS = ("own", "own", "gradient", "random")  # whose turn it is, over and over
DRAWS = 256  # random tokens looked at for a place, until one makes a prompt
TRIED = 4  # words looked at for each that is wanted, since not every word makes a prompt


def proposals(
    objective: Objective, editing: Editing, numbers: Sequence[int], count: int, generator: torch.Generator
) -> dict[int, list[int]]:
    """Up to `count` token ids for each of some words, each of which makes a prompt; in turn from three proposers.

    The model's own are the most probable next tokens after what stands before the word. Those of first order lower the
    objective most where its gradient at the prompt is taken for the whole truth (Ebrahimi et al. 2018,
    arXiv:1712.06751), of which they are a poor guide in a modern model; random ones are drawn from the vocabulary.
    Costs one gradient, and what `predictions` takes.
    """
    words = {number: editing.words[number] for number in numbers}
    wanted = TRIED * count
    own = own_words(objective, list(words.values()), wanted)
    first_order = _first_order(objective, list(words.values()), wanted)
    vocabulary = text_of(objective).lm.vocab.size()
    found: dict[int, list[int]] = {}
    for number, word in words.items():
        drawn = torch.randint(vocabulary, (wanted,), generator=generator).tolist()
        sources = {
            "own": iter([token_id for token_id, _ in own[word.places[0]]]),
            "gradient": iter(first_order[word.places[0]]),
            "random": iter(drawn),
        }
        kept: dict[int, None] = {}
        present = editing.row[word.places[0]] if len(word.places) == 1 else None
        for token_id in _in_turn(sources):
            if len(kept) == count:
                break
            if token_id not in kept and token_id != present and editing.edited({number: token_id}) is not None:
                kept[token_id] = None
        found[number] = list(kept)
    return found


def own_words(objective: Objective, words: Sequence[Word], count: int) -> dict[int, list[tuple[int, float]]]:
    """The most probable tokens at the first place of each word, with their probabilities; none where nothing is said.

    The likeliest come first; what stands there is among them.
    """
    asked = {word.places[0] for word in words}
    found: dict[int, list[tuple[int, float]]] = {place: [] for place in asked}
    for places, rows in predictions(text_of(objective), objective.counts):
        for place, row in zip(places, rows, strict=True):
            if place in asked:
                best = row.softmax(-1).topk(min(count, len(row)))
                found[place] = list(zip(best.indices.tolist(), best.values.tolist(), strict=True))
    return found


def _first_order(objective: Objective, words: Sequence[Word], count: int) -> dict[int, list[int]]:
    """The tokens whose embeddings lower the objective most by its gradient, at the first place of each word."""
    gradient = gradients(objective, objective.x[None])[1][0]
    column = {place: number for number, place in enumerate(objective.positions)}
    embeddings: Float[Tensor, "vocab dim"] = every_embedding(objective, proposals).to(gradient)
    found = {}
    for word in words:
        gains = embeddings @ gradient[column[word.places[0]]]
        found[word.places[0]] = gains.topk(min(count, len(gains)), largest=False).indices.tolist()
    return found


def _in_turn(sources: dict[str, Iterator[int]]) -> Iterator[int]:
    """The ids of some sources, as TURNS says; of those that have some left, once others are empty."""
    left = set(sources)
    for turn in cycle(TURNS):
        if not left:
            return
        if turn in left:
            token_id = next(sources[turn], None)
            if token_id is None:
                left.discard(turn)
            else:
                yield token_id


def random_edits(
    editing: Editing, count: int, trials: int, generator: torch.Generator
) -> list[tuple[dict[int, int], list[int]]]:
    """Some prompts with `count` words replaced by random ones, with their ids; fewer where few of them are prompts."""
    found, vocabulary = list[tuple[dict[int, int], list[int]]](), sorted(editing.usable)

    def drawn(number: int) -> int | None:
        places = torch.randint(len(vocabulary), (DRAWS,), generator=generator).tolist()
        ids = (vocabulary[place] for place in places)
        return next((token_id for token_id in ids if editing.edited({number: token_id}) is not None), None)

    for _ in range(TRIED * trials):
        numbers = torch.randperm(len(editing.words), generator=generator)[:count].tolist()
        edits = {number: token_id for number in numbers if (token_id := drawn(number)) is not None}
        made = editing.edited(edits) if len(edits) == count else None
        if made is not None:
            found.append((edits, made.row))
        if len(found) == trials:
            break
    return found


def probabilities(objective: Objective, asked: set[tuple[int, int]]) -> dict[tuple[int, int], float]:
    """How likely the model finds some tokens (place, id) after what stands before; without those it says nothing of."""
    found = {}
    for places, rows in predictions(text_of(objective), objective.counts):
        for place, row in zip(places, rows, strict=True):
            ids = [token_id for at, token_id in asked if at == place]
            shares = row.softmax(-1)[ids].tolist() if ids else []
            found.update({(place, token_id): share for token_id, share in zip(ids, shares, strict=True)})
    return found
