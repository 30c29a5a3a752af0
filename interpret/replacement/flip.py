"""The smallest change of words that changes what a model says: proposed, verified, minimised."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations

import torch
from jaxtyping import Float
from torch import Tensor

from interpret.engine.evaluate import log_likelihoods, read_next_tokens
from interpret.engine.objective import Objective
from interpret.engine.run import Counts, Run, interruptible
from interpret.methods.baselines import PlausibleAlternatives
from interpret.methods.default import default_method
from interpret.methods.gim import GIM
from interpret.methods.gradient_times_input import GradientTimesInput
from interpret.question.quantity import Quantity, lead, next_logits
from interpret.question.region import Region
from interpret.replacement.editing import Edited, Editing, check_count, quiet
from interpret.replacement.replacements import next_words, proposals, random_edits
from interpret.results.counterfactual import Edit, Flip, Preference, RandomEdits
from interpret.results.files import versions
from nexttoken import NextTokenLM, Prompt, Target
from nexttoken.text.prompt import PromptLike, Start
from nexttoken.text.target import TokenLike, one_token

MAX_WORDS = 24  # of a longer prompt that are tried: those that its map scores highest
ROUND = 32  # prompts verified before it is looked whether one of them will do
LATER_ROUNDS = 16  # of prompts with more than one edit, for each number of edits
TRIALS = 32  # of the control
Edits = tuple[tuple[int, int], ...]  # the number of each word, in the order of the text, and the id that replaces it


def flip(
    lm: NextTokenLM,
    prompt: PromptLike,
    target: TokenLike | None = None,
    *,
    to: TokenLike | None = None,
    contrast: TokenLike | Sequence[TokenLike] | None = None,
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
        prompt: as for `attribute`, and so are `start` and `memory_budget`.
        target: the next token that the model says now; None for its first choice.
        to: what its first choice is to become; None for any other than the target.
        contrast: a foil, or several, one of which the model is to prefer to the target, whatever its first choice is.
        max_edits: the largest number of words to change.
        beam: how many of the best prompts get a further edit.
        candidates: how many words are tried at each position.
        seed: of what is drawn: the random candidates, and the control.
        ignore: a part of the prompt that stays as it is, as a `region` of `attribute`.
        on_progress: called with the number of passes just done; an exception that it raises cancels the search.

    Returns:
        A Flip. That nothing was found is an answer: `found` is False, and `closest` says what came closest. Costs at
        most 24 x `candidates` forward passes for one edit and 512 for each further one, 32 for the control, and two
        gradients.

    Raises:
        ValueError: as for `attribute`; both `to` and `contrast`; a number below 1; nothing that may be changed.
    """
    settings = {"max_edits": max_edits, "beam": beam, "candidates": candidates}
    for name, value in settings.items():
        check_count(name, value)
    if to is not None and contrast is not None:
        raise ValueError(
            "to and contrast ask for different things: to is the first choice, contrast is preferred to it"
        )
    run = Run.of(memory_budget=memory_budget, on_progress=on_progress)
    encoded = lm.prompt(prompt, start)
    logits = next_logits(lm, encoded, [len(encoded) - 1])[0]
    asked = Target.of(target, encoded, lm.vocab, logits, contrast)
    wanted = None if to is None else one_token(to, encoded, lm.vocab, logits.softmax(-1))
    if wanted == asked.id:
        raise ValueError(f"the target and what it is to become are the same token, {asked.text!r}")
    editing = Editing(lm, encoded, ignore)
    search = Search(editing, run, asked.id, wanted, [foil.id for foil in asked.foils], seed)
    with quiet(), interruptible():
        found, closest = search.found(max_edits, beam, candidates)
        forwards, edits = search.counts.forwards, found or ()
        made = search.made(edits)
        changed = editing.as_prompt(made)
        return Flip(
            found=found is not None,
            edits=search.as_data(edits),
            original=encoded.text,
            prompt=made.text,
            before=search.preference(logits),
            after=search.preference(next_logits(lm, changed, [len(changed) - 1])[0]),
            to=None if wanted is None else Target.rated(wanted, lm.vocab, logits),
            closest=() if found is not None or closest is None else search.as_data(closest),
            random=search.control(len(edits) or max_edits),
            forwards=forwards,
            messages=editing.messages_of(made),
            facts_of={"model": lm.name, **settings, "seed": seed, "versions": versions()},
        )


class Search:
    """The search for a flip of what may be edited in a prompt.

    Args:
        editing: what may be changed.
        run: memory and progress.
        target: the next token that is asked about.
        to: what the first choice is to become; None for any other than the target.
        foils: one of which the model is to prefer to the target; none where its first choice is asked about.
        seed: of what is drawn.
    """

    def __init__(
        self, editing: Editing, run: Run, target: int, to: int | None = None, foils: Sequence[int] = (), seed: int = 0
    ):
        self.editing, self.run, self.target, self.to, self.foils = editing, run, target, to, list(foils)
        self.lm, self.prompt, self.counts = editing.lm, editing.prompt, Counts()
        self.generator = torch.Generator().manual_seed(seed)
        self.seen: dict[Edits, float] = {}  # the margins that edits reach, of those that were run

    def margin(self, logits: Float[Tensor, "row vocab"]) -> Float[Tensor, " row"]:
        """How far, in nats, each row is from what is asked; below 0 it is there. Differentiable."""
        if self.foils:
            return logits[:, self.target] - logits[:, self.foils].amax(-1)
        return lead(logits, self.target) if self.to is None else -lead(logits, self.to)

    def preference(self, logits: Float[Tensor, " vocab"]) -> Preference:
        """What the model says, as data."""
        ids = (self.target, int(logits.argmax()), *self.foils)
        target, first, *foils = (Target.rated(token_id, self.lm.vocab, logits) for token_id in ids)
        return Preference(replace(target, foils=tuple(foils)), first, float(self.margin(logits[None])[0]))

    def made(self, edits: Edits) -> Edited:
        """The prompt with edits that make one."""
        made = self.editing.edited(dict(edits))
        assert made is not None
        return made

    def margins(self, rows: Sequence[Sequence[int]]) -> list[float]:
        """The margin after each row. A forward pass each."""

        def read(logits: Float[Tensor, "row vocab"]) -> Float[Tensor, "row 1"]:
            return self.margin(logits)[:, None]

        return read_next_tokens(self.lm, rows, read, self.prompt, self.run, self.counts).flatten().tolist()

    def tried(self, some: Sequence[Edits]) -> list[Edits]:
        """Those of some edits that make a prompt, whose margins are then seen; none is run twice."""
        made = {edits: self.editing.edited(dict(edits)) for edits in some if edits not in self.seen}
        rows = {edits: edited.row for edits, edited in made.items() if edited is not None}
        self.seen.update(zip(rows, self.margins(list(rows.values())), strict=True))
        return [edits for edits in some if edits in self.seen]

    def first_success(self, some: Sequence[Edits]) -> tuple[list[Edits], list[Edits]]:
        """Edits tried in rounds until one of a round will do: all that were tried, and those that will do."""
        every: list[Edits] = []
        for begin in range(0, len(some), ROUND):
            found = self.tried(some[begin : begin + ROUND])
            every += found
            if good := [each for each in found if self.seen[each] < 0]:
                return every, good
        return every, []

    def found(self, max_edits: int, beam: int, candidates: int) -> tuple[Edits | None, Edits | None]:
        """The fewest edits that will do, and those that came closest; None where there are none."""
        (whole,) = self.margins([self.editing.row])
        if whole < 0:
            return (), None
        offered = proposals(self.objective(self.prompt), self.editing, self._by_score(), candidates, self.generator)
        ordered = sorted(
            ((rank + 1) * (at + 1), at, rank, ((number, token_id),))
            for at, (number, ids) in enumerate(offered.items())
            for rank, token_id in enumerate(ids)
        )
        singles, good = self.first_success([single for *_, single in ordered])
        states = sorted(singles, key=self.seen.__getitem__)[:beam]
        for _ in range(2, min(max_edits, len(self.editing.words)) + 1):
            if good:
                break
            # An edit is expected to add what it did alone; the model says whether it does.
            expected: dict[Edits, float] = {}
            for state in states:
                for single in singles:
                    if single[0][0] not in dict(state):
                        key, sum_of = tuple(sorted(state + single)), self.seen[state] + self.seen[single] - whole
                        expected[key] = min(sum_of, expected.get(key, sum_of))
            likeliest = sorted(expected, key=lambda key: (expected[key], key))[: ROUND * LATER_ROUNDS]
            tried, good = self.first_success(likeliest)
            states = sorted(tried, key=self.seen.__getitem__)[:beam] or states
        closest = min(self.seen, key=self.seen.__getitem__, default=None)
        for edits in self._likeliest_first(good):
            least = self._minimised(edits)
            if self.margins([self.made(least).row])[0] < 0:  # run alone, as anybody would run it
                return least, closest
        return None, closest

    def _minimised(self, edits: Edits) -> Edits:
        """Without those that can be taken back."""
        for count in range(1, len(edits)):
            good = [each for each in self.tried(list(combinations(edits, count))) if self.seen[each] < 0]
            if good:
                return self._likeliest_first(good)[0]
        return edits

    def control(self, edits: int) -> RandomEdits:
        """As many words changed at random."""
        margins = self.margins(random_edits(self.editing, edits, TRIALS, self.generator))
        return RandomEdits(edits, len(margins), sum(each < 0 for each in margins), min(margins, default=None))

    def _by_score(self) -> list[int]:
        """The numbers of the words, those first that the one-gradient map scores highest."""
        method = default_method(self.lm)
        if not isinstance(method, GIM):
            method = GradientTimesInput(PlausibleAlternatives(weight=0.5))
        objective = self.objective(self.prompt)
        scores = dict(zip(objective.positions, method(objective).attributions.sum(-1).tolist(), strict=True))
        own = [sum(scores[position] for position in word.positions) for word in self.editing.words]
        return sorted(range(len(own)), key=lambda number: (-own[number], number))[:MAX_WORDS]

    def objective(self, prompt: Prompt) -> Objective:
        """The margin as a function of a prompt's embeddings."""
        margin = Quantity("margin", "nats", lambda logits, target: self.margin(logits))
        found = Objective.of(self.lm, prompt, Target("", self.target, 0.0, 1), margin, run=self.run)
        return replace(found, counts=self.counts)

    def _likeliest_first(self, some: Sequence[Edits]) -> list[Edits]:
        """Edits in the order in which the model finds the new prompts as a whole likely; a pass for each."""
        if len(some) < 2 or not self.lm.causal or self.prompt.source is not None:
            return list(some)
        rows = [self.made(edits).row for edits in some]
        likely = log_likelihoods(self.lm, rows, self.prompt, self.run, self.counts).tolist()
        return [edits for _, edits in sorted((-each, edits) for each, edits in zip(likely, some, strict=True))]

    def as_data(self, edits: Edits) -> tuple[Edit, ...]:
        """The edits, each with how likely the model finds it where it stands in the changed prompt."""
        made, changed_at, shift = self.made(edits), list[int](), 0
        words = [self.editing.words[number] for number, _ in edits]
        for word in words:
            changed_at.append(word.positions[0] - shift)
            shift += len(word.positions) - 1
        objective = Objective.of(self.lm, self.editing.as_prompt(made), Target("", 0, 0.0, 1), run=self.run)
        shares = next_words(objective, changed_at)
        return tuple(
            Edit(word.positions[0], word.start, word.text, made.words[number],
                 float(shares[position][token_id]) if position in shares else None)
            for (number, token_id), word, position in zip(edits, words, changed_at, strict=True)
        )  # fmt: skip
