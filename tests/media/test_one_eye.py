"""One picture has one vector, wherever it comes from and whoever looks."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import diptych
from diptych import similarity
from diptych.core import Item
from diptych.data.base import captioned
from diptych.data.extracted import extract
from diptych.data.pictures import Pictures
from diptych.features.builtin_image import BuiltinImage
from diptych.features.pixels import Pixels
from diptych.media.pictures import batches, open_picture, sized
from diptych.systems.dual_tower.builtin import Builtin

pytestmark = pytest.mark.slow


def ramp(size: tuple[int, int] = (60, 40)) -> Image.Image:
    """Something with a top, a bottom, a left, a right, and detail."""
    x, y = np.meshgrid(np.linspace(0, 1, size[0]), np.linspace(0, 1, size[1]))
    noise = np.random.default_rng(0).random((size[1], size[0]))
    return Image.fromarray((255 * np.stack([x, y, (x * y + noise) / 2], axis=2)).astype(np.uint8))


def see_through() -> Image.Image:
    picture = ramp().convert("RGBA")
    picture.putalpha(ramp().convert("L").point(lambda value: 255 if value > 90 else value))
    return picture


def deep(kind: type, most: int) -> Image.Image:
    return Image.fromarray((np.asarray(ramp().convert("L"), np.float64) / 255 * most).astype(kind))


def turned() -> dict[str, Any]:
    exif = Image.Exif()
    exif[0x0112] = 6
    return {"exif": exif}


def lab() -> Image.Image:
    return Image.merge(
        "LAB", [ramp().convert("L"), *[Image.new("L", (60, 40), value) for value in (150, 100)]]
    )


def frames() -> dict[str, Any]:
    return {"save_all": True, "append_images": [Image.new("RGB", (60, 40), "blue")]}


# Ending, picture, and how it is saved, of each odd kind.
KINDS: dict[str, tuple[str, Callable[[], Image.Image], dict[str, Any]]] = {
    "plain": ("png", ramp, {}),
    "transparent": ("png", see_through, {}),
    "transparent webp": ("webp", see_through, {"lossless": True}),
    "grey and alpha": ("png", lambda: see_through().convert("LA"), {}),
    "key colour": ("png", ramp, {"transparency": (0, 0, 0)}),
    "palette": ("png", lambda: ramp().quantize(32), {}),
    "palette with transparency": ("gif", lambda: ramp().quantize(32), {"transparency": 3}),
    "palette with alpha": ("png", lambda: see_through().quantize(32), {}),
    "16-bit grey": ("png", lambda: deep(np.uint16, 65535), {}),
    "16-bit grey tiff": ("tif", lambda: deep(np.uint16, 65535), {}),
    "32-bit grey": ("tif", lambda: deep(np.int32, 65535), {}),
    "float": ("tif", lambda: deep(np.float32, 1), {}),
    "black and white": ("png", lambda: ramp().convert("1"), {}),
    "CMYK": ("jpg", lambda: ramp().convert("CMYK"), {}),
    "YCbCr": ("tif", lambda: ramp().convert("YCbCr"), {}),
    "LAB": ("tif", lab, {}),
    "turned jpeg": ("jpg", ramp, turned()),
    "turned png": ("png", ramp, turned()),
    "turned avif": ("avif", ramp, turned()),
    "animated gif": ("gif", ramp, frames()),
    "animated png": ("png", ramp, frames()),
    "animated webp": ("webp", ramp, frames()),
    "large jpeg": ("jpg", lambda: ramp((900, 700)), {}),
    "large turned jpeg": ("jpg", lambda: ramp((900, 700)), turned()),
}


class Retina:
    """Its vector is what it sees, 24 x 24 pixels; keeps what it was last asked to encode."""

    name = fingerprint = "retina"
    similarity = "dot"
    image_size = 24
    batch_size = 4

    def __init__(self) -> None:
        self.seen: np.ndarray = np.zeros(0)

    def prepare_image(self, picture: Any) -> np.ndarray:
        return np.asarray(open_picture(picture, size=24).resize((24, 24)), np.float32)

    def encode_image(self, images: Sequence[Any]) -> np.ndarray:
        self.seen = np.concatenate(list(batches(images, self)))
        return self.seen.reshape(len(images), -1)


@pytest.fixture
def file(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    ending, picture, how = KINDS[request.param]
    folder = tmp_path / request.param
    folder.mkdir()
    picture().save(folder / f"a.{ending}", **how)
    return folder / f"a.{ending}"


def datasets(file: Path) -> dict[str, Pictures]:
    """The picture in every home that a data set may have."""
    archive = file.parent.parent / "a.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.write(file, file.name)
    return {
        "folder": Pictures.from_folder(file.parent, [file.name]),
        "zip": Pictures.from_zip(archive),
        "bytes": Pictures.from_bytes({file.name: file.read_bytes()}),
    }


every_kind = pytest.mark.parametrize("file", KINDS, indirect=True)


@every_kind
def test_all_roads_show_the_encoder_the_same_pixels(file: Path) -> None:
    retina, seen = Retina(), {}
    data = file.read_bytes()
    retina.encode_image([file])
    expected = retina.seen[0]
    assert expected.std() > 5  # there is something to see
    with diptych.open(file.parent, model=retina) as collection:
        assert collection.add().added == 1
        seen["index"] = retina.seen[0]
        for name, query in {"path": file, "str": str(file), "bytes": data}.items():
            assert len(collection.search(image=query, itself=True)) == 1
            seen[f"query as {name}"] = retina.seen[0]
        with Image.open(io.BytesIO(data)) as picture:
            collection.search(image=picture)
            seen["query as picture"] = retina.seen[0]
    for name, pictures in datasets(file).items():
        retina.encode_image(pictures)
        seen[f"data set: {name}"] = retina.seen[0]
        seen[f"data set, told the size: {name}"] = retina.prepare_image(sized(pictures, 24)[0])
    for name, content in {"bytes": data, "str": str(file)}.items():
        retina.encode_image([content])
        seen[f"encode_image({name})"] = retina.seen[0]
    assert {name for name, pixels in seen.items() if not np.array_equal(pixels, expected)} == set()


@every_kind
def test_decoded_pictures_and_arrays_look_the_same_but_for_the_rounding_of_a_drafted_jpeg(file: Path) -> None:
    retina = Retina()
    retina.encode_image([file])
    expected, rounding = retina.seen[0], 4 if "large" in file.parent.name else 0
    with Image.open(file) as picture:
        picture.load()
        retina.encode_image([picture])
        np.testing.assert_allclose(retina.seen[0], expected, atol=rounding)
    retina.encode_image([np.asarray(open_picture(file))])
    np.testing.assert_allclose(retina.seen[0], expected, atol=rounding)
    with diptych.open(file.parent, model=retina) as collection:
        collection.add()
        collection.search(image=np.asarray(open_picture(file)))
        np.testing.assert_allclose(retina.seen[0], expected, atol=rounding)


@pytest.fixture(scope="module")
def builtin() -> Builtin:
    return Builtin()


@every_kind
def test_the_stored_vector_is_that_of_every_other_road(file: Path, builtin: Builtin) -> None:
    expected = builtin.encode_image([file])
    with diptych.open(file.parent, model=builtin) as collection:
        collection.add()
        assert collection.search(file, itself=True)[0].score == pytest.approx(1, abs=1e-3)
        assert collection.search(image=file.read_bytes())[0].score == pytest.approx(1, abs=1e-3)
    with Image.open(file) as picture:
        np.testing.assert_allclose(builtin.encode_image([picture]), expected, atol=1e-6)
    np.testing.assert_allclose(builtin.encode_image([file.read_bytes()]), expected, atol=1e-6)
    for pictures in datasets(file).values():
        np.testing.assert_allclose(builtin.encode_image(pictures), expected, atol=1e-6)
        assert similarity.cosine(builtin.encode_image([pictures[0]]), expected)[0, 0] > 0.999


@every_kind
@pytest.mark.parametrize("make", [lambda: Pixels(size=20), BuiltinImage], ids=["pixels", "builtin_image"])
def test_extractors_look_the_same_way(file: Path, make: Callable[[], Any]) -> None:
    extractor = make()
    expected = extractor.encode_image([file])
    for pictures in datasets(file).values():
        assert np.array_equal(extractor.encode_image(pictures), expected)
        found = extract(captioned(pictures, [["x"]]), image=extractor).image
        np.testing.assert_allclose(found, expected, atol=1e-6)


@every_kind
def test_a_pretrained_tower_looks_the_same_way(file: Path, tiny_clip: Path) -> None:
    clip = diptych.load(f"clip@{tiny_clip}")
    expected = clip.encode_image([file])
    with Image.open(file) as picture:
        np.testing.assert_allclose(clip.encode_image([picture]), expected, atol=1e-6)
    for pictures in datasets(file).values():
        np.testing.assert_allclose(clip.encode_image(pictures), expected, atol=1e-6)


def test_an_array_that_is_no_picture_is_refused_as_a_query(tmp_path: Path) -> None:
    ramp().save(tmp_path / "a.png")
    with diptych.open(tmp_path, model=Retina()) as collection:
        collection.add()
        with pytest.raises(diptych.errors.UsageError, match=r"an array \(512,\) of float32 is no picture"):
            collection.search(image=np.zeros(512, np.float32))
        with pytest.raises(diptych.errors.UsageError, match=r"\(3, 24, 24\) of uint8 is no picture"):
            collection.search(Item(image=np.zeros((3, 24, 24), np.uint8)))
