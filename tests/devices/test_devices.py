"""Runs `on_a_device.py` in a process of its own: torch knows a second device for good once it has heard of it."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_everything_on_another_device():
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    environment["QUICK_TESTS"] = "1"  # the same calls execute their annotations on the CPU
    done = subprocess.run(
        [*command, "tests/devices/on_a_device.py"], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert " passed" in done.stdout
