"""The command line: names of the commands; each one's module is imported only when it is called for."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from typing import Annotated, Any

import typer
import typer.core
import typer.main

from diptych.printable import printable

__all__ = ["app"]

# What `diptych --help` says of each, so that it imports none of them.
_COMMANDS = {
    "index": "Take pictures and texts into a collection, or bring it up to date.",
    "search": "Find pictures with words or pictures, and words with pictures (--to text).",
    "chat": "Find a picture in a dialogue: describe it, and answer what the system asks.",
    "illustrate": "Put pictures of a collection into a text, each behind the paragraph that it illustrates.",
    "models": "List the models of a collection, make one the default, or drop one.",
    "export": "Write vectors, codes and what they are of, for other programs and for evaluate.",
    "caption": "Say in an English sentence what pictures show.",
    "duplicates": "List files of the same content, and nearly the same pictures, in groups.",
    "copy": "Copy a collection with all its vectors into another home, and check what arrived.",
    "remove": "Forget pictures and texts, and keep them out until they are indexed by name.",
    "serve": "Search collections in a browser, from programs and from other machines.",
    "train": "Train a system and evaluate it in both directions.",
    "evaluate": "Measure a system, vectors or scores in both directions; save numbers and rankings.",
    "bench": "Fill a result table and write it as Markdown, JSON and HTML.",
    "data": "List data sets, say where to get them, record where their files are, and check them.",
    "list": "List systems, feature extractors, data sets, indexes, homes or language-model adapters.",
    "info": "Say what a collection holds, which model made it, and which files could not be read.",
    "doctor": "Say what is installed, which models are there, where things are, and what is wrong.",
}
_MODULES = {"list": "list_"}


_WrongUsage: Any = typer.BadParameter.__base__  # what a parser raises, wherever Typer keeps it


@contextlib.contextmanager
def _one_sentence() -> Iterator[None]:
    """A block whose errors of usage are told as every other error is, and say where the options stand.

    Raises:
        UsageError: what was typed does not parse.
    """
    try:
        yield
    except _WrongUsage as error:
        if error.ctx is not None and error.message == error.ctx.get_help():
            raise  # nothing was typed: that is the help itself
        from diptych.errors import UsageError

        said = printable(error.format_message()).rstrip(".")
        names: list[str] = []
        at = error.ctx
        while at is not None and at.parent is not None:
            names, at = [at.info_name, *names], at.parent
        command = " ".join(["diptych", *names, "--help"])
        raise UsageError(f"{said[0].lower()}{said[1:]}; see {command}") from error


class _Once(typer.core.TyperCommand):
    """A command that takes no option twice, unless it gathers its values: the last would win unnoticed.

    An option whose value stands in brackets in the help may go without: the value is then empty.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        bare = {name for one in self.params for name in one.opts if str(one.metavar or "").startswith("[")}
        for at in range(len(args) - 1, -1, -1):
            if args[at] in bare and (at + 1 == len(args) or args[at + 1].startswith("-")):
                args = [*args[: at + 1], "", *args[at + 1 :]]
        order = self.make_parser(ctx).parse_args(args=list(args))[2]
        for option in dict.fromkeys(order):
            times = order.count(option)
            if times > 1 and not getattr(option, "is_flag", True) and not option.multiple:
                from diptych.errors import UsageError

                raise UsageError(f"{max(option.opts, key=len)} takes one value, and was given {times} times")
        return super().parse_args(ctx, args)


class _Lazy(typer.core.TyperGroup):
    """Finds a command by importing the module of its name."""

    def make_context(self, *given: Any, **more: Any) -> Any:
        with _one_sentence():
            return super().make_context(*given, **more)

    def invoke(self, ctx: Any) -> Any:
        with _one_sentence():
            return super().invoke(ctx)

    def list_commands(self, ctx: Any) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"diptych.cli.{_MODULES.get(cmd_name, cmd_name)}")
        if hasattr(module, "app"):
            for command in module.app.registered_commands:
                command.cls = _Once
                command.short_help = (command.callback.__doc__ or "").partition("\n")[0]  # never cut short
            group = typer.main.get_group(module.app)
            group.name = cmd_name
            return group
        single = typer.Typer(add_completion=False, rich_markup_mode=None)
        single.command(cmd_name, cls=_Once)(module.command)
        return typer.main.get_command(single)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


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
