"""The structure holds: imports point one way, and importing does nothing."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = [path.relative_to(ROOT) for package in ("nexttoken", "interpret") for path in (ROOT / package).rglob("*.py")]


def imports(path):
    """The modules that a file imports, at its top or in a function, but not only for type checking."""
    tree = ast.parse((ROOT / path).read_text())
    guarded = {
        node for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and ast.unparse(branch.test) == "TYPE_CHECKING" for node in ast.walk(branch)
    }  # fmt: skip
    for node in ast.walk(tree):
        if node in guarded:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def allowed(path, module):
    """Whether a file may import a module."""
    stem = path.stem
    if path.parts[0] == "nexttoken" and module.split(".")[0] == "interpret":
        return False
    if module.split(".")[0] == "transformers":
        return path.parent == Path("nexttoken/huggingface")
    if module.split(".")[0] == "matplotlib":
        return path.parent == Path("interpret/views")
    if path.parent == Path("interpret/explorer"):  # it stands on top of everything
        return True
    if module.startswith(("interpret.explain", "interpret.explorer", "interpret.cli")):
        return stem in ("explain", "many", "cli")
    if module.startswith("interpret.views"):
        return "views" in path.parts or stem in ("cli", "attribution", "matrix", "saved")
    if module.startswith("interpret.methods"):
        return "methods" in path.parts or stem in ("explain", "many", "result", "cli", "conventions")
    return True


@pytest.mark.parametrize("path", FILES, ids=str)
def test_imports_point_one_way(path):
    assert [module for module in imports(path) if not allowed(path, module)] == []


@pytest.mark.parametrize("path", FILES, ids=str)
def test_every_room_says_what_it_is_for(path):
    docstring = ast.get_docstring(ast.parse((ROOT / path).read_text()))
    assert docstring
    assert "utils" not in path.stem


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)


@pytest.mark.slow
def test_importing_prints_nothing_asks_no_network_and_loads_no_torch():
    code = (
        "import socket, sys\n"
        "def refuse(*args, **options): raise AssertionError('network')\n"
        "socket.socket.connect = refuse\n"
        "import nexttoken, interpret\n"
        "assert 'torch' not in sys.modules\n"
        "interpret.attribute, interpret.heatmap, nexttoken.NextTokenLM\n"
        "import interpret.cli, nexttoken.huggingface.pretrained"
    )
    result = run(code)
    assert (result.stdout, result.stderr) == ("", "")


def test_public_names_can_be_imported_in_any_order():
    import interpret
    import nexttoken

    for package in (interpret, nexttoken):
        for name in package.__all__:
            assert name.isupper() or getattr(package, name).__module__.startswith(("interpret.", "nexttoken."))
    assert callable(interpret.attribute)
    assert set(interpret.__all__) <= set(dir(interpret))
    with pytest.raises(AttributeError):
        interpret.nothing  # noqa: B018


def test_interpretml_beside_us_is_a_clear_error(tmp_path):
    """A stand-in for InterpretML's distribution, found before anything else."""
    info = tmp_path / "interpret_core-0.7.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: interpret-core\nVersion: 0.7.0\n")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\nimport {{}}"
    for package in ("nexttoken", "interpret"):
        result = subprocess.run(
            [sys.executable, "-c", code.format(package)], capture_output=True, text=True, cwd=ROOT, check=False
        )
        assert result.returncode == 1
        assert "InterpretML (interpret-core) are both installed" in result.stderr
