"""The page in a real browser: read, explored, chosen from, copied and printed, without a request or a complaint."""

import numpy
import pytest
import torch
from playwright.sync_api import expect, sync_playwright

from interpret import AttributionMatrix, page
from interpret.views.cells import escape_invisible
from interpret.views.html import html, shades
from interpret.views.scale import FIXED, NIGHT, WHITE, colour, contrast, fixed_colour, to_hex
from nexttoken import Message, Target
from tests import chromium
from tests.results.making import UGLY, changed, grid, made
from tests.views.test_page import ATTACKS, attacked

SCREEN, PHONE = {"width": 1000, "height": 700}, {"width": 375, "height": 700}
AA = 4.5  # WCAG 2.1, level AA: the least contrast of text
pytestmark = chromium.needed

# The contrast's two colours for every element with text of its own: ink, and the first opaque background behind it.
INKS = """() => {
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || !element.checkVisibility() || ["SCRIPT", "STYLE", "OPTION"].includes(element.tagName)) continue;
    let behind = element;
    while (behind && rgb(getComputedStyle(behind).backgroundColor)[3] === 0) behind = behind.parentElement;
    const paper = behind ? getComputedStyle(behind).backgroundColor : "rgb(255, 255, 255)";
    found.push([element.textContent, rgb(getComputedStyle(element).color), rgb(paper)]);
  }
  return found;
}"""


@pytest.fixture(scope="module")
def browser():
    """One browser for all that is opened here."""
    with sync_playwright() as playwright:
        browser = chromium.launched(playwright)
        yield browser
        browser.close()


@pytest.fixture
def show(browser, tmp_path):
    """Open results, or a text of HTML, as a file. In the end nothing was asked for and nothing complained about."""
    complaints, requests, contexts, opened = [], [], [], []

    def show(*results, viewport=SCREEN, **settings):
        path = tmp_path / f"{len(opened)}.html"
        if isinstance(results[0], str):
            path.write_text(results[0], encoding="utf-8")
        else:
            page(results, path)
        opened.append(path.as_uri())
        contexts.append(browser.new_context(viewport=viewport, **settings))
        window = contexts[-1].new_page()
        window.set_default_timeout(10_000)
        window.on("console", lambda message: complaints.append(message.text))
        window.on("pageerror", lambda error: complaints.append(str(error)))
        window.on("request", lambda request: requests.append(request.url))
        window.goto(opened[-1])
        return window

    yield show
    for context in contexts:
        context.close()
    assert complaints == []
    assert requests == opened


def computed(locator, name):
    return locator.evaluate_all(f"(all) => all.map((each) => getComputedStyle(each).{name})")


def rgb(shade):
    return "rgb({}, {}, {})".format(*(round(255 * part) for part in shade))


@pytest.mark.parametrize("script", [True, False])
def test_everything_can_be_read_with_and_without_a_script(show, script):
    result = changed(
        made(["<s>", "The", " keys", "\n", "\tare"], [0, 0.5, -1, 0.02, 0.25], fixed=[True] + [False] * 4,
             template=[True] + [False] * 4, messages=(Message("user", 3, 10),)),
        standard_error=torch.tensor([0, 0.1, 0.2, 0.3, 0.4], dtype=torch.float64),
    )  # fmt: skip
    window = show(result, java_script_enabled=script)
    text = window.locator(".text")
    assert text.text_content() == "<s>The keys↵⇥are"
    assert text.inner_text().splitlines()[:2] == ["<s>The keys↵", "⇥are"]
    backgrounds = [rgb(FIXED), *(rgb(colour(score, 1, True)) for score in (0.5, -1, 0.02, 0.25))]
    assert computed(text.locator(".piece"), "backgroundColor") == backgrounds
    lines = ["none", "solid", "dotted", "none", "solid"]
    assert computed(text.locator(".piece"), "borderBottomStyle") == lines
    assert window.get_by_role("heading", level=1).text_content() == "Why ' $t_'? p = 0.5, model"
    expect(window.get_by_text("Method", exact=True)).to_be_visible()
    for words in ("−1.00", "+1.00 nats", "solid line: raises it", "hatched: fixed, no score", "pale italics: written"):
        expect(window.locator(".legend")).to_contain_text(words)
    table = window.get_by_role("table")
    expect(table).to_be_hidden()
    window.get_by_text("Scores as a table").click()
    expect(table).to_be_visible()
    assert table.get_by_role("columnheader").all_inner_texts() == [
        "piece", "role", "ids", "score in nats", "standard error", "share of all magnitudes", "note",
    ]  # fmt: skip
    rows = [
        [cell.strip() for cell in row.locator("th, td").all_inner_texts()] for row in table.locator("tbody tr").all()
    ]
    assert rows == [
        ["<s>", "template", "0", "", "", "", "fixed, template"],
        ["The", "user", "1", "+0.50", "0.10", "28.2 %", ""],
        ["keys", "user", "2", "−1.00", "0.20", "56.5 %", ""],
        ["↵", "template", "3", "+0.02", "0.30", "1.1 %", ""],
        ["⇥are", "template", "4", "+0.25", "0.40", "14.1 %", ""],
    ]
    assert table.locator("tfoot").inner_text().split() == ["sum", "−0.23"]
    assert window.get_by_role("rowheader").count() == 6
    expect(table.locator("caption")).to_contain_text("The score of each piece. Why ' $t_'?")
    assert window.locator("button, select").count() == (1 if script else 0)
    titles = window.locator(".piece[title]")
    assert titles.count() == (0 if script else 5)
    if not script:
        assert (
            titles.nth(2).get_attribute("title")
            == "−1.00 nats; 56.5 % of all magnitudes; standard error 0.20 nats; id 2"
        )


def test_the_mouse_and_the_keyboard_tell_the_facts_of_a_piece(show):
    result = changed(
        made(["The", " keys", " to", " the", " door"], [0.5, -1, 0.25, 0.25, 2]),
        standard_error=torch.full((5,), 0.125), token_ids=((1,), (2, 22), (3,), (4,), (5,)),
    )  # fmt: skip
    window = show(result, viewport=PHONE)
    panel, pieces = window.locator(".panel"), window.locator(".piece")
    hint = panel.inner_text()
    assert "arrow keys" in hint
    height = panel.bounding_box()["height"]

    def told():
        return [*panel.locator("b").all_inner_texts(), *panel.locator("span").all_inner_texts()]

    pieces.nth(1).hover()
    assert told() == ["' keys'", "−1.00 nats", "25.0 % of all magnitudes", "standard error 0.12 nats", "ids 2 22"]
    assert panel.bounding_box()["height"] == height
    window.mouse.move(5, 5)
    assert panel.inner_text() == hint
    window.keyboard.press("Tab")
    assert told()[:2] == ["'The'", "+0.50 nats"]
    focused = window.locator(":focus")
    for key, name in (
        ("ArrowRight", "' keys'"), ("ArrowRight", "' to'"), ("ArrowLeft", "' keys'"), ("End", "' door'"),
        ("ArrowRight", "' door'"), ("Home", "'The'"), ("ArrowLeft", "'The'"),
    ):  # fmt: skip
        window.keyboard.press(key)
        assert told()[0] == name
        assert focused.get_attribute("aria-selected") == "true"
        assert window.locator(".piece[tabindex='0']").count() == 1
        assert window.locator(".piece[aria-selected='true']").count() == 1
    pieces.nth(2).hover()
    assert told()[0] == "' to'"
    window.mouse.move(5, 5)
    assert told()[0] == "'The'"
    window.keyboard.press("Tab")
    assert panel.inner_text() == hint
    window.keyboard.press("Shift+Tab")
    assert told()[0] == "'The'"
    window.keyboard.press("Escape")
    assert panel.inner_text() == hint
    pieces.nth(4).click()
    assert told()[0] == "' door'"


def test_arrow_keys_go_along_lines_and_between_them(show):
    words = [f" word{number}" for number in range(24)]
    window = show(made(words), viewport=PHONE)
    boxes = [each.bounding_box() for each in window.locator(".piece").all()]
    in_first = [box for box in boxes if abs(box["y"] - boxes[0]["y"]) < 5]
    window.locator(".piece").nth(1).click()
    window.keyboard.press("ArrowDown")
    below = window.locator(":focus").bounding_box()
    assert below["y"] > boxes[0]["y"]
    assert abs(below["x"] - boxes[1]["x"]) < boxes[1]["width"]
    assert window.locator(":focus").inner_text() == words[len(in_first) + 1].strip()
    window.keyboard.press("ArrowUp")
    assert window.locator(":focus").inner_text() == "word1"
    window.keyboard.press("ArrowUp")
    assert window.locator(":focus").inner_text() == "word1"


def test_left_is_onward_where_text_runs_to_the_left(show):
    window = show(made(["مفاتيح", " الخزانة", " من"]))
    text = window.locator(".text")
    first, last = (text.locator(".piece").nth(position).bounding_box() for position in (0, 2))
    assert first["x"] > last["x"]
    window.keyboard.press("Tab")
    window.keyboard.press("ArrowLeft")
    assert window.locator(":focus").inner_text() == "الخزانة"
    window.keyboard.press("ArrowRight")
    assert window.locator(":focus").inner_text() == "مفاتيح"


def test_those_who_listen_hear_what_the_colours_say(show):
    window = show(made(["The", " keys"], [0.5, -1]))
    box = window.get_by_role("listbox", name="The prompt in 2 pieces, each with its score in nats")
    option = box.get_by_role("option", name="keys")
    described = option.get_attribute("aria-describedby")
    option.focus()
    assert window.locator(f"[id='{described}']").inner_text().split("\n")[0].startswith("' keys'")
    assert window.locator("html").get_attribute("lang") == "en"
    assert box.get_attribute("lang") == ""
    silent = show(made(["The", " keys"]), java_script_enabled=False)
    expect(silent.get_by_role("group", name="The prompt in 2 pieces, each with its score in nats")).to_be_visible()


def test_one_of_several_methods_is_chosen(show):
    one = made(["The", " keys"], [0.5, -1])
    other = changed(made(["The", " keys"], [3, 1], signed=False), method="VanillaGradient(norm=2)")
    window = show(one, other)
    shown = window.locator("section:visible .facts")
    select = window.get_by_label("Show")
    assert select.locator("option").all_inner_texts() == [
        "Method",
        "VanillaGradient",
        "all, below each other",
    ]
    assert shown.all_inner_texts() == ["Method"]
    select.select_option("VanillaGradient")
    assert shown.all_inner_texts() == ["VanillaGradient"]
    window.locator("section:visible .piece").first.hover()
    assert "3.00 nats" in window.locator("section:visible .panel").inner_text()
    select.select_option("all, below each other")
    assert shown.count() == 2
    silent = show(one, other, java_script_enabled=False)
    assert silent.locator("section:visible").count() == 2
    assert silent.get_by_role("heading", level=2).count() == 2


def test_methods_stand_under_what_they_explain(show):
    one = made(["The", " keys"], [0.5, -1])
    other = changed(one, target=Target(" is", 2, 0.25, 2))
    results = [each for title in (one, other) for each in (title, changed(title, method="Other()"))]
    window = show(*results)
    select = window.get_by_label("Show")
    groups = select.locator("optgroup")
    assert groups.evaluate_all("(all) => all.map((each) => each.label)") == [one.heading, other.heading]
    assert [each.locator("option").all_inner_texts() for each in groups.all()] == [["Method", "Other"]] * 2
    select.select_option(value="2")
    assert window.locator("section:visible .title").all_inner_texts() == [other.heading]
    assert window.locator("section:visible .facts").all_inner_texts() == ["Method"]


def test_a_target_is_chosen_in_a_matrix(show):
    matrix = grid(3, 5)
    window = show(matrix)
    table, text = window.locator("table.matrix"), window.locator(".text")
    limit = float(numpy.nanmax(abs(matrix.scores)))
    for row, each in enumerate(matrix):
        button = table.get_by_role("button").nth(row)
        button.click()
        assert [each.get_attribute("aria-pressed") for each in table.get_by_role("button").all()] == [
            str(position == row).lower() for position in range(3)
        ]
        assert text.text_content() == "".join(each.labels)
        shown = [rgb(colour(score, limit, True)) for score in each.scores.tolist()]
        assert computed(text.locator(".piece"), "backgroundColor") == shown
        cells = table.locator("tbody tr").nth(row).locator("td")
        assert cells.count() == 5
        assert computed(cells.locator("xpath=self::td[contains(@class, 'cell')]"), "backgroundColor") == shown
    text.locator(".piece").nth(1).hover()
    said = window.locator(".panel").inner_text()
    assert said.startswith("' w1'")
    assert f"{float(matrix[2].scores[1]):+.2f} nats".replace("-", "−") in said
    table.locator("td.cell").first.click()
    window.keyboard.press("ArrowDown")
    window.keyboard.press("ArrowRight")
    assert window.locator(".panel b").inner_text() == "' w1' → ' $t_'"
    assert f"{float(matrix[1].scores[1]):+.2f} nats".replace("-", "−") in window.locator(".panel").inner_text()
    silent = show(matrix, java_script_enabled=False)
    assert silent.locator("td.cell[title]").count() == 12
    assert silent.locator("td.unseen").count() == 3
    expect(silent.locator("caption")).to_contain_text("scores in nats")


def test_labels_of_a_large_matrix_stay_in_sight(show):
    window = show(grid(30, 40), viewport=PHONE)
    scroll = window.locator(".scroll")
    scroll.evaluate("(each) => each.scrollTo(900, 500)")
    frame = scroll.bounding_box()
    head = window.locator("thead th").nth(20).bounding_box()
    row = window.locator("tbody th").nth(20).bounding_box()
    assert abs(head["y"] - frame["y"]) < 2
    assert abs(row["x"] - frame["x"]) < 2
    assert frame["height"] < PHONE["height"]


def test_copied_text_can_be_pasted_into_a_table(show):
    result = made(["The", "\tkeys"], [0.5, -1])
    window = show(result, permissions=["clipboard-read", "clipboard-write"])
    window.get_by_role("button", name="Copy as text").click()
    expect(window.get_by_role("status")).to_have_text("Copied.")
    lines = window.evaluate("navigator.clipboard.readText()").replace("\r\n", "\n").split("\n")
    assert lines == [
        "Why ' $t_'? p = 0.5, model", "Method", "",
        "piece\tids\tscore in nats\tshare of all magnitudes",
        "The\t0\t+0.50\t33.3 %", "⇥keys\t1\t-1.00\t66.7 %", "sum\t\t-0.50\t", "",
    ]  # fmt: skip
    window = show(grid(2, 3), permissions=["clipboard-read", "clipboard-write"])
    window.get_by_role("button", name="Copy as text").click()
    lines = window.evaluate("navigator.clipboard.readText()").splitlines()
    assert lines[3] == "target\t w0\t w1\t w2"
    assert [line.count("\t") for line in lines[3:]] == [3, 3, 3]


def test_nothing_from_outside_runs_or_shows_as_markup(show):
    evil = attacked()
    for window in (
        show(evil, AttributionMatrix("candidates", (evil, evil))),
        show(f"<!doctype html><title>a notebook</title>{html(evil)}{AttributionMatrix('candidates', (evil,)).html()}"),
    ):
        for piece in window.locator("section:visible .piece").all()[:4]:
            piece.hover()
        assert window.evaluate("window.attacked") is None
        assert window.locator("img, base, a, iframe, b > *, .panel script").count() == 0
        assert "".join(map(escape_invisible, ATTACKS)) == window.locator(".text").first.text_content()
        assert window.evaluate("getComputedStyle(document.body).display") == "block"


def test_the_policy_refuses_what_is_brought_in_later(browser, tmp_path):
    """Even if something did come through: no script of its own, no style from elsewhere, no request."""
    with browser.new_context() as context:
        window = context.new_page()
        answered = []
        window.on("response", lambda response: answered.append(response.url))
        window.goto(page([made(["a"])], tmp_path / "why.html").as_uri())
        window.evaluate(
            """() => {
              const script = document.createElement("script");
              script.textContent = "window.attacked = 1";
              document.body.append(script);
              const image = Object.assign(new Image(), { src: 'https://example.org/x.png' });
              image.setAttribute('onerror', 'window.attacked = 2');
              document.body.append(image);
            }"""
        )
        failed = window.evaluate("() => fetch('https://example.org/').then(() => false, () => true)")
        assert failed
        assert window.evaluate("window.attacked") is None
        assert answered == [window.url]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("signed", [True, False])
def test_every_text_is_readable_on_every_colour(show, scheme, signed):
    """WCAG AA: for the whole scale, for pieces of the template and fixed ones, and for all that stands around them."""
    scores = [step / 50 for step in range(-50 if signed else 0, 51)] * 2 + [0.0, 0.0]
    half = len(scores) // 2 - 1
    template = [False] * half + [True] * half + [False, True]
    fixed = [False] * 2 * half + [True, True]
    result = made([f" w{position}" for position in range(len(scores))], scores, signed, fixed, template=template)
    assert [position for position, score in enumerate(scores[:half]) if abs(score) == 1]
    window = show(result, color_scheme=scheme)
    window.get_by_text("Scores as a table").click()
    window.locator(".piece").nth(3).hover()
    found = window.evaluate(INKS)
    assert len(found) > 2 * len(scores)
    for text, ink, paper in found:
        assert len(ink) == len(paper) == 3, text
        ratio = contrast(tuple(part / 255 for part in ink), tuple(part / 255 for part in paper))
        assert ratio >= AA, (text, ink, paper, ratio)
    paper = NIGHT if scheme == "dark" else WHITE
    backgrounds = [colour(score, 1, signed, paper) for score in scores[:-2]] + [fixed_colour(paper)] * 2
    assert computed(window.locator(".piece"), "backgroundColor") == [rgb(each) for each in backgrounds]


def test_a_matrix_is_readable_by_night(show):
    window = show(grid(4, 30), color_scheme="dark")
    window.locator("td.cell").first.hover()
    for text, ink, paper in window.evaluate(INKS):
        assert contrast(tuple(part / 255 for part in ink), tuple(part / 255 for part in paper)) >= AA, text


def test_it_prints_by_day_and_without_controls(show):
    result = made(["The", " keys"], [0.5, -1])
    window = show(result, result, color_scheme="dark")
    window.emulate_media(media="print", color_scheme="dark")
    for hidden in (".panel", ".tools", ".choose", "summary"):
        assert window.locator(f"{hidden}:visible").count() == 0
    shades_shown = computed(window.locator("section:visible .piece"), "backgroundColor")
    assert shades_shown == [rgb(colour(score, 1, True)) for score in (0.5, -1)]
    assert set(computed(window.locator("section:visible .piece"), "printColorAdjust")) == {"exact"}
    assert (
        window.locator("section:visible .title").evaluate("(each) => getComputedStyle(each).color") == "rgb(27, 27, 29)"
    )
    assert (
        computed(window.locator("tfoot"), "display") == ["table-row-group"] * 2
    )  # a group of its own, not each sheet's
    assert window.pdf(format="A4").startswith(b"%PDF")


def test_nothing_is_wider_than_a_phone(show):
    endless = made(["x" * 300, " keys", *UGLY])
    window = show(endless, grid(12, 40), changed(endless, method="M" * 200), viewport=PHONE)
    window.get_by_label("Show").select_option("all, below each other")
    for summary in window.locator("summary").all():
        summary.click()
    assert window.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


HOST = """<!doctype html><html><head><title>a notebook</title></head><body data-jp-theme-light="{light}">
<h1>Host</h1><p class="text legend facts">before</p><table class="matrix"><tr><th>a<td class="cell fixed">b</table>
<button class="tools">run</button>{outputs}</body></html>"""
LOOKS = """() => [...document.querySelectorAll("body > *:not(.nexttoken-why), body > table *")].map((each) => {
  const look = getComputedStyle(each);
  return [each.tagName, look.color, look.backgroundColor, look.font, look.padding, look.border, look.position];
})"""


def test_several_outputs_share_a_notebook(show):
    """Its own elements look as before, no id is there twice, and every output works for itself, in its theme too."""
    one, other = made(["The", " keys"], [0.5, -1]), made(["A", " dog"], [1, 0.5])
    outputs = one.html() + other.html() + one.html() + grid(2, 3).html()
    alone, window = (show(HOST.format(light="true", outputs=each)) for each in ("", outputs))
    assert window.evaluate(LOOKS) == alone.evaluate(LOOKS)
    ids = window.evaluate("[...document.querySelectorAll('[id]')].map((each) => each.id)")
    assert len(set(ids)) == len(ids) == 4
    texts, panels = window.locator(".text[role=listbox]"), window.locator(".panel")
    for position, words in ((0, "' keys'"), (1, "' dog'"), (2, "' keys'")):
        texts.nth(position).locator(".piece").nth(1).hover()
        assert [words in panel.inner_text() for panel in panels.all()] == [number == position for number in range(4)]
    assert window.locator("section .tools button").count() == 4
    dark = show(HOST.format(light="false", outputs=one.html()), color_scheme="light")
    assert computed(dark.locator("section"), "backgroundColor") == ["rgb(22, 25, 30)"]
    light = show(HOST.format(light="true", outputs=one.html()), color_scheme="dark")
    assert computed(light.locator("section"), "backgroundColor") == ["rgb(255, 255, 255)"]


def test_an_output_without_its_script_and_style_keeps_its_colours(show):
    """What is left of it in a notebook that is not trusted."""
    text = html(made(["The", " keys"], [0.5, -1]))
    bare = text[: text.index("<style>")] + text[text.index("</style>") + 8 : text.index("<script>")] + "</div>"
    window = show(f"<!doctype html><title>a notebook</title>{bare}")
    pieces = window.locator(".piece")
    assert computed(pieces, "backgroundColor") == [rgb(colour(score, 1, True)) for score in (0.5, -1)]
    assert window.locator(".text").text_content() == "The keys"
    assert "+0.50 nats" in pieces.first.get_attribute("title")


def test_older_browsers_find_the_colours_of_the_day_first():
    style = shades(colour(1, 1, True), colour(1, 1, True, NIGHT))
    plain, both = style.split(";background-color:light-dark(")
    day, night = to_hex(colour(1, 1, True)), to_hex(colour(1, 1, True, NIGHT))
    assert plain == f"background-color:{day};color:#ffffff"
    assert both == f"{day},{night});color:light-dark(#ffffff,#000000)"
