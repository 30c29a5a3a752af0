"""The entry points for claims about other prompts: flips, reductions and replacements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import log
from numbers import Integral

from interpret.build import versions
from interpret.engine.run import Run, interruptible
from interpret.question.quantity import next_logits
from interpret.question.region import Region
from interpret.replacement.editing import Editing, quiet
from interpret.replacement.flip import Aim, Search, flip_facts
from interpret.replacement.reduce import Reducing, reduction_facts
from interpret.replacement.replacements import replacement_facts
from interpret.results.counterfactual import Flip, Reduction, Replacements
from nexttoken import NextTokenLM, Prompt, Target
from nexttoken.text.prompt import PromptLike, Start
from nexttoken.text.target import TokenLike, one_token

Foils = TokenLike | Sequence[TokenLike] | None


def flip(
    lm: NextTokenLM,
    prompt: PromptLike,
    target: TokenLike | None = None,
    *,
    to: TokenLike | None = None,
    contrast: Foils = None,
    max_edits: int = 3,
    beam: int = 4,
    candidates: int = 32,
    seed: int = 0,
    ignore: Region | None = None,
    start: Start = None,
    memory_budget: int | None = None,
    on_progress: Callable[[int], object] | None = None,
) -> Flip:
    """Find the smallest change of words after which the model's choice is another one.

    At every word (of a prompt of more than 24 words, at those that its map scores highest), candidates come from three
    proposers: the model's own next words there, the words that lower the margin most by its gradient, and random ones.
    Every candidate is verified by a forward pass; more than one edit is searched with a beam over the margin. A changed
    prompt counts only if its ids are what the tokenizer makes of its text; the template and a start token stay. What is
    found is minimised: no edit can be taken back. That no smaller change exists is not claimed.

    The margin says in nats how far a prompt is from what is asked: log p(target) less that of the likeliest other
    token; with `to`, log p of the likeliest other token less that of `to`; with foils, log p(target) less that of the
    likeliest of them. Below 0 it is there.

    The plain algorithm with the gradient alone is HotFlip (Ebrahimi et al. 2018, arXiv:1712.06751); see docs/flips.md
    for how the two compare.

    Args:
        lm: the model; it comes back as it was, after errors too.
        prompt: as for `attribute`.
        target: the next token that the model says now; None for its first choice.
        to: what its first choice is to become; None for any other than the target.
        contrast: a foil, or several, one of which the model is to prefer to the target, whatever its first choice is.
        max_edits: the largest number of words to change.
        beam: how many prompts with some edits are gone on with.
        candidates: how many words are tried at each place.
        seed: of what is drawn: the random candidates, and the control.
        ignore: a part of the prompt that stays as it is, as a `region` of `attribute`.
        start: as for `attribute`.
        memory_budget: as for `attribute`.
        on_progress: called with the number of passes just done; an exception that it raises cancels the search.

    Returns:
        A Flip. That nothing was found is an answer: `found` is False, and `closest` says what came closest. Costs at
        most 24 x `candidates` forward passes for one edit and 512 for each further one, 32 for the control, and two
        gradients.

    Raises:
        ValueError: as for `attribute`; both `to` and `contrast`; a number below 1; nothing that may be changed.
    """
    for name, value in (("max_edits", max_edits), ("beam", beam), ("candidates", candidates)):
        _check_count(name, value)
    if to is not None and contrast is not None:
        raise ValueError(
            "to and contrast ask for different things: to is the first choice, contrast is preferred to it"
        )
    run = Run.of(memory_budget=memory_budget, on_progress=on_progress)
    encoded = lm.prompt(prompt, start)
    aim = _aim(lm, encoded, target, to, contrast)
    search = Search(lm, encoded, aim, Editing(lm, encoded, ignore), run, seed)
    settings = {"max_edits": max_edits, "beam": beam, "candidates": candidates, "seed": seed}
    with quiet(), interruptible():
        found, closest = search.found(max_edits, beam, candidates)
        facts = flip_facts(search, found, closest, max_edits)
    return replace(facts, facts_of={"model": lm.name, **settings, "versions": versions()})


def reduce_input(
    lm: NextTokenLM,
    prompt: PromptLike,
    target: TokenLike | None = None,
    *,
    keep: str | float = "first",
    beam: int = 3,
    start: Start = None,
    memory_budget: int | None = None,
    on_progress: Callable[[int], object] | None = None,
) -> Reduction:
    """Find the shortest part of a prompt for which the model still says the same.

    Words are deleted and the text tokenized anew; a chat's template stays. Every step is verified by a forward pass.
    Of each number of words, the `beam` parts that keep it best are gone on with (Feng et al. 2018, arXiv:1804.07781,
    delete the word that the gradient scores lowest); of a prompt of more than 24 words, blocks are tried before words.

    Args:
        lm: the model; it comes back as it was, after errors too.
        prompt: as for `attribute`.
        target: the next token that is to be said still; None for the model's first choice.
        keep: "first" if it has to stay the first choice, or the least share of its probability, from 0 to 1.
        beam: how many parts are gone on with.
        start: as for `attribute`.
        memory_budget: as for `attribute`.
        on_progress: as for `flip`.

    Returns:
        A Reduction, in which every word that is left is needed. Costs a forward pass for each part that is tried: for
        n words up to `beam` x n² / 2 of them, on texts that become shorter.

    Raises:
        ValueError: as for `attribute`; a target that is not the first choice, with `keep="first"`; another `keep`.
    """
    _check_count("beam", beam)
    if keep != "first" and (isinstance(keep, str | bool) or not 0 < keep <= 1):
        raise ValueError(f"keep is {keep!r}; it must be 'first', or a share of the probability, above 0 and at most 1")
    run = Run.of(memory_budget=memory_budget, on_progress=on_progress)
    encoded = lm.prompt(prompt, start)
    logits = next_logits(lm, encoded, [len(encoded) - 1])[0]
    asked = Target.of(target, encoded, lm.vocab, logits)
    least = None if isinstance(keep, str) else float(logits.log_softmax(-1)[asked.id]) + log(keep)
    if keep == "first" and asked.rank > 1:
        first = Target.of(None, encoded, lm.vocab, logits)
        raise ValueError(
            f"{asked.text!r} is not the model's first choice, which is {first.text!r}; leave out the target, or "
            "give keep=0.5 to keep half of its probability"
        )
    editing = Editing(lm, encoded)
    with quiet(), interruptible():
        search = Reducing(lm, encoded, asked.id, least, editing, run)
        facts = reduction_facts(search, search.shortest(beam), keep)
    return replace(facts, facts_of={"model": lm.name, "beam": beam, "versions": versions()})


def replacements(
    lm: NextTokenLM,
    prompt: PromptLike,
    place: int | str,
    k: int = 10,
    target: TokenLike | None = None,
    *,
    contrast: Foils = None,
    start: Start = None,
    memory_budget: int | None = None,
    on_progress: Callable[[int], object] | None = None,
) -> Replacements:
    """Say what else might stand at a place of a prompt, and what it would change, exactly.

    Args:
        lm: the model; it comes back as it was.
        prompt: as for `attribute`.
        place: of a token in the prompt, whose word is replaced; or the word, as a regular expression that matches in
            one word only.
        k: how many words: those that the model itself finds most probable there, without the one that stands there.
            Each is one token, and makes a prompt that the tokenizer writes so.
        target: the next token that F is about; None for the model's first choice.
        contrast: a foil, or several: then F is log p(target) - log p(foils).
        start: as for `attribute`.
        memory_budget: as for `attribute`.
        on_progress: as for `flip`.

    Returns:
        Replacements: a sequence of words with their probability, F with them and the model's first choice then. Costs
        k forward passes and two more.

    Raises:
        ValueError: as for `attribute`; a place that is no word of the prompt that may be changed, or of which the model
            says nothing.
    """
    _check_count("k", k)
    run = Run.of(memory_budget=memory_budget, on_progress=on_progress)
    encoded = lm.prompt(prompt, start)
    logits = next_logits(lm, encoded, [len(encoded) - 1])[0]
    asked = Target.of(target, encoded, lm.vocab, logits, contrast)
    with quiet(), interruptible():
        facts = replacement_facts(lm, Editing(lm, encoded), place, k, asked, run)
    return replace(facts, facts_of={"model": lm.name, "versions": versions()})


def _aim(lm: NextTokenLM, prompt: Prompt, target: TokenLike | None, to: TokenLike | None, contrast: Foils) -> Aim:
    logits = next_logits(lm, prompt, [len(prompt) - 1])[0]
    asked = Target.of(target, prompt, lm.vocab, logits, contrast)
    wanted = None if to is None else one_token(to, prompt, lm.vocab, logits.softmax(-1))
    if wanted == asked.id:
        raise ValueError(f"the target and what it is to become are the same token, {asked.text!r}")
    return Aim(asked.id, wanted, tuple(foil.id for foil in asked.foils))


def _check_count(name: str, value: int) -> None:
    if not isinstance(value, Integral) or value < 1:
        raise ValueError(f"{name} is {value!r}; it must be a whole number, at least 1")
