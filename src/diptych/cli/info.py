"""``diptych info``: what a collection holds, or what a system, extractor or data set is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from diptych.cli._cards import say_cards
from diptych.cli._models import kind_of_codes
from diptych.cli._options import AsJson, Trust
from diptych.cli._terminal import say, say_json, say_table, shown
from diptych.errors import UsageError

if TYPE_CHECKING:
    from diptych.catalogue import Card, Kind
    from diptych.engine.collection import Collection

__all__ = ["command"]


def command(
    place: Annotated[
        str,
        typer.Argument(metavar="[FOLDER]", help="An indexed folder, an address, or a name in a list."),
    ] = ".",
    facets: Annotated[
        str | None,
        typer.Option(
            help="Count the pictures by the values of fields: camera,tag,year,folder.", show_default=False
        ),
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(help="With --facets: count only what fulfils this: year >= 2024.", show_default=False),
    ] = None,
    as_json: AsJson = False,
    trust: Trust = False,
) -> None:
    """Say what a collection holds, which model made it, and which files could not be read.

    Of a system, feature extractor or data set, what it is and how it is
    called.
    """
    from diptych.engine import collection as engine

    if where is not None and facets is None:
        raise UsageError("--where says what --facets counts; name fields to count by: --facets camera,year")
    if not os.path.lexists(place) and (found := _named(place)):
        if facets is not None:
            raise UsageError(f"--facets counts pictures of a collection, and {place} is no folder here")
        say_cards(found, as_json=as_json)
        return
    with engine.open(place, create=False, trust=trust) as opened:
        if facets is not None:
            _print_facets(
                opened, [name for name in facets.split(",") if name.strip()], where, as_json=as_json
            )
            return
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
        say(f"codes     {kind_of_codes(codes)} ({codes['made_with']})")
    if patterns := facts["excludes"]:
        say(f"excluded  {'  '.join(patterns)}")
    for model in facts["models"][1:]:
        held = f"{model['images']} pictures, {model['texts']} texts"
        say(f"beside    {model['name']} ({model['fingerprint']}): {held}")
    for path, reason in facts["skipped"].items():
        say(f"  {path}: {reason}")


def _named(name: str) -> list[Card]:
    """The cards of all kinds that a name has, without its variant and weights."""
    from diptych import catalogue

    own = name.partition("@")[0].partition(":")[0].replace("-", "_")
    kinds: tuple[Kind, ...] = ("system", "feature", "dataset")
    return [known[own] for kind in kinds if own in (known := catalogue.cards(kind))]


def _print_facets(opened: Collection, names: list[str], where: str | None, *, as_json: bool) -> None:
    """How many pictures have each value of each field."""
    from rich.table import Table

    found = {name: opened.facets(name, where=where) for name in names}
    if as_json:  # whose objects take no null for a name
        say_json(
            {
                name: [{"value": value, "count": count} for value, count in counts.items()]
                for name, counts in found.items()
            }
        )
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    for name, counts in found.items():
        for value, count in counts.items():
            shown_value = shown("none", "dim") if value is None else shown(str(value) or ".")
            table.add_row(name, str(count), shown_value)
    say_table(table)
