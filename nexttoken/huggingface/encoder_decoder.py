"""Encoder-decoders: source and target prefix as one sequence of embeddings, which the network reads in two parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from numbers import Integral
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from nexttoken.checks.probe import PROBE_LENGTH, Feeding, probe
from nexttoken.huggingface.network import NetworkLM, checkpointing, named_ids
from nexttoken.model import PrefixCache, Tokens, refuse_longer
from nexttoken.text.alignment import cut
from nexttoken.text.chat import is_message
from nexttoken.text.prompt import Prompt, PromptLike, Side, Start
from nexttoken.text.vocabulary import IdVocabulary, TokenizerVocabulary, Vocabulary, unicode


class EncoderDecoderLM(NetworkLM):
    """A Hugging Face encoder-decoder (T5, BART, Marian, ...) behind the contract of NextTokenLM.

    A prompt is a source and a target prefix. It is one sequence: the source as the encoder was trained to read it, with
    its closing token; the decoder's start; the prefix. So a method sees (token, dim) and gives one score per piece of
    both. In `input_ids` the decoder's start is the id `mark`, one more than the vocabulary has, and tells where the
    sequence is split again. The network is run with `inputs_embeds` and `decoder_inputs_embeds`, which is proved on
    loading to equal the call with ids.

    Args:
        network: the model, in memory; it is used, not copied.
        tokenizer: its tokenizer; None where prompts and targets are ids.
        name: what the model is called in results.
    """

    def __init__(self, network: Any, tokenizer: Any, name: str):
        embedders = [_embedder(part) for part in (network.get_encoder(), network.get_decoder())]
        sizes = [tuple(each.weight.shape) for each in embedders]
        if sizes[0] != sizes[1]:
            raise ValueError(
                f"the embeddings of {type(network).__name__}'s encoder are {sizes[0]} and of its decoder {sizes[1]}; "
                "one sequence of both needs one size"
            )
        rows = sizes[0][0]
        names = ("eos_token_id", "pad_token_id", "forced_bos_token_id", "decoder_start_token_id", "bos_token_id")
        eos, pad, self.forced_id, start, bos = (next(iter(named_ids(network, name)), None) for name in names)
        start = bos if start is None else start
        if start is None:
            raise ValueError(f"{type(network).__name__} names no decoder_start_token_id; set it in its configuration")
        vocab: Vocabulary = IdVocabulary(rows, eos, pad)
        if tokenizer is not None:
            vocab = TokenizerVocabulary(tokenizer, rows, argument="text_target")
        super().__init__(network, vocab, embedders[0], name)
        self.source_vocab = TokenizerVocabulary(tokenizer, rows) if tokenizer is not None else vocab
        self.target_embedder = embedders[1]
        self.max_lengths = [
            getattr(network.config, f"max_{side}_position_embeddings", None)
            or getattr(network.config.get_text_config(**{side: True}), "max_position_embeddings", None)
            for side in ("encoder", "decoder")
        ]
        self.start_id, self.mark = start, rows
        ids = self.ordinary_ids()
        ids[PROBE_LENGTH // 2] = self.mark
        self.report = probe(self, self._feed, self.own_logits, ids, ("inputs_embeds",))

    def split(self, input_ids: Int[Tensor, " token"]) -> int:
        """The number of tokens of a row's source. Raises ValueError unless it has a source and a decoder's start."""
        marks = (input_ids == self.mark).nonzero().flatten().tolist()
        if len(marks) != 1 or marks == [0]:
            raise ValueError(
                f"a row of input_ids needs a source and then the decoder's start, id {self.mark}, once (it is at "
                f"{marks}); build it with lm.tokens(lm.prompt((source, target_prefix)))"
            )
        return marks[0]

    def embed(self, tokens: Tokens) -> Float[Tensor, "batch token dim"]:
        # The encoder's up to the decoder's start, then the decoder's.
        target = (tokens["input_ids"] == self.mark).cumsum(-1) > 0
        ids = self._own_ids(tokens["input_ids"])
        of_source, of_target = self.text_field_embedder(ids), self.target_embedder(ids)
        return torch.where(target[..., None], of_target.to(of_source), of_source)

    def next_tokens(
        self,
        embeddings: Float[Tensor, "row token dim"],
        input_ids: Int[Tensor, "row token"],
        positions: Sequence[int] = (-1,),
        states: bool = False,
        prefix_cache: PrefixCache | None = None,
        checkpointed: int = 0,
    ) -> tuple[Float[Tensor, "row token hidden"] | None, Float[Tensor, "row position vocab"]]:
        assert prefix_cache is None, "this model makes no prefix cache"
        splits = [self.split(row) for row in input_ids]
        if len(set(splits)) > 1:  # rows that are split at different positions run one by one
            rows = [
                self.next_tokens(*row, positions, states, checkpointed=checkpointed)
                for row in zip(embeddings[:, None], input_ids[:, None], strict=True)
            ]
            hidden, logits = zip(*rows, strict=True)
            return torch.cat(hidden) if states else None, torch.cat(logits)
        read = torch.tensor(positions, device=embeddings.device) % input_ids.shape[1] - splits[0]
        if bool((read < 0).any()):
            raise ValueError(
                f"position {positions[int((read < 0).nonzero()[0])]} is in the source; a next token follows the "
                f"decoder's start, at position {splits[0]}, or a token after it"
            )
        options: dict[str, Any] = {"use_cache": False, "output_hidden_states": states, "return_dict": True}
        with checkpointing(self.layers[:checkpointed] if torch.is_grad_enabled() else []):
            output = self.language_model_head(
                inputs_embeds=embeddings[:, : splits[0]], decoder_inputs_embeds=embeddings[:, splits[0] :], **options
            )
        both = torch.cat([output.encoder_last_hidden_state, output.decoder_hidden_states[-1]], 1) if states else None
        return both, output.logits[:, read.to(output.logits.device)]

    def _feed(self, embeddings: Tensor, input_ids: Tensor, feeding: Feeding, force_grad: bool) -> Tensor:
        # There is one way to feed it. It never runs with forced gradients, so that the probe finds no difference.
        return self.next_tokens(embeddings, input_ids)[1][:, 0]

    def own_logits(self, input_ids: Int[Tensor, "row token"]) -> Float[Tensor, "row position vocab"]:
        split = self.split(input_ids[0])
        ids = self._own_ids(input_ids)
        return self.language_model_head(
            input_ids=ids[:, :split], decoder_input_ids=ids[:, split:], use_cache=False
        ).logits

    def _own_ids(self, input_ids: Int[Tensor, "row token"]) -> Int[Tensor, "row token"]:
        # As the network reads them: the mark replaced by the token that it stands for.
        return input_ids.where(input_ids != self.mark, self.start_id)

    def prompt(self, prompt: PromptLike, start: Start = None, **template: Any) -> Prompt:
        """A prompt from a pair (source, target prefix), each a text or ids; a source alone has an empty prefix.

        A start token stands in front of the source; the decoder has its own.

        Raises ValueError if the source is empty, an id unknown, or a part too long for the model.
        """
        if template:
            raise ValueError(f"an encoder-decoder takes no chat, so {', '.join(map(repr, template))} cannot be given")
        encoded = prompt if isinstance(prompt, Prompt) else self._joined(*_as_pair(prompt))
        encoded = encoded.with_start_token(start, self.source_vocab)
        if encoded.source is None:
            raise ValueError("this prompt is for a causal model; an encoder-decoder takes (source, target prefix)")
        lengths = encoded.source, len(encoded) - encoded.source
        for side, length, limit in zip(("source", "target prefix"), lengths, self.max_lengths, strict=True):
            refuse_longer(side, length, limit)
        return encoded

    def max_new_tokens(self, prompt: Prompt) -> int | None:
        # The decoder runs on all of them but the last.
        limit = self.max_lengths[1]
        return None if limit is None else limit - (len(prompt) - prompt.start) + 1

    def _joined(self, source: Side, prefix: Side) -> Prompt:
        first, last = self._source(source), self._prefix(prefix)
        forced = self.forced_id  # by the network's own generation, such as the token of a language
        if forced is not None and (isinstance(prefix, str) or len(prefix) == 0) and last.ids[:1] != (forced,):
            last = Prompt.added([forced], self.vocab) + last
        return replace(first + Prompt.added([self.start_id], self.vocab) + last, source=len(first))

    def _source(self, source: Side) -> Prompt:
        # A text with all the special tokens that the encoder was trained with, or ids as they are.
        if not isinstance(source, str):
            return Prompt.of(source, self.source_vocab)
        if source == "":
            raise ValueError("the source is empty; give at least one character")
        encoding = self.source_vocab.encode(unicode(source))
        tokenizer: Any = getattr(self.source_vocab, "tokenizer", None)
        closing = tokenizer(source)["input_ids"][len(encoding.ids) :]
        text = Prompt(source, encoding.ids, cut(source, encoding, self.source_vocab.decode))
        return text + Prompt.added(closing, self.source_vocab)

    def _prefix(self, prefix: Side) -> Prompt:
        # A text with the special tokens that the tokenizer puts before a target, or ids as they are.
        if len(prefix) > 0:
            return Prompt.of(prefix, self.vocab)
        if not isinstance(prefix, str):
            return Prompt("", (), ())
        opened = Prompt.from_text("a", self.vocab)
        return opened.first(sum(not piece.text for piece in opened.pieces))

    def tokens(self, prompt: Prompt, following: Sequence[int] = ()) -> dict[str, Tensor]:
        tokens = super().tokens(prompt, following)
        tokens["input_ids"][0, self.prompt(prompt).start] = self.mark
        return tokens

    def decode(self, output_dict: dict[str, Any]) -> dict[str, Any]:
        plain = super().decode(output_dict | {"token_ids": self._own_ids(output_dict["token_ids"])})
        output_dict.update(tokens=plain["tokens"], words=plain["words"])
        return output_dict


def _as_pair(prompt: Any) -> tuple[Side, Side]:
    # Source and target prefix.
    if isinstance(prompt, tuple) and len(prompt) == 2 and not isinstance(prompt[0], Integral):
        return prompt
    if isinstance(prompt, str):
        return prompt, ""
    chat = isinstance(prompt, Sequence) and len(prompt) > 0 and is_message(prompt[0])
    if chat or (isinstance(prompt, Mapping) and "messages" in prompt):
        raise ValueError("an encoder-decoder takes no chat; give a source, or a pair (source, target prefix)")
    return prompt, ()


def _embedder(part: Any) -> Any:
    layer: Any = getattr(part, "get_input_embeddings", lambda: None)()
    if not isinstance(getattr(layer, "weight", None), Tensor) or layer.weight.ndim != 2:
        raise ValueError(f"{type(part).__name__} does not say which layer embeds its tokens; one matrix is expected")
    return layer
