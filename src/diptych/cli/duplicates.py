"""``diptych duplicates``: list copies among the pictures of a collection."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from diptych.cli._options import AsJson, Trust
from diptych.cli._progress import progress
from diptych.cli._terminal import say, say_json, say_table, shown

if TYPE_CHECKING:
    from diptych.engine.duplicates import Copy, Duplicates

__all__ = ["command"]


def command(
    place: Annotated[
        str,
        typer.Argument(
            metavar="FOLDER", help="Indexed folder, or one inside it, or an address.", show_default=False
        ),
    ] = ".",
    threshold: Annotated[
        float | None,
        typer.Option(
            help="Likeness, at most 1, from which pictures are nearly the same; default 0.8.",
            show_default=False,
        ),
    ] = None,
    exact: Annotated[bool, typer.Option("--exact", help="Only files of the same content.")] = False,
    paths: Annotated[
        bool,
        typer.Option("--paths", help="Print paths only, for other programs; an empty line ends a group."),
    ] = False,
    null: Annotated[bool, typer.Option("-0", "--null", help="With --paths: end names with NUL.")] = False,
    as_json: AsJson = False,
    trust: Trust = False,
) -> None:
    """List files of the same content, and nearly the same pictures, in groups.

    The largest file of a group comes first. Nothing is changed. The exit code is 1 where there are none.
    """
    from diptych.engine import collection as engine
    from diptych.engine.looks import ALIKE
    from diptych.errors import UsageError

    if exact and threshold is not None:
        raise UsageError(
            f"--exact compares content only, so --threshold {threshold:g} says nothing; give either"
        )
    least = None if exact else ALIKE if threshold is None else threshold
    with engine.open(place, create=False, trust=trust) as opened, progress("comparing") as told:
        found = opened.duplicates(threshold=least, on_progress=told)
        facts = {"folder": str(opened.folder), "model": opened.model, **found.as_dict()}
    if as_json:
        say_json(facts)
    elif paths:
        _print_paths(found, b"\0" if null else b"\n")
    else:
        _print_groups(found)
    _note(found)
    if not found.exact and not found.near:
        raise typer.Exit(1)


def _print_paths(found: Duplicates, end: bytes) -> None:
    # Bytes, so that a name in any encoding reaches the next program as it is.
    for group in (*found.exact, *found.near):
        sys.stdout.buffer.write(b"".join(os.fsencode(one.path) + end for one in group) + end)
    sys.stdout.buffer.flush()


def _print_groups(found: Duplicates) -> None:
    from rich.table import Table

    for what, groups in (("the same content", found.exact), ("nearly the same", found.near)):
        for group in groups:
            table = Table(box=None, pad_edge=False, show_header=False)
            table.add_column(justify="right", no_wrap=True)
            table.add_column(no_wrap=True)
            table.add_column(overflow="fold")
            for one in group:
                likeness = f"{one.likeness:.2f}" if groups is found.near else ""
                table.add_row(_bytes(one), shown(likeness, "dim"), shown(one.id))
            say(what)
            say_table(table)
            say("")


def _bytes(one: Copy) -> str:
    return f"{one.bytes / 1000:,.0f} kB"


def _note(found: Duplicates) -> None:
    from diptych.media.report import counted

    more = sum(len(group) - 1 for group in found.exact)
    near = sum(len(group) - 1 for group in found.near)
    alike = "" if found.threshold is None else f" and {near:,} nearly the same as another"
    say(
        f"among {counted(found.pictures, 'pictures')}, {counted(more, 'copies')} of the same content{alike}",
        err=True,
    )
    if found.missing:
        say(f"{counted(found.missing, 'files')} not there now could not be compared", err=True)
