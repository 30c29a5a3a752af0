"""What is proved when a model is loaded: feeding it with embeddings equals feeding it with ids, gradients included."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

PROBE_LENGTH = 7
PROBE_TOLERANCE = 1e-5
PROBE_STEPS = (1e-2, 1e-3, 1e-4)
PROBE_SLOPE_TOLERANCE = 0.05


def probe(lm: Any, ways: Sequence[str] = ("inputs_embeds", "embedding_output"), mark: int | None = None) -> str:
    """Find the way of feeding embeddings to a network that equals feeding it with ids, on a fixed prompt.

    Args:
        lm: the model, whose `feeding`, `reads_ids` and `length_matters` are set.
        ways: those that are tried, in order.
        mark: for an encoder-decoder, the id that stands for the decoder's start; it is put in the prompt's middle.

    Returns the first way that holds.

    Raises:
        ValueError: neither way gives the network's own logits, or a gradient.
    """
    network: Any = lm.language_model_head
    ids = ordinary_ids(lm)
    if mark is not None:
        ids[PROBE_LENGTH // 2] = mark
    input_ids = ids[None, :PROBE_LENGTH]
    last_changed = torch.cat([input_ids[:, :-1], ids[None, PROBE_LENGTH : PROBE_LENGTH + 1]], 1)
    reasons = []
    with lm.frozen():
        try:
            with torch.no_grad():
                whole = lm.own_logits(input_ids).float()
                other = lm.own_logits(last_changed).float()
                shorter = lm.own_logits(input_ids[:, :-2]).float()
        except Exception as error:
            raise ValueError(f"{type(network).__name__} cannot run on ids alone: {in_one_line(error)}") from error
        expected, tolerance = whole[:, -1], max(PROBE_TOLERANCE, 4 * torch.finfo(network.dtype).eps)
        if whole.shape == other.shape and relative(other[:, :-1], whole[:, :-1]) > tolerance:
            raise ValueError(
                f"{type(network).__name__} is not causal: what it predicts before a token depends on that token; "
                "a model of BERT's kind needs is_decoder=True in its configuration"
            )
        lm.length_matters = relative(whole[:, : shorter.shape[1]], shorter) > tolerance
        for way in ways:
            lm.feeding = way
            try:
                embeddings = lm.embed({"input_ids": input_ids}).detach()
                lm.force_grad = False
                logits, gradient = logits_and_gradient(lm, embeddings, input_ids)
                lm.force_grad = needs_force_grad(lm, embeddings, input_ids, gradient)
                if lm.force_grad:
                    logits, gradient = logits_and_gradient(lm, embeddings, input_ids)
                error_of_slope = slope_error(lm, embeddings, input_ids, gradient)
            except Exception as error:
                reasons.append(f"{way}: {in_one_line(error)}")
                continue
            difference = relative(logits, expected)
            if not difference <= tolerance:
                reasons.append(f"{way}: the logits differ from the model's own by {difference:.1e} of the largest")
            elif not bool(gradient.isfinite().all()) or not bool(gradient.any()):
                reasons.append(f"{way}: the gradient with respect to the embeddings is zero or not finite")
            elif not error_of_slope <= PROBE_SLOPE_TOLERANCE:
                reasons.append(f"{way}: the gradient is off by {error_of_slope:.0%}, a part being computed without")
            else:
                if way == "inputs_embeds":  # the network is given no ids
                    return way
                with torch.no_grad():
                    unlike = lm.next_tokens(embeddings.clone(), input_ids.flip(1))[1][:, 0].float()
                lm.reads_ids = bool(relative(unlike, expected) > tolerance)
                return way
    raise ValueError(
        f"{type(network).__name__} cannot be explained by its embeddings, since feeding it with them does not equal "
        f"feeding it with ids ({'; '.join(reasons)})"
    )


def ordinary_ids(lm: Any) -> Int[Tensor, " vocab"]:
    """The ids that a network treats in no way of their own, in a fixed random order."""
    network: Any = lm.language_model_head
    generator = torch.Generator().manual_seed(0)
    ids = torch.randperm(min(lm.vocab.size(), embedding_rows(network)), generator=generator)
    return ids[~torch.isin(ids, torch.tensor(special_ids(network)))].to(lm.device)


def keeps(lm: Any) -> bool:
    """Whether the network may keep what it made of a text's beginning: logits and slopes of the rest are the same."""
    input_ids = ordinary_ids(lm)[None, :PROBE_LENGTH]
    kept, rest = (slice(None), slice(PROBE_LENGTH // 2)), (slice(None), slice(PROBE_LENGTH // 2, None))
    with lm.frozen():
        embeddings = lm.embed({"input_ids": input_ids}).detach()
        try:
            with torch.no_grad():
                before = lm.kept(embeddings[kept])
            if before is None:
                return False
            found = logits_and_gradient(lm, embeddings[rest], input_ids[rest], prefix_cache=before)
            logits, gradient = logits_and_gradient(lm, embeddings, input_ids)
        except Exception:
            return False
    tolerance = max(PROBE_TOLERANCE, 4 * torch.finfo(embeddings.dtype).eps)
    pairs = zip(found, (logits, gradient[rest]), strict=True)
    return all(relative(one.float(), other.float()) <= tolerance for one, other in pairs)


def batches_backward(lm: Any) -> bool:
    """Whether two backward passes at once give what each gives alone, without a word about operations that can't."""
    input_ids = ordinary_ids(lm)[None, :PROBE_LENGTH]
    with lm.frozen(), torch.enable_grad(), warnings.catch_warnings():
        warnings.simplefilter("error")
        moved = lm.embed({"input_ids": input_ids}).detach().clone().requires_grad_(True)
        try:
            pair = lm.next_tokens(moved.clone(), input_ids)[1][0, 0, :2].float()
            (both,) = torch.autograd.grad(pair, moved, torch.eye(2).to(pair), is_grads_batched=True, retain_graph=True)
            alone = [torch.autograd.grad(each, moved, retain_graph=True)[0] for each in pair]
        except Exception:
            return False
    tolerance = max(PROBE_TOLERANCE, 4 * torch.finfo(moved.dtype).eps)
    return relative(both.float(), torch.stack(alone).float()) <= tolerance


def recomputes(lm: Any, input_ids: Int[Tensor, "1 token"]) -> bool:
    """Whether the gradient is the same where all layers run again in the backward pass, without a word about it."""
    with lm.frozen(), warnings.catch_warnings():
        warnings.simplefilter("error")
        embeddings = lm.embed({"input_ids": input_ids}).detach()
        _, expected = logits_and_gradient(lm, embeddings, input_ids)
        try:
            _, found = logits_and_gradient(lm, embeddings, input_ids, checkpointed=len(lm.layers))
        except Exception:
            return False
    return relative(found.float(), expected.float()) <= max(PROBE_TOLERANCE, 4 * torch.finfo(embeddings.dtype).eps)


def logits_and_gradient(
    lm: Any, embeddings: Float[Tensor, "1 token dim"], input_ids: Int[Tensor, "1 token"], **options: Any
) -> tuple[Float[Tensor, "1 vocab"], Float[Tensor, "1 token dim"]]:
    """The logits of the next token, and the gradient of the first token's log-probability."""
    with torch.enable_grad():
        moved = embeddings.clone().requires_grad_(True)
        logits = lm.next_tokens(moved.clone(), input_ids, **options)[1][:, 0].float()
        (gradient,) = torch.autograd.grad(logits.log_softmax(-1)[0, 0], moved)
    return logits.detach(), gradient


def needs_force_grad(
    lm: Any,
    embeddings: Float[Tensor, "1 token dim"],
    input_ids: Int[Tensor, "1 token"],
    gradient: Float[Tensor, "1 token dim"],
) -> bool:
    """Whether the network computes a part without gradient that has one; exact, in half precision too.

    False where the network cannot run with all of its gradient; finite differences have to tell then.
    """
    lm.force_grad = True
    try:
        return relative(logits_and_gradient(lm, embeddings, input_ids)[1], gradient) > PROBE_SLOPE_TOLERANCE
    except RuntimeError:
        return False


def slope_error(
    lm: Any,
    embeddings: Float[Tensor, "1 token dim"],
    input_ids: Int[Tensor, "1 token"],
    gradient: Float[Tensor, "1 token dim"],
) -> float:
    """How far the gradient is from central differences in random directions, at the first step size that fits.

    It finds networks that take no embeddings but those of tokens (an error), and those that compute a part without
    gradient. Half precision is too coarse to tell: 0 there.
    """
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(2, *embeddings.shape[1:], generator=generator).to(embeddings) * embeddings.std()
    slopes = (directions * gradient).flatten(1).sum(1)
    errors = []
    for step in PROBE_STEPS:
        with torch.no_grad():
            above, below = (
                lm.next_tokens(embeddings + sign * step * directions, input_ids.expand(2, -1))[1][:, 0].log_softmax(-1)[
                    :, 0
                ]
                for sign in (1, -1)
            )
        errors.append(float(((above - below) / (2 * step) - slopes).norm() / slopes.norm()))
        if errors[-1] <= PROBE_SLOPE_TOLERANCE:
            break
    return min(errors) if embeddings.dtype.itemsize >= 4 else 0.0


def relative(found: Tensor, expected: Tensor) -> float:
    """The largest difference, relative to the largest expected value."""
    return float((found - expected).abs().max() / expected.abs().max().clamp_min(1e-12))


def embedding_rows(network: Any) -> int:
    """The number of token ids a network has embeddings for. Raises ValueError unless they are one matrix."""
    weight = getattr(network.get_input_embeddings(), "weight", None)
    if weight is None:
        raise ValueError(f"{type(network).__name__} has more than one embedding layer for its tokens; one is expected")
    return weight.shape[0]


def special_ids(network: Any) -> list[int]:
    """The ids its configuration names, such as padding or images, which a network may treat in a way of their own."""
    named = network.config.to_dict() | network.config.get_text_config(decoder=True).to_dict()
    return [i for name, i in named.items() if name.endswith(("_token_id", "_token_index")) and isinstance(i, int)]


def in_one_line(error: Exception) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
