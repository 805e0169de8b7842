"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["AsJson", "Indexed", "Trust"]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

Trust = Annotated[
    bool, typer.Option("--trust", help="Believe a collection that somebody else made, from now on.")
]

Indexed = Annotated[
    str,
    typer.Argument(
        metavar="[FOLDER]",
        help="An indexed folder, or the address of a collection on a server: "
        "postgresql://user@host/database or milvus://host/?record=photos.",
    ),
]
