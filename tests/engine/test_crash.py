"""Nothing is lost, doubled or mixed up when a process is killed; and the harness that says so sees losses."""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from crash_harness import Harness, look

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="there is no kill -9 there"),
    pytest.mark.slow,
]


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_forty_times_nothing_is_lost(tmp_path: Path, seed: int) -> None:
    harness = Harness(tmp_path, seed)
    harness.go(20)
    assert harness.losses == []
    assert harness.kills.total() == 20
    ops = {"update", "remove", "compact", "codes", "beside", "rebuild", "change", "migrate"}
    assert set(harness.kills) >= ops
    assert harness.compared > 4


# What it would see


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    harness = Harness(tmp_path_factory.mktemp("planted"))
    harness.make(12)
    harness.run("index", "tiny", kill=False)
    harness.finish("index")
    assert harness.losses == []
    return harness.root


@pytest.fixture
def indexed(made: Path, tmp_path: Path) -> Harness:
    shutil.copytree(made, tmp_path / "copy")
    return Harness(tmp_path / "copy")


def lost(database: sqlite3.Connection) -> None:
    database.execute("DELETE FROM file WHERE path = CAST('003.png' AS BLOB)")


def lost_caption(database: sqlite3.Connection) -> None:
    database.execute("DELETE FROM item WHERE row = (SELECT min(row) FROM item WHERE text LIKE 'red %')")


def doubled(database: sqlite3.Connection) -> None:
    database.execute("INSERT INTO item (file, side) SELECT file, side FROM item WHERE side = 'image' LIMIT 1")
    database.execute(
        "INSERT INTO vector SELECT (SELECT max(row) FROM item), vector_column, vector FROM vector LIMIT 1"
    )


def exchanged(database: sqlite3.Connection) -> None:
    """Two pictures have each other's vectors."""
    (one, first), (other, second) = database.execute(
        "SELECT row, vector FROM vector JOIN item USING (row) WHERE side = 'image' LIMIT 2"
    ).fetchall()
    database.execute("UPDATE vector SET vector = ? WHERE row = ?", (second, one))
    database.execute("UPDATE vector SET vector = ? WHERE row = ?", (first, other))


def bare(database: sqlite3.Connection) -> None:
    database.execute("DELETE FROM vector WHERE row = (SELECT max(row) FROM vector)")


def other_collection(database: sqlite3.Connection) -> None:
    database.execute("UPDATE setting SET value = 'other' WHERE name = 'id'")


@pytest.mark.parametrize(
    ("plant", "op", "told"),
    [
        (lost, "update", "003.png was stored and is gone"),
        (lost_caption, "finish", "items expected"),
        (doubled, "search", "doubled"),
        (exchanged, "search", "another vector than its content"),
        (bare, "search", "1 items have no vector"),
        (other_collection, "update", "the collection is another one"),
    ],
)
def test_a_planted_loss_is_seen(
    indexed: Harness, plant: Callable[[sqlite3.Connection], None], op: str, told: str
) -> None:
    before = look(indexed.folder)
    with closing(sqlite3.connect(indexed.folder / ".diptych" / "collection.sqlite")) as database:
        database.execute("PRAGMA foreign_keys = ON")
        plant(database)
        database.commit()
    if op == "finish":
        indexed.finish(op)
    else:
        indexed.after(op, before, None)
    assert any(told in loss for loss in indexed.losses), indexed.losses


def test_a_search_file_that_lies_is_seen(indexed: Harness) -> None:
    """With its times put back, nothing but a comparison with what is stored can tell."""
    path = indexed.folder / ".diptych" / "search" / "image.vectors"
    times = path.stat()
    path.write_bytes(bytes(times.st_size))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    indexed.after("search", None, None)
    assert any("scores of image differ" in loss for loss in indexed.losses)


def test_a_child_that_fails_by_itself_is_seen(indexed: Harness) -> None:
    indexed.run("update", "other", kill=False)
    assert any("ended by itself" in loss and "WrongModel" in loss for loss in indexed.losses)
