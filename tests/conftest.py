"""Models with answers that are known or cheap: tiny random ones for most tests, the bundled one for the real thing."""

import gc
import os
import sys
from zlib import crc32

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# One thread a process, here and in what the tests start, and threads that sleep while they wait: processes with two
# busy threads each slow each other ten to twenty times. OpenMP reads this when torch is loaded.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Quick tests do not execute annotations, which takes two thirds of a call's time, and try few examples of hypothesis.
# The environment tells the workers of xdist.
if "not slow" in sys.argv:
    os.environ["QUICK_TESTS"] = "1"
QUICK = "QUICK_TESTS" in os.environ

import jaxtyping

import tests.checking  # noqa: F401

if not QUICK:  # annotations are executed from here on, so this stands before the packages are imported
    jaxtyping.install_import_hook(["nexttoken", "interpret"], "tests.checking.check")

import matplotlib
import pytest
import torch
import transformers
from hypothesis import HealthCheck, settings
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn

from nexttoken import NextTokenLM, SymbolVocabulary
from tests import chromium

matplotlib.use("agg")
settings.register_profile("fixed", deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
settings.load_profile("fixed")
QUICK_EXAMPLES = 10
EXAMPLES = "_hypothesis_internal_use_settings"  # where hypothesis keeps what a test says of itself
SLOW_FILES = {"test_architectures.py", "test_devices.py"}

CORPUS = [
    "The keys to the cabinet are on the table, and the cats near the dog are asleep.",
    "When Mary and John went to the store, John gave a drink to Mary.",
    "are we? are they? are you there?",
    "def add(a, b):\n    return a + b\n",
]
CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>\n{{ message['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
LETTERS = "abcdefgh ."


def pytest_collection_modifyitems(items):
    """What runs the bundled model or a browser is slow, and quick tests try few examples, whatever number they name.

    Tests that share a fixture of their module stay together, so that no two workers make it.
    """
    for item in items:
        if "bundled" in item.fixturenames:
            item.add_marker(pytest.mark.bundled)
        if item.get_closest_marker("browser"):
            item.add_marker(chromium.missing)
        if item.path.name in SLOW_FILES or any(map(item.get_closest_marker, ("bundled", "browser"))):
            item.add_marker(pytest.mark.slow)
        if QUICK and hasattr(item.function, EXAMPLES):
            own = getattr(item.function, EXAMPLES)
            setattr(item.function, EXAMPLES, settings(own, max_examples=min(own.max_examples, QUICK_EXAMPLES)))
        if any(made[-1].scope == "module" for made in item._fixtureinfo.name2fixturedefs.values()):
            item.add_marker(pytest.mark.xdist_group(item.module.__name__))


def pytest_collection_finish():
    """What is loaded by now stays, so no collection of garbage goes through it again: each would take half a second."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Of the slow tests, every fourth executes annotations: they call what the others call, with larger networks."""
    left_out = bool(item.get_closest_marker("slow")) and crc32(item.nodeid.encode()) % 4 > 0
    jaxtyping.config.update("jaxtyping_disable", left_out)


@pytest.fixture(scope="session")
def tokenizer():
    return trained_tokenizer()


def trained_tokenizer():
    """A byte-level BPE tokenizer with a start token, as small as can be."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    special = ["<s>", "</s>", "<|user|>", "<|assistant|>", "<|system|>", "<|end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(CORPUS, trainer)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token="<s>", eos_token="</s>", chat_template=CHAT_TEMPLATE
    )


def gpt2(dtype=torch.float64, layers=2, seed=0, vocab_size=400):
    torch.manual_seed(seed)
    config = transformers.GPT2Config(
        vocab_size=vocab_size, n_positions=64, n_embd=16, n_layer=layers, n_head=2, bos_token_id=0, eos_token_id=1
    )
    model = transformers.GPT2LMHeadModel(config).to(dtype).eval()
    with torch.no_grad():  # weights large enough for curvature
        for parameter in model.parameters():
            parameter.mul_(3.0)
    return model


def llama(seed=0):
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=400, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=64, bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(8.0)
    return model


@pytest.fixture(scope="session")
def tiny(tokenizer):
    """A random GPT-2 in float64, with a tokenizer."""
    return NextTokenLM.from_pretrained(gpt2(), tokenizer)


@pytest.fixture(scope="session")
def tiny32(tokenizer):
    """The same in float32."""
    return NextTokenLM.from_pretrained(gpt2(torch.float32), tokenizer)


class Linear(nn.Module):
    """Logits that are linear in the sum of the embeddings: a bag of embeddings."""

    def __init__(self, dim, vocab_size):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(vocab_size, dim, dtype=torch.float64))

    def forward(self, state):
        return state @ self.weight.T


class Bag(nn.Module):
    """The running sum of the embeddings."""

    def forward(self, embeddings):
        return embeddings.cumsum(1)


def letters_lm(contextualizer=None, dim=6, hidden=None, **options):
    torch.manual_seed(3)
    vocab = SymbolVocabulary(LETTERS, eos=".")
    embedder = nn.Embedding(len(LETTERS), dim, dtype=torch.float64)
    head = nn.Linear(hidden or dim, len(LETTERS), dtype=torch.float64)
    return NextTokenLM(vocab, embedder, head, contextualizer, **options)


@pytest.fixture
def bag_lm():
    """A character-level bag of embeddings: every answer is on paper."""
    lm = letters_lm(Bag())
    lm.language_model_head = Linear(6, len(LETTERS))
    return lm


@pytest.fixture
def lstm_lm():
    """A character-level LSTM, with dropout that only training mode switches on."""
    torch.manual_seed(5)
    return letters_lm(nn.LSTM(6, 8, batch_first=True, dtype=torch.float64), hidden=8, dropout=0.5)


class CausalEncoder(nn.Module):
    """A small transformer encoder under a causal mask."""

    def __init__(self, dim):
        super().__init__()
        layer = nn.TransformerEncoderLayer(dim, 2, 12, dropout=0.0, batch_first=True, dtype=torch.float64)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, embeddings):
        mask = nn.Transformer.generate_square_subsequent_mask(embeddings.shape[1], dtype=torch.float64)
        return self.encoder(embeddings, mask=mask, is_causal=True)


@pytest.fixture
def encoder_lm():
    torch.manual_seed(7)
    return letters_lm(CausalEncoder(6)).eval()


@pytest.fixture(scope="session")
def bundled():
    """The bundled model; its package is part of the set-up, so that a missing one is a failure, not a skip."""
    return NextTokenLM.from_pretrained()


@pytest.fixture
def untouched():
    """Check that what a test does leaves a model and the global random state as they were."""
    return Untouched


class Untouched:
    def __init__(self, lm):
        self.lm = lm

    def state(self):
        return (
            [(name, module.training, len(module._forward_hooks), len(module._forward_pre_hooks),
              len(module._backward_hooks)) for name, module in self.lm.named_modules()],
            [(name, parameter.requires_grad, parameter.grad is None) for name, parameter in self.lm.named_parameters()],
        )  # fmt: skip

    def __enter__(self):
        self.before, self.random = self.state(), torch.get_rng_state()
        self.weights = [parameter.detach().clone() for parameter in self.lm.parameters()]

    def __exit__(self, *error):
        assert self.state() == self.before
        assert torch.equal(torch.get_rng_state(), self.random)
        assert all(torch.equal(a, b) for a, b in zip(self.weights, self.lm.parameters(), strict=True))
