"""Captions of every kind reach their pictures, and follow when they change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from engine_helpers import Paint, content
from PIL import Image

from diptych.engine.collection import Collection, open
from diptych.testing import Colours


@pytest.fixture
def collection(photos: Path, encoder: Colours) -> Any:
    with open(photos, model=encoder) as opened:
        yield opened


def texts(collection: Collection) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in collection.home.rows("text"):
        item = collection.home.items([row])[0]
        found.setdefault(item.path.name, []).append(item.text or "")
    return found


@pytest.mark.parametrize("name", ["a.txt", "a.png.txt"])
def test_sidecars(collection: Collection, paint: Paint, photos: Path, name: str) -> None:
    paint("a.png")
    (photos / name).write_text("\ufeffa red square \r\n\n  seen twice\n", encoding="utf-8")
    collection.add()
    assert texts(collection) == {"a.png": ["a red square", "seen twice"]}
    found = collection.search(photos / "a.png", to="text", k=1)[0]
    assert (found.side, found.path, found.meta["source"]) == ("text", photos / "a.png", "sidecar")
    assert collection.search("red")[0].text == "a red square\nseen twice"


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("captions.csv", 'file,caption\na.png,"red, and square"\nb.png,blue\nb.png,sea\n'),
        ("metadata.csv", 'file_name,text,other\na.png,"red, and square",1\nb.png,blue,2\nb.png,sea,3\n'),
        ("Captions.TSV", "image\ttitle\na.png\tred, and square\nb.png\tblue\nb.png\tsea\n"),
        (
            "captions.jsonl",
            '{"path": "x/a.png", "description": "red, and square"}\n\n'
            '{"filepath": "b.png", "captions": ["blue", "sea"]}\n',
        ),
        ("captions.json", json.dumps({"a.png": "red, and square", "b.png": ["blue", "sea"]})),
        (
            "captions.json",
            json.dumps(
                [
                    {"image": "a.png", "text": "red, and square"},
                    {"image": "b.png", "captions": ["blue", "sea"]},
                ]
            ),
        ),
    ],
)
def test_lists(collection: Collection, paint: Paint, photos: Path, name: str, table: str) -> None:
    paint("a.png")
    paint("b.png", "blue")
    paint("c.png", "green")
    (photos / name).write_text(table)
    collection.add()
    assert texts(collection) == {"a.png": ["red, and square"], "b.png": ["blue", "sea"]}


@pytest.mark.parametrize(
    ("name", "table", "reason"),
    [
        ("captions.csv", "a,b\n1,2\n", "needs a column of pictures"),
        ("captions.json", '{"a.png": ', "not JSON"),
        ("captions.jsonl", "[1]\n", "line 1: not a JSON object"),
        ("captions.json", "7", "not a table of captions"),
        ("captions.csv", b"file,caption\na.png,\xff\xfe\n", "cannot be read as text"),
        ("a.txt", b"\xff\x00\xfe\x99", "not UTF-8 text"),
        ("a.txt", b"a\0b", "is not text"),
    ],
)
def test_lists_that_cannot_be_used_are_listed_until_they_change(
    collection: Collection, paint: Paint, photos: Path, name: str, table: str | bytes, reason: str
) -> None:
    paint("a.png")
    (photos / name).write_bytes(table.encode() if isinstance(table, str) else table)
    for _ in range(3):
        (skipped,) = collection.add().skipped
        assert skipped.path == photos / name
        assert reason in skipped.reason
    assert collection.info()["images"] == 1
    (photos / name).write_text("file,caption\na.png,red\n" if name.endswith("csv") else "{}")
    if name.endswith(("csv", "txt")):
        assert collection.add().skipped == []
        assert collection.info()["skipped"] == {}
        assert texts(collection) != {}


def test_sidecars_in_utf_16(collection: Collection, paint: Paint, photos: Path) -> None:
    paint("a.png")
    (photos / "a.txt").write_text("красный red", encoding="utf-16")
    collection.add()
    assert texts(collection) == {"a.png": ["красный red"]}


def test_text_files_are_texts_of_their_own(
    collection: Collection, paint: Paint, photos: Path, encoder: Colours
) -> None:
    paint("q.png", "green")
    (photos / "list.txt").write_text("something red\nsomething green\n")
    (photos / "junk.txt").write_bytes(b"\x89PNG\r\n\x1a\n")
    summary = collection.add(texts=True)
    assert [skipped.path.name for skipped in summary.skipped] == ["junk.txt"]
    found = collection.search(photos / "q.png", to="text")
    assert [result.text for result in found] == ["something green", "something red"]
    assert found[0].path == photos / "list.txt"
    (photos / "list.txt").write_text("something green\nsomething blue\n")
    before = encoder.texts
    assert collection.add(texts=True).changed == 1
    assert texts(collection) == {"list.txt": ["something green", "something blue"]}
    assert encoder.texts == before + 1  # the line that was there is not encoded again


def test_a_changed_caption_costs_no_picture(
    collection: Collection, paint: Paint, photos: Path, encoder: Colours
) -> None:
    paint("a.png")
    paint("b.png", "blue")
    (photos / "captions.json").write_text('{"a.png": "red", "b.png": "blue"}')
    collection.add()
    before = encoder.pictures
    (photos / "captions.json").write_text('{"a.png": "red", "b.png": "deep blue"}')
    summary = collection.add()
    assert (summary.changed, summary.unchanged, summary.encoded) == (1, 1, 1)
    (photos / "captions.json").unlink()
    assert collection.add().changed == 2
    assert texts(collection) == {}
    assert encoder.pictures == before


def test_a_sidecar_that_loses_its_picture_becomes_a_list(
    collection: Collection, paint: Paint, photos: Path
) -> None:
    paint("a.png").with_suffix(".txt").write_text("red")
    collection.add(texts=True)
    (photos / "a.png").unlink()
    collection.add(texts=True)
    assert [(side, name, text) for side, name, text, _ in content(collection)] == [("text", "a.txt", "red")]
    paint("a.png")
    collection.add(texts=True)
    assert [(side, name) for side, name, _, _ in content(collection)] == [
        ("image", "a.png"),
        ("text", "a.png"),
    ]


XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:description><rdf:Alt>'
    '<rdf:li xml:lang="x-default">a &amp; b</rdf:li></rdf:Alt></dc:description></rdf:Description>'
    "</rdf:RDF></x:xmpmeta>"
)


def iptc(text: str) -> bytes:
    """A Photoshop block with one IPTC field, 2:120."""
    data = text.encode()
    field = b"\x1c\x02\x78" + len(data).to_bytes(2, "big") + data
    block = b"8BIM\x04\x04\x00\x00" + len(field).to_bytes(4, "big") + field + b"\0" * (len(field) % 2)
    return b"Photoshop 3.0\0" + block


def test_fields_of_the_picture(collection: Collection, photos: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "café red".encode()
    picture = Image.new("RGB", (8, 8), "red")
    picture.save(photos / "exif.jpg", exif=exif)
    picture.save(photos / "xmp.jpg", xmp=XMP.encode())
    exif[0x010E] = "OLYMPUS DIGITAL CAMERA"
    picture.save(photos / "camera.jpg", exif=exif)
    plain = photos / "plain.jpg"
    picture.save(plain)
    data, segment = plain.read_bytes(), iptc("caption of IPTC")
    (photos / "iptc.jpg").write_bytes(
        data[:2] + b"\xff\xed" + (len(segment) + 2).to_bytes(2, "big") + segment + data[2:]
    )
    (photos / "exif.txt").write_text("beside")
    collection.add()
    assert texts(collection) == {
        "exif.jpg": ["café red", "beside"],
        "xmp.jpg": ["a & b"],
        "iptc.jpg": ["caption of IPTC"],
    }
    (photos / "exif.jpg").rename(photos / "moved.jpg")
    collection.add()
    assert texts(collection)["moved.jpg"] == ["café red"]


def test_an_encoder_without_texts_encodes_pictures_only(photos: Path, paint: Paint) -> None:
    class Blind:
        name = fingerprint = "blind"
        similarity = "cosine"
        encode_image = Colours.encode_image
        prepare_image = Colours.prepare_image
        pictures = 0

    paint("a.png").with_suffix(".txt").write_text("red")
    with open(photos, model=Blind()) as collection:
        assert collection.add().encoded == 1
        assert collection.add().unchanged == 1
        assert collection.info()["texts"] == 1  # which words find
        assert len(collection.vectors("text")[0]) == 0


def table(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def where(collection: Collection, photos: Path) -> dict[str, list[str]]:
    """The captions of every picture, by its path in the collection."""
    found: dict[str, list[str]] = {}
    for _, name, text, _ in content(collection):
        if text is not None:
            found.setdefault(name, []).append(text)
    return {name: sorted(texts) for name, texts in found.items()}


@pytest.mark.parametrize("place", ["", "Images/", "captions_images/"])
@pytest.mark.parametrize("delimiter", [",", "\t", "|", "; "])
def test_a_table_called_captions_txt_is_one(
    collection: Collection, paint: Paint, photos: Path, place: str, delimiter: str
) -> None:
    """As the commonest set of captioned pictures is passed on: beside a folder of pictures."""
    paint(f"{place}a.png")
    paint(f"{place}b.png", "blue")
    rows = [["image", "caption"], ["a.png", "red"], ["a.png", "a square"], ["b.png", "blue"]]
    table(photos, "captions.txt", "\n".join(delimiter.join(row) for row in rows))
    summary = collection.add()
    assert summary.skipped == []
    assert where(collection, photos) == {f"{place}a.png": ["a square", "red"], f"{place}b.png": ["blue"]}
    assert collection.add().changed == 0


def test_loose_texts_that_become_a_table_go(collection: Collection, paint: Paint, photos: Path) -> None:
    paint("a.png")
    table(photos, "captions.txt", "something red\nsomething, blue\n")
    collection.add(texts=True)
    assert where(collection, photos) == {"captions.txt": ["something red", "something, blue"]}
    table(photos, "captions.txt", "image,caption\na.png,red\n")
    collection.add(texts=True)
    assert where(collection, photos) == {"a.png": ["red"]}


def test_a_list_names_pictures_in_folders_below(collection: Collection, paint: Paint, photos: Path) -> None:
    names = ["0.png", "train/0.png", "train/1.png", "test/0.png", "test/deep/1.png"]
    for number, name in enumerate(names):
        paint(name, (number * 40, 0, 0))
    rows = [{"file_name": name, "text": f"picture {name}"} for name in names[1:]]
    table(photos, "metadata.jsonl", "\n".join(map(json.dumps, rows)))
    collection.add()
    assert where(collection, photos) == {name: [f"picture {name}"] for name in names[1:]}
    before = (photos / "metadata.jsonl").read_text()
    table(photos, "metadata.jsonl", before.replace("picture test/deep/1.png", "another"))
    collection.add()
    assert where(collection, photos)["test/deep/1.png"] == ["another"]


def test_lists_outside_the_collection_are_not_read(paint: Paint, photos: Path, encoder: Colours) -> None:
    paint("inside/a.png")
    table(photos, "captions.csv", "file,caption\ninside/a.png,red\n")
    with open(photos / "inside", model=encoder) as collection:
        collection.add()
        assert where(collection, photos) == {}


@pytest.mark.parametrize(
    "name", ["C:\\Users\\me\\pics\\a.png", "/home/me/pics/a.png", "./a.png", "gone/a.png"]
)
def test_paths_of_another_machine_mean_the_picture_here(
    collection: Collection, paint: Paint, photos: Path, name: str
) -> None:
    paint("a.png")
    table(photos, "captions.csv", f"file,caption\n{name},red\n")
    collection.add()
    assert where(collection, photos) == {"a.png": ["red"]}


def test_one_name_for_two_pictures_is_nobodys(collection: Collection, paint: Paint, photos: Path) -> None:
    paint("a.png")
    table(photos, "captions.csv", "file,caption\ncats/a.png,cat\ndogs/a.png,dog\n")
    collection.add()
    assert where(collection, photos) == {}


@pytest.mark.parametrize(
    ("name", "text", "line", "reason"),
    [
        ("captions.csv", "file,caption\na.png,\nb.png,blue\n", 2, "has no caption"),
        ("captions.csv", "file,caption\n,red\nb.png,blue\n", 2, "names no picture"),
        ("captions.csv", "file,caption\na.png\nb.png,blue\n", 2, "expected 2 columns"),
        ("captions.json", '{"a.png": null, "b.png": "blue"}', 1, "has no caption"),
        ("captions.json", '{"a.png": "\\ud800", "b.png": "blue"}', 1, "holds half a character"),
        ("captions.jsonl", '{"file": "a.p\n{"file": "b.png", "text": "blue"}\n', 1, "not JSON"),
    ],
)
def test_a_row_that_cannot_be_used_costs_no_other(
    collection: Collection, paint: Paint, photos: Path, name: str, text: str, line: int, reason: str
) -> None:
    paint("a.png")
    paint("b.png", "blue")
    table(photos, name, text)
    summary = collection.add()
    assert summary.skipped == []
    (left,) = summary.captions.left
    assert (left.what, left.count) == ("rows", 1)
    assert left.reason.startswith(reason)
    assert left.first[0].startswith(f"{Path(name).name}, line {line}")
    assert collection.add().captions.left == []
    assert where(collection, photos) == {"b.png": ["blue"]}


def test_a_list_too_deep_costs_itself_only(collection: Collection, paint: Paint, photos: Path) -> None:
    paint("a.png")
    table(photos, "captions.json", "[" * 200_000)
    (skipped,) = collection.add().skipped
    assert "too deep" in skipped.reason
    assert collection.info()["images"] == 1


def test_a_list_named_on_its_own_is_no_picture(collection: Collection, paint: Paint, photos: Path) -> None:
    paint("a.png")
    path = table(photos, "captions.csv", "file,caption\na.png,red\n")
    (skipped,) = collection.add(photos / "a.png", path).skipped
    assert (skipped.path, skipped.reason) == (
        path,
        "is a list of captions, read with the pictures that it names",
    )
    assert where(collection, photos) == {"a.png": ["red"]}
