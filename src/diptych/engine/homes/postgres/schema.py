"""The tables of a collection in PostgreSQL, and how those of earlier versions become today's.

As in `diptych.engine.homes.local.migrations`: each migration is numbered by the format that it leads to,
takes place in one transaction with that number, and is never edited once it was released.
"""

from __future__ import annotations

import json
import os
import secrets
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diptych.engine.homes.address import Address
from diptych.engine.homes.postgres.connecting import LEAST, Connector, named
from diptych.errors import CollectionError, TooNew

__all__ = ["MIGRATIONS", "SCHEMA_VERSION", "bring_up_to_date", "make", "version_of"]

EXTENSION = "vector"
"""The extension of PostgreSQL that compares vectors."""

_TOKENS = (
    "asciiword, word, numword, asciihword, hword, numhword, hword_asciipart, hword_part, hword_numpart, "
    "email, host, url, url_path, file, sfloat, float, int, uint, version"
)

_FIRST = (
    "CREATE TABLE setting (name text PRIMARY KEY, value text NOT NULL)",
    "CREATE TABLE batch (generation bigint PRIMARY KEY, token text NOT NULL)",
    """CREATE TABLE file (
        id bigint PRIMARY KEY,
        path bytea NOT NULL UNIQUE,
        size bigint NOT NULL, mtime_ns bigint NOT NULL,
        hash bytea NOT NULL,
        captions text NOT NULL DEFAULT ''
    )""",
    "CREATE SEQUENCE file_id OWNED BY file.id",
    "CREATE INDEX file_by_hash ON file (hash)",
    # A row number is never used twice, and later ones are larger: they are drawn by the one who may write.
    """CREATE TABLE item (
        row bigint PRIMARY KEY,
        file bigint NOT NULL REFERENCES file (id) ON DELETE CASCADE,
        side text NOT NULL CHECK (side IN ('image', 'text')),
        text text,
        source text NOT NULL DEFAULT '',
        words tsvector
    )""",
    "CREATE SEQUENCE item_row OWNED BY item.row",
    "CREATE INDEX item_by_file ON item (file)",
    "CREATE INDEX item_by_side ON item (side, row)",
    "CREATE INDEX item_by_text ON item USING hash (text) WHERE text IS NOT NULL",
    "CREATE INDEX picture_words ON item USING gin (words) WHERE side = 'image'",
    "CREATE INDEX text_words ON item USING gin (words) WHERE side = 'text'",
    # English endings are cut as elsewhere in Diptych (Porter); words are told apart before they come here.
    "CREATE TEXT SEARCH DICTIONARY porter (TEMPLATE = snowball, LANGUAGE = porter)",
    "CREATE TEXT SEARCH CONFIGURATION words (PARSER = default)",
    f"ALTER TEXT SEARCH CONFIGURATION words ADD MAPPING FOR {_TOKENS} WITH porter",
    "CREATE TABLE skipped (path bytea PRIMARY KEY, reason text NOT NULL, size bigint NOT NULL, "
    "mtime_ns bigint NOT NULL)",
    "CREATE TABLE removed (path bytea PRIMARY KEY)",
    "CREATE TABLE field (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL UNIQUE)",
    # A value is a text, compared byte by byte, or a number; `shown` is how a text was written.
    """CREATE TABLE fact (
        file bigint NOT NULL REFERENCES file (id) ON DELETE CASCADE,
        field integer NOT NULL REFERENCES field (id),
        text text COLLATE "C",
        number numeric,
        shown text,
        CHECK ((text IS NULL) <> (number IS NULL))
    )""",
    "CREATE INDEX fact_by_file ON fact (file)",
    # The longest values do not fit into an index.
    'CREATE INDEX fact_by_text ON fact (field, left(text, 250) COLLATE "C")',
    "CREATE INDEX fact_by_number ON fact (field, number)",
    """CREATE TABLE vector_column (
        id integer PRIMARY KEY,
        name text NOT NULL UNIQUE,
        model text NOT NULL, fingerprint text NOT NULL, similarity text NOT NULL,
        dimensions integer NOT NULL,
        type text NOT NULL CHECK (type IN ('float16', 'bits')),
        filled bigint NOT NULL DEFAULT 0
    )""",
    "CREATE SEQUENCE vector_column_id OWNED BY vector_column.id",
    """CREATE TABLE inscription (
        hash bytea PRIMARY KEY,
        state text NOT NULL CHECK (state IN ('read', 'nothing', 'failed')),
        said text NOT NULL
    )""",
)

MIGRATIONS: Mapping[int, tuple[str, ...]] = {1: _FIRST}
"""The statements that lead to each format from the one before; a new collection goes through all of them."""

SCHEMA_VERSION = max(MIGRATIONS)


def version_of(connection: Any, address: Address) -> int:
    """The format of the collection at an address; 0 if there is none.

    Raises:
        CollectionError: the schema holds something else.
    """
    if connection.execute("SELECT to_regnamespace(%s)", (f'"{address.collection}"',)).fetchone()[0] is None:
        return 0
    if (
        connection.execute("SELECT to_regclass(%s)", (f'"{address.collection}".setting',)).fetchone()[0]
        is None
    ):
        count = connection.execute(
            "SELECT count(*) FROM pg_class WHERE relnamespace = to_regnamespace(%s)",
            (f'"{address.collection}"',),
        ).fetchone()[0]
        if not count:
            return 0  # a schema that was made for it
        raise CollectionError(
            f"the schema {address.collection} of {address.shown} holds something else; name another with "
            "?collection=..."
        )
    found = connection.execute("SELECT value FROM setting WHERE name = 'schema'").fetchone()
    if found is None or not found[0].isdecimal():
        raise CollectionError(
            f"the schema {address.collection} of {address.shown} holds no whole collection; restore it from "
            "a copy, or drop that schema and index again"
        )
    return int(found[0])


def make(connector: Connector, folder: Path) -> None:
    """Make the tables of a new collection; nothing happens if another was faster.

    Args:
        connector: To the server.
        folder: That names are relative to.

    Raises:
        CollectionError: the extension is missing or too old, or the user may make no schema.
    """
    import psycopg
    from psycopg import sql

    address = connector.address
    connection = connector()
    try:
        _have_vectors(connection, address)
        with connection.transaction():
            # Else two who found the same at one moment get in each other's way.
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (0x64697074,))
            connection.execute(
                sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(address.collection))
            )
        bring_up_to_date(connection, address, folder)
    except psycopg.Error as error:
        raise named(error, address) from error
    finally:
        connection.close()


def bring_up_to_date(connection: Any, address: Address, folder: Path | None = None) -> None:
    """Bring a collection's tables to today's format; nothing happens if they are there.

    Args:
        connection: In no transaction.
        address: Of the collection.
        folder: That names of a new one are relative to.

    Raises:
        TooNew: it was written by a later version of Diptych.
    """
    version = version_of(connection, address)
    if version > SCHEMA_VERSION:
        raise TooNew(
            f"{address.shown} was written by a later version of Diptych (format {version}, this one knows up "
            f"to {SCHEMA_VERSION}); install the newest version"
        )
    for number in sorted(MIGRATIONS):
        if number > version:
            _step(connection, address, number, folder)


def _step(connection: Any, address: Address, number: int, folder: Path | None) -> None:
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (0x64697074,))
        if version_of(connection, address) >= number:
            return  # another was faster
        for statement in MIGRATIONS[number]:
            connection.execute(statement)
        if number == 1:
            settings = {"id": uuid.uuid4().hex, "folder": json.dumps(os.fspath(folder or Path.cwd()))}
            for name, value in settings.items():
                connection.execute("INSERT INTO setting VALUES (%s, %s)", (name, value))
            connection.execute("INSERT INTO batch VALUES (0, %s)", (secrets.token_hex(16),))
        connection.execute(
            "INSERT INTO setting VALUES ('schema', %s) ON CONFLICT (name) DO UPDATE SET value = "
            "excluded.value",
            (str(number),),
        )


def _have_vectors(connection: Any, address: Address) -> None:
    """See that the extension for vectors is there, and new enough; made, where this user may."""
    import psycopg

    try:
        connection.execute(f"CREATE EXTENSION IF NOT EXISTS {EXTENSION} SCHEMA public")
    except psycopg.Error as error:
        if error.sqlstate == "42501":
            raise CollectionError(
                f"{address.shown} has no extension vector yet, and its user may not make it; let an "
                "administrator say there: CREATE EXTENSION vector"
            ) from error
        if error.sqlstate in ("0A000", "58P01", "22023"):
            raise CollectionError(
                f"the server of {address.shown} has no pgvector, which compares vectors; install pgvector "
                f"{LEAST[0]}.{LEAST[1]} or later on that machine"
            ) from error
        raise
    found = connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchone()
    version = tuple(int(part) for part in str(found[0]).split(".")[:2] if part.isdecimal())
    if version < LEAST:
        raise CollectionError(
            f"{address.shown} has pgvector {found[0]}, and a collection needs {LEAST[0]}.{LEAST[1]} or "
            "later; install a later one on that machine, then say there: ALTER EXTENSION vector UPDATE"
        )
