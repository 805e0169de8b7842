"""What words add to vectors: recall by captions with and without them, and the time that a million take.

    python benchmarks/words.py quality --data flickr8k --split dev
    python benchmarks/words.py speed --count 1000000

quality: pictures with their captions go into a record, and captions are asked for. Hidden: nothing but the
names of files is known of the pictures; words must not make R@1 worse. Own: the caption that is asked is one
of the picture's; the goal is R@1 of .95. Others: the picture has its other captions, the one that is asked is
held out. Half: the caption is of a picture without any, and every other picture has all of its own, which
draw the query to themselves; this is what words cost. Texts: the held out caption is to find another caption
of its picture among all. WEIGHT is chosen on the first half of the queries, where it finds most of others
while half keeps 85 of 100 of its own, and the goals are looked at on the second half.

speed: captions of words as frequent as in English (Zipf's law), of a record that holds nothing else.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import numpy as np

from diptych import catalogue
from diptych.core import Side
from diptych.data import open_data
from diptych.engine import fusion
from diptych.engine.homes.entries import Caption, Worded
from diptych.engine.homes.local.record import Record
from diptych.similarity import unit

WEIGHTS = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
KEPT = 0.85


@contextmanager
def record(names: Sequence[str], captions: Iterable[Sequence[str]]) -> Iterator[Record]:
    """A record of pictures with captions, in that order, without vectors."""
    with tempfile.TemporaryDirectory() as folder:
        made = Record(Path(folder) / "words.sqlite", Path(folder))
        with made.batch():
            made.put_column("main", "none", "none", "cosine", 1)
            for name, texts in zip(names, captions, strict=True):
                file = made.put_file(name.encode(), 1, 1, name.encode())
                made.put_image(file, b"\0\0")
                made.put_captions(file, "", [Caption(text, b"\0\0", "list") for text in texts])
        yield made
        made.close()


class Asked:
    """Queries with what vectors and words say of every entry of a side.

    Args:
        record: Holds the words.
        side: Which side is searched.
        texts: (q) what is asked.
        scores: (q, n) of the vectors with the entries, in the order of the rows.
        right: (q) the entries that are right.
    """

    def __init__(
        self, record: Record, side: Side, texts: Sequence[str], scores: Any, right: Sequence[set[int]]
    ) -> None:
        self.scores, self.right = scores, right
        self.order = np.argsort(-scores, axis=1, kind="stable")[:, : max(fusion.DEPTH, 10)]
        rows = np.array(record.rows(side))
        self.words = []
        for text, first in zip(texts, self.order, strict=True):
            found = record.words(side, text, also=np.sort(rows[first[: fusion.DEPTH]]))
            self.words.append(Worded(np.searchsorted(rows, found.rows), found.shares, found.phrases))

    def hits(self, weight: float | None) -> Any:
        """(q,) whether the first entry is right, with that weight of the words; None for vectors alone."""
        fusion.WEIGHT = fusion.WEIGHT if weight is None else weight
        hits = []
        for at, words in enumerate(self.words):
            order, scores = self.order[at], self.scores[at]
            if weight is None:
                found = fusion.by_vectors(order, scores[order])
            else:
                found = fusion.fused(order, scores[order], words, scores.__getitem__)
            hits.append(int(found.rows[0]) in self.right[at])
        return np.array(hits)


def quality(data: str, split: str, most: int) -> None:
    opened = open_data(Path(data) if os.path.isdir(data) else data).split(split)
    captions: list[list[str]] = [[] for _ in range(len(opened.image))]
    numbers: list[list[int]] = [[] for _ in captions]
    for image, text in np.asarray(opened.pairs).tolist():
        captions[image].append(opened.text[text])
        numbers[image].append(text)
    chosen = [at for at, texts in enumerate(captions) if len(texts) > 1][:most]
    captions, numbers = [captions[at] for at in chosen], [numbers[at] for at in chosen]
    encoder = catalogue.load("builtin")
    pictures = unit(encoder.encode_image([opened.image[at] for at in chosen]))
    of_texts = unit(encoder.encode_text([text for texts in captions for text in texts]))
    starts = np.cumsum([0, *map(len, captions)])
    asked = [at % len(texts) for at, texts in enumerate(captions)]
    queries = [texts[one] for texts, one in zip(captions, asked, strict=True)]
    vectors = of_texts[starts[:-1] + asked]
    others = [texts[:one] + texts[one + 1 :] for texts, one in zip(captions, asked, strict=True)]
    left = np.setdiff1d(np.arange(starts[-1]), starts[:-1] + asked)
    names = [f"IMG_{1000 + at}.jpg" for at in range(len(chosen))]
    scores, own = vectors @ pictures.T, [{at} for at in range(len(chosen))]
    sides: dict[str, tuple[Side, Sequence[Sequence[str]], Any, Sequence[set[int]]]] = {
        "hidden": ("image", [()] * len(chosen), scores, own),
        "own": ("image", captions, scores, own),
        "others": ("image", others, scores, own),
        "half": ("image", [texts if at % 4 > 1 else () for at, texts in enumerate(captions)], scores, own),
        "texts": (
            "text",
            others,
            vectors @ of_texts[left].T,
            [
                set(range(start, start + len(texts)))
                for start, texts in zip(np.cumsum([0, *map(len, others)]), others, strict=False)
            ],
        ),
    }
    found: dict[str, dict[float | None, Any]] = {}
    default = fusion.WEIGHT
    for name, (side, known, compared, right) in sides.items():
        with record(names, known) as made:
            some = Asked(made, side, queries, compared, right)
        found[name] = {weight: some.hits(weight) for weight in (None, 0.0, *WEIGHTS)}
    fusion.WEIGHT = default
    first = np.arange(len(chosen)) % 2 == 0
    print(f"{len(chosen)} pictures of {data} ({split}); R@1 by weight, of the half that chooses")
    alone = np.arange(len(chosen)) % 4 <= 1  # the pictures without captions

    def recall(name: str, weight: float | None, part: Any) -> float:
        return float(np.mean(found[name][weight][part & alone if name == "half" else part]))

    print(f"{'':>10}" + "".join(f"{name:>9}" for name in found))
    for weight in found["own"]:
        line = "".join(f"{recall(name, weight, first):9.3f}" for name in found)
        print(f"{'vectors' if weight is None else f'{weight:g}':>10}{line}")
    cheap = [
        one for one in WEIGHTS if recall("half", one, first) >= KEPT * recall("half", None, first)
    ] or WEIGHTS[:1]
    best = max(cheap, key=lambda one: recall("others", one, first))
    print(f"chosen: {best:g} (in use: {default:g}); on the other half, with the weight in use:")
    for name in found:
        before, after = recall(name, None, ~first), recall(name, default, ~first)
        goal = {"hidden": after >= before, "own": after >= 0.95}.get(name)
        said = "" if goal is None else "   reached" if goal else "   NOT reached"
        print(f"{name:>10}: vectors {before:.3f}, both {after:.3f}{said}")


def timed(work: Callable[[str], Any], texts: Sequence[str]) -> tuple[float, float]:
    """Median and 95th percentile of the processor's milliseconds."""
    taken = []
    for text in texts:
        started = time.process_time()
        work(text)
        taken.append(1000 * (time.process_time() - started))
    return median(taken), quantiles(taken, n=20, method="inclusive")[-1]


def speed(count: int, queries: int) -> None:
    rng = np.random.default_rng(0)
    frequency = 1 / np.arange(2, 20_002)
    frequency /= frequency.sum()

    def drawn(length: int) -> str:
        return " ".join(f"w{word}" for word in rng.choice(20_000, length, p=frequency))

    started = time.perf_counter()
    names = [f"{at // 1000}/IMG_{at}.jpg" for at in range(count)]
    with record(names, ([drawn(10)] for _ in range(count))) as made:
        print(f"{count} pictures with a caption of 10 words, stored in {time.perf_counter() - started:.0f} s")
        rows = np.array(made.rows("image"))
        also = np.sort(rng.choice(rows, min(20, count), replace=False))
        texts = [item.captions[0] for item in made.items(rng.choice(rows, queries).tolist())]
        for name, asked, within in (
            ("a whole caption", texts, None),
            ("the most frequent word", ["w0"] * queries, None),
            ("five frequent words", ["w0 w1 w2 w3 w4"] * queries, None),
            ("a whole caption, 1 in 1,000 allowed", texts, rows[::1000]),
            ("a whole caption, 1 in 3 allowed", texts, rows[::3]),
        ):
            middle, late = timed(partial(made.words, "image", within=within, also=also), asked)
            print(f"  {name:38} p50 {middle:7.1f} ms, p95 {late:7.1f} ms", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("part", choices=("quality", "speed"))
    parser.add_argument("--data", default="flickr8k", help="name of a data set, or a folder")
    parser.add_argument("--split", default="dev")
    parser.add_argument("--most", type=int, default=1000, help="pictures")
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=40)
    options = parser.parse_args()
    if options.part == "quality":
        quality(options.data, options.split, options.most)
    else:
        speed(options.count, options.queries)


if __name__ == "__main__":
    main()
