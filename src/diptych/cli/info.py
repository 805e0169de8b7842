"""``diptych info``: what a collection holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diptych.cli._terminal import say, say_json

__all__ = ["command"]


def command(
    place: Annotated[Path, typer.Argument(metavar="[FOLDER]", help="An indexed folder.")] = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    trust: Annotated[
        bool, typer.Option("--trust", help="Believe a collection that somebody else made, from now on.")
    ] = False,
) -> None:
    """Say what a collection holds, which model made it, and which files could not be read."""
    from diptych.engine import collection as engine

    with engine.open(place, create=False, trust=trust) as opened:
        facts = opened.info()
    if as_json:
        say_json(facts)
        return
    size = facts["bytes"] / 1e6
    say(
        f"folder    {facts['folder']}",
        f"kept in   {facts['place']} ({size:.1f} MB)",
        f"model     {facts['model']} ({facts['fingerprint']})",
        f"pictures  {facts['images']}",
        f"texts     {facts['texts']}",
        f"skipped   {len(facts['skipped'])}",
        f"database  {facts['check']}",
    )
    if codes := facts["codes"]:
        say(f"codes     {codes['bits']} bits ({codes['made_with']})")
    if patterns := facts["excludes"]:
        say(f"excluded  {'  '.join(patterns)}")
    for model in facts["models"][1:]:
        held = f"{model['images']} pictures, {model['texts']} texts"
        say(f"beside    {model['name']} ({model['fingerprint']}): {held}")
    for path, reason in facts["skipped"].items():
        say(f"  {path}: {reason}")
