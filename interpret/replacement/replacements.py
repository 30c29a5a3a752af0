"""Which words might stand in a prompt: the model's own, those of first order, and random ones; and what they change."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from itertools import chain, islice, zip_longest

import torch
from jaxtyping import Float
from torch import Tensor

from interpret.engine.alternatives import predictions, text_of
from interpret.engine.evaluate import gradients, read_next_tokens
from interpret.engine.objective import Objective
from interpret.engine.run import Run, interruptible
from interpret.methods.baselines import every_embedding
from interpret.question.quantity import LOG_PROBABILITY, next_logits
from interpret.question.region import positions_in
from interpret.replacement.editing import Editing, check_count, quiet
from interpret.results.counterfactual import Replacement, Replacements
from interpret.results.files import versions
from nexttoken import NextTokenLM, Target
from nexttoken.text.prompt import PromptLike, Start
from nexttoken.text.target import TokenLike

DRAWS = 256  # random tokens looked at for a word, until one makes a prompt
TRIED = 4  # words looked at for each that is wanted, since not every word makes a prompt


def replacements(
    lm: NextTokenLM,
    prompt: PromptLike,
    position: int | str,
    k: int = 10,
    target: TokenLike | None = None,
    *,
    contrast: TokenLike | Sequence[TokenLike] | None = None,
    start: Start = None,
    memory_budget: int | None = None,
    on_progress: Callable[[int], object] | None = None,
) -> Replacements:
    """Say what else might stand at a position of a prompt, and what it would change, exactly.

    Args:
        lm: the model; it comes back as it was.
        prompt: as for `attribute`, and so are `start` and `memory_budget`.
        position: of a token in the prompt, whose word is replaced; or the word, as a regular expression that matches in
            one word only.
        k: how many words: those that the model itself finds most probable there, without the one that stands there.
            Each is one token, and makes a prompt that the tokenizer writes so.
        target: the next token that F is about; None for the model's first choice.
        contrast: a foil, or several: then F is log p(target) - log p(foils).
        on_progress: called with the number of passes just done; an exception that it raises cancels the search.

    Returns:
        Replacements: a sequence of words with their probability, F with them and the model's first choice then. Costs
        k forward passes and two more.

    Raises:
        ValueError: as for `attribute`; a position that is no word of the prompt that may be changed, or at which
            the model predicts nothing.
    """
    check_count("k", k)
    run = Run.of(memory_budget=memory_budget, on_progress=on_progress)
    encoded = lm.prompt(prompt, start)
    asked = Target.of(target, encoded, lm.vocab, next_logits(lm, encoded, [len(encoded) - 1])[0], contrast)

    def read(logits: Float[Tensor, "row vocab"]) -> Float[Tensor, "row 2"]:
        return torch.stack([LOG_PROBABILITY.function(logits, asked), logits.argmax(-1).to(logits)], -1)

    with quiet(), interruptible():
        editing = Editing(lm, encoded)
        number = _word_at(editing, position)
        word, objective = editing.words[number], Objective.of(lm, encoded, asked, run=run)
        first, counts = word.positions[0], objective.counts
        shares = next_words(objective, [first]).get(first)
        if shares is None:
            raise ValueError(
                f"the model predicts nothing in place of {word.text!r}, since nothing stands before it; give "
                "start=True to put a start token in front"
            )
        likeliest = shares.topk(min(TRIED * k, len(shares))).indices.tolist()
        present = editing.row[first]
        others = (each for each in likeliest if each != present or len(word.positions) > 1)
        tried = ((each, editing.edited({number: each})) for each in others)
        kept = list(islice(((each, made) for each, made in tried if made is not None), k))
        rows = [editing.row, *(made.row for _, made in kept)]
        (whole, _), *found = read_next_tokens(lm, rows, read, encoded, run, counts).tolist()
    return Replacements(
        old=word.text,
        position=first,
        start=word.start,
        probability=float(shares[present]),
        rows=tuple(
            Replacement(made.words[number], each, float(shares[each]), value, whole - value, editing.text_of(int(now)))
            for (each, made), (value, now) in zip(kept, found, strict=True)
        ),
        target=asked,
        value=whole,
        original=encoded.text,
        forwards=counts.forwards,
        facts_of={"model": lm.name, "versions": versions()},
    )


def _word_at(editing: Editing, position: int | str) -> int:
    """The number of the word at a position. Raises ValueError unless it is one that may be changed."""
    prompt = editing.prompt
    if isinstance(position, str):
        wanted = set(positions_in(position, prompt))
    else:
        if not -len(prompt) <= position < len(prompt):
            raise ValueError(f"the position is {position}, and the prompt has {len(prompt)} tokens")
        wanted = {position % len(prompt)}
    found = [number for number, word in enumerate(editing.words) if wanted & set(word.positions)]
    if len(found) != 1:
        words = ", ".join(repr(editing.words[number].text) for number in found) or "nothing that may be changed"
        raise ValueError(f"the position {position!r} is {words}; it must be one word of the prompt that may be changed")
    return found[0]


def next_words(objective: Objective, positions: Collection[int]) -> dict[int, Float[Tensor, " vocab"]]:
    """How likely the model finds each word at some positions, after what stands before; none where it predicts none."""
    return {
        position: row.softmax(-1)
        for several, rows in predictions(text_of(objective), objective.counts)
        for position, row in zip(several, rows, strict=True)
        if position in positions
    }


def proposals(
    objective: Objective, editing: Editing, numbers: Sequence[int], count: int, generator: torch.Generator
) -> dict[int, list[int]]:
    """Up to `count` token ids for each of some words, each of which makes a prompt; in turn from three proposers.

    The model's own, two of four, are the most probable next tokens after what stands before the word. Those of first
    order lower the objective most where its gradient at the prompt is taken for the whole truth (Ebrahimi et al. 2018,
    arXiv:1712.06751), of which they are a poor guide in a modern model; random ones are drawn from the vocabulary.
    Costs one gradient, and what `predictions` takes.
    """
    wanted, vocabulary = TRIED * count, editing.lm.vocab.size()
    first = {number: editing.words[number].positions[0] for number in numbers}
    shares = next_words(objective, set(first.values()))
    gradient = gradients(objective, objective.x[None])[1][0]
    column = {position: number for number, position in enumerate(objective.positions)}
    embeddings: Float[Tensor, "vocab dim"] = every_embedding(objective, proposals).to(gradient)
    found = {}
    for number, position in first.items():
        own = shares[position].topk(min(wanted, vocabulary)).indices.tolist() if position in shares else []
        gains = embeddings @ gradient[column[position]]
        first_order = gains.topk(min(wanted, len(gains)), largest=False).indices.tolist()
        drawn = torch.randint(vocabulary, (wanted,), generator=generator).tolist()
        in_turn = dict.fromkeys(chain.from_iterable(zip_longest(own[::2], own[1::2], first_order, drawn)))
        present = editing.row[position] if len(editing.words[number].positions) == 1 else None
        others = (each for each in in_turn if each is not None and each != present)
        found[number] = list(islice((each for each in others if editing.edited({number: each}) is not None), count))
    return found


def random_edits(editing: Editing, count: int, trials: int, generator: torch.Generator) -> list[list[int]]:
    """The ids of prompts with `count` words replaced by random ones; fewer where few of them are prompts."""
    found, vocabulary = list[list[int]](), sorted(editing.usable)

    def drawn(number: int) -> int | None:
        ids = (vocabulary[at] for at in torch.randint(len(vocabulary), (DRAWS,), generator=generator).tolist())
        return next((token_id for token_id in ids if editing.edited({number: token_id}) is not None), None)

    for _ in range(TRIED * trials):
        numbers = torch.randperm(len(editing.words), generator=generator)[:count].tolist()
        edits = {number: token_id for number in numbers if (token_id := drawn(number)) is not None}
        made = editing.edited(edits) if len(edits) == count else None
        if made is not None:
            found.append(made.row)
        if len(found) == trials:
            break
    return found
