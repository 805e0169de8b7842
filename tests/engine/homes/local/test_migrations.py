"""Collections of earlier versions open, answer as they did, and lose nothing on the way."""

from __future__ import annotations

import contextlib
import functools
import os
import sqlite3
import zipfile
from pathlib import Path
from typing import Any

import pytest

import diptych
from diptych.engine.homes.local import migrations
from diptych.engine.homes.local.database import Database
from diptych.engine.homes.local.record import Record
from diptych.errors import CollectionError

# What the version that made the collection answered.
ANSWERS = {
    "red-circle.png": 0.282724,
    "blue.jpg": 0.15588,
    "green-square.png": 0.1129,
    "sub/pink.webp": 0.102057,
    "sub/yellow.png": 0.098686,
}


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """A collection of format 1: codes of 64 bits, captions of every kind, a removed and a skipped file."""
    with zipfile.ZipFile(Path(__file__).with_name("schema1.zip")) as archive:
        archive.extractall(tmp_path)
        for entry in archive.infolist():  # a file of the same time counts as unchanged
            when = sqlite_time(tmp_path / "schema1" / ".diptych", entry.filename)
            if when is not None:
                os.utime(tmp_path / entry.filename, ns=(when, when))
    return tmp_path / "schema1"


def sqlite_time(place: Path, name: str) -> int | None:
    """The time that a collection remembers of a file; the archive's own is coarser."""
    database = sqlite3.connect(place / "collection.sqlite")
    key = name.removeprefix("schema1/").encode()
    found = database.execute(
        "SELECT mtime_ns FROM file WHERE path = ?1 UNION SELECT mtime_ns FROM skipped WHERE path = ?1", (key,)
    ).fetchone()
    database.close()
    return None if found is None or found[0] < 0 else int(found[0])


def tables(path: Path) -> dict[str, Any]:
    database = sqlite3.connect(path)
    try:
        names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: database.execute(f"SELECT * FROM {name}").fetchall() for name in names}
    finally:
        database.close()


def test_it_answers_as_before(first: Path) -> None:
    with diptych.open(first) as collection:
        found = collection.search("a red circle", k=10)
        assert {result.id: round(result.score, 6) for result in found} == pytest.approx(ANSWERS, abs=2e-6)
        info = collection.info()
        assert (info["images"], info["texts"], info["check"]) == (5, 7, "ok")
        assert info["codes"]["bits"] == 64
        assert collection.home.coded(collection.home.get("codes")).usable
        assert len(collection.search("yellow", to="text", k=10)) == 7


def test_nothing_is_encoded_anew(first: Path) -> None:
    with diptych.open(first) as collection:
        summary = collection.add()
        assert summary.encoded == 0
        assert [skipped.path.name for skipped in summary.skipped] == ["broken.jpg"]
        (first / "again.jpg").write_bytes((first / "blue.jpg").read_bytes())
        summary = collection.add()
        assert (summary.added, summary.encoded) == (1, 0)


def test_rows_of_what_was_removed_are_not_given_again(first: Path) -> None:
    path = first / ".diptych" / "collection.sqlite"
    database = sqlite3.connect(path)
    last = database.execute("SELECT seq FROM sqlite_sequence WHERE name = 'item'").fetchone()[0]
    database.execute("DELETE FROM item WHERE row = (SELECT max(row) FROM item)")
    database.commit()
    database.close()
    record = Record(path, first)
    with record.batch():
        record.put_image(record.put_file(b"new.jpg", 1, 1, b"new"), b"\0\0")
    assert record.rows_of(b"new.jpg") == [last + 1]
    record.close()


class Killed(BaseException):
    pass


class Dying(sqlite3.Connection):
    """Dies after so many statements that change something."""

    left = 0

    def execute(self, *args: Any) -> Any:
        done = super().execute(*args)
        Dying.left -= str(args[0]).split()[0] in ("CREATE", "INSERT", "DELETE", "DROP", "ALTER")
        if Dying.left < 0:
            raise Killed
        return done


def test_killed_in_the_middle_it_is_whole_and_old(first: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = first / ".diptych" / "collection.sqlite"
    before = tables(path)
    statements = len(migrations.MIGRATIONS[2])
    assert statements > 10
    real = sqlite3.connect
    for left in range(statements, -1, -1):
        Dying.left = left
        monkeypatch.setattr(sqlite3, "connect", functools.partial(real, factory=Dying))
        with pytest.raises(Killed):
            Record(path, first)
        monkeypatch.undo()
        assert tables(path) == before
    with diptych.open(first) as collection:
        assert collection.info()["check"] == "ok"
        assert collection.add().encoded == 0


def test_where_nothing_can_be_written_a_copy_is_read(first: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = first / ".diptych" / "collection.sqlite"
    before = path.read_bytes()
    real = Database._connected

    def readonly(self: Database) -> sqlite3.Connection:
        """As on a read-only disk, which a superuser cannot be shown."""
        if self.path != path:
            return real(self)
        self.readonly = True
        return sqlite3.connect(
            f"{self.path.as_uri()}?immutable=1", uri=True, isolation_level=None, check_same_thread=False
        )

    monkeypatch.setattr(Database, "_connected", readonly)
    with diptych.open(first) as collection:
        found = collection.search("a red circle", k=1)
        assert [result.id for result in found] == ["red-circle.png"]
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE setting SET value = 'one' WHERE name = 'schema'",
        "DELETE FROM setting WHERE name = 'schema'",
        "DROP TABLE setting",
        "DROP TABLE item",
    ],
)
def test_what_is_no_whole_collection_is_refused_in_a_sentence(first: Path, damage: str) -> None:
    database = sqlite3.connect(first / ".diptych" / "collection.sqlite")
    database.execute(damage)
    database.commit()
    database.close()
    with pytest.raises(CollectionError, match="delete it and index again"):
        diptych.open(first)


def brought_to(number: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a folder's collection, after the migrations up to a format."""
    path = folder / ".diptych" / "collection.sqlite"
    with monkeypatch.context() as earlier:
        known = {one: what for one, what in migrations.MIGRATIONS.items() if one <= number}
        earlier.setattr(migrations, "MIGRATIONS", known)
        earlier.setattr(migrations, "SCHEMA_VERSION", number)
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
            migrations.migrate(database)
    return path


def test_columns_of_format_4_are_as_they_were(first: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = brought_to(4, first, monkeypatch)
    before = tables(path)
    with diptych.open(first) as collection:
        found = collection.search("a red circle", k=10)
        assert {result.id: round(result.score, 6) for result in found} == pytest.approx(ANSWERS, abs=2e-6)
        (model,) = collection.models()
        assert (model.name, model.default, model.images, model.texts) == ("builtin", True, 5, 7)
    after = tables(path)
    assert [line[:-1] for line in after["vector_column"]] == before["vector_column"]
    assert after["vector"] == before["vector"]


def test_nobody_has_looked_for_text_in_pictures_of_format_5(
    first: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = brought_to(5, first, monkeypatch)
    before = tables(path)
    with diptych.open(first) as collection:
        found = collection.search("a red circle", k=10)
        assert {result.id: round(result.score, 6) for result in found} == pytest.approx(ANSWERS, abs=2e-6)
        assert collection.home.count_unread() == 5
        assert list(collection.home.inscriptions()) == []
    after = tables(path)
    assert {name: after[name] for name in before if name != "setting"} == {
        name: lines for name, lines in before.items() if name != "setting"
    }
