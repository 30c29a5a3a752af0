"""The probe returns what it proved, and the network and the model are as they were before."""

import dataclasses

import pytest
import torch
import transformers

from nexttoken import NextTokenLM, ProbeReport
from nexttoken.checks.capabilities import batched_backward_is_exact, checkpointing_is_exact, prefix_cache_is_exact
from nexttoken.checks.probe import PROBE_LENGTH, probe
from tests import tiny_models
from tests.builders import t5
from tests.conftest import gpt2

WAYS = ("inputs_embeds", "embedding_output")


class HalvesItsInput(transformers.GPT2LMHeadModel):
    """Not itself with `inputs_embeds`, and without gradient in a part: both ways and both gradients are tried."""

    def forward(self, input_ids=None, inputs_embeds=None, **options):
        if inputs_embeds is not None:
            return super().forward(inputs_embeds=inputs_embeds / 2, **options)
        embeddings = self.transformer.wte(input_ids)
        return super().forward(inputs_embeds=embeddings / 2 + embeddings.detach() / 2, **options)


class TakesNoEmbeddings(HalvesItsInput):
    """Nothing can stand in for its embeddings."""

    def forward(self, input_ids=None, inputs_embeds=None, **options):
        if input_ids is not None:
            inputs_embeds = 2 * self.transformer.wte.weight[input_ids]
        return super().forward(inputs_embeds=inputs_embeds, **options)


def load(kind=transformers.GPT2LMHeadModel, dtype=torch.float64):
    network = gpt2(dtype)
    network.__class__ = kind
    return NextTokenLM.from_pretrained(network)


def attributes(lm):
    """Everything that is stored in the model and in its modules, by identity where it cannot change unseen."""
    return [
        {key: dict(value) if isinstance(value, dict) else value for key, value in vars(module).items()}
        for module in lm.modules()
    ]


def probed(lm):
    return probe(lm, lm._feed, lm.own_logits, lm.ordinary_ids(), WAYS)


def test_a_report_is_frozen():
    report = load().report
    for field in dataclasses.fields(ProbeReport):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(report, field.name, None)


@pytest.mark.parametrize("kind", [transformers.GPT2LMHeadModel, HalvesItsInput])
def test_the_probe_leaves_all_attributes_as_they_were_and_says_the_same_again(kind, untouched):
    lm = load(kind)
    before = attributes(lm)
    with untouched(lm):
        assert probed(lm) == lm.report
    assert attributes(lm) == before


def test_a_probe_that_refuses_leaves_all_attributes_as_they_were(untouched):
    lm = load()
    lm.language_model_head.__class__ = TakesNoEmbeddings
    before = attributes(lm)
    with untouched(lm), pytest.raises(ValueError, match="cannot be explained by its embeddings"):
        probed(lm)
    assert attributes(lm) == before


def test_capabilities_are_proved_without_a_trace(untouched):
    lm = NextTokenLM.from_pretrained(tiny_models.build("LlamaForCausalLM"))
    input_ids, before = lm.ordinary_ids()[None, :PROBE_LENGTH], attributes(lm)
    with untouched(lm):
        assert batched_backward_is_exact(lm, input_ids)
        assert prefix_cache_is_exact(lm, lm._keys_and_values, input_ids)
        assert checkpointing_is_exact(lm, input_ids, len(lm.layers))
    assert attributes(lm) == before


def test_a_cache_of_another_text_is_not_exact():
    lm = NextTokenLM.from_pretrained(tiny_models.build("LlamaForCausalLM"))
    input_ids = lm.ordinary_ids()[None, :PROBE_LENGTH]
    assert not prefix_cache_is_exact(lm, lambda embeddings: lm._keys_and_values(embeddings.flip(1)), input_ids)
    assert not prefix_cache_is_exact(lm, lambda embeddings: None, input_ids)


def test_what_the_report_says_of_networks_that_are_known():
    usual, odd, halves = load().report, load(HalvesItsInput).report, load(dtype=torch.bfloat16).report
    assert (usual.feeding, odd.feeding) == WAYS
    assert (usual.force_grad, odd.force_grad) == (False, True)
    assert not any(report.reads_ids or report.length_matters for report in (usual, odd, halves))
    assert usual.tolerance == odd.tolerance == 1e-5
    assert halves.tolerance == 4 * torch.finfo(torch.bfloat16).eps
    for report in (usual, odd, halves):
        assert report.logit_error <= report.tolerance
        assert report.gradient_error <= 0.05
    assert halves.gradient_error == 0
    blt = NextTokenLM.from_pretrained(tiny_models.build("BltForCausalLM"))
    assert blt.report.reads_ids
    assert blt.report.feeding == "embedding_output"
    assert "looked up from its id" in blt.name


def test_an_encoder_decoder_has_a_report_too():
    lm = NextTokenLM.from_pretrained(t5())
    assert lm.report == dataclasses.replace(lm.report, feeding="inputs_embeds", force_grad=False, reads_ids=False)
    assert lm.causal is not lm.report.length_matters


# Small slopes


class HalfTheSlope(torch.autograd.Function):
    """The identity, with a part of the gradient."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return 0.8 * gradient


UNTRAINED = {
    transformers.PegasusForCausalLM: transformers.PegasusConfig(
        d_model=32, decoder_layers=2, decoder_attention_heads=2, decoder_ffn_dim=64, vocab_size=99, is_decoder=True,
        is_encoder_decoder=False,
    ),
    transformers.ProphetNetForCausalLM: transformers.ProphetNetConfig(
        hidden_size=32, num_decoder_layers=2, num_decoder_attention_heads=2, decoder_ffn_dim=64, vocab_size=99,
        is_decoder=True, is_encoder_decoder=False,
    ),
    transformers.PegasusForConditionalGeneration: transformers.PegasusConfig(
        d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=64, decoder_ffn_dim=64, vocab_size=99,
    ),
    transformers.GPT2LMHeadModel: transformers.GPT2Config(
        n_embd=32, n_layer=2, n_head=2, vocab_size=99, bos_token_id=0, eos_token_id=1, initializer_range=1e-3
    ),
}  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", UNTRAINED)
@pytest.mark.parametrize("seed", range(3))
def test_rounding_is_not_taken_for_a_fault(kind, dtype, seed):
    torch.manual_seed(seed)
    lm = NextTokenLM.from_pretrained(kind(UNTRAINED[kind]).to(dtype).eval())
    assert lm.report.gradient_error <= 0.05


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", UNTRAINED)
def test_a_fault_is_found_where_slopes_are_small(kind, dtype):
    torch.manual_seed(0)
    network = kind(UNTRAINED[kind]).to(dtype).eval()
    head = network.get_output_embeddings()
    head.register_forward_pre_hook(lambda module, inputs: (HalfTheSlope.apply(inputs[0]),))
    with pytest.raises(ValueError, match="a part being computed without"):
        NextTokenLM.from_pretrained(network)


@pytest.mark.parametrize(
    ("kind", "config", "switch"),
    [
        (
            transformers.XLMWithLMHeadModel,
            transformers.XLMConfig(emb_dim=32, n_layers=2, n_heads=2, n_words=64),
            "causal",
        ),
        (
            transformers.FlaubertWithLMHeadModel,
            transformers.FlaubertConfig(emb_dim=32, n_layers=2, n_heads=2, n_words=64),
            "causal",
        ),
        (
            transformers.BertLMHeadModel,
            transformers.BertConfig(
                hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48, vocab_size=64
            ),
            "is_decoder",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_makes_a_network_causal_is_said_by_its_name(kind, config, switch):
    torch.manual_seed(0)
    with pytest.raises(ValueError, match=f"needs {switch}=True in its configuration"):
        NextTokenLM.from_pretrained(kind(config).eval())
    setattr(config, switch, True)
    assert NextTokenLM.from_pretrained(kind(config).eval()).causal
