"""What causal networks and encoder-decoders of transformers have in common as language models."""

from __future__ import annotations

import ctypes
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from nexttoken.checks.capabilities import checkpointing_is_exact
from nexttoken.checks.probe import ProbeReport
from nexttoken.model import NextTokenLM
from nexttoken.text.vocabulary import Vocabulary


class NetworkLM(NextTokenLM, ABC):
    """A network of transformers behind the contract of NextTokenLM, run through its own public forward call.

    Contextualizer and head stay inside the network, which is used, not copied. A subclass probes it when it is made and
    sets `report`; what else the network offers is proved when it is first asked for.
    """

    report: ProbeReport

    def __init__(self, network: Any, vocab: Vocabulary, embedder: nn.Module, name: str, max_length: int | None = None):
        super().__init__(vocab, text_field_embedder=embedder, language_model_head=network)
        kind = _quantization(network).get("quant_method")
        kind = getattr(kind, "value", kind)
        quantized = f" (quantized by {kind})" if kind and kind != "gguf" else ""  # whose weights are no longer so
        self.name, self.max_length = name + quantized, max_length
        self.layers = layers_of(network)
        self._checkpointing_is_exact: bool | None = None

    @abstractmethod
    def own_logits(self, input_ids: Int[Tensor, "row token"]) -> Float[Tensor, "row position vocab"]:
        """The network's own logits, called with ids, after each token that has a next one."""

    @property
    def causal(self) -> bool:
        return not self.report.length_matters  # that later tokens do not matter is proved on loading

    @property
    def compute_dtype(self) -> torch.dtype:
        # 8 bits are multiplied in float16, 4 bits in what the configuration says.
        settings = _quantization(self.language_model_head)
        eight = settings.get("load_in_8bit", settings.get("_load_in_8bit"))
        named = "float16" if eight else settings.get("bnb_4bit_compute_dtype")
        dtype = getattr(torch, named.removeprefix("torch.")) if isinstance(named, str) else named
        return dtype if isinstance(dtype, torch.dtype) and dtype.itemsize < self.dtype.itemsize else self.dtype

    @property
    def end_ids(self) -> frozenset[int]:
        return super().end_ids.union(named_ids(self.language_model_head, "eos_token_id"))  # those of a turn too

    def checkpointable_layers(self, input_ids: Int[Tensor, "1 token"]) -> int:
        if self._checkpointing_is_exact is None:
            count = len(self.layers)
            self._checkpointing_is_exact = count > 0 and checkpointing_is_exact(self, input_ids, count)
        return len(self.layers) if self._checkpointing_is_exact else 0

    def ordinary_ids(self) -> Int[Tensor, " id"]:
        """The ids that mean nothing special to the network, in a fixed random order, on the model's device."""
        network: Any = self.language_model_head
        ids = torch.randperm(
            min(self.vocab.size(), embedding_rows(network)), generator=torch.Generator().manual_seed(0)
        )
        named = network.config.to_dict() | network.config.get_text_config(decoder=True).to_dict()
        special = [i for key, i in named.items() if key.endswith(("_token_id", "_token_index")) and isinstance(i, int)]
        return ids[~torch.isin(ids, torch.tensor(special))].to(self.device)


def _quantization(network: Any) -> Mapping[str, Any]:
    plan = getattr(network.config, "quantization_config", None) or {}
    return plan if isinstance(plan, Mapping) else vars(plan)


def embedding_rows(network: Any) -> int:
    """The number of token ids a network has embeddings for. Raises ValueError unless they are one matrix."""
    weight = getattr(network.get_input_embeddings(), "weight", None)
    if weight is None:
        raise ValueError(f"{type(network).__name__} has more than one embedding layer for its tokens; one is expected")
    return weight.shape[0]


def named_ids(network: Any, name: str) -> list[int]:
    """The ids that a network's configurations list for a purpose, such as "eos_token_id"."""
    config = network.config
    configs = (config, getattr(network, "generation_config", None), config.get_text_config(decoder=True))
    found = [value for each in configs if (value := getattr(each, name, None)) is not None]
    return [int(each) for value in found for each in torch.as_tensor(value).flatten().tolist()]


def layers_of(network: nn.Module) -> list[nn.Module]:
    """The outermost layers that transformers made for checkpointing, in the order of the network."""
    found = [module for module in network.modules() if isinstance(module, GradientCheckpointingLayer)]
    inside = {id(each) for module in found for each in module.modules() if each is not module}
    return [module for module in found if id(module) not in inside]


@contextmanager
def checkpointing(layers: Sequence[nn.Module]) -> Iterator[None]:
    """Within this context, these layers keep only their input; the backward pass runs them again.

    Chen et al. 2016 (arXiv:1604.06174). The gradient is the same to the bit; each layer's forward pass is paid twice.
    """
    own = [vars(layer).get("forward") for layer in layers]
    for layer in layers:
        vars(layer)["forward"] = partial(
            checkpoint, layer.forward, use_reentrant=False, preserve_rng_state=False, context_fn=_both_times
        )
    try:
        yield
    finally:
        for layer, forward in zip(layers, own, strict=True):
            del vars(layer)["forward"]
            if forward is not None:  # set on the instance by its owner
                vars(layer)["forward"] = forward


def _both_times() -> tuple[ExitStack, ExitStack]:
    # The contexts of a layer's two runs. Its activations lie between blocks that it has freed, and torch's aligned
    # tensors do not fit into such gaps again; glibc would keep them.
    stacks = ExitStack(), ExitStack()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        for stack in stacks:
            stack.callback(trim, 0)
    return stacks
