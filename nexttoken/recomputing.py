"""Activations that are computed a second time when they are needed, instead of kept: memory for time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint

from nexttoken.products import FastProducts


@contextmanager
def recomputing(layers: Sequence[nn.Module]) -> Iterator[None]:
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


def both_times() -> tuple[AbstractContextManager[object], AbstractContextManager[object]]:
    """The second time, products are computed as they were the first time."""
    return FastProducts(), FastProducts()
