"""How fast indexing is, how much memory it takes, and how it compares with rclip's pipeline.

    python benchmarks/index.py ratio --count 400
    python benchmarks/index.py memory --count 50000
    python benchmarks/index.py plan --count 100000
    python benchmarks/index.py rclip --count 2000

`ratio` indexes pictures and, in the same run, encodes the same pictures that were prepared beforehand; the
second is what the model alone can do, and indexing should reach 85 % of it. `memory` indexes many pictures
with an encoder that costs nothing and prints the resident memory on the way; it should stay flat. `plan`
indexes many small lists of texts, which nothing encodes, and again when none has changed: what is left is
the cost of looking. `rclip` indexes the same pictures with Diptych and with rclip (yurijmikhalevich/rclip),
each with its own reading, hashing, preparing and storing, and both with a model that costs nothing: neither
model is measured, only what surrounds it. Pictures are drawn by code (640 x 480 JPEG of about 50 kB, no two
files alike) unless --pictures names a folder.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image

import diptych
from diptych.engine.results import Progress, Summary
from diptych.engine.scan import walk
from diptych.media.pictures import open_picture

_DRAWN = 16  # different pictures; further files repeat them with other bytes at the end


class Nothing:
    """An encoder that costs nothing; the preparation is the built-in model's."""

    name = fingerprint = "nothing"
    similarity = "cosine"
    image_size = 224
    batch_size = 8

    def prepare_image(self, picture: Any) -> np.ndarray:
        size = (self.image_size, self.image_size)
        return np.asarray(picture.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0), np.uint8)

    def encode_image(self, images: Sequence[Any]) -> np.ndarray:
        return np.ones((len(images), 512), np.float32)


def draw(folder: Path, count: int, size: tuple[int, int], seed: int) -> None:
    """JPEGs with the spectrum of photographs: noise at every scale."""
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(min(count, _DRAWN)):
        pixels = np.zeros((size[1], size[0], 3), np.float32)
        for scale in (2, 8, 32, 128):
            small = rng.integers(0, 256, (max(1, size[1] // scale), max(1, size[0] // scale), 3), np.uint8)
            large = Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)
            pixels += np.asarray(large, np.float32) * {2: 0.1, 8: 0.2, 32: 0.3, 128: 0.4}[scale]
        buffer = io.BytesIO()
        Image.fromarray(pixels.astype(np.uint8)).save(buffer, "JPEG", quality=87)
        drawn.append(buffer.getvalue())
    for number in range(count):
        home = folder / f"{number // 1000:03}"
        home.mkdir(exist_ok=True)
        # Bytes after the end of a JPEG are ignored by decoders, but make another content.
        (home / f"{number:06}.jpg").write_bytes(drawn[number % len(drawn)] + number.to_bytes(8, "big"))


@contextlib.contextmanager
def pictures(options: argparse.Namespace) -> Iterator[Path]:
    if options.pictures is not None:
        yield Path(options.pictures)
        return
    with tempfile.TemporaryDirectory() as folder:
        draw(Path(folder), options.count, (options.width, options.height), options.seed)
        yield Path(folder)


def index(folder: Path, model: Any, **how: Any) -> Summary:
    """Index a folder into a new collection that is thrown away."""
    with tempfile.TemporaryDirectory() as home, diptych.open(home, model=model) as collection:
        return collection.add(folder, **how)


def timed(action: Callable[[], Any]) -> tuple[float, float]:
    """Wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    action()
    return time.perf_counter() - wall, time.process_time() - cpu


def ratio(options: argparse.Namespace) -> None:
    model = diptych.load(options.model)
    with pictures(options) as folder:
        prepared = [
            model.prepare_image(open_picture(found.path, size=model.image_size)) for found in walk([folder])
        ]
        count, batch = len(prepared), model.batch_size

        def bare() -> None:
            for start in range(0, count, batch):
                model.encode_image(prepared[start : start + batch])

        model.encode_image(prepared[:batch])
        rounds = []
        for _ in range(options.rounds):
            alone = timed(bare)
            whole = timed(lambda: index(folder, model))
            rounds.append((alone, whole))
            print(
                f"bare encoder {count / alone[0]:.1f}/s, indexing {count / whole[0]:.1f}/s, "
                f"ratio {alone[0] / whole[0]:.2f} (CPU {alone[1] / whole[1]:.2f})",
                flush=True,
            )
        print(
            f"{options.model}, {count} pictures, batches of {batch}, {os.cpu_count()} cores: "
            f"indexing reaches {100 * median(a[0] / w[0] for a, w in rounds):.0f} % of the bare encoder "
            f"(median of {options.rounds}; target 85 %)"
        )


def resident() -> float:
    """Resident memory in MiB now (on Linux), else the most so far."""
    with contextlib.suppress(OSError):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (2**20 if sys.platform == "darwin" else 2**10)


def memory(options: argparse.Namespace) -> None:
    seen: list[tuple[int, float]] = []

    def look(progress: Progress) -> None:
        seen.append((progress.done, resident()))

    with pictures(options) as folder:
        before = resident()
        summary = index(folder, Nothing(), on_progress=look)
    for part in (1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100):
        done, size = seen[max(0, len(seen) * part // 100 - 1)]
        print(f"{done:>8} pictures: {size:.0f} MiB")
    early = seen[len(seen) // 10][1]
    most = max(size for _, size in seen)
    print(f"{summary.added} pictures in {summary.seconds:.0f} s ({summary.per_second:.0f}/s)")
    print(
        f"before {before:.0f} MiB, after a tenth {early:.0f} MiB, most {most:.0f} MiB, "
        f"growth over the last nine tenths {seen[-1][1] - early:.0f} MiB"
    )


def plan(options: argparse.Namespace) -> None:
    class Blind(Nothing):
        """Encodes no texts, so that files are looked at, hashed and known, and no more."""

    with (
        tempfile.TemporaryDirectory() as folder,
        tempfile.TemporaryDirectory() as home,
        diptych.open(home, model=Blind()) as collection,
    ):
        for number in range(options.count):
            below = Path(folder) / f"{number // 1000:04}"
            below.mkdir(exist_ok=True)
            (below / f"{number:07}.txt").write_text(f"text {number}")
        for what in ("new", "unchanged"):
            stop, seen = threading.Event(), [resident()]

            def look(stop: threading.Event = stop, seen: list[float] = seen) -> None:
                while not stop.wait(0.01):
                    seen.append(resident())

            watching = threading.Thread(target=look)
            watching.start()
            wall, cpu = timed(lambda: collection.add(folder, batch_size=256))
            stop.set()
            watching.join()
            print(
                f"{options.count} {what} files: {max(seen) - seen[0]:.0f} MiB more than the {seen[0]:.0f} "
                f"before, {wall:.1f} s, {cpu:.1f} s of CPU",
                flush=True,
            )


def rclip(options: argparse.Namespace) -> None:
    try:
        from rclip import db, main
    except ImportError as error:
        print(f"rclip is not installed here ({error}); run this in an environment that has both")
        return

    class NoModel:
        def compute_preprocessed_image_features(self, images: Sequence[Any], **_: Any) -> np.ndarray:
            return np.ones((len(images), 512), np.float32)

    def theirs(folder: Path) -> None:
        with tempfile.TemporaryDirectory() as home, contextlib.redirect_stderr(io.StringIO()):
            database = db.DB(Path(home) / "db.sqlite3")
            program: Any = main.RClip(NoModel(), database, Nothing.batch_size, None)
            program.ensure_index(str(folder))
            program.close()
            database.close()

    def ours(folder: Path) -> None:
        index(folder, Nothing())

    with pictures(options) as folder:
        count = sum(1 for _ in walk([folder]))
        rounds = []
        for number in range(options.rounds):
            took = {}
            for program in sorted((ours, theirs), key=lambda one: one is theirs, reverse=bool(number % 2)):
                took[program] = timed(lambda program=program: program(folder))
            rounds.append((took[ours], took[theirs]))
            print(f"Diptych {count / took[ours][0]:.0f}/s, rclip {count / took[theirs][0]:.0f}/s", flush=True)
    faster = median(other[0] / own[0] for own, other in rounds)
    cheaper = median(own[1] / other[1] for own, other in rounds)
    print(
        f"model excluded, {count} pictures: Diptych is {faster:.2f} times as fast as rclip, "
        f"with {cheaper:.2f} times its CPU (median of {options.rounds})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=["ratio", "memory", "plan", "rclip"])
    parser.add_argument("--count", type=int, default=400, help="pictures to draw")
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--pictures", help="use this folder and draw nothing")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="builtin")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    {"ratio": ratio, "memory": memory, "plan": plan, "rclip": rclip}[options.part](options)


if __name__ == "__main__":
    main()
