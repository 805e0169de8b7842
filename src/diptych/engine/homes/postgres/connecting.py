"""Connects to a PostgreSQL server, and says in plain words what it says is wrong."""

from __future__ import annotations

import functools
import os
import re
import socket
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych.engine.homes.address import Address
from diptych.errors import CollectionBusy, CollectionError, ConnectionLost
from diptych.optional import optional

__all__ = ["Connector", "named"]

LEAST = (0, 8)
"""The first version of pgvector with half precision, Hamming distance and filtered walks of graphs."""

_ROWS = 1016  # number of the type bigint[], the same on every server
_STARTING = 30.0  # seconds for which a server that is about to answer is waited for
_REFUSED = re.compile(r"password authentication failed|no password supplied|authentication failed|pg_hba")
_ABSENT = re.compile(r'(database|role) "[^"]*" does not exist')
_COMING = re.compile(r"starting up|shutting down|not yet accepting|in recovery mode")


class Connector:
    """Opens connections to one collection.

    Args:
        address: Of the server and the collection.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self._psycopg = optional("psycopg", "a collection in PostgreSQL", "postgres")
        optional("pgvector.psycopg", "a collection in PostgreSQL", "postgres")
        self._types: list[Any] = []
        self._vectors_in: str | None = None

    def __call__(self) -> Any:
        """A new connection, in no transaction.

        Raises:
            ConnectionLost: nobody answers.
            CollectionError: the server refuses.
        """
        until = time.monotonic() + _STARTING
        while True:
            try:
                connection = self._psycopg.connect(
                    self.address.url,
                    autocommit=True,
                    connect_timeout=10,
                    keepalives_idle=30,
                    application_name=f"diptych: process {os.getpid()} on {socket.gethostname()}"[:63],
                )
                break
            except self._psycopg.Error as error:
                said = str(error)
            if not _COMING.search(said) or time.monotonic() > until:
                # Not from the error, which may repeat the address with its password.
                raise _refused(said, self.address) from None
            time.sleep(0.25)
        try:
            self.prepare(connection)
        except self._psycopg.Error as error:
            connection.close()
            raise named(error, self.address) from error
        return connection

    def prepare(self, connection: Any) -> None:
        """Let a connection find the collection's tables, and know the types of vectors if they are there."""
        from pgvector.psycopg.bit import register_bit_info
        from pgvector.psycopg.halfvec import register_halfvec_info
        from pgvector.psycopg.vector import register_vector_info
        from psycopg import sql
        from psycopg.types import TypeInfo

        if self._vectors_in is None:
            found = connection.execute(
                "SELECT nspname FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace "
                "WHERE extname = 'vector'"
            ).fetchone()
            self._vectors_in = None if found is None else str(found[0])
        within = [self.address.collection, *([self._vectors_in] if self._vectors_in else [])]
        connection.execute(
            sql.SQL("SET search_path TO {}").format(sql.SQL(", ").join(map(sql.Identifier, within)))
        )
        if self._vectors_in and not self._types:
            self._types = [TypeInfo.fetch(connection, name) for name in ("bit", "halfvec", "vector")]
        registers = (register_bit_info, register_halfvec_info, register_vector_info)
        for register, info in zip(registers, self._types, strict=False):
            if info is not None:  # of a version of pgvector that is too old, which is said elsewhere
                register(connection, info)
        for dumper in _rows_dumpers():
            connection.adapters.register_dumper(np.ndarray, dumper)


@functools.cache
def _rows_dumpers() -> tuple[Any, Any]:
    """How rows are said to a server: as text where they stand in a statement, else in binary form."""
    from psycopg.adapt import Dumper
    from psycopg.pq import Format

    class RowsText(Dumper):
        """Rows (n,) int64 as the text of an array."""

        oid = _ROWS

        def dump(self, obj: NDArray[np.int64]) -> bytes:
            return b"{" + ",".join(map(str, obj.tolist())).encode() + b"}"

    class RowsBinary(Dumper):
        """Rows (n,) int64 as a bigint[] in binary form: a head, and each number after its length."""

        format = Format.BINARY
        oid = _ROWS

        def dump(self, obj: NDArray[np.int64]) -> bytes:
            head = np.array([1, 0, 20, len(obj), 1], ">i4") if len(obj) else np.array([0, 0, 20], ">i4")
            lines = np.empty(len(obj), np.dtype([("length", ">i4"), ("row", ">i8")]))
            lines["length"], lines["row"] = 8, obj
            return head.tobytes() + lines.tobytes()

    return RowsText, RowsBinary


def _refused(said: str, address: Address) -> CollectionError:
    """What a server that could not be connected to has said."""
    if _REFUSED.search(said):
        return CollectionError(
            f"{address.shown} refuses user and password; look at both, and give the password in PGPASSWORD "
            "or in the file ~/.pgpass rather than in the address"
        )
    if found := _ABSENT.search(said):
        return CollectionError(
            f"{address.shown} cannot be used: {found[0]} on that server; make it, or look at the address"
        )
    if "invalid" in said and "connection" not in said:
        return CollectionError(
            f"{address.shown} is no address that PostgreSQL's own client takes; write one such as "
            "postgresql://user@host:5432/database, with signs in names as %40 for @"
        )
    return ConnectionLost(
        f"{address.shown} does not answer ({address.hidden(said)[:300]}); look whether the server runs and "
        "can be reached from here"
    )


_WORDS = {
    "53100": "the disk of {shown} is full; make room there and do it again, what was stored before is whole",
    "53200": "{shown} has no memory left; do it again, what was stored before is whole",
    "53300": "{shown} takes no more connections; close others, or raise max_connections there",
    "25006": "{shown} can only be read; write to the server that it is a copy of",
    "42501": "the user of {shown} may not do this ({said}); grant it rights on the schema {name}",
    "54000": "{shown} takes no name of a file or text as long as one of these ({said}); leave it out",
}
_BUSY = ("55P03", "40P01", "40001", "57014")


def named(error: Any, address: Address) -> CollectionError:
    """What an error of the server means for a collection, and what to do about it."""
    state = error.sqlstate or ""
    said = address.hidden(getattr(getattr(error, "diag", None), "message_primary", None) or str(error))[:300]
    if is_lost(error):
        return ConnectionLost(
            f"the connection to {address.shown} was lost ({said}); do it again once the server answers, what "
            "was stored before is whole"
        )
    if state in _WORDS:
        return CollectionError(_WORDS[state].format(shown=address.shown, said=said, name=address.collection))
    if state in _BUSY:
        return CollectionBusy(f"{address.shown} is busy with another's work ({said}); do it again")
    if state in ("42P01", "3F000", "42703"):
        return CollectionError(
            f"{address.shown} holds no whole collection ({said}); restore it from a copy, or drop the schema "
            f"{address.collection} there and index again"
        )
    return CollectionError(f"{address.shown} could not do what was asked ({said})")


def is_lost(error: Any) -> bool:
    """Whether an error says that the connection is no more."""
    import psycopg

    state = error.sqlstate or ""
    if state[:2] == "08" or state in ("57P01", "57P02", "57P03", "57P05"):
        return True
    return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) and not state
