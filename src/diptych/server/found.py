"""How programs of one user on one machine find the server that has a collection.

The server writes a note into that user's own data folder, which nobody else may read, and holds a lock on
it as long as it lives: a note whose lock is free was left by one that was killed. The note holds a key that
is as good as the server's token.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from diptych.engine.place import default_home

if TYPE_CHECKING:
    from diptych.engine.collection import Collection

__all__ = ["Running", "announced", "running"]


class Running(NamedTuple):
    """A server that has a collection.

    Args:
        address: Such as ``http://127.0.0.1:8765``.
        key: What it takes for its token.
        name: Of the collection there.
        below: The folder inside the collection's that is served; None for all.
    """

    address: str
    key: str
    name: str
    below: Path | None


def _note(folder: Path) -> Path:
    name = hashlib.blake2b(os.fsencode(folder), digest_size=16).hexdigest()
    return default_home() / "servers" / f"{name}.json"


@contextlib.contextmanager
def announced(
    collections: Sequence[tuple[str, Collection]], host: str, port: int, key: str
) -> Iterator[None]:
    """A block in which programs of this user find the server of collections.

    Of a collection that another server has already, that one stays the one that is found.

    Args:
        collections: Each with its name there.
        host, port: Where it listens.
        key: What it takes for its token.
    """
    from filelock import FileLock, Timeout

    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"
    address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    with contextlib.ExitStack() as held:
        for name, collection in collections:
            note = _note(collection.folder)
            facts = {
                "address": address,
                "key": key,
                "name": name,
                "folder": str(collection.folder),
                "below": None if collection.below is None else str(collection.below),
            }
            # Where nothing can be noted the server is not found, and works all the same.
            with contextlib.suppress(OSError, Timeout):
                note.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                held.enter_context(FileLock(f"{note}.lock", timeout=0))
                note.unlink(missing_ok=True)
                file = os.open(note, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with open(file, "w", encoding="utf-8", errors="surrogateescape") as out:
                    json.dump(facts, out)
                held.callback(note.unlink, missing_ok=True)
        yield


def running(folder: Path) -> Running | None:
    """The server of this user that has the collection of a folder; None if there is none.

    Args:
        folder: Of the collection.
    """
    note = _note(folder)
    try:
        told: dict[str, Any] = json.loads(note.read_text(encoding="utf-8", errors="surrogateescape"))
        if told["folder"] != str(folder) or not _is_held(note):
            return None
        below = None if told["below"] is None else Path(told["below"])
        return Running(str(told["address"]), str(told["key"]), str(told["name"]), below)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _is_held(note: Path) -> bool:
    """Whether whoever wrote a note still lives."""
    from filelock import FileLock, Timeout

    try:
        with FileLock(f"{note}.lock", timeout=0):
            return False
    except Timeout:
        return True
