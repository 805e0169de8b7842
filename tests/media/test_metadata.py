"""Facts about pictures: from their own fields, from sidecars and from the columns of lists."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, IptcImagePlugin
from PIL.TiffImagePlugin import IFDRational

from diptych.errors import BadData
from diptych.media.captions import Sidecars
from diptych.media.metadata import field_name, fields_of_row, merged, typed
from diptych.media.pictures import own_description, read_described
from diptych.media.sidecars import read_sidecar
from diptych.media.tables import describes, read_list

XMP = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description xmp:Rating="4"
 photoshop:City='Zürich' exif:GPSLatitude="47,22.5N" exif:GPSLongitude="8,30,36W">
<photoshop:DateCreated>2020-03-04T05:06:07+01:00</photoshop:DateCreated>
<dc:subject><rdf:Bag><rdf:li>lake</rdf:li><rdf:li>R&amp;D</rdf:li></rdf:Bag></dc:subject>
<dc:description><rdf:Alt><rdf:li xml:lang="x-default">boats on a lake</rdf:li></rdf:Alt></dc:description>
</rdf:Description></rdf:RDF></x:xmpmeta>"""


def photograph(path: Path, *, turned: int = 1, **how: Any) -> Path:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x0110], exif[0x4746] = turned, "NIKON CORPORATION", "NIKON D750", 3
    exif[0x9C9E] = "beach;sea\0".encode("utf-16-le")
    exif.get_ifd(0x8769).update({0x9003: "2024:05:01 10:30:00", 0xA434: "50mm f/1.8"})
    exif.get_ifd(0x8825).update({1: "N", 2: (48, 8, IFDRational(60, 2)), 3: "W", 4: (11, 30, 0)})
    Image.new("RGB", (40, 30), "red").save(path, exif=exif, **how)
    return path


FACTS = {
    "width": (40,), "height": (30,), "orientation": ("landscape",), "format": ("jpeg",),
    "date": ("2024-05-01 10:30:00",), "camera": ("NIKON D750",), "lens": ("50mm f/1.8",),
    "latitude": (48.141667,), "longitude": (-11.5,), "rating": (3,), "tag": ("beach", "sea"),
}  # fmt: skip


def test_a_photograph_says_when_where_and_with_what(tmp_path: Path) -> None:
    path = photograph(tmp_path / "a.jpg")
    assert own_description(path).fields == FACTS
    assert read_described(path, size=8)[1].fields == FACTS  # decoded at less than its size


def test_width_and_height_are_those_that_are_seen(tmp_path: Path) -> None:
    fields = own_description(photograph(tmp_path / "a.jpg", turned=6)).fields
    assert (fields["width"], fields["height"], fields["orientation"]) == ((30,), (40,), ("portrait",))


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_in_other_formats_too(tmp_path: Path, kind: str) -> None:
    path = photograph(tmp_path / "a.picture", format=kind)
    found = own_description(path).fields
    assert found == {**FACTS, "format": (kind.lower(),)}
    assert read_described(path)[1].fields == found


def test_damaged_exif_leaves_what_the_picture_itself_shows(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.new("RGB", (8, 8)).save(path, exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\xfe" * 40)
    assert own_description(path).fields == {
        "width": (8,), "height": (8,), "orientation": ("square",), "format": ("jpeg",),
    }  # fmt: skip


def test_fields_of_iptc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jpg"
    Image.new("RGB", (8, 8)).save(path)
    said = {(2, 25): [b"lake", "Zürich".encode()], (2, 55): b"20200304", (2, 90): b"Bern", (2, 101): b"CH"}
    monkeypatch.setattr(IptcImagePlugin, "getiptcinfo", lambda picture: said)
    fields = own_description(path).fields
    assert fields["tag"] == ("lake", "Zürich")
    assert (fields["date"], fields["city"], fields["country"]) == (("2020-03-04",), ("Bern",), ("CH",))


def test_a_sidecar_in_xmp(tmp_path: Path) -> None:
    (tmp_path / "a.xmp").write_text(XMP, encoding="utf-8")
    found = read_sidecar(tmp_path / "a.xmp")
    assert found.captions == ["boats on a lake"]
    assert found.fields == {
        "date": ("2020-03-04 05:06:07",), "latitude": (47.375,), "longitude": (-8.51,), "city": ("Zürich",),
        "rating": (4,), "tag": ("lake", "R&D"),
    }  # fmt: skip


def test_a_sidecar_in_json(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"Keywords": ["a", "b"], "Shutter Speed": "1/60", "description": "a boat"}))
    assert read_sidecar(path) == (["a boat"], {"tag": ("a", "b"), "shutter_speed": ("1/60",)})
    path.write_text(
        json.dumps([{"Model": "X100", "DateTimeOriginal": "2024:01:02 03:04:05", "deep": {"a": 1}}])
    )
    assert read_sidecar(path).fields == {"camera": ("X100",), "date": ("2024-01-02 03:04:05",)}
    takeout = {"photoTakenTime": {"timestamp": "1714559400"}, "geoData": {"latitude": 1.5, "longitude": 2}}
    path.write_text(json.dumps({**takeout, "title": "IMG.jpg"}))
    found = read_sidecar(path).fields
    assert found == {"date": ("2024-05-01 10:30:00",), "latitude": (1.5,), "longitude": (2,)}


@pytest.mark.parametrize(("name", "text"), [("a.xmp", "words"), ("a.json", "[1, 2]"), ("a.json", "{")])
def test_what_is_no_sidecar_says_so(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(BadData):
        read_sidecar(tmp_path / name)


def test_a_table_without_captions_describes_pictures(tmp_path: Path) -> None:
    path = tmp_path / "shots.csv"
    path.write_text("file_name,Camera Model,stars,Keywords,zip,note\na.jpg,X100,4,dog; beach,00501,nan\n")
    assert describes(path)
    assert read_list(path).fields == {
        "a.jpg": {"camera": ("X100",), "rating": (4,), "tag": ("dog", "beach"), "zip": ("00501",)}
    }
    lines = tmp_path / "shots.jsonl"
    lines.write_text('{"image": "a.jpg", "people": ["Ann", "Bob"], "verified": true, "when": "2024-01-02"}\n')
    assert describes(lines)
    said = {"people": ("Ann", "Bob"), "verified": ("true",), "when": ("2024-01-02",)}
    assert read_list(lines).fields == {"a.jpg": said}


@pytest.mark.parametrize("text", ["path,size\n/etc,3\n", "image\na.jpg\n", "name,age\nann,3\n", ""])
def test_other_tables_describe_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "other.csv").write_text(text)
    assert not describes(tmp_path / "other.csv")


def test_all_that_is_beside_a_picture_counts_the_nearest_first(tmp_path: Path) -> None:
    picture = photograph(tmp_path / "a.jpg")
    sidecars = Sidecars(tmp_path)
    before = sidecars.stamp(picture)
    assert sidecars.described(picture) == ([], {})
    (tmp_path / "metadata.csv").write_text("image,rating,tag,owner\na.jpg,1,far,me\n")
    (tmp_path / "a.jpg.xmp").write_text(XMP, encoding="utf-8")
    sidecars = Sidecars(tmp_path)
    assert sidecars.stamp(picture) != before
    found = sidecars.described(picture)
    assert found.captions == ["boats on a lake"]
    assert (found.fields["rating"], found.fields["owner"]) == ((4,), ("me",))
    assert found.fields["tag"] == ("lake", "R&D", "far")
    assert sidecars.of(picture) == []  # which data sets ask for captions


def test_types_and_names() -> None:
    assert [typed(value) for value in (True, "1e3", "-0.5", "0", "+7", " a\n b ", "2024-13-01", "")] == [
        "true", 1000.0, -0.5, 0, 7, "a b", "2024-13-01", None,
    ]  # fmt: skip
    assert typed("0000:00:00 00:00:00", "date") is None
    assert typed("five", "number") is None
    assert typed(float("nan")) is None
    assert (typed(2**63), typed(10**400), typed(10**400, "text")) == (float(2**63), None, None)
    assert typed("x" * 1001) is None
    assert typed(7, "text") == "7"
    assert field_name("Straße (Ort)") == "strasse_ort"
    assert field_name("2nd") == ""
    assert fields_of_row({"folder": "x", "a": 1, "A ": 2, "tags": "b|c", "tag": ["d"]}) == {
        "a": (1,), "tag": ("b", "c", "d"),
    }  # fmt: skip
    assert merged({"a": (1,), "tag": ("x",)}, {"a": (2,), "b": (3,), "tag": ("y", "x")}) == {
        "a": (1,), "b": (3,), "tag": ("x", "y"),
    }  # fmt: skip
