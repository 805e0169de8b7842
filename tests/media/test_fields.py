"""What pictures say of themselves, and what hostile ones cost."""

from __future__ import annotations

import io

import pytest
from PIL import Image, PngImagePlugin

from diptych.media.fields import embedded


def picture(xmp: str) -> Image.Image:
    found = Image.new("RGB", (8, 8))
    found.info["xmp"] = xmp.encode()
    return found


def item(text: str) -> str:
    return f'<rdf:Alt><rdf:li xml:lang="x-default">{text}</rdf:li><rdf:li>other</rdf:li></rdf:Alt>'


def test_xmp() -> None:
    description = f"<dc:description>{item('a &amp; b')}</dc:description>"
    title = f"<dc:title>{item('title')}</dc:title>"
    assert embedded(picture(title + description)) == ["a & b", "title"]
    assert embedded(picture(f"<dc:description></dc:description><dc:creator>{item('x')}</dc:creator>")) == []
    assert embedded(picture(description[:-10])) == []


def test_hostile_fields_are_no_captions() -> None:
    found = Image.new("RGB", (8, 8))
    found.info["xmp"] = b"<!DOCTYPE x [<!ENTITY a 'aaaa'>]>" + b"<dc:description>" * 5_000
    assert embedded(found) == []
    info = PngImagePlugin.PngInfo()
    info.add_text("Description", "x")
    assert embedded(found) == []


@pytest.mark.parametrize(
    "part",
    [
        "<dc:title>",
        "<dc:title><rdf:li",
        "<dc:title></dc:title>",
        "<dc:title><rdf:li></dc:title>",
        "</dc:title>",
    ],
)
def test_a_packet_is_read_in_one_pass(part: str) -> None:
    """One expression for it took an hour of a packet that packs into two kilobytes."""
    assert embedded(picture(part * 80_000)) == []


def iptc(*fields: tuple[int, int, bytes]) -> list[str]:
    """What is read of a JPEG with these fields: record, number, value."""
    field = b"".join(bytes([28, one, two]) + len(v).to_bytes(2, "big") + v for one, two, v in fields)
    block = b"8BIM\x04\x04\0\0" + len(field).to_bytes(4, "big") + field + b"\0" * (len(field) % 2)
    segment = b"Photoshop 3.0\0" + block
    plain = io.BytesIO()
    Image.new("RGB", (8, 8)).save(plain, "JPEG")
    data = plain.getvalue()
    marked = data[:2] + b"\xff\xed" + (len(segment) + 2).to_bytes(2, "big") + segment + data[2:]
    with Image.open(io.BytesIO(marked)) as found:
        return embedded(found)


UTF8 = (1, 90, b"\x1b%G")


@pytest.mark.parametrize(
    ("fields", "captions"),
    [
        ([(2, 120, "Café".encode())], ["Café"]),
        ([(2, 120, "Café".encode("latin-1"))], ["Café"]),
        ([(2, 120, "“Café” – 5 €".encode("cp1252"))], ["“Café” – 5 €"]),
        ([(2, 120, b"Caf\xe9 \x81")], ["Café \x81"]),  # no letter of Windows
        ([UTF8, (2, 120, "Café".encode())], ["Café"]),
        ([UTF8, (2, 120, b"Caf\xe9")], ["Caf\ufffd"]),  # said to be UTF-8, and damaged
        ([(2, 120, b"one"), (2, 120, b"two")], ["one", "two"]),
    ],
)
def test_iptc(fields: list[tuple[int, int, bytes]], captions: list[str]) -> None:
    assert iptc(*fields) == captions


def test_what_windows_writes() -> None:
    exif = Image.Exif()
    exif[0x010E] = "description"
    for tag, text in {0x9C9B: "Straße in Köln", 0x9C9C: "ein Kommentar", 0x9C9F: "日本 🗻"}.items():
        exif[tag] = text.encode("utf-16-le") + b"\0\0"
    exif[0x9C9D] = "an author".encode("utf-16-le")
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG", exif=exif)
    with Image.open(io.BytesIO(buffer.getvalue())) as found:
        assert embedded(found) == ["description", "Straße in Köln", "日本 🗻", "ein Kommentar"]
