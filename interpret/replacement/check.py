"""A map checked against the model: its pieces give way to plausible alternatives, and the model says what it lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import accumulate, chain, pairwise
from statistics import fmean, stdev

import torch
from jaxtyping import Float
from torch import Tensor

from interpret.engine.alternatives import alternatives, text_of, values_with_words
from interpret.engine.objective import Objective
from interpret.engine.run import Run, interruptible
from interpret.engine.text import Text
from interpret.methods.method import Method
from interpret.question.prepared import Row
from interpret.question.quantity import ENTROPY, LOG_PROBABILITY, LOGIT, LOSS, PROBABILITY, Quantity
from interpret.results.attribution import Attribution
from interpret.results.faithfulness import Deletion, Faithfulness, RankCorrelation, Replaced
from nexttoken import NextTokenLM, Piece, Prompt, Target
from nexttoken.text.prompt import PromptLike

ALTERNATIVES = 50  # words at a position, the likeliest
STRONGEST, DRAWS, DRAWS_TOGETHER = 3, 4, 6
FRACTIONS, MASKS = (0.3, 0.5), 24  # of the pieces, besides as many as are called the strongest
FEWEST = 4  # pieces whose orders can be compared
NO_REACTION = 0.05  # of the unit: a model that moves less than this, whatever is replaced, tells nothing
TINY = 1e-12
UNSEEN = Target("", 0, 0.0, 1)  # the target of a quantity of the whole distribution
SHUFFLES, RESAMPLES, INTERVAL = 400, 400, (0.05, 0.95)
LOGARITHMIC = (LOG_PROBABILITY, LOGIT, LOSS, PROBABILITY)  # are all checked as a log-probability


def check(
    lm: NextTokenLM,
    why: Attribution,
    *,
    prompt: PromptLike | None = None,
    quantity: Quantity | None = None,
    method: Method | None = None,
    weights: str | None = None,
    memory_budget: int | None = None,
    seed: int = 0,
    on_progress: Callable[[int], object] | None = None,
) -> Faithfulness:
    """Check a map against the model: replace pieces by what else might stand there, and see what F does.

    F is the log-probability of the target, or its difference to that of the foils, whatever the map explains of them;
    for a quantity of the whole distribution it is that. Pieces that were fixed, and the template, stay as they are.
    The replacements are words drawn from the model's own next-word distribution at each position, given what stands
    before it in the prompt, without the word itself (its 50 most probable). ERASER's comprehensiveness and sufficiency
    (DeYoung et al. 2020, arXiv:1911.03429) delete words; the linear datamodelling score (LDS) under random masks is
    ContextCite's (Cohen-Wang et al. 2024, arXiv:2409.00729); both with replacements, as in Kim et al. 2020
    (arXiv:2010.13984). Costs at most 64 forward passes of the prompt, and no gradient.

    Args:
        lm: the model that was explained; it comes back as it was.
        why: what `attribute` returned or a file has, also after `totals`.
        prompt: what was explained, where it is of an encoder-decoder; other prompts follow from the pieces.
        quantity: what was explained, where it is one of your own.
        method: what explained it, for `weights`.
        weights: "random" asks for the map's rank correlation with one from a copy of the model whose weights, but for
            the embeddings, are shuffled (Adebayo et al. 2018, arXiv:1810.03292).
        memory_budget: as for `attribute`.
        seed: of what is drawn.
        on_progress: called with the number of passes just done; an exception that it raises cancels the check.

    Raises:
        ValueError: nothing left to replace; another model than the one explained; a prompt or a quantity that does not
            follow from the result; random weights without a method.
    """
    encoded = _prompt_of(lm, why) if prompt is None else lm.prompt(prompt, why.start)
    explained = _explained(why, quantity)
    if weights not in (None, "random"):
        raise ValueError(f"weights is {weights!r}; it must be 'random', or None")
    if weights is not None and method is None:
        raise ValueError("the control of random weights makes the map again; give the method that made it")
    run = Run.of(memory_budget=memory_budget, on_progress=on_progress)
    with interruptible():
        found = check_text(Text(lm, encoded), why, explained, run, seed)
    if method is None or weights is None:
        return found
    return replace(found, randomized=_randomized(lm, encoded, why, explained, method, seed))


def check_text(text: Text, why: Attribution, quantity: Quantity, run: Run, seed: int = 0) -> Faithfulness:
    """`check` of a result whose text and quantity are known."""
    quantity = LOG_PROBABILITY if quantity in LOGARITHMIC else quantity
    groups = _groups(text.prompt, why)
    pieces, positions = list(groups), list(chain.from_iterable(groups.values()))
    generator = torch.Generator().manual_seed(seed)
    plan = _Plan(torch.from_numpy(why.scores[pieces]), generator)
    target = why.target or UNSEEN
    following = [each.id for each in target.continuation[:-1]]
    own = Text(text.lm, text.prompt, None, following, positions, text.checkpointed, text.whole)
    objective = Objective.of_row(own, Row(text.prompt, target, tuple(range(len(own.positions)))), quantity, run)
    whole, *found = values_with_alternatives(objective, list(groups.values()), plan.masks, generator)
    answers = iter(found)

    def replaced(chosen: Sequence[int], draws: int) -> Replaced:
        changes, own = [whole - next(answers) for _ in range(draws)], [why.pieces[pieces[each]] for each in chosen]
        labels, score = tuple(piece.label for piece in own), sum(piece.score for piece in own)
        return Replaced(labels, score, fmean(changes), stdev(changes) / draws**0.5)

    strongest = tuple(replaced([each], DRAWS) for each in plan.strongest)
    others = tuple(replaced([each], DRAWS) for each in plan.others)
    together, deletion, correlation = replaced(plan.strongest, DRAWS_TOGETHER), None, None
    if plan.orders:
        most, least, *random = (tuple(next(answers) for _ in plan.counts) for _ in plan.orders)
        deletion = Deletion(tuple(plan.counts), most, least, tuple(random))
        correlation = _correlation(plan, torch.tensor(random, dtype=torch.float64), generator)
    fit, percentile = _fit(plan, torch.tensor([whole - each for each in found], dtype=torch.float64), generator)
    return Faithfulness(
        f"{quantity.name} difference" if target.foils else quantity.name,
        quantity.unit, whole, strongest, others, together, deletion, correlation, fit,
        percentile if plan.orders else None, len(plan.masks),
    )  # fmt: skip


def values_with_alternatives(
    objective: Objective, groups: Sequence[Sequence[int]], masks: Sequence[Sequence[int]], generator: torch.Generator
) -> list[float]:
    """F with some tokens replaced by words drawn from what else might stand there, in the model's own view.

    Costs a forward pass for each mask, and those of `alternatives`.

    Args:
        objective: F, of a model and a prompt; every token of the groups must be attributed.
        groups: the positions in the prompt of tokens that are replaced together.
        masks: for each value, which of the groups are replaced; the words are drawn for each mask anew.
        generator: of the draws.
    """
    text, found = text_of(objective), alternatives(objective, ALTERNATIVES)
    columns = {position: column for column, position in enumerate(text.attributed)}
    replaced = torch.zeros(len(masks), len(columns), dtype=torch.bool)
    for row, mask in enumerate(masks):
        replaced[row, [columns[position] for group in mask for position in groups[group]]] = True
    drawn = found.draw(len(masks), text.lm.vocab.size(), generator)
    words = torch.where(replaced, drawn, torch.tensor([text.prompt.ids[position] for position in columns]))
    return values_with_words(objective, words).tolist()


class _Plan:
    """Which groups are replaced: the strongest and some others, alone and together, and orders to take them away in."""

    def __init__(self, scores: Float[Tensor, " group"], generator: torch.Generator):
        number, self.scores = len(scores), scores
        ranked = scores.argsort(descending=True, stable=True).tolist()
        few = max(1, min(STRONGEST, number // 2))
        rest = torch.randperm(number - few, generator=generator)[:few].tolist()
        self.strongest, self.others = ranked[:few], [ranked[few + each] for each in rest]
        # How many are replaced at each step of an order: the most relevant first, the least relevant first, or any.
        self.counts = sorted({few, *(max(1, round(fraction * number)) for fraction in FRACTIONS)})
        random = [torch.randperm(number, generator=generator).tolist() for _ in range(MASKS // len(self.counts))]
        self.orders: list[list[int]] = [ranked, ranked[::-1], *random] if number >= FEWEST else []
        alone = [[each] for each in (*self.strongest, *self.others) for _ in range(DRAWS)]
        steps = [order[:count] for order in self.orders for count in self.counts]
        self.masks: list[list[int]] = [[], *alone, *[self.strongest] * DRAWS_TOGETHER, *steps]  # by row

    def replaced(self, masks: Sequence[Sequence[int]]) -> Float[Tensor, "row group"]:
        """1 where a mask replaces a group, 0 elsewhere."""
        found = torch.zeros(len(masks), len(self.scores), dtype=self.scores.dtype)
        for row, mask in enumerate(masks):
            found[row, mask] = 1
        return found

    def shuffled(self, generator: torch.Generator) -> Float[Tensor, "shuffle group"]:
        """The scores given to groups at random, many times."""
        orders = [torch.randperm(len(self.scores), generator=generator) for _ in range(SHUFFLES)]
        return self.scores[torch.stack(orders)]


def _fit(plan: _Plan, changes: Float[Tensor, " row"], generator: torch.Generator) -> tuple[float, float | None]:
    """The correlation of the scores that were replaced with the change of F, and the share of shuffles that fit worse.

    None for scores that are all the same, and where F hardly changes.
    """
    predicted = torch.cat([plan.scores[None], plan.shuffled(generator)]) @ plan.replaced(plan.masks[1:]).T
    centred, moved = predicted - predicted.mean(-1, keepdim=True), changes - changes.mean()
    norms = centred.square().sum(-1).sqrt() * moved.square().sum().sqrt()
    fits = torch.where(norms > TINY, centred @ moved / norms.clamp_min(TINY), 0.0)
    reacts = float(changes.abs().max()) >= NO_REACTION and float(plan.scores.max() - plan.scores.min()) > 0
    return float(fits[0]), _share_below(fits[0], fits[1:]) if reacts else None


def _correlation(plan: _Plan, found: Float[Tensor, "order step"], generator: torch.Generator) -> RankCorrelation:
    """The rank correlation of F under the random masks with what the scores that are kept predict."""
    orders = plan.orders[2:]
    masked = torch.stack([plan.replaced([order[:count] for count in plan.counts]) for order in orders])
    own = -masked @ plan.scores  # what is kept, up to a constant
    shuffled = -torch.einsum("osg,ng->nos", masked, plan.shuffled(generator))
    value = spearman(own.T, found.T).mean()
    by_chance = spearman(shuffled.mT, found.T.expand(len(shuffled), -1, -1)).mean(-1)
    again = torch.randint(len(orders), (RESAMPLES, len(orders)), generator=generator)
    resampled = spearman(own[again].mT, found[again].mT).mean(-1)
    low, high = resampled.quantile(torch.tensor(INTERVAL, dtype=resampled.dtype)).tolist()
    return RankCorrelation(float(value), (low, high), _share_below(value, by_chance))


def _share_below(value: Float[Tensor, ""], others: Float[Tensor, " shuffle"]) -> float:
    # Equal ones count half.
    return float(((others < value).double() + 0.5 * (others == value).double()).mean())


def spearman(one: Float[Tensor, "*row item"], other: Float[Tensor, "*row item"]) -> Float[Tensor, "*row"]:
    """Spearman's rank correlation along the last axis; 0 where all of one side are equal. Ties share a rank."""

    def ranks(numbers: Tensor) -> Tensor:
        pairs = numbers[..., :, None] - numbers[..., None, :]
        found = (pairs > 0).double().sum(-1) + 0.5 * (pairs == 0).double().sum(-1)
        return found - found.mean(-1, keepdim=True)

    one, other = ranks(one), ranks(other)
    norm = (one.square().sum(-1) * other.square().sum(-1)).sqrt()
    return torch.where(norm > 0, (one * other).sum(-1) / norm.clamp_min(TINY), 0.0)


def _randomized(
    lm: NextTokenLM, prompt: Prompt, why: Attribution, quantity: Quantity, method: Method, seed: int
) -> float:
    """The rank correlation of a map's scores with those of the same method on a model with shuffled weights."""
    other, groups = lm.with_shuffled_weights(seed), _groups(prompt, why)
    positions = list(chain.from_iterable(groups.values()))
    objective = Objective.of(other, prompt, why.target or UNSEEN, quantity, positions)
    pieces = [[positions.index(position) for position in group] for group in groups.values()]
    attributions = method(objective).attributions.detach().double().cpu().numpy()
    scores = torch.from_numpy(method.reduction(attributions, pieces))
    return float(spearman(torch.from_numpy(why.scores[list(groups)]), scores))


def _groups(prompt: Prompt, why: Attribution) -> dict[int, range]:
    """What may be replaced, as numbers of pieces and the positions of their tokens.

    That is what has a score, and was not written by a template unless that is all there is.

    Raises ValueError for a result that is not of this prompt, or has nothing that was attributed.
    """
    ends = list(accumulate(map(len, why.token_ids), initial=prompt.own.start))
    if ends[-1] != len(prompt):
        raise ValueError("the result is not of this prompt, which has another number of tokens")
    every = enumerate(map(range, ends, ends[1:]))
    groups = {piece: positions for piece, positions in every if not why.fixed[piece] and positions}
    groups = {piece: positions for piece, positions in groups.items() if not why.template[piece]} or groups
    if not groups:
        raise ValueError("no piece of the prompt was attributed, so there is nothing to check")
    return groups


def _prompt_of(lm: NextTokenLM, why: Attribution) -> Prompt:
    """The prompt that a result is of. Raises ValueError for that of an encoder-decoder, which does not follow."""
    ids = tuple(token_id for each in why.token_ids for token_id in each)
    ends = accumulate(map(len, why.token_ids), initial=0)
    pieces = tuple(
        Piece(piece.text, piece.label, tuple(range(*ends)), piece.template)
        for piece, ends in zip(why.pieces, pairwise(ends), strict=True)
    )
    lm.vocab.check(ids)
    return lm.prompt(Prompt(why.prompt, ids, pieces, why.messages), why.start)


def _explained(why: Attribution, quantity: Quantity | None) -> Quantity:
    """What a result is about. Raises ValueError for a quantity that its name does not tell."""
    if quantity is not None:
        return quantity
    name = why.quantity.removesuffix(" difference") if why.target is not None and why.target.foils else why.quantity
    found = next((each for each in (*LOGARITHMIC, ENTROPY) if each.name == name), None)
    if found is None:
        raise ValueError(f"the result is about the {name}; give that quantity as well, check(lm, why, quantity=...)")
    return found
