"""Totals: nothing is lost or counted twice, and a total is what the method would give for the group's tokens."""

from itertools import pairwise

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpret import (
    Attribution,
    GradientTimesInput,
    IntegratedGradients,
    SmoothGrad,
    VanillaGradient,
    attribute,
    convention,
)
from interpret.results.reduction import ABSOLUTE_SUM, REDUCTIONS, SUM
from nexttoken import Message
from tests.results.making import made

CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "The cats. Are they here?\nSay so."}]
DIVISIONS = ("word", "sentence", "line")


def powers(tokens, **more):
    """Pieces whose scores are powers of two, so that a sum says what is in it."""
    return made(tokens, [2**number for number in range(len(tokens))], **more)


def split(text, by):
    """A text cut by a division, every character a piece."""
    return list(made(list(text), [0.0] * len(text)).totals(by).tokens)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("I can't, don’t.", ["I", " can't", ",", " don’t", "."]),
        ("It is 3.14 or  5%.", ["It", " is", " 3.14", " or", "  5", "%."]),
        ('"Hi"!', ['"', "Hi", '"!']),
        ("Q: 2+2?\n\nA: 4", ["Q", ":", " 2", "+", "2", "?", "\n\n", "A", ":", " 4"]),
        ("def f(x):\n    return __x__->y", ["def", " f", "(", "x", "):", "\n", "    return", " __x__", "->", "y"]),
        ("a \n \nb ", ["a", " \n \n", "b", " "]),
        ("Cafe\u0301 नमस्ते दुनिया", ["Cafe\u0301", " नमस्ते", " दुनिया"]),
        ("首都。カタカナ", ["首", "都", "。", "カタカナ"]),
        ("👩‍👩‍👧 ok", ["👩‍👩‍👧", " ok"]),
    ],
)
def test_words(text, words):
    assert split(text, "word") == words


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ('He said "No." She left.', ['He said "No."', " She left."]),
        ("It cost 3.5 dollars, e.g. more! Really? yes", ["It cost 3.5 dollars, e.g. more!", " Really?", " yes"]),
        ("One.\n\nTwo\nThree. ", ["One.\n\n", "Two\n", "Three. "]),
        ("a != b. C", ["a != b. C"]),  # b. may be an initial
        ("Dr. Smith met Mr. Jones. They left.", ["Dr. Smith met Mr. Jones.", " They left."]),
        ("U.S. troops left at 5 p.m. Then what?", ["U.S. troops left at 5 p.m.", " Then what?"]),
        ("apple -> red\nbanana -> yellow\n", ["apple -> red\n", "banana -> yellow\n"]),
        ("def f(x):\n    return x.y\n", ["def f(x):\n", "    return x.y\n"]),
        ("नमस्ते। आप कैसे हैं? ठीक।", ["नमस्ते।", " आप कैसे हैं?", " ठीक।"]),
        ("مرحبا. كيف حالك؟ بخير", ["مرحبا.", " كيف حالك؟", " بخير"]),
        ("😀 Hi. 😀 Ho.", ["😀 Hi.", " 😀 Ho."]),
        ("One\u00a0. Two\u2028. Three", ["One\u00a0.", " Two\u2028.", " Three"]),
        ("\ud800 one. Two", ["\ud800 one.", " Two"]),
        ("你好。」我们走吧！好", ["你好。」", "我们走吧！", "好"]),
        ("Well… then. Well… Then", ["Well… then.", " Well… Then"]),
    ],
)
def test_sentences(text, sentences):
    assert split(text, "sentence") == sentences


def test_sentences_are_those_of_a_language():
    text = "Am 3. Oktober war es, z. B. in Berlin. Dann kam er."
    why = made(list(text), [0.0] * len(text))
    assert why.totals("sentence", language="de").tokens == (
        "Am 3. Oktober war es, z. B. in Berlin.",
        " Dann kam er.",
    )
    assert why.totals("sentence").tokens[0] == "Am 3."


def test_lines_keep_their_ends():
    assert split("a\n\nb\n", "line") == ["a\n", "\n", "b\n"]


def test_a_piece_across_a_border_belongs_where_its_first_character_other_than_a_space_lies():
    pieces = powers(["Yes", ".\n\n", "\n", "No", " way.", "\nSo"])
    assert pieces.totals("line").tokens == ("Yes.\n\n", "\n", "No way.", "\nSo")
    assert pieces.totals("line").scores.tolist() == [3, 4, 24, 32]
    assert pieces.totals("word").tokens == ("Yes", ".\n\n", "\n", "No", " way.", "\nSo")
    assert pieces.totals("sentence").scores.tolist() == [7, 24, 32]


def test_totals_on_paper():
    why = made(["un", "happy", " cats", "."], [0.5, -0.25, 2.0, -1.0], token_ids=((7,), (8,), (9, 10), (11,)))
    words = why.totals("word")
    assert words.tokens == words.labels == ("unhappy", " cats", ".")
    assert words.scores.tolist() == [0.25, 2.0, -1.0]
    assert words.token_ids == ((7, 8), (9, 10), (11,))
    assert words.by == "word"
    assert "totals by word" in words.facts
    assert why.by == "piece"
    assert "totals" not in why.facts


@given(text=st.text(st.characters(codec="utf-8"), min_size=1), cuts=st.sets(st.integers(1, 60)))
def test_nothing_is_lost_or_counted_twice(text, cuts):
    borders = [0, *sorted(cut for cut in cuts if cut < len(text)), len(text)]
    tokens = [text[start:end] for start, end in pairwise(borders)]
    why = made(tokens, [float(3 * number - 7) for number in range(len(tokens))])
    for by in DIVISIONS:
        total = why.totals(by)
        assert total.prompt == text
        assert [token_id for ids in total.token_ids for token_id in ids] == list(range(len(tokens)))
        assert float(total.scores.sum()) == float(why.scores.sum())


@pytest.mark.parametrize("reduction", [each for each in REDUCTIONS.values() if each is not ABSOLUTE_SUM], ids=repr)
def test_a_total_is_the_reduction_of_the_groups_tokens_together(reduction):
    attributions = numpy.random.default_rng(0).standard_normal((7, 5))
    attributions = abs(attributions) if reduction.name == "sum of squares" else attributions
    pieces, groups = [(0,), (1, 2), (3,), (4, 5), (6,)], [(0, 1, 2), (3,), (4, 5, 6)]
    joined = reduction.join(reduction(attributions, pieces), numpy.array([1, 2, 1, 2, 1]), [(0, 1), (2,), (3, 4)])
    numpy.testing.assert_allclose(joined, reduction(attributions, groups), rtol=1e-14)


def test_unsigned_totals_on_paper():
    tokens, ids = ["un", "happy"], ((1,), (2, 3, 4))
    for reduction, total in (("L2 norm", 5.0), ("L1 norm", 7.0), ("sum of squares", 7.0)):
        why = made(tokens, [3.0, 4.0], signed=False, reduction=reduction)
        assert why.totals("word").scores.tolist() == [total]
    why = made(tokens, [3.0, 5.0], signed=False, reduction="mean of absolute values", token_ids=ids)
    assert why.totals("word").scores.tolist() == [4.5]


def test_scores_that_do_not_tell_their_total_are_refused():
    lost = made(["un", "happy"], signed=False, reduction=ABSOLUTE_SUM.name)
    with pytest.raises(ValueError, match="absolute value of the sum do not tell their total: the signs"):
        lost.totals("word")
    with pytest.raises(ValueError, match="no rule for totals is known for the reduction 'median', only for sum, "):
        made(["a"], reduction="median").totals("word")


def test_shares_of_one_whole_are_added(tiny):
    for library in ("allennlp", "inseq", "ecco"):
        why = attribute(tiny, "The zebra quacks", 69, convention(library, "gradient x input"))
        words = why.totals("word")
        assert why.unit == words.unit == "share"
        assert float(words.scores.sum()) == pytest.approx(1, abs=1e-12)
        assert len(words) == 3 < len(why)


def test_errors_add_up_and_correlated_ones_have_no_total(tiny):
    why = made(["un", "happy", " cat"], error=[0.1, 0.2, 0.4])
    assert why.totals("word").error.tolist() == pytest.approx([0.3, 0.4])
    sampled = attribute(tiny, "The keys", 69, SmoothGrad(samples=4))
    assert sampled.standard_error is not None
    assert sampled.totals("word").standard_error is None


def test_a_group_is_fixed_if_all_of_its_pieces_are():
    why = made(["a", "b", " c", " d", "e"], [0, 1, 0, 0, 0], fixed=[True, False, True, True, True])
    assert why.totals("word").fixed == (False, True, True)
    assert why.totals("line").fixed == (False,)


def test_a_start_token_is_a_group_of_its_own():
    why = made(["", "The", " cat"], labels=["<s>", "The", " cat"], template=[True, False, False])
    for by in (*DIVISIONS, [(0, 3)], [(0, 7)]):
        assert why.totals(by).labels[0] == "<s>"
        assert why.totals(by).template[0]
    assert why.totals("line", template=False).tokens == ("The cat",)


def test_spans_are_groups_and_so_is_what_lies_between():
    why = powers(["The", " keys", " to", " the", " door", "s", "."])
    total = why.totals([(16, 21), (4, 8)])
    assert total.tokens == ("The", " keys", " to the", " doors", ".")
    assert total.scores.tolist() == [1, 2, 12, 48, 64]
    assert total.by == "span"


@pytest.mark.parametrize(
    ("spans", "message"),
    [
        ([], "there are no spans"),
        ([(3, 3)], r"the span \(3, 3\) is empty or outside the prompt's 10 characters"),
        ([(0, 11)], r"the span \(0, 11\) is empty or outside"),
        ([(0, 4), (3, 5)], r"the span \(3, 5\) overlaps the one before it, which ends at 4"),
        ([(2, 4)], r"no piece begins in the span \(2, 4\), 'ha': it lies inside one piece or between two; widen it"),
        ("paragraph", "by is 'paragraph'; it must be 'word', 'sentence', 'line', 'message' or"),
        ("role", "for roles, take role_totals"),
        ("message", "this prompt is not a chat"),
    ],
)
def test_divisions_that_fail_say_why(spans, message):
    with pytest.raises(ValueError, match=message):
        powers(["unhap", "py", "  ", "."]).totals(spans)


def test_totals_of_totals_are_refused():
    words = powers(["a", " b"]).totals("word")
    with pytest.raises(ValueError, match="these are totals by word already"):
        words.totals("line")
    with pytest.raises(ValueError, match="these are totals by word already"):
        words.role_totals()


@pytest.fixture(params=[GradientTimesInput(), IntegratedGradients(tolerance=0.5)], ids=repr)
def chat(request, tiny):
    return attribute(tiny, CHAT, 69, request.param)


@pytest.mark.filterwarnings("ignore::interpret.ConvergenceWarning")
def test_totals_of_a_chat(chat):
    whole, said = chat.totals("message"), chat.totals("message", template=False)
    assert whole.prompt == chat.prompt
    assert said.tokens == tuple(message["content"] for message in CHAT)
    assert whole.template == (True, False, True, False, True)
    assert whole.roles == (None, "system", None, "user", None)
    assert said.roles == ("system", "user")
    assert float(whole.scores.sum()) == pytest.approx(float(chat.scores.sum()), abs=1e-13)
    assert whole.scores[[1, 3]].tolist() == said.scores.tolist()
    roles = chat.role_totals()
    assert list(roles) == ["system", "user", "template"]
    assert sum(roles.values()) == pytest.approx(float(chat.scores.sum()), abs=1e-13)
    assert [roles["system"], roles["user"]] == said.scores.tolist()
    assert chat.role_totals(template=False) == {"system": roles["system"], "user": roles["user"]}
    for by in DIVISIONS:
        for message, text in zip(("system", "user"), said.tokens, strict=True):
            groups = chat.totals(by)
            mine = [place for place, role in enumerate(groups.roles) if role == message]
            assert "".join(groups.tokens[place] for place in mine) == text
            assert float(groups.scores[mine].sum()) == pytest.approx(roles[message], abs=1e-13)


@pytest.mark.filterwarnings("ignore::interpret.ConvergenceWarning")
def test_a_chat_and_its_totals_are_saved_whole(chat, tmp_path):
    for each in (chat, chat.totals("word", template=False), chat.totals("message")):
        again = Attribution.load(each.save(tmp_path / "why.json"))
        assert again.to_dict() == each.to_dict()
        assert again.messages == each.messages
        assert again.roles == each.roles


def test_roles_gather_several_messages():
    messages = (Message("user", 1, 2), Message("assistant", 3, 4), Message("user", 5, 6), Message("system", 6, 6))
    why = powers(["|", "a", "|", "b", "|", "c"], template=[True, False] * 3, messages=messages)
    assert why.role_totals() == {"user": 34.0, "assistant": 8.0, "template": 21.0}
    assert why.role_totals(template=False) == {"user": 34.0, "assistant": 8.0}
    unsigned = made(
        why.tokens, [3, 3, 4, 1, 0, 4], False, reduction="L2 norm", template=why.template, messages=messages
    )
    assert unsigned.role_totals() == {"user": 5.0, "assistant": 1.0, "template": 5.0}
    with pytest.raises(ValueError, match="a role is named 'template'"):
        made(["a"], messages=(Message("template", 0, 1),)).role_totals()
    with pytest.raises(ValueError, match="this prompt is not a chat"):
        made(["a"]).role_totals()


def test_a_piece_that_joins_template_and_content_is_the_contents():
    why = powers(["<u>", "\nHi", " all", "!\n", "<a>"], template=[True, False, False, False, True],
                 messages=(Message("user", 4, 11),))  # fmt: skip
    assert why.totals("message").tokens == ("<u>", "\nHi all!\n", "<a>")
    assert why.totals("line").tokens == ("<u>", "\nHi all!\n", "<a>")
    assert why.role_totals() == {"user": 14.0, "template": 17.0}
    said = why.totals("word", template=False)
    assert said.messages == (Message("user", 1, 8),)
    assert said.prompt[1:8] == "Hi all!"


def test_a_prompt_that_is_all_template_has_nothing_without_it():
    why = powers(["<u>"], template=[True], messages=(Message("user", 3, 3),))
    assert why.role_totals() == {"template": 1.0}
    assert why.role_totals(template=False) == {}
    with pytest.raises(ValueError, match="the whole prompt is template"):
        why.totals("word", template=False)


def test_norms_have_totals_by_word(tiny):
    why = attribute(tiny, "The zebra quacks", 69, VanillaGradient())
    words = why.totals("word")
    assert words.tokens == ("The", " zebra", " quacks")
    assert len(why) > 3
    assert float((words.scores**2).sum()) == pytest.approx(float((why.scores**2).sum()), rel=1e-12)


def test_totals_of_the_bundled_models_answer(bundled):
    chat = [{"role": "user", "content": "What colour is the sky? Answer in French."}]
    why = attribute(bundled, chat, "La", GradientTimesInput(), contrast="The")
    assert "You are a helpful AI assistant" in why.prompt
    assert "You are" not in "".join(why.totals("message", template=False).tokens)
    assert list(why.role_totals()) == ["user", "template"]
    assert sum(why.role_totals().values()) == pytest.approx(float(why.scores.sum()), abs=1e-12)
    sentences = why.totals("sentence", template=False)
    assert sentences.tokens == ("What colour is the sky?", " Answer in French.")
    assert float(sentences.scores.sum()) == pytest.approx(why.role_totals()["user"], abs=1e-12)
    assert SUM.name == why.reduction
