"""Every kind of picture comes out right, and every kind of damage is refused with its reason."""

from __future__ import annotations

import io
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from damaged_pictures import bomb, truncations
from diptych.data.pictures import Pictures
from diptych.errors import ImageError, UsageError
from diptych.media import pictures as pictures_module
from diptych.media.pictures import (
    MAX_BYTES,
    TRUNCATED,
    NeedsExtra,
    Unread,
    batches,
    open_picture,
    read_described,
)

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
    assert open_picture(path).size == (20, 10)
    assert near(open_picture(path), RED)


def test_heic(tmp_path: Path) -> None:
    import pillow_heif as heif

    path = tmp_path / "a.heic"
    heif.from_pillow(Image.new("RGB", (64, 48), RED)).save(path)
    assert open_picture(path).size == (64, 48)
    assert near(open_picture(path), RED)


def test_heic_without_its_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    path = tmp_path / "a.heic"
    path.write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    with pytest.raises(NeedsExtra, match=r"a\.heic: HEIC needs .*diptych\[heic\]"):
        open_picture(path)


def test_drawings(tmp_path: Path) -> None:
    path = tmp_path / "a.svg"
    svg = '<svg xmlns="http://www.w3.org/2000/svg" width="{}" height="{}"><circle r="9" fill="red"/></svg>'
    path.write_text(svg.format(10, 10))
    picture = open_picture(path, size=32)
    assert near(picture, RED)
    assert near(picture, WHITE, (60, 60))
    path.write_text(svg.format(1, 10**9))
    assert max(open_picture(path, size=32).size) <= 64
    path.write_text("<svg")
    with pytest.raises(ImageError, match="damaged drawing"):
        open_picture(path)


@pytest.mark.parametrize("ending", ["jpg", "txt", "heic", "svg"])
def test_the_content_decides_not_the_ending(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"really_png.{ending}"
    Image.new("RGB", (4, 4), RED).save(path, format="PNG")
    assert near(open_picture(path), RED)


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
    upright = open_picture(tmp_path / "a.jpg")
    assert upright.size == ((20, 40) if turn >= 5 else (40, 20))
    x, y = ((upright.width - 3) * corner[0] + 1, (upright.height - 3) * corner[1] + 1)
    assert near(upright, RED, (x, y))  # ... must be seen at this corner


def test_damaged_exif_does_not_cost_the_picture(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), RED).save(
        tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\xfe" * 40
    )
    picture, (captions, _) = read_described(tmp_path / "a.jpg")
    assert near(picture, RED)
    assert captions == []


def test_sixteen_bit_grey_is_scaled(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8), 32896, np.uint16)).save(tmp_path / "a.png")
    assert near(open_picture(tmp_path / "a.png"), GREY)
    Image.fromarray(np.full((8, 8), 32896, np.uint16)).save(tmp_path / "a.tif")
    assert near(open_picture(tmp_path / "a.tif"), GREY)


def test_deep_modes(tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(-2, 2, 16, dtype=np.float32), (16, 1))
    ramp[3, 3] = np.nan
    Image.fromarray(ramp).save(tmp_path / "float.tif")
    pixels = np.asarray(open_picture(tmp_path / "float.tif"))
    assert (pixels[0, 0, 0], pixels[0, -1, 0]) == (0, 255)
    Image.fromarray(np.full((8, 8), 128, np.int32)).save(tmp_path / "int.tif")
    assert near(open_picture(tmp_path / "int.tif"), GREY)
    lab = Image.merge("LAB", [Image.new("L", (8, 8), value) for value in (136, 128, 128)])
    lab.save(tmp_path / "lab.tif")
    grey = open_picture(tmp_path / "lab.tif").getpixel((2, 2))
    assert isinstance(grey, tuple)
    assert max(grey) - min(grey) < 12


@pytest.mark.parametrize("mode", ["CMYK", "1", "L", "YCbCr"])
def test_other_colour_modes(tmp_path: Path, mode: str) -> None:
    ending = "png" if mode == "1" else "jpg"
    Image.new("RGB", (8, 8), WHITE).convert(mode).save(tmp_path / f"a.{ending}")
    assert near(open_picture(tmp_path / f"a.{ending}"), WHITE)


def test_palette_and_alpha_lie_on_white(tmp_path: Path) -> None:
    half = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    half.paste((255, 0, 0, 255), (0, 0, 8, 4))
    for name, picture in {"rgba": half, "la": half.convert("LA"), "pa": half.quantize()}.items():
        picture.save(tmp_path / f"{name}.png")
        assert near(open_picture(tmp_path / f"{name}.png"), WHITE, (2, 6)), name
    keyed = Image.new("P", (8, 8), 1)
    keyed.putpalette([0, 0, 0, 255, 0, 0])
    keyed.save(tmp_path / "keyed.gif", transparency=1)
    assert near(open_picture(tmp_path / "keyed.gif"), WHITE)
    Image.new("RGB", (8, 8), RED).save(tmp_path / "keyed.png", transparency=RED)
    assert near(open_picture(tmp_path / "keyed.png"), WHITE)


@pytest.mark.parametrize("ending", ["gif", "webp", "png"])
def test_first_frame_of_animations(tmp_path: Path, ending: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / f"a.{ending}", save_all=True, append_images=frames[1:])
    assert near(open_picture(tmp_path / f"a.{ending}"), RED)


def test_drafting_saves_work_but_never_goes_below_the_size(tmp_path: Path) -> None:
    Image.new("RGB", (1600, 800), RED).save(tmp_path / "a.jpg")
    assert open_picture(tmp_path / "a.jpg", size=100).size == (200, 100)
    assert open_picture(tmp_path / "a.jpg").size == (1600, 800)


@pytest.mark.parametrize("size", [(65_500, 1), (1, 65_500), (65_500, 20)])
@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_long_strips(tmp_path: Path, size: tuple[int, int], ending: str) -> None:
    Image.new("RGB", size, RED).save(tmp_path / f"a.{ending}")
    assert near(open_picture(tmp_path / f"a.{ending}", size=32), RED, (0, 0))


def test_bombs_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    for number, (width, height) in enumerate([(20_000, 20_000), (13_400, 13_400), (60_000, 60_000)]):
        path = tmp_path / f"{number}.png"
        path.write_bytes(bomb(width, height))
        with pytest.raises(ImageError, match=r"too large .*178 million"):
            open_picture(path)
    Image.new("RGB", (20, 20)).save(tmp_path / "small.png")
    with pytest.raises(ImageError, match=r"too large \(20 x 20 pixels"):
        open_picture(tmp_path / "small.png", max_pixels=399)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF"])
def test_truncated_at_every_length_class(tmp_path: Path, kind: str) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8))
    buffer = io.BytesIO()
    noise.save(buffer, kind)
    data = buffer.getvalue()
    path = tmp_path / "cut.jpg"
    for length in truncations(data):
        path.write_bytes(data[:length])
        with pytest.raises(ImageError) as caught:
            open_picture(path, size=32)
        assert caught.value.path == str(path), (kind, length)
        assert caught.value.reason, (kind, length)
    path.write_bytes(data)
    assert open_picture(path).size == (80, 60)


@pytest.mark.parametrize("size", [None, 64])
def test_a_jpeg_that_is_cut_off_shows_what_is_there(tmp_path: Path, size: int | None) -> None:
    smooth = Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8))
    smooth.resize((640, 480)).save(tmp_path / "a.jpg", exif=_exif(3))
    data, upright = (tmp_path / "a.jpg").read_bytes(), open_picture(tmp_path / "a.jpg", size=size)
    whole = np.asarray(upright.rotate(180)).astype(int)
    assert upright.info == {}
    scan = data.index(b"\xff\xda")
    for length in (len(data) - 1, len(data) - 2, len(data) * 3 // 4, scan + (len(data) - scan) // 2):
        for given in (data[:length], Image.open(io.BytesIO(data[:length]))):
            found = open_picture(given, size=size)
            assert found.info == {"truncated": TRUNCATED}
            assert found.size == upright.size
            rows = int(len(whole) * (length - scan) / (len(data) - scan) * 0.8)
            shown = np.asarray(found.rotate(180)).astype(int)
            assert np.abs(shown[:rows] - whole[:rows]).max() <= 1
    for length in (scan, scan + (len(data) - scan) // 10):
        with pytest.raises(ImageError, match="damaged"):
            open_picture(data[:length], size=size)
    for length in truncations(data[:scan]):
        with pytest.raises(ImageError):
            open_picture(data[:length], size=size)


def test_a_progressive_jpeg_that_is_cut_off_is_whole_and_blurred(tmp_path: Path) -> None:
    smooth = Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8))
    smooth.resize((640, 480)).save(tmp_path / "a.jpg", progressive=True)
    data, whole = (tmp_path / "a.jpg").read_bytes(), np.asarray(open_picture(tmp_path / "a.jpg"))
    found = open_picture(data[: len(data) * 2 // 3])
    assert found.info == {"truncated": TRUNCATED}
    assert np.abs(np.asarray(found).astype(int) - whole).mean() < 10


@pytest.mark.parametrize("size", [None, 256])
def test_what_would_take_too_much_memory_is_refused_before_it_is_decoded(size: int | None) -> None:
    # Forty bytes: a lossless WebP of 16,383 x 10,000 pixels of one colour, which took three gigabytes.
    small = "5249464620000000574542505650384c140000002ffeffc319075081540820000a9a02c68888fe07"
    data = bytes.fromhex(small)
    with pytest.raises(ImageError, match=r"too large \(16383 x 10000 pixels of WEBP need 3\.1 GiB"):
        open_picture(data, size=size)
    with pytest.raises(ImageError, match=r"too large .* at most 100 million"):
        open_picture(data, size=size, max_pixels=100_000_000)


def test_large_pictures_are_decoded_within_one_bound_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (500, 400), RED).save(buffer, "WEBP")
    monkeypatch.setattr("diptych.media.memory.MAX_DECODED", 10_000_000)
    held, most = [0], [0]
    decode = pictures_module.upright

    def watched(picture: Image.Image, reduce: int = 1) -> Image.Image:
        held[0] += 1
        most[0] = max(most[0], held[0])
        time.sleep(0.01)
        found = decode(picture, reduce)
        held[0] -= 1
        return found

    monkeypatch.setattr(pictures_module, "upright", watched)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(open_picture, [buffer.getvalue()] * 16))
    assert all(near(picture, RED) for picture in found)
    assert most[0] == 2  # of 500 x 400 pixels at twenty bytes each, two fit into ten million


def test_a_panorama_is_read_on_request_at_the_scale_that_is_enough() -> None:
    buffer = io.BytesIO()
    Image.new("L", (30_000, 7_200), 90).save(buffer, "JPEG")
    before = Image.MAX_IMAGE_PIXELS
    with pytest.raises(ImageError, match=r"30000 x 7200 pixels, at most 178 million"):
        open_picture(buffer.getvalue(), size=224)
    found = open_picture(buffer.getvalue(), size=224, max_pixels=250_000_000)
    assert found.size == (3750, 900)
    assert near(found, (90, 90, 90))
    assert before == Image.MAX_IMAGE_PIXELS


def test_postscript_is_opened_under_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def starts(*arguments: object, **_: object) -> None:
        raise AssertionError(f"Ghostscript was called: {arguments}")

    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", starts)
    page = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n%%EndComments\nshowpage\n%%EOF\n"
    (tmp_path / "page.jpg").write_bytes(page)
    for given in (page, tmp_path / "page.jpg"):
        with pytest.raises(ImageError, match="not a picture, whatever its name says"):
            open_picture(given)
    stored = Pictures.from_folder(tmp_path, ["page.jpg"])
    with pytest.raises(ImageError, match="not a picture, whatever its name says"):
        stored[0]


def test_texts_and_profiles_that_are_too_large_do_not_cost_the_picture() -> None:
    plain, large = io.BytesIO(), PngImagePlugin.PngInfo()
    Image.new("RGB", (8, 8), RED).save(plain, "PNG")
    large.add_text("zipped", "x" * 3_000_000, zip=True)
    large.add_itxt("utf-8", "y" * 3_000_000, zip=True)
    for number in range(80):
        large.add_text(f"many{number}", "z" * 1_000_000)
    large.add_itxt("XML:com.adobe.xmp", XMP)
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), RED).save(buffer, "PNG", pnginfo=large, icc_profile=bytes(5_000_000))
    with pytest.raises(ValueError, match="too large"):
        Image.open(io.BytesIO(buffer.getvalue()))
    picture, (captions, _) = read_described(buffer.getvalue())
    assert near(picture, RED)
    assert captions == ["a small caption"]
    assert near(open_picture(plain.getvalue()), RED)


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
                read = open_picture(path, size=16)
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
            open_picture(tmp_path / name)
        assert caught.value.path == str(tmp_path / name)


def test_oddities_that_decode_do_not_warn(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    # Between the two limits of Pillow: it warns of a possible bomb, and decodes.
    Image.new("1", (10_000, 9_000)).save(tmp_path / "large.png")
    assert open_picture(tmp_path / "large.png").size == (10_000, 9_000)
    assert not list(recwarn)


def test_a_warning_filter_is_set_once_for_the_process(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    open_picture(tmp_path / "a.png")
    before = list(warnings.filters)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(open_picture, [tmp_path / "a.png"] * 40))
    assert warnings.filters == before
    with pytest.warns(UserWarning, match="somebody else's"):
        warnings.warn("somebody else's", UserWarning, stacklevel=1)


def test_the_container_turns_avif_and_heic(tmp_path: Path) -> None:
    """XMP repeats what a program has done to the pixels already."""
    xmp = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>'
        b"</rdf:RDF></x:xmpmeta>"
    )
    Image.new("RGB", (40, 20), RED).save(tmp_path / "done.avif", xmp=xmp)
    assert open_picture(tmp_path / "done.avif").size == (40, 20)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20), RED).save(tmp_path / "turned.avif", exif=exif, xmp=xmp)
    assert open_picture(tmp_path / "turned.avif").size == (20, 40)
    import pillow_heif as heif

    heif.from_pillow(Image.new("RGB", (64, 48), RED)).save(tmp_path / "turned.heic", exif=_exif(6))
    turned = open_picture(tmp_path / "turned.heic")
    assert turned.size in {(64, 48), (48, 64)}  # as the package sees it, and not once more
    assert turned.size == heif.open_heif(tmp_path / "turned.heic").to_pillow().size


XMP = (
    "<x:xmpmeta><rdf:RDF><rdf:Description><dc:description><rdf:Alt><rdf:li xml:lang='x-default'>"
    "a small caption</rdf:li></rdf:Alt></dc:description></rdf:Description></rdf:RDF></x:xmpmeta>"
)


def _exif(turn: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = turn
    return exif.tobytes()


def test_a_decoded_picture_is_not_turned_twice(tmp_path: Path) -> None:
    Image.new("RGB", (40, 20), RED).save(tmp_path / "a.jpg", exif=_exif(6))
    once = open_picture(tmp_path / "a.jpg")
    assert once.size == (20, 40)
    assert open_picture(once) is once
    with Image.open(tmp_path / "a.jpg") as opened:
        assert open_picture(opened).size == (20, 40)
        assert opened.size == (40, 20)  # the caller's picture stays as it was


def test_a_picture_of_the_caller_stays_as_it_is(tmp_path: Path) -> None:
    Image.new("RGB", (640, 480), RED).save(tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as opened:
        assert open_picture(opened, size=100).size == (160, 120)
        assert opened.size == (640, 480)
        assert opened.getpixel((2, 2)) == open_picture(tmp_path / "a.jpg").getpixel((2, 2))
        assert open_picture(opened, size=100).size == (640, 480)  # decoded by now


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros(512, np.float32),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((3, 8, 8), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        ["a.jpg"],
        7,
        None,
    ],
)
def test_what_is_no_picture_is_refused_in_one_sentence(wrong: object) -> None:
    with pytest.raises(UsageError, match=r"is no picture; give .*\(h, w, 4\) or \(h, w\) of uint8") as caught:
        open_picture(wrong)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read_may_be_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unread, match="there is no such file"):
        open_picture(tmp_path / "gone.jpg")
    with pytest.raises(ImageError, match="is a folder"):
        open_picture(tmp_path)
    with (tmp_path / "sparse.jpg").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(ImageError, match=r"too large a file \(at most 1024 MiB") as caught:
        open_picture(tmp_path / "sparse.jpg")
    assert not isinstance(caught.value, Unread)


class Small:
    """An encoder of 2 x 2 pixels, two at a time."""

    image_size = batch_size = 2

    def prepare_image(self, picture: Any) -> np.ndarray:
        return np.asarray(open_picture(picture).resize((2, 2)), np.float32)


def test_batches_prepare_what_is_a_picture() -> None:
    ready = np.full((2, 2, 3), 7, np.float32)
    pixels = np.full((5, 4, 3), 9, np.uint8)
    images = [ready, pixels, Image.new("RGB", (3, 3), (1, 1, 1))]
    found = list(batches(images, Small()))
    assert [batch[:, 0, 0, 0].tolist() for batch in found] == [[7, 9], [1]]
    assert [len(batch) for batch in batches(images, Small(), size=3)] == [3]
    assert list(batches([], Small())) == []


def test_a_huge_picture_is_left_no_larger_than_needed(tmp_path: Path) -> None:
    Image.new("L", (6000, 5000), 200).save(tmp_path / "a.png")
    assert open_picture(tmp_path / "a.png", size=224).size == (546, 455)
    assert open_picture(tmp_path / "a.png").size == (6000, 5000)
