"""Activations that are computed a second time when they are needed, instead of kept: memory for time."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

from nexttoken.linear import FastSlopes


@contextmanager
def checkpointing(layers: Sequence[nn.Module]) -> Iterator[None]:
    """Within this context, these layers keep only what they are given; the backward pass runs them again.

    Chen et al. 2016 (arXiv:1604.06174). The gradient is the same to the bit; it costs each layer's forward pass twice.
    """
    before = [vars(layer).get("forward") for layer in layers]
    for layer in layers:
        layer.forward = partial(  # type: ignore[method-assign]
            checkpoint, layer.forward, use_reentrant=False, preserve_rng_state=False, context_fn=both_times
        )
    try:
        yield
    finally:
        for layer, forward in zip(layers, before, strict=True):
            del layer.forward
            if forward is not None:  # its owner's
                layer.forward = forward  # type: ignore[method-assign]


class Once(FastSlopes):
    """Within this context a layer runs, with slopes as everywhere; then memory that is free is given back."""

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        give_back()


def both_times() -> tuple[Once, Once]:
    """What a layer runs within, the first time and each time again."""
    return Once(), Once()


def give_back() -> None:
    """Give the memory that is free back to the system, where glibc would keep it.

    What a layer keeps lies between what it has freed, and torch's aligned tensors do not fit into such gaps again.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
