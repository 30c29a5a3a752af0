"""Encoder-decoders with random weights, which the tests of several rooms explain."""

import torch
import transformers

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
