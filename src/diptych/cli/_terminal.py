"""The way of all that the command line writes, so that no name and no caption commands the terminal.

Standard output has the results, standard error what is said of them.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import typer

from diptych.printable import printable, printable_json

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

__all__ = ["say", "say_json", "say_table", "shown", "typed_lines"]


def say(*lines: object, err: bool = False) -> None:
    """Write lines; what would break one, or would not show, is made visible.

    Args:
        lines: Each is one line, whatever it holds.
        err: On standard error.
    """
    typer.echo("\n".join(map(printable, lines)), err=err)


def typed_lines() -> Iterator[str]:
    """Lines of standard input that are not blank; at a terminal Ctrl-C gives up a line, Ctrl-D ends."""
    prompt = "> " if sys.stdin.isatty() else ""
    with contextlib.suppress(ImportError):  # Windows has its own editing of lines
        import readline  # noqa: F401  # arrows and earlier lines
    while True:
        try:
            line = input(prompt).strip()
        except EOFError:
            return
        except KeyboardInterrupt:
            say("", err=True)
            continue
        if line:
            yield line


def say_json(what: Any, *, indent: int | None = 2) -> None:
    r"""Write JSON, readable in any language; what would not show is escaped as JSON has it (``\u009b``)."""
    typer.echo(printable_json(json.dumps(what, indent=indent, ensure_ascii=False)))


def shown(text: object, style: str = "") -> Text:
    """A cell of a table: what would break it, or would not show, is made visible, and nothing is markup."""
    from rich.text import Text

    return Text(printable(text), style=style)


def say_table(table: Table) -> None:
    """Write a table: fitted to the terminal, or for other programs a line a row, however long."""
    from rich.console import Console

    if sys.stdout.isatty():
        Console(highlight=False).print(table)
        return
    console = Console(width=10_000, highlight=False)
    with console.capture() as captured:
        console.print(table)
    typer.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))
