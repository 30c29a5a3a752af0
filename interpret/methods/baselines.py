"""Where a path starts: small objects that make the embeddings of a prompt that says nothing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interpret.engine.alternatives import alternatives, embedded_words
from interpret.engine.objective import Objective
from nexttoken import NextTokenLM
from nexttoken.text.prompt import PromptLike

TOKENS_EMBEDDED = 4096  # at once, of what might stand there


class Baseline(ABC):
    """A baseline: an objective in, embeddings (token, dim) of the shape of its `x` out.

    Attributes:
        needs_predictions: whether it asks the model what else might stand at each position, which a forward pass at the
            prompt then shows besides.
    """

    needs_predictions: ClassVar[bool] = False

    @property
    def description(self) -> str:
        """What figures call it, after "from" or "against": by default its class's name."""
        return type(self).__name__

    @abstractmethod
    def __call__(self, objective: Objective) -> Float[Tensor, "token dim"]:
        """The embeddings where the path starts."""

    def fixed_at(self, objective: Objective) -> Bool[Tensor, " token"] | None:
        """The tokens that it leaves at the prompt, and that so have no score; None where it moves all."""
        return None


@dataclass(frozen=True)
class Zero(Baseline):
    """All-zero embeddings. A network without biases that divides by the length of its state is singular there."""

    @property
    def description(self) -> str:
        return "zero embeddings"

    def __call__(self, objective: Objective) -> Float[Tensor, "token dim"]:
        return torch.zeros_like(objective.x)


@dataclass(frozen=True)
class MeanEmbedding(Baseline):
    """The mean of all word embeddings, at every token."""

    @property
    def description(self) -> str:
        return "the mean embedding"

    def __call__(self, objective: Objective) -> Float[Tensor, "token dim"]:
        return every_embedding(objective, self).double().mean(0).to(objective.x).expand_as(objective.x)


@dataclass(frozen=True)
class Token(Baseline):
    """The embedding of one token, at every token.

    Args:
        token: its id, or its text, which must be one token; None for the end-of-text token or else the padding token.
    """

    token: int | str | None = None

    @property
    def description(self) -> str:
        return "an empty token" if self.token is None else f"the token {self.token!r}"

    def __call__(self, objective: Objective) -> Float[Tensor, "token dim"]:
        lm = model_of(objective, self)
        return embedded(lm, torch.tensor([self.id(lm)], device=lm.device)).to(objective.x).expand_as(objective.x)

    def id(self, lm: NextTokenLM) -> int:
        """The token's id. Raises ValueError where there is none."""
        candidates = [self.token, lm.vocab.eos_id, lm.vocab.pad_id]
        chosen = next((token for token in candidates if token is not None), None)
        if chosen is None:
            raise ValueError("this vocabulary has no end-of-text or padding token; name a baseline token")
        return lm.vocab.one_id(chosen)


@dataclass(frozen=True)
class LineBreak(Baseline):
    """The embedding of a line break, at every token; in a vocabulary without one, the mean embedding.

    A word that the model knows well and that says next to nothing: of the baselines that are the same at every token,
    the one whose paths need the fewest gradients (see the documentation of certificates).
    """

    @property
    def description(self) -> str:
        return "a line break"

    def __call__(self, objective: Objective) -> Float[Tensor, "token dim"]:
        lm = model_of(objective, self)
        try:
            last = lm.vocab.encode("\n", add_special_tokens=False).ids[-1:]
        except ValueError:
            last = ()
        if not last or lm.vocab.decode(last) != "\n":
            return MeanEmbedding()(objective)
        return Token(last[0])(objective)


@dataclass(frozen=True)
class Unknown(Baseline):
    """The embedding of the vocabulary's token for unknown words, at every token. Raises ValueError if it has none."""

    @property
    def description(self) -> str:
        return "the unknown token"

    def __call__(self, objective: Objective) -> Float[Tensor, "token dim"]:
        unknown = model_of(objective, self).vocab.unk_id
        if unknown is None:
            raise ValueError("this vocabulary has no token for unknown words; name a baseline token")
        return Token(unknown)(objective)


@dataclass(frozen=True)
class Text(Baseline):
    """The embeddings of another text (or token ids) with as many tokens as the prompt: what changed between the two?"""

    text: PromptLike

    @property
    def description(self) -> str:
        return repr(self.text) if isinstance(self.text, str) else "another text"

    def __call__(self, objective: Objective) -> Float[Tensor, "token dim"]:
        lm = model_of(objective, self)
        prompt, positions = objective.prompt, list(objective.positions)
        start = prompt.start_token if prompt is not None else None
        ids = lm.tokens(lm.prompt(self.text, start))["input_ids"][0]
        length = len(prompt) if prompt is not None else len(objective.x)
        if len(ids) != length:
            raise ValueError(
                f"the baseline text has {len(ids)} tokens and the prompt {length}; there must be as many of both"
            )
        return embedded(lm, ids)[positions].to(objective.x)


@dataclass(frozen=True)
class PlausibleAlternatives(Baseline):
    """The expected embedding of what else might stand at each position, in the model's own view.

    x'_t = sum_v p(v | what stands before t) e_v over the `top` most probable words other than the word itself,
    renormalized. So the question is: why this word, and not what else might stand here? (Kim et al. 2020,
    arXiv:2010.13984, replace words by such alternatives.) What the tokenizer or a chat template wrote stays as it is;
    where the model says nothing about a position, it is the mean of all word embeddings.

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
        if self.top < 1:
            raise ValueError(f"top is {self.top}; at least one alternative is needed (50 are usual)")
        if not 0 <= self.weight <= 1:
            raise ValueError(f"weight is {self.weight}; it must be from 0 (no baseline) to 1 (the alternatives)")

    @property
    def description(self) -> str:
        return "plausible alternatives" + (f" weighted {self.weight:g}" if self.weight != 1 else "")

    def fixed_at(self, objective: Objective) -> Bool[Tensor, " token"]:
        return template_tokens(objective)

    def __call__(self, objective: Objective) -> Float[Tensor, "token dim"]:
        x, found = objective.x, alternatives(objective, self.top)
        expected = torch.zeros_like(x)
        at_once = max(1, TOKENS_EMBEDDED // len(x))
        for ids, probabilities in zip(found.ids.T.split(at_once), found.probabilities.T.split(at_once), strict=True):
            for words, share in zip(embedded_words(objective, ids), probabilities, strict=True):
                expected += share[:, None].to(x) * words
        if not found.known.all():
            mean = every_embedding(objective, self).double().mean(0).to(x)
            expected = torch.where(found.known[:, None], expected, mean)
        return torch.where(template_tokens(objective)[:, None], x, self.weight * expected)


@dataclass(frozen=True, eq=False)
class Embeddings(Baseline):
    """Embeddings given by the caller: a tensor (token, dim), (dim,) for every token, or one number for all.

    Args:
        embeddings: the tensor, or the number.
        name: what to call it in results; a tensor's representation is this name and the shape, and does not make the
            tensor again.
    """

    embeddings: Tensor | float
    name: str = "given"

    def __repr__(self) -> str:
        own = self.embeddings
        shown = f"<tensor of shape {tuple(own.shape)}>" if isinstance(own, Tensor) else repr(own)
        return f"Embeddings(embeddings={shown}, name={self.name!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Embeddings):
            return NotImplemented
        one, two = self.embeddings, other.embeddings
        if isinstance(one, Tensor) and isinstance(two, Tensor):
            same = (one.shape, one.dtype, one.device) == (two.shape, two.dtype, two.device) and torch.equal(one, two)
        else:
            same = not isinstance(one, Tensor) and not isinstance(two, Tensor) and one == two
        return same and self.name == other.name

    def __hash__(self) -> int:
        return hash(self.name)

    @property
    def description(self) -> str:
        return f"{self.name} embeddings"

    def __call__(self, objective: Objective) -> Float[Tensor, "token dim"]:
        x = objective.x
        if not isinstance(self.embeddings, Tensor):
            return torch.full_like(x, self.embeddings)
        if self.embeddings.shape not in (x.shape, x.shape[1:], ()):
            raise ValueError(
                f"the baseline has shape {tuple(self.embeddings.shape)}; the prompt's embeddings have {tuple(x.shape)}"
            )
        return self.embeddings.to(x).expand_as(x)


def template_tokens(objective: Objective) -> Bool[Tensor, " token"]:
    """True for what the tokenizer or a chat template wrote, unless that is all there is."""
    pieces = objective.prompt.pieces if objective.prompt is not None else ()
    template = {position for piece in pieces if piece.template for position in piece.positions}
    found = torch.tensor([position in template for position in objective.positions], device=objective.x.device)
    return found & ~found.all()


def every_embedding(objective: Objective, asker: object) -> Float[Tensor, "vocab dim"]:
    """The embeddings of all words of the model's vocabulary."""
    lm = model_of(objective, asker)
    return embedded(lm, torch.arange(lm.vocab.size(), device=lm.device))


def model_of(objective: Objective, asker: object) -> NextTokenLM:
    """The model behind an objective. Raises ValueError for an objective that is a function of one's own."""
    lm = objective.lm
    if lm is None:
        raise ValueError(f"{asker} asks the model for embeddings; for a function of your own use Zero or Embeddings")
    return lm


def embedded(lm: NextTokenLM, ids: Tensor) -> Float[Tensor, "token dim"]:
    """The model's embeddings of ids (token,), without gradient."""
    with torch.no_grad(), lm.frozen():
        return lm.embed({"input_ids": ids[None]})[0].detach()  # a hook may have asked for gradients
