"""``diptych bench``: fill result tables, and write them as Markdown, JSON and HTML."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from diptych.cli._terminal import say

__all__ = ["command"]


def command(
    table: Annotated[
        str,
        typer.Argument(
            help="ours, ablations, curves, table2, table3, table4, or a table of yours, FILE.toml."
        ),
    ] = "ours",
    system: Annotated[
        list[str] | None,
        typer.Option("--system", help="Compute only this system; may be repeated.", show_default=False),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option("--data", help="Compute only this data set of the table; may be repeated."),
    ] = None,
    collect: Annotated[
        bool, typer.Option("--collect", help="Compute nothing; report what is finished.")
    ] = False,
    root: Annotated[
        Path | None,
        typer.Option(help="Folder that holds the data sets, if not DIPTYCH_DATA.", show_default=False),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for results, runs and reports.")] = Path("bench"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of Markdown.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Do not tell of each cell.")] = False,
) -> None:
    """Fill a result table and write it as Markdown, JSON and HTML.

    Finished cells are kept under a fingerprint of system, settings, seed, data, features and code, and
    are not computed again. What was chosen is printed, the whole table is written. A written table is not
    replaced by one with fewer finished cells.
    """
    from diptych.bench.produce import produce, write

    told = (lambda _: None) if quiet else _tell
    report = produce(
        table, out, entries=data or (), systems=system or (), root=root, compute=not collect, tell=told
    )
    name = Path(table).stem
    paths = write(report, out, name)
    shown = report.chosen or report
    say(*(shown.content if as_json else shown.markdown()).removesuffix("\n").split("\n"))
    for path in paths:
        say(path, err=True)
    if not paths:
        say(
            f"{out / name}.md is kept as it was, with more than the {report.finished} of {report.asked} "
            "cells that are finished now; choose another --out, or remove it to have this table in its place",
            err=True,
        )


def _tell(line: str) -> None:
    say(line, err=True)
    sys.stderr.flush()
