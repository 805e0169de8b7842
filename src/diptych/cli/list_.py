"""``diptych list``: systems, feature extractors and data sets with their cards."""

from __future__ import annotations

import fnmatch
from typing import Annotated, Literal

import typer

from diptych.cli._options import AsJson
from diptych.cli._terminal import say, say_json, say_table

__all__ = ["command"]

_KINDS: dict[str, Literal["system", "feature", "dataset"]] = {
    "systems": "system",
    "features": "feature",
    "data": "dataset",
}


def command(
    what: Annotated[str, typer.Argument(help="systems, features or data.")] = "systems",
    pattern: Annotated[str, typer.Argument(help="Names to show; * stands for anything.")] = "*",
    full: Annotated[bool, typer.Option("--full", help="Show whole cards.")] = False,
    as_json: AsJson = False,
) -> None:
    """List systems, feature extractors or data sets."""
    from diptych import catalogue
    from diptych.errors import UnknownName

    if what not in _KINDS:
        raise UnknownName("list", what, _KINDS)
    found = [
        card
        for card in catalogue.cards(_KINDS[what]).values()
        if fnmatch.fnmatch(card.name, pattern.replace("-", "_"))
    ]
    if not found:
        raise UnknownName(f"name among the {what}", pattern, catalogue.names(_KINDS[what]))
    if as_json:
        say_json([card.as_dict() for card in found])
    elif full or "*" not in pattern:
        for card in found:
            say(f"{card.name}: {card.title}")
            for field, text in card.fields.items():
                say(f"  {field}: {text}")
            say("", *(f"  {line}" if line else "" for line in card.idea.splitlines()), "")
    else:
        from rich.table import Table

        table = Table(box=None, pad_edge=False)
        for heading in ("name", *(("family", "learns from") if what == "systems" else ()), "what"):
            table.add_column(heading, no_wrap=heading == "name")
        for card in sorted(found, key=lambda c: (c.family, c.name)):
            extra = (card.family, card.fields.get("Learns from", "")) if what == "systems" else ()
            table.add_row(card.name, *extra, card.title)
        say_table(table)
