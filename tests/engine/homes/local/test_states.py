"""What readers see while others write, and after a collection was put back from a copy."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_helpers import Paint, names
from PIL import Image

from diptych.engine.collection import Collection, open_collection
from diptych.engine.homes.local.database import Database
from diptych.engine.homes.local.record import Record
from diptych.engine.homes.local.search_files import SearchFiles
from diptych.errors import CollectionBusy, CollectionError
from diptych.testing import Colours


def draw(folder: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    for number in range(count):
        Image.fromarray(rng.integers(0, 256, (9, 9, 3), np.uint8)).save(folder / f"{number:03}.png")


def index(folder: Path) -> None:
    with open_collection(folder, model=Colours()) as collection:
        collection.add()


def test_a_collection_put_back_from_a_copy_is_told_from_its_successor(photos: Path, paint: Paint) -> None:
    draw(photos, 20)
    with open_collection(photos, model=Colours()) as collection:
        collection.add()
        collection.search("red")
        collection.make_codes(64)
        collection.home.copy_to(photos.parent / "copy.sqlite")
    red = paint("x.png", "red")
    with open_collection(photos, model=Colours()) as collection:
        collection.add()
        assert names(collection.search(red, k=1, itself=True)) == ["x.png"]
    red.unlink()
    place = photos / ".diptych"
    for file in place.glob("collection.sqlite*"):
        file.unlink()
    (photos.parent / "copy.sqlite").rename(place / "collection.sqlite")
    blue = paint("y.png", "blue")
    with open_collection(photos, model=Colours()) as collection:
        collection.add()
        for exact in (True, False):  # the row of x.png in the search files and in the codes is that of y.png
            found = collection.search(blue, k=1, exact=exact, itself=True)
            assert names(found) == ["y.png"]
            assert found[0].score == pytest.approx(1, abs=1e-3)


def test_a_reader_sees_no_unfinished_batch(photos: Path, paint: Paint) -> None:
    paint("a.png", "red")
    with open_collection(photos, model=Colours()) as collection:
        collection.add()
        seen: list[int] = []
        with collection.home.batch():
            collection.home.put_image(collection.home.put_file(b"b.png", 1, 1, b"b"), b"\0\0" * 3)
            thread = threading.Thread(target=lambda: seen.append(len(collection)))
            thread.start()
            thread.join()
            assert len(collection) == 2  # the thread whose batch it is sees it
        assert seen == [1]


def test_a_search_reads_one_state(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Items that are removed between the ranking and the reading of the hits are still told."""
    draw(photos, 30)
    index(photos)
    with (
        open_collection(photos, model=Colours()) as reader,
        open_collection(photos, model=Colours()) as other,
    ):
        expected = names(reader.search("red", k=30))
        original = Record.items

        def removing(self: Record, rows: Any, **how: Any) -> Any:
            other.remove(photos)
            return original(self, rows, **how)

        with monkeypatch.context() as patched:
            patched.setattr(Record, "items", removing)
            assert names(reader.search("red", k=30)) == expected
        assert names(reader.search("red", k=30)) == []


def test_a_search_in_an_earlier_state_does_not_turn_the_files_back(photos: Path) -> None:
    draw(photos, 10)
    index(photos)
    with (
        open_collection(photos, model=Colours()) as reader,
        open_collection(photos, model=Colours()) as other,
    ):
        before = reader.home.vectors_now("image").rows.tolist()
        with reader.home.snapshot():
            other.remove(photos / "000.png", photos / "001.png")
            (photos / "002.png").unlink()
            other.add(photos / "000.png")
            other.search("red")
            stamp = (photos / ".diptych" / "search" / "image.json").read_text()
            fresh = SearchFiles(
                reader.home,
                "image",
                kind="cosine",
                folder=photos / ".diptych" / "search",  # type: ignore[arg-type]
            )
            assert fresh.rows.tolist() == before
            assert (photos / ".diptych" / "search" / "image.json").read_text() == stamp


def test_connections_do_not_grow_with_threads(tmp_path: Path) -> None:
    record = Record(tmp_path / "collection.sqlite", tmp_path)
    for _ in range(30):
        thread = threading.Thread(target=lambda: record.count("image"))
        thread.start()
        thread.join()
    assert len(record._db._free) == 1
    record.close()


# What is wrong with the disk, and what with the file


@pytest.mark.parametrize(
    ("code", "error", "words"),
    [
        (sqlite3.SQLITE_FULL, CollectionError, "is full; make room"),
        (sqlite3.SQLITE_IOERR_READ, CollectionError, "look at the disk"),
        (sqlite3.SQLITE_READONLY, CollectionError, "permissions"),
        (sqlite3.SQLITE_BUSY, CollectionBusy, "held by another process"),
        (sqlite3.SQLITE_CORRUPT, CollectionError, "delete it and index again"),
    ],
)
def test_deletion_is_advised_only_for_damage(
    tmp_path: Path, code: int, error: type[CollectionError], words: str
) -> None:
    failure = sqlite3.OperationalError("disk error")
    failure.sqlite_errorcode = code
    told = Database(tmp_path / "x.sqlite").named(failure)
    assert type(told) is error
    assert words in str(told)
    assert ("delete" in str(told)) == (code == sqlite3.SQLITE_CORRUPT)


def test_on_a_full_disk_it_can_be_searched(
    photos: Path, paint: Paint, monkeypatch: pytest.MonkeyPatch
) -> None:
    paint("red.png", "red")
    index(photos)
    real = sqlite3.connect

    class Full(sqlite3.Connection):
        def execute(self, *args: Any) -> Any:
            if str(args[0]).startswith("PRAGMA journal_mode"):
                error = sqlite3.OperationalError("database or disk is full")
                error.sqlite_errorcode = sqlite3.SQLITE_FULL
                raise error
            return super().execute(*args)

    def connect(path: Any, **how: Any) -> Any:
        return real(path, **how, factory=sqlite3.Connection if "immutable" in str(path) else Full)

    monkeypatch.setattr(sqlite3, "connect", connect)
    with open_collection(photos, model=Colours()) as collection:
        assert names(collection.search("red")) == ["red.png"]
        paint("blue.png", "blue")
        with pytest.raises(CollectionError, match=r"permissions|disk") as caught:
            collection.add()
        assert "delete" not in str(caught.value)


def test_damage_beyond_the_first_page_is_a_sentence(photos: Path) -> None:
    draw(photos, 200)
    index(photos)
    path = photos / ".diptych" / "collection.sqlite"
    whole = path.read_bytes()
    rng = np.random.default_rng(1)
    failed = 0
    for _ in range(12):
        data = bytearray(whole)
        for page in rng.integers(1, len(whole) // 4096, 5):
            data[page * 4096 : page * 4096 + 4096] = rng.bytes(4096)
        path.write_bytes(data)
        try:
            with open_collection(photos, model=Colours()) as collection:
                collection.info()
                collection.search("red", k=200)
                (photos / "000.png").touch()
                collection.add()
        except CollectionError:
            failed += 1
    assert failed


# Files beside the record


def odd(**values: Any) -> Any:
    return lambda stamp: stamp | values


@pytest.mark.parametrize(
    "change",
    [
        odd(count=-1), odd(count=10**18), odd(count="9"), odd(count=True), odd(count=2.5), odd(width=0),
        odd(width=3), odd(width=10**12), odd(removed="%"), odd(removed="AAAA"), odd(kind="dot"), odd(seen=0),
        odd(generation=-5), odd(token=[]), odd(format=99), odd(vectors_sum=None), odd(more=1), odd(count=0),
        odd(count=7), odd(width=2),
        lambda stamp: {"count": stamp["count"]},
    ],
)  # fmt: skip
def test_odd_headers_are_built_again(photos: Path, change: Any) -> None:
    draw(photos, 8)
    index(photos)
    with open_collection(photos, model=Colours()) as collection:
        expected = names(collection.search("red"))
    path = photos / ".diptych" / "search" / "image.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with open_collection(photos, model=Colours()) as collection:
        assert names(collection.search("red")) == expected
    assert json.loads(path.read_text())["count"] == 8


def coded(collection: Collection) -> Any:
    return collection.home.coded(collection.home.get("codes"))  # type: ignore[attr-defined]


@pytest.mark.parametrize("part", ["codes", "rows", "facts"])
def test_damaged_codes_are_made_again(photos: Path, part: str) -> None:
    draw(photos, 150)
    with open_collection(photos, model=Colours()) as collection:
        collection.add()
        collection.make_codes(64)
        expected = coded(collection)._index().codes.copy()
    path = photos / ".diptych" / "search" / "image.codes"
    data = bytearray(path.read_bytes())
    start = data.index(b"\n") + 1
    if part == "codes":
        data[start : start + 150 * 8] = os.urandom(150 * 8)
    elif part == "rows":  # the sum knows their order
        rows = np.frombuffer(bytes(data[start + 150 * 8 :]), np.int64)[::-1]
        data[start + 150 * 8 :] = rows.tobytes()
    else:
        data = data.replace(b'"count": 150', b'"count": "a"')
    path.write_bytes(data)
    with open_collection(photos, model=Colours()) as collection:
        np.testing.assert_array_equal(coded(collection)._index().codes, expected)


def test_odd_facts_of_codes_leave_exact_search(photos: Path) -> None:
    draw(photos, 20)
    with open_collection(photos, model=Colours()) as collection:
        collection.add()
        expected = names(collection.search("red", exact=True))
        for told in ("{", "[]", '{"bits": 8}'):
            with collection.home.batch(changes=False):
                collection.home.set("codes", told)
            assert names(collection.search("red")) == expected
            assert collection.info()["codes"] is None


def test_opening_reads_neither_the_vectors_nor_every_row(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless something else wrote to the files, and then only once."""
    from diptych.engine.homes.local import search_files

    draw(photos, 40)
    index(photos)
    summed: list[int] = []
    numbers: list[str] = []
    crc32, row_numbers = search_files.zlib.crc32, Record.row_numbers

    def summing(data: Any, before: int = 0) -> int:
        summed.append(len(memoryview(data).cast("B")))
        return int(crc32(data, before))

    def reading(self: Record, side: Any) -> Any:
        numbers.append(side)
        return row_numbers(self, side)

    def searched() -> tuple[int, int]:
        summed.clear()
        numbers.clear()
        with open_collection(photos, model=Colours()) as collection:
            assert len(collection.search("red", k=99)) == len(list(photos.glob("*.png")))
        return sum(summed), len(numbers)

    monkeypatch.setattr(search_files.zlib, "crc32", summing)
    monkeypatch.setattr(Record, "row_numbers", reading)
    assert searched()[0] == 40 * (6 + 8)  # built
    assert searched() == (0, 0)
    Image.new("RGB", (5, 5), "red").save(photos / "new.png")
    index(photos)
    assert searched() == (6 + 8, 0)  # only what was appended
    for number in range(3):
        (photos / f"{number:03}.png").unlink()
    index(photos)
    assert searched() == (0, 1)  # some were removed: which?
    assert searched() == (0, 0)
    for file in (photos / ".diptych" / "search").iterdir():
        os.utime(file)  # as copying does
    assert searched() == (41 * (6 + 8), 0)
    assert searched() == (0, 0)
