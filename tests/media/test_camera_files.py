"""Raw files of cameras: what is seen of them, how it is turned, and what cannot be read."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diptych.errors import ImageError
from diptych.media import raw
from diptych.media.pictures import NeedsExtra, open_picture
from diptych.media.raw import description_of, is_raw, open_any, read_raw
from raw_files import dng, jpeg, saved


def side_colours(picture: Image.Image) -> dict[str, tuple[int, ...]]:
    """The colour in the middle of each side."""
    width, height = picture.size
    at = {"left": (9, height // 2), "right": (width - 9, height // 2), "top": (width // 2, 9)}
    at["bottom"] = (width // 2, height - 9)
    return {side: tuple(np.asarray(picture)[y, x] // 100) for side, (x, y) in at.items()}


RED, BLUE = (2, 0, 0), (0, 0, 2)


def test_it_is_the_picture_that_the_camera_put_in(tmp_path: Path) -> None:
    inside = jpeg("red", "blue")
    (tmp_path / "a.DNG").write_bytes(dng(inside, description="a red barn"))
    picture, told = read_raw(tmp_path / "a.DNG", size=224)
    assert told.captions == ["a red barn"]
    assert told.fields == {
        "width": (960,), "height": (640,), "orientation": ("landscape",), "format": ("raw",),
        "camera": ("Diptych Made",),
    }  # fmt: skip
    assert description_of(tmp_path / "a.DNG") == told
    expected = open_picture(inside, size=224)
    assert np.array_equal(np.asarray(picture), np.asarray(expected))
    assert np.array_equal(np.asarray(open_any(tmp_path / "a.DNG", size=224)), np.asarray(expected))
    assert np.array_equal(np.asarray(open_any(inside, size=224)), np.asarray(expected))


TURNS = {1: "left", 3: "right", 6: "top", 8: "bottom"}  # where the left of what the sensor saw is to be


@pytest.mark.parametrize(
    ("orientation", "kind"),
    [
        (turn, kind)
        for kind in ("no field", "field", "field without a turn", "upright", "none")
        for turn in TURNS
        if kind != "upright" or turn in {6, 8}  # of the others nothing tells that they were turned already
    ],
)
def test_it_is_upright(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x010E] = "a field"
    if kind == "field":
        exif[0x0112] = orientation
    inside = jpeg("red", "blue", **({"exif": exif.tobytes()} if kind.startswith("field") else {}))
    if kind == "upright":  # some cameras turn the picture that they put in
        turns = {6: Image.Transpose.ROTATE_270, 8: Image.Transpose.ROTATE_90}
        inside = saved(Image.open(io.BytesIO(inside)).transpose(turns[orientation]))
    data = dng(b"" if kind == "none" else inside, orientation=orientation, green=4000)
    picture, _ = read_raw(data, size=224)
    assert (picture.width > picture.height) == (orientation in {1, 3})
    if kind != "none":
        assert side_colours(picture)[TURNS[orientation]] == RED
        assert BLUE in side_colours(picture).values()


def test_without_such_a_picture_it_is_developed_at_half_size() -> None:
    picture, told = read_raw(dng(size=(960, 640), green=4000, orientation=6))
    assert (picture.size, told.captions) == ((320, 480), [])
    assert (told.fields["width"], told.fields["orientation"]) == ((640,), ("portrait",))
    red, green, blue = np.asarray(picture).reshape(-1, 3).mean(0)
    assert green > 2 * red
    assert green > 2 * blue


def test_a_stamp_is_not_enough() -> None:
    stamp = jpeg("red", "red", (160, 120))
    assert read_raw(dng(stamp), size=224)[0].size == (480, 320)
    assert read_raw(dng(stamp), size=100)[0].size == (160, 120)
    assert read_raw(dng(stamp, size=(192, 128)), size=224)[0].size == (160, 120)  # no larger one can be had


@pytest.mark.parametrize(
    "data", [b"", b"II*\0", b"FUJIFILMCCD-RAW 0201", b"\0" * 5000, dng()[:2000], b"not raw at all" * 99]
)
def test_what_is_damaged_is_refused_and_the_next_is_read(data: bytes) -> None:
    with pytest.raises(
        ImageError, match=r"^a\.nef: (damaged, or raw of a camera that is not supported|empty)"
    ):
        read_raw(data, name="a.nef")
    assert read_raw(dng(jpeg("red", "blue")))[0].size == (960, 640)


def test_no_more_pixels_are_read_than_are_allowed() -> None:
    with pytest.raises(ImageError, match=r"too large \(960 x 640 pixels, at most 1,000 are read\)"):
        read_raw(dng(), max_pixels=1000)


def test_one_that_takes_too_long_or_ends_the_process_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    read_raw(dng(jpeg("red", "blue")))
    with monkeypatch.context() as patch:
        patch.setattr(raw, "RAW_SECONDS", 0.0)
        with pytest.raises(
            ImageError, match="a raw picture that takes longer than 0 s, so it is passed over"
        ):
            read_raw(dng())
    process = raw._worker._running()
    process.kill()
    process.wait()
    assert read_raw(dng(jpeg("red", "blue")))[0].size == (960, 640)


def test_without_the_package_it_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "rawpy", None)
    with pytest.raises(NeedsExtra, match=r"raw pictures of cameras needs .* pip install 'diptych\[raw\]'"):
        read_raw(dng())
    with pytest.raises(NeedsExtra):
        description_of("a.nef", dng())
    assert not raw.can_read_raw()


def test_the_ending_decides() -> None:
    assert is_raw("A.CR2")
    assert is_raw(Path("b/c.nef"))
    assert not is_raw("nef")
    assert not is_raw("a.tif")
