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


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_iptc(encoding: str) -> None:
    value = "Café".encode(encoding)
    field = b"\x1c\x02\x78" + len(value).to_bytes(2, "big") + value
    block = b"8BIM\x04\x04\0\0" + len(field).to_bytes(4, "big") + field + b"\0" * (len(field) % 2)
    segment = b"Photoshop 3.0\0" + block
    plain = io.BytesIO()
    Image.new("RGB", (8, 8)).save(plain, "JPEG")
    data = plain.getvalue()
    marked = data[:2] + b"\xff\xed" + (len(segment) + 2).to_bytes(2, "big") + segment + data[2:]
    with Image.open(io.BytesIO(marked)) as found:
        assert embedded(found) == ["Café"]
