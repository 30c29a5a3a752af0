"""Hostile inputs, some of those that `make fuzz` tries, without the checks of annotations that tests have."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_hostile_inputs_are_answered_or_refused():
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.fuzz", "--examples", "300", "--kills", "4"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
