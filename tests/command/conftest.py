"""A tiny model on disk, which the command's tests load once."""

import pytest

from nexttoken import NextTokenLM
from tests.conftest import gpt2


@pytest.fixture(scope="session")
def folder(tmp_path_factory, tokenizer):
    """A tiny model on disk."""
    path = tmp_path_factory.mktemp("tiny-gpt2")
    gpt2().save_pretrained(path)
    tokenizer.save_pretrained(path)
    return str(path)


@pytest.fixture(scope="session")
def lm(folder):
    """The same, as the command loads it."""
    return NextTokenLM.from_pretrained(folder)


@pytest.fixture(autouse=True)
def loaded(request, monkeypatch):
    """Commands ask the model that is loaded already, but for the tests that run them end to end."""
    if "folder" not in request.fixturenames or request.node.get_closest_marker("slow"):
        return
    folder, lm, load = request.getfixturevalue("folder"), request.getfixturevalue("lm"), NextTokenLM.from_pretrained

    def from_pretrained(model=None, *given, **options):
        return lm if model == folder else load(model, *given, **options)

    monkeypatch.setattr(NextTokenLM, "from_pretrained", from_pretrained)
