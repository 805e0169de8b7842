"""Metrics against the loops that papers' code uses, and against the bare matrix product, on one thread.

    python benchmarks/metrics.py

Three parts, each printing ratios that were measured in the same run:

- recall: R@1/5/10 in both directions at the size of the COCO 5K test (5,000 images, 25,000 captions, 512-d),
  by the function that `diptych.evaluation.evaluate` calls, straight from embeddings against the bare product
  (limit: 1.5 times its time and 200 MB beyond the inputs), by `diptych.evaluate` itself, first without
  rankings, as a training does at its end, then as `diptych evaluate` does, both directions with rankings and
  every measure (no limits), and from a given matrix against the argsort loop of VSE++-like code (limit: 15
  times less CPU).
- hashing: MAP@ALL with best, worst and expected order of ties, 64 bits, multi-label, 2,000 queries against
  186,000 and 18,015 entries, against the per-query loop of DCMH-like code (limits: 15 times less CPU, 250
  MB).

The loops to beat do what the published code does: one query at a time, a whole sort, a product of +1/-1
floats for the distances. They run on a sample of the queries, as their cost a query is constant, and are
scaled up.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np

from diptych import evaluate, metrics
from diptych.data.given import vectors
from diptych.similarity import unit


def timed(work: Callable[[], Any], rounds: int = 1) -> tuple[float, float]:
    """Median wall and CPU seconds."""
    walls, cpus = [], []
    for _ in range(rounds):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return median(walls), median(cpus)


def peak(work: Callable[[], Any]) -> float:
    """The most memory in use at one time beyond what was there before, MB."""
    tracemalloc.start()
    work()
    most = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    return most


def recall_loop(scores: np.ndarray, images: range, captions: range) -> tuple[list[int], list[int]]:
    """What VSE++-like code does: sort each row and each column and look for the positions."""
    to_text, to_image = [], []
    for image in images:
        order = np.argsort(scores[image])[::-1]
        to_text.append(min(int(np.where(order == 5 * image + c)[0][0]) for c in range(5)))
    turned = scores.T
    for caption in captions:
        order = np.argsort(turned[caption])[::-1]
        to_image.append(int(np.where(order == caption // 5)[0][0]))
    return to_text, to_image


def map_loop(
    query: np.ndarray, gallery: np.ndarray, query_labels: np.ndarray, labels: np.ndarray
) -> list[float]:
    """What DCMH-like code does: a float product for the distances, a sort, a mean over relevant places."""
    found = []
    for codes, label in zip(query, query_labels, strict=True):
        relevant = (label @ labels.T > 0).astype(np.float32)
        distance = 0.5 * (gallery.shape[1] - codes @ gallery.T)
        relevant = relevant[np.argsort(distance)]
        total = int(relevant.sum())
        if total == 0:
            found.append(0.0)
            continue
        places = np.asarray(np.where(relevant == 1)) + 1.0
        found.append(float(np.mean(np.linspace(1, total, total) / places)))
    return found


def recall(images: int, rounds: int) -> None:
    rng = np.random.default_rng(0)
    image = unit(rng.standard_normal((images, 512), np.float32))
    text = unit(np.repeat(image, 5, axis=0) + 6 * unit(rng.standard_normal((5 * images, 512), np.float32)))
    pairs = metrics.ByPairs(
        np.stack([np.arange(5 * images) // 5, np.arange(5 * images)], 1), (images, 5 * images)
    )

    def ours() -> tuple[metrics.Measured, metrics.Measured]:
        return metrics.measure_both_ways(metrics.Embedded(image, text, "dot"), pairs, rank=False)

    bare, whole = [], []
    for _ in range(rounds):  # in turn, so that a busy moment meets both
        bare.append(timed(lambda: image @ text.T)[0])
        whole.append(timed(ours)[0])
    found = ours()
    print(f"recall, {images} x {5 * images}, 512-d")
    for name, one in zip(("image to text", "text to image"), found, strict=True):
        print(f"  {name} R@1/5/10: " + " ".join(f"{100 * one[f'R@{n}']:.1f}" for n in (1, 5, 10)))
    ratio = median(w / b for w, b in zip(whole, bare, strict=True))
    print(f"  from embeddings: {ratio:.2f} x the bare product's {median(bare):.2f} s (limit 1.5)")
    print(f"  memory beyond the inputs: {peak(ours):.0f} MB (limit 200)")
    given = vectors(image, text, captions=5)
    _, product = timed(lambda: image @ text.T, rounds)
    for rank, what in ((False, "recall and ranks only"), (True, "rankings and every measure")):

        def product_road(rank: bool = rank) -> Any:
            return evaluate(*given, rank=rank)

        _, cpu = timed(product_road, 1 if rank else rounds)
        print(f"  diptych.evaluate, {what}: {cpu / product:.1f} x the CPU of the bare product, {cpu:.1f} s")
    most = peak(lambda: evaluate(*given, rank=False))
    print(f"  its memory beyond the inputs, without rankings: {most:.0f} MB")

    matrix = metrics.Matrix(image @ text.T)
    _, cpu = timed(lambda: metrics.measure_both_ways(matrix, pairs, rank=False), rounds)
    sample = max(images // 20, 1)
    result: list[Any] = []
    _, loop = timed(lambda: result.append(recall_loop(matrix.values, range(sample), range(5 * sample))))
    agrees = [
        bool((np.array(theirs) + 1 == one.per_query["MeanR"][: len(theirs)]).all())
        for theirs, one in zip(result[0], found, strict=True)
    ]
    scaled = loop * images / sample
    print(
        f"  from a matrix: {scaled / cpu:.0f} times less CPU than the loop's {scaled:.1f} s (limit 15); "
        f"same ranks: {all(agrees)}"
    )


def hashing(queries: int, entries: int, rounds: int, sample: int) -> None:
    rng = np.random.default_rng(1)
    bits, classes = 64, 21
    share = 0.3 / (1 + 0.3 * np.arange(classes))
    labels = (rng.random((queries + entries, classes)) < share).astype(np.uint8)
    labels[labels.sum(axis=1) == 0, 0] = 1
    planes = rng.standard_normal((classes, bits)).astype(np.float32)
    noise = 2 * rng.standard_normal((queries + entries, bits)).astype(np.float32)
    codes = np.where(labels @ planes + noise > 0, 1, -1).astype(np.int8)
    packed = np.packbits(codes > 0, axis=1)
    relevance = metrics.ByLabel(labels[:queries], labels[queries:])

    def bounds() -> dict[str, Any]:
        return metrics.hamming_groups(packed[:queries], packed[queries:], relevance).average_precision()

    def stable() -> Any:
        return metrics.hamming_average_precision(packed[:queries], packed[queries:], relevance)

    _, cpu = timed(bounds, rounds)
    _, cpu_stable = timed(stable)
    floats = codes.astype(np.float32)
    theirs: list[Any] = []
    arguments = (
        floats[:sample],
        floats[queries:],
        labels[:sample].astype(np.float32),
        labels[queries:].astype(np.float32),
    )
    _, loop = timed(lambda: theirs.append(map_loop(*arguments)))
    scaled = loop * queries / sample
    found = {kind: values.mean() for kind, values in bounds().items()}
    kept = stable()
    print(f"hashing MAP@ALL, {queries} x {entries}, {bits} bits, {classes} classes")
    print(
        f"  best {found['best']:.4f}, expected {found['expected']:.4f}, worst {found['worst']:.4f}, "
        f"by row {kept.mean():.4f}; the loop's order on {sample} queries {np.mean(theirs[0]):.4f} "
        f"(ours by row: {kept[:sample].mean():.4f})"
    )
    print(f"  tie bounds: {scaled / cpu:.0f} times less CPU than the loop's {scaled:.1f} s (limit 15)")
    print(f"  order by row: {scaled / cpu_stable:.0f} times less CPU")
    print(f"  memory beyond the inputs: {peak(bounds):.0f} MB (limit 250)")


def one_thread() -> None:
    """Start again with one thread, if that is not set: BLAS reads it when numpy is imported."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    if any(os.environ.get(name) != "1" for name in names):
        os.environ.update(dict.fromkeys(names, "1"))
        raise SystemExit(subprocess.run([sys.executable, *sys.argv], check=False).returncode)


def main() -> None:
    one_thread()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("part", nargs="?", choices=("all", "recall", "hashing"), default="all")
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--queries", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sample", type=int, default=100, help="queries that the loops run on")
    options = parser.parse_args()
    if options.part in ("all", "recall"):
        recall(options.images, options.rounds)
    if options.part in ("all", "hashing"):
        for entries in (186_000, 18_015):
            hashing(options.queries, entries, options.rounds, min(options.sample, options.queries))


if __name__ == "__main__":
    main()
