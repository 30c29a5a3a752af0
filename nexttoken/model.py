"""NextTokenLM: a prompt is embedded, contextualized, and gives a differentiable loss against a chosen next token."""

from __future__ import annotations

import contextlib
import copy
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from nexttoken.linear import FastInputGradients
from nexttoken.text.prompt import Prompt, PromptLike, Start
from nexttoken.text.target import Target
from nexttoken.text.vocabulary import Vocabulary

Tokens = Mapping[str, Tensor]
"""What a tokenizer returns: `input_ids` (batch, token) and, where rows are padded, `attention_mask`."""


REREAD = 16  # tokens of a text that grows, after which its prefix is cached anew
ROUNDING = 1e-4  # of the largest logit, where the same is computed in another way


class PrefixCache:
    """What a network computed of a prefix and needs for the tokens after it; read only by the model that made it."""


class NextTokenLM(nn.Module):
    """Embed a prompt, contextualize it, and predict the next token, with a loss against a known target.

    The prediction is made from the state at each row's last real token, whichever side the padding is on: rows of
    equal length run together without their padding, so no row depends on another and no part has to know about masks.

    A subclass puts another network behind the same contract by overriding `next_tokens`, and says what its network
    offers beside that by overriding `causal`, `supports_right_padding`, `batches_backward`, `prefix_cache`
    and `checkpointable_layers`, which offer nothing here.

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
        self._stillness = _Stillness()
        self._copies: dict[torch.dtype, tuple[list[tuple[int, int]], NextTokenLM]] = {}
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
        """Any module as a NextTokenLM, from three callables that use it.

        The module is used, not copied: while it is explained it is `frozen`, and afterwards it is as it was.

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

    # The parts that interpreters need

    def embed(self, tokens: Tokens) -> Float[Tensor, "batch token dim"]:
        """The input embeddings of the tokens, positions excluded."""
        return self.text_field_embedder(tokens["input_ids"])

    def logits(self, embeddings: Float[Tensor, "batch token dim"], tokens: Tokens) -> Float[Tensor, "batch vocab"]:
        """The logits of the token that follows each row, as a differentiable function of its embeddings."""
        return self._states_and_logits(embeddings, tokens, states=False)[1]

    def next_tokens(
        self,
        embeddings: Float[Tensor, "row token dim"],
        input_ids: Int[Tensor, "row token"],
        places: Sequence[int] = (-1,),
        states: bool = False,
        prefix_cache: PrefixCache | None = None,
        checkpointed: int = 0,
    ) -> tuple[Float[Tensor, "row token hidden"] | None, Float[Tensor, "row place vocab"]]:
        """Contextualized states, and logits after given places, of rows of one length without padding.

        This is what a subclass overrides to put another network behind the same contract.

        Args:
            embeddings: the input embeddings, as `embed` gives them.
            input_ids: the ids that they are of.
            places: the tokens after which the next one is predicted; -1 is the last.
            states: whether the contextualized states are returned; None otherwise.
            prefix_cache: what `prefix_cache` returned for tokens that stand before every row; only the rows run.
            checkpointed: the number of layers that keep only their input and run again in the backward pass; at most
                `checkpointable_layers`.
        """
        assert prefix_cache is None, "this model makes no prefix cache"
        contextualized = self.contextualizer(embeddings) if self.contextualizer is not None else embeddings
        if isinstance(contextualized, tuple):
            contextualized = contextualized[0]
        predicting = self.dropout(contextualized[:, list(places)])
        logits = self.language_model_head(predicting.flatten(0, 1)).unflatten(0, predicting.shape[:2])
        return contextualized if states else None, logits

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

    def head(self, states: Float[Tensor, "row token hidden"]) -> Float[Tensor, "row token vocab"] | None:
        """What the network's head makes of the states of `next_tokens`: the logits, if nothing else is done to them.

        Whether it is so shows where logits are known; None for a network whose head cannot be called alone.
        """
        if type(self).next_tokens is not NextTokenLM.next_tokens:
            return None
        return self.language_model_head(self.dropout(states).flatten(0, 1)).unflatten(0, states.shape[:2])

    def prefix_cache(
        self, embeddings: Float[Tensor, "1 token dim"], input_ids: Int[Tensor, "1 token"]
    ) -> PrefixCache | None:
        """What the network computes of a prefix, for `next_tokens` of what follows it; None where it makes no cache."""
        return None

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
        held = self._stillness
        return held.sharded if held.threads else _any_sharded(self.parameters())

    def _states_and_logits(
        self, embeddings: Float[Tensor, "batch token dim"], tokens: Tokens, states: bool
    ) -> tuple[Tensor | None, Tensor]:
        """`next_tokens` for a padded batch, in groups of rows of one length; states of padding are zero."""
        input_ids, real = tokens["input_ids"], _real_tokens(tokens)
        lengths = real.sum(-1)
        if (lengths == 0).any():
            raise ValueError(f"row {int((lengths == 0).nonzero()[0])} of the batch has no token that is not padding")
        rows, row_states, row_logits = [], [], []
        for length in lengths.unique():
            group = (lengths == length).nonzero().flatten()
            where = real[group]
            size = (len(group), int(length))
            group_states, group_logits = self.next_tokens(
                embeddings[group][where].reshape(*size, -1), input_ids[group][where].reshape(size), states=states
            )
            rows.append(group)
            row_logits.append(group_logits[:, 0])
            if group_states is not None:
                padded = group_states.new_zeros(*where.shape, group_states.shape[-1])
                row_states.append(padded.masked_scatter(where[..., None], group_states))
        order = torch.cat(rows).argsort()
        return torch.cat(row_states)[order] if states else None, torch.cat(row_logits)[order]

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Within this context: evaluation mode, parameters without gradient, and a random state of its own.

        Afterwards everything is as it was, also after an error; where several threads hold it still, after the last of
        them. Inside another one of the same thread, it costs little.
        """
        thread, held = threading.get_ident(), self._stillness
        enabled = torch.is_grad_enabled()
        if thread in held.threads:
            with (
                torch.inference_mode(False),
                torch.set_grad_enabled(enabled),
                torch.random.fork_rng(devices=held.devices),
            ):
                yield
            return
        with _HOLDING:
            if not held.threads:
                held.begin(self)
            held.threads.add(thread)
        try:
            with (
                torch.inference_mode(False),  # which turns gradients on
                torch.set_grad_enabled(enabled),
                torch.random.fork_rng(devices=held.devices),
                FastInputGradients(),
                _without_cudnn() if held.recurrent else contextlib.nullcontext(),
            ):
                yield
        finally:
            with _HOLDING:
                held.threads.discard(thread)
                if not held.threads:
                    held.end()

    def in_precision(self, dtype: torch.dtype) -> NextTokenLM:
        """This model in another precision: a copy, made again when the weights have changed since."""
        state = [(parameter.data_ptr(), parameter._version) for parameter in self.parameters()]
        if dtype not in self._copies or self._copies[dtype][0] != state:
            self._copies[dtype] = (state, self._copy().to(dtype))
        return self._copies[dtype][1]

    def with_shuffled_weights(self, seed: int = 0) -> NextTokenLM:
        """A copy of this model whose weights, but for the input embeddings, are shuffled within each parameter."""
        copied, generator = self._copy(), torch.Generator().manual_seed(seed)
        embeddings = {id(parameter) for parameter in copied.text_field_embedder.parameters()}
        for parameter in copied.parameters():
            if id(parameter) not in embeddings:
                order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
                parameter.data = parameter.data.flatten()[order].view_as(parameter)
        return copied

    def _copy(self) -> NextTokenLM:
        copied = copy.deepcopy(self, {id(self.vocab): self.vocab, id(self._copies): {}})
        return copied.eval().requires_grad_(False)

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
        encoded = Prompt.of(prompt, self.vocab, **template).behind(start, self.vocab)
        if self.max_length is not None and len(encoded) > self.max_length:
            raise ValueError(
                f"the prompt has {len(encoded)} tokens and this model reads at most {self.max_length}; "
                f"leave out at least {len(encoded) - self.max_length}"
            )
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

        Costs one forward pass a token; where the model has a prefix cache that gives its own logits after this text,
        only of the tokens since it was made. Stops at any of `end_ids`, and at the longest text the model takes. Raises
        ValueError for no tokens, and what `prompt` raises.
        """
        if max_new_tokens < 1:
            raise ValueError(f"max_new_tokens is {max_new_tokens}; it must be at least 1")
        prompt = self.prompt(prompt)
        limit, ids, ends = self.max_new_tokens(prompt), list[int](), self.end_ids
        length = max_new_tokens if limit is None else min(max_new_tokens, limit)
        with torch.no_grad(), self.frozen():
            reading = _Reading(self)
            while len(ids) < length:
                chosen = reading.first_choice(self.tokens(prompt, ids)["input_ids"], length - len(ids))
                if chosen in ends:
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
            loss = nn.functional.cross_entropy(logits, _target_ids(target_ids, logits.shape[-1]))
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


class _Reading:
    """Reads a text that grows, and keeps what a model's prefix cache holds of its beginning."""

    def __init__(self, lm: NextTokenLM):
        self.lm, self.may_cache = lm, True
        self.cached: tuple[int, PrefixCache | None] = (0, None)

    def first_choice(self, input_ids: Int[Tensor, "1 token"], left: int) -> int:
        """The most probable token after a text, which begins as the one before did; `left` are still to come.

        Where two tokens are as good as equal, the model reads the whole text.
        """
        embeddings, length = self.lm.embed({"input_ids": input_ids}), input_ids.shape[1]
        if self.may_cache and left > 1 and length - self.cached[0] > REREAD:
            self._cache(embeddings, input_ids)
        begin, cache = self.cached
        logits = self._logits(embeddings, input_ids, begin, cache)
        if cache is not None:
            first, second = logits.topk(min(2, len(logits))).values[[0, -1]]
            if bool(first - second <= ROUNDING * logits.abs().max()):
                logits = self._logits(embeddings, input_ids)
        return int(logits.argmax())

    def _cache(self, embeddings: Float[Tensor, "1 token dim"], input_ids: Int[Tensor, "1 token"]) -> None:
        """Cache all of a text but its last token, if the model's own logits then follow."""
        begin = input_ids.shape[1] - 1
        cache = self.lm.prefix_cache(embeddings[:, :begin], input_ids[:, :begin])
        first_time = self.cached[1] is None
        if cache is not None and first_time:
            expected = self._logits(embeddings, input_ids)
            found = self._logits(embeddings, input_ids, begin, cache)
            if bool((found - expected).abs().max() > ROUNDING * expected.abs().max()):
                cache = None
        self.may_cache, self.cached = cache is not None, (begin, cache) if cache is not None else (0, None)

    def _logits(
        self,
        embeddings: Float[Tensor, "1 token dim"],
        input_ids: Int[Tensor, "1 token"],
        begin: int = 0,
        cache: PrefixCache | None = None,
    ) -> Float[Tensor, " vocab"]:
        return self.lm.next_tokens(embeddings[:, begin:], input_ids[:, begin:], prefix_cache=cache)[1][0, 0]


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


def _target_ids(target_ids: Tokens, vocab_size: int) -> Int[Tensor, " batch"]:
    """The target id of each row. Raises ValueError unless each row has exactly one, within the vocabulary."""
    real = _real_tokens(target_ids)
    counts = real.sum(-1)
    if (counts != 1).any():
        row = int((counts != 1).nonzero()[0])
        raise ValueError(f"the target of row {row} has {int(counts[row])} tokens; a next token is exactly one")
    ids = target_ids["input_ids"][real]
    if ((ids < 0) | (ids >= vocab_size)).any():
        raise ValueError(
            f"target id {int(ids[(ids < 0) | (ids >= vocab_size)][0])} is not between 0 and {vocab_size - 1}"
        )
    return ids


_HOLDING = threading.Lock()  # while a model is brought to a standstill, or set free


class _Stillness:
    """How a model is held still, and what it was before.

    Attributes:
        threads: those that hold it.
        devices: the GPUs that it is on.
        sharded: whether a parameter of it is.
        recurrent: whether a layer of it is.
    """

    def __init__(self) -> None:
        self.threads: set[int] = set()
        self.devices: list[torch.device] = []
        self.sharded = self.recurrent = False
        self._modes: list[tuple[nn.Module, bool]] = []
        self._wanting: list[tuple[nn.Module, str]] = []

    def __deepcopy__(self, memo: dict[int, Any]) -> _Stillness:
        return _Stillness()  # nobody holds the copy

    def begin(self, lm: NextTokenLM) -> None:
        """Evaluation mode, and parameters without gradient."""
        modules = list(lm.modules())
        own = [  # by name, since a layer that is kept on disk gets new parameters whenever it runs
            (module, name, parameter)
            for module in modules
            for name, parameter in module._parameters.items()
            if parameter is not None
        ]
        self._modes = [(module, module.training) for module in modules]
        self._wanting = [(module, name) for module, name, parameter in own if parameter.requires_grad]
        self.devices = list({parameter.device for *_, parameter in own if parameter.device.type == "cuda"})
        self.sharded = _any_sharded(parameter for *_, parameter in own)
        # cuDNN refuses the backward pass of a recurrent layer in evaluation mode.
        self.recurrent = any(isinstance(module, nn.RNNBase) for module in modules)
        if any(training for _, training in self._modes):
            lm.eval()
        for module, name in self._wanting:
            getattr(module, name).requires_grad_(False)

    def end(self) -> None:
        """As it was before."""
        for module, name in self._wanting:
            getattr(module, name).requires_grad_(True)
        for module, training in self._modes:
            if module.training != training:
                module.training = training
        self._modes, self._wanting = [], []


def _any_sharded(parameters: Iterable[Tensor]) -> bool:
    # Importing it takes long, and as long as nobody has, no parameter can be one.
    distributed = sys.modules.get("torch.distributed.tensor")
    return distributed is not None and any(isinstance(each, distributed.DTensor) for each in parameters)


@contextlib.contextmanager
def _without_cudnn() -> Iterator[None]:
    # Not torch.backends.cudnn.flags, which sets the other settings of cuDNN too.
    enabled = torch.backends.cudnn.enabled
    torch.backends.cudnn.enabled = False
    try:
        yield
    finally:
        torch.backends.cudnn.enabled = enabled
