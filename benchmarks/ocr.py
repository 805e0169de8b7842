"""How much of the text inside pictures is read, what looking for it costs, and what it does for searches.

    python benchmarks/ocr.py rendered --count 40
    python benchmarks/ocr.py gate --pictures FOLDER
    python benchmarks/ocr.py found --count 40
    python benchmarks/ocr.py signs --coco FOLDER

`rendered` writes three words on photographs of 1200 x 900, at several heights of the letters, angles and
fonts, and prints which share of the words is read, with the detector's look at small size before it (the
gate) and without; beside it the CPU seconds of a picture, one thread. `gate` looks at photographs as they
are: what the gate costs, how many it lets through, and in how many something is read after all. `found`
indexes pictures that each show a word of their own, and asks for every word: how often its picture is the
first hit by the vectors, which know nothing of what was read, and how often it is the first of those in
whose inscription the word stands. `signs` asks the photographs of COCO that have a stop sign (`coco_photos`)
whether "stop" was read. Photographs are those of the tests unless --pictures names a folder.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import diptych
from diptych.engine.scan import walk
from diptych.media import ocr
from diptych.media.pictures import open_picture

PHOTOGRAPHS = Path(__file__).parents[1] / "tests" / "photographs"
_WORDS = """
harbour invoice platform breakfast station ticket museum garden market bridge window bakery
village theatre airport library kitchen mountain pharmacy hospital lantern orchard passport
railway stadium university newspaper pavement chocolate envelope furniture groceries hardware
insurance jewellery laundry magazine nursery opticians plumber
"""
WORDS = tuple(_WORDS.split())
SIZE = (1200, 900)
HEIGHTS, ANGLES = (12, 16, 24, 48, 96), (0, 5, 15, 45, 90, 180)


def photographs(folder: Path, size: tuple[int, int] | None) -> list[Image.Image]:
    """The pictures of a folder, all of one size if one is given."""
    found = [open_picture(one.path) for one in walk([folder]) if one.kind == "image" and not one.excluded]
    return [one if size is None else one.resize(size) for one in found]


def fonts(folder: Path | None) -> list[Callable[[int], ImageFont.FreeTypeFont | ImageFont.ImageFont]]:
    """What gives a font of a height: Pillow's own, or those in a folder."""
    if folder is None:
        return [ImageFont.load_default]
    return [lambda height, path=path: ImageFont.truetype(str(path), height) for path in folder.rglob("*.ttf")]


def written(
    ground: Image.Image,
    words: Sequence[str],
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    angle: float,
) -> Image.Image:
    """A picture with a sign on it: black words on white, turned about its middle."""
    text = " ".join(words)
    left, top, right, bottom = map(int, font.getbbox(text))
    edge = (bottom - top) // 2
    sign = Image.new("RGBA", (right - left + 2 * edge, bottom - top + 2 * edge), "white")
    ImageDraw.Draw(sign).text((edge - left, edge - top), text, fill="black", font=font)
    sign = sign.rotate(angle, Image.Resampling.BICUBIC, expand=True)
    sign.thumbnail(ground.size)
    found = ground.copy()
    found.paste(sign, ((ground.width - sign.width) // 2, (ground.height - sign.height) // 2), sign)
    return found


def share(lines: Sequence[str], words: Sequence[str]) -> float:
    """How many of the words were read, whatever stands between them."""
    text = "".join(lines).lower().replace(" ", "")
    return sum(word in text for word in words) / len(words)


class Timed:
    """Reads in this process, so that its CPU time can be told."""

    def __init__(self) -> None:
        self._engine, self.seconds, self.count = ocr._Engine(), 0.0, 0

    def __call__(self, picture: Image.Image, *, gate: bool = True) -> list[str]:
        if max(picture.size) > ocr.LARGEST:
            picture = picture.copy()
            picture.thumbnail((ocr.LARGEST, ocr.LARGEST))
        pixels, started = np.asarray(picture), time.process_time()
        lines = self._engine.lines(pixels, gate)
        self.seconds += time.process_time() - started
        self.count += 1
        return lines

    def passes(self, picture: Image.Image) -> bool:
        pixels = np.ascontiguousarray(np.asarray(picture)[:, :, ::-1])
        started = time.process_time()
        found = self._engine._has_text(pixels)
        self.seconds += time.process_time() - started
        self.count += 1
        return found

    @property
    def each(self) -> str:
        return f"{self.seconds / max(1, self.count):.2f} s of CPU each"


def rendered(arguments: argparse.Namespace) -> None:
    grounds, rng = photographs(arguments.pictures, SIZE), np.random.default_rng(arguments.seed)
    given = fonts(arguments.fonts)

    def tried(height: int | None, angle: float | None) -> str:
        gated, whole = Timed(), Timed()
        shares: list[tuple[float, float]] = []
        for _ in range(arguments.count):
            words = [str(word) for word in rng.choice(WORDS, 3, replace=False)]
            font = given[rng.integers(len(given))](height or int(rng.choice(HEIGHTS[2:])))
            turn = float(rng.choice(ANGLES)) if angle is None else angle
            picture = written(grounds[rng.integers(len(grounds))], words, font, turn)
            shares.append((share(gated(picture), words), share(whole(picture, gate=False), words)))
        with_gate, without = np.mean(shares, 0)
        return f"words read {with_gate:.2f} ({gated.each}), without the gate {without:.2f} ({whole.each})"

    for height in HEIGHTS:
        print(f"letters of {height} pixels in {SIZE[0]} x {SIZE[1]}: {tried(height, 0)}", flush=True)
    for angle in ANGLES[1:]:
        print(f"turned by {angle} degrees, 24 to 96 pixels: {tried(None, angle)}", flush=True)


def gate(arguments: argparse.Namespace) -> None:
    pictures = photographs(arguments.pictures, None)[: arguments.count]
    first, whole = Timed(), Timed()
    passed = [first.passes(picture) for picture in pictures]
    lines = [whole(picture, gate=False) for picture in pictures]
    held = sum(bool(found) for found in lines)
    kept = sum(bool(found) and through for found, through in zip(lines, passed, strict=True))
    print(f"{len(pictures)} photographs: the gate lets {sum(passed)} through, {first.each}")
    print(f"without it something is read in {held}, {whole.each}; the gate lets {kept} of these through")


def found(arguments: argparse.Namespace) -> None:
    grounds, rng = photographs(arguments.pictures, SIZE), np.random.default_rng(arguments.seed)
    words = WORDS[: arguments.count]
    with tempfile.TemporaryDirectory() as made:
        for at, word in enumerate(words):
            font = fonts(arguments.fonts)[0](int(rng.choice([24, 48])))
            picture = written(grounds[rng.integers(len(grounds))], [word], font, 0)
            picture.save(Path(made) / f"{at:03}.jpg", quality=90)
        with diptych.open(made) as collection:
            collection.add()
            vectors = _hits(collection, words, lambda _: None)
            done = collection.add(ocr=True).inscriptions
            after = _hits(collection, words, _read)
    assert done is not None
    print(f"{len(words)} pictures that each show a word; something was read in {done.read}")
    print(f"found by word: {vectors:.2f} by vectors alone, {after:.2f} by what was read inside the pictures")


def _read(word: str) -> str:
    return f"inscription like '%{word}%'"


def _hits(collection: diptych.Collection, words: Sequence[str], where: Callable[[str], str | None]) -> float:
    hits = 0
    for at, word in enumerate(words):
        best = collection.search(word, k=1, where=where(word))
        hits += bool(best) and best[0].id == f"{at:03}.jpg"
    return hits / len(words)


def signs(arguments: argparse.Namespace) -> None:
    timed, read, count = Timed(), 0, 0
    for picture in _with_signs(arguments.coco):
        count += 1
        read += "stop" in "".join(timed(picture)).lower()
        if count == arguments.count:
            break
    print(f'{count} photographs of COCO with a stop sign: "stop" was read in {read}, {timed.each}')


def _with_signs(folder: Path) -> Iterator[Image.Image]:
    for part in ("dev", "train"):
        with zipfile.ZipFile(folder / f"{part}_images.zip") as images:
            for line in (folder / f"{part}.jsonl").read_text(encoding="utf-8").splitlines():
                row = json.loads(line)
                if "stop sign" in row["categories"]:
                    yield Image.open(io.BytesIO(images.read(row["image"]))).convert("RGB")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["rendered", "gate", "found", "signs"])
    parser.add_argument("--count", type=int, default=40, help="pictures, of each kind")
    parser.add_argument("--pictures", type=Path, default=PHOTOGRAPHS, help="folder of photographs")
    parser.add_argument("--fonts", type=Path, help="folder of .ttf files; Pillow's own font if not given")
    parser.add_argument("--coco", type=Path, help="folder of the data set coco_photos")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    ocr.needs_ocr()
    if arguments.what == "signs" and arguments.coco is None:
        sys.exit("signs needs --coco, the folder of the data set coco_photos")
    {"rendered": rendered, "gate": gate, "found": found, "signs": signs}[arguments.what](arguments)


if __name__ == "__main__":
    main()
