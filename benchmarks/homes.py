"""The same work in every home that is here, in one run: adds, searches with and without filters, deletes.

    python benchmarks/homes.py --items 100000 --json measured.json
    python benchmarks/homes.py --sizing measured.json

Vectors of 512 dimensions (those of `search.py`, which see) come with a number, a tag and a caption for every
tenth. All goes through the public API, with one client; servers are started from packages and share the
machine with it. Of single queries, which no model encodes: p50 and p95 by the clock, and the processor time
of client and server together, which is what counts where a machine is busy with other things. Recall is that
of the ten best against a comparison with all vectors in NumPy.

The second computes disk, memory, machines and money for larger collections from what the first has measured,
as bytes and processor time grow with the items. What a machine holds and costs is assumed, as options say.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import numpy as np
from search import DIM, vectors

import diptych
from diptych import NewItem
from diptych.engine.collection import Collection
from diptych.similarity import unit
from servers import Milvus, Server, milvus_server, postgres_server

Processor = Callable[[], float]  # seconds that client and server have taken
Beside = Callable[[], int]  # bytes beside what a home knows of

_WARM = 5  # queries before those that count
_SEARCHED = {"folder": f"codes of {DIM} bits", "postgresql": "hnsw", "milvus": "hnsw"}
_LINKS = 16  # of an entry of a graph in Milvus
_FILTERS = {"": 1.0, "hundredth = 7": 0.01, "tenth = 3": 0.1, "tenth < 5": 0.5}


class Drawn:
    """An encoder whose queries were drawn beforehand: the text "asked 17" has the 17th."""

    name, similarity, fingerprint, batch_size = "drawn", "cosine", "drawn:1", 1000

    def __init__(self, asked: Any) -> None:
        self.asked = asked

    def encode_image(self, images: Sequence[Any]) -> Any:
        return np.stack([np.resize(np.asarray(one, np.float32).ravel() + 1, DIM) for one in images])

    def encode_text(self, texts: Sequence[str]) -> Any:
        # Others than those that are asked, such as those of a calibration, have the vectors of some of these.
        ends = [text.split()[-1] for text in texts]
        numbers = [int(end) if end.isdecimal() else sum(map(ord, end)) for end in ends]
        return np.stack([self.asked[number % len(self.asked)] for number in numbers])


def items(drawn: Any, first: int, last: int) -> Iterator[NewItem]:
    for number in range(first, last):
        yield NewItem(
            str(number),
            vector=drawn[number],
            texts=[f"a caption of picture {number}"] if number % 10 == 0 else [],
            meta={"hundredth": number % 100, "tenth": number % 10, "tag": f"tag{number % 1000}"},
        )


def timed(action: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    found = action()
    return time.perf_counter() - started, found


def searched(
    collection: Collection, processor: Processor, queries: int, best: Any, where: str, **how: Any
) -> dict[str, float]:
    """p50 and p95 in milliseconds, mean processor time and recall of single queries."""
    seconds: list[float] = []
    recalls = []
    before = 0.0
    for number in range(queries + _WARM):
        if number == _WARM:
            before = processor()
        took, found = timed(
            lambda number=number: collection.search(
                f"asked {number % queries}", k=10, by="vectors", fold=None, where=where or None, **how
            )
        )
        if number >= _WARM:
            seconds.append(took)
            expected = best[number % queries]
            recalls.append(len({int(one.id) for one in found} & set(expected.tolist())) / len(expected))
    p50, p95 = np.percentile(seconds, [50, 95]) * 1000
    return {
        "p50_ms": round(p50, 2),
        "p95_ms": round(p95, 2),
        "processor_ms": round(1000 * (processor() - before) / queries, 2),
        "recall": round(float(np.mean(recalls)), 4),
    }


def measured(
    where: str,
    processor: Processor,
    beside: Beside,
    drawn: Any,
    asked: Any,
    queries: int,
    codes: Sequence[Any],
) -> Iterator[tuple[str, dict[str, Any]]]:
    count = len(drawn)
    tens, hundreds = np.arange(count) % 10, np.arange(count) % 100
    allowed = {
        "": np.ones(count, bool), "hundredth = 7": hundreds == 7, "tenth = 3": tens == 3,
        "tenth < 5": tens < 5,
    }  # fmt: skip
    kept = unit(drawn).astype(np.float16).astype(np.float32)
    scores = unit(asked[:queries]) @ kept.T
    best = {
        name: np.argsort(-np.where(which, scores, -np.inf), axis=1)[:, : min(10, int(which.sum()))]
        for name, which in allowed.items()
    }
    with diptych.open(where, model=Drawn(asked), folder=Path(tempfile.gettempdir())) as collection:
        before = processor()
        seconds, _ = timed(lambda: collection.add_items(items(drawn, 0, count)))
        yield (
            "add",
            {
                "items_s": round(count / seconds),
                "processor_ms_an_item": round(1000 * (processor() - before) / count, 3),
                "bytes_an_item": round((collection.home.size + beside()) / count),
            },
        )
        seconds, _ = timed(lambda: collection.search("asked 0", k=10, by="vectors"))
        yield "first search after adding", {"ms": round(1000 * seconds, 1)}
        for name in _FILTERS:
            what = f"exact{f', {_FILTERS[name]:.0%} pass a filter' if name else ''}"
            yield what, searched(collection, processor, queries, best[name], name, exact=True)
        for by in codes:
            before = processor()
            seconds, _ = timed(lambda by=by: collection.make_codes(by))
            taken = round((collection.home.size + beside()) / count)
            yield (
                f"make {_named(by)}",
                {
                    "s": round(seconds, 1),
                    "processor_s": round(processor() - before, 1),
                    "bytes_an_item": taken,
                },
            )
            for name in _FILTERS:
                what = f"{_named(by)}{f', {_FILTERS[name]:.0%} pass a filter' if name else ''}"
                yield what, searched(collection, processor, queries, best[name], name)
        took = [timed(lambda n=n: collection.search(f"picture {n * 10}", by="words"))[0] for n in range(20)]
        yield "words", {"p50_ms": round(1000 * float(np.median(took)), 2)}
        some = [str(number) for number in range(0, count, max(1, count // 1000))]
        seconds, _ = timed(lambda: collection.remove_items(some))
        yield "remove 1,000 or fewer", {"s": round(seconds, 2)}
        seconds, _ = timed(lambda: collection.search("asked 1", k=10, by="vectors"))
        yield "first search after removing", {"ms": round(1000 * seconds, 1)}


def _named(by: Any) -> str:
    return f"codes of {by} bits" if isinstance(by, int) else str(by)


def sizing(measured: dict[str, Any], given: argparse.Namespace) -> Iterator[str]:
    """A table for larger collections, in Markdown."""
    lines = {(one["home"], one["what"]): one for one in measured["lines"]}
    yield (
        f"From {measured['items']:,} items of {DIM} dimensions; a machine has {given.machine_gb:.0f} GB, "
        f"three quarters of them for what is searched, and costs "
        f"{given.machine_price:,.0f} a month."
    )
    yield ""
    heads = ("pictures", "home", "disk", "memory", "machines", "a month", "a core stores in an hour")
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for count in (10**7, 10**9, 10**11):
        for home, how in _SEARCHED.items():
            if (home, f"make {how}") not in lines:
                continue
            add, make = lines[home, "add"], lines[home, f"make {how}"]
            # Codes are scanned in memory, and vectors of candidates read; a graph holds vectors and links,
            # and Milvus also the vectors that are searched exactly, both in single precision.
            each = {
                "folder": DIM // 8 + 8,
                "postgresql": make["bytes_an_item"] - add["bytes_an_item"],
                "milvus": 2 * 4 * DIM + 2 * 4 * _LINKS,
            }[home]
            machines = max(1, math.ceil(each * count / (0.75 * given.machine_gb * 1e9)))
            yield (
                f"| {count:,} | {home}, {how} | {_bytes(make['bytes_an_item'] * count)} | "
                f"{_bytes(each * count)} | {machines:,} | {machines * given.machine_price:,.0f} | "
                f"{3.6e6 / add['processor_ms_an_item']:,.0f} |"
            )


def _bytes(count: float) -> str:
    for unit_name in ("MB", "GB", "TB"):
        count /= 1e6 if unit_name == "MB" else 1e3
        if count < 1000:
            return f"{count:.3g} {unit_name}"
    return f"{count / 1000:.3g} PB"


def main() -> None:
    told = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    told.add_argument("--items", type=int, default=100_000)
    told.add_argument("--queries", type=int, default=200)
    told.add_argument("--homes", default="folder,postgresql,milvus", help="which, of these three")
    told.add_argument("--codes", default=f"hnsw,{DIM}", help="what servers are given, of hnsw and bits")
    told.add_argument("--sizing", type=Path, help="compute from what was measured, and measure nothing")
    told.add_argument("--machine-gb", type=float, default=256, help="memory of a machine")
    told.add_argument("--machine-price", type=float, default=1000, help="of a month")
    told.add_argument("--json", type=Path, help="also write what was measured to a file")
    given = told.parse_args()
    if given.sizing is not None:
        print("\n".join(sizing(json.loads(given.sizing.read_text()), given)))
        return
    count = max(given.queries, min(400, given.items))
    drawn, asked = (np.asarray(one, np.float32) for one in vectors(given.items, count))
    print(f"{given.items:,} items of {DIM} dimensions, {given.queries} queries one by one")
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    on_servers = [int(by) if by.isdecimal() else by for by in given.codes.split(",")]
    lines: list[dict[str, Any]] = []
    for home in given.homes.split(","):
        with contextlib.ExitStack() as ends:
            work = Path(ends.enter_context(tempfile.TemporaryDirectory()))
            os.environ["DIPTYCH_HOME"] = str(work / "home")
            codes: list[Any] = [DIM]
            processor: Processor = time.process_time
            beside: Beside = int  # nothing
            if home == "folder":
                where = str(work / "photos")
                Path(where).mkdir()
            elif home == "postgresql":
                server = ends.enter_context(postgres_server())
                where, codes = server.address("bench"), on_servers

                def processor(server: Server = server) -> float:
                    return time.process_time() + server.seconds

            elif home == "milvus":
                milvus = ends.enter_context(milvus_server())
                (work / "record").mkdir()
                where, codes = milvus.address("bench", work / "record"), on_servers
                empty = milvus.bytes  # of logs that are made beforehand

                def processor(server: Milvus = milvus) -> float:
                    return time.process_time() + server.seconds

                def beside(server: Milvus = milvus, empty: int = empty) -> int:
                    return server.bytes - empty

            else:
                told.error(f"there is no home {home}; take folder, postgresql or milvus")
            for what, found in measured(where, processor, beside, drawn, asked, given.queries, codes):
                lines.append({"home": home, "what": what, **found})
                said = "  ".join(f"{name} {value}" for name, value in found.items())
                print(f"{home:<11} {what:<44} {said}", flush=True)
    if given.json:
        given.json.write_text(json.dumps({"items": given.items, "lines": lines}, indent=1))


if __name__ == "__main__":
    main()
