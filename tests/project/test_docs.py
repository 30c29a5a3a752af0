"""README and docs say what the code does: their Python runs, their links lead somewhere, their commands exist."""

import json
import re
import shlex
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from typer.testing import CliRunner

import interpret
from interpret.cli import app
from interpret.methods.conventions import table
from interpret.methods.listed import BASELINES, METHODS

ROOT = Path(__file__).parents[2]
DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *DOCS]
GALLERY = ROOT / "docs" / "gallery.md"  # its code is that of docs/gallery.py, which draws it
LINK = re.compile(r"\]\(([^)\s]+)\)")
SHELL = "(?:ba)?sh"
COMMAND = re.compile(r"^(?:\.venv/bin/)?nexttoken (.+?)(?: \| .+)?$", re.M)  # without what it is piped into


def blocks(page, kind):
    return re.findall(rf"```{kind}\n(.*?)```", page.read_text(), re.S)


def with_code(pages, kind):
    """The pages that have such blocks, as parameters; those that ask for the bundled model are marked so."""
    found = []
    for page in pages:
        code = "".join(blocks(page, kind))
        needed = "from_pretrained()" in code if kind == "python" else COMMAND.search(code)
        if code and (needed or kind == "python"):
            marks = [pytest.mark.bundled] if needed else []
            found.append(pytest.param(page, id=str(page.relative_to(ROOT)), marks=marks))
    return found


@pytest.mark.filterwarnings("ignore::interpret.ConvergenceWarning")
@pytest.mark.parametrize("page", with_code([page for page in PAGES if page != GALLERY], "python"))
def test_python_in_the_pages_runs(page, tmp_path, monkeypatch):
    """In order, one block after the other; what they save is there."""
    monkeypatch.chdir(tmp_path)
    known = {"__name__": "page"}
    monkeypatch.setitem(sys.modules, "page", type(sys)("page"))  # where dataclasses look for their names
    for code in blocks(page, "python"):
        exec(compile(code, str(page), "exec"), known)
        for name in re.findall(r"""save(?:fig)?\("([^"]+)"\)""", code):
            assert (tmp_path / name).stat().st_size > 500


@pytest.mark.parametrize("page", with_code(PAGES, SHELL))
def test_commands_in_the_pages_run(page, tmp_path, monkeypatch):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    for block in blocks(page, SHELL):
        for command in COMMAND.findall(block):
            if command.startswith("serve"):  # which runs until it is ended; tests/server does that
                continue
            result = CliRunner().invoke(app, shlex.split(command), env={"COLUMNS": "200"})
            assert result.exit_code == 0, (command, result.output)
            for name in re.findall(r"--(?:save|json) (\S+)", command):
                assert (tmp_path / name).exists()


def anchors(page):
    """The anchors of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.S), re.M)
    names = [re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings]
    return {*names, *re.findall(r"^::: (\S+)$", page.read_text(), re.M)}


def links():
    """Every link of a page or a notebook's prose, and the file it stands in."""
    for page in PAGES:
        yield from ((page, target) for target in LINK.findall(re.sub(r"```.*?```", "", page.read_text(), flags=re.S)))
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = json.loads(path.read_text())["cells"]
        prose = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
        yield from ((path, target) for target in LINK.findall(prose))


@pytest.mark.parametrize(("page", "target"), sorted(set(links())), ids=lambda each: getattr(each, "name", str(each)))
def test_links_lead_somewhere(page, target):
    parts = urlsplit(target)
    if parts.scheme:  # nothing is asked: only their form is looked at
        assert parts.scheme == "https"
        assert re.fullmatch(r"[\w-]+(\.[\w-]+)+", parts.netloc)
        if parts.netloc == "arxiv.org":
            assert re.fullmatch(r"/abs/\d{4}\.\d{4,5}", parts.path)
            assert f"[arXiv:{parts.path.removeprefix('/abs/')}]({target})" in page.read_text()
        return
    file = (page.parent / parts.path).resolve() if parts.path else page
    assert file.exists() or file == ROOT / "docs" / "changelog.md"  # which the site makes from CHANGELOG.md
    if parts.fragment:
        assert parts.fragment in anchors(file)


def test_the_gallery_is_what_its_script_says(monkeypatch):
    """Its text, its code and its pictures; `make gallery` draws them."""
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import gallery

    assert GALLERY.read_text() == gallery.whole()
    images = set(re.findall(r"images/(gallery_\S+\.png)", gallery.whole()))
    assert images == {path.name for path in gallery.IMAGES.glob("gallery_*.png")}
    compile("".join(blocks(GALLERY, "python")), "gallery", "exec")


def test_readme_and_reference_name_every_listed_method():
    readme, reference = (ROOT / "README.md").read_text(), (ROOT / "docs" / "api" / "methods.md").read_text()
    for each in METHODS:
        name = each.load().__name__
        assert f"`{name}(" in readme
        assert f"\n::: interpret.{name}\n" in reference
    for each in (*METHODS, *BASELINES):
        assert f"| `{each.slug}` | `{each.load().__name__}` | {each.help} |" in reference
        assert hasattr(interpret, each.load().__name__)
    assert "`Captum(" in readme
    assert "`convention(" in readme


def test_the_readme_names_every_make_target():
    readme = (ROOT / "README.md").read_text()
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
    images = list((ROOT / "docs").rglob("*.png"))
    for image in images:
        assert image.stat().st_size < 200_000, image
    assert sum(image.stat().st_size for image in images) < 5_000_000
