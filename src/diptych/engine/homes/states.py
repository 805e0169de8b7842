"""What a re-ranker has made of pictures, kept beside a collection so that no search makes it again.

A cache and no more: by content, in a file of its own that may be deleted at any time, is written by searches
where it can be and left alone where it cannot.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["FILE", "States"]

FILE = "looked-at.sqlite"
"""Its name in the folder that holds a collection."""

_AT_A_TIME = 500  # hashes that are asked for
_WAIT = 0.2  # seconds for another search that writes
_MOST = 50_000  # states that are kept; then the oldest half goes

_log = logging.getLogger(__name__)


class States:
    """States of pictures by the hash of their content.

    Args:
        place: Folder that the collection lives in.
        made_by: Whatever they depend on, such as a fingerprint.
    """

    def __init__(self, place: Path, made_by: str) -> None:
        self._path, self._made_by = place / FILE, made_by

    def get(self, hashes: Sequence[bytes]) -> dict[bytes, bytes]:
        """Those that are there."""
        found: dict[bytes, bytes] = {}
        if not self._path.is_file():
            return found
        try:
            with self._opened() as database:
                for start in range(0, len(hashes), _AT_A_TIME):
                    some = hashes[start : start + _AT_A_TIME]
                    marks = ",".join("?" * len(some))
                    found.update(
                        database.execute(
                            f"SELECT hash, state FROM states WHERE made_by = ? AND hash IN ({marks})",
                            (self._made_by, *some),
                        )
                    )
        except sqlite3.Error as error:
            self._tell(error)
        return found

    def put(self, states: Mapping[bytes, bytes]) -> None:
        """Keep some; where the disk or another search does not let it, nothing happens."""
        try:
            with self._opened() as database, database:
                database.execute(
                    "CREATE TABLE IF NOT EXISTS states (number INTEGER PRIMARY KEY, made_by TEXT, hash BLOB, "
                    "state BLOB, UNIQUE (made_by, hash))"
                )
                database.executemany(
                    "INSERT OR IGNORE INTO states (made_by, hash, state) VALUES (?, ?, ?)",
                    [(self._made_by, key, state) for key, state in states.items()],
                )
                (count,) = database.execute("SELECT count(*) FROM states").fetchone()
                if count > _MOST:
                    database.execute(
                        "DELETE FROM states WHERE number <= (SELECT number FROM states ORDER BY number "
                        "LIMIT 1 OFFSET ?)",
                        (count // 2,),
                    )
        except sqlite3.Error as error:
            self._tell(error)

    def _opened(self) -> contextlib.closing[sqlite3.Connection]:
        return contextlib.closing(sqlite3.connect(self._path, timeout=_WAIT))

    def _tell(self, error: sqlite3.Error) -> None:
        # Damaged, full, protected or busy: the pictures are there, and are looked at again.
        _log.info("what a re-ranker made of pictures is not kept in %s (%s)", self._path, error)
