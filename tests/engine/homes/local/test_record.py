"""The record by itself: what is put is there, batches are whole, rows are never given twice."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from diptych.engine.homes.entries import Caption
from diptych.engine.homes.local.record import Record
from diptych.errors import CollectionError


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Record]:
    made = Record(tmp_path / "collection.sqlite", tmp_path)
    with made.batch():
        made.put_column("main", "colours", "colours:1", "cosine", 1)
    yield made
    made.close()


def put(record: Record, key: bytes, *texts: str, digest: bytes = b"") -> int:
    """A picture with captions; its vector is its name, theirs are the texts."""
    with record.batch():
        file = record.put_file(key, 1, 2, digest or key)
        record.put_image(file, key)
        record.put_captions(file, "stamp", [Caption(text, text.encode(), "sidecar") for text in texts])
    return file


def test_what_is_put_is_there(record: Record, tmp_path: Path) -> None:
    file = put(record, b"a/x.png", "one", "two")
    known = record.file(b"a/x.png")
    assert known is not None
    assert (known.id, known.size, known.mtime_ns, known.hash) == (file, 1, 2, b"a/x.png")
    assert (known.captions, known.image) == ("stamp", True)
    picture, first, second = record.items(record.rows_of(b"a/x.png"))
    assert (picture.side, picture.id, picture.path) == ("image", "a/x.png", tmp_path / "a" / "x.png")
    assert (picture.text, picture.captions) == (None, ("one", "two"))
    assert [(one.side, one.text, one.source) for one in (first, second)] == [
        ("text", "one", "sidecar"),
        ("text", "two", "sidecar"),
    ]
    assert list(record.vectors("image")) == [(picture.row, b"a/x.png")]
    assert list(record.vectors("text", after=first.row)) == [(second.row, b"two")]
    assert record.image_vector(file) == b"a/x.png"
    assert record.text_vectors(["two", "three"]) == {"two": b"two"}
    assert (record.count("image"), record.count("text"), record.count_vectors("text", upto=first.row)) == (
        1,
        2,
        1,
    )
    assert record.check() == "ok"


def test_a_batch_that_fails_leaves_nothing(record: Record) -> None:
    put(record, b"a.png")
    state = record.state

    def fail() -> None:
        with record.batch():
            record.put_image(record.put_file(b"b.png", 1, 1, b"b"), b"b")
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        fail()
    assert record.state == state
    assert record.ids("image") == ["a.png"]


def test_each_batch_is_a_new_state_that_is_known_afterwards(record: Record) -> None:
    states = [record.state]
    for name in (b"a.png", b"b.png"):
        put(record, name)
        states.append(record.state)
    assert [state.generation for state in states] == list(
        range(states[0].generation, states[0].generation + 3)
    )
    assert len({state.token for state in states}) == 3
    assert all(record.knows(state) for state in states)
    assert not record.knows(type(states[0])(states[0].generation, "of another copy"))
    with record.batch(changes=False):
        record.set("name", "value")
    assert (record.get("name"), record.state) == ("value", states[-1])


def test_a_row_is_never_given_again(record: Record) -> None:
    put(record, b"a.png")
    [before] = record.rows("image")
    with record.batch():
        record.remove_file(b"a.png")
    put(record, b"a.png")
    [after] = record.rows("image")
    assert after > before
    with pytest.raises(CollectionError, match=f"item {before} was removed while it was being read"):
        record.items([before])


def test_captions_that_stay_keep_their_rows(record: Record) -> None:
    file = put(record, b"a.png", "one", "two")
    rows = record.rows("text")
    same = [Caption(text, b"", "sidecar") for text in ("one", "two")]
    with record.batch():
        record.put_captions(file, "later", same)
    assert record.rows("text") == rows
    with record.batch():
        record.put_captions(file, "later", same[:1])
    assert record.texts(file) == [("one", "sidecar")]
    assert record.rows("text")[0] > rows[-1]


def test_names_are_bytes_and_folders_end_at_their_slash(record: Record, tmp_path: Path) -> None:
    odd = os.fsencode("\udcff\n.png")
    for key in (b"a/x.png", b"a.png", b"ab/x.png", b"a0.png", odd, b"/elsewhere/x.png"):
        put(record, key)
    assert [known.key for known in record.files(tmp_path / "a")] == [b"a/x.png"]
    assert [known.key for known in record.files()] == sorted(
        [b"a/x.png", b"a.png", b"ab/x.png", b"a0.png", odd, b"/elsewhere/x.png"]
    )
    assert record.items(record.rows("image", under=b"a"))[0].id == "a/x.png"
    assert len(record.rows("image", under=b"a")) == 1
    assert record.key(record.path(odd)) == odd
    assert record.path(b"/elsewhere/x.png") == Path("/elsewhere/x.png")


def test_twins_are_files_of_one_content(record: Record) -> None:
    put(record, b"a.png", digest=b"same")
    put(record, b"b.png", digest=b"same")
    put(record, b"c.png", digest=b"other")
    assert [known.key for known in record.twins(b"same", image=True)] == [b"a.png", b"b.png"]
    assert record.twins(b"same", image=False) == []
    assert record.twins(b"none", image=True) == []


def test_more_files_than_a_page_come_once_each_in_order(record: Record) -> None:
    names = [f"{number:05}.png".encode() for number in range(2_345)]
    with record.batch():
        for name in reversed(names):
            record.put_file(name, 1, 1, name)
    assert [known.key for known in record.files()] == names


def test_skipped_files_are_told_until_they_are_forgotten(record: Record) -> None:
    with record.batch():
        record.put_skipped(b"b", "is damaged", 5, 6)
        record.put_skipped(b"a", "is empty", -1, -1)
        record.put_skipped(b"b", "is no picture", 5, 7)
    assert list(record.skipped()) == [(b"a", "is empty", -1, -1), (b"b", "is no picture", 5, 7)]
    assert record.skipped_file(b"b") == ("is no picture", 5, 7)
    with record.batch():
        record.remove_skipped([b"b", b"never there"])
    assert record.skipped_file(b"b") is None
