"""Options in groups: typer sees each, the command gets them together."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Annotated

import typer
from typer.testing import CliRunner

from interpret import cli
from interpret.command.groups import grouped


@dataclass(frozen=True)
class Where:
    city: Annotated[str, typer.Argument(help="Which city.")]
    street: Annotated[str | None, typer.Option("--road", help="Which street.")] = None


@dataclass(frozen=True)
class When:
    hours: Annotated[list[int] | None, typer.Option(help="Which hours.")] = None


def made(seen):
    app = typer.Typer(rich_markup_mode=None, add_completion=False)

    @app.command()
    @grouped
    def visit(where: Where, when: When, fast: Annotated[bool, typer.Option("--fast")] = False) -> None:
        """Go there."""
        seen.append((where, when, fast))

    return app


def test_a_command_gets_its_options_in_groups():
    seen = []
    assert CliRunner().invoke(made(seen), ["Rome", "--hours", "3", "--hours", "4", "--road", "Appia"]).exit_code == 0
    assert CliRunner().invoke(made(seen), ["Rome", "--fast"]).exit_code == 0
    assert seen == [(Where("Rome", "Appia"), When([3, 4]), False), (Where("Rome"), When(), True)]


def test_the_help_names_every_option():
    printed = CliRunner().invoke(made([]), ["--help"]).stdout
    for part in ("Go there.", "Which city.", "--road", "Which street.", "--hours", "Which hours.", "--fast"):
        assert part in printed
    assert CliRunner().invoke(made([]), []).exit_code == 2  # the city is missing


def test_no_function_of_the_command_has_many_parameters():
    for function in vars(cli).values():
        if inspect.isfunction(function) and function.__module__ == "interpret.cli":
            assert len(inspect.signature(inspect.unwrap(function)).parameters) <= 5
