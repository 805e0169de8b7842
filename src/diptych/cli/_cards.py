"""Cards of systems, extractors, data sets and other parts, as a terminal and as JSON have them."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from diptych.cli._terminal import say, say_json

if TYPE_CHECKING:
    from diptych.catalogue import Card

__all__ = ["say_cards"]

_WIDTH = 110  # of the prose of our cards, whose lines stay as they are


def say_cards(cards: Sequence[Card], *, as_json: bool) -> None:
    """Write whole cards: their equations as plain text, or in JSON as LaTeX and apart from the prose."""
    if as_json:
        say_json([_object(card) for card in cards])
    else:
        for card in cards:
            say(*_lines(card))


def _lines(card: Card) -> Iterator[str]:
    from diptych.catalogue.equations import parted, plain

    yield f"{card.name}: {card.title}"
    for field, text in card.fields.items():
        yield f"  {field}: {text}"
    before, block, after = parted(card.idea)
    prose = before.splitlines()
    if block is not None:
        prose += ["", "Equations:"]
        for equation in block.equations:
            prose += [f"- {equation.heading}:", f"    {plain(equation.latex)}"]
        prose += [*textwrap.wrap(block.explained(plain), _WIDTH), "", *after.splitlines()]
    yield ""
    yield from (f"  {line}" if line else "" for line in prose)
    yield ""


def _object(card: Card) -> dict[str, Any]:
    from diptych.catalogue.equations import parted

    before, block, after = parted(card.idea)
    said: dict[str, Any] = card.as_dict()
    if block is not None:
        said["idea"] = f"{before}\n\n{after}".strip()
        said |= {"equations": [asdict(one) for one in block.equations], "where": block.where}
    return said
