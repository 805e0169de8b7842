"""What items are called outside of a home."""

from __future__ import annotations

import os

from diptych.engine.homes.base import is_own

__all__ = ["name_of"]


def name_of(key: bytes) -> str:
    """The `id` of what has a name in a home: the path of a file, or what a program called its own item."""
    return key[1:].decode("utf-8", "replace") if is_own(key) else os.fsdecode(key)
