"""Where the command `nexttoken` begins. It stands outside the packages, so that it can say why they refuse to load."""

import sys


def main() -> None:
    """Run the command; beside InterpretML, which has the same import name, say so in one line and end with status 1."""
    try:
        import nexttoken  # noqa: F401  first: `interpret` may be InterpretML's by now
        from interpret.cli import main as command
    except ImportError as error:
        sys.exit(f"error: {error}")
    command()
