"""What a collection holds, in a form that can be compared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from diptych.engine.collection import Collection

Paint = Callable[..., Path]
"""The fixture `paint`: a function that draws a picture of one colour."""


def content(collection: Collection) -> list[tuple[str, str, str | None, bytes]]:
    """Side, file, text and vector of everything that is stored, without regard to order."""
    record = collection.home
    found = []
    for side in ("image", "text"):
        for row, vector in record.vectors(side):
            item = record.items([row])[0]
            found.append((side, item.id, item.text, vector))
    return sorted(found, key=repr)


def names(results: Any) -> list[str]:
    return [result.path.name for result in results]
