"""What a Ray cluster costs and gains on one machine: indexing by workers, search over parts of an index.

    python benchmarks/cluster.py --pictures 200 --vectors 200000

Starts a cluster of two nodes with one processor each (on 127.0.0.2), and indexes the same pictures with the
built-in model in this process, by one worker and by two: seconds from the first batch to the last, what
beginning takes before, and whether the stored vectors are equal. Then one exact index of vectors with 512
dimensions is searched here and in two parts on the nodes, query by query. More than one worker can gain
nothing where other work has the processors; the load is printed beside.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import diptych
from diptych.cluster import Cluster, connected
from diptych.engine.place import discard
from diptych.engine.results import Progress
from diptych.index.flat import Flat
from diptych.index.remote import on_cluster
from diptych.index.sharded import Sharded


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--vectors", type=int, default=200_000)
    parser.add_argument("--queries", type=int, default=20)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, nodes() as address:
        photos = Path(folder) / "photos"
        draw(photos, given.pictures)
        expected = index(photos, None, "in this process")
        for count in (1, 2):
            found = index(photos, Cluster(address, workers=count), f"by {count} on the cluster")
            largest = max(np.abs(one - other).max() for one, other in zip(expected, found, strict=True))
            print(f"  largest difference of a stored number: {largest:.2g}")
        search(Path(folder) / "parts", address, given.vectors, given.queries)


@contextmanager
def nodes() -> Iterator[str]:
    """A cluster of two nodes; its address."""
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DISABLE_MEMORY_MONITOR": "1"}
    from ray.cluster_utils import Cluster as Nodes

    how: dict[str, Any] = {"num_cpus": 1, "node_ip_address": "127.0.0.2", "object_store_memory": 80 << 20}
    started = time.perf_counter()
    found = Nodes(initialize_head=True, head_node_args={**how, "include_dashboard": False})
    try:
        found.add_node(**how)
        found.wait_for_nodes()
        print(f"two nodes began in {time.perf_counter() - started:.1f} s; load {os.getloadavg()[0]:.1f}")
        yield str(found.address)
    finally:
        found.shutdown()


def draw(folder: Path, count: int) -> None:
    """Pictures of 640 x 480 that take a decoder as long as photographs do."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (60, 80, 3), dtype=np.uint8))
        coarse.resize((640, 480), Image.Resampling.BICUBIC).save(folder / f"{number:05}.jpg", quality=90)


def index(photos: Path, cluster: Cluster | None, how: str) -> list[Any]:
    """Index anew, print how long that took, and give the stored vectors."""
    discard(photos)
    times: list[float] = []

    def batch(at: Progress) -> None:
        times.append(time.perf_counter())

    with diptych.open(photos) as collection:
        started = time.perf_counter()
        summary = collection.add(cluster=cluster, on_progress=batch)
        took = times[-1] - times[0]
        first = -(-summary.added // len(times))  # pictures of a batch
        rate = (summary.added - first) / took if took else 0.0
        print(
            f"{how}: {summary.added} pictures, {rate:.1f} a second after the first batch, which came after "
            f"{times[0] - started:.1f} s; load {os.getloadavg()[0]:.1f}"
        )
        return [np.frombuffer(vector, np.float16) for _, vector in collection.home.vectors("image")]


def search(folder: Path, address: str, count: int, queries: int) -> None:
    """Time single queries of one index and of two parts of it."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((count, 512), dtype=np.float32)
    asked = rng.standard_normal((queries, 512), dtype=np.float32)
    whole = Flat.of(vectors)
    Sharded.of(vectors, shards=2).save(folder)
    expected, alone = timed(whole, asked)
    with connected(address), on_cluster(folder, Cluster(address), seconds=60.0) as parts:
        found, apart = timed(parts, asked)
    same = all((one.rows == other.rows).all() for one, other in zip(expected, found, strict=True))
    print(
        f"exact search of {count} x 512, a query: {alone:.0f} ms here, {apart:.0f} ms in two parts on the "
        f"cluster; the same ten best: {same}; load {os.getloadavg()[0]:.1f}"
    )


def timed(index: Any, asked: Any) -> tuple[list[Any], float]:
    hits, times = [], []
    for query in asked:
        started = time.perf_counter()
        hits.append(index.search(query[None], 10))
        times.append(time.perf_counter() - started)
    return hits, 1e3 * statistics.median(times)


if __name__ == "__main__":
    main()
