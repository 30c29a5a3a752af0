"""The keys and values of a prefix, for networks that keep nothing else of what they have run on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from nexttoken.model import PrefixCache


class KeysAndValues(PrefixCache):
    """The keys and values of a prefix in each layer. They never change: several texts may go on from them."""

    def __init__(self, layers: list[Any]):
        self.layers = layers

    @classmethod
    def of(cls, cache: object) -> KeysAndValues | None:
        """What a network returned as `past_key_values`; None where a layer keeps something else, such as a state."""
        if type(cache) is not DynamicCache or any(type(layer) is not DynamicLayer for layer in cache.layers):
            return None
        return cls([_FixedLayer(layer) for layer in cache.layers])

    def past_key_values(self) -> Cache:
        """The argument of transformers' models."""
        return Cache(layers=self.layers)


class _FixedLayer(DynamicLayer):  # type: ignore[misc]
    """A layer's keys and values (1, head, token, dim) of the prefix; those of what follows are not kept."""

    def __init__(self, layer: Any):
        super().__init__()
        self.lazy_initialization(layer.keys, layer.values)
        self.keys: Tensor = layer.keys
        self.values: Tensor = layer.values

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **options: Any) -> tuple[Tensor, Tensor]:
        rows = len(key_states)
        return (
            torch.cat([self.keys.expand(rows, -1, -1, -1), key_states], dim=-2),
            torch.cat([self.values.expand(rows, -1, -1, -1), value_states], dim=-2),
        )
