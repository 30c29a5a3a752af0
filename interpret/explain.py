"""The entry points: a model, a prompt, a target and a method in, an Attribution or a matrix of them out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from interpret.build import build_attribution
from interpret.counterfactual.check import check_prompt
from interpret.engine.memory.policy import TARGETS_PER_PASS
from interpret.engine.run import Precision, Run, interruptible
from interpret.engine.shared import Asked, SharedPass, SharedRow
from interpret.methods.default import default_method
from interpret.methods.method import Method
from interpret.question.prepared import PreparedQuestion, ask, ask_candidates, ask_continuation
from interpret.question.quantity import Quantity
from interpret.question.region import Region
from interpret.results.attribution import Attribution
from interpret.results.matrix import AttributionMatrix
from nexttoken import NextTokenLM
from nexttoken.text.prompt import PromptLike, Start
from nexttoken.text.target import TokenLike

EXPECTED = (ValueError, ArithmeticError, MemoryError)  # what may be wrong with one prompt of many


def attribute(
    lm: NextTokenLM,
    prompt: PromptLike,
    target: TokenLike | Sequence[TokenLike] | None = None,
    method: Method | None = None,
    *,
    contrast: TokenLike | Sequence[TokenLike] | None = None,
    quantity: Quantity | None = None,
    region: Region | None = None,
    start: Start = None,
    precision: Precision | None = None,
    batch_size: int | None = None,
    memory_budget: int | None = None,
    check: bool = False,
    on_progress: Callable[[int], object] | None = None,
) -> Attribution:
    """Say which parts of a prompt speak for a next token.

    Args:
        lm: the model; it comes back as it was, after errors too.
        prompt: text, token ids, or chat messages with `role` and `content`; for an encoder-decoder, a text or a pair
            (source, target prefix).
        target: the next token that is explained, as text or id; None for the model's own first choice. A list of tokens
            is explained as a whole: the sum of their log-probabilities, each after those before it.
        method: how; by default what `default_method(lm)` says.
        contrast: a foil, or several: then log p(target) - log p(foils) is explained.
        quantity: what about the target is explained; by default its log-probability, or what a convention says.
        region: the part of the prompt to explain it by: characters (start, end), a regular expression, or the number of
            a chat message. Only its tokens move; the others are context and have no score.
        start: a token to put in front as context, for tokenizers that write none: its text or id, or True for the
            vocabulary's own, `lm.vocab.start_id`. It has no score and is not shown, but it changes the question: all
            probabilities are then those behind it. None reads exactly the prompt.
        precision: in which gradients are taken: "float64", "float32" or "bfloat16"; None for the model's own. The
            latter is about twice as fast on hardware that has it, and less exact. Probabilities and the values in
            certificates stay the model's own.
        batch_size: the number of points (path steps, noise samples) that run at once; by default as many as are fast
            and fit the memory. Scores do not depend on it.
        memory_budget: the bytes that may be taken above the model's weights, by estimate; by default half of what is
            free. Where one point does not fit, as many layers as it takes run a second time in the backward pass; all
            of them make a gradient up to half as long again. If the device runs out all the same, the run goes on with
            fewer points at once, and a warning.
        check: whether the scores are checked against the model, which costs up to 64 forward passes; what that found
            is the result's `faithfulness`. See `interpret.check`.
        on_progress: called with the number of gradients just taken, for a progress bar; an exception that it raises
            cancels the run between two chunks.

    Returns:
        One score per piece of text, with its unit and how it was made. Costs at most `method.cost(tokens)` gradients.

    Raises:
        ValueError: a prompt that is empty, too long or has unknown ids; a target that is not one token there; a region
            without tokens; a prompt that does not fit the memory even alone.
        MemoryError: the device runs out with one point at a time.
        FloatingPointError: the objective or a gradient is not finite.
    """
    method, quantity = with_defaults(lm, method, quantity)
    run = Run.of(precision, batch_size, memory_budget, on_progress)
    question = ask(lm, lm.prompt(prompt, start), target, contrast, region)
    (why,) = attribute_targets(lm, [question], method, quantity, run)
    return replace(why, faithfulness=check_prompt(lm, question.prompt, why, quantity, run)) if check else why


def attribute_candidates(
    lm: NextTokenLM,
    prompt: PromptLike,
    candidates: int | Sequence[TokenLike] = 5,
    method: Method | None = None,
    *,
    contrast: TokenLike | Sequence[TokenLike] | None = None,
    quantity: Quantity | None = None,
    region: Region | None = None,
    start: Start = None,
    precision: Precision | None = None,
    batch_size: int | None = None,
    memory_budget: int | None = None,
    on_progress: Callable[[int], object] | None = None,
) -> AttributionMatrix:
    """Say which parts of a prompt speak for each of several next tokens; what they have in common runs once.

    Args:
        lm: the model; it comes back as it was.
        prompt: as for `attribute`.
        candidates: the number of most probable next tokens, or a list of next tokens.
        method: how; by default what `default_method(lm)` says.
        contrast: as for `attribute`, the same for every row; a foil is not among the most probable ones.
        quantity: as for `attribute`; it must be one of the target.
        region: as for `attribute`.
        start: as for `attribute`.
        precision: as for `attribute`.
        batch_size: as for `attribute`.
        memory_budget: as for `attribute`.
        on_progress: as for `attribute`.

    Returns:
        A matrix with a row for each candidate, equal to `attribute` of it. Costs at most `method.cost(tokens)`
        gradients a row; where methods ask for the same points, a gradient is a backward pass only.

    Raises:
        ValueError: as for `attribute`; no candidates, or a quantity that is the same for every next token.
    """
    method, quantity = with_defaults(lm, method, quantity)
    run = Run.of(precision, batch_size, memory_budget, on_progress)
    if not quantity.of_target:
        raise ValueError(f"the {quantity.name} is the same for every next token; leave out the candidates")
    question = ask_candidates(lm, lm.prompt(prompt, start), candidates, contrast, region)
    return AttributionMatrix("candidates", tuple(attribute_targets(lm, [question], method, quantity, run)))


def attribute_continuation(
    lm: NextTokenLM,
    prompt: PromptLike,
    continuation: str | Sequence[TokenLike] | None = None,
    method: Method | None = None,
    *,
    max_new_tokens: int = 20,
    quantity: Quantity | None = None,
    region: Region | None = None,
    start: Start = None,
    precision: Precision | None = None,
    batch_size: int | None = None,
    memory_budget: int | None = None,
    on_progress: Callable[[int], object] | None = None,
) -> AttributionMatrix:
    """Explain every token of a continuation by all that stands before it.

    Args:
        lm: the model; it comes back as it was.
        prompt: as for `attribute`.
        continuation: text or tokens; None for what the model itself would say, its first choice each time.
        method: how; by default what `default_method(lm)` says.
        max_new_tokens: how long the model's own continuation may be; it ends before a token that ends a text or a
            turn (`lm.end_ids`).
        quantity: as for `attribute`.
        region: as for `attribute`: only these tokens of the prompt move, neither the others nor the continuation.
        start: as for `attribute`.
        precision: as for `attribute`.
        batch_size: as for `attribute`.
        memory_budget: as for `attribute`.
        on_progress: as for `attribute`.

    Returns:
        A matrix with a row for each token of the continuation. A row equals `attribute` on what stands before its
        token; tokens share forward passes where their methods ask for the same points. Costs at most
        `method.cost(tokens)` gradients a row.

    Raises:
        ValueError: as for `attribute`; an empty continuation; a model that would say nothing, or is not causal.
    """
    method, quantity = with_defaults(lm, method, quantity)
    run = Run.of(precision, batch_size, memory_budget, on_progress)
    encoded = lm.prompt(prompt, start)
    if continuation is None:
        continuation = lm.generate(encoded, max_new_tokens)
        if not continuation:
            raise ValueError("the model ends here: its first choice is the end of the text; give a continuation")
    questions = ask_continuation(lm, encoded, continuation, region, TARGETS_PER_PASS)
    return AttributionMatrix("continuation", tuple(attribute_targets(lm, questions, method, quantity, run)))


def with_defaults(lm: NextTokenLM, method: Method | None, quantity: Quantity | None) -> tuple[Method, Quantity]:
    """The method and what it explains, each by default. Raises ValueError for what is not a method."""
    method = method if method is not None else default_method(lm)
    if not isinstance(method, Method):
        raise ValueError(f"the method is {method!r}; give an instance, such as IntegratedGradients()")
    return method, quantity if quantity is not None else method.quantity


def attribute_targets(
    lm: NextTokenLM, questions: Sequence[PreparedQuestion], method: Method, quantity: Quantity, run: Run
) -> list[Attribution]:
    """The attributions of some questions about one text, in order. Raises what any of them does."""
    longest = max(questions, key=lambda each: len(each.prompt))
    run.checkpointed_layers(lm, longest.prompt, len(longest.following))  # what does not fit is refused before any work
    found: list[Attribution] = []
    with interruptible():
        for question in questions:
            (answer,) = attribute_batch(lm, [question], method, quantity, run)
            if isinstance(answer, Exception):
                raise answer
            found += answer
    return found


def attribute_batch(
    lm: NextTokenLM, questions: Sequence[PreparedQuestion], method: Method, quantity: Quantity, run: Run
) -> list[list[Attribution] | Exception]:
    """The attributions of each question, a row each, or why there are none; questions share what they can.

    Several questions run together at their prompts, which is of use to methods that need one gradient.
    """
    with lm.frozen():
        return _attributed_batch(lm, questions, method, quantity, run)


def _attributed_batch(
    lm: NextTokenLM, questions: Sequence[PreparedQuestion], method: Method, quantity: Quantity, run: Run
) -> list[list[Attribution] | Exception]:
    """The same for a model that is frozen."""
    shared = SharedPass(lm, quantity, run, method.rules, method.needs_predictions and lm.causal)
    asked: dict[int, Asked] = {}
    found: dict[int, list[Attribution] | Exception] = {}
    for number, question in enumerate(questions):
        try:
            asked[number] = Asked.of(lm, question, run)
        except EXPECTED as error:
            found[number] = error
    try:
        rows = _shared_rows(shared, list(asked.values()), method) if asked else []
    except EXPECTED as error:
        if len(questions) > 1:  # which of them is to blame shows when each runs alone
            return [attribute_batch(lm, [question], method, quantity, run)[0] for question in questions]
        return [error]
    for (number, one), answer in zip(asked.items(), rows, strict=True):
        if isinstance(answer, Exception):
            found[number] = answer
            continue
        try:
            found[number] = _attributed(shared, one, answer, method)
        except EXPECTED as error:
            found[number] = error
    return [found[number] for number in range(len(questions))]


def _shared_rows(shared: SharedPass, asked: Sequence[Asked], method: Method) -> list[list[SharedRow] | ValueError]:
    """The rows of some questions: with their gradients at the prompt, if that is what the method needs, or rated only.

    Many rows of one question are rated only, and so are those whose gradients do not fit the memory together.
    """
    if method.local and max(each.question.targets for each in asked) <= TARGETS_PER_PASS:
        try:
            return shared.at_prompts(asked)
        except MemoryError:
            if len(asked) > 1 or asked[0].question.targets == 1:
                raise
    return shared.rate(asked)


def _attributed(shared: SharedPass, asked: Asked, rows: Sequence[SharedRow], method: Method) -> list[Attribution]:
    """The attributions of a question's rows; some rows at a time share the passes at the points they ask for first.

    Not all at once, since the gradients of those that share are kept until the last has used its own.
    """
    found = []
    for begin in range(0, len(rows), TARGETS_PER_PASS):
        for each in _with_first_gradients(shared, asked, rows[begin : begin + TARGETS_PER_PASS], method):
            objective = each.objective(shared.quantity, shared.run)
            evidence = method(objective, objective.x)
            found.append(build_attribution(objective, evidence, each.row.target, method, shared.quantity))
    return found


def _with_first_gradients(
    shared: SharedPass, asked: Asked, rows: Sequence[SharedRow], method: Method
) -> Sequence[SharedRow]:
    """Rows with the gradients that all of them ask for first; half of them at a time where the device runs out."""
    alike = not method.stochastic or len({len(each.row.prompt) for each in rows}) == 1
    if len(rows) < 2 or not alike or rows[0].known.points is not None:
        return rows
    longest = max(rows, key=lambda each: len(each.row.prompt))
    points = method.points(longest.objective(shared.quantity, shared.run))
    if points is None:
        return rows
    try:
        return shared.at_points(asked, rows, points)
    except MemoryError:
        half = len(rows) // 2
        halves = (rows[:half], rows[half:])
        return [each for some in halves for each in _with_first_gradients(shared, asked, some, method)]
