"""Every causal language model of transformers is exact (logits, gradients, causality, padding), or is refused."""

import pytest
import torch

from interpret.gradients import Objective, gradients, values
from nexttoken import NextTokenLM, Prompt, Target
from tests import tiny_models

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

IDS = torch.tensor([[5, 9, 13, 33, 21, 8, 40, 9, 17]])
EXACT = 1e-5
FLOAT32_INSIDE = 2e-3  # finite differences cannot be better where a norm is computed in float32
REFUSED = {
    "CpmAntForCausalLM": "not causal",
    "MusicgenForCausalLM": "more than one embedding layer",
    "MusicgenMelodyForCausalLM": "more than one embedding layer",
    "ReformerModelWithLMHead": "to put the model into training mode",
    "XLNetLMHeadModel": "not causal",
}
READING_IDS = {
    "BltForCausalLM",
    "DeepseekV4ForCausalLM",
    "Gemma3nForCausalLM",
    "Gemma4ForCausalLM",
    "Gemma4ForConditionalGeneration",
    "Qwen4ExpForCausalLM",
}
FLOAT32_ONLY = {"Inkling2ForCausalLM", "XGLMForCausalLM"}
LOADED = [name for name in tiny_models.NAMES if name not in tiny_models.NOT_BUILT and name not in REFUSED]


def relative(found, expected):
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.fixture(scope="module", params=LOADED)
def lm(request):
    """The model in float64, where the products of its experts have it."""
    model = tiny_models.build(request.param)
    if request.param not in FLOAT32_ONLY:
        model = model.double()
        if model._can_set_experts_implementation():
            model.set_experts_implementation("eager")
    return NextTokenLM.from_pretrained(model)


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_explained_is_refused(name):
    with pytest.raises(ValueError, match=REFUSED[name]):
        NextTokenLM.from_pretrained(tiny_models.build(name))


def test_logits_are_the_models_own(lm):
    tokens = {"input_ids": IDS}
    with torch.no_grad():
        found = lm.logits(lm.embed(tokens), tokens)
        assert relative(found, lm.language_model_head(input_ids=IDS, **lm._options).logits[:, -1]) < EXACT
        assert relative(lm(tokens)["logits"], found) < EXACT


def test_what_is_read_from_ids_is_known(lm):
    assert lm.reads_ids == (type(lm.language_model_head).__name__ in READING_IDS)


def test_gradient_against_finite_differences(lm):
    prompt = Prompt.of(IDS[0].tolist(), lm.vocab)
    with torch.no_grad():
        logits = lm.logits(lm.embed({"input_ids": IDS}), {"input_ids": IDS})[0]
    objective = Objective.of(lm, prompt, Target.of(25, prompt, lm.vocab, logits))
    x = objective.embeddings
    directions = torch.randn(4, *x.shape, generator=torch.Generator().manual_seed(0)).to(x)
    directions /= directions.flatten(1).norm(dim=1)[:, None, None]
    expected = (directions * gradients(objective, x[None])[1]).flatten(1).sum(1)
    errors = []
    for size in (1e-2, 1e-3, 1e-4, 1e-5):  # the best of them: a step may cross a jump of a router
        above, below = (values(objective, x + sign * size * directions) for sign in (1, -1))
        errors.append(float(((above - below) / (2 * size) - expected).norm() / expected.norm()))
    assert min(errors) < FLOAT32_INSIDE


def test_later_tokens_do_not_matter(lm):
    changed = IDS.clone()
    changed[:, -3:] = torch.tensor([41, 10, 18])
    with torch.no_grad():
        whole, other = (lm.language_model_head(input_ids=ids, **lm._options).logits for ids in (IDS, changed))
    assert relative(other[:, :-3], whole[:, :-3]) < EXACT


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_does_not_matter(lm, side):
    rows = [IDS[0], IDS[0, :5], IDS[0, 2:]]
    padded = torch.zeros(len(rows), IDS.shape[1], dtype=torch.long)
    mask = torch.zeros_like(padded)
    for index, row in enumerate(rows):
        where = slice(len(row)) if side == "right" else slice(IDS.shape[1] - len(row), None)
        padded[index, where], mask[index, where] = row, 1
    tokens = {"input_ids": padded, "attention_mask": mask}
    with torch.no_grad():
        alone = torch.cat([lm.logits(lm.embed({"input_ids": row[None]}), {"input_ids": row[None]}) for row in rows])
        assert relative(lm.logits(lm.embed(tokens), tokens), alone) < EXACT
