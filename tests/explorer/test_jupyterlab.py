"""The explorer in a real JupyterLab, driven in a headless browser: type, click, see the scores change, save."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from html import unescape
from importlib.util import find_spec
from pathlib import Path
from urllib.request import urlopen

import nbformat
import pytest
import torch

from interpret import Attribution
from nexttoken import NextTokenLM
from tests import chromium
from tests.conftest import gpt2, trained_tokenizer

ROOT = Path(__file__).parent.parent.parent
TOKEN = "a-token-for-the-test"  # of a server that only this machine can reach, for a minute
TIMEOUT = 120  # seconds, on a busy machine
QUIET = {  # settings of JupyterLab under which it asks nobody for anything
    "notification": {"checkForUpdates": False, "fetchNews": "false", "doNotDisturbMode": True},
}
TINY = """
from interpret import explore
from nexttoken import NextTokenLM
from tests import chromium
from tests.conftest import gpt2, trained_tokenizer

lm = NextTokenLM.from_pretrained(gpt2(), trained_tokenizer())
explorer = explore(lm, "The keys to the cabinet")
explorer
"""


@contextmanager
def jupyterlab(folder, code, **settings):
    """A JupyterLab that serves a notebook with one cell; gives the notebook's address, and ends the server."""
    root = folder / "notebooks"
    root.mkdir()
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    cell = nbformat.v4.new_code_cell(code.strip())
    nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata=kernel), root / "why.ipynb")
    for name, values in {**QUIET, **settings}.items():
        path = folder / "settings" / "@jupyterlab" / "apputils-extension" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    places = {name: str(folder / name.lower()) for name in (
        "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "JUPYTERLAB_WORKSPACES_DIR",
    )}  # fmt: skip
    places |= {"JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"), "PYTHONPATH": str(ROOT)}
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0", f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={root}",
        "--ServerApp.allow_root=True", "--LabApp.extension_manager=readonly",
        "--LabServerApp.blocked_extensions_uris=", "--LabApp.news_url=",
    ]  # fmt: skip
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(command, env={**os.environ, **places}, stdout=log, stderr=log, cwd=folder)
        try:
            address = f"http://127.0.0.1:{port}"
            wait_for(f"{address}/api?token={TOKEN}", server, folder / "log")
            yield f"{address}/doc/tree/why.ipynb?token={TOKEN}"
        finally:
            server.terminate()  # it ends its kernels first
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def wait_for(address, server, log):
    """Wait until a server answers; an error that shows its log if it ends or does not."""
    end = time.monotonic() + TIMEOUT
    while time.monotonic() < end and server.poll() is None:
        try:
            urlopen(address, timeout=5).close()
            return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"JupyterLab does not answer:\n{log.read_text()}")


@contextmanager
def opened(address, width=1200, height=900):
    """The notebook in a browser, its cell run."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = chromium.launched(playwright)
        try:
            page = browser.new_page(viewport={"width": width, "height": height})
            page.set_default_timeout(1000 * TIMEOUT)
            page.goto(address)
            run_cell(page)
            yield page
        finally:
            browser.close()


def run_cell(page):
    """Run the first cell until the explorer shows; an error that shows the page's text if it does not.

    A page that is still being built swallows the keys, so the cell is run again as long as it has not begun; and
    widgets that arrive before the page knows how to draw them stay undrawn, so then the page is loaded again.
    """
    from playwright.sync_api import TimeoutError as TooLate

    cell = page.locator(".jp-CodeCell").first
    for patience in (TIMEOUT / 3, TIMEOUT / 3, TIMEOUT):
        try:
            page.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]').wait_for(state="attached")
            for _ in range(10):
                cell.locator(".cm-content").click()
                page.keyboard.press("Shift+Enter")
                begun = cell.locator(".jp-InputPrompt", has_text=re.compile(r"\[(\*|\d+)\]"))
                try:
                    begun.first.wait_for(state="attached", timeout=5000)
                    break
                except TooLate:
                    continue
            page.locator(".nexttoken-explorer").wait_for(timeout=1000 * patience)
            return
        except TooLate:
            seen = page.locator("body").inner_text()
            page.reload()
    raise RuntimeError(f"the explorer does not show; the page says:\n{seen}")


def press(explorer):
    """Press the first next token that has no role yet; gives the token as it stands on its button."""
    button = explorer.locator("button", has_text=re.compile(r"^'")).first
    token = re.match("'.*'", button.inner_text())[0]
    button.click()
    return token


@pytest.mark.slow
@chromium.needed
@pytest.mark.skipif(find_spec("jupyterlab") is None, reason="jupyterlab is not installed")
def test_the_explorer_is_driven_in_jupyterlab(tmp_path):
    from playwright.sync_api import expect

    expect.set_options(timeout=1000 * TIMEOUT)
    with jupyterlab(tmp_path, TINY) as address, opened(address) as page:
        problems = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        explorer = page.locator(".nexttoken-explorer")
        title, text = explorer.locator(".nexttoken-map .title"), explorer.locator(".nexttoken-map .text")
        expect(text).to_have_text("The keys to the cabinet")
        prompt = explorer.locator("textarea")
        prompt.fill("")
        expect(explorer.get_by_role("alert")).to_have_text("the prompt is empty; give at least one character")
        expect(text).to_have_count(0)
        prompt.press_sequentially("The cats near the dog", delay=20)
        expect(text).to_have_text("The cats near the dog")

        explorer.get_by_placeholder("another token").press_sequentially(" are")
        page.keyboard.press("Enter")
        expect(title).to_contain_text("Why ' are'? p = ")

        target = press(explorer)
        expect(title).to_contain_text(f"Why {target}? p = ")
        explorer.get_by_role("button", name="foil").click()
        foil = press(explorer)
        expect(title).to_contain_text(f"rather than {foil}? p = ")
        expect(explorer.locator("button", has_text="✓ '")).to_contain_text([target])
        expect(explorer.locator("button", has_text="≠ '")).to_contain_text([foil])

        file = explorer.get_by_placeholder("where to save it")
        file.fill("why.json")
        file.press("Tab")  # to the button beside it, by the keyboard
        page.keyboard.press("Space")
        expect(explorer.get_by_text("saved why.json")).to_be_visible()
        made = Attribution.load(tmp_path / "notebooks" / "why.json")
        assert made.prompt == "The cats near the dog"
        assert [repr(made.target.text), *(repr(each.text) for each in made.target.foils)] == [target, foil]
        shown = explorer.locator(".nexttoken-map .piece").evaluate_all("pieces => pieces.map(piece => piece.title)")
        pieces = re.findall(r'class="piece[^"]*" title="([^"]*)"', made.html())
        assert shown == [unescape(piece) for piece in pieces]  # every score

        explorer.get_by_role("button", name="show me the code").click()
        code = explorer.locator("pre")
        expect(code).to_contain_text("contrast=")
        known = {"lm": NextTokenLM.from_pretrained(gpt2(), trained_tokenizer())}
        exec(code.inner_text(), known)
        torch.testing.assert_close(known["why"].scores, made.scores, rtol=0, atol=1e-12)
        assert problems == []
