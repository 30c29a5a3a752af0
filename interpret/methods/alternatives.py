"""What else might stand at each place of a prompt, in the model's own view: as a baseline, and as replacements."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interpret.engine.gradients import values
from interpret.engine.memory.policy import LOGITS_AT_ONCE, Memory
from interpret.engine.objective import Objective
from interpret.engine.run import Predicted
from interpret.methods.baselines import Baseline, every_embedding, model_of
from interpret.methods.method import Evidence, Method
from interpret.question.logits import upcast
from nexttoken import NextTokenLM
from nexttoken.model import ROUNDING

TOKENS_EMBEDDED = 4096  # at once, of what might stand there


@dataclass(frozen=True, eq=False)
class Alternatives:
    """The words that might stand at each place that moves, with their probabilities.

    Attributes:
        ids: (token, alternative) the likeliest first.
        probabilities: (token, alternative) which add up to 1.
        known: (token,) False where the model says nothing about what might stand there: the first token of a text
            without a start token to begin with, and an encoder's source.
    """

    ids: Int[Tensor, "token alternative"]
    probabilities: Float[Tensor, "token alternative"]
    known: Bool[Tensor, " token"]

    def draw(self, count: int, vocabulary: int, generator: torch.Generator) -> Int[Tensor, "count token"]:
        """Words drawn for each token, independently; any of the vocabulary where the model says nothing of a place."""
        drawn = torch.multinomial(self.probabilities.cpu(), count, replacement=True, generator=generator)
        ids = self.ids.cpu().gather(1, drawn)
        anywhere = torch.randint(vocabulary, ids.shape, generator=generator)
        return torch.where(self.known.cpu()[:, None], ids, anywhere).T


def alternatives(objective: Objective, top: int) -> Alternatives:
    """The model's own next-word distribution at each place, given what stands before it, without the word itself.

    The first word is predicted after what a text begins with, `vocab.start_id`. Of each
    distribution, the `top` most probable words count. Costs at most one forward pass, and more where the logits of many
    places take too much memory; of a model that is not known to be causal, one for each place.

    Raises ValueError for an objective without a model.
    """
    lm, prompt = objective.context.lm, objective.context.prompt
    if lm is None or prompt is None:
        raise ValueError("what else might stand at a place is what a model says; a function of your own has no words")
    tokens = lm.tokens(prompt)["input_ids"]
    vocabulary = lm.vocab.size()
    logits = torch.zeros(tokens.shape[1], min(top, vocabulary - 1), device=tokens.device)
    ids = torch.zeros_like(logits, dtype=torch.long)
    known = torch.zeros(tokens.shape[1], dtype=torch.bool, device=tokens.device)
    for places, rows in predictions(objective, prompt.start):
        own = tokens[0, places]
        found = rows.scatter(1, own[:, None], -torch.inf).topk(logits.shape[1], 1)
        logits[places], ids[places] = found.values.float(), found.indices
        known[places] = True
    moving = list(objective.places())
    return Alternatives(ids[moving], logits[moving].softmax(-1), known[moving])


def predictions(objective: Objective, start: int) -> Iterator[tuple[list[int], Float[Tensor, "place vocab"]]]:
    """Places of the prompt, and the model's logits of what stands there given what stands before.

    The network's head makes them of the states that a pass at the prompt has shown, if that gives its own logits after
    the last token; otherwise another forward pass does.
    """
    lm, prompt = objective.context.lm, objective.context.prompt
    assert lm is not None
    assert prompt is not None
    known = objective.run.known
    predicted, after_first = known.predicted if known is not None else None, None
    length, vocabulary = len(prompt), lm.vocab.size()
    # Where later tokens may be seen, each place takes what stands before it.
    step = max(1, LOGITS_AT_ONCE // vocabulary) if lm.causal else 1
    with lm.frozen(), torch.no_grad():
        # From the end, where the logits are known.
        for begin in reversed(range(start + 1, length, step)):
            places = list(range(begin, min(begin + step, length)))
            rows = _of_head(lm, predicted, places) if predicted is not None else None
            if rows is None:
                predicted, rows = None, _of_pass(objective, lm, places)
            if begin == 1:
                after_first = rows[0].clone()
            yield places, rows[:, :vocabulary]
        first = lm.vocab.start_id
        said = prompt.source is None and prompt.start_token is None and not prompt.pieces[0].template
        if said and first is not None:
            objective.run.counts.forwards += 1
            yield [0], _of_start(objective, lm, first, prompt.ids[0], after_first)[:, :vocabulary]


def _of_head(lm: NextTokenLM, predicted: Predicted, places: Sequence[int]) -> Float[Tensor, "place vocab"] | None:
    """The logits after what stands before some places, by the head alone; None where that does not give its own."""
    last = places[-1] + 1 == len(predicted.states)
    logits = lm.head(predicted.states[None, places[0] - 1 : places[-1] + last])
    if logits is None or (last and not _same(upcast(logits[0, -1]), predicted.logits, logits.dtype)):
        return None
    return upcast(logits[0, : len(places)])


def _of_pass(objective: Objective, lm: NextTokenLM, places: Sequence[int]) -> Float[Tensor, "place vocab"]:
    """The same by a forward pass."""
    prompt = objective.context.prompt
    assert prompt is not None
    tokens = lm.tokens(prompt)["input_ids"]
    embeddings, seen = lm.embed({"input_ids": tokens}), len(prompt) if lm.causal else places[0]
    objective.run.counts.forwards += 1
    return upcast(lm.next_tokens(embeddings[:, :seen], tokens[:, :seen], [place - 1 for place in places])[1][0])


def _same(found: Float[Tensor, " vocab"], expected: Float[Tensor, " vocab"], dtype: torch.dtype) -> bool:
    """Whether logits are the same up to rounding, and as large on the whole, which rounding does not change."""
    if found.shape != expected.shape:
        return False
    unit = torch.finfo(dtype).eps
    rounding = max(2 * unit, min(ROUNDING, 1000 * unit))
    near = (found - expected).abs().max() <= rounding * expected.abs().max()
    as_large = (found @ expected - expected @ expected).abs() <= min(rounding, 10 * ROUNDING) * (expected @ expected)
    return bool(near & as_large)


@dataclass(eq=False)
class _Start:
    """What a network said after its start token, and by what it is known to be still the same network.

    Attributes:
        logits: (1, vocab) after the start token.
        weights: where they are, and how often they were changed; None where hooks are in the network.
        after: (vocab,) the logits after some tokens that texts began with.
        memory: of the run that asked last.
    """

    logits: Float[Tensor, "1 vocab"]
    weights: list[tuple[int, int]] | None
    after: dict[int, Float[Tensor, " vocab"]]
    memory: weakref.ref[Memory]


_STARTS: weakref.WeakKeyDictionary[NextTokenLM, _Start] = weakref.WeakKeyDictionary()
_TOKENS_KEPT = 16  # that texts began with


def _of_start(
    objective: Objective, lm: NextTokenLM, start: int, first: int, after_first: Float[Tensor, " vocab"] | None
) -> Float[Tensor, "1 vocab"]:
    """The logits after the start token. One forward pass of one token, for short prompts a third of a gradient.

    So it is kept, for the run, and for later runs as long as nothing says that the network is another one: it has no
    hooks, its weights were not written to, and after the first token of the text, which went through all of it, it
    says what it said then.
    """
    kept, memory = _STARTS.get(lm), objective.run.memory
    if kept is not None and kept.memory() is memory:
        return kept.logits
    weights = _weights(lm)
    proved = (
        kept is not None
        and weights is not None
        and kept.weights == weights
        and after_first is not None
        and first in kept.after
        and _same(after_first, kept.after[first], lm.compute_dtype)
    )
    if kept is not None and proved:
        kept.memory = weakref.ref(memory)
        return kept.logits
    ids = torch.tensor([[start]], device=lm.device)
    logits = upcast(lm.next_tokens(lm.embed({"input_ids": ids}), ids)[1][0])
    before = kept.after if kept is not None and kept.weights == weights and torch.equal(kept.logits, logits) else {}
    after = {} if after_first is None else {first: after_first}
    older = list(before.items())[1 - _TOKENS_KEPT :]
    _STARTS[lm] = _Start(logits, weights, {**dict(older), **after}, weakref.ref(memory))
    return logits


def _weights(lm: NextTokenLM) -> list[tuple[int, int]] | None:
    """Where the weights are, and how often they were written to; None where the network has hooks."""
    found = []
    for module in lm.modules():
        if module._forward_hooks or module._forward_pre_hooks:
            return None
        tensors = (*module._parameters.values(), *module._buffers.values())
        found += [(each.data_ptr(), each._version) for each in tensors if each is not None]
    return found


def embedded_words(
    objective: Objective, words: Int[Tensor, "row token"], x: Float[Tensor, "token dim"]
) -> Float[Tensor, "row token dim"]:
    """The embeddings of words in the place of those that move, row by row."""
    lm, prompt = objective.context.lm, objective.context.prompt
    assert lm is not None
    assert prompt is not None
    tokens, places = lm.tokens(prompt)["input_ids"].repeat(len(words), 1), list(objective.places())
    marked = tokens[:, places] >= lm.vocab.size()  # a decoder's start, which is no word
    tokens[:, places] = torch.where(marked, tokens[:, places], words.to(tokens))
    with lm.frozen(), torch.no_grad():
        return lm.embed({"input_ids": tokens})[:, torch.tensor(places, device=tokens.device)].to(x)


def _template(objective: Objective, x: Float[Tensor, "token dim"]) -> Bool[Tensor, " token"]:
    """True for what the tokenizer or a chat template wrote, unless that is all there is."""
    prompt = objective.context.prompt
    if prompt is None:
        return torch.zeros(len(x), dtype=torch.bool, device=x.device)
    written = {position for piece in prompt.pieces if piece.template for position in piece.positions}
    fixed = torch.tensor([place in written for place in objective.places()], device=x.device)
    return fixed & ~fixed.all()


@dataclass(frozen=True)
class PlausibleAlternatives(Baseline):
    """The expected embedding of what else might stand at each place, in the model's own view.

    x'_t = sum_v p(v | what stands before t) e_v over the `top` most probable words other than the word itself,
    renormalized. So the question is: why this word, and not what else might stand here? (Kim et al. 2020,
    arXiv:2010.13984, replace words by such alternatives.) What the tokenizer or a chat template wrote stays as it is;
    where the model says nothing about a place, it is the mean of all word embeddings.

    With a `weight` below 1 it is that part of the expected embedding: 0.5 makes gradient x (x - x') the mean of
    gradient x input and gradient x (input - alternatives), which suits GIM, since neither alone is best everywhere.

    The states of the pass that takes the gradient tell it, where the network's head gives its own logits for them;
    otherwise it costs one forward pass, and more for prompts of thousands of tokens. Of a model that is not known to be
    causal, it costs one for each token. The first word takes one of one token.

    Raises:
        ValueError: `top` below 1, a `weight` that is not between 0 and 1, or an objective without a model.
    """

    needs_predictions = True

    top: int = 50
    weight: float = 1.0

    def __post_init__(self) -> None:
        _check_top(self.top)
        if not 0 <= self.weight <= 1:
            raise ValueError(f"weight is {self.weight}; it must be from 0 (no baseline) to 1 (the alternatives)")

    @property
    def description(self) -> str:
        return "plausible alternatives" + (f" weighted {self.weight:g}" if self.weight != 1 else "")

    def fixed(self, objective: Objective, x: Float[Tensor, "token dim"]) -> Bool[Tensor, " token"]:
        return _template(objective, x)

    def __call__(self, objective: Objective, x: Float[Tensor, "token dim"]) -> Float[Tensor, "token dim"]:
        found, expected = alternatives(objective, self.top), torch.zeros_like(x)
        at_once = max(1, TOKENS_EMBEDDED // len(x))
        for ids, probabilities in zip(found.ids.T.split(at_once), found.probabilities.T.split(at_once), strict=True):
            for words, share in zip(embedded_words(objective, ids, x), probabilities, strict=True):
                expected += share[:, None].to(x) * words
        if not found.known.all():
            mean = every_embedding(objective, self).double().mean(0).to(x)
            expected = torch.where(found.known[:, None], expected, mean)
        return torch.where(_template(objective, x)[:, None], x, self.weight * expected)


@dataclass(frozen=True)
class Marginalization(Method):
    """The mean change of the objective when a token is replaced by what else might stand there.

    s_t = F(x) - mean over v of F(x with token t replaced by v), v drawn from the model's own next-word distribution
    at t without the word itself (its `top` most probable words; any word where the model says nothing about a place)

    Kim et al. 2020 (arXiv:2010.13984). Scores are signed, in nats, and exact but for the sampling, which their standard
    errors tell: the reference that gradients are compared with, and the answer for models without usable gradients.
    They do not add up. What the tokenizer or a chat template wrote is fixed. Costs `samples` forward passes a token,
    those of PlausibleAlternatives, one at the prompt, and no gradient.

    Raises:
        ValueError: `samples` or `top` below 1, or an objective without a model.
    """

    name = "marginalization"

    samples: int = 8
    seed: int = 0
    top: int = 50

    stochastic = True
    needs_predictions = True

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise ValueError(f"samples is {self.samples}; it must be at least 1")
        _check_top(self.top)

    @property
    def description(self) -> str:
        return f"{self.samples} samples a token"

    def cost(self, tokens: int) -> int:
        return 0

    def __call__(self, objective: Objective, x: Float[Tensor, "token dim"]) -> Evidence:
        found, fixed = alternatives(objective, self.top), _template(objective, x)
        generator = torch.Generator().manual_seed(self.seed)
        drawn = found.draw(self.samples, model_of(objective, self).vocab.size(), generator)
        replacements = embedded_words(objective, drawn, x)
        changes = x.new_zeros(self.samples, len(x), 1)
        whole = values(objective, x[None])
        moving = (~fixed).nonzero().flatten().tolist()
        group = max(1, objective.points_at_once(len(x)) // self.samples)
        for begin in range(0, len(moving), group):
            tokens = moving[begin : begin + group]
            points = x.repeat(len(tokens), self.samples, 1, 1)
            for place, token in enumerate(tokens):
                points[place, :, token] = replacements[:, token]
            replaced = values(objective, points.flatten(0, 1)).unflatten(0, (len(tokens), self.samples))
            changes[:, tokens, 0] = (whole - replaced).T.to(changes)
        return Evidence(changes.mean(0), fixed=fixed, samples=changes)


def _check_top(top: int) -> None:
    if top < 1:
        raise ValueError(f"top is {top}; at least one alternative is needed (50 are usual)")
