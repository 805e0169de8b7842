"""``diptych remove``: forget pictures and texts, and keep them out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from diptych.cli._options import Trust
from diptych.cli._terminal import say

__all__ = ["command"]


def command(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Files and folders to forget.")],
    place: Annotated[
        str | None,
        typer.Option(
            "--in",
            metavar="FOLDER",
            help="Folder whose collection it is, or an address; default: that of the first path.",
        ),
    ] = None,
    trust: Trust = False,
) -> None:
    """Forget pictures and texts, and keep them out until they are indexed by name.

    The files themselves stay where they are.
    """
    from diptych.engine.collection import open_collection
    from diptych.errors import UsageError

    home = place if place is not None else paths[0] if paths[0].is_dir() else paths[0].absolute().parent
    with open_collection(home, create=False, trust=trust) as opened:
        absent = [path for path in paths if not os.path.lexists(path)]
        count = opened.remove(*paths)
        if not count and absent:
            raise UsageError(
                f"{absent[0]} is not there, and nothing of it was indexed in {opened.folder}; name a file or "
                "folder of it"
            )
        files = "nothing of it was indexed" if not count else f"{count} file{'s' * (count > 1)} forgotten"
        say(f"{opened.folder}: {files}; what is named here is not taken again", err=True)
