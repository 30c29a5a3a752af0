"""Encoder-decoders: one sequence of source and target prefix, with the network's own numbers for both."""

import json
import math

import numpy as np
import pytest
import sentencepiece
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import nn

from interpret import (
    DiscretizedIG,
    ExpectedGradients,
    GradientTimesInput,
    IntegratedGradients,
    SequentialIG,
    SmoothGrad,
    Text,
    VanillaGradient,
    attribute,
    attribute_continuation,
    attribute_many,
    flip,
    reduce_input,
)
from interpret.engine.evaluate import gradients, values
from interpret.engine.objective import Objective
from nexttoken import NextTokenLM, Target
from nexttoken.huggingface.encoder_decoder import EncoderDecoderLM
from tests import tiny_models
from tests.builders import BART_SIZES, SIZES, bart, marian, random, t5

CORPUS = [
    "translate English to German: The house is small.",
    "Das Haus ist klein.",
    "The houses are small, and the cats are on the table.",
    "Die Katze ist klein und das Haus ist rot.",
]
SOURCE, PREFIX, TARGET = "translate English to German: The house is small.", "Das Haus", " ist"
SIDES = ("source", "target")
FLOAT32_INSIDE = 2e-3  # finite differences cannot be better where a norm is computed in float32, as in T5


@pytest.fixture(scope="module")
def unigram():
    """A tokenizer of T5's kind: pieces that begin with a space, and a closing token."""
    words = sorted({"▁" + word for line in CORPUS for word in line.split()})
    letters = sorted(set("".join(words)))
    pieces = [(piece, 0.0) for piece in ("<pad>", "</s>", "<unk>")]
    pieces += [(word, -1.0) for word in words] + [(letter, -9.0) for letter in letters]
    model = Tokenizer(models.Unigram(pieces, unk_id=2))
    model.pre_tokenizer, model.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    model.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=model, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )


@pytest.fixture(scope="module")
def bytelevel():
    """A tokenizer of BART's kind: bytes, an opening and a closing token."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    special = ["<s>", "<pad>", "</s>"]
    trainer = trainers.BpeTrainer(
        vocab_size=340,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(CORPUS * 20, trainer)
    bpe.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )


@pytest.fixture(scope="module")
def t5_lm(unigram):
    return NextTokenLM.from_pretrained(t5(), unigram)


@pytest.fixture(scope="module")
def bart_lm(bytelevel):
    return NextTokenLM.from_pretrained(bart(), bytelevel)


@pytest.fixture(scope="module")
def marian_lm():
    return NextTokenLM.from_pretrained(marian())


@pytest.fixture(params=["t5_lm", "bart_lm", "marian_lm"])
def lm(request):
    return request.getfixturevalue(request.param)


PAIR = ((5, 9, 13, 33, 21, 2), (7, 11, 14))


def own(lm, pair, start=None):
    """The network's own logits after each token of its decoder's input."""
    source, prefix = (torch.tensor([list(ids)], dtype=torch.long) for ids in pair)
    decoder = torch.cat([torch.tensor([[lm.start_id]]), prefix], 1)
    with torch.no_grad(), lm.frozen():
        return lm.language_model_head(input_ids=source, decoder_input_ids=decoder).logits


@pytest.mark.parametrize("pair", [PAIR, (PAIR[0], ()), ((5,), (7,))])
def test_logits_are_the_models_own(lm, pair):
    tokens = lm.tokens(lm.prompt(pair))
    with torch.no_grad(), lm.frozen():
        found = lm.logits(lm.embed(tokens), tokens)
    torch.testing.assert_close(found, own(lm, pair)[:, -1], rtol=1e-9, atol=1e-9)


def test_the_next_token_is_read_after_the_decoders_start_and_every_token_after_it(lm):
    tokens = lm.tokens(lm.prompt(PAIR))
    with torch.no_grad(), lm.frozen():
        states, logits = lm.next_tokens(lm.embed(tokens), tokens["input_ids"], positions=(6, 7, 8, 9, -2), states=True)
        whole = lm.language_model_head(
            input_ids=torch.tensor([PAIR[0]]), decoder_input_ids=torch.tensor([[lm.start_id, *PAIR[1]]]),
            output_hidden_states=True,
        )  # fmt: skip
    torch.testing.assert_close(logits, own(lm, PAIR)[:, [0, 1, 2, 3, 2]], rtol=1e-9, atol=1e-9)
    expected = torch.cat([whole.encoder_last_hidden_state, whole.decoder_hidden_states[-1]], 1)
    torch.testing.assert_close(states, expected, rtol=1e-9, atol=1e-9)


def test_the_source_has_no_next_token(lm):
    tokens = lm.tokens(lm.prompt(PAIR))
    with pytest.raises(ValueError, match=r"position 5 is in the source; .* decoder's start, at position 6"):
        lm.next_tokens(lm.embed(tokens), tokens["input_ids"], positions=(-1, 5))
    with pytest.raises(ValueError, match="needs a source and then the decoder's start, id 340, once"):
        lm.next_tokens(lm.embed({"input_ids": torch.tensor([[5, 6]])}), torch.tensor([[5, 6]]))


def test_later_tokens_of_the_prefix_do_not_matter_and_every_token_of_the_source_does(lm):
    prompt = lm.prompt(PAIR)
    tokens = lm.tokens(prompt)
    embeddings = lm.embed(tokens).detach().requires_grad_(True)
    _, logits = lm.next_tokens(embeddings.clone(), tokens["input_ids"], positions=(7,))
    (gradient,) = torch.autograd.grad(logits[0, 0, 12], embeddings)
    assert gradient[0].abs().sum(-1).gt(0).tolist() == [True] * 8 + [False] * 2


def test_gradient_against_finite_differences(lm):
    t5_like = isinstance(lm.language_model_head, transformers.T5ForConditionalGeneration)
    step, tolerance = (1e-2, FLOAT32_INSIDE) if t5_like else (1e-5, 1e-7)
    assert slope_error(lm, step) < tolerance


def slope_error(lm, step):
    """How far the gradient of log p is from central differences in random directions of length one, relatively."""
    prompt = lm.prompt(PAIR)
    objective = Objective.of(lm, prompt, Target.of(12, prompt, lm.vocab, own(lm, PAIR)[0, -1]))
    x = objective.x
    directions = torch.randn(6, *x.shape, generator=torch.Generator().manual_seed(0)).to(x)
    directions /= directions.flatten(1).norm(dim=1)[:, None, None]
    slopes = (directions * gradients(objective, x[None])[1]).flatten(1).sum(1)
    above, below = (values(objective, x + sign * step * directions) for sign in (1, -1))
    return float(((above - below) / (2 * step) - slopes).norm() / slopes.norm())


def test_padding_and_the_place_of_the_split_do_not_matter(lm):
    pairs = [PAIR, (PAIR[0][:3], (*PAIR[1], 8, 9, 10)), ((5, 6), ())]
    rows = [lm.tokens(lm.prompt(pair))["input_ids"][0] for pair in pairs]
    assert len(rows[0]) == len(rows[1])
    for side in ("left", "right"):
        padded, mask = torch.full((3, 12), 3), torch.zeros(3, 12, dtype=torch.long)
        for row, (ids, real) in zip(rows, zip(padded, mask, strict=True), strict=True):
            where = slice(len(row)) if side == "right" else slice(12 - len(row), None)
            ids[where], real[where] = row, 1
        with torch.no_grad(), lm.frozen():
            output = lm({"input_ids": padded, "attention_mask": mask})
        expected = torch.cat([own(lm, pair)[:, -1] for pair in pairs])
        torch.testing.assert_close(output["logits"], expected, rtol=1e-9, atol=1e-9)


def test_integrated_gradients_are_complete_and_score_the_sources_first_word(t5_lm, bart_lm):
    for lm in (t5_lm, bart_lm):
        result = attribute(lm, (SOURCE, PREFIX), TARGET, IntegratedGradients(tolerance=0.01, max_gradients=2000))
        value = own(lm, ids_of(lm))[0, -1].log_softmax(-1)[result.target.id]
        assert result.completeness.value == pytest.approx(float(value), abs=1e-9)
        change = result.completeness.value - result.completeness.baseline_value
        assert float(result.scores.sum()) == pytest.approx(change, abs=0.01 * abs(change))
        assert result.fixed == result.template
        assert (result.scores[~np.array(result.fixed)] != 0).all()
        first = next(place for place, text in enumerate(result.tokens) if text)
        assert not result.fixed[first]


def ids_of(lm):
    prompt = lm.prompt((SOURCE, PREFIX))
    return prompt.ids[: prompt.source], prompt.ids[prompt.source + 1 :]


def test_pieces_joined_are_source_and_prefix(t5_lm, bart_lm):
    shown = {t5_lm: ["</s>", "<pad>"], bart_lm: ["<s>", "</s>", "</s>", "<s>"]}
    for lm, special in shown.items():
        for prefix in (PREFIX, ""):
            prompt = lm.prompt((SOURCE, prefix))
            assert "".join(piece.text for piece in prompt.pieces) == prompt.text == SOURCE + prefix
            assert [position for piece in prompt.pieces for position in piece.positions] == list(range(len(prompt)))
            assert [piece.label for piece in prompt.pieces if piece.template] == special
            assert prompt.ids[prompt.start] == lm.start_id
            assert prompt.continued.text == prefix
        assert lm.prompt(SOURCE) == prompt


def test_the_source_and_the_prefix_are_what_the_model_was_trained_with(bart_lm, bytelevel):
    """The decoder's input of training is the target shifted to the right, behind the decoder's start."""
    prompt = bart_lm.prompt((SOURCE, "Das Haus ist"))
    assert list(prompt.ids[: prompt.source]) == bytelevel(SOURCE)["input_ids"]
    labels = torch.tensor([bytelevel(text_target="Das Haus ist klein.")["input_ids"]])
    trained = bart_lm.language_model_head.prepare_decoder_input_ids_from_labels(labels)[0].tolist()
    assert trained[: len(prompt) - prompt.source] == list(prompt.ids[prompt.source :])


def test_the_target_is_tokenized_as_it_stands_after_the_prefix(t5_lm, bart_lm):
    for lm in (t5_lm, bart_lm):
        (expected,) = lm.vocab.encode(" ist", add_special_tokens=False).ids
        assert attribute(lm, (SOURCE, PREFIX), " ist", VanillaGradient()).target.id == expected
        first = lm.vocab.encode("Das", add_special_tokens=False).ids
        result = attribute(lm, SOURCE, first[0], VanillaGradient())
        assert result.target.text.strip() == "Das"
    with pytest.raises(ValueError, match=r"target ' ist klein' is \d tokens after this prompt"):
        attribute(t5_lm, (SOURCE, PREFIX), " ist klein")


@pytest.mark.filterwarnings("ignore::interpret.ConvergenceWarning")  # few steps
@pytest.mark.parametrize(
    "method",
    [
        VanillaGradient(), GradientTimesInput(), SmoothGrad(samples=4), IntegratedGradients(steps=4),
        SequentialIG(steps=4), DiscretizedIG(), ExpectedGradients(samples=4),
    ],
    ids=lambda method: type(method).__name__,
)  # fmt: skip
def test_every_method_explains_them_and_leaves_them_as_they_were(t5_lm, method, untouched):
    with untouched(t5_lm):
        result = attribute(t5_lm, (SOURCE, PREFIX), " ist", method, contrast=5)
    assert len(result.scores) == len(t5_lm.prompt((SOURCE, PREFIX)).pieces)
    assert all(map(math.isfinite, result.scores))
    assert bool(result.scores.any())


def test_a_text_as_baseline_is_a_pair_too(t5_lm):
    other = (SOURCE.replace("house", "cats"), "Das klein")
    result = attribute(t5_lm, (SOURCE, PREFIX), " ist", IntegratedGradients(baseline=Text(other), tolerance=0.01))
    moved = [text for text, score in zip(result.tokens, result.scores.tolist(), strict=True) if score]
    assert moved == [" house", " Haus"]


def test_predict_and_decode(bart_lm):
    best = bart_lm.predict((SOURCE, PREFIX), 3)
    assert [target.id for target in best] == own(bart_lm, ids_of(bart_lm))[0, -1].topk(3).indices.tolist()
    output = bart_lm(bart_lm.tokens(bart_lm.prompt((SOURCE, PREFIX))))
    assert bart_lm.decode(output) is output
    assert "".join(output["tokens"][0]) == f"<s>{SOURCE}</s></s><s>{PREFIX}"
    assert output["token_ids"].eq(bart_lm.mark).sum() == 1


def test_training_mode_is_set_aside(unigram, untouched):
    model = t5()
    expected = attribute(NextTokenLM.from_pretrained(model, unigram), (SOURCE, PREFIX), 5, VanillaGradient()).scores
    lm = NextTokenLM.from_pretrained(model.train(), unigram)
    with untouched(lm):
        assert (attribute(lm, (SOURCE, PREFIX), 5, VanillaGradient()).scores == expected).all()


def test_a_saved_one_is_known_by_its_configuration(tmp_path, unigram):
    t5(torch.float32).save_pretrained(tmp_path)
    unigram.save_pretrained(tmp_path)
    lm = NextTokenLM.from_pretrained(tmp_path)
    assert isinstance(lm, EncoderDecoderLM)
    assert lm.name == tmp_path.name
    again = NextTokenLM.from_pretrained(t5(torch.float32), unigram)
    assert lm.predict((SOURCE, PREFIX))[0].id == again.predict((SOURCE, PREFIX))[0].id


def test_prompts_that_cannot_be_read(t5_lm, bart_lm, tiny):
    with pytest.raises(ValueError, match="the source is empty"):
        t5_lm.prompt(("", PREFIX))
    with pytest.raises(ValueError, match="takes no chat; give a source, or a pair"):
        t5_lm.prompt([{"role": "user", "content": "hi"}])
    with pytest.raises(ValueError, match="this prompt is for a causal model"):
        t5_lm.prompt(tiny.prompt("The keys"))
    with pytest.raises(ValueError, match="a pair of source and target prefix is for encoder-decoders"):
        tiny.prompt((SOURCE, PREFIX))
    with pytest.raises(ValueError, match="token id 340 at position 1 is not in this vocabulary"):
        t5_lm.prompt(((5, 340), ()))
    with pytest.raises(ValueError, match="the target prefix has 65 tokens and this model reads at most 64"):
        bart_lm.prompt(((5,), (6,) * 64))
    assert len(t5_lm.prompt(((5,) * 200, (6,) * 200))) == 401


def test_a_model_that_names_no_start_is_refused():
    model = t5()
    model.config.decoder_start_token_id = model.generation_config.decoder_start_token_id = None
    with pytest.raises(ValueError, match="names no decoder_start_token_id; set it in its configuration"):
        NextTokenLM.from_pretrained(model)


def test_two_vocabularies_of_two_sizes_are_refused():
    model = marian()
    model.resize_decoder_token_embeddings(300)
    with pytest.raises(ValueError, match=r"encoder are \(340, 16\) and of its decoder \(300, 16\)"):
        NextTokenLM.from_pretrained(model)


def test_a_model_that_does_not_honour_embeddings_is_refused():
    model = t5()
    model.__class__ = ScalesTheSource
    with pytest.raises(ValueError, match="the logits differ from the model's own"):
        NextTokenLM.from_pretrained(model)


@pytest.fixture(scope="module")
def two_languages(tmp_path_factory):
    """Marian's own tokenizer: source and target are cut by two models, into ids of one vocabulary."""
    folder = tmp_path_factory.mktemp("marian")
    for side, lines in (("source", CORPUS[::2]), ("target", CORPUS[1::2])):
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines * 20), model_prefix=str(folder / side), vocab_size=50,
            hard_vocab_limit=False, minloglevel=2,
        )  # fmt: skip
    sides = [sentencepiece.SentencePieceProcessor(model_file=str(folder / f"{side}.model")) for side in SIDES]
    pieces = dict.fromkeys(side.id_to_piece(number) for side in sides for number in range(3, side.get_piece_size()))
    vocabulary = {piece: number for number, piece in enumerate(["</s>", "<unk>", "<pad>", *pieces])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    files = {f"{side}_spm": str(folder / f"{side}.model") for side in SIDES}
    return transformers.MarianTokenizer(**files, vocab=str(folder / "vocab.json"))


@pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")
def test_the_target_is_tokenized_as_the_target_language(two_languages):
    config = transformers.MarianConfig(
        **SIZES, **BART_SIZES, pad_token_id=2, eos_token_id=0, decoder_start_token_id=2, forced_eos_token_id=0
    )
    lm = NextTokenLM.from_pretrained(random(transformers.MarianMTModel, config), two_languages)
    prompt = lm.prompt((CORPUS[0], PREFIX))
    assert list(prompt.ids[: prompt.source]) == two_languages(CORPUS[0])["input_ids"]
    assert [*prompt.continued.ids, 0] == two_languages(text_target=PREFIX)["input_ids"]
    assert prompt.continued.ids != tuple(two_languages(PREFIX)["input_ids"][:-1])
    assert "".join(piece.text for piece in prompt.pieces) == CORPUS[0] + PREFIX
    target = two_languages(text_target=PREFIX + TARGET)["input_ids"][len(prompt.continued.ids)]
    result = attribute(lm, (CORPUS[0], PREFIX), target, VanillaGradient())
    assert result.target.id == target


# Every family that reads text; its weights are tiny and random.

FAMILIES = (
    "BartForConditionalGeneration", "BigBirdPegasusForConditionalGeneration", "BlenderbotForConditionalGeneration",
    "BlenderbotSmallForConditionalGeneration", "EncoderDecoderModel", "LEDForConditionalGeneration",
    "LongT5ForConditionalGeneration", "M2M100ForConditionalGeneration", "MarianMTModel",
    "MBartForConditionalGeneration", "MT5ForConditionalGeneration", "MvpForConditionalGeneration",
    "NllbMoeForConditionalGeneration", "PegasusForConditionalGeneration", "PegasusXForConditionalGeneration",
    "PLBartForConditionalGeneration", "ProphetNetForConditionalGeneration", "SeamlessM4TForTextToText",
    "SeamlessM4Tv2ForTextToText", "SwitchTransformersForConditionalGeneration", "T5ForConditionalGeneration",
    "T5GemmaForConditionalGeneration", "T5Gemma2ForConditionalGeneration", "UMT5ForConditionalGeneration",
)  # fmt: skip

FLOAT32_ONLY = {"LEDForConditionalGeneration"}  # in float64, its own masks give no gradient


def build(name):
    if name == "EncoderDecoderModel":
        sides = [tiny_models.tiny_config(transformers.BertConfig) for _ in range(2)]
        sides[0].is_decoder = False
        config = transformers.EncoderDecoderConfig.from_encoder_decoder_configs(*sides)
        torch.manual_seed(0)
        model = transformers.EncoderDecoderModel(config).eval()
    else:
        model = tiny_models.build(name)
    for module in model.modules():  # differences cannot see through the kinks of ReLU
        if isinstance(getattr(module, "act", None), nn.ReLU):
            module.act = nn.GELU()
    start = getattr(model.config, "decoder_start_token_id", None)
    model.config.decoder_start_token_id = start if start is not None and start < 64 else 2
    return model


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_is_exact(name):
    model = build(name) if name in FLOAT32_ONLY else build(name).double()
    if model._can_set_experts_implementation():
        model.set_experts_implementation("eager")
    lm = NextTokenLM.from_pretrained(model)
    prompt = lm.prompt(PAIR)
    tokens = lm.tokens(prompt)
    with torch.no_grad(), lm.frozen():
        _, found = lm.next_tokens(lm.embed(tokens), tokens["input_ids"], positions=(6, 7, 8, 9))
    torch.testing.assert_close(found, own(lm, PAIR), rtol=1e-5, atol=1e-5)
    # The best of them: norms in float32 spoil short steps, curvature and the jumps of routers long ones.
    assert min(slope_error(lm, step) for step in (3e-2, 1e-2, 3e-3, 1e-3, 1e-4)) < FLOAT32_INSIDE


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_family_without_a_named_embedding_layer_is_refused():
    with pytest.raises(ValueError, match="FSMTEncoder does not say which layer embeds its tokens"):
        NextTokenLM.from_pretrained(tiny_models.build("FSMTForConditionalGeneration"))


class ScalesTheSource(transformers.T5ForConditionalGeneration):
    """Does something else with a source that comes as embeddings."""

    def forward(self, input_ids=None, inputs_embeds=None, **options):
        if inputs_embeds is not None:
            inputs_embeds = inputs_embeds * 0.9
        return super().forward(input_ids, inputs_embeds=inputs_embeds, **options)


@pytest.mark.parametrize(
    "method", [GradientTimesInput(), IntegratedGradients(steps=3), SmoothGrad(samples=2)], ids=repr
)
@pytest.mark.filterwarnings("ignore::interpret.ConvergenceWarning")
def test_a_continuation_of_the_target(lm, method):
    """Every row is what its token's own prompt gives, and later tokens are unseen."""
    matrix = attribute_continuation(lm, PAIR, [12, 15, 16], method)
    for place, row in enumerate(matrix):
        before = (PAIR[0], (*PAIR[1], *[12, 15, 16][:place]))
        alone = attribute(lm, before, [12, 15, 16][place], method)
        torch.testing.assert_close(row.scores, alone.scores, rtol=0, atol=1e-9 * float(abs(alone.scores).max()))
        assert row.token_ids == alone.token_ids
    span = attribute(lm, PAIR, [12, 15, 16], GradientTimesInput())
    rows = attribute_continuation(lm, PAIR, [12, 15, 16], GradientTimesInput())
    torch.testing.assert_close(span.scores, rows.scores[:, : len(span)].sum(0))


def test_what_an_encoder_decoder_would_say(lm):
    matrix = attribute_continuation(lm, PAIR, method=GradientTimesInput(), max_new_tokens=3)
    said = []
    for row in matrix:
        assert row.target.id == lm.predict((PAIR[0], (*PAIR[1], *said)))[0].id
        said.append(row.target.id)
    found = list(attribute_many(lm, [PAIR, PAIR[::-1], (PAIR[0], ())], method=GradientTimesInput()))
    for pair, each in zip([PAIR, PAIR[::-1], (PAIR[0], ())], found, strict=True):
        alone = attribute(lm, pair, method=GradientTimesInput())
        torch.testing.assert_close(each.scores, alone.scores)


def test_a_target_that_the_decoder_has_no_room_for(lm, monkeypatch):
    """The decoder's start and the prefix are read, and all that follows but the last token."""
    read = 1 + len(PAIR[1])
    monkeypatch.setattr(lm, "max_lengths", [None, read + 1])
    assert len(lm.generate(lm.prompt(PAIR), 9)) <= 2
    assert lm.max_new_tokens(lm.prompt(PAIR)) == 2
    assert len(attribute(lm, PAIR, [12, 15], GradientTimesInput()).target.continuation) == 2
    with pytest.raises(ValueError, match=f"the target prefix has {read + 2} tokens"):
        attribute(lm, PAIR, [12, 15, 16], GradientTimesInput())


@pytest.mark.parametrize("which", ["t5_lm", "bart_lm"])
def test_counterfactuals_change_its_source_and_its_prefix(which, request):
    lm = request.getfixturevalue(which)
    source, prefix = "The keys to the cabinet", "we are"
    before = lm.predict((source, prefix), 1)[0]
    changed = flip(lm, (source, prefix), candidates=8)
    assert changed.before.first.id == before.id
    assert changed.found
    sides = [source, prefix]
    for edit in sorted(changed.edits, key=lambda edit: -edit.start):
        side, start = (0, edit.start) if edit.start < len(source) else (1, edit.start - len(source))
        assert sides[side][start:].startswith(edit.old)
        sides[side] = sides[side][:start] + edit.new + sides[side][start + len(edit.old) :]
    assert "".join(sides) == changed.prompt
    assert lm.predict(tuple(sides), 1)[0].id == changed.after.first.id
    assert changed.after.first.id != before.id
    less = reduce_input(lm, (source, prefix))
    assert less.after.rank == 1
    assert "".join(span.text for span in sorted((*less.kept, *less.removed), key=lambda span: span.start)) == (
        source + prefix
    )
