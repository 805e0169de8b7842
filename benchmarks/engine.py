"""A collection of a million pictures: every promise that is made of it, measured, each beside its limit.

    python benchmarks/engine.py --items 1000000

Made in a temporary folder, through the home's own batches: vectors of 512 dimensions with clusters, a falling
spectrum and a gap between captions and pictures (those of `search.py`, which see), a caption for every tenth
picture, and a name in the file system for each, so that walks and looks at hits cost what they do. Nothing is
decoded and no model is run: what is measured is the engine. Every part runs in a process of its own, with one
thread. A limit is compared with processor time, as on a busy machine a clock also counts waiting; the clock's
time stands beside.

Beside it, if it is installed, LanceDB does the same work on the same vectors in the same run.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from search import DIM, vectors

import diptych
from diptych.core import Searchable
from diptych.engine import plan
from diptych.engine.collection import Collection
from diptych.engine.homes.entries import Caption
from diptych.index.two_stage import exact_rows
from diptych.similarity import unit

_BATCH = 10_000
_FOLDER = 1_000  # pictures in each
_ASKED = 1_000  # queries
_NEW = 1_000  # pictures that come later
_SHARES = (0.001, 0.01, 0.03, 0.1, 0.3, 0.5, 0.9, 1.0)


class Drawn:
    """An encoder whose vectors were drawn beforehand: the text "asked 17" has the 17th.

    Args:
        work: Where they are.
    """

    name, similarity, fingerprint, batch_size = "drawn", "cosine", "drawn:1", 256

    def __init__(self, work: Path) -> None:
        self.asked = np.load(work / "asked.npy", mmap_mode="r")

    @staticmethod
    def prepare_image(picture: Any) -> np.ndarray:
        return np.asarray(picture.convert("RGB").resize((8, 8)), np.uint8)

    def encode_image(self, images: Sequence[Any]) -> np.ndarray:
        return np.array(
            [np.random.default_rng(np.asarray(one).ravel()).standard_normal(DIM) for one in images]
        )

    def encode_text(self, texts: Sequence[str]) -> np.ndarray:
        words = [
            text.split()[-1] for text in texts
        ]  # those of others, such as of a calibration, have some, too
        numbers = [int(word) if word.isdecimal() else zlib.crc32(word.encode()) for word in words]
        return np.stack([self.asked[number % len(self.asked)] for number in numbers])


def opened(work: Path) -> Collection:
    return diptych.open(work / "photos", model=Drawn(work))


def name_of(number: int) -> str:
    return f"disk/{number // _FOLDER:04}/{number:07}.jpg"


def fields_of(number: int) -> dict[str, tuple[Any, ...]]:
    """When and with what a picture was taken, three tags, and a number below 1000 to choose a share by."""
    rng = np.random.default_rng(number)
    second, pick, *drawn = rng.integers(0, [15 * 365 * 86_400, 1000, 20, 500, 500, 500]).tolist()
    taken = datetime(2010, 1, 1) + timedelta(seconds=second)
    return {
        "date": (taken.strftime("%Y-%m-%d %H:%M:%S"),),
        "camera": (f"Camera {drawn[0]}",),
        "tag": tuple(dict.fromkeys(f"tag {one}" for one in drawn[1:])),
        "pick": (pick,),
        "width": (4000,),
        "height": (3000,),
    }


def say(what: str, found: str, limit: str = "", *, kept: bool = True) -> None:
    told = f"({'limit' if kept else 'LIMIT MISSED:'} {limit})" if limit else ""
    print(f"  {what:58} {found:>30} {told}", flush=True)


def resident(what: str = "VmRSS") -> float:
    """Megabytes, as Linux tells them; nan elsewhere."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{what}:"):
                return int(line.split()[1]) * 1024 / 1e6
    return float("nan")


def processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return f"{line.split(':')[1].strip()}, {os.cpu_count()} cores"
    return f"{platform.machine()}, {os.cpu_count()} cores"


class Watch:
    """Seconds by the clock and of the processor, of what was measured one after the other."""

    def __init__(self) -> None:
        self.clock: list[float] = []
        self.busy: list[float] = []

    def __call__(self, action: Callable[[], Any]) -> Any:
        clock, busy = time.perf_counter(), time.process_time()
        result = action()
        self.clock.append(time.perf_counter() - clock)
        self.busy.append(time.process_time() - busy)
        return result

    def at(self, percent: float) -> float:
        """Milliseconds of the processor within which so many of a hundred stay."""
        return float(np.percentile(self.busy, percent)) * 1000

    def told(self, percent: float = 50) -> str:
        clock = float(np.percentile(self.clock, percent)) * 1000
        return f"{self.at(percent):.1f} ms ({clock:.1f} by the clock)"

    def total(self) -> str:
        return f"{sum(self.busy):.1f} s ({sum(self.clock):.1f} by the clock)"


def watched(action: Callable[[], Any]) -> Watch:
    watch = Watch()
    watch(action)
    return watch


def bytes_of(folder: Path) -> int:
    return sum(one.stat().st_size for one in folder.rglob("*") if one.is_file())


# What is measured; each in its own process


def fill(collection: Collection, images: np.ndarray, captions: np.ndarray, first: int) -> None:
    """Store pictures from a number on, and a caption for every tenth, batch by batch."""
    folder, home = collection.folder, collection.home
    texts: Iterator[tuple[int, np.ndarray]] = enumerate(captions)
    for start in range(0, len(images), _BATCH):
        with home.batch():
            for number, vector in enumerate(images[start : start + _BATCH], first + start):
                path = folder / name_of(number)
                if number % _FOLDER == 0 or number == first:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.touch()
                    one, status = path, path.stat()
                else:
                    os.link(one, path)
                digest = number.to_bytes(16, "big")
                file = home.put_file(os.fsencode(name_of(number)), 0, status.st_mtime_ns, digest)
                home.put_image(file, vector.tobytes())
                home.put_fields(file, fields_of(number))
                captions_of = []
                if number % 10 == 0 and (text := next(texts, None)) is not None:
                    vector = text[1].astype(np.float16)
                    captions_of = [Caption(f"caption {text[0]}", vector.tobytes(), "own")]
                home.put_captions(file, plan._READ, captions_of)  # as a walk that found no caption files


def build(work: Path, images: np.ndarray, captions: np.ndarray) -> None:
    """The collection, its search files and codes."""
    (work / "photos").mkdir()
    with opened(work) as collection:
        with collection.writing():
            encoder = collection.encoder
            with collection.home.batch(changes=False):
                collection.home.put_column("main", encoder.name, encoder.fingerprint, encoder.similarity, DIM)
            filled = watched(lambda: fill(collection, images, captions, 0))
        ready = watched(lambda: collection.search("asked 0", exact=True))
        coded = watched(lambda: collection.make_codes(512))
        codes = collection.info()["codes"]
        needed = next(
            o["candidates"] for o in codes["calibrations"] if (o["side"], o["recall"]) == ("text", 0.98)
        )
    say("stored, in batches of 10,000", filled.total())
    say("search files written", ready.total())
    say(f"codes of 512 bits learned and calibrated, {needed} candidates", coded.total())
    (work / "built").write_text(str(sum(sum(one.busy) for one in (filled, ready, coded))))
    say("on disk", f"{bytes_of(work / 'photos' / '.diptych') / 1e9:.2f} GB")


def part_open(work: Path, options: argparse.Namespace) -> None:
    watch = Watch()
    collection = watch(lambda: opened(work))
    say("open", watch.told(), "100 ms", kept=watch.at(50) < 100)
    say("first search after it", watched(lambda: collection.search("asked 0")).told())


def part_search(work: Path, options: argparse.Namespace) -> None:
    truth = np.load(work / "truth.npy")
    before, watch, right = resident(), Watch(), []
    with opened(work) as collection:
        collection.search("asked 0")
        for number in range(len(truth)):
            found = watch(lambda number=number: collection.search(f"asked {number}"))
            right.append(shared([int(Path(one.id).stem) for one in found], truth[number]))
        most = resident("VmHWM")
        say(f"{len(truth)} searches by codes, ten hits, median", watch.told())
        say("    95 of 100 within", watch.told(95), "50 ms", kept=watch.at(95) < 50)
        say_recall(right)
        what = f"resident at most ({before:.0f} MB before opening)"
        say(what, f"{most:.0f} MB", "1000 MB", kept=not most > 1000)
        watch = Watch()
        for number in range(10):
            watch(lambda number=number: collection.search(f"asked {number}", exact=True))
        say("exact search, median of ten", watch.told())
        say("resident at most", f"{resident('VmHWM'):.0f} MB")


def part_filters(work: Path, options: argparse.Namespace) -> None:
    rng = np.random.default_rng(1)
    with opened(work) as collection:
        home, encoder = collection.home, collection.encoder
        every = home.vectors_now("image").rows
        index: Searchable = home.quick(["text"], None, 10) or home.vectors_now("image")
        for share in _SHARES:
            within = np.sort(rng.choice(every, max(10, int(share * len(every))), replace=False))
            watch, right = Watch(), []
            for number in range(options.singles):
                asked = encoder.encode_text([f"asked {number}"])
                found = watch(lambda asked=asked, within=within: index.search(asked, 10, within))
                exact = home.vectors_now("image").search(asked, 10, within)
                right.append(shared(found.rows[0], exact.rows[0]))
            say(f"filter that leaves {100 * share:g} %, median", watch.told())
            say("    95 of 100 within", watch.told(95), "50 ms", kept=watch.at(95) < 50)
            say_recall(right)


def shared(found: Iterable[int], truth: np.ndarray) -> float:
    best = set(truth[truth >= 0].tolist())
    return len(set(found) & best) / len(best)


def say_recall(right: Sequence[float]) -> None:
    found = float(np.mean(right))
    say("    recall of the ten best", f"{found:.4f}", "0.98", kept=found >= 0.98)


def part_where(work: Path, options: argparse.Namespace) -> None:
    """Whole searches with a filter; the first reads it, the others find it known."""
    with opened(work) as collection:
        collection.search("asked 0")
        first = watched(lambda: collection.count(where="pick < 0"))
        say("first filter of all, which reads whose items are whose", first.told())
        for share in _SHARES:
            where = f"pick < {round(1000 * share)}"
            read = watched(lambda where=where: collection.count(where=where))
            watch, right = Watch(), []
            for number in range(options.singles):
                asked = f"asked {number}"
                found = watch(lambda asked=asked, where=where: collection.search(asked, where=where))
                exact = collection.search(asked, where=where, exact=True)
                right.append(len({one.id for one in found} & {one.id for one in exact}) / max(len(exact), 1))
            say(f"--where that leaves {100 * share:g} %, read once", read.told())
            say("    searches, median", watch.told())
            say("    95 of 100 within", watch.told(95), "50 ms", kept=watch.at(95) < 50)
            say_recall(right)
        for where in (
            "date >= 2017-06-01",
            "not date >= 2017-06-01",
            "date between 2012 and 2013 and camera in ('Camera 1', 'Camera 2') and tag = 'tag 7'",
            "folder like 'disk/00%'",
            "name like '%7.jpg'",
            "modified >= 2020",
        ):
            say(f"count of {where[:48]}", watched(lambda where=where: collection.count(where=where)).told())
        for name in ("year", "camera", "tag", "folder"):
            counted = watched(lambda name=name: collection.facets(name))
            say(f"facets by {name}", counted.told())
        say("resident, at most", f"{resident('VmHWM'):.0f} MB", "1000 MB", kept=not resident("VmHWM") > 1000)


def part_away(work: Path, options: argparse.Namespace) -> None:
    disk = work / "photos" / "disk"
    with opened(work) as collection:
        collection.search("asked 0")
        disk.rename(work / "away")
        try:
            took = watched(lambda: collection.search("asked 1"))
        finally:
            (work / "away").rename(disk)
    say("a search while the disk of all pictures is away", took.total())


def part_walk(work: Path, options: argparse.Namespace) -> None:
    folders = sorted((work / "photos" / "disk").iterdir())
    with opened(work) as collection:
        for given in (folders[: max(1, len(folders) // 10)], [work / "photos"]):
            stop, seen = threading.Event(), [resident()]

            def look(stop: threading.Event = stop, seen: list[float] = seen) -> None:
                while not stop.wait(0.01):
                    seen.append(resident())

            watching = threading.Thread(target=look)
            watching.start()
            watch = Watch()
            try:
                summary = watch(lambda given=given: collection.add(*given))
            finally:
                stop.set()
                watching.join()
            more = max(seen) - seen[0]
            say(
                f"indexing again, {summary.unchanged} files of which none changed",
                f"{more:.0f} MB more", "300 MB", kept=not more > 300,
            )  # fmt: skip
            say("    which took", watch.total())


def part_add(work: Path, options: argparse.Namespace) -> None:
    built = float((work / "built").read_text())
    rng = np.random.default_rng(2)
    new = unit(rng.standard_normal((_NEW, DIM))).astype(np.float16)
    with opened(work) as collection:
        collection.search("asked 0")

        def add() -> None:
            with collection.writing():
                fill(collection, new, np.zeros((0, DIM)), options.items)

        stored, ready = watched(add), watched(lambda: collection.search("asked 0"))
    share = (stored.busy[0] + ready.busy[0]) / built
    say(f"{_NEW} pictures more, stored", stored.total())
    say("    and found", ready.total())
    say(
        "    share of building anew",
        f"{100 * share:.2f} %", "1 %", kept=share < 0.01 or options.items < 100 * _NEW,
    )  # fmt: skip


def part_remove(work: Path, options: argparse.Namespace) -> None:
    before = bytes_of(work / "photos" / ".diptych")
    watch, failed = Watch(), 0
    with opened(work) as collection:
        collection.search("asked 0")
        most = resident("VmHWM")
        command = [sys.executable, __file__, "--items", str(options.items), "--work", str(work)]
        with subprocess.Popen([*command, "--part", "remover"]) as remover:
            number = 0
            while remover.poll() is None or number == 0:
                try:
                    found = watch(lambda number=number: collection.search(f"asked {number}"))
                    assert len(found) == 10, f"{len(found)} hits"
                except Exception as error:  # noqa: BLE001 - whatever it is, it is counted
                    failed += 1
                    print(f"    {type(error).__name__}: {error}")
                number += 1
        assert remover.returncode == 0
        watch(lambda: collection.search("asked 0"))
        after = bytes_of(work / "photos" / ".diptych")
        count = collection.count("image")
    say(f"{number} searches meanwhile, failed", f"{failed}", "0", kept=not failed)
    say("    median", watch.told())
    say("    longest", watch.told(100))
    say(f"    resident at most ({most:.0f} MB before)", f"{resident('VmHWM'):.0f} MB")
    say(f"on disk, with {count} left", f"{before / 1e9:.2f} -> {after / 1e9:.2f} GB")


def remover(work: Path) -> None:
    """Remove two in five folders of pictures, ten at a time, then what indexing does at its end."""
    folders = sorted((work / "photos" / "disk").iterdir())
    gone = folders[: max(1, 2 * len(folders) // 5)]
    watch = Watch()
    with opened(work) as collection:
        for start in range(0, len(gone), 10):
            watch(lambda start=start: collection.remove(*gone[start : start + 10]))
    say(f"{len(gone)} folders of {_FOLDER} removed, ten at a time", watch.total())
    say("    longest", watch.told(100))


def part_peer(work: Path, options: argparse.Namespace) -> None:
    os.environ.setdefault("LANCE_LOG", "error")
    os.environ.setdefault("LANCE_CPU_THREADS", "1")
    warnings.simplefilter("ignore")
    try:
        import lancedb
        import pyarrow as pa
    except ImportError as error:
        print(f"  LanceDB is not installed here ({error})")
        return
    kept = np.memmap(work / "photos" / ".diptych" / "search" / "image.vectors", np.float16, "r")
    images, asked = kept.reshape(-1, DIM), np.load(work / "asked.npy")
    truth, count = np.load(work / "truth.npy"), options.items
    images = images[:count]  # without those that came later
    picks = np.random.default_rng(1).random(count)
    place = work / "lance"
    shutil.rmtree(place, ignore_errors=True)
    schema = pa.schema(
        [("number", pa.int64()), ("pick", pa.float64()), ("vector", pa.list_(pa.float16(), DIM))]
    )

    def batches(start: int, stop: int) -> Iterator[Any]:
        for at in range(start, stop, _BATCH):
            part = slice(at, min(at + _BATCH, stop))
            flat = pa.array(np.ascontiguousarray(images[part]).ravel())
            numbers = pa.array(np.arange(part.start, part.stop))
            lists = pa.FixedSizeListArray.from_arrays(flat, DIM)
            yield pa.record_batch([numbers, pa.array(picks[part]), lists], schema=schema)

    database = lancedb.connect(str(place))
    stored = watched(
        lambda: database.create_table("photos", pa.RecordBatchReader.from_batches(schema, batches(0, count)))
    )
    table = database.open_table("photos")
    indexed = Watch()
    indexed(lambda: table.create_index(metric="cosine", vector_column_name="vector", index_type="IVF_RQ"))
    indexed(lambda: table.create_scalar_index("pick"))
    print(f"  LanceDB {lancedb.__version__}, IVF_RQ")
    say("stored", stored.total())
    say("index built", indexed.total())
    say("on disk", f"{bytes_of(place) / 1e9:.2f} GB")

    def ask(number: int, probes: int, refine: int, share: float | None = None) -> list[int]:
        query = table.search(asked[number]).distance_type("cosine").nprobes(probes).refine_factor(refine)
        if share is not None:
            query = query.where(f"pick < {share}", prefilter=True)
        return query.limit(10).select(["number", "_distance"]).to_arrow()["number"].to_pylist()

    for probes, refine in ((20, 10), (50, 20), (100, 20), (200, 30), (400, 50)):
        ask(0, probes, refine)
        watch, right = Watch(), []
        for number in range(options.singles):
            found = watch(lambda number=number, p=probes, r=refine: ask(number, p, r))
            right.append(shared(found, truth[number]))
        if np.mean(right) >= 0.98:
            break
    say(f"search, {probes} lists, {refine} times as many re-scored, median", watch.told())
    say("    95 of 100 within", watch.told(95))
    say("    recall of the ten best", f"{np.mean(right):.4f}")
    for share in _SHARES[:-1]:
        places = np.flatnonzero(picks < share)
        watch, right = Watch(), []
        for number in range(min(20, options.singles)):
            found = watch(lambda number=number, share=share: ask(number, probes, refine, share))
            best = places[exact_rows(images[places], asked[number : number + 1], 10)[0]]
            right.append(shared(found, best))
        say(f"filter that leaves {100 * share:g} %, median", watch.told())
        say("    recall of the ten best", f"{np.mean(right):.4f}")
    new = pa.RecordBatchReader.from_batches(schema, batches(0, min(_NEW, count)))
    say(f"{_NEW} more", watched(lambda: table.add(new)).total())
    say("two in five removed", watched(lambda: table.delete("pick < 0.4")).total())
    say("compacted", watched(lambda: table.optimize(cleanup_older_than=timedelta(0))).total())
    say("on disk", f"{bytes_of(place) / 1e9:.2f} GB")
    shutil.rmtree(place)


PARTS: dict[str, Callable[[Path, argparse.Namespace], None]] = {
    "open": part_open,
    "search": part_search,
    "filters": part_filters,
    "where": part_where,
    "away": part_away,
    "walk": part_walk,
    "add": part_add,
    "peer": part_peer,
    "remove": part_remove,
}


def child(work: Path, part: str, options: argparse.Namespace) -> None:
    command = [sys.executable, __file__, "--items", str(options.items), "--singles", str(options.singles)]
    subprocess.run([*command, "--part", part, "--work", str(work)], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--singles", type=int, default=100, help="queries of each filter")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", choices=PARTS, help="measure only these")
    parser.add_argument("--keep", type=Path, help="make it in this folder, or use what is there, and keep it")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part == "remover":
        remover(options.work)
        return
    if options.part:
        PARTS[options.part](options.work, options)
        return
    with tempfile.TemporaryDirectory() as passing:
        work = options.keep or Path(passing)
        os.environ["DIPTYCH_HOME"] = str(work / "home")
        if not (work / "photos").exists():
            work.mkdir(exist_ok=True)
            print(
                f"{options.items} pictures of {DIM} dimensions, {options.items // 10} captions, "
                f"seed {options.seed}, {processor()}"
            )
            images, drawn = vectors(options.items, options.items // 10 + _ASKED, options.seed)
            order = np.random.default_rng(options.seed).permutation(len(drawn))
            np.save(work / "asked.npy", drawn[order[:_ASKED]])
            np.save(work / "truth.npy", exact_rows(images, drawn[order[:_ASKED]], 10))
            build(work, images, drawn[order[_ASKED:]])
            del images, drawn
        for part in options.only or PARTS:
            child(work, part, options)


if __name__ == "__main__":
    main()
