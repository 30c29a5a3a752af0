"""A map is checked against the model: a true one passes, a shuffled one fails, and its numbers are what they say."""

from dataclasses import replace

import numpy
import pytest
import torch
from scipy.stats import spearmanr

from interpret import (
    ENTROPY,
    GIM,
    LOG_PROBABILITY,
    PROBABILITY,
    Attribution,
    GradientTimesInput,
    Marginalization,
    Objective,
    VanillaGradient,
    attribute,
    attribute_many,
    check,
    log_odds,
)
from interpret.engine.run import Run
from interpret.engine.text import Text
from interpret.replacement.check import check_text, spearman, values_with_alternatives
from interpret.results.faithfulness import Deletion
from nexttoken import NextTokenLM, SymbolVocabulary, Target
from tests.builders import t5

LETTERS = "abcdefghijklmnopqrstuvwxyz"


class Weighted(torch.nn.Module):
    """Every letter adds a weight of its own to the logit of z, wherever it stands: the reasons are known."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.embedding = torch.nn.Embedding(len(LETTERS), len(LETTERS), dtype=torch.float64)
        self.embedding.weight.data = torch.eye(len(LETTERS), dtype=torch.float64)
        self.weights = torch.nn.Parameter(3 * torch.randn(len(LETTERS), generator=generator, dtype=torch.float64))

    def head(self, states):
        logits = torch.zeros(*states.shape[:-1], len(LETTERS), dtype=states.dtype)
        logits[..., -1] = states @ self.weights
        return logits


@pytest.fixture(scope="module")
def weighted():
    module = Weighted()
    return NextTokenLM.from_callables(
        module, SymbolVocabulary(list(LETTERS)), embed=module.embedding,
        contextualize=lambda embeddings: embeddings.cumsum(1), head=module.head,
    )  # fmt: skip


def linear(lm):
    return log_odds(lm, ["z"], ["a"])


def shuffled(why, seed):
    order = torch.randperm(len(why), generator=torch.Generator().manual_seed(seed)).tolist()
    return replace(why, scores=why.scores[order])


TEXTS = ["qwertyuiop", "thequickbrownfox", "asdfghjklmnb", "mnbvcxlkjhgfdsapoiuytrew"]


@pytest.mark.parametrize("text", TEXTS)
def test_a_true_map_passes_and_shuffled_ones_fail(weighted, text):
    quantity = linear(weighted)
    true = attribute(weighted, text, None, Marginalization(samples=64), quantity=quantity)
    found = check(weighted, true, quantity=quantity)
    assert found.verdict == "passes"
    assert found.sentence.startswith("Checked: replacing the three strongest pieces lowers the log-odds of")
    others = [check(weighted, shuffled(true, seed), quantity=quantity) for seed in range(10)]
    assert max(each.percentile for each in others) <= found.percentile
    assert sum(each.verdict == "passes" for each in others) < sum(each.verdict == "fails" for each in others)
    upside_down = replace(true, scores=-true.scores)
    opposite = check(weighted, upside_down, quantity=quantity)
    assert opposite.verdict == "fails"
    assert opposite.sentence.startswith("Fails its check: ")
    assert opposite.deletion.area < 0
    assert opposite.correlation.value < 0


def test_a_map_of_a_constant_and_a_map_without_order_are_undecided(weighted):
    quantity = log_odds(weighted, ["b"], ["a"])  # no letter changes it
    flat = attribute(weighted, TEXTS[0], None, GradientTimesInput(), quantity=quantity)
    anything = replace(flat, scores=numpy.arange(len(flat), dtype=float))
    for why in (flat, anything):
        assert check(weighted, why, quantity=quantity).verdict == "undecided"
    level = replace(flat, scores=numpy.ones(len(flat)))
    assert check(weighted, level, quantity=linear(weighted)).verdict == "undecided"


@pytest.mark.parametrize("text", ["a", "ab", "abc", "abcd", "abcde"])
def test_short_prompts(weighted, text):
    quantity = linear(weighted)
    found = check(weighted, attribute(weighted, text, None, GIM(), quantity=quantity), quantity=quantity)
    assert (found.deletion is None) == (len(text) < 4)
    assert len(found.strongest) == max(1, min(3, len(text) // 2))
    assert len(found.others) == min(len(found.strongest), len(text) - len(found.strongest))
    assert found.sentence
    assert found.details
    if len(text) < 4:
        assert found.verdict == "undecided"


def test_numbers_are_what_they_say(weighted):
    """F is a sum over letters, so what a letter is worth beside its alternatives is known."""
    text, quantity = TEXTS[1], linear(weighted)
    why = attribute(weighted, text, None, GIM(), quantity=quantity)
    found = check(weighted, why, quantity=quantity)
    module = weighted.text_field_embedder.module
    weights = dict(zip(LETTERS, module.weights.detach().tolist(), strict=True))
    assert found.value == pytest.approx(sum(weights[letter] for letter in text), rel=1e-5)
    ranked = sorted(range(len(text)), key=lambda place: -why.pieces[place].score)
    assert [each.labels for each in found.strongest] == [(text[place],) for place in ranked[:3]]
    largest = max(weights.values()) - min(weights.values())
    for each in (*found.strongest, *found.others):
        assert each.score == pytest.approx(weights[each.labels[0]])
        assert abs(each.change) <= largest + 1e-6
    assert found.together.score == pytest.approx(sum(each.score for each in found.strongest))
    assert found.forwards <= 64
    assert found.signs in (None, 1.0)
    assert found.deletion.counts == (3, 5, 8)
    firsts = [order[0] for order in found.deletion.random_orders]
    assert found.random_change == pytest.approx(found.value - sum(firsts) / 8)
    assert len(found.deletion.random_orders) == 8
    assert found.deletion.area == pytest.approx(
        sum(found.deletion.least_first) / 3 - sum(found.deletion.most_first) / 3
    )


def test_the_percentile_of_an_area_is_among_pairs_of_random_orders():
    deletion = Deletion((1,), (0.0,), (3.0,), ((1.0,), (2.0,), (6.0,)))
    assert deletion.area == 3
    assert deletion.percentile == pytest.approx(4 / 6)  # of -5, -4, -1, 1, 4 and 5
    assert replace(deletion, least_first=(4.0,)).percentile == pytest.approx(4.5 / 6)


def test_rank_correlations_are_scipys():
    generator = torch.Generator().manual_seed(0)
    one, other = (torch.randint(5, (6, 12), generator=generator).double() for _ in range(2))
    expected = [spearmanr(a, b).statistic for a, b in zip(one.numpy(), other.numpy(), strict=True)]
    torch.testing.assert_close(spearman(one, other), torch.tensor(expected))
    assert spearman(torch.zeros(4), torch.arange(4.0)) == 0


def test_only_what_is_masked_is_replaced(tiny):
    prompt = tiny.prompt("The keys to the cat")
    objective = Objective.of(tiny, prompt, Target("", 70, 0.0, 1))
    groups = [piece.positions for piece in prompt.pieces]
    seen = []
    object.__setattr__(objective, "function", lambda points: seen.append(points) or points.sum((-1, -2)))
    values_with_alternatives(objective, groups, [(), (0,), (1, 3)], torch.Generator().manual_seed(0))
    changed = [(point != objective.x).any(-1).nonzero().flatten().tolist() for point in torch.cat(seen)]
    assert changed == [[], list(groups[0]), [*groups[1], *groups[3]]]


def test_it_is_the_same_by_seed_batch_size_and_entry_point(tiny, untouched):
    text = "The keys to the cat and the dog"
    with untouched(tiny):
        why = attribute(tiny, text, 70, GIM(), check=True)
    assert why.faithfulness == check(tiny, why) == check(tiny, why, prompt=text)
    assert check(tiny, why, seed=1) != why.faithfulness
    small = check_text(Text(tiny, tiny.prompt(text)), why, LOG_PROBABILITY, Run(batch_size=3))
    assert small.value == pytest.approx(why.faithfulness.value)
    assert small.deletion.most_first == pytest.approx(why.faithfulness.deletion.most_first)
    (many,) = attribute_many(tiny, [text], [70], GIM(), check=True, progress=False)
    assert many.faithfulness.verdict == why.faithfulness.verdict
    again = Attribution.from_json(why.to_json())
    assert again.faithfulness == why.faithfulness
    assert why.to_dict()["faithfulness"]["verdict"] == why.faithfulness.verdict
    assert why.provenance()["check"] == why.faithfulness.sentence
    assert why.totals("word").faithfulness is None
    assert check(tiny, why.totals("word")).strongest[0].labels[0] in why.totals("word").labels


@pytest.mark.parametrize("contrast", [None, 71])
def test_what_is_asked_is_a_log_probability(tiny, contrast):
    """Whatever a method explains of a target, and a quantity of the whole distribution as it is."""
    text = "The keys to the cat"
    plain = attribute(tiny, text, 70, VanillaGradient(), contrast=contrast, check=True).faithfulness
    assert plain.unit == "nats"
    assert plain.quantity == ("log-probability" if contrast is None else "log-probability difference")
    if contrast is None:
        odd = attribute(tiny, text, 70, VanillaGradient(), quantity=PROBABILITY, check=True).faithfulness
        assert (odd.unit, odd.value) == ("nats", plain.value)
        assert check(tiny, attribute(tiny, text, None, GIM(), quantity=ENTROPY)).quantity == ENTROPY.name


def test_parts_that_do_not_move_stay(tiny):
    chat = [{"role": "user", "content": "are we there and are they there?"}]
    found = attribute(tiny, chat, 70, GIM(), check=True)
    written = {label for label, template in zip(found.labels, found.template, strict=True) if not template}
    assert {label for each in found.faithfulness.strongest for label in each.labels} <= written
    part = attribute(tiny, "The keys to the cat", 70, GIM(), region="keys", check=True)
    moved = {label for label, fixed in zip(part.labels, part.fixed, strict=True) if not fixed}
    assert {label for each in part.faithfulness.strongest for label in each.labels} <= moved
    several = attribute(tiny, "The keys to the cat", [70, 71], GIM(), check=True)
    assert several.faithfulness.value < 0


def test_an_encoder_decoder():
    lm = NextTokenLM.from_pretrained(t5())
    prompt = ([5, 6, 7, 8], [9, 10])
    why = attribute(lm, prompt, 20, GIM(), check=True)
    assert why.faithfulness == check(lm, why, prompt=prompt)
    with pytest.raises(ValueError, match="source, target prefix"):
        check(lm, why)


def test_random_weights_give_another_map(tiny):
    """The copy has other weights and the same embeddings; the model itself stays as it was."""
    other = tiny.with_shuffled_weights()
    ours, theirs = dict(tiny.named_parameters()), dict(other.named_parameters())
    same = [name for name in ours if torch.equal(ours[name], theirs[name])]
    assert any("wte" in name or "embedder" in name for name in same)
    assert all(torch.equal(ours[name].flatten().sort().values, theirs[name].flatten().sort().values) for name in ours)
    why = attribute(tiny, "The keys to the cat and the dog", 70, GIM())
    before = [parameter.clone() for parameter in tiny.parameters()]
    found = check(tiny, why, method=GIM(), weights="random")
    random = attribute(other, why.prompt, 70, GIM())
    assert found.randomized == pytest.approx(spearmanr(why.scores, random.scores).statistic)
    assert "shuffled weights" in found.details
    assert check(tiny, why).randomized is None
    assert all(map(torch.equal, before, tiny.parameters()))


def test_mistakes_are_refused(tiny, weighted):
    why = attribute(tiny, "The keys to the cat", 70, GIM())
    with pytest.raises(ValueError, match="give the method"):
        check(tiny, why, weights="random")
    with pytest.raises(ValueError, match="must be 'random'"):
        check(tiny, why, weights="none", method=GIM())
    with pytest.raises(ValueError, match="another number of tokens"):
        check(tiny, why, prompt="The keys")
    with pytest.raises(ValueError, match="give that quantity"):
        check(weighted, attribute(weighted, "abcd", None, GIM(), quantity=linear(weighted)))
    fixed = replace(why, fixed=(True,) * len(why))
    with pytest.raises(ValueError, match="nothing to check"):
        check(tiny, fixed)
