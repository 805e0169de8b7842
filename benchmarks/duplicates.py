"""Copies: which made ones are found, how many photographs are taken for copies, and what it costs.

``python benchmarks/duplicates.py made --data DIR`` indexes the photographs of Flickr8k's dev split with
copies of every tenth that were made smaller, recompressed, cropped, brightened and so on, and tells which
are found as nearly the same as what they were made of, and which photographs are taken for another's
copies.
``python benchmarks/duplicates.py many --count 100000`` times the search for neighbours among synthetic
vectors of which every twentieth has a near copy. DIR holds the data sets as `diptych data` expects them.
"""

from __future__ import annotations

import argparse
import io
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

import diptych
from diptych.engine.duplicates import neighbours
from diptych.engine.looks import ALIKE

THRESHOLDS = (0.6, ALIKE, 0.9)


def scaled(share: float) -> Callable[[Image.Image], Image.Image]:
    return lambda picture: picture.resize((round(picture.width * share), round(picture.height * share)))


def recompressed(picture: Image.Image) -> Image.Image:
    kept = io.BytesIO()
    picture.save(kept, "JPEG", quality=30)
    return Image.open(kept)


def part(share: float, x: float, y: float) -> Callable[[Image.Image], Image.Image]:
    def cropped(picture: Image.Image) -> Image.Image:
        left, top = round(picture.width * (1 - share) * x), round(picture.height * (1 - share) * y)
        return picture.crop(
            (left, top, left + round(picture.width * share), top + round(picture.height * share))
        )

    return cropped


MADE: dict[str, Callable[[Image.Image], Image.Image]] = {
    "half the size": scaled(0.5),
    "a quarter of the size": scaled(0.25),
    "JPEG quality 30": recompressed,
    "0.7 of the size, quality 30": lambda picture: recompressed(scaled(0.7)(picture)),
    "middle 95 %": part(0.95, 0.5, 0.5),
    "middle 90 %": part(0.9, 0.5, 0.5),
    "middle 80 %": part(0.8, 0.5, 0.5),
    "corner 80 %": part(0.8, 0.0, 1.0),
    "1.3 times as bright": lambda picture: ImageEnhance.Brightness(picture).enhance(1.3),
    "0.7 times as bright": lambda picture: ImageEnhance.Brightness(picture).enhance(0.7),
    "1.4 times the contrast": lambda picture: ImageEnhance.Contrast(picture).enhance(1.4),
    "grey": lambda picture: picture.convert("L"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    what = parser.add_subparsers(dest="what", required=True)
    made_ = what.add_parser("made")
    made_.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    made_.add_argument("--pictures", type=int, default=1000)
    made_.add_argument("--every", type=int, default=10, help="of which pictures copies are made")
    many_ = what.add_parser("many")
    many_.add_argument("--count", type=int, default=100_000)
    many_.add_argument("--dimensions", type=int, default=1152)
    options = parser.parse_args()
    if options.what == "made":
        made(options.data, options.pictures, options.every)
    else:
        many(options.count, options.dimensions)


def made(data: Path, count: int, every: int) -> None:
    os.environ["DIPTYCH_DATA"] = str(data)
    from diptych.data import open_data

    pictures = open_data("flickr8k").split("dev").image
    count = min(count, len(pictures))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for number in range(count):
            pictures[number].save(folder / f"{number:05} original.png")
            if number % every == 0:
                for name, make in MADE.items():
                    make(pictures[number]).save(folder / f"{number:05} {name}.jpg", quality=90)
        with diptych.open(folder) as collection:
            collection.add()
            for threshold in THRESHOLDS:
                found = collection.duplicates(threshold=threshold)
                report(found, count, every)


def report(found: diptych.engine.duplicates.Duplicates, count: int, every: int) -> None:
    hits, wrong = dict.fromkeys(MADE, 0), 0
    for group in found.near:
        names = [Path(one.id).stem.partition(" ")[::2] for one in group]
        originals = {number for number, name in names if name == "original"}
        wrong += len({number for number, _ in names}) - 1
        for number, name in names:
            hits[name] = hits.get(name, 0) + (number in originals and name != "original")
    copies = len(range(0, count, every))
    print(
        f"likeness from {found.threshold}: {wrong} of {count} photographs with another, "
        f"{found.seconds:.0f} s for {found.pictures} pictures"
    )
    for name in MADE:
        print(f"  {name:<28}{100 * hits[name] / copies:6.1f} % of {copies} found")


class Synthetic:
    """A gallery of vectors in half precision, every twentieth followed by a near copy of it."""

    def __init__(self, count: int, dimensions: int) -> None:
        rng = np.random.default_rng(0)
        common = rng.standard_normal((64, dimensions), np.float32)
        self._vectors = np.empty((count, dimensions), np.float16)
        for start in range(0, count, 4096):
            size = min(4096, count - start)
            drawn = rng.standard_normal((size, 64), np.float32) @ common / 8
            drawn += rng.standard_normal((size, dimensions), np.float32)
            copied = np.arange(0, size - 1, 20)
            noise = rng.standard_normal((len(copied), dimensions), np.float32)
            drawn[copied + 1] = drawn[copied] + 0.9 * noise
            self._vectors[start : start + size] = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)

    def vectors(self, places: np.ndarray) -> np.ndarray:
        return self._vectors[places].astype(np.float32)


def many(count: int, dimensions: int) -> None:
    gallery = Synthetic(count, dimensions)
    copied = np.concatenate(
        [start + np.arange(0, min(4096, count - start) - 1, 20) for start in range(0, count, 4096)]
    )
    before, wall, cpu = peak(), time.perf_counter(), time.process_time()
    pairs = neighbours(gallery, np.arange(count))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    found = np.isin(copied * count + copied + 1, pairs[:, 0] * count + pairs[:, 1]).mean()
    near = np.einsum("ij,ij->i", gallery.vectors(copied), gallery.vectors(copied + 1))
    print(
        f"{count} vectors of {dimensions} dimensions: {wall:.0f} s ({cpu:.0f} s of CPU), "
        f"{peak() - before:.0f} MiB more at most; {len(pairs)} pairs to look at, {100 * found:.1f} % of "
        f"{len(copied)} near copies (cosine {near.mean():.2f}) among them"
    )


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
