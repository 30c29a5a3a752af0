"""The page as text: its data come back, its policy lets nothing in, and nothing from outside becomes markup."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch

from interpret import Attribution, AttributionMatrix, attribute, page
from interpret.views.cells import escape_invisible
from interpret.views.html import document, html
from interpret.views.scale import NIGHT, colour, luminance
from nexttoken import Message, Target
from tests.results.making import UGLY, changed, grid, made

ATTACKS = [
    "<script>window.attacked = 1</script>",
    '"><img src=x onerror="window.attacked = 1">',
    "' onmouseover='window.attacked = 1",
    "</script><script>window.attacked = 1</script>",
    "</style><style>body { display: none }</style>",
    "</title><base href='https://example.org/'>",
    "<!-- ]]> &lt;b&gt; &#60;",
    "\u202eevil\u2066",
    "\x00\x1b[31m\x85\ud800",
    "{{ 7 * 7 }} ${7 * 7} javascript:alert(1)",
]


def attacked():
    """A result all of whose texts come from someone who means harm."""
    evil = "".join(ATTACKS)
    return changed(
        made(ATTACKS, messages=(Message(f"user{evil}", 0, 5),), fixed=[False, True] * 5, template=[True, False] * 5),
        target=Target(evil, 1, 0.5, 1, foils=(Target(evil + "!", 2, 0.1, 3),)), model=evil, method=evil,
        method_name=evil, quantity=evil,
        unit=evil, by=evil, standard_error=torch.full((len(ATTACKS),), 0.25), versions={evil: evil},
    )  # fmt: skip


class Parsed(HTMLParser):
    """The elements with their attributes, and the text of each kind of element."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.texts, self.open = [], {}, []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self.open.append(tag)

    def handle_endtag(self, tag):
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, text):
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(text)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


ELEMENTS = {
    "html", "head", "meta", "title", "style", "script", "body", "main", "h1", "h2", "section", "p", "div", "span", "br",
    "i", "small", "details", "summary", "table", "caption", "thead", "tbody", "tfoot", "tr", "th", "td",
}  # fmt: skip
ATTRIBUTES = {
    "lang", "charset", "http-equiv", "content", "name", "class", "data-name", "dir", "translate", "role", "aria-label",
    "title", "style", "scope", "colspan", "tabindex", "type", "id",
}  # fmt: skip


@pytest.mark.parametrize("several", [False, True])
def test_nothing_from_outside_becomes_markup(several):
    evil = attacked()
    results = [evil, AttributionMatrix("candidates", (evil, evil))] if several else [evil]
    parsed = Parsed(document(*results))
    assert {tag for tag, _ in parsed.elements} <= ELEMENTS
    assert {name for _, attributes in parsed.elements for name in attributes} <= ATTRIBUTES
    assert [each.get("type") for each in parsed.all("script")] == ["application/json", None]
    assert len(parsed.all("style")) == 1
    assert "display: none }" not in parsed.texts["style"][0]
    shown = "".join(text for tag, texts in parsed.texts.items() if tag not in ("script", "style") for text in texts)
    assert escape_invisible(ATTACKS[0]) in shown
    assert not set("\u202e\u2066\x00\x1b\x85\ud800") & set(document(*results))


def test_a_fragment_from_outside_becomes_no_markup():
    for text in (html(attacked()), AttributionMatrix("candidates", (attacked(),)).html()):
        parsed = Parsed(text)
        assert {tag for tag, _ in parsed.elements} <= ELEMENTS - {"html", "head", "meta", "title", "body", "main"}
        assert len(parsed.all("script")) == len(parsed.all("style")) == 1
        assert not any("id" in attributes for _, attributes in parsed.elements)


def test_the_data_come_back(tiny):
    results = [attribute(tiny, "The keys", 69), attacked(), grid(3, 5)]
    parsed = Parsed(document(*results))
    (text,) = parsed.texts["script"][:1]
    one, other, matrix = json.loads(text)
    assert Attribution.from_dict(one).to_dict() == results[0].to_dict()
    assert Attribution.from_dict(other).model == "".join(ATTACKS)
    assert AttributionMatrix.from_dict(matrix).to_dict() == results[2].to_dict()


def test_the_policy_allows_our_script_and_nothing_else():
    parsed = Parsed(document(made(["a"])))
    (policy,) = [each["content"] for each in parsed.all("meta") if "http-equiv" in each]
    script = parsed.texts["script"][-1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules == {
        "default-src": "'none'", "style-src": "'unsafe-inline'", "script-src": f"'sha256-{digest}'",
        "base-uri": "'none'", "form-action": "'none'",
    }  # fmt: skip


def test_the_document_is_whole():
    text = document(made(["a"]))
    assert text.startswith('<!doctype html>\n<html lang="en"><head><meta charset="utf-8">')
    parsed = Parsed(text)
    assert parsed.texts["title"] == ["Why ' $t_'? p = 0.5, model"]
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in parsed.all("meta")
    assert "http" not in re.sub(r"http-equiv", "", text)


@pytest.mark.parametrize("result", [made(UGLY), grid(4, 7)], ids=["attribution", "matrix"])
def test_a_saved_page_is_the_document(tmp_path, result):
    assert result.save(tmp_path / "why.html").read_text(encoding="utf-8") == document(result)
    assert page([result], tmp_path / "same.html").read_bytes() == (tmp_path / "why.html").read_bytes()
    assert result._repr_html_() == result.html()
    assert "<html" not in result.html()


def test_a_page_needs_results_and_its_ending(tmp_path):
    with pytest.raises(ValueError, match="nothing to show"):
        page([], tmp_path / "why.html")
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match=r"cannot save a page as 'why.pdf': the ending must be .html"):
        page([made(["a"])], tmp_path / "why.pdf")


def names(results):
    """What a page lets its reader choose by."""
    parsed = Parsed(document(*results))
    return [each["data-name"] for each in parsed.all("section")]


def test_names_say_what_differs():
    one = made(["a"])
    method, model = changed(one, method="Other()"), changed(one, model="large")
    assert names([one, method]) == ["Method", "Other"]
    assert names([one, model]) == ["model", "large"]
    assert names([one, one]) == ["1. Method", "2. Method"]
    assert names([one, grid(2, 3)]) == [one.heading, grid(2, 3).heading]
    assert names([method, model]) == ["Other · model", "Method · large"]


def test_the_night_begins_at_the_page_and_shines():
    for signed, sign in ((True, 1), (True, -1), (False, 1)):
        assert colour(0, 1, signed, NIGHT) == NIGHT
        lights = [luminance(colour(sign * step / 20, 1, signed, NIGHT)) for step in range(21)]
        assert lights == sorted(lights)


def test_direction_marks_are_shown_and_harmless_ones_stay():
    assert escape_invisible("a\u202eb\u2069") == "a[U+202E]b[U+2069]"
    assert escape_invisible("\u200f\u0645\u06cc\u200c\u062e") == "\u200f\u0645\u06cc\u200c\u062e"
    assert escape_invisible("\u200b", edge_spaces=True) == "[U+200B]"
    assert escape_invisible("\u200b") == "\u200b"


def test_the_styles_stand_in_one_block():
    """Whatever a result's style says, it says of what is inside a result."""
    style = (Path(__file__).parents[2] / "interpret" / "views" / "why.css").read_text(encoding="utf-8")
    style = re.sub(r"/\*.*?\*/", "", style, flags=re.S).strip()
    depth, ends = 0, []
    for position, character in enumerate(style):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if character == "}" and depth == 0:
            ends.append(position)
    assert style.startswith(".nexttoken-why {")
    assert ends == [len(style) - 1]
