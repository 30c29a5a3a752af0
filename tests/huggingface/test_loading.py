"""Loading as transformers does: options, folders of every kind, adapters that enlarge a vocabulary, wrappers."""

import types
from copy import deepcopy

import pytest
import torch
import transformers
from torch import nn

from interpret import GradientTimesInput, attribute, attribute_continuation
from nexttoken import NextTokenLM
from nexttoken.huggingface import loading
from nexttoken.huggingface.loading import as_tokenizer
from tests import tiny_models
from tests.builders import BART_SIZES, SIZES, random
from tests.conftest import gpt2

pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tokenizer):
    path = tmp_path_factory.mktemp("tiny")
    gpt2(torch.float32).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def same(one, other):
    torch.testing.assert_close(
        attribute(one, [5, 6, 7], 9, GradientTimesInput()).scores,
        attribute(other, [5, 6, 7], 9, GradientTimesInput()).scores,
    )


# Options


@pytest.mark.parametrize(
    ("options", "dtype"), [({"torch_dtype": "bfloat16"}, "bfloat16"), ({"dtype": "float64"}, "float64")]
)
def test_options_of_the_weights(folder, options, dtype):
    lm = NextTokenLM.from_pretrained(folder, **options, device="cpu", attn_implementation="eager")
    assert str(lm.dtype) == f"torch.{dtype}"
    assert lm.language_model_head.config._attn_implementation == "eager"


def test_options_of_the_files_reach_model_configuration_and_tokenizer(folder, tmp_path, monkeypatch):
    nested = tmp_path / "outer" / "inner"
    gpt2(torch.float32).save_pretrained(nested)
    asked = []

    def watch(kind):
        own = kind.from_pretrained

        def from_pretrained(where, *args, **options):
            named = ("revision", "subfolder", "cache_dir", "token")
            asked.append((kind, {key: options[key] for key in named if key in options}))
            return own(where, *args, **{**options, "revision": "main"})

        monkeypatch.setattr(kind, "from_pretrained", from_pretrained)

    kinds = (transformers.AutoConfig, transformers.AutoModelForCausalLM, transformers.AutoTokenizer)
    for kind in kinds:
        watch(kind)
    options = {"revision": "v1", "cache_dir": str(tmp_path / "cache"), "token": "t"}
    NextTokenLM.from_pretrained(folder, **options)
    assert all((kind, options) in asked for kind in kinds)
    monkeypatch.undo()
    tokenizer = as_tokenizer(folder)
    lm = NextTokenLM.from_pretrained(tmp_path / "outer", tokenizer, subfolder="inner")
    same(lm, NextTokenLM.from_pretrained(folder))


def test_unknown_options_and_options_of_a_model_in_memory(folder):
    with pytest.raises(ValueError, match="takes no option 'revisoin'; it takes revision, subfolder"):
        NextTokenLM.from_pretrained(folder, revisoin="main")
    for options in ({"device": "cpu"}, {"revision": "main"}, {"torch_dtype": "float16"}):
        with pytest.raises(ValueError, match="a model in memory stays as it is"):
            NextTokenLM.from_pretrained(gpt2(), **options)


# What is no language model


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        (transformers.LlamaModel, {}),
        (transformers.GPT2Model, {}),
        (transformers.BertModel, {}),
        (transformers.GPT2ForSequenceClassification, {"pad_token_id": 0}),
        (transformers.LlamaForTokenClassification, {}),
        (transformers.GPT2ForQuestionAnswering, {}),
    ],
)
def test_a_model_without_a_next_token_head_is_refused_for_it(kind, config, tmp_path, tokenizer):
    torch.manual_seed(0)
    network = kind(tiny_models.tiny_config(kind.config_class, **config)).eval()
    with pytest.raises(ValueError, match=f"{kind.__name__} has no next-token head"):
        NextTokenLM.from_pretrained(network)
    network.save_pretrained(tmp_path)
    if kind is not transformers.GPT2Model and "GPT2" not in kind.__name__:  # whose head is its embedding
        with pytest.raises(OSError, match=f"it has no next-token head .it was saved as {kind.__name__}"):
            NextTokenLM.from_pretrained(tmp_path, tokenizer)


def test_weights_that_are_missing_are_not_made_up(tmp_path, tokenizer):
    from safetensors.torch import load_file, save_file

    gpt2(torch.float32).save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["transformer.h.1.mlp.c_fc.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(OSError, match=r"it lacks 1 weights, such as transformer\.h\.1\.mlp\.c_fc\.weight"):
        NextTokenLM.from_pretrained(tmp_path, tokenizer)


# Vision-language models with text


@pytest.mark.parametrize("name", ["LlavaForConditionalGeneration", "Mistral3ForConditionalGeneration"])
@pytest.mark.filterwarnings("ignore")
def test_a_model_that_reads_images_loads_from_a_folder_as_from_memory(name, tmp_path, tokenizer):
    kind = getattr(transformers, name)
    torch.manual_seed(0)
    network = kind(tiny_models.tiny_config(kind.config_class, {64: 400})).eval()
    network.save_pretrained(tmp_path)
    same(NextTokenLM.from_pretrained(tmp_path, tokenizer), NextTokenLM.from_pretrained(network))


# Tokenizers


def test_whatever_holds_a_tokenizer_is_one(folder, tokenizer, tmp_path):
    tokenizer.backend_tokenizer.save(str(tmp_path / "tokenizer.json"))
    expected = NextTokenLM.from_pretrained(gpt2(), tokenizer).prompt("The keys").ids
    for given in (
        tokenizer, types.SimpleNamespace(tokenizer=tokenizer), tokenizer.backend_tokenizer, tmp_path / "tokenizer.json",
        str(tmp_path / "tokenizer.json"), folder,
    ):  # fmt: skip
        assert NextTokenLM.from_pretrained(gpt2(), given).prompt("The keys").ids == expected
    with pytest.raises(OSError, match="nothing"):
        NextTokenLM.from_pretrained(gpt2(), tmp_path / "nothing")


# Wrappers and inference mode


def test_wrappers_are_taken_off():
    plain = NextTokenLM.from_pretrained(gpt2())
    wrapped = nn.DataParallel(gpt2())
    same(NextTokenLM.from_pretrained(wrapped), plain)
    assert isinstance(wrapped, nn.DataParallel)
    same(NextTokenLM.from_pretrained(nn.DataParallel(torch.compile(gpt2(), backend="eager"))), plain)


def test_weights_of_inference_mode_are_refused_and_loading_there_works(folder):
    with torch.inference_mode():
        network = gpt2()
    with pytest.raises(ValueError, match=r"were made in torch.inference_mode\(\).*load the model outside of it"):
        NextTokenLM.from_pretrained(network)
    with torch.inference_mode():
        inside = NextTokenLM.from_pretrained(folder)
        same(inside, NextTokenLM.from_pretrained(folder))
    same(inside, NextTokenLM.from_pretrained(folder))


# Adapters with a vocabulary of their own


@pytest.mark.parametrize("kind", ["modules_to_save", "lora on the embedding"])
@pytest.mark.filterwarnings("ignore")
def test_an_adapter_with_more_tokens_enlarges_its_base(folder, tmp_path, tokenizer, kind):
    peft = pytest.importorskip("peft")
    larger = deepcopy(tokenizer)
    larger.add_tokens(["<new>", "<newer>"])
    base = transformers.AutoModelForCausalLM.from_pretrained(folder)
    base.resize_token_embeddings(len(larger) + 6, mean_resizing=False)
    settings = {"modules_to_save": ["wte", "lm_head"], "target_modules": ["c_attn"]}
    if kind != "modules_to_save":
        settings = {"target_modules": ["c_attn"]}
    torch.manual_seed(1)
    network = peft.get_peft_model(base, peft.LoraConfig(**settings, fan_in_fan_out=True, init_lora_weights=False))
    network.save_pretrained(tmp_path, save_embedding_layers=True)
    larger.save_pretrained(tmp_path)
    lm = NextTokenLM.from_pretrained(tmp_path)
    assert lm.vocab.size() == len(larger) + 6
    assert lm.prompt("The <new>").ids[-1] == len(tokenizer)
    same(lm, NextTokenLM.from_pretrained(network.eval()))
    assert loading._rows_of_adapter(tmp_path) == len(larger) + 6


# Encoder-decoders whose first token is forced


@pytest.mark.parametrize(
    ("kind", "config"),
    [(transformers.M2M100ForConditionalGeneration, transformers.M2M100Config),
     (transformers.MBartForConditionalGeneration, transformers.MBartConfig)],
)  # fmt: skip
@pytest.mark.parametrize("where", ["config", "generation_config"])
@pytest.mark.filterwarnings("ignore")
def test_a_forced_first_token_is_what_generation_says(kind, config, where):
    network = random(kind, config(**SIZES, **BART_SIZES, pad_token_id=1, eos_token_id=2, decoder_start_token_id=2))
    getattr(network, where).forced_bos_token_id = 77
    lm = NextTokenLM.from_pretrained(network)
    network.config.forced_bos_token_id = None  # generation reads its own configuration alone
    network.generation_config.forced_bos_token_id = 77
    source = [5, 9, 13, 33, 2]
    said = network.generate(torch.tensor([source]), max_new_tokens=8, do_sample=False, num_beams=1)[0].tolist()[:5]
    assert said[:2] == [2, 77]
    prompt = lm.prompt(source)
    assert prompt.ids[prompt.source :] == (2, 77)
    assert lm.predict(source)[0].id == said[2]
    assert list(lm.generate(source, 3)) == said[2:]
    matrix = attribute_continuation(lm, source, None, GradientTimesInput(), max_new_tokens=3)
    assert [row.target.id for row in matrix] == said[2:]
    assert lm.prompt((source, [77, 8])).ids[lm.prompt(source).source :] == (2, 77, 8)  # ids are as they are
    assert lm.prompt((source, [8])).ids[lm.prompt(source).source :] == (2, 8)


# Quantized weights


class Rounded(nn.Module):
    """A layer that multiplies in half precision, as quantized ones do, in a network of float32."""

    def __init__(self, layer, dtype):
        super().__init__()
        self.layer, self.dtype = layer, dtype

    def forward(self, states):
        return self.layer(states.to(self.dtype).to(states)).to(self.dtype).to(states)


@pytest.mark.parametrize(
    ("plan", "dtype"),
    [
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, torch.float16),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_compute_dtype": "bfloat16"}, torch.bfloat16),
        (
            transformers.BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=torch.bfloat16),
            torch.bfloat16,
        ),
    ],
)
def test_the_tolerance_follows_what_is_computed_in(plan, dtype):
    network = tiny_models.build("LlamaForCausalLM")
    for block in network.model.layers:
        block.mlp.up_proj = Rounded(block.mlp.up_proj, dtype)
        block.self_attn.o_proj = Rounded(block.self_attn.o_proj, dtype)
    network.config.quantization_config = plan
    lm = NextTokenLM.from_pretrained(network)
    assert lm.dtype == torch.float32
    assert lm.compute_dtype == dtype
    assert lm.report.tolerance == 4 * torch.finfo(dtype).eps
    assert "quantized by bitsandbytes" in lm.name
    assert attribute(lm, [5, 6, 7], 9, GradientTimesInput()).model == lm.name
