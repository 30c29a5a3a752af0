"""What the site has besides the pages in docs/: the notebooks and the changelog, made into pages when it is built."""

import json
import re
from pathlib import Path

from markdown import Extension
from mkdocs.structure.files import File

ROOT = Path(__file__).parent.parent
NOTEBOOK = re.compile(r"\]\((?:\.\./(?=notebooks/))?([\w/]+)\.ipynb\)")


class Underscores(Extension):
    """An underscore is an underscore, as formulas in docstrings need it; emphasis is written with stars."""

    def extendMarkdown(self, md):  # noqa: N802  Markdown's own name
        """Take the rule out."""
        md.delimiters.remove("_")


def on_config(config):
    """Read the pages and the docstrings with this."""
    config.markdown_extensions.append(Underscores())
    return config


def on_files(files, config):
    """Add a page for each notebook, and the changelog."""
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=as_page(path)))
    files.append(File.generated(config, "changelog.md", content=(ROOT / "CHANGELOG.md").read_text()))
    return files


def on_page_markdown(markdown, page, config, files):
    """Lead links to notebooks to their pages; in the repository they lead to the files."""
    return NOTEBOOK.sub(r"](\1.md)", markdown)


def as_page(path):
    """A notebook as Markdown: its prose, its code, and where to find it."""
    cells = [
        "".join(cell["source"]) if cell["cell_type"] == "markdown" else f"```python\n{''.join(cell['source'])}\n```"
        for cell in json.loads(path.read_text())["cells"]
    ]
    note = f"*This is `notebooks/{path.name}` of the repository; what it draws stands in the [gallery](../gallery.md).*"
    return "\n\n".join([cells[0], note, *cells[1:]])
