"""How the attention of a transformers model is exchanged for another function, and put back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transformers import masking_utils, modeling_utils

from nexttoken.model import AttentionFunction


@contextmanager
def exchanged_attention(network: Any, function: AttentionFunction) -> Iterator[None]:
    """Within this context, a network's attention is `function`, with eager attention's additive mask.

    Raises:
        ValueError: a network whose attention cannot be exchanged.
    """
    own = network.config._attn_implementation
    if not getattr(network, "_can_set_attn_implementation", lambda: False)():
        raise ValueError(f"the attention of {type(network).__name__} cannot be exchanged")
    attentions, masks = modeling_utils.ALL_ATTENTION_FUNCTIONS, masking_utils.ALL_MASK_ATTENTION_FUNCTIONS
    name = f"nexttoken-{id(function)}"
    attentions.register(name, function)
    masks.register(name, masking_utils.eager_mask)
    try:
        network.set_attn_implementation(name)
        yield
    finally:
        network.set_attn_implementation(own)
        attentions._global_mapping.pop(name)
        masks._global_mapping.pop(name)
