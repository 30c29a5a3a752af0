"""The contract of NextTokenLM: what the seed promised, and none of its defects."""

import copy
import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
import torch
from torch import nn

from interpret import VanillaGradient, attribute
from nexttoken import NextTokenLM, SymbolVocabulary
from tests.conftest import LETTERS, gpt2, letters_lm

ROWS = ["abcdef", "gh a", "b"]


def padded(lm, side):
    """The rows as one batch, with padding on one side that must not matter, whatever its ids are."""
    encoded = [list(lm.vocab.encode(row).ids) for row in ROWS]
    width = max(map(len, encoded)) + 1
    ids, mask = [], []
    for row in encoded:
        filling, nothing = [3] * (width - len(row)), [0] * (width - len(row))
        ids.append(row + filling if side == "right" else filling + row)
        mask.append([1] * len(row) + nothing if side == "right" else nothing + [1] * len(row))
    return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}


@pytest.mark.parametrize("name", ["bag_lm", "lstm_lm", "encoder_lm", "tiny"])
@pytest.mark.parametrize("side", ["right", "left"])
def test_padding_does_not_matter(name, side, request):
    lm = request.getfixturevalue(name)
    with lm.frozen():
        together = lm(padded(lm, side))
        for row, text in enumerate(ROWS):
            ids = lm.vocab.encode(text).ids
            alone = lm({"input_ids": torch.tensor([ids])})
            torch.testing.assert_close(together["logits"][row], alone["logits"][0], rtol=1e-9, atol=1e-9)
            states = together["contextualized_embeddings"][row]
            real = states[: len(ids)] if side == "right" else states[-len(ids) :]
            torch.testing.assert_close(real, alone["contextualized_embeddings"][0], rtol=1e-9, atol=1e-9)
            padding = states[len(ids) :] if side == "right" else states[: -len(ids)]
            assert not padding.any()


def test_forward_without_targets_needs_none(lstm_lm):
    output = lstm_lm.eval()({"input_ids": torch.tensor([[0, 1, 2]])})
    assert set(output) == {
        "logits", "probabilities", "top_indices", "contextualized_embeddings", "token_ids", "attention_mask",
    }  # fmt: skip
    assert output["top_indices"].shape == (1, 5)
    expected = output["logits"].softmax(-1).sort(descending=True)
    torch.testing.assert_close(output["probabilities"], expected.values[:, :5])
    assert torch.equal(output["top_indices"], expected.indices[:, :5])


def test_top_k_is_a_setting_and_never_more_than_there_are():
    for top_k, expected in ((2, 2), (99, len(LETTERS))):
        lm = letters_lm(top_k=top_k)
        assert lm({"input_ids": torch.tensor([[0]])})["top_indices"].shape == (1, expected)
        assert len(lm.predict("a")) == expected
    assert letters_lm().top_k == 5


def test_loss_is_the_mean_cross_entropy_of_each_rows_own_target(encoder_lm):
    targets = {"input_ids": torch.tensor([[4], [0], [9]])}
    output = encoder_lm(padded(encoder_lm, "right"), targets)
    by_hand = -output["logits"].log_softmax(-1)[[0, 1, 2], [4, 0, 9]].mean()
    torch.testing.assert_close(output["loss"], by_hand)
    output["loss"].backward()
    assert encoder_lm.text_field_embedder.weight.grad.any()


def test_padded_targets_are_read_at_their_real_token(bag_lm):
    tokens = {"input_ids": torch.tensor([[0, 1]])}
    plain = bag_lm(tokens, {"input_ids": torch.tensor([[4]])})["loss"]
    targets = {"input_ids": torch.tensor([[9, 4]]), "attention_mask": torch.tensor([[0, 1]])}
    assert bag_lm(tokens, targets)["loss"] == plain


def test_a_target_of_several_tokens_is_an_error(bag_lm):
    with pytest.raises(ValueError, match="row 0 has 2 tokens; a next token is exactly one"):
        bag_lm({"input_ids": torch.tensor([[0, 1]])}, {"input_ids": torch.tensor([[4, 5]])})


def test_unknown_target_id_and_empty_row_are_errors(bag_lm):
    with pytest.raises(ValueError, match="target id 99 is not between 0 and 9"):
        bag_lm({"input_ids": torch.tensor([[0, 1]])}, {"input_ids": torch.tensor([[99]])})
    with pytest.raises(ValueError, match="row 1 of the batch has no token"):
        bag_lm({"input_ids": torch.tensor([[0], [1]]), "attention_mask": torch.tensor([[1], [0]])})


def test_decode_fills_and_returns_the_same_dictionary(bag_lm):
    output = bag_lm(padded(bag_lm, "left"))
    decoded = bag_lm.decode(output)
    assert decoded is output
    assert ["".join(row) for row in output["tokens"]] == ROWS
    assert output["words"][0][0] == LETTERS[int(output["top_indices"][0, 0])]


def test_words_come_from_the_target_namespace():
    vocab = SymbolVocabulary({"bert": "ab", "words": ["yes", "no"]})
    lm = NextTokenLM(vocab, nn.Embedding(2, 3), nn.Linear(3, 2), target_namespace="words")
    output = lm.decode(lm({"input_ids": torch.tensor([[0, 1]])}))
    assert sorted(output["words"][0]) == ["no", "yes"]
    assert output["tokens"] == [["a", "b"]]


def test_dropout_applies_to_the_state_before_the_head_only(lstm_lm):
    tokens = {"input_ids": torch.tensor([[0, 1, 2]])}
    torch.manual_seed(0)
    one, other = lstm_lm.train()(tokens), lstm_lm(tokens)
    assert not torch.equal(one["logits"], other["logits"])
    assert torch.equal(one["contextualized_embeddings"], other["contextualized_embeddings"])
    lstm_lm.eval()
    assert torch.equal(lstm_lm(tokens)["logits"], lstm_lm(tokens)["logits"])


def test_initializer_gets_the_finished_module():
    def ones(module):
        for parameter in module.parameters():
            nn.init.ones_(parameter)

    lm = letters_lm(initializer=ones)
    assert all(bool((parameter == 1).all()) for parameter in lm.parameters())


def test_perplexity_counts_forward_with_targets_since_the_last_reset(bag_lm):
    assert math.isnan(bag_lm.get_metrics()["perplexity"])
    tokens = {"input_ids": torch.tensor([[0, 1]])}
    losses = [bag_lm(tokens, {"input_ids": torch.tensor([[target]])})["loss"].item() for target in (1, 2)]
    bag_lm(tokens)
    attribute(bag_lm, "abc", "d", VanillaGradient())
    bag_lm.predict("abc")
    assert bag_lm.get_metrics(reset=True)["perplexity"] == pytest.approx(math.exp(sum(losses) / 2), rel=1e-6)
    assert math.isnan(bag_lm.get_metrics()["perplexity"])


def test_frozen_gives_everything_back_after_an_error(lstm_lm, untouched):
    lstm_lm.train()
    lstm_lm.text_field_embedder.eval()
    lstm_lm.language_model_head.bias.requires_grad_(False)

    def interrupted():
        with lstm_lm.frozen():
            assert not lstm_lm.training
            assert not any(parameter.requires_grad for parameter in lstm_lm.parameters())
            torch.rand(3)
            raise KeyboardInterrupt

    with untouched(lstm_lm), pytest.raises(KeyboardInterrupt):
        interrupted()
    assert lstm_lm.contextualizer.training


def test_frozen_within_frozen_ends_with_the_outer_one(lstm_lm, untouched):
    """Also where an inner one is left later than the outer one, as that of a generator may be."""
    lstm_lm.train()
    with untouched(lstm_lm):
        inner = lstm_lm.frozen()
        with lstm_lm.frozen():
            with lstm_lm.frozen(), torch.no_grad():
                torch.rand(3)
            assert not lstm_lm.training
            assert torch.is_grad_enabled()
            inner.__enter__()
        assert lstm_lm.training
        with lstm_lm.frozen():
            assert not lstm_lm.training
            assert not lstm_lm.with_shuffled_weights().training
        inner.__exit__(None, None, None)
    copied = lstm_lm.with_shuffled_weights().train()
    with copied.frozen():
        assert not copied.training


def test_two_threads_hold_it_still_until_the_last_has_done(tiny32):
    """As in a notebook whose explorer works in the background: neither sets it free while the other computes."""
    lm = copy.deepcopy(tiny32).train().requires_grad_(True)
    expected = attribute(lm, "The keys").scores
    with ThreadPoolExecutor(1) as pool:
        inside, done = Event(), Event()

        def hold():
            with lm.frozen():
                inside.set()
                done.wait(10)

        held = pool.submit(hold)
        inside.wait(10)
        own = lm.frozen()
        own.__enter__()
        done.set()
        held.result()
        assert not lm.training
        assert not any(parameter.requires_grad for parameter in lm.parameters())
        own.__exit__(None, None, None)
        assert lm.training
        assert all(parameter.requires_grad for parameter in lm.parameters())
        many = [pool.submit(lambda: [attribute(lm, "The keys").scores for _ in range(8)]) for _ in range(1)]
        mine = [attribute(lm, "The keys").scores for _ in range(8)]
    for found in [*mine, *many[0].result()]:
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)
    assert lm.training


def test_predict_is_the_models_softmax(tiny):
    best = tiny.predict("The keys", 3)
    ids = torch.tensor([tiny.vocab.encode("The keys").ids])
    probabilities = gpt2()(ids).logits[0, -1].detach().softmax(-1)
    assert [target.rank for target in best] == [1, 2, 3]
    assert [target.id for target in best] == probabilities.topk(3).indices.tolist()
    assert best[0].probability == pytest.approx(float(probabilities.max()), rel=1e-5)


def test_prompts_that_cannot_be_read(tiny):
    with pytest.raises(ValueError, match="the prompt is empty"):
        tiny.prompt("")
    with pytest.raises(ValueError, match="has 65 tokens and this model reads at most 64; leave out at least 1"):
        tiny.prompt([5] * 65)
    with pytest.raises(
        ValueError, match="token id 400 at position 1 is not in this vocabulary; its ids run from 0 to 399"
    ):
        tiny.prompt([3, 400])


def test_what_a_network_may_offer_is_declared_and_off(lstm_lm):
    tokens = lstm_lm.tokens(lstm_lm.prompt("abc"))
    assert not lstm_lm.causal
    assert not lstm_lm.supports_right_padding
    assert not lstm_lm.batches_backward
    assert lstm_lm.prefix_cache(lstm_lm.embed(tokens), tokens["input_ids"]) is None
    assert lstm_lm.checkpointable_layers(tokens["input_ids"]) == 0
    assert lstm_lm.max_new_tokens(lstm_lm.prompt("abc")) is None


def test_the_number_of_tokens_that_may_follow(tiny):
    assert tiny.max_new_tokens(tiny.prompt([5] * 60)) == 5
    assert tiny.max_new_tokens(tiny.prompt([5] * 64)) == 1


def test_the_dtype_is_that_of_the_weights(tiny, tiny32):
    assert (tiny.dtype, tiny32.dtype) == (torch.float64, torch.float32)
    assert tiny32.in_precision(torch.bfloat16).dtype == torch.bfloat16
    bare = NextTokenLM(SymbolVocabulary("ab"), nn.Identity(), nn.Identity())
    assert bare.dtype == torch.get_default_dtype()
    bare.register_parameter("ids", nn.Parameter(torch.tensor([1]), requires_grad=False))
    assert bare.dtype == torch.get_default_dtype()


def test_a_model_with_a_distributed_parameter_is_sharded(lstm_lm):
    assert not lstm_lm.is_sharded
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.tensor import distribute_module

        distribute_module(lstm_lm.language_model_head, init_device_mesh("cpu", (1,)))
        assert lstm_lm.is_sharded
        assert lstm_lm.dtype == torch.float64
    finally:
        torch.distributed.destroy_process_group()


def test_whether_a_model_is_sharded_is_told_without_loading_what_shards():
    code = (
        "import sys\nfrom torch import nn\nfrom nexttoken import NextTokenLM, SymbolVocabulary\n"
        "loaded = 'torch.distributed.tensor' in sys.modules\n"
        "assert not NextTokenLM(SymbolVocabulary('ab'), nn.Embedding(2, 3), nn.Linear(3, 2)).is_sharded\n"
        "assert ('torch.distributed.tensor' in sys.modules) == loaded\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
