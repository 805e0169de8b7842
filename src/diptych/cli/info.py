"""``diptych info``: what a collection holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["command"]


def command(
    place: Annotated[Path, typer.Argument(metavar="[FOLDER]", help="An indexed folder.")] = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what a collection holds, which model made it, and which files could not be read."""
    from diptych.engine import collection as engine

    with engine.open(place, create=False) as opened:
        facts = opened.info()
    if as_json:
        typer.echo(json.dumps(facts, indent=2, ensure_ascii=True))
        return
    size = facts["bytes"] / 1e6
    typer.echo(
        f"folder    {facts['folder']}\n"
        f"kept in   {facts['place']} ({size:.1f} MB)\n"
        f"model     {facts['model']} ({facts['fingerprint']})\n"
        f"pictures  {facts['images']}\n"
        f"texts     {facts['texts']}\n"
        f"skipped   {len(facts['skipped'])}\n"
        f"database  {facts['check']}"
    )
    if codes := facts["codes"]:
        typer.echo(f"codes     {codes['bits']} bits ({codes['made_with']})")
    for path, reason in facts["skipped"].items():
        name = path.encode("utf-8", "backslashreplace").decode().replace("\n", "\\n")
        typer.echo(f"  {name}: {reason}")
