"""What rclip has kept: the vectors of pictures in its SQLite file, as far as its format 4.

The file says nothing of the model. Formats 1 and 2 came with ViT-B/32 of OpenAI, 3 and 4 with a ViT-B/32 of
256 pixels that learned from DataComp.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import numpy as np

from diptych.core import Floats
from diptych.errors import BadData, MissingData, TooNew

__all__ = ["NEWEST", "Rclip"]

NEWEST = 4
"""The newest format that is read."""

_MADE_BY = {
    1: "CLIP ViT-B/32 of OpenAI (clip:vit-b-32)",
    3: "CLIP ViT-B/32 of 256 pixels, learned from DataComp (clip@FOLDER of such weights)",
}
_COLUMNS = {"deleted", "filepath", "modified_at", "size", "vector"}
_APART = 0.01  # seconds that times of a file may differ by, as they are kept as floating-point numbers


class Rclip:
    """An rclip database, only read.

    Args:
        path: Its file, ``db.sqlite3``.

    Attributes:
        made_by: Which model its vectors were made by, in words.

    Raises:
        MissingData: there is no such file, or no picture in it.
        TooNew: a later version of rclip wrote it.
        BadData: it is another kind of file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise MissingData(f"{path} is not there; give rclip's database, such as db.sqlite3")
        self._connection = sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True)
        try:
            version = self._version()
        except BaseException:
            self.close()
            raise
        self.made_by = _MADE_BY[1 if version < 3 else 3]

    def __enter__(self) -> Rclip:
        return self

    def __exit__(self, *reason: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def vector(self, path: Path, size: int, mtime_ns: int) -> Floats | None:
        """The vector (d,) of a picture; None if it is unknown, or has changed since.

        Args:
            path: Of the file, absolute.
            size: Its bytes.
            mtime_ns: Time of its last change, in nanoseconds since 1970.

        Raises:
            BadData: what is kept of it is no vector.
        """
        with self._readable():
            found = self._connection.execute(
                "SELECT vector, size, modified_at FROM images WHERE filepath = ? AND deleted IS NULL",
                (str(path),),
            ).fetchone()
            if found is None or found[1] != size or abs(found[2] - mtime_ns / 1e9) > _APART:
                return None
            return _vector(found[0], self.path)

    def some(self) -> Iterator[tuple[Path, Floats]]:
        """Pictures that are where they were and as they were, with their vectors."""
        with self._readable():
            rows = self._connection.execute("SELECT filepath FROM images WHERE deleted IS NULL")
            for (name,) in rows:
                path = Path(name)
                if path.is_file():
                    state = path.stat()
                    if (found := self.vector(path, state.st_size, state.st_mtime_ns)) is not None:
                        yield path, found

    def _version(self) -> int:
        with self._readable():
            columns = {row[1] for row in self._connection.execute("PRAGMA table_info(images)")}
            if not columns >= _COLUMNS:
                raise BadData(f"{self.path} is no database of rclip: it lacks its table of images")
            told = self._connection.execute("SELECT version FROM db_version").fetchone()
            some = self._connection.execute("SELECT 1 FROM images WHERE deleted IS NULL").fetchone()
        version = 1 if told is None else int(told[0])
        if version > NEWEST:
            raise TooNew(
                f"{self.path} has format {version} of rclip, and formats up to {NEWEST} are read; index the "
                "pictures themselves, or update Diptych"
            )
        if some is None:
            raise MissingData(f"{self.path} knows no picture, so there is nothing to take from it")
        return version

    @contextlib.contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.DatabaseError, TypeError, ValueError) as error:
            raise BadData(f"{self.path} cannot be read as a database of rclip ({error})") from error


def _vector(content: bytes, path: Path) -> Floats:
    found = np.frombuffer(content, np.float32)
    if not found.size or not np.isfinite(found).all():
        raise BadData(f"{path} holds a vector that is no finite numbers; index the pictures themselves")
    return found
