"""NextTokenLM: a prompt is embedded, contextualized, and gives a differentiable loss against a chosen next token."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from nexttoken.explainable import ROUNDING as ROUNDING
from nexttoken.explainable import ExplainableNetwork
from nexttoken.explainable import PrefixCache as PrefixCache
from nexttoken.explainable import Tokens as Tokens
from nexttoken.text.prompt import Prompt, PromptLike, Start
from nexttoken.text.target import Target
from nexttoken.text.vocabulary import Vocabulary

NEW_TOKENS = 16  # of a text that is generated, after which its prefix is cached


class NextTokenLM(ExplainableNetwork):
    """Embed a prompt, contextualize it, and predict the next token, with a loss against a known target.

    The prediction is made from the state at each row's last real token, whichever side the padding is on: rows of
    equal length run together without their padding, so no row depends on another and no part has to know about masks.

    A subclass runs another network by overriding `next_tokens`, and what it offers beside (see ExplainableNetwork).

    Args:
        vocab: ids to strings, by namespace.
        text_field_embedder: token ids (batch, token) to embeddings (batch, token, dim).
        language_model_head: states (batch, hidden) to logits (batch, vocab).
        contextualizer: embeddings (batch, token, dim) to states (batch, token, hidden), or a tuple that begins with
            them, as `nn.LSTM` returns. Without one, the embeddings are the states. For continuations and targets of
            several tokens, a state must not depend on later tokens.
        target_namespace: the namespace of the predicted ids, for `decode`.
        dropout: probability of dropout on the state before the head, in training mode only; the contextualized
            embeddings that are returned are without it.
        initializer: called once with the finished module, to initialize its parameters.
        top_k: the number of most probable next tokens that `forward` and `predict` return.

    Attributes:
        name: what the model is called in results.
        max_length: the longest prompt in tokens, or None where there is no limit; a model that has one sets it.
    """

    max_length: int | None = None

    def __init__(
        self,
        vocab: Vocabulary,
        text_field_embedder: nn.Module,
        language_model_head: nn.Module,
        contextualizer: nn.Module | None = None,
        target_namespace: str = "bert",
        dropout: float = 0.0,
        initializer: Callable[[nn.Module], object] | None = None,
        *,
        top_k: int = 5,
    ):
        super().__init__()
        self.vocab = vocab
        self.text_field_embedder = text_field_embedder
        self.language_model_head = language_model_head
        self.contextualizer = contextualizer
        self.target_namespace = target_namespace
        self.dropout = nn.Dropout(dropout)
        self.top_k = top_k
        self.name = type(self).__name__
        self._loss_sum, self._loss_count = 0.0, 0
        if initializer is not None:
            initializer(self)

    @classmethod
    def from_pretrained(
        cls,
        model: str | os.PathLike[str] | nn.Module | None = None,
        tokenizer: Any = None,
        *,
        dtype: str | torch.dtype = "float32",
        device: str | torch.device | None = None,
        device_map: Any = None,
        trust_remote_code: bool = False,
        local_files_only: bool = False,
        **options: Any,
    ) -> NextTokenLM:
        """A Hugging Face language model as a NextTokenLM: what `nexttoken.from_pretrained` returns."""
        import nexttoken

        return nexttoken.from_pretrained(
            model,
            tokenizer,
            dtype=dtype,
            device=device,
            device_map=device_map,
            trust_remote_code=trust_remote_code,
            local_files_only=local_files_only,
            **options,
        )

    @classmethod
    def from_callables(
        cls,
        module: nn.Module,
        vocab: Vocabulary,
        *,
        embed: Callable[[Tensor], Tensor],
        contextualize: Callable[[Tensor], Any],
        head: Callable[[Tensor], Tensor],
        max_length: int | None = None,
    ) -> NextTokenLM:
        """Any module as a NextTokenLM, from three callables that use it; it is not copied, and comes back as it was.

        Args:
            module: what the callables use, with all its parameters and modes.
            vocab: ids to strings.
            embed: token ids (batch, token) to embeddings (batch, token, dim), without positions.
            contextualize: embeddings to states (batch, token, hidden), or a tuple that begins with them. A row must
                not depend on another, nor a state on later tokens.
            head: states (batch, hidden) to logits (batch, vocab).
            max_length: the longest prompt in tokens, or None where there is no limit.
        """
        embedder, states_to_logits, contextualizer = (_Part(module, each) for each in (embed, head, contextualize))
        lm = cls(vocab, embedder, states_to_logits, contextualizer)
        lm.name, lm.max_length = type(module).__name__, max_length
        return lm

    def embed(self, tokens: Tokens) -> Float[Tensor, "batch token dim"]:
        return self.text_field_embedder(tokens["input_ids"])

    def logits(self, embeddings: Float[Tensor, "batch token dim"], tokens: Tokens) -> Float[Tensor, "batch vocab"]:
        """The logits of the token that follows each row, as a differentiable function of its embeddings."""
        return self._states_and_logits(embeddings, tokens, states=False)[1]

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
        contextualized = self.contextualizer(embeddings) if self.contextualizer is not None else embeddings
        if isinstance(contextualized, tuple):
            contextualized = contextualized[0]
        predicting = self.dropout(contextualized[:, list(positions)])
        logits = self.language_model_head(predicting.flatten(0, 1)).unflatten(0, predicting.shape[:2])
        return contextualized if states else None, logits

    def head(self, states: Float[Tensor, "row token hidden"]) -> Float[Tensor, "row token vocab"] | None:
        """What the network's head makes of the states of `next_tokens`: the logits, if nothing else is done to them.

        Whether it is so shows where logits are known; None for a network whose head cannot be called alone.
        """
        if type(self).next_tokens is not NextTokenLM.next_tokens:
            return None
        return self.language_model_head(self.dropout(states).flatten(0, 1)).unflatten(0, states.shape[:2])

    def _states_and_logits(
        self, embeddings: Float[Tensor, "batch token dim"], tokens: Tokens, states: bool
    ) -> tuple[Tensor | None, Tensor]:
        # `next_tokens` for a padded batch, rows of one length together; states of padding are zero.
        input_ids, real = tokens["input_ids"], _real_tokens(tokens)
        lengths = real.sum(-1)
        if bool((lengths == 0).any()):
            raise ValueError(f"row {int((lengths == 0).nonzero()[0])} of the batch has no token that is not padding")
        row_states: list[Tensor] = [embeddings] * len(lengths)
        row_logits: list[Tensor] = [embeddings] * len(lengths)
        for length in lengths.unique().tolist():
            rows = (lengths == length).nonzero().flatten().tolist()
            own = torch.stack([embeddings[row, real[row]] for row in rows])
            found, logits = self.next_tokens(
                own, torch.stack([input_ids[row, real[row]] for row in rows]), states=states
            )
            for number, row in enumerate(rows):
                row_logits[row] = logits[number, 0]
                if found is not None:
                    padded = found.new_zeros(len(real[row]), found.shape[-1])
                    row_states[row] = padded.masked_scatter(real[row][:, None], found[number])
        return torch.stack(row_states) if states else None, torch.stack(row_logits)

    # Prompts and predictions

    def prompt(self, prompt: PromptLike, start: Start = None, **template: Any) -> Prompt:
        """A prompt from text, ids or chat messages.

        Args:
            prompt: the text, and how it is given.
            start: a token to put in front as context, for tokenizers that write none: its text or id, or True for the
                vocabulary's own, its `start_id`. A prompt that begins with it stays as it is.
            template: what a chat's template takes beside the messages: `tools`, `documents`, and its own switches, such
                as `enable_thinking=False`.

        Raises:
            ValueError: empty, unknown or too long for the model; a start that is not one token; a template that refuses
                the messages.
        """
        encoded = Prompt.of(prompt, self.vocab, **template).with_start_token(start, self.vocab)
        refuse_longer("prompt", len(encoded), self.max_length)
        return encoded

    def max_new_tokens(self, prompt: Prompt) -> int | None:
        """The number of tokens that may follow a prompt at most, the last of which is not run; None without a limit."""
        return None if self.max_length is None else self.max_length - len(prompt) + 1

    def tokens(self, prompt: Prompt, following: Sequence[int] = ()) -> dict[str, Tensor]:
        """A prompt, and ids that follow it, as a batch of one row on the model's device."""
        ids = torch.tensor([[*prompt.ids, *following]], device=self.device)
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

    def predict(self, prompt: PromptLike, k: int | None = None) -> tuple[Target, ...]:
        """The k most probable next tokens (default `top_k`), the most probable first. Costs one forward pass."""
        encoded = self.prompt(prompt)
        tokens = self.tokens(encoded)
        with torch.no_grad(), self.frozen():
            logits = self.logits(self.embed(tokens), tokens)[0].float()
        best = logits.topk(min(k or self.top_k, len(logits)))
        return tuple(Target.of(token_id, encoded, self.vocab, logits) for token_id in best.indices.tolist())

    @property
    def end_ids(self) -> frozenset[int]:
        """The ids of the tokens that end a text or a turn: the vocabulary's own; a network may name more."""
        return frozenset() if self.vocab.eos_id is None else frozenset([self.vocab.eos_id])

    def generate(self, prompt: PromptLike, max_new_tokens: int) -> tuple[int, ...]:
        """The greedy continuation of a prompt: the most probable token each time, without the one that ends the text.

        Costs one forward pass per token; where the model makes a prefix cache, of the tokens since. Stops at any of
        `end_ids`, and at the longest text the model takes. Raises ValueError for no tokens, and what `prompt` raises.
        """
        if max_new_tokens < 1:
            raise ValueError(f"max_new_tokens is {max_new_tokens}; it must be at least 1")
        prompt = self.prompt(prompt)
        limit = self.max_new_tokens(prompt)
        length = max_new_tokens if limit is None else min(max_new_tokens, limit)
        ids: list[int] = []
        begin, cache, may_cache = 0, None, True
        with torch.no_grad(), self.frozen():
            while len(ids) < length:
                input_ids = self.tokens(prompt, ids)["input_ids"]
                embeddings, last = self.embed({"input_ids": input_ids}), input_ids.shape[1] - 1
                if may_cache and len(ids) + 1 < length and last - begin >= NEW_TOKENS:
                    if cache is None:
                        cache = self.proved_prefix_cache(embeddings, input_ids, last)
                    else:
                        cache = self.prefix_cache(embeddings[:, :last], input_ids[:, :last])
                    begin, may_cache = (last, True) if cache is not None else (0, False)
                rest = embeddings[:, begin:], input_ids[:, begin:]
                logits = self.next_tokens(*rest, prefix_cache=cache)[1][0, 0]
                first, second = logits.topk(min(2, len(logits))).values[[0, -1]]
                if cache is not None and bool(first - second <= ROUNDING * logits.abs().max()):  # as good as equal
                    logits = self.next_tokens(embeddings, input_ids)[1][0, 0]
                chosen = int(logits.argmax())
                if chosen in self.end_ids:
                    break
                ids.append(chosen)
        return tuple(ids)

    # The contract of a model: forward, decode, metrics

    def forward(self, tokens: Tokens, target_ids: Tokens | None = None) -> dict[str, Any]:
        """Predict each row's next token.

        Args:
            tokens: what a tokenizer returns: `input_ids` (batch, token) and, where rows are padded, `attention_mask`.
            target_ids: in the same form, exactly one real token a row; only needed for the loss.

        Returns:
            A dictionary: `logits` (batch, vocab); `probabilities` and `top_indices` (batch, k) of the k most probable
            next tokens; `contextualized_embeddings` (batch, token, hidden); `token_ids` (batch, token) and
            `attention_mask`; and `loss`, the mean cross-entropy over the batch in nats, if there are targets.

        Raises:
            ValueError: a row without a real token, or a target that is not one token in the vocabulary.
        """
        contextualized, logits = self._states_and_logits(self.embed(tokens), tokens, states=True)
        top = logits.softmax(-1).topk(min(self.top_k, logits.shape[-1]))
        output = {
            "logits": logits,
            "probabilities": top.values,
            "top_indices": top.indices,
            "contextualized_embeddings": contextualized,
            "token_ids": tokens["input_ids"],
            "attention_mask": _real_tokens(tokens),
        }
        if target_ids is not None:
            loss = nn.functional.cross_entropy(logits, _one_id_per_row(target_ids, logits.shape[-1]))
            self._loss_sum += float(loss.detach())
            self._loss_count += 1
            output["loss"] = loss
        return output

    def decode(self, output_dict: dict[str, Any]) -> dict[str, Any]:
        """Add `tokens` and `words` to a `forward` result, and return the same dictionary.

        Both are lists of lists of strings: the input's real tokens, and the k most probable next tokens.
        """
        rows = zip(output_dict["token_ids"], output_dict["attention_mask"], strict=True)
        output_dict["tokens"] = [[self.vocab.decode([i]) for i in ids[real].tolist()] for ids, real in rows]
        output_dict["words"] = [
            [self.vocab.decode([i], self.target_namespace) for i in row.tolist()] for row in output_dict["top_indices"]
        ]
        return output_dict

    def get_metrics(self, reset: bool = False) -> dict[str, float]:
        """The perplexity, exp of the mean loss, over the `forward` calls with targets since the last reset.

        NaN where there was none. Interpreters call the parts of the model, not `forward`, and never count.
        """
        mean = torch.tensor(self._loss_sum / self._loss_count if self._loss_count else float("nan"))
        if reset:
            self._loss_sum, self._loss_count = 0.0, 0
        return {"perplexity": float(mean.exp())}


def refuse_longer(what: str, length: int, limit: int | None) -> None:
    """Raise ValueError for a text that is longer than the model reads."""
    if limit is not None and length > limit:
        raise ValueError(
            f"the {what} has {length} tokens and this model reads at most {limit}; leave out at least {length - limit}"
        )


class _Part(nn.Module):
    """A callable as a module with the parameters and modes of the module that it uses."""

    def __init__(self, module: nn.Module, function: Callable[[Tensor], Any]):
        super().__init__()
        self.module = module
        self.function = function

    def forward(self, inputs: Tensor) -> Any:
        return self.function(inputs)


def _real_tokens(tokens: Tokens) -> Bool[Tensor, "batch token"]:
    mask = tokens.get("attention_mask")
    return torch.ones_like(tokens["input_ids"], dtype=torch.bool) if mask is None else mask.bool()


def _one_id_per_row(target_ids: Tokens, vocab_size: int) -> Int[Tensor, " batch"]:
    real = _real_tokens(target_ids)
    counts = real.sum(-1)
    if (counts != 1).any():
        row = int((counts != 1).nonzero()[0])
        raise ValueError(f"the target of row {row} has {int(counts[row])} tokens; a next token is exactly one")
    ids = target_ids["input_ids"][real]
    unknown = ids[(ids < 0) | (ids >= vocab_size)]
    if len(unknown) > 0:
        raise ValueError(f"target id {int(unknown[0])} is not between 0 and {vocab_size - 1}")
    return ids
