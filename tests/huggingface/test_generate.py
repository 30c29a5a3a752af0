"""Generation keeps the keys and values of what it has read, and says the same as a model that reads everything."""

import pytest
import torch
import transformers

from nexttoken import NextTokenLM
from tests.conftest import gpt2, llama

SIZES = {
    "vocab_size": 400, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2,
    "intermediate_size": 24, "max_position_embeddings": 256, "pad_token_id": None,
    "bos_token_id": 0, "eos_token_id": 399,
}  # fmt: skip
PROMPT = [5, 9, 13, 33, 21, 2, 7, 11, 14, 100, 200, 3, 4, 6, 8, 10, 12, 15, 16, 17]


def sliding():
    torch.manual_seed(3)
    config = transformers.MistralConfig(**SIZES, sliding_window=8)
    return transformers.MistralForCausalLM(config).double().eval()


def mamba():
    torch.manual_seed(3)
    config = transformers.MambaConfig(
        vocab_size=400, hidden_size=16, num_hidden_layers=2, state_size=4, eos_token_id=399
    )
    return transformers.MambaForCausalLM(config).double().eval()


def read_in_full(lm, ids, count):
    """What a model says that reads the whole text for every token."""
    said = list(ids)
    for _ in range(count):
        said.append(lm.predict(said, 1)[0].id)
        if said[-1] in lm.end_ids:
            break
    return tuple(each for each in said[len(ids) :] if each not in lm.end_ids)


@pytest.mark.parametrize("make", [gpt2, llama, sliding, mamba])
@pytest.mark.parametrize("length", [3, 20])
def test_it_says_what_reading_everything_says(make, length):
    lm = NextTokenLM.from_pretrained(make())
    assert lm.generate(PROMPT[:length], 40) == read_in_full(lm, PROMPT[:length], 40)


def tokens_read(lm, monkeypatch):
    counted, own = [], lm.next_tokens

    def counting(embeddings, *args, **options):
        counted.append(embeddings.shape[1])
        return own(embeddings, *args, **options)

    monkeypatch.setattr(lm, "next_tokens", counting)
    return counted


def test_it_reads_a_text_about_once(monkeypatch):
    lm = NextTokenLM.from_pretrained(llama())
    lm.prefix_cache(lm.embed({"input_ids": torch.tensor([[1]])}), torch.tensor([[1]]))  # what it proves once
    counted = tokens_read(lm, monkeypatch)
    said = lm.generate(PROMPT, 40)
    whole = sum(len(PROMPT) + place for place in range(len(said)))
    assert sum(counted) < 0.4 * whole


def test_a_cache_that_says_something_else_is_not_used(monkeypatch):
    lm = NextTokenLM.from_pretrained(gpt2())
    expected = lm.generate(PROMPT, 20)
    own = lm.prefix_cache
    monkeypatch.setattr(lm, "prefix_cache", lambda embeddings, ids: own(embeddings + 1, ids))
    assert lm.generate(PROMPT, 20) == expected


def test_where_two_tokens_are_as_good_as_equal_everything_is_read(monkeypatch):
    lm = NextTokenLM.from_pretrained(llama())
    expected = lm.generate(PROMPT, 20)
    monkeypatch.setattr("nexttoken.model.ROUNDING", 0.5)  # the first two are nearly always closer than this
    counted = tokens_read(lm, monkeypatch)
    assert lm.generate(PROMPT, 20) == expected
    assert len(counted) > 2 * len(expected) > 4
