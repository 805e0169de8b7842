"""Dual tower: one side of any encoder, by name.

Inputs: pictures or texts
Learns from: nothing

The vectors of an encoder such as ``clip:vit-b-32@openai``, as features; what CLIP4CMR and UCMFH learn from.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from diptych import catalogue
from diptych.core import DECODING, Floats, Forwards, Side, encodes, offered
from diptych.errors import UsageError

__all__ = ["Dual"]


# The two sides of one encoder share it for as long as either is in use.
_alive: WeakValueDictionary[str, Any] = WeakValueDictionary()


class Dual(Forwards):
    """One side of an encoder, which is loaded when first used.

    Args:
        name: As in `diptych.catalogue.load`.
        side: Which side.
    """

    similarity = "cosine"

    def __init__(self, *, name: str, side: Side) -> None:
        parts = catalogue.parse(name)
        if parts.weights and Path(parts.weights).expanduser().is_dir():
            # A run may be loaded from another folder.
            name = name.replace(f"@{parts.weights}", f"@{Path(parts.weights).expanduser().resolve()}")
        elif Path(name).is_dir():
            name = str(Path(name).resolve())
        self.name, self.side = name, side

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """What the constructor was given."""
        return {"name": self.name, "side": self.side}

    @cached_property
    def encoder(self) -> Any:
        """The encoder.

        Raises:
            UsageError: the system encodes no such side, or not into one vector an item.
        """
        found = _alive.get(self.name)
        if found is None:
            found = _alive[self.name] = catalogue.load(self.name)
        if not encodes(found, self.side) or found.similarity == "maxsim":
            raise UsageError(f"{self.name} does not encode each {self.side} into one vector")
        return found

    @property
    def fingerprint(self) -> str:
        """The encoder's own, and the side."""
        own = offered(self.encoder, "fingerprint")
        if own is None:
            raise UsageError(f"{self.name} has no fingerprint, so its features could not be told from others")
        return f"dual:{self.side}:{own}"

    def offering(self, capability: str) -> Any:
        """The encoder's vectors are handed on as they are, and with them how to read and what scores mean."""
        return self.encoder if capability in DECODING | {"calibrate"} else None

    def encode_image(self, images: Sequence[Any]) -> Floats:
        """Vectors (n, d) float32 of pictures."""
        found: Floats = self.encoder.encode_image(images)
        return found

    def encode_text(self, texts: Sequence[str]) -> Floats:
        """Vectors (n, d) float32 of texts."""
        found: Floats = self.encoder.encode_text(texts)
        return found
