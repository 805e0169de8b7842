"""What a collection knows of its pictures besides how they look."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from engine_helpers import Paint
from PIL import Image

import diptych
from diptych.engine.collection import Collection, open_collection
from diptych.testing import Colours


@pytest.fixture
def collection(photos: Path, encoder: Colours) -> Collection:
    return open_collection(photos, model=encoder)


def fields(collection: Collection, name: str) -> dict[str, tuple[object, ...]]:
    file = collection.home.file(name.encode())
    assert file is not None
    return dict(collection.home.fields([file.id])[file.id])


def dated(taken: str) -> Image.Exif:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9003] = taken
    return exif


def test_a_picture_has_its_own_fields_and_those_of_its_place(collection: Collection, paint: Paint) -> None:
    paint("Trips/Alps/a.JPG", "red", exif=dated("2024:05:01 10:30:00"), format="JPEG")
    paint("b.png", "blue")
    collection.add()
    assert fields(collection, "Trips/Alps/a.JPG") == {
        "date": ("2024-05-01 10:30:00",), "format": ("jpeg",), "width": (40,), "height": (30,),
        "orientation": ("landscape",), "folder": ("Trips/Alps",), "name": ("a.JPG",),
    }  # fmt: skip
    assert fields(collection, "b.png")["folder"] == ("",)
    found = collection.search("red", k=1)[0]
    assert found.meta["date"] == "2024-05-01 10:30:00"
    assert found.meta["folder"] == "Trips/Alps"
    assert json.loads(json.dumps(found.as_dict()))["meta"]["width"] == 40


def test_what_is_written_beside_a_picture_later_is_taken_without_encoding(
    collection: Collection, paint: Paint, photos: Path, encoder: Colours
) -> None:
    paint("a.png", "red"), paint("b.png", "blue")
    collection.add()
    (photos / "metadata.csv").write_text("image,stars,Keywords\na.png,5,Dog;beach\n")
    summary = collection.add()
    assert (summary.changed, summary.unchanged, summary.encoded) == (1, 1, 0)
    assert fields(collection, "a.png")["tag"] == ("beach", "Dog")
    assert fields(collection, "a.png")["rating"] == (5,)
    assert "rating" not in fields(collection, "b.png")
    assert collection.search("red", k=1)[0].meta["tag"] == ["beach", "Dog"]
    (photos / "a.json").write_text('{"rating": 2}')
    assert collection.add().changed == 1
    assert fields(collection, "a.png")["rating"] == (2,)
    (photos / "metadata.csv").unlink()
    assert collection.add().changed == 1
    assert "tag" not in fields(collection, "a.png")
    assert collection.add().changed == 0


def test_a_caption_in_a_sidecar_is_one(collection: Collection, paint: Paint, photos: Path) -> None:
    paint("a.png", "red")
    (photos / "a.xmp").write_text(
        "<rdf:RDF><dc:description><rdf:Alt><rdf:li>a red wall</rdf:li></rdf:Alt></dc:description></rdf:RDF>"
    )
    collection.add()
    assert collection.search("red", k=1)[0].text == "a red wall"


def test_a_sidecar_that_is_none_is_told(collection: Collection, paint: Paint, photos: Path) -> None:
    paint("a.png", "red")
    (photos / "a.xmp").write_text("nothing of the kind")
    summary = collection.add()
    assert [(skipped.path.name, "is no XMP" in skipped.reason) for skipped in summary.skipped] == [
        ("a.xmp", True)
    ]
    assert collection.count("image") == 1


def test_copies_and_moved_files_have_fields_of_their_own(
    collection: Collection, paint: Paint, photos: Path
) -> None:
    path = paint("a.jpg", "red", exif=dated("2024:05:01 10:30:00"))
    collection.add()
    (photos / "in").mkdir()
    (photos / "in" / "copy.jpg").write_bytes(path.read_bytes())
    (photos / "in" / "copy.json").write_text('{"owner": "me"}')
    assert collection.add().encoded == 0
    copy = fields(collection, "in/copy.jpg")
    assert (copy["date"], copy["owner"], copy["folder"]) == (("2024-05-01 10:30:00",), ("me",), ("in",))
    assert "owner" not in fields(collection, "a.jpg")
    path.rename(photos / "in" / "moved.jpg")
    summary = collection.add()
    assert (summary.moved, summary.encoded) == (1, 0)
    moved = fields(collection, "in/moved.jpg")
    assert (moved["folder"], moved["name"], moved["date"]) == (
        ("in",), ("moved.jpg",), ("2024-05-01 10:30:00",),
    )  # fmt: skip


def test_a_collection_from_before_gets_its_fields_without_encoding(
    photos: Path, paint: Paint, encoder: Colours
) -> None:
    paint("a.jpg", "red", exif=dated("2024:05:01 10:30:00"))
    (photos / "words.txt").write_text("green\n")
    with open_collection(photos, model=encoder) as collection:
        collection.add(texts=True)
        before = [(result.id, result.score) for result in collection.search("red")]
    database = sqlite3.connect(photos / ".diptych" / "collection.sqlite")
    database.execute("DELETE FROM fact")
    database.execute("UPDATE file SET captions = ''")
    database.commit()
    database.close()
    with diptych.open(photos, model=encoder) as collection:
        assert [(result.id, result.score) for result in collection.search("red")] == before
        summary = collection.add()
        assert (summary.unchanged, summary.changed, summary.encoded) == (2, 0, 0)
        assert fields(collection, "a.jpg")["date"] == ("2024-05-01 10:30:00",)
        assert fields(collection, "words.txt")["name"] == ("words.txt",)
        assert [(result.id, result.score) for result in collection.search("red")] == before


def test_a_batch_that_fails_leaves_no_field_behind(
    collection: Collection, paint: Paint, photos: Path
) -> None:
    paint("a.png", "red")
    collection.add()
    home = collection.home
    file = home.file(b"a.png")
    assert file is not None

    class Interrupted(Exception):
        pass

    def interrupted() -> None:
        with home.batch():
            home.put_fields(file.id, {"owner": ("me",)})
            raise Interrupted

    with pytest.raises(Interrupted):
        interrupted()
    assert "owner" not in home.field_names()
    with home.batch():
        assert home.put_fields(file.id, {"owner": ("me",)})
    assert fields(collection, "a.png")["owner"] == ("me",)
    with home.batch():
        assert not home.put_fields(file.id, {"owner": ("me",)})
        assert home.put_fields(file.id, {"owner": ("Me",)})
    assert fields(collection, "a.png")["owner"] == ("Me",)
