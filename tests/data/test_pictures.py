"""Pictures from files, ZIPs, tars, HDF5 and memory; what is damaged is named."""

from __future__ import annotations

import io
import os
import pickle
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diptych.data.pictures import Pictures, pictures_in
from diptych.errors import BadData, ImageError, MissingData


def png(colour: int, size: tuple[int, int] = (4, 3)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (colour, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


NAMES = [f"{number}.png" for number in range(5)]


@pytest.fixture
def homes(tmp_path: Path) -> dict[str, Path]:
    """The same five pictures, 0 to 4 red, in a folder, a ZIP and a tar."""
    folder = tmp_path / "folder"
    folder.mkdir()
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive, tarfile.open(tmp_path / "a.tar", "w") as tar:
        for number, name in enumerate(NAMES):
            (folder / name).write_bytes(png(number))
            archive.write(folder / name, f"inside/{name}")
            tar.add(folder / name, name)
    return {"folder": folder, "zip": tmp_path / "a.zip", "tar": tmp_path / "a.tar"}


@pytest.mark.parametrize("home", ["folder", "zip", "tar"])
def test_every_home_gives_the_same_pictures(home: str, homes: dict[str, Path]) -> None:
    pictures = pictures_in(homes[home], NAMES)
    assert [picture.getpixel((0, 0))[0] for picture in pictures] == [0, 1, 2, 3, 4]
    assert pictures[-1].mode == "RGB"
    assert [p.getpixel((0, 0))[0] for p in pictures[np.array([3, 1])]] == [3, 1]
    assert [p.getpixel((0, 0))[0] for p in pictures[1:3] + pictures[:1]] == [1, 2, 0]
    assert pictures[np.int64(2)].size == (4, 3)


@pytest.mark.parametrize("home", ["folder", "zip", "tar"])
def test_they_survive_pickling_and_threads(home: str, homes: dict[str, Path]) -> None:
    pictures = pickle.loads(pickle.dumps(pictures_in(homes[home], NAMES)))
    with ThreadPoolExecutor(4) as pool:
        seen = list(pool.map(lambda row: pictures[row % 5].getpixel((0, 0))[0], range(40)))
    assert seen == [row % 5 for row in range(40)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_reads_from_its_own_archive(homes: dict[str, Path]) -> None:
    pictures = pictures_in(homes["zip"], NAMES)
    assert pictures[0].size == (4, 3)
    child = os.fork()
    if child == 0:
        os._exit(pictures[4].getpixel((0, 0))[0])
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 4


@pytest.mark.parametrize("home", ["folder", "zip", "tar"])
def test_missing_pictures_are_counted_and_named(home: str, homes: dict[str, Path]) -> None:
    with pytest.raises(BadData, match=r"lacks 2 of 3 pictures, the first '8\.png'"):
        pictures_in(homes[home], ["1.png", "8.png", "9.png"])


def test_missing_or_damaged_archives(tmp_path: Path) -> None:
    (tmp_path / "half.zip").write_bytes(b"PK\x03\x04 and then nothing")
    (tmp_path / "half.tar").write_bytes(b"no tar at all" * 100)
    with pytest.raises(MissingData, match=r"none\.zip is not there"):
        Pictures.from_zip(tmp_path / "none.zip")
    with pytest.raises(BadData, match=r"half\.zip is not a whole ZIP archive"):
        Pictures.from_zip(tmp_path / "half.zip")
    with pytest.raises(BadData, match=r"half\.tar is not an uncompressed tar"):
        Pictures.from_tar(tmp_path / "half.tar")
    with pytest.raises(MissingData, match=r"none\.tar is not there"):
        Pictures.from_tar(tmp_path / "none.tar")


def test_a_bad_picture_is_named_when_it_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("not a picture")
    (tmp_path / "cut.png").write_bytes(png(1, (64, 64))[:-40])
    pictures = Pictures.from_folder(tmp_path, ["text.jpg", "cut.png", "gone.jpg"])
    with pytest.raises(ImageError, match=r"text\.jpg: not a picture"):
        pictures[0]
    with pytest.raises(ImageError, match=r"cut\.png: damaged"):
        pictures[1]
    with pytest.raises(ImageError, match=r"gone\.jpg: cannot be read"):
        pictures[2]


def test_matlab_pictures_are_read_one_by_one(tmp_path: Path) -> None:
    import h5py

    pixels = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3), np.uint8)  # n, height, width, colour
    with h5py.File(tmp_path / "iall.mat", "w") as file:
        file["IAll"] = pixels.transpose(0, 3, 2, 1)  # as HDF5 shows MATLAB's (height, width, 3, n)
    pictures = pickle.loads(pickle.dumps(Pictures.from_hdf5(tmp_path / "iall.mat", "IAll")))
    assert len(pictures) == 2
    assert np.array_equal(np.asarray(pictures[1]), pixels[1])


def test_paths_are_known_for_files_only(homes: dict[str, Path]) -> None:
    assert Pictures.from_paths([homes["folder"] / "1.png"]).path(0) == homes["folder"] / "1.png"
    assert Pictures.from_zip(homes["zip"]).path(0) is None
    assert Pictures.from_bytes({"x": png(7)})[0].getpixel((0, 0)) == (7, 0, 0)
    assert Pictures.from_tar(homes["tar"]).names == NAMES
    assert Pictures.from_zip(homes["zip"]).read(2) == png(2)


@pytest.mark.parametrize("ending", ["zip", "tar"])
def test_a_name_that_is_in_an_archive_twice_is_taken_for_neither(tmp_path: Path, ending: str) -> None:
    archive = tmp_path / f"a.{ending}"
    members = {"one/1.png": 10, "two/1.png": 20, "one/2.png": 30}
    for name, colour in members.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(png(colour))
    with zipfile.ZipFile(archive, "w") if ending == "zip" else tarfile.open(archive, "w") as opened:
        for name in members:
            add = opened.write if isinstance(opened, zipfile.ZipFile) else opened.add
            add(tmp_path / name, name)
    assert pictures_in(archive, ["2.png", "two/1.png"])[1].getpixel((0, 0)) == (20, 0, 0)
    with pytest.raises(BadData, match=r"holds 1\.png 2 times \(one/1\.png, two/1\.png\)"):
        pictures_in(archive, ["2.png", "1.png"])
