"""What was read inside the pictures of a collection, by their contents."""

from __future__ import annotations

from collections.abc import Iterator

from diptych.engine.homes.local.database import Database
from diptych.engine.homes.local.facts import Facts

__all__ = ["Inscribed"]

_UNREAD = (
    "FROM file WHERE hash > ? AND path > x'01' "  # not those that have no file
    "AND NOT EXISTS (SELECT 1 FROM inscription WHERE inscription.hash = file.hash) "
    "AND EXISTS (SELECT 1 FROM item WHERE item.file = file.id AND side = 'image')"
)


class Inscribed:
    """The inscriptions in a collection's SQLite file; see `Home`.

    Args:
        db: That file.
        facts: Where each file's own is found.
    """

    def __init__(self, db: Database, facts: Facts) -> None:
        self._db, self._facts = db, facts

    def unread(self, after: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """Hashes, above one, of pictures that were not looked at for text, each with the name of a file."""
        return self._db.every(
            f"SELECT hash, min(path) {_UNREAD} GROUP BY hash ORDER BY hash LIMIT ?", after, limit
        )

    def count(self) -> int:
        """How many contents of pictures were not looked at."""
        return int(self._db.one(f"SELECT count(DISTINCT hash) {_UNREAD}", b"")[0])

    def put(self, digest: bytes, state: str, said: str) -> None:
        """Keep what was read, and give it to every file of that content."""
        self._db.run("INSERT OR REPLACE INTO inscription VALUES (?, ?, ?)", digest, state, said)
        if state == "read":
            for (file,) in self._db.every("SELECT id FROM file WHERE hash = ?", digest):
                self._facts.put_inscription(file, said)

    def give(self, file: int, digest: bytes) -> None:
        """Give a file that is new what was read in its content before."""
        found = self._db.one("SELECT said FROM inscription WHERE hash = ? AND state = 'read'", digest)
        if found is not None:
            self._facts.put_inscription(file, str(found[0]))

    def all(self) -> Iterator[tuple[bytes, str, str]]:
        """Hash, state and text, or reason, of everything that was looked at."""
        yield from self._db.each("SELECT hash, state, said FROM inscription ORDER BY hash")
