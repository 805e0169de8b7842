"""An SQLite file for many threads: a connection a block, one state a snapshot, errors in plain sentences.

A connection serves one block or statement at a time and goes back to a pool, so that no thread ever sees what
another has not finished, and none is lost with a thread that ends.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from diptych.errors import CollectionBusy, CollectionError

__all__ = ["Database", "damaged"]

_T = TypeVar("_T")

# What the disk or the permissions are to blame for (the primary codes of sqlite.org/rescode.html).
_DISK = frozenset(
    {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM}
)


# What SQLite raises; text that is none is found by the module that hands it on.
_UNREADABLE = (sqlite3.Error, UnicodeDecodeError)

_LITTLE = 64 << 10  # bytes, with which SQLite can do nothing, and that nobody wants back


class _Mine(threading.local):
    """The connection of the block that a thread is in."""

    connection: sqlite3.Connection | None = None


class _Turn:
    """The connection of this thread's block; outside of blocks one of its own, until this block ends.

    SQLite's errors leave it in plain words. A class and not a generator, as every statement goes through it.
    """

    __slots__ = ("_connection", "_database", "_own")

    def __init__(self, database: Database) -> None:
        self._database = database

    def __enter__(self) -> sqlite3.Connection:
        database = self._database
        mine = database.mine.connection
        self._own = mine is None
        try:
            self._connection = mine or database.taken()
        except _UNREADABLE as error:
            raise database.named(error) from error
        return self._connection

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self._own:
            self._database.back(self._connection)
        if isinstance(error, _UNREADABLE):
            raise self._database.named(error) from error


class Database:
    """One SQLite file, made if absent.

    Args:
        path: The file.

    Raises:
        CollectionError: it cannot be opened, or is no SQLite file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.readonly = False
        self._free: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self.mine = _Mine()
        self._closed = False
        with self._connection():
            pass

    def close(self) -> None:
        """Close the file; whoever is in the middle of a block may finish it."""
        with self._lock:
            self._closed = True
            idle, self._free = self._free, []
        for connection in idle:
            connection.close()

    def one(self, statement: str, *values: Any) -> Any:
        """The first row that a statement gives, or None."""
        with self._connection() as connection:
            return connection.execute(statement, values).fetchone()

    def every(self, statement: str, *values: Any) -> list[Any]:
        """All rows that a statement gives."""
        with self._connection() as connection:
            return connection.execute(statement, values).fetchall()

    def each(self, statement: str, *values: Any) -> Iterator[Any]:
        """The rows that a statement gives, read as they are asked for; all of one state."""
        with self._connection() as connection:
            yield from connection.execute(statement, values)

    def run(self, statement: str, *values: Any) -> int:
        """Change something, inside a `batch`; returns the row that was inserted last."""
        with self._connection() as connection:
            assert connection.in_transaction, "changes are made in batches"
            return connection.execute(statement, values).lastrowid or 0

    def run_many(self, statement: str, values: Iterable[tuple[Any, ...]]) -> None:
        """Change many things, inside a `batch`."""
        with self._connection() as connection:
            assert connection.in_transaction, "changes are made in batches"
            connection.executemany(statement, values)

    def with_connection(self, action: Callable[[sqlite3.Connection], _T]) -> _T:
        """What a function returns that gets this thread's block's connection, or one in no transaction."""
        with self._connection() as connection:
            return action(connection)

    def copy_to(self, path: Path) -> None:
        """Write everything to another SQLite file, in one transaction of that file."""
        with self._connection() as connection, contextlib.closing(sqlite3.connect(path)) as other:
            connection.backup(other)

    def compact(self, least_free: float) -> None:
        """Give back the room of what was removed, if it is that share of the file; others read on meanwhile.

        It takes as much again of the disk while it lasts. Where that is not to be had, nothing changes.
        """
        with self._connection() as connection:
            pages, free, size = (
                connection.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("page_count", "freelist_count", "page_size")
            )
            if self.readonly or free < least_free * pages or free * size < _LITTLE:
                return
            try:
                connection.execute("VACUUM")
                # Else the log keeps the size of the whole until the last reader has gone.
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            except sqlite3.OperationalError as error:
                if _code(error) not in _DISK | {sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY}:
                    raise

    @contextlib.contextmanager
    def batch(self) -> Iterator[None]:
        """A block of this thread that is on disk in full when it ends, or not at all."""
        assert self.mine.connection is None, "a batch stands by itself"
        with self._block("BEGIN IMMEDIATE") as connection:
            yield
            connection.execute("COMMIT")

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """A block in which this thread reads one state of the file; one within another is the same."""
        if self.mine.connection is not None:
            yield
            return
        with self._block("BEGIN"):
            yield

    @contextlib.contextmanager
    def outside(self) -> Iterator[None]:
        """A block in which this thread reads what is on disk now, though it be inside a snapshot."""
        mine = self.mine.connection
        self.mine.connection = None
        try:
            yield
        finally:
            self.mine.connection = mine

    @contextlib.contextmanager
    def _block(self, begin: str) -> Iterator[sqlite3.Connection]:
        with self._connection() as connection:
            connection.execute(begin)
            self.mine.connection = connection
            try:
                yield connection
            finally:
                self.mine.connection = None
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def _connection(self) -> _Turn:
        return _Turn(self)

    def taken(self) -> sqlite3.Connection:
        """A connection that nobody else has until it is given `back`."""
        with self._lock:
            if self._closed:
                raise CollectionError(f"{self.path} is closed; open the collection again")
            if self._free:
                return self._free.pop()
        return self._connected()

    def back(self, connection: sqlite3.Connection) -> None:
        """Give a connection back."""
        with self._lock:
            if not self._closed:
                self._free.append(connection)
                return
        connection.close()

    def _connected(self) -> sqlite3.Connection:
        # Isolation level None: transactions are ours. A thread may go on with what another has given back.
        connect = functools.partial(
            sqlite3.connect, timeout=30, isolation_level=None, check_same_thread=False
        )
        connection: sqlite3.Connection = connect(self.path)
        try:
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
        except sqlite3.OperationalError as error:
            connection.close()
            if _code(error) not in _DISK | {sqlite3.SQLITE_FULL} or not self._complete():
                raise
            # On a disk that takes nothing, full or read-only, nobody writes, so no lock is needed.
            connection = connect(f"{self.path.absolute().as_uri()}?immutable=1", uri=True)
            self.readonly = True
        except BaseException:
            connection.close()
            raise
        return connection

    def _complete(self) -> bool:
        """Whether the file itself holds everything, or nothing that is beside it could be read anyway."""
        if not self.path.is_file() or not self.path.stat().st_size:
            return False
        writable = os.access(self.path, os.W_OK) and os.access(self.path.parent, os.W_OK)
        log = self.path.with_name(f"{self.path.name}-wal")
        return not writable or not log.exists() or not log.stat().st_size

    def _disk_is_full(self) -> bool:
        try:
            return shutil.disk_usage(self.path.parent).free < _LITTLE
        except OSError:
            return False  # what is wrong is something else

    def named(self, error: Exception) -> CollectionError:
        """What an error of SQLite means for a collection, and what to do about it."""
        code = _code(error)
        if code == sqlite3.SQLITE_FULL or (code in _DISK and self._disk_is_full()):
            return CollectionError(
                f"the disk that holds {self.path} is full; make room and do it again, what was stored before "
                "is whole"
            )
        if code in _DISK:
            return CollectionError(
                f"{self.path} cannot be read or written ({error}); look at the disk and at the permissions, "
                "the collection itself is not known to be damaged"
            )
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return CollectionBusy(f"{self.path} is held by another process ({error}); wait for it or stop it")
        return damaged(self.path, str(error))


def damaged(path: Path, why: str) -> CollectionError:
    """What to say of a file that is no whole collection."""
    return CollectionError(
        f"{path} cannot be used as a collection, it is damaged or something else ({why}); restore it from a "
        "copy, rebuild the collection, or delete it and index again"
    )


def _code(error: Exception) -> int:
    """The primary code of an error; its upper bits say more than is asked here."""
    return int(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)) & 0xFF
