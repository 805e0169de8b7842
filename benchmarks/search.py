"""Two-stage search over binary codes against exact search and other indexes, on one thread.

    python benchmarks/search.py --count 1000000

Synthetic unit vectors with clusters, a falling spectrum and a gap between captions and pictures, like CLIP's:
recall ranks the indexes, real vectors will move it. Ground truth is exact. All ratios are of medians over
single queries in this run, in processor time: on a busy machine a clock also counts waiting, of which
long searches get more than short ones. Parts:

- exact: one product per query (BLAS) and faiss' flat index, both single precision: what is to be beaten.
- two-stage: codes of 512 bits (ITQ, each modality centred), candidates calibrated to the recall on held-out
  queries, exact scores in half precision. Goals: 20 times faster than exact search at recall@10 >= 0.98, the
  first stage in 1/32 of the memory.
- 4 bits: turbovec, always re-scored; only if it is installed. Goal: 20 times at >= 0.995. It needs AVX-512 to
  pass over most codes; elsewhere it scores every one, five to ten times as slowly.
- bandwidth: what share of the speed of reading memory the first stage reaches. Goal: 70 %.
- graph and inverted lists: faiss' HNSW and IVF at the same recall, on fewer vectors (--others), as building
  them takes long.
- tiers: whether a stage between codes and exact scores would pay.
- growth: codes alone, from a tenth of the count to ten times it.
- stored: candidates out of a file of vectors, mapped for each search or read, as the file was written and
  after the system let go of it and got it back in pieces of 4 KB (on Linux, where these can be asked for).
"""

from __future__ import annotations

import argparse
import mmap
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from diptych.index import half
from diptych.index.codes import Codes
from diptych.index.two_stage import TwoStage, calibrate, exact_rows
from diptych.similarity import unit

DIM, BLOCK = 512, 50_000


def vectors(count: int, queries: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (count, 512) in half precision and captions (queries, 512) of some of them."""
    rng = np.random.default_rng(seed)
    spectrum = (1 + np.arange(DIM)) ** -0.47
    turn = np.linalg.qr(rng.standard_normal((DIM, DIM)))[0].astype(np.float32)
    centres = (rng.standard_normal((2000, DIM)) * spectrum).astype(np.float32) @ turn
    sizes = rng.pareto(1.5, 2000) + 0.1
    cones = unit(rng.standard_normal((2, DIM))) * np.linalg.norm(spectrum) * (1 + 1.2**2) ** 0.5
    images = np.empty((count, DIM), np.float16)
    asked = np.sort(rng.permutation(count)[:queries])
    captions = np.empty((queries, DIM), np.float32)
    for start in range(0, count, BLOCK):
        size = min(BLOCK, count - start)
        which = rng.choice(2000, size, p=sizes / sizes.sum())
        noise = (rng.standard_normal((size, DIM), np.float32) * spectrum.astype(np.float32)) @ turn
        latent = 1.2 * centres[which] + noise
        images[start : start + size] = unit(cones[0] + latent)
        inside = np.flatnonzero((asked >= start) & (asked < start + size))
        own = latent[asked[inside] - start]
        blur = (rng.standard_normal(own.shape).astype(np.float32) * spectrum.astype(np.float32)) @ turn
        captions[inside] = unit(cones[1] + 0.5 * own + 0.85 * blur)
    return images, captions


def timed(work: Callable[[int], Any], count: int) -> float:
    """Median milliseconds of processor time of a query."""
    return median(times(work, count))


def times(work: Callable[[int], Any], count: int) -> list[float]:
    """Milliseconds of processor time of each of `count` queries."""
    taken = []
    for number in range(count):
        started = time.process_time()
        work(number)
        taken.append(1000 * (time.process_time() - started))
    return taken


def recall(found: Any, truth: np.ndarray) -> float:
    pairs = zip(np.asarray(found).tolist(), truth.tolist(), strict=True)
    return float(np.mean([len(set(ours) & set(best)) / len(best) for ours, best in pairs]))


def line(
    name: str, milliseconds: float, exact: float, found: float | None, size: float, note: str = ""
) -> None:
    shown = "     -" if found is None else f"{found:.4f}"
    ratio = exact / milliseconds
    print(
        f"  {name:34} {milliseconds:9.3f} ms  {ratio:7.1f} x  recall {shown}  {size:8.1f} MB  {note}",
        flush=True,
    )


def two_stage(codes: Codes, images: np.ndarray, candidates: int = 0) -> TwoStage:
    """Search for captions."""
    encode = partial(codes.encode, side="text")
    return TwoStage(codes.encode(images, "image"), images, encode=encode, candidates=candidates)


def scan(index: TwoStage, query: np.ndarray) -> tuple[float, float]:
    """Bytes a second of the first stage, for 100 hits, and of reading alone; the best of rounds by turns."""
    codes = index.codes
    words = codes.reshape(-1).view(np.uint64)
    readers: tuple[Callable[[int], Any], ...] = (lambda _: words.sum(), lambda _: codes.max())
    reads, scans = [], []
    for _ in range(9):
        reads += [min(times(reader, 1)) for reader in readers]
        scans += times(lambda _: index.nearest(query, 100), 1)
    return codes.nbytes / min(scans) * 1000, codes.nbytes / min(reads) * 1000


def exact_part(images: np.ndarray, asked: np.ndarray, singles: int) -> tuple[float, float]:
    """Milliseconds of a query by BLAS and by faiss, in single precision."""
    import faiss

    full = images.astype(np.float32)
    blas = timed(lambda n: np.argpartition(-(full @ asked[n]), 10)[:10], singles)
    flat = faiss.IndexFlatIP(DIM)
    flat.add(full)
    exact = timed(lambda n: flat.search(asked[n : n + 1], 10), singles)
    print(f"search, {len(images)} x {DIM}, {len(asked)} queries, recall@10")
    line("exact, BLAS float32", blas, exact, 1.0, full.nbytes / 1e6)
    line("exact, faiss flat float32", exact, exact, 1.0, full.nbytes / 1e6)
    return blas, exact


def main_part(images: np.ndarray, captions: np.ndarray, target: float, singles: int) -> None:
    held, asked = captions[: len(captions) // 2], captions[len(captions) // 2 :]
    truth = exact_rows(images, asked, 10)
    singles = min(singles, len(asked))
    blas, exact = exact_part(images, asked, min(singles, 20))
    learned = Codes.fit(DIM, images[:: max(1, len(images) // 20_000)], held)
    index = two_stage(learned, images)
    packed, codes = index.codes, learned.encode(asked, "text")
    found = calibrate(index, held, recall=target)
    index = index.asked(candidates=found.candidates)
    hits = index.search(asked, 10)
    reached = recall(hits.rows, truth)

    taken = timed(lambda n: index.search(asked[n : n + 1], 10), singles)
    note = f"{found.candidates} candidates; calibrated {found.measured:.4f}, low end {found.low:.4f}"
    line(f"two-stage at {target}", taken, exact, reached, packed.nbytes / 1e6, note)
    first = timed(lambda n: index.nearest(codes[n], found.candidates), singles)
    line("  its first stage alone", first, exact, None, packed.nbytes / 1e6)
    batch = timed(lambda _: index.search(asked, 10), 1) / len(asked)
    line(f"  in a batch of {len(asked)}", batch, exact, reached, packed.nbytes / 1e6)
    smaller = len(images) * DIM * 4 / packed.nbytes
    print(f"  against BLAS: {blas / taken:.1f} x; first stage {smaller:.0f} x smaller")
    scanned, read = scan(index, codes[0])
    print(
        f"  first stage {scanned / 1e9:.1f} GB/s of {read / 1e9:.1f} GB/s read: {100 * scanned / read:.0f} % "
        "of the bandwidth (goal 70)"
    )
    four_bits(images, asked, truth, (blas, exact), singles)


def four_bits(
    images: np.ndarray, asked: np.ndarray, truth: np.ndarray, speeds: tuple[float, float], singles: int
) -> None:
    """As few re-scored as reach 0.995."""
    blas, exact = speeds
    try:
        import turbovec
    except ImportError:
        print("  4 bits: turbovec is not installed (pip install turbovec)")
        return
    index = turbovec.TurboQuantIndex(dim=DIM, bit_width=4)
    index.calibrate(images[:: max(1, len(images) // 4096)].astype(np.float32))
    for start in range(0, len(images), BLOCK):
        index.add(images[start : start + BLOCK].astype(np.float32))
    index.prepare()

    def search(n: int, count: int) -> np.ndarray:
        _, near = index.search(asked[n : n + 1], count)
        places = np.sort(np.asarray(near[0], np.int64))
        scores = np.take(images, places, axis=0).astype(np.float32) @ asked[n]
        return places[np.argsort(-scores)[:10]]

    # Its own order depends on how many are asked for, so each count is tried as it would be used.
    for count in (50, 100, 150, 200, 300, 500, 1000):
        reached = recall([search(n, count) for n in range(len(asked))], truth)
        if reached >= 0.995:
            break
    taken = timed(lambda n: search(n, count), singles)
    note = f"{blas / taken:.1f} x BLAS"
    line(f"turbovec 4 bits, {count} re-scored", taken, exact, reached, len(images) * DIM / 2e6, note)


def others(count: int, captions: int, target: float, singles: int) -> None:
    """HNSW and IVF beside the two stages, on as many vectors as can be built in minutes."""
    import faiss

    images, texts = vectors(count, captions, seed=1)
    full = images.astype(np.float32)
    held, asked = texts[: captions // 2], texts[captions // 2 :]
    truth = exact_rows(images, asked, 10)
    flat = faiss.IndexFlatIP(DIM)
    flat.add(full)
    exact = timed(lambda n: flat.search(asked[n : n + 1], 10), singles)
    print(f"others at recall {target}, {count} x {DIM}")
    line("exact, faiss flat float32", exact, exact, 1.0, full.nbytes / 1e6)
    learned = Codes.fit(DIM, images, held)
    index = two_stage(learned, images)
    index = index.asked(candidates=calibrate(index, held, recall=target).candidates)
    hits = index.search(asked, 10)
    taken = timed(lambda n: index.search(asked[n : n + 1], 10), singles)
    line("two-stage", taken, exact, recall(hits.rows, truth), index.codes.nbytes / 1e6)
    graph = faiss.IndexHNSWFlat(DIM, 32, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = 100
    started = time.perf_counter()
    graph.add(full)
    built = time.perf_counter() - started
    for width in (32, 64, 128, 256, 512, 1024, 2048):
        graph.hnsw.efSearch = width
        reached = recall(graph.search(asked, 10)[1], truth)
        if reached >= target or width == 2048:
            taken = timed(lambda n: graph.search(asked[n : n + 1], 10), singles)
            size = (full.nbytes + count * 64 * 4) / 1e6
            line(f"faiss HNSW, efSearch {width}", taken, exact, reached, size, f"built in {built:.0f} s")
            break
    lists = int(4 * count**0.5)
    inverted = faiss.IndexIVFFlat(faiss.IndexFlatIP(DIM), DIM, lists, faiss.METRIC_INNER_PRODUCT)
    started = time.perf_counter()
    inverted.train(full[:: max(1, count // (40 * lists))])
    inverted.add(full)
    built = time.perf_counter() - started
    for probes in (8, 16, 32, 64, 128, 256, 512, lists):
        inverted.nprobe = probes
        reached = recall(inverted.search(asked, 10)[1], truth)
        if reached >= target or probes == lists:
            taken = timed(lambda n: inverted.search(asked[n : n + 1], 10), singles)
            line(
                f"faiss IVF, {probes} of {lists} lists",
                taken,
                exact,
                reached,
                full.nbytes / 1e6,
                f"built in {built:.0f} s",
            )
            break


class Tier:
    """Scores of some candidates by an index of faiss' over smaller vectors, a megabyte's worth at a time.

    Args:
        index: Empty, and trained.
        stored: (n, bytes) what it keeps of each vector.
    """

    def __init__(self, index: Any, stored: np.ndarray) -> None:
        import faiss

        self.index, self.stored = index, stored
        faiss.copy_array_to_vector(np.zeros(1024 * stored.shape[1], np.uint8), index.codes)
        size = 1024 * stored.shape[1]
        self.room = faiss.rev_swig_ptr(index.codes.data(), size).reshape(1024, -1)

    def best(self, places: np.ndarray, query: np.ndarray, count: int) -> np.ndarray:
        """The best `count` of some places, best first."""
        scores, found = [], []
        for start in range(0, len(places), 1024):
            part = places[start : start + 1024]
            np.take(self.stored, part, axis=0, out=self.room[: len(part)], mode="clip")
            self.index.ntotal = len(part)
            values, at = self.index.search(query[None], min(count, len(part)))
            scores.append(values[0])
            found.append(part[at[0]])
        return np.concatenate(found)[np.argsort(-np.concatenate(scores))[:count]]


def tiers(images: np.ndarray, captions: np.ndarray, target: float, singles: int) -> None:
    """Would a stage between codes and exact scores pay? What the two stages find, in less time."""
    import faiss

    held, asked = captions[: len(captions) // 2], unit(captions[len(captions) // 2 :])
    learned = Codes.fit(DIM, images[:: max(1, len(images) // 20_000)], held)
    index = two_stage(learned, images)
    index = index.asked(candidates=calibrate(index, held, recall=target).candidates)
    codes = learned.encode(asked, "text")
    near = [index.nearest(code, index.candidates) for code in codes]
    two = [index._scored(places, query, 10).rows[0] for places, query in zip(near, asked, strict=True)]
    first = timed(lambda n: index.nearest(codes[n], index.candidates), singles)
    last = timed(lambda n: index._scored(near[n], asked[n], 10), singles)
    print(f"a stage between, {len(images)} x {DIM}, {index.candidates} candidates")
    print(f"  without: codes {first:.2f} ms + exact scores {last:.2f} ms = {first + last:.2f} ms")
    # The query as it is against the signs: a product quantizer whose centroids are all patterns of eight.
    signs = faiss.IndexPQ(DIM, DIM // 8, 8, faiss.METRIC_INNER_PRODUCT)
    patterns = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).astype(np.float32) * 2 - 1
    faiss.copy_array_to_vector(np.tile(patterns, (DIM // 8, 1)).ravel(), signs.pq.centroids)
    signs.is_trained = True
    turned = np.asarray((asked - learned.means["text"]) @ learned.rotation, np.float32)
    kinds = [("the same bits, the query in full", Tier(signs, index.codes), turned)]
    for bits, kind in ((4, faiss.ScalarQuantizer.QT_4bit), (8, faiss.ScalarQuantizer.QT_8bit)):
        made = faiss.IndexScalarQuantizer(DIM, kind, faiss.METRIC_INNER_PRODUCT)
        made.train(images[:20_000].astype(np.float32))
        parts = [images[start : start + BLOCK] for start in range(0, len(images), BLOCK)]
        stored = np.concatenate([made.sa_encode(part.astype(np.float32)) for part in parts])
        kinds.append((f"{bits} bits a dimension", Tier(made, stored), asked))
    for name, tier, queries in kinds:
        for kept in (10, 20, 50, 100, 200, 500, 1000, 2000, 5000):
            passed = [tier.best(places, query, kept) for places, query in zip(near, queries, strict=True)]
            if recall(passed, np.stack(two)) >= 0.998:
                break
        between = partial(lambda tier, queries, kept, n: tier.best(near[n], queries[n], kept), tier, queries)
        middle = timed(partial(between, kept), singles)
        rest = timed(partial(lambda left, n: index._scored(np.sort(left[n]), asked[n], 10), passed), singles)
        size = 0.0 if tier.stored is index.codes else tier.stored.nbytes / 1e6
        print(
            f"  {name}: {first:.2f} + {middle:.2f} + {rest:.2f} ms ({kept} left) = "
            f"{(first + last) / (first + middle + rest):.2f} x as fast, {size:.0f} MB more",
            flush=True,
        )


def growth(counts: list[int]) -> None:
    print("growth, codes of 512 bits alone")
    rng = np.random.default_rng(2)
    for count in counts:
        codes = rng.integers(0, 256, (count, DIM // 8), np.uint8)
        query = rng.integers(0, 256, DIM // 8, np.uint8)
        scanned, read = scan(TwoStage(codes, codes, encode=np.asarray), query)
        print(
            f"  {count:>10} codes: {codes.nbytes / scanned * 1000:8.2f} ms, {scanned / 1e9:5.1f} GB/s, "
            f"{100 * scanned / read:.0f} % of {read / 1e9:.1f} GB/s",
            flush=True,
        )


def stored(count: int, candidates: int, singles: int) -> None:
    rng = np.random.default_rng(3)
    chosen = [np.sort(rng.choice(count, min(candidates, count), replace=False)) for _ in range(singles)]
    print(f"stored, {count} vectors of {DIM} in half precision, {len(chosen[0])} candidates a search")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vectors"
        with path.open("wb") as file:
            for start in range(0, count, BLOCK):
                file.write(rng.bytes(2 * DIM * min(BLOCK, count - start)))
            os.fsync(file.fileno())
        room = np.empty((len(chosen[0]), DIM), np.float16)
        for state in ("as it was written", "after it came back in pieces"):
            if state != "as it was written":
                in_pieces(path)
            kept = half.Stored.of(path, np.dtype(np.float16), (count, DIM))
            mapped = np.memmap(path, np.float16, "r", shape=(count, DIM))

            def anew(at: int, mapped: Any = mapped) -> None:
                np.take(mapped, chosen[at], axis=0, out=room, mode="clip")
                mapped._mmap.madvise(mmap.MADV_DONTNEED)

            of = (
                ("mapped anew for each search", anew),
                ("a part mapped, the rest read", lambda at, kept=kept: kept.copied(chosen[at], room)),
            )
            for name, work in of:
                work(0)
                print(f"  {state}, {name}: {timed(work, singles):.1f} ms a search", flush=True)


def in_pieces(path: Path) -> None:
    """Have the system let go of a file, and read it back page by page in any order."""
    file = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(file).st_size
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_RANDOM)
        for page in np.random.default_rng(4).permutation(-(-size // 4096)).tolist():
            os.pread(file, 4096, 4096 * page)
    finally:
        os.close(file)


def one_thread() -> None:
    """Start again with one thread, if that is not set: BLAS reads it when numpy is imported."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")
    if any(os.environ.get(name) != "1" for name in names):
        os.environ.update(dict.fromkeys(names, "1"))
        raise SystemExit(subprocess.run([sys.executable, *sys.argv], check=False).returncode)


def main() -> None:
    one_thread()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parts = ("all", "main", "others", "tiers", "growth", "stored")
    parser.add_argument("part", nargs="?", choices=parts, default="all")
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--others", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=1000, help="half of them are held out")
    parser.add_argument("--singles", type=int, default=50, help="queries that are timed")
    parser.add_argument("--recall", type=float, default=0.98)
    options = parser.parse_args()
    import faiss

    faiss.omp_set_num_threads(1)
    print(f"faiss {faiss.__version__}, {faiss.get_compile_options().strip()}; NumPy {np.__version__}")
    if options.part in ("all", "main"):
        main_part(*vectors(options.count, options.queries), options.recall, options.singles)
    if options.part in ("all", "others"):
        others(options.others, options.queries, options.recall, options.singles)
    if options.part in ("all", "tiers"):
        tiers(*vectors(options.count, options.queries), options.recall, options.singles)
    if options.part in ("all", "growth"):
        growth([options.count // 10, options.count, options.count * 10])
    if options.part in ("all", "stored") and sys.platform == "linux":
        stored(options.count, max(10, 15 * options.count // 1000), options.singles)


if __name__ == "__main__":
    main()
