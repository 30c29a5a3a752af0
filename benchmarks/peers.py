"""captum, inseq and interpreto, called so that each does the same work as we do, at settings of its own choice.

Networks are given as their users have them: with parameters that ask for gradients, and without our attention to the
logits of all positions, which each of the three computes.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from benchmarks.texts import Text
from nexttoken import NextTokenLM

GRADIENT_X_INPUT, INTEGRATED_GRADIENTS = "gradient x input", "integrated gradients"
SCORES_LIKE_OURS = ("captum", "inseq")  # log p, signed; interpreto's are magnitudes of the logit's gradients


class Peers:
    """The three libraries on a model, which they may change.

    Args:
        lm: the model.
        copied: whether its network is copied before.
    """

    def __init__(self, lm: NextTokenLM, copied: bool = True):
        self.network: Any = copy.deepcopy(lm.language_model_head) if copied else lm.language_model_head
        self.tokenizer = copy.deepcopy(lm.vocab.tokenizer)  # type: ignore[attr-defined]
        self.tokenizer.pad_token = self.tokenizer.unk_token  # where it ends the text, inseq attends to padding
        self.network.config.pad_token_id = self.network.generation_config.pad_token_id = self.tokenizer.pad_token_id
        self.loaded: dict[str, Any] = {}
        warnings.filterwarnings("ignore", module="inseq|interpreto|captum")

    def path(self, library: str, text: Text, steps: int, batch: int) -> Callable[[], Tensor]:
        """Integrated gradients of one target from the embedding of token 0, `batch` points at once, when it is called.

        Captum and inseq return signed scores (token,) in nats.
        """
        if library == "interpreto":
            return lambda: self.interpreto(text, "IntegratedGradients", batch, n_perturbations=steps)[0]
        if library == "inseq":
            return lambda: self.inseq(text, INTEGRATED_GRADIENTS, n_steps=steps, internal_batch_size=batch)[0]
        return lambda: self.captum_path(text.ids, text.target_ids[0], steps, batch)

    def captum_path(
        self,
        ids: Sequence[int],
        target_id: int,
        steps: int,
        batch: int,
        moving: Iterable[int] | None = None,
        all_logits: bool = True,
    ) -> Tensor:
        """captum's IntegratedGradients on embeddings, with the scalar that its class for language models explains.

        Args:
            ids: the prompt.
            target_id: the token whose log-probability is explained.
            steps: of the path.
            batch: how many points run at once.
            moving: the positions that move; all of them by default.
            all_logits: as that class has it; otherwise the caller knew better and asked for those of the last position.
        """
        from captum.attr import IntegratedGradients

        options = {} if all_logits else {"logits_to_keep": 1}

        def log_probability(points: Tensor) -> Tensor:
            logits = self.network(inputs_embeds=points, **options).logits[:, -1]
            return logits.log_softmax(-1)[:, target_id]

        x = self.embeddings(ids)
        start = self.start(x, moving)
        explainer = IntegratedGradients(log_probability)
        return explainer.attribute(x, start, n_steps=steps, internal_batch_size=batch).sum(-1)[0].detach()

    def captum_gap(self, ids: Sequence[int], target_id: int, scores: Tensor) -> float:
        """By what share of F(x) - F(x') the scores of `captum_path` miss it."""
        x = self.embeddings(ids)
        with torch.no_grad():
            logits = self.network(inputs_embeds=torch.cat([x, self.start(x, None)]), logits_to_keep=1).logits[:, -1]
        value, baseline_value = logits.log_softmax(-1)[:, target_id].tolist()
        return abs(float(scores.double().sum()) / (value - baseline_value) - 1)

    def embeddings(self, ids: Sequence[int]) -> Tensor:
        return self.network.get_input_embeddings()(torch.tensor([list(ids)])).detach()

    def start(self, x: Tensor, moving: Iterable[int] | None) -> Tensor:
        """captum's baseline: the embedding of token 0, where tokens move."""
        positions = list(range(x.shape[1])) if moving is None else list(moving)
        start = x.clone()
        start[:, positions] = self.embeddings([0])
        return start

    def continuation(self, library: str, text: Text, kind: str, **settings: Any) -> Callable[[], list[Tensor]]:
        """Every target token of a text explained by what stands before it, when it is called: scores (token,) of each.

        captum moves the prompt only, so its scores are those of the prompt.
        """
        if library == "interpreto":
            name = "Saliency" if kind == GRADIENT_X_INPUT else "IntegratedGradients"
            return lambda: self.interpreto(text, name, **settings)
        if library == "inseq":
            return lambda: self.inseq(text, kind, **settings)
        return lambda: self.captum_continuation(text, kind, **settings)

    def captum_continuation(self, text: Text, kind: str, **settings: Any) -> list[Tensor]:
        """captum's own class for language models, as its users call it."""
        from captum.attr import LayerGradientXActivation, LayerIntegratedGradients, LLMGradientAttribution
        from captum.attr import TextTokenInput as Input

        chosen = LayerGradientXActivation if kind == GRADIENT_X_INPUT else LayerIntegratedGradients
        inputs = Input(text.prompt, self.tokenizer)
        inputs.itp_tensor = inputs.itp_tensor[:, : len(text.ids)]
        explainer = LLMGradientAttribution(chosen(self.network, self.network.get_input_embeddings()), self.tokenizer)
        result = explainer.attribute(inputs, target=torch.tensor(text.target_ids), **settings)
        return list(result.token_attr.detach())

    def inseq(self, text: Text, kind: str, **settings: Any) -> list[Tensor]:
        """inseq on given targets: log-probabilities, its tensors summed over dimensions."""
        output = self.inseq_model(kind).attribute(
            text.prompt, generated_texts=text.prompt + text.target, attributed_fn="probability", logprob=True,
            show_progress=False, **settings,
        )  # fmt: skip
        return self.inseq_scores(output.sequence_attributions[0], len(text.ids))

    def inseq_many(self, prompts: Sequence[str], batch: int) -> dict[str, Tensor]:
        """Gradient x input for the first choice after each prompt, by prompt, those of like length together.

        inseq pads a batch to its longest prompt, and batches only what it generates itself.
        """
        model, found = self.inseq_model(GRADIENT_X_INPUT), {}
        in_order = sorted(prompts, key=len)
        for first in range(0, len(prompts), batch):
            some = in_order[first : first + batch]
            output = model.attribute(
                some, batch_size=batch, attributed_fn="probability", logprob=True, show_progress=False,
                generation_args={"max_new_tokens": 1, "do_sample": False, "skip_special_tokens": True},
            )  # fmt: skip
            for prompt, sequence in zip(some, output.sequence_attributions, strict=True):
                found[prompt] = self.inseq_scores(sequence, len(sequence.target) - 1)[0]
        return found

    def inseq_model(self, kind: str) -> Any:
        """inseq's model for one kind of attribution, loaded once."""
        import inseq

        if kind not in self.loaded:
            name = "input_x_gradient" if kind == GRADIENT_X_INPUT else "integrated_gradients"
            self.loaded[kind] = inseq.load_model(self.network, name, tokenizer=self.tokenizer)
        return self.loaded[kind]

    @staticmethod
    def inseq_scores(sequence: Any, prompt: int) -> list[Tensor]:
        """The scores of each target: (token,) for what stands before it, of a sequence with a prompt of that length."""
        scores = sequence.target_attributions.sum(-1)
        return [scores[: prompt + number, number] for number in range(scores.shape[1])]

    def interpreto(self, text: Text, name: str, batch_size: int = 1, **settings: Any) -> list[Tensor]:
        """interpreto: the logit, mean magnitudes over dimensions; it runs the target tokens themselves too."""
        import interpreto

        explainer = getattr(interpreto, name)(
            self.network, self.tokenizer, batch_size, granularity=interpreto.Granularity.ALL_TOKENS, **settings
        )
        return list(explainer.explain(text.prompt, text.target)[0].attributions)
