"""Activation checkpointing: layers keep only their input and run again in the backward pass."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from nexttoken.linear import FastInputGradients


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
        layer.forward = partial(  # type: ignore[method-assign]
            checkpoint, layer.forward, use_reentrant=False, preserve_rng_state=False, context_fn=_both_times
        )
    try:
        yield
    finally:
        for layer, forward in zip(layers, own, strict=True):
            del layer.forward
            if forward is not None:  # set on the instance by its owner
                layer.forward = forward  # type: ignore[method-assign]


class _Once(FastInputGradients):
    """The context of one run of a layer, at whose end free memory goes back to the system."""

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        _trim_heap()


def _both_times() -> tuple[_Once, _Once]:
    return _Once(), _Once()


def _trim_heap() -> None:
    # A layer's activations lie between blocks that it has freed, and torch's aligned tensors do not fit into such gaps
    # again; glibc would keep them.
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
