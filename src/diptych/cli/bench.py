"""``diptych bench``: fill result tables, and write them as Markdown, JSON and HTML."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from diptych.bench.produce import Report

__all__ = ["command"]


def command(
    table: Annotated[str, typer.Argument(help="ours, ablations, table2, table3 or table4.")] = "ours",
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

    Finished cells are kept under a fingerprint of system, settings, data, features and code, and are not
    computed again.
    """
    from diptych.bench.produce import produce

    told = (lambda _: None) if quiet else _tell
    report = produce(
        table, out, entries=data or (), systems=system or (), root=root, compute=not collect, tell=told
    )
    paths = _written(out, table, report)
    if as_json:
        typer.echo(report.content, nl=False)
    else:
        from diptych.report.bench_page import as_markdown

        typer.echo(as_markdown(report.title, report.tables, facts=report.facts), nl=False)
    for path in paths:
        typer.echo(str(path), err=True)


def _tell(line: str) -> None:
    typer.echo(line, err=True)
    sys.stderr.flush()


def _written(out: Path, table: str, report: Report) -> list[Path]:
    from diptych.report.bench_page import as_html, as_markdown

    out.mkdir(parents=True, exist_ok=True)
    texts = {
        f"{table}.md": as_markdown(report.title, report.tables, facts=report.facts),
        f"{table}.json": report.content,
        f"{table}.html": as_html(report.title, report.tables, facts=report.facts),
    }
    for name, text in texts.items():
        (out / name).write_text(text, encoding="utf-8")
    return [out / name for name in texts]
