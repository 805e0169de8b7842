"""Names of items in a home, and what they are called outside of it."""

from __future__ import annotations

import os

__all__ = ["is_own", "name_of", "own_key"]


def own_key(name: str) -> bytes:
    """The name in a home of an item that a program gave under an id of its own; no file has such a name."""
    return b"\0" + name.encode()


def is_own(key: bytes) -> bool:
    """Whether a name is that of an item of a program, which has no file."""
    return isinstance(key, bytes) and key.startswith(b"\0")  # a damaged record holds anything


def name_of(key: bytes) -> str:
    """The `id` of what has a name in a home: the path of a file, or what a program called its own item."""
    return key[1:].decode("utf-8", "replace") if is_own(key) else os.fsdecode(key)
