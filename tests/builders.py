"""What the tests of several rooms explain: models, objectives, their finite differences, random encoder-decoders."""

import math
from functools import cache

import torch
import transformers

from interpret.engine.objective import Objective
from nexttoken import NextTokenLM, Target

SIZES = {"d_model": 16, "vocab_size": 340}
BART_SIZES = {
    "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 2,
    "encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "max_position_embeddings": 64,
}  # fmt: skip


def random(model_class, config, dtype=torch.float64):
    """Weights large enough for curvature."""
    torch.manual_seed(0)
    model = model_class(config).to(dtype).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def t5(dtype=torch.float64):
    config = transformers.T5Config(
        **SIZES, d_kv=8, d_ff=24, num_layers=2, num_heads=2, dropout_rate=0.3, decoder_start_token_id=0
    )
    return random(transformers.T5ForConditionalGeneration, config, dtype)


def bart():
    config = transformers.BartConfig(
        **SIZES, **BART_SIZES, bos_token_id=0, pad_token_id=1, eos_token_id=2, decoder_start_token_id=2,
        scale_embedding=True,
    )  # fmt: skip
    return random(transformers.BartForConditionalGeneration, config)


def marian():
    """Source and target have tables of their own."""
    config = transformers.MarianConfig(
        **SIZES, **BART_SIZES, decoder_vocab_size=340, pad_token_id=1, eos_token_id=2, decoder_start_token_id=1,
        share_encoder_decoder_embeddings=False, tie_word_embeddings=False,
    )  # fmt: skip
    return random(transformers.MarianMTModel, config)


@cache
def shared(build, *args, **options):
    """What a function builds, loaded once a process; a test that changes a model for good loads one of its own."""
    return NextTokenLM.from_pretrained(build(*args, **options))


class Device:
    """A model's device from now on, which runs out where a gradient is taken of more at once than there is room for."""

    def __init__(self, lm, monkeypatch, points=math.inf, tokens=math.inf, error=MemoryError):
        self.refused, next_tokens = 0, lm.next_tokens

        def limited(embeddings, *args, **options):
            count, length, _ = embeddings.shape
            if embeddings.requires_grad and (count > points or count * length > tokens):
                self.refused += 1
                raise error
            return next_tokens(embeddings, *args, **options)

        monkeypatch.setattr(lm, "next_tokens", limited)


def objective(lm, text="The keys", target=None, contrast=None, **options):
    prompt = lm.prompt(text)
    tokens = lm.tokens(prompt)
    with torch.no_grad(), lm.frozen():
        logits = lm.logits(lm.embed(tokens), tokens)[0]
    return Objective.of(lm, prompt, Target.of(target, prompt, lm.vocab, logits, contrast), **options)


def finite_differences(function, x, step=1e-5):
    """Central differences of a function of (point, token, dim), one coordinate at a time."""
    result = torch.zeros_like(x)
    for place in range(x.numel()):
        shift = torch.zeros_like(x).flatten()
        shift[place] = step
        high, low = function(torch.stack([x + shift.view_as(x), x - shift.view_as(x)]))
        result.view(-1)[place] = (high - low) / (2 * step)
    return result
