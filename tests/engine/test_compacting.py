"""What was removed gives its room back, while others read on."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from engine_helpers import Paint, content

from diptych.engine.collection import open_collection
from diptych.testing import Colours

LONG = "a caption of many words " * 60


def database(folder: Path) -> Path:
    return folder / ".diptych" / "collection.sqlite"


def size(folder: Path) -> int:
    return sum(one.stat().st_size for one in (folder / ".diptych").glob("collection.sqlite*"))


@pytest.fixture
def filled(photos: Path, paint: Paint) -> Path:
    for number in range(200):
        paint(f"{number:03}.png", (number, 7, 7)).with_suffix(".txt").write_text(f"{number} {LONG}")
    with open_collection(photos, model=Colours()) as collection:
        collection.add()
    return photos


@pytest.mark.parametrize("how", ["removed", "deleted"])
def test_the_file_gets_smaller_while_a_reader_reads_one_state(filled: Path, how: str) -> None:
    before = size(filled)
    with open_collection(filled, model=Colours()) as reader, reader.home.snapshot():
        seen = content(reader)
        with open_collection(filled, model=Colours()) as writer:
            if how == "removed":
                writer.remove(*sorted(filled.glob("*.png"))[20:])
            else:
                for path in sorted(filled.glob("*.png"))[20:]:
                    path.unlink()
                writer.add()
            assert writer.count("image") == 20
            left = content(writer)
        assert content(reader) == seen
        assert len(seen) == 400
    with open_collection(filled, model=Colours()) as collection:
        collection.search("red")
        assert content(collection) == left
        collection.add(filled / "000.png")
    assert size(filled) < before / 2
    with closing(sqlite3.connect(database(filled))) as opened:
        assert opened.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_little_that_is_free_is_left(filled: Path) -> None:
    before = database(filled).stat().st_ino, np.fromfile(database(filled), np.uint8)
    with open_collection(filled, model=Colours()) as collection:
        collection.remove(filled / "000.png")
        with closing(sqlite3.connect(database(filled))) as opened:
            assert opened.execute("PRAGMA freelist_count").fetchone()[0] > 0
    assert len(np.fromfile(database(filled), np.uint8)) == len(before[1])


def test_where_there_is_no_room_to_write_it_anew_nothing_changes(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed: list[str] = []
    real, connect = sqlite3.Connection.execute, sqlite3.connect

    class Full(sqlite3.Connection):
        def execute(self, *args: object) -> sqlite3.Cursor:
            if args[0] == "VACUUM":
                failed.append("VACUUM")
                error = sqlite3.OperationalError("database or disk is full")
                error.sqlite_errorcode = sqlite3.SQLITE_FULL
                raise error
            return real(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(sqlite3, "connect", lambda *a, **how: connect(*a, **{**how, "factory": Full}))
    with open_collection(filled, model=Colours()) as collection:
        assert collection.remove(*sorted(filled.glob("*.png"))[20:]) == 180
        assert collection.count("image") == 20
    assert failed == ["VACUUM"]
