"""The site: it builds without a warning, knows every public name, and asks no network, neither built nor read."""

import inspect
import re
import subprocess
import sys
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

import interpret
import nexttoken
from tests import chromium

ROOT = Path(__file__).parents[2]
TIMEOUT, A_MOMENT = 30, 500  # times, and milliseconds
LOADS = {
    "href": ("link",),
    "src": ("script", "img", "iframe", "source", "video", "audio", "embed"),
    "data": ("object",),
}
STILL = ("canonical", "next", "prev", "author", "license")  # links that only name a page

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site. A socket that is opened while it is built is an error."""
    folder = tmp_path_factory.mktemp("site")
    code = (
        "import socket, sys\n"
        "def refuse(*args, **options): raise AssertionError('network')\n"
        "socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse\n"
        "from mkdocs.__main__ import cli\n"
        f"cli(['build', '--strict', '--quiet', '--site-dir', {str(folder)!r}])"
    )
    built = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return folder


class Loaded(HTMLParser):
    """What a page loads by itself, and the anchors it has."""

    def __init__(self, page):
        super().__init__()
        self.found, self.anchors = [], set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.anchors.add(attributes.get("id"))
        for name, tags in LOADS.items():
            if tag in tags and name in attributes and attributes.get("rel") not in STILL:
                self.found.append(attributes[name])
        self.found += re.findall(r"url\(([^)]*)\)", attributes.get("style") or "")


def pages(site):
    found = sorted(site.rglob("*.html"))
    assert len(found) > 20
    return found


def test_no_page_loads_anything_from_elsewhere(site):
    for page in pages(site):
        for loaded in Loaded(page).found:
            assert not re.match(r"(\w+:)?//", loaded), (page, loaded)
            file = re.sub(r"[?#].*", "", loaded)  # 404.html stands anywhere, so it names files from the root on
            assert (site / file[1:] if file.startswith("/") else page.parent / file).exists(), (page, loaded)
    for style in site.rglob("*.css"):
        assert not re.search(r"@import|url\(\s*['\"]?(\w+:)?//", style.read_text(encoding="utf-8")), style


@pytest.mark.parametrize("package", [nexttoken, interpret], ids=lambda package: package.__name__)
def test_the_reference_has_every_public_name(site, package):
    anchors = set().union(*(Loaded(page).anchors for page in (site / "api").glob("*.html")))
    assert {f"{package.__name__}.{name}" for name in package.__all__} - anchors == set()


def test_formulas_are_shown_as_they_are_written(site):
    """Nothing of them is taken for emphasis."""
    text = unescape(re.sub(r"<[^>]+>", "", (site / "api" / "methods.html").read_text(encoding="utf-8")))
    public = [getattr(interpret, name) for name in interpret.__all__]
    methods = [each for each in public if isinstance(each, type) and issubclass(each, interpret.Method)]
    lines = [line for method in methods for line in inspect.getdoc(method).splitlines()]
    formulas = [line for line in lines if re.match(r"\w+ = .*_", line)]
    assert len(formulas) >= 7
    for formula in formulas:
        assert formula in text


@chromium.needed
def test_a_reader_finds_what_is_searched_without_a_server_or_a_network(site):
    from playwright.sync_api import sync_playwright

    asked, said = [], []
    with sync_playwright() as playwright:
        browser = chromium.launched(playwright)
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto((site / "index.html").as_uri())
        links = page.locator(".md-search-result__link")
        for _ in range(TIMEOUT):  # what is typed before the index has been read is lost: a reader types again
            page.locator("input[name=query]").fill("")
            page.locator("input[name=query]").press_sequentially("certified")
            page.wait_for_timeout(A_MOMENT)
            if links.count():
                break
        links.first.wait_for()
        found = [link.get_attribute("href") for link in page.locator(".md-search-result__link").all()]
        for each in ("reading.html", "api/methods.html", "gallery.html"):
            page.goto((site / each).as_uri())
        browser.close()
    assert any("certificates.html" in link for link in found)
    assert [url for url in asked if not url.startswith(("file:", "data:", "about:", "blob:"))] == []
    assert said == []
