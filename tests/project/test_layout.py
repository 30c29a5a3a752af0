"""The structure holds: rooms import one way, no circle, short lists; and importing does nothing."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
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
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


# What each room may import, besides itself: imports point downwards only. A room is a folder, or files at the top.
BELOW_METHODS = ("engine", "question", "results", "nexttoken")
ROOMS = {
    "nexttoken": (),
    "results": ("nexttoken",),
    "question": ("results", "nexttoken"),
    "engine": ("question", "results", "nexttoken"),
    "methods": BELOW_METHODS,
    "views": ("results", "nexttoken"),
    "attribution": ("views", "results", "nexttoken"),
    "counterfactual": ("methods", *BELOW_METHODS),
    "explain": ("attribution", "counterfactual", "views", "methods", *BELOW_METHODS),
    "session": ("explain", "attribution", "counterfactual", "views", "methods", *BELOW_METHODS),
    "command": ("session", "explain", "attribution", "counterfactual", "views", "methods", *BELOW_METHODS),
    "explorer": ("session", "explain", "attribution", "counterfactual", "views", "methods", *BELOW_METHODS),
    "corpus": ("explain", "attribution", "views", "methods", *BELOW_METHODS),
    "server": ("session", "explain", "attribution", "counterfactual", "views", "methods", *BELOW_METHODS),
    "cli": (
        "command",
        "corpus",
        "server",
        "session",
        "explain",
        "attribution",
        "counterfactual",
        "views",
        "methods",
        *BELOW_METHODS,
    ),
}
AT_THE_TOP = {
    "attribution": "attribution",
    "cli": "cli",
    "explain": "explain",
    "many": "explain",
    "build": "explain",
    "counterfactuals": "explain",
}
WRAPPED = {  # a library that has one room to itself
    "matplotlib": ("interpret/views/",),
    "transformers": ("nexttoken/huggingface/",),
    "tqdm": ("interpret/engine/progress.py",),
    "sentencex": ("interpret/results/",),
    "markupsafe": ("interpret/views/",),
    "pyarrow": ("interpret/corpus/",),
    "ray": ("interpret/corpus/ray_data.py",),
    "filelock": ("interpret/corpus/state.py",),
    "starlette": ("interpret/server/",),
    "uvicorn": ("interpret/server/serve.py",),
}
MOST_AT_THE_TOP, MOST_PARAMETERS, MOST_FIELDS = 8, 8, 12


def name_of(path):
    """The module that a file is."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module):
    """The room that a module of ours lies in; None for a package as a whole, which imports what is asked of it."""
    package, *rest = module.split(".")
    if package == "nexttoken":
        return "nexttoken"
    return None if not rest else AT_THE_TOP.get(rest[0], rest[0])


MODULES = {name_of(path): path for path in FILES}


def imported(path):
    """The modules of ours that a file imports, at its top or in a function."""
    for module in imports(path):
        while module and module not in MODULES:
            module = module.rpartition(".")[0]
        if module:
            yield module


@pytest.mark.parametrize("path", FILES, ids=str)
def test_imports_point_one_way(path):
    here = room_of(name_of(path))
    for module in imported(path):
        there = room_of(module)
        assert here in (None, there) or there is None or there in ROOMS[here], f"{here} imports {module}"
    for module in imports(path):
        homes = WRAPPED.get(module.split(".")[0])
        assert homes is None or str(path).startswith(homes), f"{path} imports {module}"


def test_the_rooms_are_those_that_are_there():
    assert {room_of(name) for name in MODULES} - {None} == set(ROOMS)


def test_there_are_no_circles():
    """Imports inside functions count; a package as a whole does not: its names are imported when they are used."""
    left = {
        name: {module for module in imported(path) if MODULES[module].name != "__init__.py"} - {name}
        for name, path in MODULES.items()
    }
    while free := [name for name, needs in left.items() if not needs & left.keys()]:
        for name in free:
            del left[name]
    assert sorted(left) == []


def definitions(kind):
    """All definitions of a kind, with where they stand."""
    for path in FILES:
        for node in ast.walk(ast.parse((ROOT / path).read_text())):
            if isinstance(node, kind):
                yield f"{path}:{node.lineno} {node.name}", node


def test_parameter_lists_are_short():
    """At most eight parameters; keyword-only options of public functions do not count."""
    for place, node in definitions((ast.FunctionDef, ast.AsyncFunctionDef)):
        options = node.args.kwonlyargs if node.name.startswith("_") else []
        given = [*node.args.posonlyargs, *node.args.args, *options]
        count = len([each for each in given if each.arg not in ("self", "cls")])
        assert count <= MOST_PARAMETERS, f"{place}: {count}"


def test_classes_have_few_fields():
    """At most twelve; the scores that are handed out have eighteen, of which one holds what there is of each piece."""
    for place, node in definitions(ast.ClassDef):
        fields = [each.target.id for each in node.body if isinstance(each, ast.AnnAssign)]
        if node.name == "Scores":
            assert len(fields) == 19
            assert not {"pieces"} - set(fields)
            assert not {"tokens", "scores", "labels", "fixed", "template"} & set(fields)
        elif node.name != "Question":  # all that can be asked, whoever asks
            assert len(fields) <= MOST_FIELDS, f"{place}: {len(fields)}"


def test_few_files_lie_at_the_top():
    for package in ("nexttoken", "interpret"):
        files = [path for path in FILES if path.parts[:-1] == (package,) and path.name != "__init__.py"]
        assert len(files) <= MOST_AT_THE_TOP


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
    result = subprocess.run(
        [sys.executable, "-c", f"{code.format('nexttoken_command')}; nexttoken_command.main()"],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert result.returncode == 1
    assert result.stderr.startswith("error: nexttoken-interpret and InterpretML (interpret-core) are both installed")
    assert len(result.stderr.splitlines()) == 1
