"""A schema of a PostgreSQL database for many threads: a connection a block, one state a snapshot.

What is only read is asked again where the connection was lost, and so is a batch: its changes are remembered
until they are kept, and said once more on a new connection, unless the server has kept them already. All that
a batch needs to be repeated exactly, such as numbers of rows, is drawn before and is part of what is said.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
import zlib
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from diptych.core import Rows
from diptych.engine.homes.address import Address
from diptych.engine.homes.postgres.connecting import Connector, named
from diptych.errors import CollectionBusy, CollectionError, ConnectionLost

__all__ = ["PATIENCE", "Database"]

_T = TypeVar("_T")

PATIENCE = 20.0
"""Seconds for which a server that was there is asked again."""

_WRITER, _BATCH = 0x64697074, 0x64697075  # of advisory locks: the one who may write, and one batch of it
_HEAD, _TAIL = 19, 2  # bytes before and after the rows of COPY's binary form
_PAGE = 1_000  # lines that are fetched at a time where very many are read


class _Mine(threading.local):
    """The block that a thread is in."""

    connection: Any = None
    batch: _Batch | None = None


class _Batch:
    """What a batch has said so far.

    Args:
        connection: On which.
        mark: Drawn for it; kept with it, so that it is known whether it was.
    """

    def __init__(self, connection: Any) -> None:
        self.connection, self.mark = connection, secrets.token_hex(16)
        self.said: list[tuple[Any, tuple[Any, ...]]] = []
        self.waiting: list[tuple[Any, tuple[Any, ...]]] = []
        self.numbers: dict[str, list[int]] = {}
        self.known: dict[Hashable, Any] = {}


class Database:
    """The tables of one collection.

    Args:
        address: Of the server and the collection.

    Raises:
        ConnectionLost: nobody answers there.
        CollectionError: the server refuses; says why.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self.shown = address.shown
        self._free: list[Any] = []
        self._lock = threading.Lock()
        self._closed = False
        self._writer: Any = None  # the connection that holds the writer's lock
        self._mark: str | None = None  # of the writer's last batch
        self.mine = _Mine()
        self.connect = Connector(address)
        self.back(self.connect())

    def close(self) -> None:
        """Close the connections; whoever is in the middle of a block may finish it."""
        with self._lock:
            self._closed = True
            idle, self._free = self._free, []
        for connection in idle:
            connection.close()

    # Reading

    def one(self, statement: str, *values: Any) -> Any:
        """The first row that a statement gives, or None."""
        return self.reading(lambda db: db.execute(statement, _sayable(values), binary=True).fetchone())

    def every(self, statement: str, *values: Any) -> list[Any]:
        """All rows that a statement gives."""
        found: list[Any] = self.reading(
            lambda db: db.execute(statement, _sayable(values), binary=True).fetchall()
        )
        return found

    def each(self, statement: str, *values: Any) -> Iterator[Any]:
        """The rows that a statement gives, fetched as they are asked for; all of one state."""
        if self.mine.batch is not None:
            self._in_batch(lambda db: None)
        with self.snapshot(), self._plainly():
            connection = self.mine.connection
            with connection.cursor(name=f"each_{secrets.token_hex(4)}", binary=True) as cursor:
                cursor.itersize = _PAGE
                cursor.execute(statement, _sayable(values))
                yield from cursor

    def rows(self, statement: str, *values: Any) -> Rows:
        """The numbers (n,) in the only column, `row`, of a statement, in its order; quick for millions."""
        found = self.one(f"SELECT string_agg(int8send(row), ''::bytea) FROM ({statement}) AS one", *values)[0]
        return np.frombuffer(found or b"", ">i8").astype(np.int64)

    def table(self, statement: str, *values: Any, line: Any) -> NDArray[Any]:
        """The rows that a statement gives, as one array.

        Args:
            statement: Whose columns are never null, and each as long in all rows.
            values: Its parameters.
            line: Names and types of the columns, in the order of bytes of the network.
        """
        fields: list[Any] = [("columns", ">i2")]
        for name, kind in line:
            fields += [(f"{name}_length", ">i4"), (name, kind)]
        whole = np.dtype(fields)

        def read(connection: Any) -> NDArray[Any]:
            command = f"COPY ({statement}) TO STDOUT (FORMAT BINARY)"
            with connection.cursor() as cursor, cursor.copy(command, _sayable(values)) as copy:
                data = b"".join(copy)
            return np.frombuffer(data, whole, (len(data) - _HEAD - _TAIL) // whole.itemsize, _HEAD)

        return self.reading(read)

    def reading(self, action: Callable[[Any], _T]) -> _T:
        """What a function gives that only reads with a connection; done again if that was lost.

        Inside a snapshot it is not: that is of one state, which is gone with the connection.
        """
        if self.mine.batch is not None:
            return self._in_batch(action)
        if self.mine.connection is not None:
            with self._plainly():
                return action(self.mine.connection)
        connection, found = self._with_one(action)
        self.back(connection)
        return found

    def with_one(self, action: Callable[[Any], _T]) -> _T:
        """What a function gives that gets a connection in no transaction."""
        return self.reading(action)

    def again(self, action: Callable[[], _T]) -> _T:
        """What a function gives that only reads, in any blocks; done again if a connection was lost."""
        if self.mine.connection is not None:
            return action()
        until = time.monotonic() + PATIENCE
        while True:
            try:
                return action()
            except ConnectionLost:
                if time.monotonic() > until:
                    raise

    def _with_one(self, action: Callable[[Any], _T]) -> tuple[Any, _T]:
        """A connection, and what a function gives that reads with it; tried for a while."""
        until = time.monotonic() + PATIENCE
        while True:
            connection = self.taken(until)
            try:
                with self._plainly():
                    return connection, action(connection)
            except ConnectionLost:
                connection.close()
                if time.monotonic() > until:
                    raise
            except BaseException:
                self.back(connection)
                raise

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """A block in which this thread reads one state; one within another is the same."""
        if self.mine.connection is not None:
            yield
            return
        connection, _ = self._with_one(_begun)
        self.mine.connection = connection
        try:
            with self._plainly():
                yield
        finally:
            self.mine.connection = None
            _end(connection)
            self.back(connection)

    @contextlib.contextmanager
    def outside(self) -> Iterator[None]:
        """A block in which this thread reads what is there now, though it be inside a snapshot."""
        mine, self.mine.connection = self.mine.connection, None
        try:
            yield
        finally:
            self.mine.connection = mine

    # Writing

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the writer's lock for as long as the block lasts.

        Raises:
            CollectionBusy: somebody else holds it; says who.
        """
        connection = self.taken()
        try:
            with self._plainly():
                self._take_lock(connection)
                self._mark = _mark(connection)
        except BaseException:
            self.back(connection)
            raise
        self._writer = connection
        try:
            yield
        finally:
            connection, self._writer = self._writer, None
            with (
                contextlib.suppress(CollectionError),
                self._plainly(),
            ):  # with a connection its locks are gone
                connection.execute("SELECT pg_advisory_unlock(%s, %s)", self._key(_WRITER))
            self.back(connection)

    @contextlib.contextmanager
    def batch(self) -> Iterator[None]:
        """A block of this thread whose changes are kept in full when it ends, or not at all."""
        assert self.mine.connection is None, "a batch stands by itself"
        connection = self._writer or self.taken(time.monotonic() + PATIENCE)
        batch = self.mine.batch = _Batch(connection)
        try:
            self.mine.connection = connection
            self._in_batch(lambda db: None, begin=True)
            yield
            self.run(
                "INSERT INTO setting VALUES ('mark', %s) ON CONFLICT (name) DO UPDATE SET value = "
                "excluded.value",
                batch.mark,
            )
            self._in_batch(_commit)
            if self._writer is not None:
                self._mark = batch.mark
        finally:
            self.mine.batch = self.mine.connection = None
            _end(batch.connection)
            if self._writer is None:
                self.back(batch.connection)

    def run(self, statement: str, *values: Any) -> None:
        """Change something, inside a `batch`; said to the server before anything is read, or at its end."""
        batch = self.mine.batch
        assert batch is not None, "changes are made in batches"
        batch.waiting.append((statement, _sayable(values)))

    def run_many(self, statement: Any, values: Iterable[tuple[Any, ...]]) -> None:
        """Change many things, inside a `batch`."""
        for line in values:
            self.run(statement, *line)

    def number(self, sequence: str, at_once: int = 1) -> int:
        """A number that nobody else ever gets, above all before; inside a `batch`.

        Args:
            sequence: Draws it.
            at_once: How many are drawn, for this batch, where none is left.
        """
        batch = self.mine.batch
        assert batch is not None, "numbers are for what is stored"
        left = batch.numbers.setdefault(sequence, [])
        if not left:
            found = self.every("SELECT nextval(%s::regclass) FROM generate_series(1, %s)", sequence, at_once)
            left.extend(sorted((number for (number,) in found), reverse=True))
        return left.pop()

    def remembered(self, key: Hashable, read: Callable[[], _T]) -> _T:
        """What was read in this thread's batch, which nobody else changes meanwhile."""
        batch = self.mine.batch
        if batch is None:
            return read()
        if key not in batch.known:
            batch.known[key] = read()
        found: _T = batch.known[key]
        return found

    def forget(self) -> None:
        """What is remembered is about to change."""
        if self.mine.batch is not None:
            self.mine.batch.known.clear()

    def alone(self, *statements: Any) -> None:
        """Say what no transaction can hold, or what must not wait for one, such as making an index."""
        assert self.mine.connection is None, "it stands by itself"
        connection = self.taken()
        try:
            with self._plainly():
                for statement in statements:
                    connection.execute(statement)
        finally:
            self.back(connection)

    def _in_batch(self, action: Callable[[Any], _T], *, begin: bool = False) -> _T:
        """What a function gives within this thread's batch, after all that waits to be said."""
        batch = self.mine.batch
        assert batch is not None, "inside a batch"
        until, anew = time.monotonic() + PATIENCE, begin
        while True:
            try:
                with self._plainly():
                    if batch.connection.closed:
                        # Where it was kept, and only the answer was lost, nothing is left to be said.
                        anew = self._again(batch, until) != batch.mark
                    if anew:
                        batch.connection.execute("BEGIN")
                        batch.connection.execute("SELECT pg_advisory_xact_lock(%s, %s)", self._key(_BATCH))
                        _say(batch.connection, batch.said)
                        anew = False
                    _say(batch.connection, batch.waiting)
                    batch.said.extend(batch.waiting)
                    batch.waiting = []
                    return action(batch.connection)
            except ConnectionLost:
                batch.connection.close()
                if time.monotonic() > until:
                    raise

    def _again(self, batch: _Batch, until: float) -> str | None:
        """Go on with a batch on a new connection; gives the mark of the last batch that was kept.

        Raises:
            CollectionBusy: somebody else wrote in between.
        """
        batch.connection = self.mine.connection = self.taken(until)
        if self._writer is not None:
            self._writer = batch.connection
            self._take_lock(batch.connection, until)
        mark = _mark(batch.connection)
        if self._writer is not None and mark not in (self._mark, batch.mark):
            raise CollectionBusy(
                f"the connection to {self.shown} was lost, and somebody else wrote to it meanwhile; do it "
                "again, what was stored before is whole"
            )
        return mark

    def _key(self, kind: int) -> tuple[int, int]:
        return kind, zlib.crc32(self.address.collection.encode()) >> 1

    def _take_lock(self, connection: Any, until: float | None = None) -> None:
        """Take the writer's lock; for a while, where a server may not yet know that we are gone."""
        key = self._key(_WRITER)
        while not connection.execute("SELECT pg_try_advisory_lock(%s, %s)", key).fetchone()[0]:
            if until is None or time.monotonic() > until:
                who = connection.execute(
                    "SELECT application_name FROM pg_locks JOIN pg_stat_activity USING (pid) "
                    "WHERE locktype = 'advisory' AND classid = %s AND objid = %s AND granted "
                    "AND pg_locks.database = "
                    "(SELECT oid FROM pg_database WHERE datname = current_database())",
                    key,
                ).fetchone()
                told = f" ({who[0]})" if who and who[0] else ""
                raise CollectionBusy(
                    f"{self.shown} is being indexed by another process{told}; wait for it or stop it"
                )
            time.sleep(0.2)

    # Connections

    def taken(self, until: float | None = None) -> Any:
        """A connection that nobody else has until it is given `back`; asked for until then, if given."""
        while True:
            with self._lock:
                if self._closed:
                    raise CollectionError(f"{self.shown} is closed; open the collection again")
                if self._free:
                    connection = self._free.pop()
                    if not connection.closed:
                        return connection
                    continue
            try:
                return self.connect()
            except ConnectionLost:
                if until is None or time.monotonic() > until:
                    raise
                time.sleep(0.25)

    def back(self, connection: Any) -> None:
        """Give a connection back."""
        with self._lock:
            if not self._closed and not connection.closed:
                self._free.append(connection)
                return
        connection.close()

    @contextlib.contextmanager
    def _plainly(self) -> Iterator[None]:
        """A block whose errors of the server leave it in plain words."""
        import psycopg

        try:
            yield
        except psycopg.Error as error:
            raise named(error, self.address) from error


def _begun(connection: Any) -> None:
    connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    connection.execute("SELECT 1 FROM setting LIMIT 1")  # which is when the state is chosen


def _sayable(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Parameters whose texts the server takes: none holds the sign that it ends them with."""
    return tuple(one.replace("\0", "\ufffd") if isinstance(one, str) else one for one in values)


def _say(connection: Any, statements: Sequence[tuple[Any, tuple[Any, ...]]]) -> None:
    """Say statements one after the other, without waiting for the answer to each."""
    if not statements:
        return
    with connection.pipeline():
        cursor = connection.cursor()
        for statement, values in statements:
            cursor.execute(statement, values)


def _commit(connection: Any) -> None:
    if connection.info.transaction_status.name == "INTRANS":
        connection.execute("COMMIT")


def _mark(connection: Any) -> str | None:
    found = connection.execute("SELECT value FROM setting WHERE name = 'mark'").fetchone()
    return None if found is None else str(found[0])


def _end(connection: Any) -> None:
    """Leave whatever transaction a connection is in."""
    import psycopg

    with contextlib.suppress(psycopg.Error):
        if not connection.closed and connection.info.transaction_status.name != "IDLE":
            connection.execute("ROLLBACK")
    if connection.info.transaction_status.name != "IDLE":
        connection.close()
