"""The page as a person uses it, in a headless browser: typed, clicked, by keyboard, in the dark and on a phone."""

import base64
import json
import re
from importlib.util import find_spec

import pytest

from interpret import Attribution, attribute, flip, reduce_input, replacements
from nexttoken import NextTokenLM
from tests import chromium
from tests.conftest import gpt2, trained_tokenizer
from tests.server.running import page as running

TIMEOUT = 60_000  # milliseconds, on a busy machine
PROMPT = "The keys to the cabinet"
pytestmark = [
    pytest.mark.slow, chromium.needed,
    pytest.mark.skipif(find_spec("playwright") is None, reason="playwright is not installed, so no page was opened"),
]  # fmt: skip


@pytest.fixture(scope="module")
def lm():
    return NextTokenLM.from_pretrained(gpt2(), trained_tokenizer())


@pytest.fixture(scope="module")
def address(lm):
    with running(lm) as (_, found, _):
        yield found


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=TIMEOUT)
    with sync_playwright() as playwright:
        found = chromium.launched(playwright)
        yield found
        found.close()


@pytest.fixture
def page(browser, address):
    """The page with a short prompt and its first map; at the end, nothing went wrong and no other host was asked."""
    context = browser.new_context(viewport={"width": 1200, "height": 900}, accept_downloads=True)
    made, problems, asked = context.new_page(), [], []
    made.set_default_timeout(TIMEOUT)
    made.on("pageerror", lambda error: problems.append(str(error)))
    made.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    made.on("request", lambda request: asked.append(request.url))
    made.goto(address)
    made.get_by_label("The text that the next token follows").fill(PROMPT)
    expect(made.locator("#size")).to_have_text(re.compile(r"^\d+ tokens$"))
    expect(pieces(made)).to_have_text(PROMPT)
    yield made
    context.close()
    assert [each for each in problems if "Failed to load resource" not in each] == []
    assert all(each.startswith((address, "blob:")) for each in asked)


def expect(locator):
    from playwright.sync_api import expect

    return expect(locator)


def pieces(page, place=0):
    return page.locator("#maps .text").nth(place)


def title(page, place=0):
    return page.locator("#maps h3").nth(place)


def checked(page):
    expect(page.locator("#maps .check").first).to_be_visible()


def test_what_is_typed_is_explained_while_one_types(page, lm):
    prompt = page.get_by_label("The text that the next token follows")
    prompt.fill("")
    expect(page.get_by_role("alert").first).to_have_text("the prompt is empty; give at least one character")
    prompt.press_sequentially("The cats near the dog", delay=15)
    expect(pieces(page)).to_have_text("The cats near the dog")
    checked(page)
    why = attribute(lm, "The cats near the dog")
    expect(title(page)).to_contain_text(repr(why.target.text))
    shown = page.locator("#maps .piece").evaluate_all("all => all.map(each => each.title.split(';')[0])")
    assert len(shown) == len(why)
    tokens = page.locator("#candidates button")
    expect(tokens).to_have_count(10)
    assert tokens.first.get_attribute("data-id") == str(lm.predict("The cats near the dog", 1)[0].id)


def test_targets_and_foils_are_chosen_by_a_click_and_undone(page):
    second, third = (page.locator("#candidates button").nth(place) for place in (1, 2))
    ids = second.get_attribute("data-id"), third.get_attribute("data-id")
    second.click()
    chosen = page.locator(f'#candidates button[data-id="{ids[0]}"]')
    expect(chosen).to_have_attribute("data-role", "target")
    page.get_by_label("contrast with it").check()
    page.locator(f'#candidates button[data-id="{ids[1]}"]').click()
    expect(title(page)).to_contain_text("rather than")
    expect(page.locator(f'#candidates button[data-id="{ids[1]}"]')).to_have_attribute("data-role", "foil")
    page.get_by_role("button", name="Back to the first choice").click()
    expect(title(page)).not_to_contain_text("rather than")
    page.get_by_label("append it").check()
    page.locator("#candidates button").nth(2).click()
    expect(page.locator("#prompt")).not_to_have_value(PROMPT)
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#prompt")).to_have_value(PROMPT)
    expect(pieces(page)).to_have_text(PROMPT)


def test_another_token_is_written_or_refused_in_words(page):
    field = page.get_by_role("textbox", name="Another token")
    field.fill(" cats and dogs")
    field.press("Enter")
    expect(page.locator("#other-answer [role=alert]")).to_contain_text("tokens after this prompt")
    field.fill(" dog")
    field.press("Enter")
    expect(title(page)).to_contain_text("' dog'")
    expect(field).to_have_value("")


def test_methods_stand_side_by_side_with_their_settings(page):
    page.get_by_role("button", name="Compare with another method").click()
    expect(page.locator("#maps article")).to_have_count(2)
    checked(page)  # the first goes on with its check while the second begins
    page.locator("#maps select").nth(1).select_option("idgi")
    page.get_by_label("steps").fill("6")
    page.get_by_label("steps").press("Enter")
    expect(page.locator("#maps article").nth(1)).to_contain_text("IDGI")
    expect(page.locator("#maps article").nth(1)).to_contain_text("6 gradients")
    page.get_by_label("steps").fill("some")
    page.get_by_label("steps").press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("it must be a whole number")
    page.get_by_role("button", name="Remove map 2").click()
    expect(page.locator("#maps article")).to_have_count(1)


def test_totals_and_the_strongest_pieces(page):
    checked(page)
    count = page.locator("#maps .piece").count()
    slider = page.get_by_role("slider")
    slider.fill("1")
    expect(page.locator("#strongest-shown")).to_have_text(f"1 of {count}")
    expect(page.locator("#maps .piece.weak")).to_have_count(count - 1)
    slider.fill(str(count))
    expect(page.locator("#maps .piece.weak")).to_have_count(0)
    page.get_by_label("Scores by").select_option("word")
    expect(page.locator("#maps .piece")).to_have_count(5)
    page.get_by_label("Scores by").select_option("message")
    expect(page.get_by_role("alert")).to_contain_text("not a chat")


def test_the_pieces_are_walked_along_with_the_keys(page, lm):
    why = attribute(lm, PROMPT)
    checked(page)
    pieces(page).focus()
    for place in range(3):
        page.keyboard.press("ArrowRight")
        expect(page.locator("#maps .looked-at b")).to_have_text(why.labels[place])
    page.keyboard.press("End")
    expect(page.locator("#maps .looked-at b")).to_have_text(why.labels[-1])
    page.get_by_role("tab", name="Why").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Continuation")).to_be_focused()
    expect(page.get_by_role("tabpanel", name="Continuation")).to_be_visible()


def test_a_continuation_shows_the_reasons_of_a_clicked_word(page):
    page.get_by_role("tab", name="Continuation").click()
    page.get_by_role("spinbutton", name="Tokens").fill("4")
    page.get_by_role("button", name="Explain every token").click()
    tokens = page.get_by_role("group", name="The continuation").get_by_role("button")
    expect(tokens).to_have_count(4)
    expect(page.locator("#continuation-answer h3")).to_be_visible()
    first = page.locator("#continuation-answer .piece").count()
    tokens.nth(3).click()
    expect(tokens.nth(3)).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#continuation-answer .piece")).to_have_count(first + 3)


def test_a_flip_and_a_reduction(page, lm):
    page.get_by_role("tab", name="Flip").click()
    page.locator("#aim").select_option("foil")
    page.locator("#flip").get_by_role("button", name="Find it").click()
    expect(page.get_by_role("alert")).to_contain_text("choose a foil first")
    page.locator("#aim").select_option("any")
    page.locator("#flip").get_by_role("button", name="Find it").click()
    expected = flip(lm, PROMPT)
    expect(page.locator("#flip-answer h3")).to_have_text(expected.sentence)
    expect(page.locator("#flip-answer ins").first).to_have_text(expected.edits[0].new.strip())
    page.get_by_role("button", name="Go on with this prompt").click()
    expect(page.locator("#prompt")).to_have_value(expected.prompt)
    expect(pieces(page)).to_have_text(expected.prompt)
    page.get_by_role("tab", name="Reduce").click()
    page.locator("#reduce").get_by_role("button", name="Find it").click()
    expect(page.locator("#reduce-answer h3")).to_be_visible()


def test_two_prompts_are_asked_about_the_same_token(page):
    page.get_by_role("tab", name="Two prompts").click()
    page.get_by_label("A second prompt").fill("The cats near the dog")
    page.get_by_role("button", name="Compare the two").click()
    titles = page.locator("#two-answer h3")
    expect(titles).to_have_count(2)
    texts = titles.all_inner_texts()
    assert len({text.partition("? p")[0] for text in texts}) == 1


def test_a_link_brings_everything_back(page, browser, address):
    page.locator("#candidates button").nth(1).click()
    expect(title(page)).to_contain_text("rank 2")
    page.get_by_label("Scores by").select_option("word")
    page.get_by_role("button", name="Compare with another method").click()
    expect(page.locator("#maps .check")).to_have_count(2)
    words = title(page).inner_text()
    other = browser.new_page()
    other.set_default_timeout(TIMEOUT)
    other.goto(page.url)
    expect(other.locator("#maps .check")).to_have_count(2)
    expect(title(other)).to_have_text(words)
    expect(other.locator("#prompt")).to_have_value(PROMPT)
    expect(other.get_by_label("Scores by")).to_have_value("word")
    for broken in ("s=nothing", "s=bnVsbA", "s=eyJwcm9tcHQiOjF9", "s="):
        other.goto("about:blank")
        other.goto(f"{address}#{broken}")
        expect(title(other)).to_be_visible()
    other.close()


def test_a_link_of_an_older_version_still_opens(page, browser, address, lm):
    """The state as 0.2.0 wrote it, with the defaults of its methods and a foil."""
    target, foil = ({"id": each.id, "text": each.text} for each in lm.predict(PROMPT, 2))
    state = {
        "mode": "text", "prompt": PROMPT, "messages": [{"role": "user", "content": "are we?"}], "target": target,
        "foils": [foil], "methods": [{"name": "", "settings": {}}, {"name": "idgi", "settings": {"steps": "3"}}],
        "by": "word", "tab": "why", "second": "",
    }  # fmt: skip
    link = base64.urlsafe_b64encode(json.dumps(state).encode()).decode().rstrip("=")
    other = browser.new_page()
    other.set_default_timeout(TIMEOUT)
    other.goto(f"{address}#s={link}")
    expect(other.locator("#maps .check")).to_have_count(2)
    expect(title(other)).to_contain_text(f"rather than {foil['text']!r}")
    other.close()


def test_results_are_saved_as_files(page, lm, tmp_path):
    checked(page)
    for ending in ("PNG", "PDF", "HTML", "JSON"):
        with page.expect_download() as download:
            page.get_by_role("button", name=f"Save as {ending}").click()
        download.value.save_as(tmp_path / f"why.{ending.lower()}")
    assert (tmp_path / "why.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "why.pdf").read_bytes().startswith(b"%PDF")
    loaded = Attribution.load(tmp_path / "why.json")
    assert loaded.scores.tolist() == pytest.approx(attribute(lm, PROMPT).scores.tolist())
    page.get_by_text("The Python that gives the same").click()
    known = {"lm": lm}
    exec(page.locator("#maps pre").inner_text(), known)
    assert known["why"].prompt == PROMPT


def test_nothing_that_a_prompt_contains_is_markup(page):
    page.locator("#prompt").fill('<img src=x onerror="document.title=1"> <b>&amp;</b> \u202e\n"')
    expect(page.locator("#maps .piece").first).to_have_text("<")
    checked(page)
    assert page.locator("main img").count() == 0
    assert page.locator("#maps b").count() <= 1  # ours, of the piece that is looked at
    assert page.title() == "Why that word?"
    assert "[U+202E]" in pieces(page).inner_text()


def test_a_chat_is_asked_by_its_messages(page):
    page.get_by_label("chat", exact=True).check()
    expect(page.get_by_role("textbox", name="Message 1")).to_be_visible()
    page.get_by_role("textbox", name="Message 1").fill("be short")
    page.get_by_role("textbox", name="Message 2").fill("the cats are")
    expect(pieces(page)).to_contain_text("short<|end|>")
    expect(page.locator("#maps .piece.template").first).to_be_visible()
    page.get_by_label("Scores by").select_option("message")
    expect(page.locator("#maps .piece:not(.template)")).to_have_count(2)
    page.get_by_role("button", name="Add a message").click()
    expect(page.get_by_role("textbox", name="Message 3")).to_be_focused()
    page.get_by_role("button", name="Remove message 3").click()
    expect(page.get_by_role("textbox", name="Message 3")).to_have_count(0)


def test_a_second_tab_waits_its_turn_and_says_so(page, browser, address):
    page.get_by_role("button", name="Compare with another method").click()
    page.locator("#maps select").nth(1).select_option("smoothgrad")
    page.get_by_label("samples").fill("200000")
    page.get_by_label("samples").press("Enter")
    expect(page.locator("#maps article").nth(1).get_by_text("passes done")).to_be_visible()
    other = browser.new_page()
    other.set_default_timeout(TIMEOUT)
    other.goto(address)
    expect(other.get_by_text("waiting: one question comes first")).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#maps article").nth(1).get_by_text("cancelled")).to_be_visible()
    expect(title(other)).to_be_visible()
    other.close()


def test_who_closes_the_tab_cancels_the_work(browser, lm):
    with running(lm) as (client, address, worker):
        one = browser.new_page()
        one.goto(address)
        expect(one.locator("#maps .check")).to_be_visible()
        one.locator("#maps select").first.select_option("smoothgrad")
        one.get_by_label("samples").fill("200000")
        one.get_by_label("samples").press("Enter")
        expect(one.get_by_text("passes done")).to_be_visible()
        one.close()
        assert client.last("predict", prompt=PROMPT)["candidates"]
        assert worker.wait(20)


@pytest.mark.parametrize(("scheme", "width"), [("light", 1200), ("dark", 1200), ("light", 390), ("dark", 390)])
def test_everybody_can_use_it(page, scheme, width):
    """No violation that axe finds, on every tab, and nothing to be scrolled from side to side."""
    from axe_playwright_python.sync_playwright import Axe

    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 844})
    checked(page)
    for tab in ("Why", "Continuation", "Flip", "Reduce", "Two prompts"):
        page.get_by_role("tab", name=tab).click()
        panel = page.get_by_role("tabpanel", name=tab)
        if tab not in ("Why", "Two prompts"):
            panel.locator("form button").last.click()
            expect(panel.locator("h3").first).to_be_visible()
        for summary in panel.locator("summary").all():
            summary.click()
        expect(page.locator(".stale")).to_have_count(0)  # what is being made anew is pale meanwhile
        found = Axe().run(page).response["violations"]
        assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in found] == [], tab
        wide = page.evaluate("() => [document.documentElement.scrollWidth, innerWidth]")
        assert wide[0] <= wide[1], tab


def test_a_long_prompt_stays_usable(browser):
    lm = NextTokenLM.from_pretrained(gpt2_of(4096), trained_tokenizer())
    with running(lm) as (_, address, _):
        page = browser.new_page()
        page.set_default_timeout(TIMEOUT)
        page.goto(address)
        expect(page.locator("#maps .check")).to_be_visible()
        page.locator("#prompt").fill("the cats are near the dog and " * 290)
        expect(page.locator("#size")).to_have_text(re.compile(r"^[234]\d\d\d tokens$"))
        expect(page.get_by_text("a long prompt: its map is made when you ask for it")).to_be_visible()
        page.get_by_role("button", name="Explain this long prompt").click()
        count = int(page.locator("#size").inner_text().split()[0])
        expect(page.locator("#maps .piece")).to_have_count(count)
        page.get_by_label("Scores by").select_option("word")
        expect(page.locator("#maps .piece")).to_have_count(290 * 7 + 1)
        page.close()


def gpt2_of(length):
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=400, n_positions=length, n_embd=16, n_layer=1, n_head=2)
    return transformers.GPT2LMHeadModel(config).eval()


def test_a_server_that_ends_is_said(browser, lm):
    with running(lm) as (_, address, _):
        page = browser.new_page()
        page.set_default_timeout(TIMEOUT)
        page.goto(address)
        expect(page.locator("#maps .check")).to_be_visible()
    page.locator("#prompt").fill("The cats")
    expect(page.get_by_role("alert").first).to_contain_text("the server does not answer")
    page.close()


def test_counterfactuals_as_files_are_whole_pages(browser, lm, tmp_path):
    """Opened from the folder: no script fails, nothing asks for what is not there, axe finds nothing."""
    from axe_playwright_python.sync_playwright import Axe

    for result in (flip(lm, PROMPT), reduce_input(lm, PROMPT), replacements(lm, PROMPT, "to", 4)):
        page, problems = browser.new_page(), []
        page.on("pageerror", lambda error: problems.append(str(error)))  # noqa: B023
        page.goto(result.save(tmp_path / f"{type(result).__name__}.html").as_uri())
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        expect(page.get_by_role("button", name="Copy as text")).to_be_visible()
        assert page.get_by_text("Point at a piece").count() == 0
        assert [each["id"] for each in Axe().run(page).response["violations"]] == []
        assert problems == []
        page.close()
