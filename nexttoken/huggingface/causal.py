"""PretrainedNextTokenLM: a causal network of transformers, run with embeddings in place of ids."""

from __future__ import annotations

import contextlib
import inspect
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from nexttoken.checks.capabilities import batched_backward_is_exact, choices, prefix_cache_is_exact
from nexttoken.checks.probe import PROBE_LENGTH, Feeding, HeadMissingError, ProbeReport, probe
from nexttoken.huggingface.network import NetworkLM, checkpointing, embedding_rows
from nexttoken.model import PrefixCache
from nexttoken.text.vocabulary import Vocabulary

HEAD_ROWS = 4  # of a head's input gradient: with fewer, MKL's sums over the vocabulary round ten times as much


class PretrainedNextTokenLM(NetworkLM):
    """A Hugging Face causal language model behind the contract of NextTokenLM.

    The network is run with `inputs_embeds` where that equals the call with ids, otherwise with ids while the output of
    its embedding layer is replaced. `report` says which was proved; a network for which neither is equal is refused.

    Args:
        network: the model, in memory; it is used, not copied.
        vocab: its vocabulary.
        name: what the model is called in results.
        report: what was proved of the very same network before; by default it is proved now.
    """

    def __init__(self, network: Any, vocab: Vocabulary, name: str, report: ProbeReport | None = None):
        limit = getattr(network.config.get_text_config(decoder=True), "max_position_embeddings", None)
        limit = limit if limit and limit > 0 else None  # XLNet says -1
        super().__init__(network, vocab, network.get_input_embeddings(), name, limit)
        adapted = getattr(network, "get_base_model", lambda: network)()  # PEFT passes on what it does not know
        accepted = inspect.signature(adapted.forward).parameters
        self._takes_positions, self._calls_body = "logits_to_keep" in accepted, True
        self._options = {"use_cache": False} if "use_cache" in accepted else {}
        feedings: tuple[Feeding, ...] = ("inputs_embeds", "embedding_output")
        self.report = report or probe(self, self._feed, self.own_logits, self.ordinary_ids(), feedings)
        if self.report.reads_ids:
            self.name += " (a part of each token is looked up from its id, and stays)"

    def next_tokens(
        self,
        embeddings: Float[Tensor, "row token dim"],
        input_ids: Int[Tensor, "row token"],
        positions: Sequence[int] = (-1,),
        states: bool = False,
        prefix_cache: PrefixCache | None = None,
        checkpointed: int = 0,
        how: tuple[Feeding, bool] | None = None,
    ) -> tuple[Float[Tensor, "row token hidden"] | None, Float[Tensor, "row position vocab"]]:
        feeding, force_grad = how or (self.report.feeding, self.report.force_grad)
        body = self._body if states else None
        by_name = states and body is None
        options: dict[str, Any] = {**self._options, "output_hidden_states": by_name, "return_dict": True}
        if prefix_cache is not None:
            assert isinstance(prefix_cache, KeysAndValues), "this prefix cache is another model's"
            options |= {"use_cache": True, "past_key_values": prefix_cache.for_rows(len(embeddings))}
        length, backward = input_ids.shape[1], torch.is_grad_enabled()
        read = [position % length - length for position in positions]  # from the end, -1 being the last
        if backward and embeddings.device.type == "cpu" and len(embeddings) * len(read) < HEAD_ROWS:
            read += range(-min(HEAD_ROWS, length), 0)  # positions that nobody asked for
        if self._takes_positions:  # as a list, which is on no device, like that of the head
            options["logits_to_keep"] = read
        layers = self.layers[:checkpointed] if backward and prefix_cache is None else []
        forced = ForceGrad() if force_grad and backward else contextlib.nullcontext()
        with forced, checkpointing(layers), _output_of(body) as seen:
            if feeding == "inputs_embeds":
                output = self.language_model_head(inputs_embeds=embeddings, **options)
            else:
                with _embedding_output(self.text_field_embedder, embeddings):
                    output = self.language_model_head(input_ids=input_ids, **options)
        logits = output.logits if self._takes_positions else output.logits[:, read]
        if by_name:  # Gemma 3n has parallel streams, the active one first
            seen.append(output.hidden_states[-1][0] if output.hidden_states[-1].ndim == 4 else output.hidden_states[-1])
        elif states and not seen:
            self._calls_body = False
            own = PretrainedNextTokenLM.next_tokens  # what a subclass does about it is done once
            return own(self, embeddings, input_ids, positions, states, prefix_cache, checkpointed, how)
        return seen[0] if states else None, logits[:, : len(positions)]

    @property
    def _body(self) -> nn.Module | None:
        # The part whose output is what the head is given; none where the network names none, or does not call it. The
        # network would show its states by hooks that it keeps.
        network: Any = self.language_model_head
        network = getattr(network, "get_base_model", lambda: network)()
        body = getattr(network, "base_model", network)
        return body if self._calls_body and body is not network else None

    def _feed(self, embeddings: Tensor, input_ids: Tensor, feeding: Feeding, force_grad: bool) -> Tensor:
        return self.next_tokens(embeddings, input_ids, how=(feeding, force_grad))[1][:, 0]

    def own_logits(self, input_ids: Int[Tensor, "row token"]) -> Float[Tensor, "row position vocab"]:
        output = self.language_model_head(input_ids=input_ids, **self._options)
        logits, kind = getattr(output, "logits", None), type(self.language_model_head).__name__
        config: Any = self.language_model_head.config
        named = getattr(config.get_text_config(decoder=True), "vocab_size", None)
        rows = embedding_rows(self.language_model_head)  # of which some families have more than tokens
        rows = rows if named is None else min(rows, named)
        if logits is None or logits.ndim != 3 or 2 * logits.shape[-1] < rows:
            shape = "none" if logits is None else f"those of the shape {tuple(logits.shape)}"
            raise HeadMissingError(
                f"{kind} has no next-token head: for {input_ids.shape[1]} of {rows} tokens its logits are {shape}; "
                "load the class of its family that ends in ForCausalLM or LMHeadModel"
            )
        return logits

    def head(self, states: Float[Tensor, "row token hidden"]) -> Float[Tensor, "row token vocab"] | None:
        if self.is_sharded:  # weights that come together only where the whole network runs
            return None
        network: Any = self.language_model_head
        layer = network.get_output_embeddings()
        weight = getattr(layer, "weight", None)
        if layer is None or weight is None or weight.ndim != 2 or weight.shape[-1] != states.shape[-1]:
            return None
        return layer(states)

    @cached_property
    def supports_right_padding(self) -> bool:
        # Choices by rank may depend on how many there are to choose from.
        return self.causal and not choices(self, self._short_text)

    @cached_property
    def batches_backward(self) -> bool:
        return batched_backward_is_exact(self, self._short_text)

    def prefix_cache(
        self, embeddings: Float[Tensor, "1 token dim"], input_ids: Int[Tensor, "1 token"]
    ) -> PrefixCache | None:
        return self._keys_and_values(embeddings) if self._prefix_cache_is_exact else None

    @cached_property
    def _prefix_cache_is_exact(self) -> bool:
        return prefix_cache_is_exact(self, self._keys_and_values, self._short_text)

    def _keys_and_values(self, embeddings: Float[Tensor, "1 token dim"]) -> KeysAndValues | None:
        if self.report.feeding != "inputs_embeds" or not self._options:
            return None
        last = {"logits_to_keep": 1} if self._takes_positions else {}
        output = self.language_model_head(inputs_embeds=embeddings, use_cache=True, **last)
        return KeysAndValues.of(getattr(output, "past_key_values", None))

    @cached_property
    def _short_text(self) -> Int[Tensor, "1 token"]:
        return self.ordinary_ids()[None, :PROBE_LENGTH]


class ForceGrad(TorchFunctionMode):
    """Within this context, no_grad and detach do nothing: what a network computes without gradient is computed with it.

    For networks that save memory in training by a gradient that is not that of their output.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        with torch.enable_grad():
            return args[0] if func is Tensor.detach else func(*args, **(kwargs or {}))


@contextlib.contextmanager
def _output_of(body: nn.Module | None) -> Iterator[list[Tensor]]:
    # A list that gets the states (row, token, hidden) that a network's body puts out.
    found: list[Tensor] = []
    own = threading.get_ident()  # others may run the same network

    def hook(module: nn.Module, inputs: Any, output: Any) -> None:
        if threading.get_ident() == own:
            found.append(output if isinstance(output, Tensor) else output[0])

    with contextlib.nullcontext() if body is None else body.register_forward_hook(hook):
        yield found


@contextlib.contextmanager
def _embedding_output(layer: nn.Module, embeddings: Float[Tensor, "row token dim"]) -> Iterator[None]:
    own = threading.get_ident()  # others may run the same network
    with layer.register_forward_hook(
        lambda module, inputs, output: embeddings.to(output) if threading.get_ident() == own else None
    ):
        yield


class KeysAndValues(PrefixCache):
    """The keys and values (1, head, token, dim) of a prefix in each layer: several texts may go on from them."""

    def __init__(self, layers: list[tuple[Tensor, Tensor]]):
        self.layers = layers

    @classmethod
    def of(cls, cache: Any) -> KeysAndValues | None:
        """What a network returned as `past_key_values`; None where a layer keeps something else, such as a state."""
        layers: list[Any] = list(getattr(cache, "layers", ()))
        if type(cache) is not DynamicCache or any(type(layer) is not DynamicLayer for layer in layers):
            return None
        return cls([(layer.keys, layer.values) for layer in layers])

    def for_rows(self, count: int) -> Cache:
        """The argument of transformers' models; what follows is added to it, and not to this cache."""
        layers: list[Any] = []
        for keys, values in self.layers:
            layer = DynamicLayer()
            layer.lazy_initialization(keys, values)
            layer.keys, layer.values = (each.expand(count, -1, -1, -1) for each in (keys, values))
            layers.append(layer)
        return Cache(layers=layers)
