"""What explanations need of a network: embeddings in, logits out, what it offers beside, and that it is frozen."""

from __future__ import annotations

import contextlib
import copy
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from nexttoken.text.vocabulary import Vocabulary

Tokens = Mapping[str, Tensor]
"""What a tokenizer returns: `input_ids` (batch, token) and, where rows are padded, `attention_mask`."""

ROUNDING = 1e-4  # of the largest logit, where the same is computed in another way

_LOCK = threading.Lock()  # while a module is frozen or given back


class PrefixCache:
    """What a network computed of a prefix and needs for the tokens after it; read only by the model that made it."""


class ExplainableNetwork(nn.Module, ABC):
    """A network from embeddings to logits, which is frozen while its gradients are computed.

    What it may offer beside its forward pass is declared here, and off; a subclass overrides what it has proved.
    """

    vocab: Vocabulary
    text_field_embedder: nn.Module

    def __init__(self) -> None:
        super().__init__()
        self._freezer = _Freezer()
        self._copies: dict[torch.dtype, tuple[list[tuple[int, int]], Any]] = {}

    @abstractmethod
    def embed(self, tokens: Tokens) -> Float[Tensor, "batch token dim"]:
        """The input embeddings of the tokens, positions excluded."""

    @abstractmethod
    def next_tokens(
        self,
        embeddings: Float[Tensor, "row token dim"],
        input_ids: Int[Tensor, "row token"],
        positions: Sequence[int] = (-1,),
        states: bool = False,
        prefix_cache: PrefixCache | None = None,
        checkpointed: int = 0,
    ) -> tuple[Float[Tensor, "row token hidden"] | None, Float[Tensor, "row position vocab"]]:
        """Contextualized states, and logits after given positions, of rows of one length without padding.

        Args:
            embeddings: the input embeddings, as `embed` gives them.
            input_ids: the ids that they are of.
            positions: the tokens after which the next one is predicted; -1 is the last.
            states: whether the contextualized states are returned; None otherwise.
            prefix_cache: what `prefix_cache` returned for tokens that stand before every row; only the rows run.
            checkpointed: the number of layers that keep only their input and run again in the backward pass; at most
                `checkpointable_layers`.
        """

    # What a network may offer

    @property
    def causal(self) -> bool:
        """Whether a prediction is known not to depend on later tokens."""
        return False

    @property
    def supports_right_padding(self) -> bool:
        """Whether rows of several lengths may run together, the shorter ones padded behind their end."""
        return False

    @property
    def batches_backward(self) -> bool:
        """Whether backward passes of several targets may run at once (`is_grads_batched`)."""
        return False

    def prefix_cache(
        self, embeddings: Float[Tensor, "1 token dim"], input_ids: Int[Tensor, "1 token"]
    ) -> PrefixCache | None:
        """What the network computes of a prefix, for `next_tokens` of what follows it; None where it makes no cache."""
        return None

    def proved_prefix_cache(
        self, embeddings: Float[Tensor, "1 token dim"], input_ids: Int[Tensor, "1 token"], length: int
    ) -> PrefixCache | None:
        """The cache of a text's first tokens, if with it the logits after this very text are the network's own."""
        cache = self.prefix_cache(embeddings[:, :length], input_ids[:, :length])
        if cache is None:
            return None
        _, expected = self.next_tokens(embeddings, input_ids)
        _, found = self.next_tokens(embeddings[:, length:], input_ids[:, length:], prefix_cache=cache)
        return cache if bool((found - expected).abs().max() <= ROUNDING * expected.abs().max()) else None

    def checkpointable_layers(self, input_ids: Int[Tensor, "1 token"]) -> int:
        """The number of layers that may be checkpointed: run again in the backward pass, so that they keep less memory.

        0 where none may be, or where on this text the gradient would not be the same.
        """
        return 0

    # Where the weights are, and what they are

    @property
    def device(self) -> torch.device:
        """The device that token ids have to be on: that of the embeddings, or the CPU where these are kept on disk."""
        devices = [parameter.device for parameter in self.text_field_embedder.parameters()]
        return next((device for device in devices if device.type != "meta"), torch.device("cpu"))

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights: of the first parameter that is floating-point, or torch's default without one."""
        found = (parameter.dtype for parameter in self.parameters() if parameter.is_floating_point())
        return next(found, torch.get_default_dtype())

    @property
    def compute_dtype(self) -> torch.dtype:
        """The coarsest precision that it computes in: that of its weights, unless they are quantized."""
        return self.dtype

    @property
    def is_sharded(self) -> bool:
        """Whether a parameter is a `torch.distributed` DTensor, as under tensor parallelism and FSDP."""
        # Importing it takes long, and as long as nobody has, no parameter can be one.
        distributed = sys.modules.get("torch.distributed.tensor")
        return distributed is not None and any(isinstance(each, distributed.DTensor) for each in self.parameters())

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Within this context: evaluation mode, parameters without gradient, and a random state of its own.

        Afterwards everything is as it was, also after an error; where several threads freeze it, after the last of
        them. Inside another one of the same thread, it costs little.
        """
        freezer, thread, enabled = self._freezer, threading.get_ident(), torch.is_grad_enabled()
        with _LOCK:
            outermost = thread not in freezer.threads
            if not freezer.threads:
                freezer.freeze(self)
            freezer.threads.add(thread)
        try:
            with (
                torch.inference_mode(False),  # which turns gradients on
                torch.set_grad_enabled(enabled),
                torch.random.fork_rng(devices=freezer.devices),
                _without_cudnn() if outermost and freezer.recurrent else contextlib.nullcontext(),
            ):
                yield
        finally:
            with _LOCK:
                if outermost:
                    freezer.threads.discard(thread)
                if not freezer.threads:
                    freezer.give_back()

    def in_precision(self, dtype: torch.dtype) -> Self:
        """This model in another precision: a copy, made again when the weights have changed since."""
        state = [(parameter.data_ptr(), parameter._version) for parameter in self.parameters()]
        if dtype not in self._copies or self._copies[dtype][0] != state:
            self._copies[dtype] = (state, self._copy().to(dtype))
        copied: Self = self._copies[dtype][1]
        return copied

    def with_shuffled_weights(self, seed: int = 0) -> Self:
        """A copy of this model whose weights, but for the input embeddings, are shuffled within each parameter."""
        copied, generator = self._copy(), torch.Generator().manual_seed(seed)
        embeddings = {id(parameter) for parameter in copied.text_field_embedder.parameters()}
        for parameter in copied.parameters():
            if id(parameter) not in embeddings:
                order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
                parameter.data = parameter.data.flatten()[order].view_as(parameter)
        return copied

    def _copy(self) -> Self:
        return copy.deepcopy(self, {id(self.vocab): self.vocab, id(self._copies): {}}).eval().requires_grad_(False)


class _Freezer:
    """Which threads freeze a module at this moment, and what it was before."""

    def __init__(self) -> None:
        self.threads: set[int] = set()
        self.devices: list[torch.device] = []  # the GPUs that it is on
        self.recurrent = False
        self._modes: list[tuple[nn.Module, bool]] = []
        self._trained: list[tuple[nn.Module, str]] = []

    def __deepcopy__(self, memo: dict[int, Any]) -> _Freezer:
        return _Freezer()  # nobody freezes the copy

    def freeze(self, module: nn.Module) -> None:
        modules = list(module.modules())
        own = [(each, name) for each in modules for name, found in each._parameters.items() if found is not None]
        self._modes = [(each, each.training) for each in modules]
        # By name, since a layer that is kept on disk gets new parameters whenever it runs.
        self._trained = [(each, name) for each, name in own if getattr(each, name).requires_grad]
        devices = {getattr(each, name).device for each, name in own}
        self.devices = [device for device in devices if device.type == "cuda"]
        # cuDNN refuses the backward pass of a recurrent layer in evaluation mode.
        self.recurrent = any(isinstance(each, nn.RNNBase) for each in modules)
        if any(training for _, training in self._modes):
            module.eval()
        for each, name in self._trained:
            getattr(each, name).requires_grad_(False)

    def give_back(self) -> None:
        for each, name in self._trained:
            getattr(each, name).requires_grad_(True)
        for each, training in self._modes:
            if each.training != training:
                each.training = training
        self._modes, self._trained = [], []


@contextlib.contextmanager
def _without_cudnn() -> Iterator[None]:
    # Not torch.backends.cudnn.flags, which sets the other settings of cuDNN too.
    enabled = torch.backends.cudnn.enabled
    torch.backends.cudnn.enabled = False
    try:
        yield
    finally:
        torch.backends.cudnn.enabled = enabled
