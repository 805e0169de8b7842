"""``diptych copy``: copy a collection from one home into another."""

from __future__ import annotations

from typing import Annotated

import typer

from diptych.cli._options import AsJson, Trust
from diptych.cli._progress import progress
from diptych.cli._terminal import say, say_json

__all__ = ["command"]


def command(
    source: Annotated[
        str, typer.Argument(metavar="SRC", help="An indexed folder, or the address of a collection.")
    ],
    target: Annotated[
        str, typer.Argument(metavar="DST", help="A folder or an address that has no collection yet.")
    ],
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress and no summary.")] = False,
    as_json: AsJson = False,
    trust: Trust = False,
) -> None:
    """Copy a collection with all its vectors into another home, and check what arrived.

    Pictures stay where they are. May be interrupted at any moment: the next run goes on.
    """
    from diptych.engine.copying import copy_collection
    from diptych.media.report import counted

    try:
        if quiet or as_json:
            done = copy_collection(source, target, trust=trust)
        else:
            with progress("copying") as told:
                done = copy_collection(source, target, trust=trust, on_progress=told)
    except KeyboardInterrupt:
        say("interrupted; what was copied is kept, and the next run goes on from there", err=True)
        raise typer.Exit(130) from None
    if as_json:
        say_json(done.as_dict())
    elif not quiet:
        before = done.files - done.copied
        there = f", {before} of these files before" if before else ""
        say(
            f"{done.target}: {counted(done.images, 'pictures')}, {counted(done.texts, 'texts')} and "
            f"{done.vectors:,} vectors of {done.source}{there}; both have the same counts and the checksum "
            f"{done.checksum}",
            err=True,
        )
