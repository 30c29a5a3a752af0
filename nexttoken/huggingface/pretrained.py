"""Loading: a folder, a model id, a GGUF file, an adapter or a model in memory, with its tokenizer."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

import huggingface_hub
import torch
import transformers
from torch import nn

from nexttoken.checks.probe import ProbeReport
from nexttoken.huggingface.bundled import bundled_folder, keep_proof, proof_key, proved_before
from nexttoken.huggingface.causal import PretrainedNextTokenLM
from nexttoken.huggingface.encoder_decoder import EncoderDecoderLM
from nexttoken.huggingface.loading import FILES, as_tokenizer, load_network
from nexttoken.huggingface.network import embedding_rows, named_ids
from nexttoken.text.vocabulary import IdVocabulary, TokenizerVocabulary

HuggingFaceLM = PretrainedNextTokenLM | EncoderDecoderLM
OPTIONS = (*FILES, "torch_dtype", "attn_implementation", "quantization_config", "tp_plan")


def from_pretrained(
    model: str | os.PathLike[str] | nn.Module | None = None,
    tokenizer: Any = None,
    *,
    dtype: str | torch.dtype = "float32",
    device: str | torch.device | None = None,
    device_map: Any = None,
    trust_remote_code: bool = False,
    local_files_only: bool = False,
    **options: Any,
) -> HuggingFaceLM:
    """A Hugging Face language model as a NextTokenLM, causal or encoder-decoder, as its configuration says.

    Args:
        model: a folder, a model id, the path of a GGUF file, or a model in memory; None for the bundled
            SmolLM2-135M-Instruct, which needs no network. A folder or id may be that of an adapter (with the package
            peft), whose base model is loaded with it. A wrapper (DataParallel, a compiled module) is taken off.
        tokenizer: the tokenizer of a model in memory; without one, prompts and targets are token ids. A processor, a
            tokenizer of the package tokenizers, a tokenizer.json or a folder are taken, too.
        dtype: of the weights; "auto" takes the one they were saved in. Loss and gradient are float32 at the logits.
        device: where the model is put, for example "cuda".
        device_map: as transformers takes it, for example "auto", in place of a device.
        trust_remote_code: let the model run code that comes with it. Only for sources that you trust.
        local_files_only: never ask the network.
        options: `revision`, `subfolder`, `cache_dir`, `token`, `torch_dtype` (another name of dtype),
            `attn_implementation`, `quantization_config` and `tp_plan` ("auto" spreads the weights over the processes
            that torchrun has started), as transformers takes them.

    Raises:
        OSError: the model is neither on disk nor reachable, has no weights in safetensors or GGUF, lacks some of them,
            or has no tokenizer.
        ValueError: the model has no next-token head, or cannot be fed with embeddings (see `probe`); an unknown option.
    """
    unknown = next((name for name in options if name not in OPTIONS), None)
    if unknown is not None:
        raise ValueError(f"from_pretrained takes no option {unknown!r}; it takes {', '.join(OPTIONS)}")
    if isinstance(model, nn.Module):
        if device is not None or device_map is not None or options:
            raise ValueError("a model in memory stays as it is and where it is; give options where it is loaded")
        return _in_memory(_unwrapped(model), as_tokenizer(tokenizer))
    source = Path(bundled_folder(_convert_gguf) if model is None else model).expanduser()
    name = source.name if source.exists() else str(model)
    if not source.exists() and (str(model).startswith((".", "/", "~")) or source.suffix == ".gguf"):
        raise FileNotFoundError(f"cannot load the model {str(model)!r}: there is no such file or folder")
    asked: dict[str, Any] = {"trust_remote_code": trust_remote_code, "local_files_only": local_files_only}
    asked |= {key: options[key] for key in FILES if options.get(key) is not None}
    if source.suffix == ".gguf":
        asked["gguf_file"], where = source.name, str(source.parent)
    else:
        where = str(source) if source.exists() else str(model)
    weights = {key: options[key] for key in OPTIONS[len(FILES) + 1 :] if options.get(key) is not None}
    weights |= _spread(weights.pop("tp_plan", None))
    weights |= {"dtype": options.get("torch_dtype") or dtype, "device_map": device_map, "use_safetensors": True}
    try:
        with _quiet(), torch.inference_mode(False):
            network, base = load_network(where, asked, weights)
            if device is not None and device_map is None:
                network.to(device)
    except (OSError, ValueError) as error:
        raise OSError(
            f"cannot load the model {str(model)!r}: {_unreachable(source, error)}; give a folder with safetensors or a "
            "GGUF file, or no model for the bundled one"
        ) from error
    own = where if Path(where, "tokenizer_config.json").exists() else base
    found = as_tokenizer(tokenizer) or _tokenizer_of(own, asked)
    if any(each is not None for each in (model, tokenizer, device_map, *options.values())):
        return _language_model(network, found, name)
    # The bundled model's bytes are known, so what these versions proved of them on this machine is.
    key = proof_key(network.dtype, network.device)
    lm = _language_model(network, found, name, proved_before(source, key))
    keep_proof(source, key, lm.report)
    return lm


def _spread(plan: Any) -> dict[str, Any]:
    # As transformers takes a plan: newer versions in a configuration.
    config = getattr(import_module("transformers.distributed"), "DistributedConfig", None)
    if plan is None or config is None or "tp_plan" not in signature(config).parameters:
        return {} if plan is None else {"tp_plan": plan}
    return {"distributed_config": config(tp_plan=plan)}


def _in_memory(network: Any, tokenizer: Any) -> HuggingFaceLM:
    if any(parameter.is_inference() for parameter in network.parameters()):
        raise ValueError(
            f"the weights of this {type(network).__name__} were made in torch.inference_mode(), and no gradient can "
            "pass them; load the model outside of it"
        )
    named: Any = getattr(network.config, "_name_or_path", "") or type(network).__name__
    adapters = ", ".join(getattr(network, "peft_config", {}))
    return _language_model(network, tokenizer, f"{named} with the adapter {adapters}" if adapters else named)


def _unwrapped(network: nn.Module) -> nn.Module:
    # Without what distributes or compiles it.
    while True:
        inner = getattr(network, "_orig_mod", None)
        if inner is None and isinstance(network, nn.DataParallel | nn.parallel.DistributedDataParallel):
            inner = network.module
        if not isinstance(inner, nn.Module):
            return network
        network = inner


def _tokenizer_of(where: str, options: dict[str, Any]) -> Any:
    try:
        with _quiet():
            found = transformers.AutoTokenizer.from_pretrained(where, **options)
        if len(found) <= len(found.all_special_ids):  # what transformers makes of nothing, for some kinds
            raise ValueError("there is none")
    except (OSError, ValueError) as error:
        raise OSError(
            f"cannot load a tokenizer from {where!r}; give one with tokenizer=, or the model in memory alone, and "
            "prompts as token ids"
        ) from error
    return found


def _language_model(network: Any, tokenizer: Any, name: str, report: ProbeReport | None = None) -> HuggingFaceLM:
    if network.config.is_encoder_decoder:
        return EncoderDecoderLM(network, tokenizer, name)
    rows = embedding_rows(network)
    if tokenizer is not None:
        return PretrainedNextTokenLM(network, TokenizerVocabulary(tokenizer, rows), name, report)
    eos, pad = (next(iter(named_ids(network, each)), None) for each in ("eos_token_id", "pad_token_id"))
    return PretrainedNextTokenLM(network, IdVocabulary(rows, eos, pad), name)


def _unreachable(source: Path, error: Exception) -> str:
    message = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
    adapter = source / "adapter_config.json"
    if adapter.exists() and not (source / "config.json").exists():
        return f"of the model {json.loads(adapter.read_text())['base_model_name_or_path']!r} that it adapts, {message}"
    if source.exists():
        return message
    return f"it is not on this disk, and the hub did not give it ({message})"


def _convert_gguf(gguf: Path, folder: Path) -> None:
    # To float32 safetensors, with the tokenizer and the chat template.
    options = {"gguf_file": gguf.name, "local_files_only": True}
    with _quiet():
        quantized = transformers.AutoModelForCausalLM.from_pretrained(str(gguf.parent), dtype=torch.float32, **options)
        config = quantized.config
        del config.quantization_config  # the weights are plain float32 now
        config._name_or_path = ""
        network = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        network.load_state_dict(quantized.state_dict())
        network.save_pretrained(folder)
        transformers.AutoTokenizer.from_pretrained(str(gguf.parent), **options).save_pretrained(folder)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    # No progress bars and no warnings of transformers.
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
