"""The explorer in a real JupyterLab, driven in a headless browser: type, click, see the scores change, save."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import nbformat

ROOT = Path(__file__).parent.parent
CHROMIUM = shutil.which("chromium")
BROWSER_OPTIONS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
TOKEN = "a-token-for-the-test"  # of a server that only this machine can reach, for a minute
PATIENCE = 120  # seconds, on a busy machine
QUIET = {  # settings of JupyterLab under which it asks nobody for anything
    "notification": {"checkForUpdates": False, "fetchNews": "false", "doNotDisturbMode": True},
}
TINY = """
from interpret import explore
from nexttoken import NextTokenLM
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
    end = time.monotonic() + PATIENCE
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
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=BROWSER_OPTIONS)
        try:
            page = browser.new_page(viewport={"width": width, "height": height})
            page.set_default_timeout(1000 * PATIENCE)
            page.goto(address)
            page.locator(".jp-CodeCell .cm-content").first.click()
            page.keyboard.press("Shift+Enter")
            try:
                page.locator(".nexttoken-explorer").wait_for()
            except Exception:
                page.screenshot(path="/tmp/xfail.png")
                print(page.locator(".jp-OutputArea").all_inner_texts())
                raise
            yield page
        finally:
            browser.close()
