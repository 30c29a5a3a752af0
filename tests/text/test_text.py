"""Text, faithfully: with every kind of tokenizer, the pieces joined are the prompt, each with its own tokens."""

import io
import json
import re
import unicodedata

import numpy
import pytest
import sentencepiece
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from interpret import GradientTimesInput, VanillaGradient, aligned, attribute
from interpret.views import fonts
from nexttoken import Piece, Prompt, TokenizerVocabulary
from nexttoken.text.alignment import decoded
from tests.conftest import CORPUS
from tests.results.making import made

TEXTS = [*CORPUS, "Le café est fermé, les élèves dorment.", "你好，世界。", "नमस्ते दुनिया", "مرحبا بالعالم"]
SNIPPETS = [
    "👩‍👩‍👧", "👍🏽", "🇫🇷", "❤️", "😀", "é", "e\u0301", "o\u0323\u0302", "\u0301",
    "你好", "。", "مرحبا", "بِسْمِ", "नमस्ते", "क्षि", "שלום", "\u200f", "ไทย", "ﬁ", "①", "Ⅻ", "ß", "İ",
    "\t", "\n", "\r\n", "\x00", "\x7f", "\x85", "\u00a0", "\u200b", "\u2028", "\ufeff", "\ufffd",
    "▁", "Ġ", "##a", "@@", " ", "  ", "     ", "<s>", "</s>", "<unk>", "[UNK]", "[CLS]", "<0x41>", "</script>",
    "the", " cats", "The keys", ".", ", ", "$x_1$", "\\",
]  # fmt: skip
pytestmark = pytest.mark.filterwarnings(
    "ignore:the prompt ends in a space", "ignore:the prompt begins with", "ignore:This sequence already has </s>"
)
SCRIPTS = {
    "emoji": "A family 👩‍👩‍👧, 👍🏽 and 😀", "accents": "cafe\u0301 o\u0323\u0302 é", "chinese": "法国的首都是，巴黎。",
    "arabic": "عاصمة فرنسا هي", "hebrew": "בירת צרפת היא", "hindi": "फ़्रांस की राजधानी", "thai": "เมืองหลวง",
    "control": "a\tb\nc\r\nd\x00e", "markup": "<s> </script> $x_1$ \\alpha", "spaces": "a    b  c",
}  # fmt: skip
any_text = st.text(st.characters(codec="utf-8"), min_size=1, max_size=60)
nasty_text = st.lists(st.sampled_from(SNIPPETS), min_size=1, max_size=12).map("".join)
texts = any_text | nasty_text


# The tokenizers: each as a model of its family has it, trained on a few lines


def trained(model, trainer, **parts):
    tokenizer = Tokenizer(model)
    for name, part in parts.items():
        setattr(tokenizer, name, part)
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


def started(tokenizer, start):
    """The tokenizer with a start token of its own."""
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A", special_tokens=[(start, tokenizer.token_to_id(start))]
    )
    return tokenizer


def byte_level(prefix_space):
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<s>", "</s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )  # fmt: skip
    tokenizer = trained(
        models.BPE(), trainer, pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=prefix_space),
        decoder=decoders.ByteLevel(),
    )  # fmt: skip
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=started(tokenizer, "<s>"), bos_token="<s>", eos_token="</s>"
    )


def word_end_bpe(folder):
    """Words cut into characters and merges, the last piece of a word marked, as in the first GPT."""
    trainer = trainers.BpeTrainer(
        vocab_size=200, special_tokens=["<unk>"], end_of_word_suffix="</w>", show_progress=False
    )
    tokenizer = trained(
        models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"), trainer,
        normalizer=normalizers.BertNormalizer(lowercase=True), pre_tokenizer=pre_tokenizers.BertPreTokenizer(),
        decoder=decoders.BPEDecoder(suffix="</w>"),
    )  # fmt: skip
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")


def word_piece(folder):
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = trained(
        models.WordPiece(unk_token="[UNK]"),
        trainers.WordPieceTrainer(vocab_size=200, special_tokens=special, show_progress=False),
        normalizer=normalizers.BertNormalizer(lowercase=True), pre_tokenizer=pre_tokenizers.BertPreTokenizer(),
        decoder=decoders.WordPiece(),
    )  # fmt: skip
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]"
    )


def white_space_words(folder):
    tokenizer = trained(
        models.WordLevel(unk_token="<unk>"), trainers.WordLevelTrainer(special_tokens=["<unk>"], show_progress=False),
        pre_tokenizer=pre_tokenizers.Whitespace(),
    )  # fmt: skip
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")


def unigram(folder):
    """Like T5 and XLNet: compatibility normalization, runs of spaces as one, no bytes for what is unknown."""
    trainer = trainers.UnigramTrainer(
        vocab_size=300, special_tokens=["<unk>", "</s>"], unk_token="<unk>", show_progress=False
    )
    squeezed = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(" {2,}", " ")])
    tokenizer = trained(
        models.Unigram(), trainer, normalizer=squeezed, pre_tokenizer=pre_tokenizers.Metaspace(),
        decoder=decoders.Metaspace(),
    )  # fmt: skip
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="</s>")


def llama(folder):
    """SentencePiece BPE in which an unknown character falls back to its bytes."""
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokenizer = trained(
        models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"),
        trainers.BpeTrainer(
            vocab_size=420, special_tokens=special, initial_alphabet=[], limit_alphabet=60, show_progress=False
        ),
        pre_tokenizer=pre_tokenizers.Metaspace(),
    )  # fmt: skip
    state = json.loads(tokenizer.to_str())["model"]
    merges = [tuple(pair) for pair in state["merges"]]
    return transformers.LlamaTokenizer(vocab=state["vocab"], merges=merges)


def composed(folder):
    """A byte-level tokenizer that composes characters first, as Qwen's does."""
    tokenizer = byte_level(False)
    tokenizer.backend_tokenizer.normalizer = normalizers.NFC()
    return tokenizer


def sentencepiece_model(folder, **options):
    corpus, prefix = folder / "corpus.txt", folder / "spiece"
    corpus.write_text("\n".join(line for text in TEXTS for line in text.splitlines()), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus), model_prefix=str(prefix), hard_vocab_limit=False, minloglevel=2, **options
    )
    return f"{prefix}.model"


def slow_unigram(folder):
    model = sentencepiece_model(folder, vocab_size=150, model_type="unigram")
    return transformers.BertGenerationTokenizer(model)


def slow_bpe_with_bytes(folder):
    model = sentencepiece_model(
        folder, vocab_size=400, model_type="bpe", byte_fallback=True, character_coverage=0.98, pad_id=3,
        normalization_rule_name="identity", remove_extra_whitespaces=False,
    )  # fmt: skip
    return transformers.GPTSw3Tokenizer(model, name_or_path="gpt-sw3")


def slow_word_piece(folder):
    vocab = word_piece(folder).get_vocab()
    (folder / "vocab.txt").write_text("\n".join(sorted(vocab, key=vocab.get)), encoding="utf-8")
    return transformers.ProphetNetTokenizer(str(folder / "vocab.txt"))


def slow_bpe(folder):
    """CTRL: every token but the last of a word ends in @@."""
    letters = sorted({letter for text in TEXTS for letter in text if not letter.isspace()})
    merges = [("t", "h"), ("th", "e</w>"), ("a", "r"), ("ar", "e</w>"), ("k", "e"), ("ke", "y")]
    joined = [first + second for first, second in merges]
    pieces = [*letters, *(f"{letter}@@" for letter in letters)]
    pieces += [piece.removesuffix("</w>") if piece.endswith("</w>") else f"{piece}@@" for piece in joined]
    vocab = {piece: place for place, piece in enumerate(["<unk>", *dict.fromkeys(pieces)])}
    (folder / "vocab.json").write_text(json.dumps(vocab), encoding="utf-8")
    lines = ["#version", *(" ".join(pair) for pair in merges), ""]
    (folder / "merges.txt").write_text("\n".join(lines), encoding="utf-8")
    return transformers.CTRLTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))


FAMILY = {
    "byte-level": lambda folder: byte_level(False),
    "byte-level, prefix space": lambda folder: byte_level(True),
    "byte-level, composed": composed,
    "bpe with </w>": word_end_bpe,
    "word piece": word_piece,
    "words": white_space_words,
    "unigram": unigram,
    "llama": llama,
    "slow unigram": slow_unigram,
    "slow bpe with bytes": slow_bpe_with_bytes,
    "slow word piece": slow_word_piece,
    "slow bpe with @@": slow_bpe,
    "bytes": lambda folder: transformers.ByT5Tokenizer(),
}
# Those that write every text so that decoding gives it back, but for spaces at the edges of the text
LOSSLESS = ["byte-level", "llama", "bytes"]


@pytest.fixture(scope="session", params=FAMILY)
def vocab(request, tmp_path_factory):
    return TokenizerVocabulary(FAMILY[request.param](tmp_path_factory.mktemp("tokenizer")))


@pytest.fixture(scope="session", params=LOSSLESS)
def lossless(request, tmp_path_factory):
    return TokenizerVocabulary(FAMILY[request.param](tmp_path_factory.mktemp("tokenizer")))


def prompt_of(text, vocab):
    """The prompt; None if the tokenizer leaves out all of it."""
    try:
        return Prompt.from_text(text, vocab)
    except ValueError as error:
        if "has no tokens in this vocabulary" in str(error):
            return None
        raise


def joined(prompt):
    return "".join(piece.text for piece in prompt.pieces)


# The laws


@given(text=texts)
@settings(max_examples=60)
def test_the_pieces_are_the_prompt(vocab, text):
    prompt = prompt_of(text, vocab)
    if prompt is not None:
        assert joined(prompt) == prompt.text == text
        positions = [position for piece in prompt.pieces for position in piece.positions]
        assert positions == list(range(len(prompt)))
        assert all(piece.text or piece.template for piece in prompt.pieces)
        assert all(piece.positions for piece in prompt.pieces)


@given(text=texts)
@settings(max_examples=60)
def test_a_piece_says_what_its_tokens_say(vocab, text):
    """Whatever the tokenizer did to case, accents, width and spaces, the words of its tokens stand in their piece."""
    prompt = prompt_of(text, vocab)
    for piece in prompt.pieces if prompt is not None else ():
        ids = [prompt.ids[position] for position in piece.positions]
        if not piece.template and vocab.unk_id not in ids:
            assert bare(vocab.decode(ids)) in bare(piece.text), piece


def bare(text):
    """A text without case, accents, width, spaces, control characters and the signs of tokenizers inside words."""
    plain = unicodedata.normalize("NFKD", text.casefold()).casefold()
    for sign in ("▁", "##", "@@"):
        plain = plain.replace(sign, "")
    return "".join(part for part in plain if not part.isspace() and unicodedata.category(part)[0] not in "MC")


@given(text=texts)
@settings(max_examples=60)
def test_a_piece_is_exactly_what_its_tokens_write(lossless, text):
    """And no shorter piece would do: its first tokens alone end inside a character."""
    prompt = Prompt.from_text(text, lossless)
    for piece in prompt.pieces:
        if not piece.template:
            ids = [prompt.ids[position] for position in piece.positions]
            starts = [lossless.decode(ids[:length]) for length in range(1, len(ids) + 1)]
            assert starts[-1].strip() == piece.text.replace("▁", " ").strip()
            assert all(start.strip(" ") == "" or start.endswith("\ufffd") for start in starts[:-1])


@given(text=texts)
@settings(max_examples=40)
def test_ids_are_decoded_piece_by_piece(vocab, text):
    prompt = prompt_of(text, vocab)
    if prompt is not None:
        again = Prompt.from_ids(prompt.ids, vocab)
        assert joined(again) == again.text == vocab.decode(prompt.ids)
        assert [position for piece in again.pieces for position in piece.positions] == list(range(len(prompt)))


@given(text=texts.filter(lambda text: not any(each in text for each in ("\ufffd", "<s>", "<unk>"))))
@settings(max_examples=60)
def test_text_and_its_ids_have_the_same_pieces(lossless, text):
    prompt = Prompt.from_text(text, lossless)
    again = Prompt.from_ids(lossless.encode(text, add_special_tokens=False).ids, lossless)
    assert plain_words(again) == plain_words(prompt)


def plain_words(prompt):
    """The texts of the pieces without the spaces at their edges, which a decoder may leave out."""
    words = [piece.text.replace("▁", " ").strip() for piece in prompt.pieces if not piece.template]
    return [word for word in words if word]


@given(ids=st.lists(st.integers(0, 49), min_size=1, max_size=90))
@settings(max_examples=40)
def test_any_ids_are_a_prompt(vocab, ids):
    """Also those that no text has, such as bytes that are no character."""
    prompt = Prompt.from_ids(ids, vocab)
    assert joined(prompt) == prompt.text == vocab.decode(ids)
    assert [position for piece in prompt.pieces for position in piece.positions] == list(range(len(prompt)))


# What the laws are made of, one by one


def of(name, tmp_path):
    return TokenizerVocabulary(FAMILY[name](tmp_path))


def shown(prompt):
    return [piece.text for piece in prompt.pieces if not piece.template]


def test_characters_of_several_bytes_are_a_piece_each(tmp_path):
    """Also where a tokenizer does not say which characters its tokens cover."""
    for name in ("bytes", "slow bpe with bytes"):
        pieces = Prompt.from_text("吗😀e\u0301", of(name, tmp_path)).pieces
        assert [piece.text for piece in pieces][:2] == ["吗", "😀"]
        assert [len(piece.positions) for piece in pieces][1] == 4


def test_what_a_tokenizer_rewrites_is_found_again(tmp_path):
    slow = of("slow unigram", tmp_path)
    assert shown(Prompt.from_text("a ﬁ b", slow)) == ["a", " ﬁ", " b"]
    assert shown(Prompt.from_text("THÉ cat", of("slow word piece", tmp_path)))[0] == "THÉ"
    assert shown(Prompt.from_text("a 吗 the", slow)) == ["a", " 吗", " the"]


def test_a_mark_that_a_tokenizer_drops_stays_on_its_letter(tmp_path):
    for name in ("word piece", "slow word piece", "byte-level, composed"):
        assert any(
            text.endswith("e\u0301") for text in shown(Prompt.from_text("the cafe\u0301 is", of(name, tmp_path)))
        )


def test_special_tokens_that_the_user_writes_are_the_users(vocab):
    for special in vocab.tokenizer.all_special_tokens:
        prompt = Prompt.from_text(f"the {special} cats", vocab)
        assert "".join(shown(prompt)) == f"the {special} cats"
        assert not any(piece.template and piece.text for piece in prompt.pieces)
    assert "".join(shown(Prompt.from_text("</s>", vocab))) == "</s>"


@pytest.mark.slow
def test_long_prompts_take_linear_time(vocab, monkeypatch):
    """Counted in the ids that are decoded, which a busy machine does not change."""
    ids = vocab.encode("".join(TEXTS) * 4).ids[:400]
    spent = []

    def counted(some, decode=vocab.decode):
        spent.append(len(some))
        return decode(some)

    text, spans = decoded(ids, counted)
    assert sum(spent) < 100 * len(ids)
    monkeypatch.setattr("nexttoken.text.alignment.WINDOW", len(ids))
    assert (text, spans) == decoded(ids, vocab.decode)


# Scores and figures


def by_token(prompt):
    """The same prompt with every token on its own, whatever characters it shares."""
    return Prompt(prompt.text, prompt.ids, tuple(Piece("", str(place), (place,)) for place in range(len(prompt))))


@pytest.mark.parametrize("text", ["a 😀 b", "你好", "e\u0301 नमस्ते"])
def test_a_piece_has_the_sum_of_its_tokens_scores(tiny, text):
    prompt = tiny.prompt(text)
    assert any(len(piece.positions) > 1 for piece in prompt.pieces)
    for method, combined in (
        (GradientTimesInput(), numpy.sum),
        (VanillaGradient(), numpy.linalg.norm),
    ):
        whole, single = attribute(tiny, prompt, 69, method), attribute(tiny, by_token(prompt), 69, method)
        expected = [combined(single.scores[list(piece.positions)]) for piece in prompt.pieces]
        numpy.testing.assert_allclose(whole.scores, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_bundled_model_reads_every_script(bundled, script):
    prompt = bundled.prompt(SCRIPTS[script])
    result = attribute(bundled, prompt, method=GradientTimesInput())
    assert result.prompt == SCRIPTS[script]
    single = attribute(bundled, by_token(prompt), result.target.id, GradientTimesInput())
    expected = [single.scores[list(piece.positions)].sum() for piece in prompt.pieces]
    numpy.testing.assert_allclose(result.scores, expected, rtol=1e-12, atol=1e-14)
    shared = any(len(piece.positions) > 1 for piece in prompt.pieces)
    assert shared == (script not in ("control", "markup", "spaces"))


@pytest.fixture(params=["installed", "matplotlib's own"])
def some_fonts(request, monkeypatch):
    """The fonts that are there, and those that come with matplotlib."""
    own = [entry for entry in fonts.fontManager.ttflist if "mpl-data" in entry.fname]
    chosen = {"installed": fonts.fontManager.ttflist, "matplotlib's own": own}[request.param]
    forget()
    monkeypatch.setattr(fonts.fontManager, "ttflist", chosen)
    yield request.param
    forget()


def forget():
    fonts.fallback_family.cache_clear()
    fonts.measured.cache_clear()


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_can_be_drawn(some_fonts, script):
    text = SCRIPTS[script]
    result = made([text[:3], text[3:4], text[4:]])
    for figure, formats in ((result.heatmap(), ("png", "pdf", "svg")), (aligned([result]), ("png",))):
        for format in formats:
            file = io.BytesIO()
            figure.savefig(file, format=format)
            assert len(file.getvalue()) > 1000


def test_what_no_font_has_is_a_box(some_fonts):
    if some_fonts == "matplotlib's own":
        if not any(entry.name.startswith(fonts.LAST) for entry in fonts.fontManager.ttflist):
            pytest.skip("this matplotlib brings no boxes")
        assert fonts.fallback_family("字", fonts.usual_fonts()).startswith(fonts.LAST)
        assert fonts.text_width("字") > 0


def test_a_font_that_has_a_character_comes_before_boxes(some_fonts):
    path = next(entry.fname for entry in fonts.fontManager.ttflist if entry.name == "STIXGeneral")
    usual = fonts.characters_of(fonts.fontManager.findfont("DejaVu Sans"))
    only_there = min(fonts.characters_of(path) - usual)
    assert not fonts.fallback_family(chr(only_there), fonts.usual_fonts()).startswith(fonts.LAST)


def test_pdf_fonts_do_not_depend_on_the_names_of_glyphs():
    """A Type 3 font finds glyphs by name, and Symbola's have none: all emoji would look like the last one."""
    file = io.BytesIO()
    made(["a 😀"]).heatmap().savefig(file, format="pdf")
    assert b"/Type3" not in file.getvalue()
    assert b"/CIDFontType2" in file.getvalue()


def test_a_browser_sets_each_text_in_its_own_direction():
    page = made([*SCRIPTS["arabic"].split(" ")]).html()
    assert len(re.findall(r'<(?:p|div) class="(?:title|text)" dir="auto"', page)) == 2
    assert page.index('<div class="text" dir="auto"') < page.index("عاصمة")
