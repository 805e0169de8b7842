"""Words: cut from names, kept with the items whatever changes them, found whatever is asked."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diptych.engine.homes import wording
from diptych.engine.homes.entries import Caption
from diptych.engine.homes.local.record import Record
from diptych.engine.homes.wording import words_of_name


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Record]:
    record = Record(tmp_path / "collection.sqlite", tmp_path)
    with record.batch():
        record.put_column("main", "m", "f", "cosine", 1)
    yield record
    record.close()


def put(record: Record, name: str, *texts: str, source: str = "list", **fields: tuple[Any, ...]) -> int:
    """A picture with captions and fields; returns its row."""
    with record.batch():
        file = record.put_file(name.encode(), 1, 1, name.encode())
        record.put_image(file, b"\0\0")
        record.put_captions(file, "", [Caption(text, b"\0\0", source) for text in texts])
        record.put_fields(file, fields)
    return record.rows_of(name.encode())[0]


def found(record: Record, text: str, side: str = "image", **how: object) -> list[str]:
    """The files of what has all words of a text, by name."""
    hits = record.words(side, text, **how)  # type: ignore[arg-type]
    return sorted(item.id for item in record.items(hits.rows[hits.shares == 1].tolist()))


# Names


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("trips/Rome 2019/IMG_1234.jpg", "trips Rome 2019 IMG 1234"),
        ("BlackDogBeach.png", "BlackDogBeach Black Dog Beach"),
        ("2.jpg", ""),
        ("a/dog (2).jpeg", "dog"),
        ("pxl20240101.jpg", "pxl20240101 pxl 20240101"),
        ("/home/anna/pictures/cats/tom.jpg", "cats tom"),
        ("Straße/früh_am-Morgen.webp", "Straße früh am Morgen"),
        ("e\u0301te\u0301.jpg", "\u00e9t\u00e9"),
    ],
)
def test_words_of_names(name: str, expected: str) -> None:
    assert words_of_name(name.encode()) == expected


def test_a_name_that_is_no_text_has_its_other_words() -> None:
    assert words_of_name(b"dogs/\xff\xfe cat.jpg") == "dogs cat"


# Finding


def test_every_kind_of_word_finds_a_picture(record: Record) -> None:
    put(record, "trips/rome/IMG_1234.jpg", "Two dogs play", "a Café in the snow")
    put(record, "cat.jpg", "a cat sleeps")
    for asked in ("dog", "DOGS playing", "cafe", "rome", "IMG_1234", "a dog in the snow", "the rome trip"):
        assert found(record, asked) == ["trips/rome/IMG_1234.jpg"], asked
    assert found(record, "cat dog") == []
    assert found(record, "cats") == ["cat.jpg"]


def test_what_rare_words_tell_counts_more(record: Record) -> None:
    for number in range(8):
        put(record, f"{number}.jpg", "a dog" if number else "a zebra")
    hits = record.words("image", "dog zebra")
    # ln(1 + (8 - n + .5) / (n + .5)) of n = 7 and n = 1.
    dog, zebra = np.log1p(1.5 / 7.5), np.log1p(7.5 / 1.5)
    assert hits.shares == pytest.approx([zebra / (dog + zebra)] + [dog / (dog + zebra)] * 7, abs=1e-5)


def test_a_word_that_nothing_has_still_counts_in_what_is_asked(record: Record) -> None:
    put(record, "a.jpg", "a dog")
    put(record, "b.jpg", "a cat")
    assert record.words("image", "dog").shares.tolist() == [1]
    assert 0 < record.words("image", "dog unicorn").shares[0] < 0.5


def test_a_phrase_is_told_from_its_words(record: Record) -> None:
    row = put(record, "a.jpg", "A boy in a blue top.")
    put(record, "b.jpg", "a boy with a top, in blue")
    hits = record.words("image", "a boy in a blue top")
    assert hits.shares.tolist() == [1, 1]
    assert hits.rows[hits.phrases].tolist() == [row]


def test_words_that_tell_nothing_are_looked_for_where_nothing_else_is_asked(record: Record) -> None:
    put(record, "a.jpg", "to be or not to be")
    put(record, "b.jpg", "a dog")
    assert found(record, "to be") == ["a.jpg"]
    assert found(record, "the dog") == ["b.jpg"]


def test_limits(record: Record) -> None:
    rows = [put(record, f"{number}.jpg", "a dog", *["a cat"] * (number == 1)) for number in range(4)]
    assert found(record, "dog", within=np.array(rows[:2])) == ["0.jpg", "1.jpg"]
    assert found(record, "dog", within=np.zeros(0, np.int64)) == []
    assert found(record, "dog", without=["the cats"]) == ["0.jpg", "2.jpg", "3.jpg"]
    assert found(record, "dog", without=["cat unicorn", "🐈"]) == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]


def test_texts_have_words_of_their_own(record: Record) -> None:
    put(record, "dog.jpg", "a cat", "two dogs")
    assert record.words("text", "dog").shares.tolist() == [1]
    [item] = record.items(record.words("text", "dog").rows.tolist())
    assert item.text == "two dogs"


def test_the_source_of_the_words_is_told(record: Record) -> None:
    put(record, "a.jpg", "no smoking", source="generated")
    put(record, "s.jpg", "a sign")
    with record.batch():
        record.put_inscription(b"s.jpg", "read", "EXIT 7\nSORTIE")
    put(record, "dog.jpg", "an animal")
    put(record, "b.jpg", "a dog barks", "dogs", source="own")
    put(record, "c.jpg", "in town", tag=("Puppy", "2019"), city=("Rome",), rating=(4,), camera=("Dogcam",))
    for asked, expected in (
        ("smoking", {"a.jpg": "generated"}),
        ("sortie exit", {"s.jpg": "read"}),
        ("dog", {"dog.jpg": "name", "b.jpg": "own"}),
        ("dogs bark", {"dog.jpg": "name", "b.jpg": "own"}),
        ("puppies in rome", {"c.jpg": "tag"}),
        ("2019", {"c.jpg": "tag"}),
        ("puppy town", {"c.jpg": "list"}),
        ("dogcam", {}),
        ("4", {}),
    ):
        rows = record.words("image", asked).rows.tolist()
        told = record.words_from(rows, asked)
        assert {record.items([row])[0].id: told[row] for row in rows} == expected


@pytest.mark.parametrize(
    "asked",
    [
        "", " ", '"', '""', "dog*", "dog NEAR cat", "NEAR(", "AND OR NOT", "texts:dog", "{texts names}: dog",
        "^dog", "-dog", "dog'", "dog\0cat", "🐶", "🐶 dog", "\ud800 dog", "(((", "dog; DROP TABLE item", "+",
        "a.b:c", "狗在海滩", "हिन्दी", "e\u0301", "dog " * 10_000, " ".join(map(str, range(10_000))),
        "x" * 100_000,
    ],
)  # fmt: skip
def test_whatever_is_asked_is_words(record: Record, asked: str) -> None:
    put(record, "dog.jpg", "a dog near a cat")
    for side in ("image", "text"):
        hits = record.words(side, asked, without=[asked])
        assert not (hits.shares == 1).any()
        hits = record.words(side, asked)
        assert ((hits.shares > 0) & (hits.shares <= 1)).all()
    record.words_from([1], asked)


# However common


def test_common_words_are_bounded_and_told_exactly_of_what_is_named(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        put(record, f"{n}.jpg", "a dog" + " runs" * (n % 2) + " home" * (n == 90) + " far" * (n == 95))
        for n in range(100)
    ]
    whole = record.words("image", "dog runs")
    monkeypatch.setattr(wording, "MOST", 10)
    monkeypatch.setattr(wording, "_ENOUGH", 4)
    # A rare word leads to what has it, wherever it stands; the common ones are told of these exactly.
    hits = record.words("image", "a dog runs far")
    assert hits.rows.tolist() == [rows[95]]
    assert hits.shares.tolist() == [1]
    # Common words only: the first entries that have all of them, and those that are named.
    hits = record.words("image", "dog runs", also=np.array([rows[96], rows[97]]))
    full = hits.rows[hits.shares == 1].tolist()
    assert full == [*rows[1:20:2], rows[97]]
    # How common a word is may be estimated from the first entries that have it.
    assert hits.shares[hits.rows == rows[96]] == pytest.approx(whole.shares[0], abs=0.02)


# Kept with the items


def consistent(record: Record) -> None:
    """The words are those that a collection would have which is made anew."""
    record._db.with_connection(
        lambda db: db.execute("INSERT INTO text_words (text_words) VALUES ('integrity-check')")
    )
    kept = record._db.every("SELECT * , rowid FROM picture_words ORDER BY rowid")
    made = [
        (
            "\n".join(item.captions),
            "\n".join(map(str, item.fields.get("tag", ()))),
            "\n".join(map(str, item.fields.get("inscription", ()))),
            words_of_name(item.id.encode()),
            item.row,
        )
        for item in record.items(record.rows("image"))
    ]
    assert kept == made
    assert record._db.one("SELECT count(*) FROM reworded") == (0,)


def test_words_go_with_what_changes(record: Record) -> None:
    put(record, "dog.jpg", "brown fur")
    put(record, "cat.jpg", "white fur")
    file = record.file(b"dog.jpg")
    assert file is not None
    with record.batch():
        record.move_file(file.id, b"wolves/wolf.jpg", 1, 2)
    consistent(record)
    assert (found(record, "dog"), found(record, "wolf fur")) == ([], ["wolves/wolf.jpg"])
    with record.batch():
        record.put_captions(file.id, "x", [Caption("grey hair", b"\0\0", "own")])
        record.add_captions(file.id, [Caption("NO SMOKING", b"\0\0", "read")])
    consistent(record)
    assert (found(record, "brown"), found(record, "grey smoking")) == ([], ["wolves/wolf.jpg"])
    with record.batch():
        record.put_fields(file.id, {"tag": ("Alpha", "beta"), "date": ("2019",)})
        record.put_inscription(b"dog.jpg", "read", "EXIT 7")
    consistent(record)
    assert found(record, "wolf exit") == ["wolves/wolf.jpg"]
    with record.batch():
        record.put_fields(file.id, {"tag": ("beta",)})
    consistent(record)
    assert (found(record, "alpha"), found(record, "beta wolf")) == ([], ["wolves/wolf.jpg"])
    with record.batch():
        record.remove_file(b"cat.jpg")
    consistent(record)
    assert found(record, "cat") == found(record, "white", "text") == []
    put(record, "wolves/wolf.jpg", "a pup")  # takes the place of the other
    consistent(record)
    assert (found(record, "grey"), found(record, "pup", "text")) == ([], ["wolves/wolf.jpg"])
    with record.batch():
        record.remove_files([known.id for known in record.files()])
    consistent(record)


def test_a_batch_that_fails_leaves_the_words(record: Record) -> None:
    put(record, "dog.jpg", "brown fur")

    def fails() -> None:
        with record.batch():
            record.remove_file(b"dog.jpg")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fails()
    consistent(record)
    assert found(record, "brown dog") == ["dog.jpg"]


def test_a_collection_of_the_format_before_gets_its_words(record: Record, tmp_path: Path) -> None:
    put(record, "dog.jpg", "brown fur", "a tail", tag=("Fido",))
    put(record, "trip/cat.jpg")
    record.close()
    path = tmp_path / "collection.sqlite"
    with sqlite3.connect(path) as db:
        db.execute("DROP TABLE picture_words")
        db.execute("DROP TABLE text_words")
        db.execute("DROP TABLE reworded")
        for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            db.execute(f"DROP TRIGGER {name}")
        db.execute("UPDATE setting SET value = 7 WHERE name = 'schema'")
    db.close()
    again = Record(path, tmp_path)
    consistent(again)
    assert (found(again, "dog tail fido"), found(again, "cat trip")) == (["dog.jpg"], ["trip/cat.jpg"])
    again.close()
