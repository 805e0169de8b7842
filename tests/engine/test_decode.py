"""Every kind of picture comes out right, and every kind of damage is refused with its reason."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diptych.errors import ImageError
from diptych.media import pictures as decode
from diptych.media.pictures import NeedsExtra, quiet, read_captioned, read_image

RED, WHITE, GREY = (255, 0, 0), (255, 255, 255), (128, 128, 128)


def near(picture: Image.Image, colour: tuple[int, int, int], at: tuple[int, int] = (2, 2)) -> bool:
    assert picture.mode == "RGB"
    pixel = picture.getpixel(at)
    assert isinstance(pixel, tuple)
    return all(abs(a - b) <= 6 for a, b in zip(pixel, colour, strict=True))


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "gif", "bmp", "tif", "avif", "ppm", "jp2"])
def test_formats(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    Image.new("RGB", (20, 10), RED).save(path)
    assert read_image(path).size == (20, 10)
    assert near(read_image(path), RED)


def test_heic(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif", reason="the extra heic is not installed")
    path = tmp_path / "a.heic"
    heif.from_pillow(Image.new("RGB", (64, 48), RED)).save(path)
    assert read_image(path).size == (64, 48)
    assert near(read_image(path), RED)


def test_heic_without_its_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "_register_heif", lambda: False)
    path = tmp_path / "a.heic"
    path.write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    registered = Image.registered_extensions().get(".heic")
    if registered is None:
        with pytest.raises(NeedsExtra, match=r"diptych\[heic\]"):
            read_image(path)
    else:  # another test has registered the opener for the whole process
        with pytest.raises(NeedsExtra, match=r"diptych\[heic\]"):
            decode._read_other(path, 32)


def test_drawings(tmp_path: Path) -> None:
    pytest.importorskip("resvg_py", reason="the extra svg is not installed")
    path = tmp_path / "a.svg"
    svg = '<svg xmlns="http://www.w3.org/2000/svg" width="{}" height="{}"><circle r="9" fill="red"/></svg>'
    path.write_text(svg.format(10, 10))
    picture = read_image(path, size=32)
    assert near(picture, RED)
    assert near(picture, WHITE, (60, 60))
    path.write_text(svg.format(1, 10**9))
    assert max(read_image(path, size=32).size) <= 64
    path.write_text("<svg")
    with pytest.raises(ImageError, match="damaged drawing"):
        read_image(path)


@pytest.mark.parametrize("ending", ["jpg", "txt", "heic", "svg"])
def test_the_content_decides_not_the_ending(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"really_png.{ending}"
    Image.new("RGB", (4, 4), RED).save(path, format="PNG")
    assert near(read_image(path), RED)


@pytest.mark.parametrize(
    ("turn", "corner"),
    [(1, (0, 0)), (2, (1, 0)), (3, (1, 1)), (4, (0, 1)), (5, (0, 0)), (6, (1, 0)), (7, (1, 1)), (8, (0, 1))],
)
def test_exif_orientation(tmp_path: Path, turn: int, corner: tuple[int, int]) -> None:
    picture = Image.new("RGB", (40, 20), "white")
    picture.paste(RED, (0, 0, 10, 10))  # what is stored at the top left ...
    exif = Image.Exif()
    exif[0x0112] = turn
    picture.save(tmp_path / "a.jpg", exif=exif, quality=95, subsampling=0)
    upright = read_image(tmp_path / "a.jpg")
    assert upright.size == ((20, 40) if turn >= 5 else (40, 20))
    x, y = ((upright.width - 3) * corner[0] + 1, (upright.height - 3) * corner[1] + 1)
    assert near(upright, RED, (x, y))  # ... must be seen at this corner


def test_damaged_exif_does_not_cost_the_picture(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), RED).save(
        tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\xfe" * 40
    )
    with quiet():
        picture, captions = read_captioned(tmp_path / "a.jpg")
    assert near(picture, RED)
    assert captions == []


def test_sixteen_bit_grey_is_scaled(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8), 32896, np.uint16)).save(tmp_path / "a.png")
    assert near(read_image(tmp_path / "a.png"), GREY)
    Image.fromarray(np.full((8, 8), 32896, np.uint16)).save(tmp_path / "a.tif")
    assert near(read_image(tmp_path / "a.tif"), GREY)


def test_deep_modes(tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(-2, 2, 16, dtype=np.float32), (16, 1))
    ramp[3, 3] = np.nan
    Image.fromarray(ramp).save(tmp_path / "float.tif")
    pixels = np.asarray(read_image(tmp_path / "float.tif"))
    assert (pixels[0, 0, 0], pixels[0, -1, 0]) == (0, 255)
    Image.fromarray(np.full((8, 8), 128, np.int32)).save(tmp_path / "int.tif")
    assert near(read_image(tmp_path / "int.tif"), GREY)
    lab = Image.merge("LAB", [Image.new("L", (8, 8), value) for value in (136, 128, 128)])
    lab.save(tmp_path / "lab.tif")
    grey = read_image(tmp_path / "lab.tif").getpixel((2, 2))
    assert isinstance(grey, tuple)
    assert max(grey) - min(grey) < 12


@pytest.mark.parametrize("mode", ["CMYK", "1", "L", "YCbCr"])
def test_other_colour_modes(tmp_path: Path, mode: str) -> None:
    ending = "png" if mode == "1" else "jpg"
    Image.new("RGB", (8, 8), WHITE).convert(mode).save(tmp_path / f"a.{ending}")
    assert near(read_image(tmp_path / f"a.{ending}"), WHITE)


def test_palette_and_alpha_lie_on_white(tmp_path: Path) -> None:
    half = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    half.paste((255, 0, 0, 255), (0, 0, 8, 4))
    for name, picture in {"rgba": half, "la": half.convert("LA"), "pa": half.quantize()}.items():
        picture.save(tmp_path / f"{name}.png")
        assert near(read_image(tmp_path / f"{name}.png"), WHITE, (2, 6)), name
    keyed = Image.new("P", (8, 8), 1)
    keyed.putpalette([0, 0, 0, 255, 0, 0])
    keyed.save(tmp_path / "keyed.gif", transparency=1)
    assert near(read_image(tmp_path / "keyed.gif"), WHITE)
    Image.new("RGB", (8, 8), RED).save(tmp_path / "keyed.png", transparency=RED)
    assert near(read_image(tmp_path / "keyed.png"), WHITE)


@pytest.mark.parametrize("ending", ["gif", "webp", "png"])
def test_first_frame_of_animations(tmp_path: Path, ending: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / f"a.{ending}", save_all=True, append_images=frames[1:])
    assert near(read_image(tmp_path / f"a.{ending}"), RED)


def test_drafting_saves_work_but_never_goes_below_the_size(tmp_path: Path) -> None:
    Image.new("RGB", (1600, 800), RED).save(tmp_path / "a.jpg")
    assert read_image(tmp_path / "a.jpg", size=100).size == (200, 100)
    assert read_image(tmp_path / "a.jpg").size == (1600, 800)


@pytest.mark.parametrize("size", [(65_500, 1), (1, 65_500), (65_500, 20)])
@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_long_strips(tmp_path: Path, size: tuple[int, int], ending: str) -> None:
    Image.new("RGB", size, RED).save(tmp_path / f"a.{ending}")
    assert near(read_image(tmp_path / f"a.{ending}", size=32), RED, (0, 0))


def bomb(width: int, height: int) -> bytes:
    """A PNG whose header promises more than it holds."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000)))


def test_bombs_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    for number, (width, height) in enumerate([(20_000, 20_000), (13_400, 13_400), (60_000, 60_000)]):
        path = tmp_path / f"{number}.png"
        path.write_bytes(bomb(width, height))
        with pytest.raises(ImageError, match=r"too large .*178 million"):
            read_image(path)
    Image.new("RGB", (20, 20)).save(tmp_path / "small.png")
    with pytest.raises(ImageError, match=r"too large \(20 x 20 pixels"):
        read_image(tmp_path / "small.png", max_pixels=399)


def truncations(data: bytes) -> list[int]:
    return sorted({0, 1, 2, 3, 4, 10, 20, 100, *(len(data) * part // 20 for part in range(20))})


@pytest.mark.parametrize("kind", ["JPEG", "progressive", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF"])
def test_truncated_at_every_length_class(tmp_path: Path, kind: str) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8))
    buffer = io.BytesIO()
    if kind == "progressive":
        noise.save(buffer, "JPEG", progressive=True)
    else:
        noise.save(buffer, kind)
    data = buffer.getvalue()
    path = tmp_path / "cut.jpg"
    for length in truncations(data):
        path.write_bytes(data[:length])
        with pytest.raises(ImageError) as caught:
            read_image(path, size=32)
        assert caught.value.path == str(path), (kind, length)
        assert caught.value.reason, (kind, length)
    path.write_bytes(data)
    assert read_image(path).size == (80, 60)


def test_arbitrary_damage_never_raises_anything_else(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    path = tmp_path / "broken"
    noise = Image.fromarray(rng.integers(0, 256, (24, 24, 3), np.uint8))
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "JPEG2000", "PPM"):
        buffer = io.BytesIO()
        noise.save(buffer, kind)
        for _ in range(40):
            data = np.frombuffer(buffer.getvalue(), np.uint8).copy()
            data[rng.integers(0, min(len(data), 200), 6)] = rng.integers(0, 256, 6)
            path.write_bytes(data.tobytes())
            refused = ""
            try:
                read = read_image(path, size=16)
            except ImageError as error:
                refused = error.reason
            assert refused or read.mode == "RGB", kind


def test_reasons_for_what_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "words.jpg").write_text("not a picture")
    for name, reason in {
        "empty.jpg": "empty file",
        "words.jpg": "not a picture, whatever its name says",
        "gone.jpg": "there is no such file",
    }.items():
        with pytest.raises(ImageError, match=reason) as caught:
            read_image(tmp_path / name)
        assert caught.value.path == str(tmp_path / name)


def test_oddities_that_decode_do_not_warn(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    # Between the two limits of Pillow: it warns of a possible bomb, and decodes.
    Image.new("1", (10_000, 9_000)).save(tmp_path / "large.png")
    assert read_image(tmp_path / "large.png").size == (10_000, 9_000)
    assert not list(recwarn)
