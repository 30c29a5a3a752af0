"""The house holds: rooms import one way, no circle, short lists; and importing does nothing."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("nexttoken", "interpret")
FILES = [path.relative_to(ROOT) for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
TREES = {path: ast.parse((ROOT / path).read_text()) for path in FILES}

# The floors of the house, from the ground up: a room imports from itself and from lower floors. A room is a folder;
# the files at the top of interpret are the entry points, and the command line stands on everything.
FLOORS = (
    ("nexttoken",),
    ("results",),
    ("question",),
    ("engine",),
    ("methods",),
    ("replacement", "views"),
    ("explain",),
    ("session",),
    ("command", "explorer"),
    ("corpus", "notebook", "page", "server"),
    ("cli",),
)
LEVEL = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}
DRAWN = {"views", "results", "nexttoken"}  # all that views may import: they draw plain data
WRAPPED = {  # a library that few rooms import
    "matplotlib": ("interpret/views/",),
    "transformers": ("nexttoken/huggingface/",),
    "tqdm": ("interpret/engine/",),
    "sentencex": ("interpret/results/",),
    "cattrs": ("interpret/results/", "interpret/question/"),
    "markupsafe": ("interpret/views/",),
    "pyarrow": ("interpret/corpus/",),
    "ray": ("interpret/corpus/",),
    "filelock": ("interpret/corpus/",),
    "starlette": ("interpret/server/", "interpret/page/"),
    "uvicorn": ("interpret/server/", "interpret/page/"),
}
MOST_AT_THE_TOP, MOST_PARAMETERS, MOST_FIELDS = 8, 8, 12


def name_of(path):
    """The module that a file is."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in FILES}


def room_of(module):
    """The room that a module of ours lies in; None for a package as a whole, which imports what is asked of it."""
    package, *rest = module.split(".")
    if package == "nexttoken":
        return "nexttoken"
    if not rest:
        return None
    return rest[0] if rest[0] == "cli" or (ROOT / package / rest[0]).is_dir() else "explain"


def is_for_types(node):
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def imports(path, types=True):
    """The modules that a file imports: at its top, in a function and, where `types` says so, for type checking."""
    tree = TREES[path]
    left_out = set() if types else {node for each in filter(is_for_types, ast.walk(tree)) for node in ast.walk(each)}
    for node in set(ast.walk(tree)) - left_out:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported(path):
    """The modules of ours that a file imports."""
    for module in imports(path):
        while module and module not in MODULES:
            module = module.rpartition(".")[0]
        if module:
            yield module


def test_imports_point_one_way():
    for path in FILES:
        here = room_of(name_of(path))
        for there in {room_of(module) for module in imported(path)} - {None, here}:
            assert here is None or LEVEL[there] < LEVEL[here], f"{path} imports {there}"
            assert here != "views" or there in DRAWN, f"{path} imports {there}"
        for module in imports(path, types=False):
            homes = WRAPPED.get(module.split(".")[0])
            assert homes is None or path.as_posix().startswith(homes), f"{path} imports {module}"


def test_there_are_no_circles():
    """A package as a whole does not count: its names are imported when they are used."""
    left = {
        name: {module for module in imported(path) if MODULES[module].name != "__init__.py"} - {name}
        for name, path in MODULES.items()
    }
    while free := [name for name, needs in left.items() if not needs & left.keys()]:
        for name in free:
            del left[name]
    assert sorted(left) == []


def definitions(kind):
    """All definitions of a kind, with the file and where they stand."""
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, kind):
                yield path, f"{path}:{node.lineno} {node.name}", node


def test_parameter_lists_are_short():
    """At most eight; what public functions take by keyword only does not count, since people expect it of them."""
    for _, place, node in definitions((ast.FunctionDef, ast.AsyncFunctionDef)):
        by_keyword = node.args.kwonlyargs if node.name.startswith("_") else []
        given = [*node.args.posonlyargs, *node.args.args, *by_keyword]
        count = len([each for each in given if each.arg not in ("self", "cls")])
        assert count <= MOST_PARAMETERS, f"{place}: {count}"


def test_classes_have_few_fields():
    """At most twelve, but for results, which are records: what is known of a score travels with it."""
    for path, place, node in definitions(ast.ClassDef):
        count = sum(isinstance(each, ast.AnnAssign) for each in node.body)
        is_record = room_of(name_of(path)) == "results" or node.name == "Question"
        assert is_record or count <= MOST_FIELDS, f"{place}: {count}"


def test_few_files_lie_at_the_top():
    for package in PACKAGES:
        files = [path for path in FILES if path.parts[:-1] == (package,) and path.name != "__init__.py"]
        assert len(files) <= MOST_AT_THE_TOP


def test_every_file_says_what_it_is_for():
    for path, tree in TREES.items():
        assert ast.get_docstring(tree), path
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
    for package in PACKAGES:
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
