"""Hugging Face models: their own numbers, through their own forward, or a refusal."""

import pytest
import torch
import transformers

from interpret import GradientTimesInput, VanillaGradient, attribute
from nexttoken import NextTokenLM
from tests.conftest import gpt2, llama


@pytest.mark.parametrize("build", [gpt2, llama])
def test_logits_are_the_models_own(build, tokenizer):
    model = build()
    lm = NextTokenLM.from_pretrained(model, tokenizer)
    ids = torch.tensor([lm.vocab.encode("The keys to the cabinet").ids])
    with lm.frozen(), torch.no_grad():
        expected = model(ids, output_hidden_states=True)
        output = lm({"input_ids": ids})
    torch.testing.assert_close(output["logits"], expected.logits[:, -1], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(output["contextualized_embeddings"], expected.hidden_states[-1], rtol=1e-5, atol=1e-6)


def test_a_model_in_memory_without_a_tokenizer_takes_ids():
    lm = NextTokenLM.from_pretrained(gpt2())
    result = attribute(lm, [5, 6, 7], 8, GradientTimesInput(), contrast=9)
    assert result.tokens == ("[5]", "[6]", "[7]")
    assert result.target.text == "[8]"
    assert lm.vocab.eos_id == 1
    assert lm.max_length == 64


def test_a_model_in_training_mode_is_explained_without_dropout_and_comes_back(tokenizer, untouched):
    model = gpt2()
    expected = attribute(NextTokenLM.from_pretrained(model, tokenizer), "The keys", 5, VanillaGradient()).scores
    model.train()
    lm = NextTokenLM.from_pretrained(model, tokenizer)
    with untouched(lm):
        assert (attribute(lm, "The keys", 5, VanillaGradient()).scores == expected).all()
    assert model.training


def test_saved_and_loaded(tmp_path, tokenizer):
    gpt2(torch.float32).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    lm = NextTokenLM.from_pretrained(tmp_path)
    assert lm.name == tmp_path.name
    assert (
        lm.predict("The keys")[0].id
        == NextTokenLM.from_pretrained(gpt2(torch.float32), tokenizer).predict("The keys")[0].id
    )


@pytest.mark.parametrize("build", [gpt2, llama])
def test_a_folder_without_a_tokenizer_says_what_to_give(build, tmp_path, tokenizer):
    build().save_pretrained(tmp_path)
    with pytest.raises(OSError, match=r"cannot load a tokenizer from .*; give one with tokenizer="):
        NextTokenLM.from_pretrained(tmp_path)
    assert NextTokenLM.from_pretrained(tmp_path, tokenizer).predict("The keys")


def test_pickles_are_refused(tmp_path, tokenizer):
    model = gpt2()
    model.config.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(OSError, match=r"cannot load the model .*safetensors"):
        NextTokenLM.from_pretrained(tmp_path)


class IgnoresEmbeddings(transformers.GPT2LMHeadModel):
    """Silently computes something else when it is given embeddings; the embedding layer's output is honoured."""

    def forward(self, input_ids=None, inputs_embeds=None, **options):
        if inputs_embeds is not None:
            inputs_embeds = inputs_embeds * 0.9
        return super().forward(input_ids, inputs_embeds=inputs_embeds, **options)


class ReadsTheTable(IgnoresEmbeddings):
    """Looks ids up in the table directly, so that nothing can stand in for its embeddings."""

    def forward(self, input_ids=None, inputs_embeds=None, **options):
        if input_ids is not None:
            return super(IgnoresEmbeddings, self).forward(
                inputs_embeds=self.transformer.wte.weight[input_ids], **options
            )
        return super().forward(inputs_embeds=inputs_embeds, **options)


def variant(kind):
    model = gpt2()
    model.__class__ = kind
    return model


def test_a_model_that_does_not_honour_embeddings_is_fed_through_its_embedding_layer(tokenizer):
    lm = NextTokenLM.from_pretrained(variant(IgnoresEmbeddings), tokenizer)
    assert lm.report.feeding == "embedding_output"
    plain = NextTokenLM.from_pretrained(gpt2(), tokenizer)
    assert plain.report.feeding == "inputs_embeds"
    for method in (VanillaGradient(), GradientTimesInput()):
        one, other = (attribute(each, "The keys", 5, method).scores for each in (lm, plain))
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
    assert not lm.text_field_embedder._forward_hooks


def test_a_model_that_cannot_be_fed_is_refused(tokenizer):
    with pytest.raises(
        ValueError, match=r"ReadsTheTable cannot be explained by its embeddings.*inputs_embeds: the logits differ"
    ):
        NextTokenLM.from_pretrained(variant(ReadsTheTable), tokenizer)


def test_an_id_that_is_nowhere_is_one_line():
    with pytest.raises(OSError, match="it is not on this disk, and the hub did not give it") as caught:
        NextTokenLM.from_pretrained("nobody/nothing")
    assert "\n" not in str(caught.value)
    with pytest.raises(FileNotFoundError, match="there is no such file or folder"):
        NextTokenLM.from_pretrained("./nowhere")


class CutsItsGradient(transformers.GPT2LMHeadModel):
    """A GPT-2 that computes its first layer without gradient in one half and detaches the other, to save memory."""

    def forward(self, input_ids=None, inputs_embeds=None, **options):
        embeddings = inputs_embeds if inputs_embeds is not None else self.transformer.wte(input_ids)
        with torch.no_grad():
            one = embeddings * 0.25
        return super().forward(inputs_embeds=one + embeddings.detach() * 0.25 + embeddings * 0.5, **options)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_what_a_network_computes_without_gradient_is_computed_with_it(dtype, tokenizer):
    model = gpt2(dtype)
    plain = NextTokenLM.from_pretrained(gpt2(dtype), tokenizer)
    model.__class__ = CutsItsGradient
    lm = NextTokenLM.from_pretrained(model, tokenizer)
    assert lm.report.force_grad
    assert not plain.report.force_grad
    one, other = (attribute(each, "The keys", 5, VanillaGradient()).scores for each in (lm, plain))
    torch.testing.assert_close(one, other, rtol=max(1e-5, 8 * torch.finfo(dtype).eps), atol=0)
    with torch.no_grad():
        tokens = {"input_ids": torch.tensor([[5, 6, 7]])}
        assert not lm(tokens)["logits"].requires_grad
