"""README and docs say what the code does: their Python runs, their links lead somewhere, their commands exist."""

import re
from pathlib import Path

import pytest

import interpret
from interpret.conventions import table

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCKS = [(page, code) for page in PAGES for code in re.findall(r"```python\n(.*?)```", page.read_text(), re.S)]


@pytest.mark.bundled
@pytest.mark.filterwarnings("ignore::interpret.ConvergenceWarning")
@pytest.mark.parametrize(("page", "code"), BLOCKS, ids=[page.name for page, _ in BLOCKS])
def test_python_in_the_pages_runs(page, code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(code, str(page), "exec"), {})
    if "savefig" in code:
        assert (tmp_path / "why.pdf").stat().st_size > 1000


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert target.startswith("https://") or (page.parent / target).exists(), target


def test_the_readme_names_every_method_and_every_make_target():
    readme = (ROOT / "README.md").read_text()
    exported = [getattr(interpret, name) for name in interpret.__all__ if not name.isupper()]
    methods = [each for each in exported if isinstance(each, type) and issubclass(each, interpret.Method)]
    for method in methods:
        if method.__name__ not in ("Method", "LocalMethod", "Convention"):
            assert f"`{method.__name__}(" in readme, method
    makefile = (ROOT / "Makefile").read_text()
    assert (ROOT / re.search(r"python (\w+\.py)", makefile)[1]).exists()
    for target in re.findall(r"make (\w+)`", readme):
        assert f"\n{target}:" in makefile


def test_the_table_of_conventions_is_the_codes():
    page = (ROOT / "docs" / "conventions.md").read_text()
    for row in table().splitlines()[2:]:
        assert row in page


def test_no_number_is_missing():
    for page in PAGES:
        assert not re.search(r"\b(FIXED|GRADS|TABLE)_?\w*", page.read_text()), page
    assert "to 5 %" in (ROOT / "docs" / "certificates.md").read_text()


def test_no_image_is_large():
    for image in (ROOT / "docs").rglob("*.png"):
        assert image.stat().st_size < 200_000, image
