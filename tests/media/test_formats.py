"""Only the kinds of pictures that are named are opened, known by how their files begin."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image, features

from diptych.media.formats import FORMATS, HEAD, may_be_picture


@pytest.mark.parametrize(
    "kind", ["JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "JPEG2000", "PPM"]
)
def test_what_is_named_is_admitted(kind: str) -> None:
    assert kind in {name for names in FORMATS.values() for name in names}
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow was built without AVIF")
    buffer = io.BytesIO()
    Image.new("RGB", (3, 2), "red").save(buffer, kind)
    assert may_be_picture(buffer.getvalue()[:HEAD])


@pytest.mark.parametrize(
    "head",
    [
        b"",
        bytes(HEAD),
        b"%!PS-Adobe-3.0 EPSF-3.0\n",
        b"\xc5\xd0\xd3\xc6" + bytes(28),  # PostScript with a preview
        b"%PDF-1.7",
        b"8BPS\0\1" + bytes(20),
        b"\x89HDF\r\n\x1a\n" + bytes(20),
        b"SIMPLE  =                    T",
        b"GRIB" + bytes(20),
        b"\xd7\xcd\xc6\x9a" + bytes(40),  # Windows metafile
        b"<html><body>404</body></html>",
        b"B",
    ],
)
def test_everything_else_stays_closed(head: bytes) -> None:
    assert not may_be_picture(head)


def test_drawings_are_admitted(tmp_path: Path) -> None:
    assert may_be_picture(b'<svg xmlns="http://www.w3.org/2000/svg"/>')
