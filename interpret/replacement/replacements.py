"""What else might stand in a prompt, and what the objective becomes with it: of one word, or of many at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from interpret.engine.alternatives import alternatives, text_of, values_with_words
from interpret.engine.evaluate import read_next_tokens
from interpret.engine.objective import Objective
from interpret.engine.run import Counts, Run
from interpret.question.quantity import LOG_PROBABILITY
from interpret.question.region import positions_in
from interpret.replacement.editing import Editing
from interpret.replacement.proposals import TRIED, own_words, probabilities
from interpret.results.counterfactual import Replacement, Replacements
from nexttoken import NextTokenLM, Target

ALTERNATIVES = 50  # words at a place, the likeliest


def values_with_alternatives(
    objective: Objective,
    groups: Sequence[Sequence[int]],
    masks: Sequence[Sequence[int]],
    generator: torch.Generator,
) -> list[float]:
    """F with some tokens replaced by words drawn from what else might stand there, in the model's own view.

    Costs a forward pass for each mask, and those of `alternatives`.

    Args:
        objective: F, of a model and a prompt; every token of the groups must be one that moves.
        groups: the places in the prompt of tokens that are replaced together.
        masks: for each value, which of the groups are replaced; the words are drawn for each mask anew.
        generator: of the draws.

    Raises:
        ValueError: an objective without a model.
    """
    text, found = text_of(objective), alternatives(objective, ALTERNATIVES)
    columns = {position: column for column, position in enumerate(text.attributed)}
    replaced = torch.zeros(len(masks), len(columns), dtype=torch.bool)
    for row, mask in enumerate(masks):
        replaced[row, [columns[position] for group in mask for position in groups[group]]] = True
    drawn = found.draw(len(masks), text.lm.vocab.size(), generator)
    words = torch.where(replaced, drawn, torch.tensor([text.prompt.ids[position] for position in columns]))
    return values_with_words(objective, words).tolist()


def replacement_facts(
    lm: NextTokenLM, editing: Editing, place: int | str, count: int, target: Target, run: Run
) -> Replacements:
    """The words that the model finds most probable at a place, each with what F becomes with it there.

    Args:
        lm: the model.
        editing: what may be changed in the prompt.
        place: of a token, or an expression that matches in one word.
        count: how many words, at most.
        target: what F is about, with its foils.
        run: memory, progress and counts.

    Raises:
        ValueError: a place that is no word that may be changed, or of which the model says nothing.
    """
    prompt, number = editing.prompt, _word_at(editing, place)
    word = editing.words[number]
    objective, counts = Objective.of(lm, prompt, target, run=run), Counts()
    own, kept = own_words(objective, [word], TRIED * count)[word.places[0]], list[tuple[int, str, float]]()
    rows = [list(editing.row)]
    if not own:
        raise ValueError(
            f"the model says nothing of what might stand in place of {word.text!r}: nothing stands before it; give "
            "start=True to put a start token in front"
        )
    present = editing.row[word.places[0]]
    for token_id, share in own:
        made = None if [token_id] == [present] * len(word.places) else editing.edited({number: token_id})
        if made is not None and len(kept) < count:
            kept.append((token_id, made.words[number], share))
            rows.append(made.row)

    def read(logits: Float[Tensor, "row vocab"]) -> Float[Tensor, "row 2"]:
        return torch.stack([LOG_PROBABILITY.function(logits, target), logits.argmax(-1).to(logits)], -1)

    (whole, _), *found = read_next_tokens(lm, rows, read, prompt, run, counts).tolist()
    return Replacements(
        old=word.text,
        position=word.places[0],
        start=word.start,
        probability=probabilities(objective, {(word.places[0], present)})[word.places[0], present],
        rows=tuple(
            Replacement(text, token_id, share, value, whole - value, editing.text_of(int(first)))
            for (token_id, text, share), (value, first) in zip(kept, found, strict=True)
        ),
        target=target,
        value=whole,
        original=prompt.text,
        forwards=objective.counts.forwards + counts.forwards,
    )


def _word_at(editing: Editing, place: int | str) -> int:
    """The number of the word at a place. Raises ValueError unless it is one that may be changed."""
    prompt = editing.prompt
    if isinstance(place, str):
        wanted = set(positions_in(place, prompt))
    else:
        if not -len(prompt) <= place < len(prompt):
            raise ValueError(f"the place is {place}, and the prompt has {len(prompt)} tokens")
        wanted = {place % len(prompt)}
    found = [number for number, word in enumerate(editing.words) if wanted & set(word.places)]
    if len(found) != 1:
        words = ", ".join(repr(editing.words[number].text) for number in found) or "nothing that may be changed"
        raise ValueError(f"the place {place!r} is {words}; it must be one word of the prompt that may be changed")
    return found[0]


def spearman(one: Float[Tensor, "*row item"], other: Float[Tensor, "*row item"]) -> Float[Tensor, "*row"]:
    """Spearman's rank correlation along the last axis; 0 where all of one side are equal. Ties share a rank."""

    def ranks(numbers: Tensor) -> Tensor:
        pairs = numbers[..., :, None] - numbers[..., None, :]
        found = (pairs > 0).double().sum(-1) + 0.5 * (pairs == 0).double().sum(-1)
        return found - found.mean(-1, keepdim=True)

    one, other = ranks(one), ranks(other)
    norm = (one.square().sum(-1) * other.square().sum(-1)).sqrt()
    return torch.where(norm > 0, (one * other).sum(-1) / norm.clamp_min(1e-12), 0.0)
