"""Threads that another process interrupts: what is said, when, and how often."""

import resource
import warnings
from types import SimpleNamespace

import pytest
import torch

from interpret import BusyMachineWarning, VanillaGradient, attribute
from interpret.engine import threads as contention
from interpret.engine.threads import watched

pytestmark = pytest.mark.filterwarnings("default::interpret.BusyMachineWarning")


@pytest.fixture
def machine(monkeypatch):
    """A machine of two threads, whose seconds and interruptions a test sets."""
    now = SimpleNamespace(seconds=0.0, interruptions=0)
    monkeypatch.setattr(contention, "_SAID", set())
    monkeypatch.setattr(contention, "time", SimpleNamespace(perf_counter=lambda: now.seconds))
    monkeypatch.setattr(resource, "getrusage", lambda who: SimpleNamespace(ru_nivcsw=now.interruptions))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    return now


def step(machine, seconds, interruptions):
    with watched():
        machine.seconds += seconds
        machine.interruptions += interruptions


def test_it_is_said_once(machine):
    said = r"took 19 s, in which 2 threads .* interrupted 258 times a second.*OMP_WAIT_POLICY=PASSIVE"
    with pytest.warns(BusyMachineWarning, match=said):
        step(machine, 19.0, 4900)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        step(machine, 19.0, 4900)


@pytest.mark.parametrize(
    ("seconds", "interruptions"), [(19.0, 200), (0.5, 300), (1.9, 10_000)], ids=["quiet", "short", "not yet long"]
)
def test_otherwise_nothing_is_said(machine, recwarn, seconds, interruptions):
    step(machine, seconds, interruptions)
    assert not recwarn


@pytest.mark.parametrize("policy", ["passive", "PASSIVE"])
def test_not_where_threads_sleep_while_they_wait(machine, recwarn, monkeypatch, policy):
    monkeypatch.setenv("OMP_WAIT_POLICY", policy)
    step(machine, 19.0, 4900)
    assert not recwarn


def test_not_of_one_thread(machine, recwarn, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    step(machine, 19.0, 4900)
    assert not recwarn


def test_a_map_is_watched(machine, tiny32, monkeypatch):
    own = type(tiny32).next_tokens

    def slowly(self, *args, **options):
        machine.seconds, machine.interruptions = machine.seconds + 5, machine.interruptions + 5000
        return own(self, *args, **options)

    monkeypatch.setattr(type(tiny32), "next_tokens", slowly)
    with pytest.warns(BusyMachineWarning):
        attribute(tiny32, "The keys", None, VanillaGradient())
