"""Models that are placed, adapted, quantized or of half precision: the plain model's numbers, or a stated bound."""

import copy
import math

import numpy as np
import peft
import pytest
import torch
import transformers

from interpret import GradientTimesInput, IntegratedGradients, VanillaGradient, attribute
from interpret.question.quantity import LOG_PROBABILITY, Quantity
from nexttoken import NextTokenLM
from nexttoken.huggingface.bundled import packaged_gguf
from tests.builders import t5
from tests.conftest import gpt2, llama

# peft asks transformers 5.23 for a name that it is about to drop.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

TEXT, TARGET = "The keys to the cabinet", " are"
IDS, PAIR, NEXT = [5, 9, 13, 33, 21], ((5, 9, 13, 33), (7, 11)), 25
PARTS = ["model.embed_tokens", "model.layers.0", "model.layers.1", "model.norm", "model.rotary_emb", "lm_head"]
HALF = {"bfloat16": 0.1, "float16": 0.02}  # how far scores are from float32's: the norm of the difference, relative


def relative(found, expected):
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


# Placed by accelerate


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tokenizer):
    path = tmp_path_factory.mktemp("llama")
    llama().save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.mark.parametrize("device_map", ["auto", "cpu", {"": "cpu"}], ids=str)
def test_a_device_map_changes_no_score(folder, device_map):
    if torch.cuda.is_available():
        pytest.skip("a GPU rounds otherwise; see the test for GPUs")
    expected = attribute(NextTokenLM.from_pretrained(folder), TEXT, 5, VanillaGradient()).scores
    lm = NextTokenLM.from_pretrained(folder, device_map=device_map)
    assert (attribute(lm, TEXT, 5, VanillaGradient()).scores == expected).all()


@pytest.mark.parametrize(
    "on_disk", [PARTS[1:2], PARTS[:1], PARTS[-1:], [part for part in PARTS if "rotary" not in part]]
)
def test_parts_that_are_kept_on_disk_change_no_score(folder, tokenizer, tmp_path, on_disk):
    """Such a part has weights only while it runs; the backward pass still has them."""
    network = transformers.AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=torch.float32,
        device_map={part: "disk" if part in on_disk else "cpu" for part in PARTS},
        offload_folder=tmp_path,
    )
    wanting = [parameter.requires_grad for parameter in network.parameters()]
    assert any(parameter.device.type == "meta" for parameter in network.parameters())
    lm, plain = NextTokenLM.from_pretrained(network, tokenizer), NextTokenLM.from_pretrained(folder)
    for method in (VanillaGradient(), IntegratedGradients()):
        found, expected = (attribute(each, IDS, NEXT, method).scores for each in (lm, plain))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    tokens = lm.tokens(lm.prompt(IDS))
    with torch.no_grad(), lm.frozen():
        _, found = lm.next_tokens(lm.embed(tokens), tokens["input_ids"], positions=(1, 3, -1))
    torch.testing.assert_close(found, plain.own_logits(tokens["input_ids"])[:, [1, 3, 4]])
    assert [parameter.requires_grad for parameter in network.parameters()] == wanting


@pytest.mark.skipif(torch.cuda.device_count() < 1, reason="no GPU: not run")
def test_on_a_gpu(folder):
    expected = attribute(NextTokenLM.from_pretrained(folder), TEXT, 5, VanillaGradient()).scores
    found = attribute(NextTokenLM.from_pretrained(folder, device_map="cuda:0"), TEXT, 5, VanillaGradient()).scores
    assert relative(found.cpu(), expected) < 1e-3


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="fewer than two GPUs: not run")
def test_on_two_gpus(folder):
    expected = attribute(NextTokenLM.from_pretrained(folder), TEXT, 5, VanillaGradient()).scores
    split = {part: int(place > 2) for place, part in enumerate(PARTS)}
    found = attribute(NextTokenLM.from_pretrained(folder, device_map=split), TEXT, 5, VanillaGradient()).scores
    assert relative(found.cpu(), expected) < 1e-3


@pytest.mark.skipif(torch.cuda.device_count() < 1, reason="no GPU: 4 and 8 bits by bitsandbytes were not run")
@pytest.mark.parametrize("bits", ["load_in_4bit", "load_in_8bit"])
def test_quantized_by_bitsandbytes(folder, bits):
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed: not run")
    network = transformers.AutoModelForCausalLM.from_pretrained(
        folder, device_map="cuda:0", quantization_config=transformers.BitsAndBytesConfig(**{bits: True})
    )
    result = attribute(NextTokenLM.from_pretrained(network), IDS, NEXT, GradientTimesInput())
    assert all(map(math.isfinite, result.scores))


# Half precision


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("build", [gpt2, llama, t5])
def test_half_precision_is_close_to_float32_and_the_loss_is_taken_in_float32(build, dtype):
    seen = []

    def function(logits, target):
        seen.append(logits.dtype)
        logits.requires_grad and logits.register_hook(lambda gradient: seen.append(gradient.dtype))
        return LOG_PROBABILITY.function(logits, target)

    network = build().float()
    prompt = PAIR if build is t5 else IDS
    expected = attribute(NextTokenLM.from_pretrained(network), prompt, NEXT, GradientTimesInput()).scores
    lm = NextTokenLM.from_pretrained(network.to(getattr(torch, dtype)))
    quantity = Quantity("log-probability", "nats", function)
    found = attribute(lm, prompt, NEXT, GradientTimesInput(), quantity=quantity).scores
    assert seen == [torch.float32, torch.float32]
    assert relative(found, expected) < HALF[dtype]


@pytest.mark.filterwarnings("ignore::interpret.ConvergenceWarning")
@pytest.mark.parametrize("dtype", HALF)
def test_the_certificate_of_half_precision_is_its_own(dtype):
    """The gap is what the scores miss of this model's own values, rounding included."""
    lm = NextTokenLM.from_pretrained(llama().to(getattr(torch, dtype)))
    result = attribute(lm, IDS, NEXT, IntegratedGradients())
    certificate = result.completeness
    missed = certificate.value - certificate.baseline_value - float(result.scores.sum())
    assert certificate.gap == pytest.approx(abs(missed), abs=1e-5)
    assert certificate.gap <= certificate.certified_gap + 1e-5
    with torch.no_grad():
        own = lm.language_model_head(torch.tensor([IDS])).logits[0, -1].float().log_softmax(-1)[NEXT]
    assert certificate.value == pytest.approx(float(own), abs=0.05)


@pytest.mark.parametrize("dtype", HALF)
def test_a_dtype_is_taken_at_loading(folder, dtype):
    assert NextTokenLM.from_pretrained(folder, dtype=dtype).language_model_head.dtype == getattr(torch, dtype)


def test_the_bundled_model_in_bfloat16(bundled):
    lm = NextTokenLM.from_pretrained(dtype="bfloat16")
    for method in (VanillaGradient(), GradientTimesInput()):
        found, expected = (attribute(each, TEXT, TARGET, method).scores for each in (lm, bundled))
        assert relative(found, expected) < HALF["bfloat16"]


# Quantized: GGUF


def test_a_gguf_file_is_the_bundled_model(bundled):
    lm = NextTokenLM.from_pretrained(packaged_gguf())
    assert lm.name == packaged_gguf().name
    weights = zip(lm.parameters(), bundled.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in weights)
    found, expected = (attribute(each, TEXT, TARGET, VanillaGradient()) for each in (lm, bundled))
    torch.testing.assert_close(found.scores, expected.scores, rtol=1e-4, atol=0)  # where they lie in memory matters
    assert found.tokens == expected.tokens


# Adapters


def adapted(network, settings):
    """With an adapter whose weights are not zero."""
    torch.manual_seed(1)
    model = peft.get_peft_model(network, copy.deepcopy(settings))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if any(mark in name for mark in ("lora_", "ia3_", "prompt_")):
                parameter.copy_(0.3 * torch.randn_like(parameter))
    return model


def lora(**settings):
    return peft.LoraConfig(r=2, lora_dropout=0.5, task_type="CAUSAL_LM", **settings)


ADAPTERS = {
    "LoRA": lora(target_modules=["q_proj", "v_proj"]),
    "LoRA at the embeddings": lora(target_modules=["embed_tokens", "q_proj"]),
    "IA3": peft.IA3Config(
        target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"], task_type="CAUSAL_LM"
    ),
}


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_adapter_has_the_same_scores_merged_or_not(name, untouched):
    plain = attribute(NextTokenLM.from_pretrained(llama()), IDS, NEXT, GradientTimesInput()).scores
    model = adapted(llama(), ADAPTERS[name]).train()
    lm = NextTokenLM.from_pretrained(model)
    with untouched(lm):
        unmerged = attribute(lm, IDS, NEXT, GradientTimesInput())
    assert relative(unmerged.scores, plain) > 0.1
    assert unmerged.model == "PeftModelForCausalLM with the adapter default"
    merged = NextTokenLM.from_pretrained(model.merge_and_unload())
    found = attribute(merged, IDS, NEXT, GradientTimesInput()).scores
    assert relative(found, unmerged.scores) < 1e-5


def test_trained_prompts_stand_before_the_tokens_and_are_no_tokens():
    model = adapted(llama(), peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3))
    lm = NextTokenLM.from_pretrained(model)
    assert len(attribute(lm, IDS, NEXT, VanillaGradient()).scores) == len(IDS)
    tokens = lm.tokens(lm.prompt(IDS))
    with torch.no_grad(), lm.frozen():
        own = model(input_ids=tokens["input_ids"]).logits[:, 3:]
        _, found = lm.next_tokens(lm.embed(tokens), tokens["input_ids"], positions=range(len(IDS)))
    torch.testing.assert_close(found, own)


def test_an_adapter_of_an_encoder_decoder():
    settings = peft.LoraConfig(r=2, target_modules=["q", "v"], task_type="SEQ_2_SEQ_LM")
    lm = NextTokenLM.from_pretrained(adapted(t5(), settings))
    unmerged = attribute(lm, PAIR, NEXT, GradientTimesInput()).scores
    merged = NextTokenLM.from_pretrained(lm.language_model_head.merge_and_unload())
    assert relative(attribute(merged, PAIR, NEXT, GradientTimesInput()).scores, unmerged) < 1e-5


@pytest.fixture
def adapter(folder, tmp_path):
    """A folder with an adapter, whose base model is in another."""
    model = adapted(llama(), ADAPTERS["LoRA"])
    model.peft_config["default"].base_model_name_or_path = str(folder)
    model.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter", model


def test_a_folder_with_an_adapter_is_loaded_with_its_base_model(adapter, tokenizer):
    path, model = adapter
    lm = NextTokenLM.from_pretrained(path)
    assert lm.name == "adapter"
    expected = attribute(NextTokenLM.from_pretrained(model, tokenizer), TEXT, 5, VanillaGradient()).scores
    assert (attribute(lm, TEXT, 5, VanillaGradient()).scores == expected).all()


def test_an_adapter_that_cannot_be_loaded_says_why(adapter, folder, monkeypatch):
    path, _ = adapter
    with monkeypatch.context() as without:
        without.setattr("nexttoken.huggingface.loading.find_spec", lambda name: None)
        with pytest.raises(ImportError, match="needs the package peft; run: pip install"):
            NextTokenLM.from_pretrained(path)
    (path / "adapter_model.safetensors").rename(path / "adapter_model.bin")
    with pytest.raises(OSError, match=r"it is an adapter without adapter_model.safetensors"):
        NextTokenLM.from_pretrained(path)
    (path / "adapter_model.bin").rename(path / "adapter_model.safetensors")
    settings = path / "adapter_config.json"
    settings.write_text(settings.read_text().replace(str(folder), "nobody/nothing"))
    with pytest.raises(OSError, match=r"cannot load the model .*adapter': .*nobody/nothing"):
        NextTokenLM.from_pretrained(path)
