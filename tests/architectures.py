"""What NextTokenLM makes of every causal language model of transformers, each law measured on a tiny random model.

`python -m tests.architectures` (or `make architectures`) writes docs/architectures.md; the tests assert the same
findings, class by class.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

from interpret import (
    GIM,
    Attribution,
    ConvergenceWarning,
    IntegratedGradients,
    MeanEmbedding,
    VanillaGradient,
    attribute,
    attribute_many,
)
from interpret.engine.evaluate import gradients, values
from interpret.engine.objective import Objective
from interpret.methods.adaptive import Point, Segment, certified_gap, integrate
from interpret.methods.integrated_gradients import FIRST_SEGMENTS
from interpret.methods.path import SMALLEST_GAP
from nexttoken import NextTokenLM, Prompt, Target
from nexttoken.checks.capabilities import choices
from nexttoken.checks.probe import in_one_line, relative
from nexttoken.huggingface.network import embedding_rows
from tests import tiny_models

PAGE = Path(__file__).parent.parent / "docs" / "architectures.md"
MARKS = ("<!-- table: begin -->", "<!-- table: end -->")

IDS = torch.tensor([[5, 9, 13, 33, 21, 8, 40, 9, 17]])
LAST_IDS = torch.tensor([41, 10, 18])
TARGET = 25
TOLERANCE = 0.01  # of integrated gradients, relative to the change of the log-probability
MOST_GRADIENTS = 1024
STEP_SIZES = (
    1e-2,
    3e-3,
    1e-3,
    3e-4,
    1e-4,
    1e-5,
)  # of finite differences; the best counts: one step may cross a jump of a router
FLOAT32_INSIDE = 1e-6  # finite differences in float64 are better than this, unless a part is computed in float32
HALVINGS = 24  # of a stretch of 2^-20 of the path, to see that what changes there is a jump
SMALLEST_JUMP = 1e-4  # nats; less than this is within the tolerance, jump or not

# Each law, and how far off it may be. Relative errors, but for the last three.
LAWS: dict[str, float] = {
    "logits are the model's own": 1e-5,
    "gradients are finite differences": 2e-3,  # where a norm is computed in float32, these can't be better
    "later tokens do not matter": 1e-5,
    "left padding does not matter": 1e-5,
    "right padding does not matter": 1e-5,
    "rows do not depend on each other": 1e-5,
    "prompts do not depend on those that run with them": 1e-5,
    "integrated gradients miss nothing but jumps": 1.0,  # in tolerances
    "jumps are choices by rank": 0.0,  # how many are not
    "the gap is reported as it is": 1e-6,  # nats
    "GIM changes the way back only": 0.0,  # of F
}


@dataclass(frozen=True)
class Finding:
    """What was found of one class.

    Attributes:
        name: the class.
        verdict: "exact", "exact with a remark", "refused", "not built"; or "wrong", where a law is broken.
        feeding: the way its embeddings are given to it.
        precision: what it computes in when it is loaded in float64.
        notes: remarks, or the reason why it is refused or not built.
        errors: each law and how far off it is.
    """

    name: str
    verdict: str
    feeding: str = ""
    precision: str = ""
    notes: tuple[str, ...] = ()
    errors: dict[str, float] = field(default_factory=dict)

    @property
    def broken(self) -> dict[str, float]:
        """The laws that do not hold, with their errors."""
        return {law: error for law, error in self.errors.items() if not error <= LAWS[law]}

    @property
    def row(self) -> str:
        """Its line of the table."""
        cells = (f"`{self.name}`", self.verdict, self.feeding, self.precision, "; ".join(self.notes))
        return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def examine(name: str) -> Finding:
    """Build a class, load it as users do, in float32, and measure every law in float64 where it runs in that."""
    try:
        model = tiny_models.build(name)
    except (ImportError, ValueError) as error:
        if name not in tiny_models.NOT_BUILT:
            raise
        return Finding(name, "not built", notes=(f"{tiny_models.NOT_BUILT[name]} ({in_one_line(error)})",))
    try:
        lm = NextTokenLM.from_pretrained(model)
    except ValueError as error:
        return Finding(name, "refused", notes=(str(error),))
    double = in_float64(name)
    precision = "float32 only" if double is None else "float64"
    return measure(name, double or lm, precision, refusal_in_bfloat16(name))


def refusal_in_bfloat16(name: str) -> tuple[str, ...]:
    """A remark on a class that is refused in half precision; none otherwise."""
    try:
        NextTokenLM.from_pretrained(tiny_models.build(name).bfloat16())
    except ValueError as error:
        return (f"refused in bfloat16 ({error})",)
    return ()


def in_float64(name: str) -> NextTokenLM | None:
    """The class loaded in float64; None where its own code does not run in that."""
    model = tiny_models.build(name).double()
    if model._can_set_experts_implementation():
        model.set_experts_implementation("eager")  # the products of the others do not have it
    try:
        return NextTokenLM.from_pretrained(model)
    except ValueError as error:
        if "cannot run on ids alone" not in str(error):
            raise
        return None


def measure(name: str, lm: NextTokenLM, precision: str, notes: tuple[str, ...] = ()) -> Finding:
    """Every law on a loaded model, and what is worth a remark besides the notes that there are."""
    prompt = Prompt.of(IDS[0].tolist(), lm.vocab)
    objective = Objective.of(lm, prompt, Target.of(TARGET, prompt, lm.vocab, logits(lm, IDS)[0]))
    path = StraightPath(objective)
    jumps, chooses = path.jumps(), choices(lm, IDS)
    smooth = [segment for segment in path.segments if segment not in jumps]
    errors = dict(
        zip(
            LAWS,
            (
                error_of_logits(lm),
                error_of_gradients(objective),
                error_of_causality(lm),
                error_of_padding(lm, left=True),
                error_of_padding(lm, left=False),
                error_of_rows(objective),
                error_of_company(lm),
                certified_gap(smooth) / path.enough,
                0 if chooses else len(jumps),
                error_of_report(objective),
                error_of_gim(objective),
            ),
            strict=True,
        )
    )
    if precision == "float64" and errors["gradients are finite differences"] > FLOAT32_INSIDE:
        precision = "float64, parts in float32"
    notes += remarks(lm, chooses, bool(jumps))
    verdict = "exact with a remark" if notes or precision == "float32 only" else "exact"
    finding = Finding(name, verdict, lm.report.feeding.replace("_", " "), precision, notes, errors)
    return Finding(name, "wrong", notes=tuple(finding.broken), errors=errors) if finding.broken else finding


# The laws, each as the size of its violation


def logits(lm: NextTokenLM, ids: Tensor) -> Tensor:
    """The logits of the next token, as methods see them."""
    with torch.no_grad(), lm.frozen():
        return lm.logits(lm.embed({"input_ids": ids}), {"input_ids": ids})


def own_logits(lm: Any, ids: Tensor) -> Tensor:
    """What the model itself says, called with ids, at every token."""
    with torch.no_grad(), lm.frozen():
        return lm.own_logits(ids)


def error_of_logits(lm: NextTokenLM) -> float:
    """The logits that are explained, and those of `forward`, against the model's own."""
    with torch.no_grad(), lm.frozen():
        forward = lm({"input_ids": IDS})["logits"]
    return max(relative(found, own_logits(lm, IDS)[:, -1]) for found in (logits(lm, IDS), forward))


def error_of_gradients(objective: Objective) -> float:
    """The gradient along random directions against central differences, at the best step size."""
    x = objective.x
    directions = torch.randn(4, *x.shape, generator=torch.Generator().manual_seed(0)).to(x)
    directions /= directions.flatten(1).norm(dim=1)[:, None, None]
    expected = (directions * gradients(objective, x[None])[1]).flatten(1).sum(1)
    errors = []
    for size in STEP_SIZES:
        above, below = (values(objective, x + sign * size * directions) for sign in (1, -1))
        errors.append(float(((above - below) / (2 * size) - expected).norm() / expected.norm()))
    return min(errors)


def error_of_causality(lm: NextTokenLM) -> float:
    """How much the logits before the last tokens change with these."""
    changed = torch.cat([IDS[:, : -len(LAST_IDS)], LAST_IDS[None]], 1)
    whole, other = (own_logits(lm, ids)[:, : -len(LAST_IDS)] for ids in (IDS, changed))
    return relative(other, whole)


def error_of_padding(lm: NextTokenLM, left: bool) -> float:
    """A padded batch against its rows alone."""
    rows = [IDS[0], IDS[0, :5], IDS[0, 2:]]
    padded, mask = torch.zeros(2, len(rows), IDS.shape[1], dtype=torch.long)
    for index, row in enumerate(rows):
        where = slice(IDS.shape[1] - len(row), None) if left else slice(len(row))
        padded[index, where], mask[index, where] = row, 1
    tokens = {"input_ids": padded, "attention_mask": mask}
    with torch.no_grad(), lm.frozen():
        together = lm.logits(lm.embed(tokens), tokens)
    return relative(together, torch.cat([logits(lm, row[None]) for row in rows]))


def error_of_rows(objective: Objective) -> float:
    """Several points at once against each alone."""
    x = objective.x
    points = x + x.std() * torch.randn(3, *x.shape, generator=torch.Generator().manual_seed(1)).to(x)
    return relative(values(objective, points), torch.cat([values(objective, point[None]) for point in points]))


def error_of_company(lm: NextTokenLM) -> float:
    """The scores of prompts of several lengths that run together against those of each alone."""
    prompts, method = (
        [IDS[0].tolist(), IDS[0, :8].tolist(), IDS[0, 1:].tolist(), IDS[0, 2:].tolist()],
        VanillaGradient(),
    )
    found = attribute_many(lm, prompts, [TARGET] * len(prompts), method)
    errors = []
    for prompt, each in zip(prompts, found, strict=True):
        assert isinstance(each, Attribution), each
        alone = attribute(lm, prompt, TARGET, method).scores
        errors.append(float(abs(each.scores - alone).max() / abs(alone).max()))
    return max(errors)


def error_of_report(objective: Objective) -> float:
    """The gap that IntegratedGradients reports at its cheapest, against the sum of its scores and the model's own word.

    Infinite where it is silent about a certified gap that is too large, or warns of one that is not.
    """
    method = IntegratedGradients(TOLERANCE, 2 * FIRST_SEGMENTS + 1, MeanEmbedding(), "first")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        evidence = method(objective)
    completeness = evidence.completeness
    own = own_logits(objective.lm, IDS)[0, -1].double().log_softmax(-1)[TARGET]
    change = float(own) - completeness.baseline_value
    enough = max(TOLERANCE * abs(completeness.value - completeness.baseline_value), SMALLEST_GAP)
    warned = any(issubclass(warning.category, ConvergenceWarning) for warning in caught)
    if warned != (completeness.largest_gap > enough):
        return float("inf")
    return abs(completeness.gap - abs(float(evidence.attributions.sum()) - change))


def error_of_gim(objective: Objective) -> float:
    """F under GIM's rules against F; infinite where their gradient is not finite, zero, or the plain one."""
    x = objective.x[None]
    value, plain = gradients(objective, x)
    ruled, gradient = gradients(objective, x, rules=GIM().rules)
    if not bool(gradient.isfinite().all()) or not bool(gradient.any()) or torch.equal(gradient, plain):
        return float("inf")
    return float((ruled - value).abs())


class StraightPath:
    """The path of integrated gradients from the mean embedding to the prompt, its first token fixed, refined."""

    def __init__(self, objective: Objective):
        self.objective, x = objective, objective.x
        self.start = torch.cat([x[:1], MeanEmbedding()(objective)[1:]])
        self.delta = x - self.start
        self.segments = integrate(self.explore, TOLERANCE, SMALLEST_GAP, MOST_GRADIENTS, FIRST_SEGMENTS)
        change = self.segments[-1].end.value - self.segments[0].start.value
        self.enough = max(TOLERANCE * abs(change), SMALLEST_GAP)

    def points(self, alphas: Sequence[float]) -> Tensor:
        """Points on the path."""
        return self.start + torch.tensor(alphas, dtype=torch.float64).to(self.delta)[:, None, None] * self.delta

    def explore(self, alphas: Sequence[float]) -> list[Point]:
        """Points with their values and slopes."""
        value, gradient = gradients(self.objective, self.points(alphas))
        slopes = (gradient.double() * self.delta.double()).sum(-1)
        return [Point(*each) for each in zip(alphas, value.tolist(), slopes, strict=True)]

    def jumps(self) -> list[Segment]:
        """The narrow segments in which the objective is shown to jump."""
        return [
            segment
            for segment in self.segments
            if segment.narrow and segment.error > SMALLEST_JUMP and self.is_jump(segment)
        ]

    def is_jump(self, segment: Segment) -> bool:
        """Whether at least half of what a segment misses changes within a stretch 2^24 times as short.

        Were the objective continuous, so short a stretch could hold no more than its slope times nearly nothing.
        """
        low, high = ((end.alpha, end.value) for end in (segment.start, segment.end))
        for _ in range(HALVINGS):
            alpha = (low[0] + high[0]) / 2
            middle = (alpha, float(values(self.objective, self.points([alpha]))))
            low, high = (low, middle) if abs(middle[1] - low[1]) > abs(high[1] - middle[1]) else (middle, high)
        return abs(high[1] - low[1]) > segment.error / 2


# What is worth a remark


def remarks(lm: Any, chooses: set[str], jumped: bool) -> tuple[str, ...]:
    """What users should know of an exact model, all of it found by running it."""
    notes = []
    if lm.report.reads_ids:
        notes.append("a part of each token is looked up from its id, and stays")
    if lm.report.force_grad:
        notes.append("a part that it computes without gradient is computed with it")
    if chooses:
        where = "jumps on the path tried" if jumped else "no jump on the path tried"
        notes.append(f"chooses by rank ({', '.join(sorted(chooses))}): {where}")
    if not lm.causal:
        notes.append("what it predicts at a token depends on how many follow: no continuations")
    if names := other_with(lm):
        notes.append(f"not the model's own with {', '.join(f'`{name}`' for name in names)} within the prompt")
    if changes_its_input(lm):
        notes.append("changes `inputs_embeds` in place (it is given a copy)")
    return tuple(notes)


def other_with(lm: Any) -> list[str]:
    """The special ids of the configuration that, within the prompt, make the logits other than the model's own."""
    config = lm.language_model_head.config
    named = config.to_dict() | config.get_text_config(decoder=True).to_dict()
    found = []
    for name, special in sorted(named.items()):
        if not name.endswith(("_token_id", "_token_index")) or not isinstance(special, int):
            continue
        if 0 <= special < embedding_rows(lm.language_model_head):
            ids = IDS.clone()
            ids[0, IDS.shape[1] // 2] = special
            if relative(logits(lm, ids), own_logits(lm, ids)[:, -1]) > LAWS["logits are the model's own"]:
                found.append(name)
    return found


def changes_its_input(lm: NextTokenLM) -> bool:
    """Whether the network writes into the embeddings that it is given."""
    with torch.no_grad(), lm.frozen():
        embeddings = lm.embed({"input_ids": IDS})
        given = embeddings.clone()
        lm.next_tokens(given, IDS)
    return not torch.equal(given, embeddings)


# The page


def table(findings: Sequence[Finding]) -> str:
    """The counts and one row for each class."""
    counts = Counter(finding.verdict for finding in findings)
    summary = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items()))
    head = ("class", "verdict", "fed through", "computes in", "remark or reason")
    lines = [
        f"**{len(findings)} classes of transformers {transformers.__version__}: {summary}.**",
        "",
        f"| {' | '.join(head)} |",
        f"|{' --- |' * len(head)}",
        *(finding.row for finding in findings),
    ]
    return "\n".join(lines)


def main() -> None:
    """Examine every class, and write the page."""
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    findings = []
    for name in tiny_models.NAMES:
        findings.append(examine(name))
        print(findings[-1].row, findings[-1].broken or "", flush=True)
    before, _, rest = PAGE.read_text().partition(MARKS[0])
    PAGE.write_text(f"{before}{MARKS[0]}\n\n{table(findings)}\n\n{MARKS[1]}{rest.partition(MARKS[1])[2]}")


if __name__ == "__main__":
    main()
