"""The browser that pages are opened in: Debian's chromium, which asks nobody for anything by itself."""

import shutil

import pytest

PATH = shutil.which("chromium")
OPTIONS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
needed = pytest.mark.browser
missing = pytest.mark.skipif(
    PATH is None, reason="chromium is not installed, so no page was opened; on Debian: apt-get install chromium"
)


def launched(playwright):
    """A browser, to be closed."""
    return playwright.chromium.launch(executable_path=PATH, args=OPTIONS)
