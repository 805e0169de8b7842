"""Texts as they are compared."""

from __future__ import annotations

import textwrap
import unicodedata
from typing import Any

from diptych.media.metadata import Value

__all__ = ["OF_NAMES", "READ", "folded", "kept", "of_name", "of_reading"]

OF_NAMES = ("folder", "name")
"""Fields that follow a file where it moves."""

READ = "inscription"
"""The field that follows the content of a file."""

_LONGEST = 1_000  # characters of one value


def folded(text: str) -> str:
    """A text as it is compared, whatever the case of its letters."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def kept(value: Value) -> tuple[Any, str | None]:
    """A value as it is compared, and as it is shown if that differs."""
    if not isinstance(value, str):
        return value, None
    plain = folded(value)
    return plain, None if plain == value else value


def of_name(key: bytes) -> dict[str, tuple[Value, ...]]:
    """Where a file is: its folder (empty for the collection's own) and its name, as text."""
    folder, _, name = key.lstrip(b"\0").decode("utf-8", "replace").rpartition("/")
    return {"folder": (folder,), "name": (name,)}


def of_reading(said: str) -> dict[str, tuple[Value, ...]]:
    """What was read in a picture; in one value, which keeps its order, if it is short."""
    values = textwrap.wrap(said, _LONGEST)
    return {READ: tuple(values)} if values else {}
