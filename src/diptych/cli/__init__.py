"""The command line: names of the commands; each one's module is imported only when it is called for."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Annotated, Any

import typer
import typer.core
import typer.main

__all__ = ["app"]

_COMMANDS = ("index", "search", "train", "evaluate", "bench", "data", "list", "info", "doctor")
_MODULES = {"list": "list_"}


class _Lazy(typer.core.TyperGroup):
    """Finds a command by importing the module of its name."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [name for name in _COMMANDS if _present(name)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in self.list_commands(ctx):
            return None
        module = importlib.import_module(f"diptych.cli.{_MODULES.get(cmd_name, cmd_name)}")
        if hasattr(module, "app"):
            group = typer.main.get_group(module.app)
            group.name = cmd_name
            return group
        single = typer.Typer(add_completion=False, rich_markup_mode=None)
        single.command(cmd_name)(module.command)
        return typer.main.get_command(single)


def _present(name: str) -> bool:
    return importlib.util.find_spec(f"diptych.cli.{_MODULES.get(name, name)}") is not None


app = typer.Typer(cls=_Lazy, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)


def _version(wanted: bool) -> None:
    if wanted:
        from diptych import __version__

        typer.echo(f"diptych {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Find pictures with words and words with pictures.

    First: diptych index FOLDER. Then: diptych search a red car --in FOLDER. With --debug, errors come with
    their traceback.
    """
