"""The smallest change of words that changes what a model says: proposed, verified, minimised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import torch
from jaxtyping import Float
from torch import Tensor

from interpret.engine.evaluate import log_likelihoods, read_next_tokens
from interpret.engine.objective import Objective
from interpret.engine.run import Counts, Run
from interpret.methods.baselines import PlausibleAlternatives
from interpret.methods.default import default_method
from interpret.methods.gim import GIM
from interpret.methods.gradient_times_input import GradientTimesInput
from interpret.question.quantity import Quantity, lead, next_logits
from interpret.replacement.editing import Editing
from interpret.replacement.proposals import probabilities, proposals, random_edits
from interpret.results.counterfactual import Edit, Flip, Preference, RandomEdits
from nexttoken import NextTokenLM, Prompt, Target

PLACES = 24  # words of a longer prompt that are tried: those that its map scores highest
ROUND = 32  # prompts verified before it is looked whether one of them will do
LATER_ROUNDS = 16  # of prompts with more than one edit, for each number of edits
TRIALS = 32  # of the control
Edits = Mapping[int, int]  # the number of a word to the id that replaces it


@dataclass(frozen=True)
class Aim:
    """What a flip is to bring about.

    Attributes:
        target: the next token that is asked about.
        to: what the first choice is to become; None for any other than the target.
        foils: one of which the model is to prefer to the target; none where its first choice is asked about.
    """

    target: int
    to: int | None = None
    foils: tuple[int, ...] = ()

    def margin(self, logits: Float[Tensor, "row vocab"]) -> Float[Tensor, " row"]:
        """How far, in nats, each row is from the aim; below 0 it is there. Differentiable."""
        if self.foils:
            return logits[:, self.target] - logits[:, list(self.foils)].amax(-1)
        own = self.target if self.to is None else self.to
        return lead(logits, own) if self.to is None else -lead(logits, own)


@dataclass(frozen=True)
class Attempt:
    """Some edits and the margin that they reach."""

    edits: tuple[tuple[int, int], ...]
    margin: float

    @classmethod
    def of(cls, edits: Edits, margin: float) -> Attempt:
        """From a mapping, in the order of the text."""
        return cls(tuple(sorted(edits.items())), margin)


class Search:
    """The search for a flip.

    Args:
        lm: the model; it comes back as it was.
        prompt: what is asked about.
        aim: what is to come about.
        editing: what may be changed.
        run: memory, progress and counts.
        seed: of what is drawn.
    """

    def __init__(self, lm: NextTokenLM, prompt: Prompt, aim: Aim, editing: Editing, run: Run, seed: int):
        self.lm, self.prompt, self.aim, self.editing, self.run = lm, prompt, aim, editing, run
        self.counts = Counts()
        self.generator = torch.Generator().manual_seed(seed)
        self.seen: dict[tuple[tuple[int, int], ...], float] = {}

    def margins(self, rows: Sequence[Sequence[int]]) -> list[float]:
        """The margin after each row. A forward pass each."""

        def read(logits: Float[Tensor, "row vocab"]) -> Float[Tensor, "row 1"]:
            return self.aim.margin(logits)[:, None]

        return read_next_tokens(self.lm, rows, read, self.prompt, self.run, self.counts).flatten().tolist()

    def tried(self, some: Sequence[Edits]) -> list[Attempt]:
        """Those of some edits that make a prompt, with the margins that they reach; none is run twice."""
        rows, asked, found = [], [], []
        for edits in some:
            key = tuple(sorted(edits.items()))
            if key in self.seen:
                found.append(Attempt(key, self.seen[key]))
                continue
            made = self.editing.edited(edits)
            if made is not None:
                rows.append(made.row)
                asked.append(key)
        for key, margin in zip(asked, self.margins(rows) if rows else [], strict=True):
            self.seen[key] = margin
            found.append(Attempt(key, margin))
        return found

    def first_success(self, some: Sequence[Edits]) -> tuple[list[Attempt], list[Attempt]]:
        """Edits tried in rounds until one of a round will do: all that were tried, and those that will do."""
        every: list[Attempt] = []
        for begin in range(0, len(some), ROUND):
            found = self.tried(some[begin : begin + ROUND])
            every += found
            if good := [each for each in found if each.margin < 0]:
                return every, good
        return every, []

    def found(self, max_edits: int, beam: int, candidates: int) -> tuple[Attempt | None, Attempt | None]:
        """The fewest edits that will do, and the attempt that came closest; None where there is none."""
        words, whole = self.editing.words, self.margins([self.editing.row])[0]
        if whole < 0:
            return Attempt((), whole), None
        order = self._by_score()
        offered = proposals(self.objective(), self.editing, order, candidates, self.generator)
        singles = sorted(
            ((rank, at, number, token_id)
             for at, number in enumerate(order) for rank, token_id in enumerate(offered[number])),
            key=lambda each: (each[0] + 1) * (each[1] + 1),
        )  # fmt: skip
        tried, good = self.first_success([{number: token_id} for _, _, number, token_id in singles])
        single = {each.edits[0]: each.margin for each in tried}
        states = sorted(tried, key=lambda each: each.margin)[:beam]
        closest = states[0] if states else None
        for _ in range(2, min(max_edits, len(words)) + 1):
            if good:
                break
            # An edit is expected to add what it did alone; the model says whether it does.
            expected: dict[tuple[tuple[int, int], ...], float] = {}
            for state in states:
                taken = {number for number, _ in state.edits}
                for (number, token_id), margin in single.items():
                    if number not in taken:
                        key = tuple(sorted((*state.edits, (number, token_id))))
                        sum_of = state.margin + margin - whole
                        expected[key] = min(sum_of, expected.get(key, sum_of))
            likeliest = sorted(expected, key=lambda key: (expected[key], key))[: ROUND * LATER_ROUNDS]
            tried, good = self.first_success([dict(key) for key in likeliest])
            states = sorted(tried, key=lambda each: each.margin)[:beam] or states
            closest = min([closest, *states[:1]], key=lambda each: each.margin) if closest is not None else None
        if not good:
            return None, closest
        for each in self._likeliest_first(good):
            least = self.minimised(each)
            if self.confirmed(least):
                return least, closest
        return None, closest

    def minimised(self, attempt: Attempt) -> Attempt:
        """The attempt without the edits that can be taken back."""
        for count in range(1, len(attempt.edits)):
            fewer = self.tried([dict(some) for some in combinations(attempt.edits, count)])
            good = [each for each in fewer if each.margin < 0]
            if good:
                return self._likeliest_first(good)[0]
        return attempt

    def confirmed(self, attempt: Attempt) -> bool:
        """Whether the new prompt, run alone as anybody would run it, does what the batch said."""
        made = self.editing.edited(dict(attempt.edits))
        assert made is not None
        return self.margins([made.row])[0] < 0

    def control(self, edits: int) -> RandomEdits:
        """As many words changed at random."""
        rows = [row for _, row in random_edits(self.editing, edits, TRIALS, self.generator)]
        margins = self.margins(rows) if rows else []
        return RandomEdits(edits, len(rows), sum(each < 0 for each in margins), min(margins, default=None))

    def _by_score(self) -> list[int]:
        """The numbers of the words, those first that the one-gradient map scores highest."""
        method = default_method(self.lm)
        if not isinstance(method, GIM):
            method = GradientTimesInput(PlausibleAlternatives(weight=0.5))
        objective = self.objective()
        evidence = method(objective)
        column = {place: number for number, place in enumerate(objective.positions)}
        scores = evidence.attributions.sum(-1)
        words = self.editing.words
        own = [float(sum(scores[column[place]] for place in word.places)) for word in words]
        return sorted(range(len(words)), key=lambda number: (-own[number], number))[:PLACES]

    def objective(self) -> Objective:
        margin = Quantity("margin", "nats", lambda logits, target: self.aim.margin(logits))
        found = Objective.of(self.lm, self.prompt, Target("", self.aim.target, 0.0, 1), margin, run=self.run)
        return replace(found, counts=self.counts)

    def _likeliest_first(self, attempts: Sequence[Attempt]) -> list[Attempt]:
        """The attempts in the order in which the model finds the new prompts as a whole likely; a pass for each."""
        if len(attempts) == 1 or not self.lm.causal or self.prompt.source is not None:
            return list(attempts)
        rows = []
        for each in attempts:
            made = self.editing.edited(dict(each.edits))
            assert made is not None
            rows.append(made.row)
        likely = log_likelihoods(self.lm, rows, self.prompt, self.run, self.counts).tolist()
        order = sorted(range(len(attempts)), key=lambda number: (-likely[number], attempts[number].edits))
        return [attempts[number] for number in order]


def flip_facts(search: Search, found: Attempt | None, closest: Attempt | None, most: int) -> Flip:
    """What a search found, with the control and what the model says before and after.

    `most` is the number of edits that were allowed.
    """
    lm, prompt, editing, aim = search.lm, search.prompt, search.editing, search.aim
    spent = search.counts.forwards
    made = None if found is None else editing.edited(dict(found.edits))
    row, text = (made.row, made.text) if made is not None else (editing.row, prompt.text)
    changed = editing.as_prompt(row, text)
    before, after = _said(lm, prompt, aim), _said(lm, changed, aim)
    random = search.control(len(found.edits) if found is not None and found.edits else most)
    return Flip(
        found=found is not None,
        edits=() if found is None else _edits(search, found),
        original=prompt.text,
        prompt=text,
        before=before,
        after=after,
        to=None if aim.to is None else Target.rated(aim.to, lm.vocab, _logits(lm, prompt)),
        closest=() if found is not None or closest is None else _edits(search, closest),
        random=random,
        forwards=spent,
        messages=editing.messages_of(text, row),
    )


def _edits(search: Search, attempt: Attempt) -> tuple[Edit, ...]:
    """The edits as data, each with how likely the model finds it where it stands in the changed prompt."""
    editing = search.editing
    made = editing.edited(dict(attempt.edits))
    assert made is not None
    changed, shift, places = editing.as_prompt(made.row, made.text), 0, []
    for number, _ in attempt.edits:
        word = editing.words[number]
        places.append(word.places[0] - shift)
        shift += len(word.places) - 1
    objective = Objective.of(search.lm, changed, Target("", 0, 0.0, 1), run=search.run)
    known = probabilities(objective, {(place, changed.ids[place]) for place in places})
    found = zip(attempt.edits, places, strict=True)
    words = [(editing.words[number], made.words[number], known.get((place, each))) for (number, each), place in found]
    return tuple(Edit(word.places[0], word.start, word.text, new, likely) for word, new, likely in words)


def _said(lm: NextTokenLM, prompt: Prompt, aim: Aim) -> Preference:
    logits = _logits(lm, prompt)
    target = replace(
        Target.rated(aim.target, lm.vocab, logits),
        foils=tuple(Target.rated(foil, lm.vocab, logits) for foil in aim.foils),
    )
    first = Target.rated(int(logits.argmax()), lm.vocab, logits)
    return Preference(target, first, float(aim.margin(logits[None])[0]))


def _logits(lm: NextTokenLM, prompt: Prompt) -> Float[Tensor, " vocab"]:
    return next_logits(lm, prompt, [len(prompt) - 1])[0]
