"""Every causal language model of transformers is exact, or is refused, as the documentation's table says."""

from functools import partial

import pytest
import transformers

from nexttoken import NextTokenLM
from tests import tiny_models
from tests.architectures import LAWS, PAGE, error_of_logits, examine, measure

pytestmark = pytest.mark.filterwarnings("ignore")

# One of each mechanism, in every run; all of them in the whole suite.
REPRESENTATIVES = (
    "BertLMHeadModel",  # an encoder as a decoder, a transform before the head
    "BltForCausalLM",  # reads ids, fed through the embedding layer's output
    "CTRLLMHeadModel",  # changes its input in place
    "DeepseekV2ForCausalLM",  # multi-head latent attention, shared experts
    "GPT2LMHeadModel",  # learned positions
    "Gemma2ForCausalLM",  # scaled embeddings, capped logits
    "LlamaForCausalLM",  # rotary positions, norms in float32
    "MambaForCausalLM",  # a state space
    "MixtralForCausalLM",  # experts
    "MusicgenForCausalLM",  # refused: several embedding layers
    "OPTForCausalLM",  # learned positions with an offset
    "PhiForCausalLM",  # attention and feed-forward side by side
    "Qwen3ForCausalLM",  # norms of queries and keys
    "RobertaForCausalLM",  # positions counted from ids
    "RwkvForCausalLM",  # linear attention as a recurrence
    "XLNetLMHeadModel",  # refused: not causal
)
EVERY = [
    pytest.param(name, marks=() if name in REPRESENTATIVES else pytest.mark.slow, id=name) for name in tiny_models.NAMES
]


@pytest.mark.parametrize("name", EVERY)
def test_a_class_is_what_the_table_says_and_breaks_no_law(name):
    finding = examine(name)
    assert not finding.broken
    assert finding.row in PAGE.read_text().splitlines(), "run `make architectures`"


# Other seeds, weights and shapes: seed, noise, sizes in the place of others, and what cannot have these sizes.
OTHERS = {
    "as initialized": (1, 0.0, {}, ()),
    "wider": (2, 0.0, {32: 64, 48: 80}, ("Bamba", "GraniteMoeHybrid", "Helium", "Mamba2")),
    "wider, with noise": (3, 0.15, {32: 64, 48: 80}, ("Bamba", "GraniteMoeHybrid", "Helium", "Mamba2")),
    "an odd vocabulary": (4, 0.05, {64: 99}, ("FalconH1",)),
}


@pytest.mark.parametrize("other", OTHERS)
def test_no_class_is_refused_for_its_random_weights(other):
    """In float32, where the slopes of a network that is not trained may be as small as what rounding does."""
    seed, noise, sizes, impossible = OTHERS[other]
    wrong = {}
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    for name in [row.split("`")[1] for row in rows if row.split(" | ")[1].startswith("exact")]:
        if name.removesuffix("ForCausalLM") in impossible:
            continue
        try:
            lm = NextTokenLM.from_pretrained(tiny_models.build(name, seed, noise, sizes))
        except ValueError as error:
            wrong[name] = str(error)
            continue
        error = error_of_logits(lm)
        if not error <= 4 * lm.report.tolerance:
            wrong[name] = error
    assert not wrong


def test_the_table_has_every_class_and_its_counts_are_right():
    lines = PAGE.read_text().splitlines()
    rows = [line for line in lines if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == list(tiny_models.NAMES)
    verdicts = [row.split(" | ")[1] for row in rows]
    (summary,) = [
        line for line in lines if line.startswith("**") and f"transformers {transformers.__version__}" in line
    ]
    for verdict in ("exact", "exact with a remark", "refused", "not built"):
        assert f"{verdicts.count(verdict)} {verdict}" in summary
    assert sum(verdict.startswith("exact") for verdict in verdicts) >= 165


# The suite sees what it is there to see


class Faulty(transformers.GPT2LMHeadModel):
    """A GPT-2 that goes wrong once it is loaded, behind the probe's back."""

    fault = None

    def forward(self, input_ids=None, inputs_embeds=None, **options):
        if self.fault is look_ahead and inputs_embeds is None:
            input_ids, inputs_embeds = None, self.transformer.wte(input_ids)
        if self.fault is not None and inputs_embeds is not None:
            inputs_embeds = self.fault(inputs_embeds)
        return super().forward(input_ids, inputs_embeds=inputs_embeds, **options)


def look_ahead(x):
    """A part of every token is in each."""
    return x + 0.01 * x.mean(1, keepdim=True)


def threshold(x):
    """Another scale from about halfway on: this number is -0.01 in the mean embedding and -0.13 in the prompt."""
    return x * (1 + 0.5 * (x[:, 1:2, :1] > -0.05))


def without_mask(lm, embeddings, tokens):
    """The last position's logits, padding or not."""
    return lm.next_tokens(embeddings, tokens["input_ids"])[1][:, 0]


FAULTS = {
    "logits are the model's own": lambda x: 1.001 * x,
    "gradients are finite differences": lambda x: x + 0.1 * (x - x.detach()),
    "later tokens do not matter": look_ahead,
    "left padding does not matter": without_mask,
    "right padding does not matter": without_mask,
    "rows do not depend on each other": lambda x: x + 0.01 * (x - x.mean(0)),
    "prompts do not depend on those that run with them": lambda x: x + 0.01 * (x - x.mean(0)),
    "integrated gradients miss nothing but jumps": lambda x: x + 0.1 * (x - x.detach()),
    "jumps are choices by rank": threshold,
    "the gap is reported as it is": lambda x: 1.001 * x,
    "GIM changes the way back only": lambda x: x.detach() + 0 * x,
}


@pytest.mark.parametrize("law", FAULTS)
def test_a_broken_law_is_found(law, monkeypatch):
    assert FAULTS.keys() == LAWS.keys()
    monkeypatch.setattr("tests.architectures.MOST_GRADIENTS", 128)
    model = tiny_models.build("GPT2LMHeadModel").double()
    model.__class__ = Faulty
    lm = NextTokenLM.from_pretrained(model)
    if FAULTS[law] is without_mask:
        lm.logits = partial(without_mask, lm)
    else:
        model.fault = FAULTS[law]
    finding = measure("Faulty", lm, "float64")
    assert law in finding.broken
    assert finding.verdict == "wrong"
    assert law in finding.row
