"""What is handed out: the wheel and the sdist have what belongs in them, and everything says the same version."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CARRIED = {".py", ".pyi", ".css", ".js", ".html", ".svg", ".typed"}
BUILD = "import sys; from setuptools import build_meta; print(getattr(build_meta, sys.argv[1])(sys.argv[2]))"


def tracked(*folders):
    """The files under version control, or those that are there where there is none, as in an unpacked sdist."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *folders],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    if listed.returncode:
        pytest.skip("not a git repository: what belongs to it is not known")
    return {name for name in listed.stdout.splitlines() if (ROOT / name).is_file()}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A wheel and an sdist, built from a copy of what is under version control; no network is asked."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built")
    for name in tracked():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    made = []
    for kind in ("build_sdist", "build_wheel"):
        run = subprocess.run(
            [sys.executable, "-c", BUILD, kind, str(out)], capture_output=True, text=True, cwd=source,
            env=os.environ | {"PYTHONPATH": ""}, check=False,
        )  # fmt: skip
        assert run.returncode == 0, run.stderr
        made.append(out / run.stdout.splitlines()[-1])
    return made


@pytest.fixture(scope="module")
def sdist(built):
    """The sdist's files by name, without its own folder."""
    with tarfile.open(built[0]) as archive:
        return {
            member.name.partition("/")[2]: archive.extractfile(member).read() for member in archive if member.isfile()
        }


@pytest.fixture(scope="module")
def wheel(built):
    with zipfile.ZipFile(built[1]) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.slow
def test_the_wheel_carries_the_packages_and_nothing_else(wheel):
    carried = {name for name in wheel if ".dist-info/" not in name}
    assert carried == tracked("interpret", "nexttoken", "nexttoken_command.py")
    assert {Path(name).suffix for name in carried} == CARRIED
    assert {"interpret/py.typed", "nexttoken/py.typed", "interpret/__init__.pyi", "nexttoken/__init__.pyi"} <= carried


@pytest.mark.slow
def test_the_wheel_says_what_it_is(wheel):
    (info,) = {name.partition("/")[0] for name in wheel if ".dist-info/" in name}
    said = HeaderParser().parsestr(wheel[f"{info}/METADATA"].decode())
    assert (said["Name"], said["Version"]) == ("nexttoken-interpret", PROJECT["version"])
    assert (said["Requires-Python"], said["License-Expression"]) == (">=3.11", "Apache-2.0")
    assert said["Description-Content-Type"] == "text/markdown"
    assert said.get_payload().strip() == (ROOT / "README.md").read_text().strip()
    assert set(said.get_all("Provides-Extra")) >= {"all", "captum", "corpus", "notebook", "page", "pandas"}
    assert wheel[f"{info}/licenses/LICENSE"] == (ROOT / "LICENSE").read_bytes()
    assert "nexttoken = nexttoken_command:main" in wheel[f"{info}/entry_points.txt"].decode()


@pytest.mark.slow
def test_the_sdist_is_the_repository(sdist):
    """Whoever has it can build, test and read everything; only what is about this clone stays behind."""
    made = {"PKG-INFO", "setup.cfg"} | {name for name in sdist if name.startswith("nexttoken_interpret.egg-info/")}
    assert sdist.keys() - made == {name for name in tracked() if not name.startswith((".gitignore", ".ci/"))}
    assert all(sdist[name] == (ROOT / name).read_bytes() for name in sdist.keys() - made)


def test_every_place_says_the_same_version_and_day():
    heading = re.search(r"^## (\S+) \((.+)\)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    cited = dict(re.findall(r"^(version|date-released): (.+)$", (ROOT / "CITATION.cff").read_text(), re.M))
    assert cited == {"version": PROJECT["version"], "date-released": heading[2]}
    assert heading[1] == PROJECT["version"]
    result = subprocess.run(
        [sys.executable, "-c", "import sys; sys.argv[1:] = ['--version']; import nexttoken_command as c; c.main()"],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert result.stdout == f"nexttoken-interpret {PROJECT['version']}\n"


def test_every_python_that_is_named_is_admitted():
    named = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    assert named[0] == PROJECT["requires-python"].removeprefix(">=")
    assert named == [f"3.{minor}" for minor in range(11, 11 + len(named))]


def test_the_extra_all_is_all():
    extras = PROJECT["optional-dependencies"]
    assert extras["all"] == [f"nexttoken-interpret[{','.join(sorted(extras.keys() - {'all', 'dev'}))}]"]


def planned(folder, *pythons):
    """What `make setup` would run where these are found, each new enough or not."""
    for name, enough in pythons:
        (folder / name).write_text(f"#!/bin/sh\nexit {0 if enough else 1}\n")
        (folder / name).chmod(0o755)
    command = [shutil.which("make"), "--dry-run", "--always-make", "setup"]
    return subprocess.run(command, cwd=ROOT, env={"PATH": str(folder)}, capture_output=True, text=True, check=False)


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_takes_the_first_python_that_is_new_enough_and_says_so_where_there_is_none(tmp_path):
    assert planned(tmp_path, ("python3.12", False), ("python3", True)).stdout.startswith("python3 -m venv .venv\n")
    assert planned(tmp_path, ("python3.13", True)).stdout.startswith("python3.13 -m venv .venv\n")
    none = planned(tmp_path, ("python3.13", False), ("python3", False))
    assert none.returncode == 2
    assert "no Python from 3.11 on" in none.stderr
    assert len(none.stderr.splitlines()) == 1
