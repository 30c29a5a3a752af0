"""Any Hugging Face language model as a NextTokenLM: the only file that imports transformers."""

from __future__ import annotations

import contextlib
import inspect
import json
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import huggingface_hub
import torch
import transformers
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from transformers import masking_utils, modeling_utils
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.utils.peft_utils import find_adapter_config_file

from nexttoken.checks.choices import choices
from nexttoken.checks.probe import PROBE_LENGTH, batches_backward, embedding_rows, keeps, ordinary_ids, probe
from nexttoken.huggingface.bundled import bundled_folder
from nexttoken.huggingface.checkpointing import checkpointing
from nexttoken.huggingface.encoder_decoder import EncoderDecoderLM
from nexttoken.model import NextTokenLM
from nexttoken.text.vocabulary import IdVocabulary, TokenizerVocabulary, Vocabulary

FEWEST_ROWS = 4  # of states before the head: with fewer, a CPU sums over the vocabulary less precisely, going back


class PretrainedNextTokenLM(NextTokenLM):
    """A Hugging Face causal language model behind the contract of NextTokenLM.

    Contextualizer and head stay inside the network, which is run through its own public forward call: with
    `inputs_embeds` where that equals the call with ids, otherwise with ids while the output of its embedding layer is
    replaced. `probe` proves the equality; a network for which neither is equal is refused.

    Args:
        network: the model, in memory; it is used, not copied.
        vocab: its vocabulary.
        name: what to call it in results.

    Raises:
        ValueError: the network cannot be fed with embeddings in a way that equals feeding it with ids.
    """

    def __init__(self, network: Any, vocab: Vocabulary, name: str):
        limit = getattr(network.config.get_text_config(decoder=True), "max_position_embeddings", None)
        super().__init__(
            vocab,
            text_field_embedder=network.get_input_embeddings(),
            language_model_head=network,
            max_length=limit if limit and limit > 0 else None,  # XLNet says -1
        )
        self.name = name
        adapted = getattr(network, "get_base_model", lambda: network)()  # PEFT passes on what it does not know
        accepted = inspect.signature(adapted.forward).parameters
        self.layers = layers_of(network)
        self._some_rows = "logits_to_keep" in accepted
        self._spread = len(set(getattr(network, "hf_device_map", {}).values())) > 1
        self._options = {"use_cache": False} if "use_cache" in accepted else {}
        self.reads_ids = self.length_matters = self.force_grad = False
        self._keeps: bool | None = None
        self._batches: bool | None = None
        self._right_padding: bool | None = None
        self.feeding = probe(self)
        if self.reads_ids:
            self.name += " (a part of each token is looked up from its id, and stays)"

    def next_tokens(
        self,
        embeddings: Float[Tensor, "row token dim"],
        input_ids: Int[Tensor, "row token"],
        places: Sequence[int] = (-1,),
        states: bool = False,
        prefix_cache: Any = None,
        checkpointed: int = 0,
    ) -> tuple[Float[Tensor, "row token hidden"] | None, Float[Tensor, "row place vocab"]]:
        options: dict[str, Any] = {**self._options, "output_hidden_states": states, "return_dict": True}
        if prefix_cache is not None:
            options |= {"use_cache": True, "past_key_values": Cache(layers=prefix_cache)}
        length = input_ids.shape[1]
        read = torch.tensor(places, device=embeddings.device) % length - length  # from the end, -1 being the last
        asked = len(read)
        if len(embeddings) * asked < FEWEST_ROWS:  # with places that nobody asked for
            read = torch.cat([read, torch.arange(-min(FEWEST_ROWS, length), 0, device=read.device)])
        indexed = self._some_rows and not self._spread
        if indexed:  # indices, not a count: the states come out contiguous, so the head is not copied
            options["logits_to_keep"] = read
        elif self._some_rows:  # indices would have to be on the device of the head, and a count is on none
            options["logits_to_keep"] = -int(read.min())
        again = self.layers[:checkpointed] if prefix_cache is None and torch.is_grad_enabled() else []
        with (
            ForceGrad() if self.force_grad and torch.is_grad_enabled() else contextlib.nullcontext(),
            checkpointing(again),
        ):
            if self.feeding == "inputs_embeds":
                output = self.language_model_head(inputs_embeds=embeddings, **options)
            else:
                with embedding_output(self.text_field_embedder, embeddings):
                    output = self.language_model_head(input_ids=input_ids, **options)
        hidden = output.hidden_states[-1] if states else None
        if hidden is not None and hidden.ndim == 4:  # Gemma 3n has parallel streams, the active one first
            hidden = hidden[0]
        logits = output.logits if indexed else output.logits[:, read.to(output.logits.device)]
        return hidden, logits[:, :asked]

    def own_logits(self, input_ids: Int[Tensor, "row token"]) -> Float[Tensor, "row place vocab"]:
        """The network's own logits, fed with ids, after each token."""
        return self.language_model_head(input_ids=input_ids, **self._options).logits

    @property
    def causal(self) -> bool:
        return not self.length_matters  # proved by the probe

    @property
    def supports_right_padding(self) -> bool:
        if self._right_padding is None:  # choices by rank may hang on how many there are to choose from
            self._right_padding = self.causal and not choices(self, ordinary_ids(self)[None, :PROBE_LENGTH])
        return self._right_padding

    @property
    def batches_backward(self) -> bool:
        if self._batches is None:
            self._batches = batches_backward(self)
        return self._batches

    def prefix_cache(self, embeddings: Float[Tensor, "1 token dim"], input_ids: Int[Tensor, "1 token"]) -> Any:
        """The keys and values of the tokens in each layer, where `keeps` proves that they are all that is read."""
        if self._keeps is None:
            self._keeps = keeps(self)
        return self.kept(embeddings) if self._keeps else None

    def kept(self, embeddings: Float[Tensor, "1 token dim"]) -> list[FixedLayer] | None:
        """The keys and values of the tokens in each layer; None for a network with layers of another kind."""
        if self.feeding != "inputs_embeds" or not self._options:
            return None
        last = {"logits_to_keep": 1} if self._some_rows else {}
        output = self.language_model_head(inputs_embeds=embeddings, use_cache=True, **last)
        cache = getattr(output, "past_key_values", None)
        if type(cache) is not DynamicCache or any(type(layer) is not DynamicLayer for layer in cache.layers):
            return None
        return [FixedLayer(layer) for layer in cache.layers]

    @contextlib.contextmanager
    def attention(self, function: Callable[..., Any]) -> Iterator[None]:
        """Within this context, the network's attention is `function`, called as transformers calls its own.

        Raises:
            ValueError: a network whose attention cannot be exchanged.
        """
        network: Any = self.language_model_head
        before = network.config._attn_implementation
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
            network.set_attn_implementation(before)
            attentions._global_mapping.pop(name)
            masks._global_mapping.pop(name)


class FixedLayer(DynamicLayer):  # type: ignore[misc]
    """A layer's keys and values (1, head, token, dim) of tokens that do not move; what follows them is not kept."""

    def __init__(self, layer: Any):
        super().__init__()
        self.lazy_initialization(layer.keys, layer.values)
        self.keys: Tensor = layer.keys
        self.values: Tensor = layer.values

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **options: Any) -> tuple[Tensor, Tensor]:
        """The keys and values of each row, those before it first."""
        rows = len(key_states)
        return (
            torch.cat([self.keys.expand(rows, -1, -1, -1), key_states], dim=-2),
            torch.cat([self.values.expand(rows, -1, -1, -1), value_states], dim=-2),
        )


class ForceGrad(TorchFunctionMode):
    """Within this context, what a network computes without gradient is computed with it: no_grad and detach do nothing.

    For networks that save memory in training by a gradient that is not that of their output.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        with torch.enable_grad():
            return args[0] if func is Tensor.detach else func(*args, **(kwargs or {}))


@contextlib.contextmanager
def embedding_output(layer: nn.Module, embeddings: Float[Tensor, "row token dim"]) -> Iterator[None]:
    """Within this context, the embedding layer returns these embeddings."""
    handle = layer.register_forward_hook(lambda module, inputs, output: embeddings.to(output))
    try:
        yield
    finally:
        handle.remove()


def from_pretrained(
    model: Any = None,
    tokenizer: Any = None,
    *,
    dtype: str | torch.dtype = "float32",
    device_map: Any = None,
    trust_remote_code: bool = False,
    local_files_only: bool = False,
) -> PretrainedNextTokenLM | EncoderDecoderLM:
    """A Hugging Face language model as a NextTokenLM, causal or encoder-decoder, as its configuration says.

    Args:
        model: a folder, a model id, the path of a GGUF file, or a model in memory; None for the bundled
            SmolLM2-135M-Instruct, which needs no network. A folder or id may be that of an adapter (with the package
            peft), whose base model is loaded with it.
        tokenizer: the tokenizer of a model in memory; without one, prompts and targets are token ids.
        dtype: of the weights; "auto" takes the one they were saved in. Loss and gradient are float32 at the logits.
        device_map: as transformers takes it, for example "auto".
        trust_remote_code: let the model run code that comes with it. Only for sources that you trust.
        local_files_only: never ask the network.

    Raises:
        OSError: the model is neither on disk nor reachable, has no weights in safetensors or GGUF, or no tokenizer.
        ValueError: the model cannot be fed with embeddings (see `probe`).
    """
    if isinstance(model, nn.Module):
        named: Any = getattr(model.config, "_name_or_path", "") or type(model).__name__
        adapters = ", ".join(getattr(model, "peft_config", {}))
        return language_model(model, tokenizer, f"{named} with the adapter {adapters}" if adapters else named)
    source = Path(bundled_folder(convert_gguf) if model is None else model).expanduser()
    name = source.name if source.exists() else str(model)
    if not source.exists() and (str(model).startswith((".", "/", "~")) or source.suffix == ".gguf"):
        raise FileNotFoundError(f"cannot load the model {str(model)!r}: there is no such file or folder")
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code, "local_files_only": local_files_only}
    if source.suffix == ".gguf":
        options["gguf_file"], where = source.name, str(source.parent)
    else:
        where = str(source) if source.exists() else str(model)
    try:
        with quiet():
            base = base_model(where, local_files_only)
            encoder_decoder = transformers.AutoConfig.from_pretrained(base, **options).is_encoder_decoder
            kind = transformers.AutoModelForSeq2SeqLM if encoder_decoder else transformers.AutoModelForCausalLM
            network = kind.from_pretrained(where, dtype=dtype, device_map=device_map, use_safetensors=True, **options)
    except (OSError, ValueError) as error:
        raise OSError(
            f"cannot load the model {str(model)!r}: {unreachable(source, error)}; give a folder with safetensors or a "
            "GGUF file, or no model for the bundled one"
        ) from error
    own = where if Path(where, "tokenizer_config.json").exists() else base
    return language_model(network, tokenizer or tokenizer_of(own, options), name)


def tokenizer_of(where: str, options: dict[str, Any]) -> Any:
    """The tokenizer of a folder, id or GGUF file. Raises OSError, saying what else would do, where there is none."""
    try:
        with quiet():
            found = transformers.AutoTokenizer.from_pretrained(where, **options)
        if len(found) <= len(found.all_special_ids):  # what transformers makes of nothing, for some kinds
            raise ValueError("there is none")
    except (OSError, ValueError) as error:
        raise OSError(
            f"cannot load a tokenizer from {where!r}; give one with tokenizer=, or the model in memory alone, and "
            "prompts as token ids"
        ) from error
    return found


def language_model(network: Any, tokenizer: Any, name: str) -> PretrainedNextTokenLM | EncoderDecoderLM:
    """A network in memory as a NextTokenLM, with its tokenizer or, without one, as a model of ids."""
    if network.config.is_encoder_decoder:
        both = EncoderDecoderLM(network, tokenizer, name)
        both.layers = layers_of(network)
        return both
    rows = embedding_rows(network)
    if tokenizer is not None:
        return PretrainedNextTokenLM(network, TokenizerVocabulary(tokenizer, rows), name)
    config = network.config.get_text_config(decoder=True)
    eos, pad = (first(getattr(config, name, None)) for name in ("eos_token_id", "pad_token_id"))
    return PretrainedNextTokenLM(network, IdVocabulary(rows, eos, pad), name)


def layers_of(network: nn.Module) -> list[nn.Module]:
    """The layers that are made for being computed again in the backward pass, those inside others left out."""
    found = [module for module in network.modules() if isinstance(module, GradientCheckpointingLayer)]
    inside = {id(each) for module in found for each in module.modules() if each is not module}
    return [module for module in found if id(module) not in inside]


def base_model(where: str, local_files_only: bool) -> str:
    """The model itself, or the one that an adapter is for.

    Raises:
        ImportError: an adapter, and no package peft.
        OSError: an adapter without safetensors.
    """
    adapter = find_adapter_config_file(where, local_files_only=local_files_only)
    if adapter is None or Path(adapter).with_name("config.json").exists():
        return where
    if not find_spec("peft"):
        raise ImportError(f"{where} is an adapter, which needs the package peft; run: pip install peft")
    if Path(where).exists() and not Path(where, "adapter_model.safetensors").exists():
        raise OSError("it is an adapter without adapter_model.safetensors")
    return json.loads(Path(adapter).read_text())["base_model_name_or_path"]


def unreachable(source: Path, error: Exception) -> str:
    """One line on why a model could not be loaded."""
    message = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
    adapter = source / "adapter_config.json"
    if adapter.exists() and not (source / "config.json").exists():
        return f"of the model {json.loads(adapter.read_text())['base_model_name_or_path']!r} that it adapts, {message}"
    if source.exists():
        return message
    return f"it is not on this disk, and the hub did not give it ({message})"


def convert_gguf(gguf: Path, folder: Path) -> None:
    """Write the model of a GGUF file to a folder as float32 safetensors, with its tokenizer and chat template."""
    options = {"gguf_file": gguf.name, "local_files_only": True}
    with quiet():
        quantized = transformers.AutoModelForCausalLM.from_pretrained(str(gguf.parent), dtype=torch.float32, **options)
        config = quantized.config
        del config.quantization_config  # the weights are plain float32 now
        config._name_or_path = ""
        network = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        network.load_state_dict(quantized.state_dict())
        network.save_pretrained(folder)
        transformers.AutoTokenizer.from_pretrained(str(gguf.parent), **options).save_pretrained(folder)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No progress bars and no warnings of transformers within this context."""
    logging, hub = transformers.utils.logging, huggingface_hub.logging
    bars, verbosity, of_hub = logging.is_progress_bar_enabled(), logging.get_verbosity(), hub.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    hub.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        hub.set_verbosity(of_hub)
        if bars:
            logging.enable_progress_bar()


def first(ids: int | list[int] | None) -> int | None:
    """The first of the ids that a configuration may list for one purpose."""
    return (ids[0] if ids else None) if isinstance(ids, list) else ids
