"""NextTokenLM: a prompt is embedded, contextualized, and gives a differentiable loss against a chosen next token."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from nexttoken.checks.probe import recomputes
from nexttoken.linear import FastSlopes
from nexttoken.text.prompt import Prompt, PromptLike
from nexttoken.text.target import Target
from nexttoken.text.vocabulary import Vocabulary

Tokens = Mapping[str, Tensor]


class NextTokenLM(nn.Module):
    """Embed a prompt, contextualize it, and predict the next token, with a loss against a known target.

    The state that is read is that of each row's last real token, whichever side the padding is on: rows of equal
    length run together without their padding, so no row depends on another and no part has to know about masks.

    Args:
        vocab: ids to strings, by namespace.
        text_field_embedder: token ids (batch, token) to embeddings (batch, token, dim).
        language_model_head: states (batch, hidden) to logits (batch, vocab).
        contextualizer: embeddings (batch, token, dim) to states (batch, token, hidden), or a tuple that begins with
            them, as `nn.LSTM` returns. Without one, the embeddings are the states. Continuations and targets of
            several tokens read several states at once; for them, a state must not depend on later tokens.
        target_namespace: the namespace of the predicted ids, for `decode`.
        dropout: probability of dropout on the state before the head, in training mode only; the contextualized
            embeddings that are returned are without it.
        initializer: called once with the finished module, to initialize its parameters.
        top_k: how many of the most probable next tokens `forward` returns.
        max_length: the longest prompt in tokens, or None where there is no limit.
    """

    def __init__(
        self,
        vocab: Vocabulary,
        text_field_embedder: nn.Module,
        language_model_head: nn.Module,
        contextualizer: nn.Module | None = None,
        target_namespace: str = "bert",
        dropout: float = 0.0,
        initializer: Callable[[nn.Module], Any] | None = None,
        *,
        top_k: int = 5,
        max_length: int | None = None,
    ):
        super().__init__()
        self.vocab = vocab
        self.text_field_embedder = text_field_embedder
        self.language_model_head = language_model_head
        self.contextualizer = contextualizer
        self.target_namespace = target_namespace
        self.dropout = nn.Dropout(dropout)
        self.top_k = top_k
        self.max_length = max_length
        self.name = type(self).__name__
        self.layers: list[nn.Module] = []  # those that can run again in the backward pass
        self._recomputes: bool | None = None
        self._loss_sum, self._loss_count = 0.0, 0
        self._copies: dict[torch.dtype, tuple[list[tuple[int, int]], NextTokenLM]] = {}
        if initializer is not None:
            initializer(self)

    @classmethod
    def from_pretrained(cls, model: Any = None, tokenizer: Any = None, **options: Any) -> NextTokenLM:
        """A Hugging Face causal language model as a NextTokenLM; see `nexttoken.from_pretrained`.

        Args:
            model: a folder, a model id, a GGUF file, or a model in memory; None for the bundled model.
            tokenizer: the tokenizer of a model in memory; without one, prompts and targets are token ids.
            **options: passed on to `nexttoken.from_pretrained`.
        """
        import nexttoken

        return nexttoken.from_pretrained(model, tokenizer, **options)

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

        The module is used, not copied: `frozen` holds it still while it is explained and gives it back as it was.

        Args:
            module: what the callables use, with all its parameters and modes.
            vocab: ids to strings.
            embed: token ids (batch, token) to embeddings (batch, token, dim), without positions.
            contextualize: embeddings to states (batch, token, hidden), or a tuple that begins with them. A row must
                not depend on another, nor a state on later tokens.
            head: states (batch, hidden) to logits (batch, vocab).
            max_length: the longest prompt in tokens, or None where there is no limit.
        """
        embedder, reader, contextualizer = (Part(module, function) for function in (embed, head, contextualize))
        lm = cls(vocab, embedder, reader, contextualizer, max_length=max_length)
        lm.name = type(module).__name__
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
        prefix_cache: Any = None,
        checkpointed: int = 0,
    ) -> tuple[Float[Tensor, "row token hidden"] | None, Float[Tensor, "row place vocab"]]:
        """Rows of one length, without padding: contextualized states (None unless asked for), and the logits of the
        token that follows each of the places.

        This is what a subclass overrides to put another network behind the same contract. Where `prefix_cache` is what
        the method made of the tokens that stand before the rows, only the rows run. So many of the `layers`
        run again in the backward pass, in place of being kept.
        """
        assert prefix_cache is None, "prefix_cache keeps nothing here"
        contextualized = self.contextualizer(embeddings) if self.contextualizer is not None else embeddings
        if isinstance(contextualized, tuple):
            contextualized = contextualized[0]
        read = self.dropout(contextualized[:, list(places)])
        logits = self.language_model_head(read.flatten(0, 1)).unflatten(0, read.shape[:2])
        return contextualized if states else None, logits

    @property
    def causal(self) -> bool:
        """Whether it is known that a prediction does not depend on later tokens."""
        return False

    @property
    def supports_right_padding(self) -> bool:
        """Whether rows of several lengths may run together, the shorter ones filled up behind their end."""
        return False

    @property
    def batches_backward(self) -> bool:
        """Whether backward passes of several targets may run at once."""
        return False

    def checkpointable_layers(self, input_ids: Int[Tensor, "1 token"]) -> int:
        """How many layers can run again in the backward pass, in place of being kept; proved on this text, once."""
        if self._recomputes is None:
            self._recomputes = bool(self.layers) and recomputes(self, input_ids)
        return len(self.layers) if self._recomputes else 0

    def prefix_cache(self, embeddings: Float[Tensor, "1 token dim"], input_ids: Int[Tensor, "1 token"]) -> Any:
        """What the network keeps of tokens that others follow, for `next_tokens`; None where it keeps nothing."""
        return None

    def _states_and_logits(
        self, embeddings: Float[Tensor, "batch token dim"], tokens: Tokens, states: bool
    ) -> tuple[Tensor | None, Tensor]:
        """`next_tokens` for a padded batch, run in groups of rows of one length; states of padding are zero."""
        input_ids, real = tokens["input_ids"], real_tokens(tokens)
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
        """Evaluation mode, parameters without gradient, random state set aside; afterwards all is as it was."""
        modes = [(module, module.training) for module in self.modules()]
        wanting = [  # by name, since a layer that is kept on disk gets new parameters whenever it runs
            (module, name)
            for module in self.modules()
            for name, parameter in module._parameters.items()
            if parameter is not None and parameter.requires_grad
        ]
        devices = {parameter.device for parameter in self.parameters() if parameter.device.type == "cuda"}
        try:
            with (
                torch.inference_mode(False),
                torch.random.fork_rng(devices=list(devices)),
                FastSlopes(),
                without_cudnn() if self._recurrent() else contextlib.nullcontext(),
            ):
                self.eval()
                for module, name in wanting:
                    getattr(module, name).requires_grad_(False)
                yield
        finally:
            for module, name in wanting:
                getattr(module, name).requires_grad_(True)
            for module, training in modes:
                module.training = training

    def in_precision(self, dtype: torch.dtype) -> NextTokenLM:
        """This model in another precision, as a copy that is kept as long as the weights stay as they are."""
        state = [(parameter.data_ptr(), parameter._version) for parameter in self.parameters()]
        if dtype not in self._copies or self._copies[dtype][0] != state:
            copied = copy.deepcopy(self, {id(self.vocab): self.vocab, id(self._copies): {}})
            copied.to(dtype).eval().requires_grad_(False)
            self._copies[dtype] = (state, copied)
        return self._copies[dtype][1]

    def _recurrent(self) -> bool:
        """Whether there is a recurrent layer: cuDNN refuses its backward pass in evaluation mode."""
        return any(isinstance(module, nn.RNNBase) for module in self.modules())

    # Prompts and predictions

    def prompt(self, prompt: PromptLike) -> Prompt:
        """A prompt from text, ids or chat messages. Raises ValueError if empty, unknown or too long for the model."""
        encoded = Prompt.of(prompt, self.vocab)
        if self.max_length is not None and len(encoded) > self.max_length:
            raise ValueError(
                f"the prompt has {len(encoded)} tokens and this model reads at most {self.max_length}; "
                f"leave out at least {len(encoded) - self.max_length}"
            )
        return encoded

    def max_new_tokens(self, prompt: Prompt) -> int | None:
        """How many tokens may follow a prompt, of which the last is not read; None where there is no limit."""
        return None if self.max_length is None else self.max_length - len(prompt) + 1

    def tokens(self, prompt: Prompt, following: Sequence[int] = ()) -> dict[str, Tensor]:
        """A prompt, and ids that follow it, as a batch of one row on the model's device."""
        ids = torch.tensor([[*prompt.ids, *following]], device=self.device)
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

    @property
    def device(self) -> torch.device:
        """Where the token ids have to be; an embedding layer that is kept on disk takes them from the CPU."""
        devices = [parameter.device for parameter in self.text_field_embedder.parameters()]
        return next((device for device in devices if device.type != "meta"), torch.device("cpu"))

    def predict(self, prompt: PromptLike, k: int | None = None) -> tuple[Target, ...]:
        """The k most probable next tokens (default `top_k`), the most probable first. One forward pass."""
        encoded = self.prompt(prompt)
        tokens = self.tokens(encoded)
        with torch.no_grad(), self.frozen():
            logits = self.logits(self.embed(tokens), tokens)[0].float()
        best = logits.topk(min(k or self.top_k, len(logits)))
        return tuple(Target.of(token_id, encoded, self.vocab, logits) for token_id in best.indices.tolist())

    def generate(self, prompt: Prompt, max_new_tokens: int) -> tuple[int, ...]:
        """The ids that the model would continue the prompt with, its first choice each time, up to the end of the text.

        One forward pass a token. Stops at the longest text that the model reads. Raises ValueError for no tokens.
        """
        if max_new_tokens < 1:
            raise ValueError(f"max_new_tokens is {max_new_tokens}; it must be at least 1")
        room, said = self.max_new_tokens(prompt), list[int]()
        most = max_new_tokens if room is None else min(max_new_tokens, room)
        with torch.no_grad(), self.frozen():
            while len(said) < most:
                tokens = self.tokens(prompt, said)
                chosen = int(self.next_tokens(self.embed(tokens), tokens["input_ids"])[1].argmax())
                if chosen == self.vocab.eos_id:
                    break
                said.append(chosen)
        return tuple(said)

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
            "attention_mask": real_tokens(tokens),
        }
        if target_ids is not None:
            loss = nn.functional.cross_entropy(logits, one_target_a_row(target_ids, logits.shape[-1]))
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

        NaN where there was none. What interpreters compute never counts.
        """
        mean = torch.tensor(self._loss_sum / self._loss_count if self._loss_count else float("nan"))
        if reset:
            self._loss_sum, self._loss_count = 0.0, 0
        return {"perplexity": float(mean.exp())}


class Part(nn.Module):
    """A callable as a module, which has the parameters and modes of the module that the callable uses."""

    def __init__(self, module: nn.Module, function: Callable[[Tensor], Any]):
        super().__init__()
        self.module = module
        self.function = function

    def forward(self, inputs: Tensor) -> Any:
        return self.function(inputs)


def real_tokens(tokens: Tokens) -> Bool[Tensor, "batch token"]:
    """True where a token is not padding."""
    mask = tokens.get("attention_mask")
    return torch.ones_like(tokens["input_ids"], dtype=torch.bool) if mask is None else mask.bool()


def one_target_a_row(target_ids: Tokens, vocab_size: int) -> Int[Tensor, " batch"]:
    """The target id of each row. Raises ValueError unless each row has exactly one, within the vocabulary."""
    real = real_tokens(target_ids)
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


@contextlib.contextmanager
def without_cudnn() -> Iterator[None]:
    """Within this context, cuDNN is off; its other settings stay the caller's."""
    enabled = torch.backends.cudnn.enabled
    torch.backends.cudnn.enabled = False
    try:
        yield
    finally:
        torch.backends.cudnn.enabled = enabled
