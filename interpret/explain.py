"""The entry points: a model, a prompt, a target and a method in, an Attribution or a matrix of them out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, overload

import torch
from torch import Tensor

from interpret.attribution import Attribution
from interpret.gradients import gradients
from interpret.logits import precise
from interpret.matrix import AttributionMatrix
from interpret.memory import Memory
from interpret.methods.integrated_gradients import IntegratedGradients
from interpret.methods.method import Evidence, LocalMethod, Method
from interpret.objective import Objective
from interpret.quantity import Quantity
from interpret.result import result
from interpret.span import Span, positions_in
from interpret.targets import candidates_of, continuation_target, is_span, target_of
from nexttoken import NextTokenLM, Prompt, Target
from nexttoken.text.prompt import PromptLike
from nexttoken.text.target import TokenLike, continuation_ids

TARGETS_A_BLOCK = 16
Precision = Literal["float32", "bfloat16"]


@overload
def attribute(
    lm: NextTokenLM,
    prompt: PromptLike,
    target: TokenLike | Sequence[TokenLike] | None = ...,
    method: Method | None = ...,
    *,
    contrast: TokenLike | Sequence[TokenLike] | None = ...,
    candidates: None = ...,
    quantity: Quantity | None = ...,
    span: Span | None = ...,
    precision: Precision = ...,
    chunk_size: int | None = ...,
    memory_budget: int | None = ...,
    on_progress: Callable[[int], object] | None = ...,
) -> Attribution: ...


@overload
def attribute(
    lm: NextTokenLM,
    prompt: PromptLike,
    target: None = ...,
    method: Method | None = ...,
    *,
    contrast: TokenLike | Sequence[TokenLike] | None = ...,
    candidates: int | Sequence[TokenLike],
    quantity: Quantity | None = ...,
    span: Span | None = ...,
    precision: Precision = ...,
    chunk_size: int | None = ...,
    memory_budget: int | None = ...,
    on_progress: Callable[[int], object] | None = ...,
) -> AttributionMatrix: ...


def attribute(
    lm: NextTokenLM,
    prompt: PromptLike,
    target: TokenLike | Sequence[TokenLike] | None = None,
    method: Method | None = None,
    *,
    contrast: TokenLike | Sequence[TokenLike] | None = None,
    candidates: int | Sequence[TokenLike] | None = None,
    quantity: Quantity | None = None,
    span: Span | None = None,
    precision: Precision = "float32",
    chunk_size: int | None = None,
    memory_budget: int | None = None,
    on_progress: Callable[[int], object] | None = None,
) -> Attribution | AttributionMatrix:
    """Say which parts of a prompt speak for a next token.

    Args:
        lm: the model; it comes back as it was, after errors too.
        prompt: text, token ids, or chat messages with `role` and `content`; for an encoder-decoder, a text or a pair
            (source, target prefix).
        target: the next token that is explained, as text or id; None for the model's own first choice. A list of tokens
            is a span: the sum of their log-probabilities is explained, each after those before it.
        method: how; by default IntegratedGradients().
        contrast: a foil, or several: then log p(target) - log p(foils) is explained.
        candidates: in place of a target, the number of most probable next tokens to explain, or a list of next tokens;
            the result is a matrix with one row for each, and what they have in common runs once.
        quantity: what about the target is explained; by default its log-probability, or what a convention says.
        span: the part of the prompt to explain it by: characters (start, end), a regular expression, or the number of
            a chat message. Only its tokens move; the others are context and have no score.
        precision: in which gradients are taken, where the model has more: "bfloat16" is about twice as fast on hardware
            that has it, and rougher. Probabilities and the values in certificates stay the model's own.
        chunk_size: how many points (path steps, noise samples) run at once; by default as many as are fast and fit
            the memory. Scores do not depend on it.
        memory_budget: the bytes that may be taken above the model's weights, by estimate; by default half of what is
            free. Where one point does not fit, as many layers as it takes run a second time in the backward pass; all
            of them make a gradient up to half as long again. If the device runs out all the same, the run goes on with
            fewer points at once, and a warning.
        on_progress: called with the number of gradients just taken, for a progress bar; an exception that it raises
            cancels the run between two chunks.

    Returns:
        One score per piece of text, with its unit and how it was made. Costs at most `method.cost(tokens)` gradients
        for each target.

    Raises:
        ValueError: a prompt that is empty, too long or has unknown ids; a target that is not one token there; a span
            without tokens; a prompt that does not fit the memory even alone.
        MemoryError: the device runs out with one point at a time.
        FloatingPointError: the objective or a gradient is not finite.
    """
    method, quantity = chosen(method, quantity)
    encoded, memory = lm.prompt(prompt), Memory(memory_budget)
    memory.check(lm, encoded)
    positions = None if span is None else positions_in(span, encoded)
    rough = in_precision(lm, precision)
    if candidates is not None:
        if target is not None:
            raise ValueError("give either a target or candidates, not both")
        if not quantity.of_target:
            raise ValueError(f"the {quantity.name} is the same for every next token; leave out the candidates")
        targets = candidates_of(lm, encoded, candidates, contrast)
        prompts = [encoded] * len(targets)
        rows = explained(lm, prompts, targets, method, quantity, positions, rough, chunk_size, on_progress, memory)
        return AttributionMatrix("candidates", rows)
    if isinstance(method, LocalMethod) and positions is None and not rough and not is_span(target):
        token: Any = target
        (found,) = local(lm, [Question(encoded, token, contrast)], method, quantity, on_progress, memory)
        if isinstance(found, Exception):
            raise found
        return found
    resolved = target_of(lm, encoded, target, contrast)
    objective = Objective.of(lm, encoded, resolved, quantity, positions, rough, chunk_size, on_progress, memory)
    return one(objective, resolved, method, quantity)


def attribute_continuation(
    lm: NextTokenLM,
    prompt: PromptLike,
    continuation: str | Sequence[TokenLike] | None = None,
    method: Method | None = None,
    *,
    max_new_tokens: int = 20,
    quantity: Quantity | None = None,
    span: Span | None = None,
    precision: Precision = "float32",
    chunk_size: int | None = None,
    memory_budget: int | None = None,
    on_progress: Callable[[int], object] | None = None,
) -> AttributionMatrix:
    """Explain every token of a continuation by all that stands before it.

    Args:
        lm: the model; it comes back as it was.
        prompt: as for `attribute`.
        continuation: text or tokens; None for what the model itself would say, its first choice each time.
        method: how; by default IntegratedGradients().
        max_new_tokens: how long the model's own continuation may be; it ends before the end-of-text token.
        quantity: as for `attribute`.
        span: as for `attribute`: only these tokens of the prompt move, neither the others nor the continuation.
        precision: as for `attribute`.
        chunk_size: as for `attribute`.
        memory_budget: as for `attribute`.
        on_progress: as for `attribute`.

    Returns:
        A matrix with a row for each token of the continuation. A row equals `attribute` on what stands before its
        token; tokens share forward passes where their methods ask for the same points. Costs at most
        `method.cost(tokens)` gradients a row.

    Raises:
        ValueError: as for `attribute`; an empty continuation; a model that would say nothing, or is not causal.
    """
    method, quantity = chosen(method, quantity)
    encoded, memory = lm.prompt(prompt), Memory(memory_budget)
    memory.check(lm, encoded)
    positions = None if span is None else positions_in(span, encoded)
    rough = in_precision(lm, precision)
    if continuation is None:
        ids = lm.generate(encoded, max_new_tokens)
        if not ids:
            raise ValueError("the model ends here: its first choice is the end of the text; give a continuation")
    else:
        ids = continuation_ids(continuation, encoded, lm.vocab)
    whole = lm.prompt(encoded.extended(ids[:-1], lm.vocab))
    memory.check(lm, whole)
    prompts = [whole.first(len(encoded) + place) for place in range(len(ids))]
    targets = [replace(target, following=()) for target in continuation_target(lm, encoded, ids).continuation]
    rows = explained(lm, prompts, targets, method, quantity, positions, rough, chunk_size, on_progress, memory)
    return AttributionMatrix("continuation", rows)


def chosen(method: Method | None, quantity: Quantity | None) -> tuple[Method, Quantity]:
    """The method and what it explains, each by default. Raises ValueError for what is not a method."""
    method = method if method is not None else IntegratedGradients()
    if not isinstance(method, Method):
        raise ValueError(f"the method is {method!r}; give an instance, such as IntegratedGradients()")
    return method, quantity if quantity is not None else method.quantity


def explained(
    lm: NextTokenLM,
    prompts: Sequence[Prompt],
    targets: Sequence[Target],
    method: Method,
    quantity: Quantity,
    positions: Sequence[int] | None,
    rough: NextTokenLM | None,
    chunk_size: int | None,
    on_progress: Callable[[int], object] | None,
    memory: Memory,
) -> tuple[Attribution, ...]:
    """Several targets, each after its own prompt, of which each begins the last; forward passes are shared.

    Not by all of them at once, since the gradients of those that share are kept until the last has asked for its own.
    """
    found: list[Attribution] = []
    for begin in range(0, len(targets), TARGETS_A_BLOCK):
        end = begin + TARGETS_A_BLOCK
        block, own = targets[begin:end], prompts[begin:end]
        objectives = Objective.together_of(lm, own, block, quantity, positions, rough, chunk_size, on_progress, memory)
        if method.drawn and len({len(each.embeddings) for each in objectives}) > 1:  # other lengths, other draws
            for objective in objectives:
                objective.together = None
        pairs = list(zip(objectives, block, strict=True))
        rows = [one(objective, target, method, quantity) for objective, target in reversed(pairs)]
        found += reversed(rows)
    return tuple(found)


def in_precision(lm: NextTokenLM, precision: Precision) -> NextTokenLM | None:
    """The model to take gradients of, where that is another one. Raises ValueError for a precision that is unknown."""
    if precision == "float32":
        return None
    if precision != "bfloat16":
        raise ValueError(f"precision is {precision!r}; it must be 'float32', the model's own, or 'bfloat16'")
    return lm.in_precision(torch.bfloat16)


def one(objective: Objective, target: Target, method: Method, quantity: Quantity) -> Attribution:
    """The attribution of one objective, whose target took a forward pass to rate."""
    objective.forwards_spent += 1
    return result(objective, method(objective, objective.embeddings), target, method, quantity)


@dataclass(frozen=True)
class Question:
    """A prompt, the next token that is asked about, and its foils."""

    prompt: Prompt
    target: TokenLike | None
    contrast: TokenLike | Sequence[TokenLike] | None


def local(
    lm: NextTokenLM,
    questions: Sequence[Question],
    method: LocalMethod,
    quantity: Quantity,
    on_progress: Callable[[int], object] | None = None,
    memory: Memory | None = None,
) -> list[Attribution | Exception]:
    """Questions answered together in one forward and one backward pass.

    The forward pass rates the targets as well. A question that cannot be answered gets its error. Of a model that
    supports right padding,
    prompts may have several lengths: the shorter ones repeat their last token, which nothing that is read can see.
    """
    ids = [lm.tokens(question.prompt)["input_ids"][0] for question in questions]
    lengths, longest = [len(each) for each in ids], max(len(each) for each in ids)
    input_ids = torch.stack([torch.cat([each, each[-1:].expand(longest - len(each))]) for each in ids])
    places = sorted({length - 1 for length in lengths})
    own_place = [places.index(length - 1) for length in lengths]
    with torch.no_grad(), lm.frozen():
        embeddings = lm.embed({"input_ids": input_ids}).detach()
    memory = memory or Memory()
    targets: list[Target | Exception] = []

    def function(points: Tensor) -> Tensor:
        _, logits = lm.next_tokens(points.to(embeddings.dtype), input_ids, places, checkpointed=memory.checkpointed)
        every = precise(logits[range(len(questions)), own_place])
        targets[:] = [rated(question, logits) for question, logits in zip(questions, every, strict=True)]
        rows = zip(targets, every[:, None], strict=True)
        return torch.cat([
            0 * logits[:, 0] if isinstance(target, Exception) else quantity.function(logits, target)
            for target, logits in rows
        ])  # fmt: skip

    def rated(question: Question, logits: Tensor) -> Target | Exception:
        try:
            return Target.of(question.target, question.prompt, lm.vocab, logits.detach(), question.contrast)
        except ValueError as error:
            return error

    points = precise(embeddings)
    batch = Objective(
        function, points[0], lm, questions[0].prompt, chunk_size=len(questions), on_progress=on_progress,
        memory=memory, divisible=False,
    )  # fmt: skip
    _, gradient = gradients(batch, points)
    found: list[Attribution | Exception] = []
    for number, (question, target) in enumerate(zip(questions, targets, strict=True)):
        if isinstance(target, Exception):
            found.append(target)
            continue
        point, slope = points[number, : lengths[number]], gradient[number, : lengths[number]]
        objective = Objective(function, point, lm, question.prompt, gradients_spent=1)
        evidence = Evidence(method.at(objective, point[None], slope[None])[0])
        found.append(result(objective, evidence, target, method, quantity))
    return found
