"""Every causal language model of transformers, tiny and with random weights: built from its configuration, offline."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

import torch
import transformers
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

NAMES: tuple[str, ...] = tuple(sorted(set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values())))

NOT_BUILT: dict[str, str] = {
    "Gemma3nForConditionalGeneration": "its vision tower needs the package timm; its text part is Gemma3nForCausalLM",
    "Gemma4AssistantForCausalLM": "a drafter: all its keys are another model's, which transformers 5.23 does not build",
    "Gemma4UnifiedAssistantForCausalLM": "as Gemma4AssistantForCausalLM",
}

# What a size of a configuration becomes, by its name, in whichever configuration it stands.
SIZES: tuple[tuple[int, str], ...] = (
    (
        64,
        "vocab_size max_position_embeddings n_positions n_ctx max_seq_len context_length max_source_positions "
        "max_target_positions vocab_size_per_layer_input unpadded_vocab_size decoder_vocab_size mamba_d_ssm "
        "pronunciation_vocab_size shape_vocab_size encoder_hash_byte_group_vocab audio_vocab_size "
        "mm_posemb_size",
    ),
    (
        32,
        "hidden_size d_model n_embd emb_dim embedding_dim word_embed_proj_dim embedding_size input_embedding_size "
        "output_embedding_size backbone_hidden_size lru_width "
        "pronunciation_embed_dim shape_embed_dim output_channels mm_embed_dim output_proj_dims adapter_in_dim "
        "adapter_out_dim adapter_input_size nemo_conv_channels downsample_hidden_size hidden_size_global",
    ),
    (
        48,
        "intermediate_size moe_intermediate_size d_inner ffn_dim encoder_ffn_dim decoder_ffn_dim ffn_hidden_size "
        "dim_ff dff feed_forward_size shared_expert_intermediate_size shared_intermediate_size intermediate_size_mlp "
        "expert_ffn_hidden_size dense_intermediate_size moe_shared_expert_intermediate_size "
        "shared_experts_intermediate_size",
    ),
    (16, "mamba_d_head mamba_head_dim"),
    (1, "first_k_dense_replace num_dense_layers"),
    (
        2,
        "num_hidden_layers n_layer n_layers num_layers num_blocks encoder_layers decoder_layers num_encoder_layers "
        "num_decoder_layers num_experts_per_tok num_experts_per_token moe_k moe_topk moe_top_k num_key_value_heads "
        "num_kv_heads num_query_groups swa_num_key_value_heads n_group topk_group num_expert_group",
    ),
    (
        4,
        "num_attention_heads n_head n_heads num_heads attention_heads encoder_attention_heads decoder_attention_heads "
        "num_encoder_attention_heads num_decoder_attention_heads swa_num_attention_heads index_n_heads "
        "linear_num_key_heads linear_num_value_heads linear_num_heads num_experts n_routed_experts num_local_experts "
        "moe_num_experts sliding_window sliding_window_size index_topk n_groups "
        "mamba_n_heads mamba_num_heads index_topk_blocks",
    ),
    (
        8,
        "head_dim v_head_dim qk_nope_head_dim qk_rope_head_dim d_head dim_head swa_head_dim index_head_dim "
        "linear_key_head_dim linear_value_head_dim linear_head_dim kv_channels attention_head_dim attention_head_size "
        "q_lora_rank kv_lora_rank rotary_dim hidden_size_per_layer_input global_head_dim",
    ),
)
LAYER_KINDS = {"layer_types", "mlp_layer_types", "layers_block_type", "block_types", "attn_layers"}
SIZE_OF = {field: size for size, fields in SIZES for field in fields.split()}
SPECIAL_IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "video_token_id": 63}
SPECIAL_IDS |= {"image_token_id": 3, "image_token_index": 3, "audio_token_id": 4, "audio_token_index": 4}

# What one configuration needs besides; of a sub-configuration, what differs from its own entry.
OVERRIDES: dict[str, dict[str, Any]] = {
    "BambaConfig": {"attn_layer_indices": [1]},
    "CohereCompassTextConfig": {"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 1e4}}},
    "BltConfig": {"vocab_size": 260},
    "DbrxAttentionConfig": {"rope_theta": 1e4, "clip_qkv": 8.0},
    "Dots1Config": {"n_shared_experts": 1},
    "Dots3NoteTextConfig": {
        "swa_num_attention_heads": 4,
        "swa_num_key_value_heads": 4,
        "swa_q_lora_rank": 8,
        "swa_kv_lora_rank": 8,
        "swa_head_dim": 16,
        "swa_qk_nope_head_dim": 8,
        "swa_v_head_dim": 8,
    },
    "Gemma4AssistantConfig": {"text_config": {"hidden_size_per_layer_input": 0, "vocab_size_per_layer_input": 0}},
    "GPTNeoConfig": {"attention_types": [[["global", "local"], 1]], "window_size": 4},
    "Gemma3nTextConfig": {
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "num_hidden_layers": 4,
        "num_kv_shared_layers": 2,
    },
    "GraniteMoeHybridConfig": {"layer_types": ["mamba", "attention"]},
    "JambaConfig": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "Lfm2MoeConfig": {"layer_types": ["conv", "full_attention"]},
    "Mamba2Config": {"num_heads": 8},
    "Qwen4ExpTextConfig": {
        "ple_layer_ids": [1],
        "heads_per_ngram": 4,
        "ngram_vocab_size_base": 16,
        "make_ngram_vocab_size_divisible_by": 8,
        "split_ngram_parts": 1,
        "indexer_n_heads": 4,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 8,
        "indexer_budget": 4,
        "indexer_compress_ratio": 2,
    },
    "ReformerConfig": {
        "axial_pos_shape": (8, 8),
        "axial_pos_embds_dim": (16, 16),
        "local_attn_chunk_length": 4,
        "lsh_attn_chunk_length": 4,
        "hash_seed": 0,
    },
    "XLMConfig": {"causal": True},
    "XmodConfig": {"default_language": "en_XX"},
    "ZambaConfig": {
        "layers_block_type": ["linear_attention", "hybrid", "hybrid"],
        "num_hidden_layers": 3,
        "attention_head_dim": 16,
    },
    "ZayaConfig": {"num_experts_per_tok": 1},
    "xLSTMConfig": {"hidden_size": 128, "embedding_dim": 128},
}


def tiny_config(
    config_class: type[transformers.PreTrainedConfig], sizes: Mapping[int, int] | None = None, **own: Any
) -> transformers.PreTrainedConfig:
    """The configuration of a family with every size of a known name made small, in its sub-configurations too.

    A network whose layers are of several kinds gets one of each. `sizes` puts other sizes in the place of the usual.
    """
    sizes = sizes or {}
    own = OVERRIDES.get(config_class.__name__, {}) | own
    if dataclasses.is_dataclass(config_class):
        names = {field.name for field in dataclasses.fields(config_class)}
    else:  # the first releases of transformers 5
        names = set(inspect.signature(config_class).parameters)
    settings: dict[str, Any] = {name: sizes.get(SIZE_OF[name], SIZE_OF[name]) for name in names & SIZE_OF.keys()}
    settings |= {name: SPECIAL_IDS[name] for name in names & SPECIAL_IDS.keys()}
    settings |= {"is_decoder": True} if "is_decoder" in names else {}  # BERT's likes are causal only then
    if "kv_lora_rank" in names:  # multi-head latent attention: every head has its own keys
        settings["num_key_value_heads"] = settings["num_attention_heads"]
    if names & LAYER_KINDS:
        default = config_class()
        kinds = {name: list(dict.fromkeys(getattr(default, name) or [])) for name in names & LAYER_KINDS}
        layers = max(2, *map(len, kinds.values()))
        settings |= {name: (kind * layers)[:layers] for name, kind in kinds.items() if kind}
        settings |= dict.fromkeys(names & {"num_hidden_layers", "num_layers"}, layers)
    for name, sub_class in config_class.sub_configs.items():
        if sub_class is transformers.AutoConfig:
            sub_class = CONFIG_MAPPING[config_class.sub_configs_defaults[name].model_type]
        settings[name] = tiny_config(sub_class, sizes, **own.get(name, {}))
    return config_class(
        **settings | {name: value for name, value in own.items() if name not in config_class.sub_configs}
    )


def build(
    name: str,
    seed: int = 0,
    noise: float = 0.15,
    sizes: Mapping[int, int] | None = None,
    dtype: torch.dtype = torch.float32,
) -> transformers.PreTrainedModel:
    """A causal language model by the name of its class: tiny, random and in evaluation mode.

    The weights are the family's own initialization plus noise, so that no bias is zero, no norm is the identity and
    the logits depend visibly on the input. They are the same at every call; the global random state stays as it was.
    """
    model_class = getattr(transformers, name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = model_class(tiny_config(model_class.config_class, sizes)).float().eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(noise * torch.randn_like(parameter))
            for key, table in model.named_buffers():
                if key.endswith("tid2eid"):  # which experts serve which token: all the same one before training
                    table.copy_(torch.rand(len(table), SIZE_OF["n_routed_experts"]).argsort()[:, : table.shape[1]])
    return model.to(dtype)
