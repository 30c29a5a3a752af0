"""The tables and the figure of docs/evidence.md."""


def write() -> None: ...
