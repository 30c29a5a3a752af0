"""Networks from files: a model, one that reads images used with text, an adapter with its base; and tokenizers."""

from __future__ import annotations

import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import tokenizers
import transformers
from safetensors import safe_open
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
from transformers.utils.peft_utils import find_adapter_config_file

ADAPTER = "adapter_model.safetensors"
FILES = ("revision", "subfolder", "cache_dir", "token")  # where the files of a model are
OF_A_BASE = ("cache_dir", "token", "trust_remote_code", "local_files_only")  # what holds for an adapter's base as well


def load_network(where: str, asked: dict[str, Any], weights: dict[str, Any]) -> tuple[Any, str]:
    """A network, and the folder or id of the model itself, which for an adapter is that of its base.

    What files are asked for and how weights are loaded is as transformers takes it. Raises OSError where there is no
    such model, or it lacks weights, which transformers would make up; ValueError where transformers cannot load it.
    """
    search = {key: asked[key] for key in FILES if key in asked}
    found = find_adapter_config_file(where, local_files_only=asked["local_files_only"], **search)
    if found is None or Path(found).with_name("config.json").exists():
        return _load(where, asked, weights), where
    if not find_spec("peft"):
        raise ImportError(f"{where} is an adapter, which needs the package peft; run: pip install peft")
    folder = Path(found).parent
    if Path(where).exists() and not (folder / ADAPTER).exists():
        raise OSError("it is an adapter without adapter_model.safetensors")
    base = json.loads(Path(found).read_text())["base_model_name_or_path"]
    of_base = {key: asked[key] for key in OF_A_BASE if key in asked}
    rows = _rows_of_adapter(folder)
    if rows is None:
        kind = _kind(transformers.AutoConfig.from_pretrained(base, **of_base))
        return kind.from_pretrained(where, **asked, **weights), base
    network = _load(base, of_base, weights)
    if rows != network.get_input_embeddings().weight.shape[0]:
        network.resize_token_embeddings(rows, mean_resizing=False)
    from peft import PeftModel

    options = {key: asked[key] for key in ("revision", "subfolder", "token") if key in asked}
    return PeftModel.from_pretrained(network, where, **options), base


def _load(where: str, asked: dict[str, Any], weights: dict[str, Any]) -> Any:
    kind = _kind(transformers.AutoConfig.from_pretrained(where, **asked))
    network, info = kind.from_pretrained(where, **asked, **weights, output_loading_info=True)
    missing = sorted(info["missing_keys"])
    if missing:
        head = _is_head(network, missing)
        saved = ", ".join(network.config.architectures or ())
        raise OSError(
            f"it has no next-token head (it was saved as {saved or 'a model without one'})"
            if head
            else f"it lacks {len(missing)} weights, such as {missing[0]}"
        )
    return network


def _kind(config: Any) -> Any:
    # The class that loads a network as a language model.
    if config.is_encoder_decoder:
        return transformers.AutoModelForSeq2SeqLM
    if type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING and type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        return transformers.AutoModelForImageTextToText
    return transformers.AutoModelForCausalLM


def _is_head(network: Any, missing: list[str]) -> bool:
    # Whether what is missing is the part that gives logits.
    head = network.get_output_embeddings()
    names = [name for name, module in network.named_modules() if module is head]
    body = network.base_model_prefix
    return all(key.startswith(tuple(names)) or not key.startswith(f"{body}.") for key in missing)


def _rows_of_adapter(folder: Path) -> int | None:
    # How many tokens the embeddings have that an adapter brings along; None if it brings none.
    if not (folder / ADAPTER).exists():
        return None
    with safe_open(folder / ADAPTER, "pt") as file:
        whole = [key for key in file.keys() if key.endswith(".weight") and "lora_" not in key]  # noqa: SIM118
        shapes = {key: file.get_slice(key).get_shape() for key in whole}
    named = {key: shape for key, shape in shapes.items() if any(name in key for name in ("embed", "wte", "lm_head"))}
    return max((shape[0] for shape in named.values() if len(shape) == 2), default=None)


def as_tokenizer(given: Any) -> Any:
    """A tokenizer of transformers, from one, a processor, one of the package tokenizers, its file, or a folder.

    Raises OSError for a file or folder without one.
    """
    if isinstance(given, str | os.PathLike):
        path = Path(given).expanduser()
        if path.is_file():
            return as_tokenizer(tokenizers.Tokenizer.from_file(str(path)))
        return transformers.AutoTokenizer.from_pretrained(path if path.exists() else str(given))
    if isinstance(given, tokenizers.Tokenizer):
        return transformers.PreTrainedTokenizerFast(tokenizer_object=given)
    if isinstance(given, transformers.PreTrainedTokenizerBase):
        return given
    return getattr(given, "tokenizer", given)
