"""``diptych list``: systems, feature extractors, data sets and other parts with their cards."""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from diptych.cli._cards import say_cards
from diptych.cli._options import AsJson
from diptych.cli._terminal import say, say_table

if TYPE_CHECKING:
    from diptych.catalogue import Card, Kind

__all__ = ["command"]

_KINDS: dict[str, Kind] = {
    "systems": "system",
    "features": "feature",
    "data": "dataset",
    "indexes": "index",
    "homes": "home",
    "llms": "llm",
}
_HOW: dict[str, str] = {"homes": "Address", "llms": "Name"}  # the field that says how one is named


_MEANS = {
    "apart": ": each side has vectors of its own, which can be indexed (dual towers)",
    "together": ": pairs are scored, which ranks what something else has found (single towers)",
    "pipeline": ": steps that search, ask a language model, and search again",
}


def command(
    what: Annotated[str, typer.Argument(help="systems, features, data, indexes, homes or llms.")] = "systems",
    pattern: Annotated[str, typer.Argument(help="Names to show; * stands for anything.")] = "*",
    by: Annotated[
        Literal["family", "structure", "representation"] | None,
        typer.Option(help="Group systems as the survey does, with what it says of each.", show_default=False),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Show whole cards.")] = False,
    as_json: AsJson = False,
) -> None:
    """List systems, feature extractors, data sets, indexes, homes or language-model adapters.

    Also those that other packages bring.
    """
    from diptych import catalogue
    from diptych.errors import UnknownName, UsageError

    if what not in _KINDS:
        raise UnknownName("list", what, _KINDS)
    if by is not None and what != "systems":
        raise UsageError(f"--by groups systems, and these are {what}; leave --by out")
    for sentence in catalogue.faults(_KINDS[what]).values():
        say(sentence, err=True)
    found = [
        card
        for card in catalogue.cards(_KINDS[what]).values()
        if fnmatch.fnmatch(card.name, pattern.replace("-", "_"))
    ]
    if not found:
        raise UnknownName(f"name among the {what}", pattern, catalogue.names(_KINDS[what]))
    if as_json or full or "*" not in pattern:
        say_cards(found, as_json=as_json)
    elif by is not None:
        _grouped(found, by)
    else:
        from rich.table import Table

        table = Table(box=None, pad_edge=False)
        how = ("how it is named",) if what in _HOW else ()
        for heading in ("name", *(("family", "learns from") if what == "systems" else how), "what"):
            table.add_column(heading, no_wrap=heading == "name")
        for card in sorted(found, key=lambda c: (c.family, c.name)):
            extra: tuple[str, ...] = (card.family, card.fields.get("Learns from", ""))
            if what != "systems":
                extra = (card.fields.get(_HOW[what], ""),) if what in _HOW else ()
            table.add_row(card.name, *extra, card.title)
        say_table(table)


def _grouped(found: list[Card], by: str) -> None:
    """Systems under headings, with what the survey says of each."""
    from rich.table import Table

    def place(card: Card) -> str:
        return card.family if by == "family" else card.fields.get(by.capitalize(), "unknown")

    for heading in sorted({place(card) for card in found}):
        table = Table(
            box=None, pad_edge=False, title=f"{heading}{_MEANS.get(heading, '')}", title_justify="left"
        )
        for name in ("name", "what", "in the survey"):
            table.add_column(name, no_wrap=name == "name")
        for card in sorted((one for one in found if place(one) == heading), key=lambda one: one.name):
            table.add_row(card.name, card.title, card.fields.get("Survey", ""))
        say_table(table)
        say("")
