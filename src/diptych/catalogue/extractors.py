"""From the text that names extractors to the extractors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diptych.catalogue.listing import card, named_by, names
from diptych.catalogue.loading import load
from diptych.catalogue.naming import parse
from diptych.core import Side
from diptych.errors import UnknownName, UsageError

__all__ = ["make", "named"]

_SIDES: tuple[Side, ...] = ("image", "text")


def named(spec: str) -> dict[str, Any]:
    """The extractors that a text names, by side, those that learn not yet fitted.

    Args:
        spec: ``image=NAME,text=NAME``, or only one of them; or a single NAME, which stands for the one
            side of a feature extractor and for both sides of a system. NAME is a feature extractor ("lsa",
            "vgg19_fc7@vgg19-dcbb9e9d.pth") or an encoder ("clip:vit-b-32@openai").

    Raises:
        UnknownName: nothing is called so.
        UsageError: the text is no such list, or an extractor is of the other side.
        MissingData: a file that an extractor needs is not given or not there.
    """
    wanted: dict[Side, str] = {}
    parts = spec.split(",") if spec.startswith(("image=", "text=")) else [spec]
    for part in parts:
        before, equals, name = part.strip().partition("=")
        if not equals and len(parts) == 1:
            wanted |= dict.fromkeys(_sides_of(before), before)
            continue
        side = next((side for side in _SIDES if side == before), None)
        if side is None or side in wanted or not name:
            raise UsageError(f"{spec!r} names no features; write image=NAME,text=NAME, or one NAME")
        wanted[side] = name
    return {side: make(name, side=side) for side, name in wanted.items()}


def make(name: str, *, side: Side, **parameters: Any) -> Any:
    """One extractor, not yet fitted.

    Args:
        name: Of a feature extractor, with its file after "@", or of an encoder.
        side: "image" or "text".
        parameters: Over the extractor's own.

    Raises:
        UnknownName, UsageError, MissingData: as for `named`.
    """
    system, known = parse(name).system, _features()
    if system in known:
        if side not in _sides_of(name):
            raise UsageError(f"{system} makes features of {_sides_of(name)[0]}s, not of {side}s")
        return load(name, **parameters)
    if system not in names("system") and not (Path(name) / "card.json").is_file():
        raise UnknownName("feature extractor or encoder", name, [*known, *names("system")])
    return named_by(card("feature", "dual"))(name=name, side=side)


def _sides_of(name: str) -> tuple[Side, ...]:
    """The one side of a feature extractor, both sides of everything else."""
    system = parse(name).system
    return (named_by(card("feature", system)).side,) if system in _features() else _SIDES


def _features() -> list[str]:
    """What may stand in a text; dual towers go by the names of their systems."""
    return [name for name in names("feature") if name != "dual"]
