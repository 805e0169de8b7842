"""Cards of systems, extractors, data sets and other parts, as a terminal and as JSON have them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from diptych.cli._terminal import say, say_json

if TYPE_CHECKING:
    from diptych.catalogue import Card

__all__ = ["say_cards"]


def say_cards(cards: Sequence[Card], *, as_json: bool) -> None:
    """Write whole cards, whose equations are LaTeX; in JSON they stand apart from the prose."""
    if as_json:
        say_json([_object(card) for card in cards])
    else:
        for card in cards:
            say(*_lines(card))


def _lines(card: Card) -> Iterator[str]:
    yield f"{card.name}: {card.title}"
    for field, text in card.fields.items():
        yield f"  {field}: {text}"
    yield ""
    yield from (f"  {line}" if line else "" for line in card.idea.splitlines())
    yield ""


def _object(card: Card) -> dict[str, Any]:
    from diptych.catalogue.equations import parted

    before, block, after = parted(card.idea)
    said: dict[str, Any] = card.as_dict()
    if block is not None:
        said["idea"] = f"{before}\n\n{after}".strip()
        said |= {"equations": [asdict(one) for one in block.equations], "where": block.where}
    return said
