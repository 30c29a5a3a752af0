"""The entry points: a model, a prompt, a target and a method in, an Attribution or a matrix of them out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from interpret.build import build_attribution
from interpret.engine.evaluate import Evaluator, Scored, counted
from interpret.engine.memory.policy import TARGETS_PER_PASS
from interpret.engine.objective import Objective
from interpret.engine.run import Counts, Precision, Run, interruptible
from interpret.engine.text import Text
from interpret.methods.default import default_method
from interpret.methods.method import Method
from interpret.question.prepared import PreparedQuestion, ask, ask_candidates, ask_continuation
from interpret.question.quantity import Quantity
from interpret.question.region import Region
from interpret.replacement.check import check_text
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
    """Say which parts of a prompt support a next token.

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
            a chat message. Only its tokens are attributed; the others are context and have no score.
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
    (why,), text = _in_order(lm, [question], method, quantity, run)
    return replace(why, faithfulness=check_text(text, why, quantity, run)) if check else why


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
    """Say which parts of a prompt support each of several next tokens; what they have in common runs once.

    Args:
        candidates: the number of most probable next tokens, or a list of next tokens.
        contrast: the same for every row; a foil is not among the most probable ones.
        quantity: it must be one of the target.

    The other arguments are those of `attribute`.

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
    return AttributionMatrix("candidates", tuple(_in_order(lm, [question], method, quantity, run)[0]))


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
        continuation: text or tokens; None for what the model itself would say, its first choice each time.
        max_new_tokens: how long the model's own continuation may be; it ends before a token that ends a text or a
            turn (`lm.end_ids`).
        region: only these tokens of the prompt are attributed, neither the others nor the continuation.

    The other arguments are those of `attribute`.

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
    return AttributionMatrix("continuation", tuple(_in_order(lm, questions, method, quantity, run)[0]))


def with_defaults(lm: NextTokenLM, method: Method | None, quantity: Quantity | None) -> tuple[Method, Quantity]:
    """The method and what it explains, each by default. Raises ValueError for what is not a method."""
    method = method if method is not None else default_method(lm)
    if not isinstance(method, Method):
        raise ValueError(f"the method is {method!r}; give an instance, such as IntegratedGradients()")
    return method, quantity if quantity is not None else method.quantity


def prepared(lm: NextTokenLM, question: PreparedQuestion, run: Run) -> Text:
    """The text of a question. Raises ValueError if its gradient does not fit the memory."""
    return Text.fitting(lm, question.prompt, run, question.positions, question.following, question.attributed)


def _in_order(
    lm: NextTokenLM, questions: Sequence[PreparedQuestion], method: Method, quantity: Quantity, run: Run
) -> tuple[list[Attribution], Text]:
    """The attributions of some questions about one text, in order, and the last text. Raises what any of them does."""
    found: list[Attribution] = []
    with interruptible(), lm.frozen():
        asked = [(prepared(lm, question, run), question) for question in questions]
        for each in asked:
            (answer,) = attribute_batch(lm, [each], method, quantity, run)
            if isinstance(answer, Exception):
                raise answer
            found += answer
    return found, asked[-1][0]


def attribute_batch(
    lm: NextTokenLM,
    asked: Sequence[tuple[Text, PreparedQuestion]],
    method: Method,
    quantity: Quantity,
    run: Run,
) -> list[list[Attribution] | Exception]:
    """The attributions of each question, a row each, or why there are none; questions share what they can.

    Several questions run together at their prompts, which is of use to methods that need one gradient. The model is
    frozen by who asks.
    """
    evaluator = Evaluator(lm, quantity, run, method.rules, method.needs_predictions and lm.causal)
    try:
        scored = _scored(evaluator, asked, method)
    except EXPECTED as error:
        if len(asked) == 1:
            return [error]
        return [attribute_batch(lm, [each], method, quantity, run)[0] for each in asked]  # which of them is to blame
    found: list[list[Attribution] | Exception] = []
    for each in scored:
        try:
            found.append(each if isinstance(each, ValueError) else _attributed(evaluator, each, method))
        except EXPECTED as error:
            found.append(error)
    return found


def _scored(
    evaluator: Evaluator, asked: Sequence[tuple[Text, PreparedQuestion]], method: Method
) -> list[Scored | ValueError]:
    """The rows of some questions, with their gradients at the prompt if that is what the method needs.

    Many rows of one question are only scored, and so are those whose gradients do not fit the memory together.
    """
    texts, questions = [text for text, _ in asked], [question for _, question in asked]
    if method.local and max(question.targets for question in questions) <= TARGETS_PER_PASS:
        try:
            return evaluator.gradients_at_prompts(texts, questions)
        except MemoryError:
            if len(asked) > 1 or questions[0].targets == 1:
                raise
    return evaluator.score_targets(texts, questions)


def _attributed(evaluator: Evaluator, scored: Scored, method: Method) -> list[Attribution]:
    """The attributions of a question's rows; some rows at a time share the passes at the points of their method.

    Not all at once, since the gradients of those that share are kept until the last has used its own.
    """
    found, quantity, run = [], evaluator.quantity, evaluator.run
    for begin in range(0, len(scored.rows), TARGETS_PER_PASS):
        some = replace(scored, rows=scored.rows[begin : begin + TARGETS_PER_PASS])
        for each in _with_gradients(evaluator, some, method):
            for number, row in enumerate(each.rows):
                objective = Objective.of_row(each.text, row, quantity, run, Counts(forwards=each.forwards))
                if each.gradients is None or each.points is None or each.values is None:
                    evidence = method(objective)
                else:
                    seen = each.text.seen_by(row.prompt)
                    points, gradient = each.points[:, :seen].clone(), each.gradients[number][:, :seen]
                    counts = counted(objective, points, each.values[:, number], gradient, method.exact_values)
                    evidence = method.attributions(objective, points, *counts)
                found.append(build_attribution(objective, evidence, row.target, method, quantity))
    return found


def _with_gradients(evaluator: Evaluator, scored: Scored, method: Method) -> list[Scored]:
    """Rows with the gradients at the points that all of them need, where they share these."""
    rows = scored.rows
    alike = not method.stochastic or len({len(row.prompt) for row in rows}) == 1
    if scored.gradients is not None or len(rows) < 2 or not alike:
        return [scored]
    longest = max(rows, key=lambda row: len(row.prompt))
    points = method.points(Objective.of_row(scored.text, longest, evaluator.quantity, evaluator.run))
    return [scored] if points is None else evaluator.gradients_at(scored, points)
