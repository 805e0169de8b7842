"""Whether correcting hubs helps: recall with and without, on Flickr8k and COCO, in both directions.

``python benchmarks/hubness.py --data DIR`` prints R@1, R@5 and R@10 of the dev photographs and captions,
as they are and corrected by nearest neighbour normalisation (Chowdhury et al., EMNLP 2024; what `diptych
search --hubness nnn` does, over the first 200 hits) and by QB-Norm with its dynamic inverted softmax
(Bogolin et al., CVPR 2022, over all). The bank are captions of the train split, or its pictures where
pictures ask; "everyday" are made-up texts such as people ask for, which a collection without captions
would have. DIR holds the data sets as `diptych data` expects them.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np

from diptych.catalogue import load
from diptych.core import Encoder, Floats
from diptych.data import open_data
from diptych.data.base import Split
from diptych.engine import hubness
from diptych.engine.homes.local.coded import everyday_queries
from diptych.similarity import unit

SETS = ("flickr8k", "coco_photos")
BETA = 20.0  # of QB-Norm's softmax, as in its code


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--model", default="builtin")
    parser.add_argument("--sets", nargs="*", default=SETS)
    parser.add_argument("--bank", type=int, default=2000, help="queries of the bank")
    parser.add_argument("--pictures", type=int, default=1000, help="pictures of the dev split, at most")
    options = parser.parse_args()
    os.environ["DIPTYCH_DATA"] = str(options.data)
    encoder = load(options.model)
    print(f"{options.model}, {encoder.fingerprint}\n{'':<44}{'R@1':>8}{'R@5':>8}{'R@10':>8}")
    for name in options.sets:
        measure(encoder, name, options.bank, options.pictures)


def measure(encoder: Encoder, name: str, count: int, pictures: int) -> None:
    data = open_data(name)
    dev, train = data.split("dev"), data.split("train")
    dev = dev.take(np.arange(min(pictures, len(dev))))
    rng = np.random.default_rng(0)
    image, text = unit(encoder.encode_image(dev.image)), unit(encoder.encode_text(list(dev.text)))
    banks = {
        "text": {"train captions": drawn(encoder, "text", train.text, count, rng)},
        "image": {"train pictures": drawn(encoder, "image", train.image, count // 2, rng)},
    }
    banks["text"]["everyday"] = unit(encoder.encode_text(everyday_queries()))
    for direction, queries, entries, asked in (("TqI", text, image, "text"), ("IqT", image, text, "image")):
        match = matches(dev, asked)
        scores = queries @ entries.T
        tell(f"{name}, {len(queries)} {direction} {len(entries)}, as it is", scores, match)
        for bank_name, bank in banks[asked].items():
            about = f"{name} {direction}, {{}}, {len(bank)} {bank_name}"
            tell(about.format("nnn"), nnn(scores, bank, entries), match)
            tell(about.format("qb-norm"), qb_norm(scores, bank, entries), match)


def drawn(encoder: Encoder, side: str, values: object, count: int, rng: np.random.Generator) -> Floats:
    """Vectors of some of the pictures or texts."""
    rows = np.sort(rng.permutation(len(values))[:count])
    some = [values[int(row)] for row in rows]
    return unit(encoder.encode_text(some) if side == "text" else encoder.encode_image(some))


def matches(split: Split, asked: str) -> np.ndarray:
    """(q, n) which entries are right."""
    found = np.zeros((len(split.text), len(split.image)), bool)
    found[split.positives[:, 1], split.positives[:, 0]] = True
    return found if asked == "text" else found.T


def nnn(scores: Floats, bank: Floats, entries: Floats) -> Floats:
    """Scores of which the first hits are in the order of `diptych search --hubness nnn`."""
    lower = hubness.bias(bank, entries)
    order = np.argsort(-scores, axis=1, kind="stable")[:, : hubness.AMONG]
    corrected = scores.copy()
    lift = 4.0  # more than any cosine, so that what was not looked at stays behind
    first = np.take_along_axis(scores, order, 1) - lower[order] + lift
    np.put_along_axis(corrected, order, first, 1)
    return corrected


def qb_norm(scores: Floats, bank: Floats, entries: Floats) -> Floats:
    """Logarithms of what QB-Norm makes of the scores where a query's best entry is that of a bank's query."""
    known = BETA * (bank @ entries.T)
    hubs = np.zeros(len(entries), bool)
    hubs[known.argmax(axis=1)] = True
    high = known.max(axis=0)
    total = high + np.log(np.exp(known - high).sum(axis=0))
    return np.where(hubs[scores.argmax(axis=1)][:, None], BETA * scores - total, BETA * scores)


def tell(what: str, scores: Floats, match: np.ndarray) -> None:
    best = np.where(match, scores, -np.inf).max(axis=1)
    rank = 1 + (np.where(match, -np.inf, scores) >= best[:, None]).sum(axis=1)
    print(f"{what:<44}" + "".join(f"{100 * (rank <= n).mean():8.1f}" for n in (1, 5, 10)), flush=True)


if __name__ == "__main__":
    main()
