"""An SQLite file for many threads: a connection a block, one state a snapshot, errors in plain sentences.

A connection serves one block or statement at a time and goes back to a pool, so that no thread ever sees what
another has not finished, and none is lost with a thread that ends.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from diptych.errors import CollectionBusy, CollectionError

__all__ = ["Database"]

_T = TypeVar("_T")

# What the disk or the permissions are to blame for (the primary codes of sqlite.org/rescode.html).
_DISK = frozenset(
    {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM}
)


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
        self._mine = threading.local()  # the connection of the block that this thread is in
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
        """What a function returns that gets a connection in no transaction and leaves it so."""
        with self._connection() as connection:
            return action(connection)

    def copy_to(self, path: Path) -> None:
        """Write everything to another SQLite file, in one transaction of that file."""
        with self._connection() as connection, contextlib.closing(sqlite3.connect(path)) as other:
            connection.backup(other)

    @contextlib.contextmanager
    def batch(self) -> Iterator[None]:
        """A block of this thread that is on disk in full when it ends, or not at all."""
        assert getattr(self._mine, "connection", None) is None, "a batch stands by itself"
        with self._block("BEGIN IMMEDIATE") as connection:
            yield
            with self._in_plain_words():
                connection.execute("COMMIT")

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """A block in which this thread reads one state of the file; one within another is the same."""
        if getattr(self._mine, "connection", None) is not None:
            yield
            return
        with self._block("BEGIN"):
            yield

    @contextlib.contextmanager
    def outside(self) -> Iterator[None]:
        """A block in which this thread reads what is on disk now, though it be inside a snapshot."""
        mine = getattr(self._mine, "connection", None)
        self._mine.connection = None
        try:
            yield
        finally:
            self._mine.connection = mine

    @contextlib.contextmanager
    def _block(self, begin: str) -> Iterator[sqlite3.Connection]:
        with self._connection() as connection:
            connection.execute(begin)
            self._mine.connection = connection
            try:
                yield connection
            finally:
                self._mine.connection = None
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    @contextlib.contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """The connection of this thread's block; outside of blocks one of its own, until this block ends."""
        mine = getattr(self._mine, "connection", None)
        if mine is not None:
            with self._in_plain_words():
                yield mine
            return
        with self._lock:
            if self._closed:
                raise CollectionError(f"{self.path} is closed; open the collection again")
            connection = self._free.pop() if self._free else None
        with self._in_plain_words():
            connection = connection or self._connected()
            try:
                yield connection
            finally:
                self._put_back(connection)

    def _put_back(self, connection: sqlite3.Connection) -> None:
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
        except sqlite3.OperationalError:
            connection.close()
            if not self._complete():
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

    @contextlib.contextmanager
    def _in_plain_words(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._named(error) from error

    def _named(self, error: sqlite3.Error) -> CollectionError:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the rest of it says more than is asked here
        if code == sqlite3.SQLITE_FULL:
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
        return CollectionError(
            f"{self.path} cannot be used as a collection, it is damaged or something else ({error}); restore "
            "it from a copy, or delete it and index again"
        )
