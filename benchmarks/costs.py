"""What looking at pictures and texts together costs, against comparing vectors: CPU milliseconds and ratios.

    python benchmarks/costs.py                    # the scorers of pairs, at the size of their papers
    python benchmarks/costs.py --data DIR         # and the curve of the built-in hybrid on Flickr8k dev
    python benchmarks/costs.py --size tiny --pairs 64

Three tables, all of one process and one thread, in processor time, so that other work on the machine counts
little. First, milliseconds a pair for each scorer with drawn weights, which speed does not depend on: with
everything of the picture made anew (its file decoded before), with its features kept, and with all kept that
does not depend on the text. Second, one text against 1,000 pictures: a scorer looks at 1,000 pairs, towers
encode the text and compare 1,000 vectors. Third, R@1 of Flickr8k's development captions against milliseconds
a query for depths 0, 10, 50 and 128 of the built-in model and its re-ranker, pictures kept as a collection
keeps them, and anew.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from diptych import catalogue, open_data
from diptych.catalogue.extractors import make
from diptych.core import Column, Run
from diptych.index.flat import Flat
from diptych.pipeline import Rerank, over, standardised

SCORERS = ("vilt", "visualbert", "unicoder_vl", "vilbert")
PICTURES = 1_000  # that a text is asked against
DEPTHS = (0, 10, 50, 128)


def seconds(call: Callable[[], Any], rounds: int) -> float:
    """Processor time of a call, the middle of several runs."""
    found = []
    for _ in range(rounds):
        started = time.process_time()
        call()
        found.append(time.process_time() - started)
    return statistics.median(found)


def pairs(name: str, options: argparse.Namespace) -> tuple[float, float, float]:
    """Milliseconds a pair with pictures anew, with their features kept, and with their states kept."""
    import torch

    torch.set_num_threads(1)
    system = catalogue.load(f"{name}:{options.size}")
    reads = catalogue.module_of(catalogue.card("system", name)).FEATURES[options.size]
    image = make(reads.split(",")[0].removeprefix("image="), side="image")
    random = np.random.default_rng(0)
    pictures = [random.integers(0, 255, (480, 640, 3), np.uint8) for _ in range(options.pairs)]
    words = system.hyperparameters["text_length"]
    text = random.integers(5, system.hyperparameters["vocabulary"], (1, words)).astype(np.uint32)
    ask = np.stack([np.arange(options.pairs), np.zeros(options.pairs, int)], axis=1)
    features = image.encode_image(pictures)
    for net in system.networks.values():
        net.eval()
    with torch.no_grad():
        kept = system.image_states(torch.from_numpy(features))
        said = system.text_states(torch.from_numpy(text.astype(np.int64)))
        said = tuple(part.expand(options.pairs, *part.shape[1:]) for part in said)
        with_states = seconds(lambda: system.pair_scores(kept, said), options.rounds)
    with_features = seconds(lambda: system.score_pairs(features, text, ask), options.rounds)
    anew = seconds(lambda: image.encode_image(pictures), options.rounds)
    per = 1000 / options.pairs
    return (anew + with_features) * per, with_features * per, with_states * per


def towers(options: argparse.Namespace) -> tuple[float, float]:
    """Milliseconds to encode a text and compare it with 1,000 vectors: of CLIP's shape, and of builtin."""
    import torch

    torch.set_num_threads(1)
    clip = ("clip:tiny", {}) if options.size == "tiny" else ("clip:vit-b-32", {"weights": "drawn"})
    return searched(*clip, options), searched("builtin", {"threads": 1}, options)


def searched(name: str, settings: dict[str, Any], options: argparse.Namespace) -> float:
    """Milliseconds of one text."""
    system = catalogue.load(name, **settings)
    dim = system.encode_text(["a dog"]).shape[1]
    vectors = np.random.default_rng(0).standard_normal((PICTURES, dim)).astype(np.float32)
    index, text = Flat.of(vectors, "cosine"), ["two dogs run over a wide beach in the evening"]
    return 1000 * seconds(lambda: index.search(system.encode_text(text), 10), options.rounds)


def curve(options: argparse.Namespace) -> None:
    """R@1 against milliseconds a query, by depth."""
    model = catalogue.load("builtin", threads=1)
    split = open_data("flickr8k").split("dev")
    random = np.random.default_rng(0)
    asked = np.sort(random.choice(len(split.text), options.queries, replace=False))
    owner = np.zeros(len(split.text), np.int64)
    owner[split.positives[:, 1]] = split.positives[:, 0]
    queries = Column("text", [split.text[row] for row in asked.tolist()])
    gallery = split.items("image")
    search = over(model, gallery, max(DEPTHS))
    started = time.process_time()
    first = search(Run(queries, gallery))
    base = 1000 * (time.process_time() - started) / options.queries
    started = time.process_time()
    states = model.picture_states(split.image)
    anew = 1000 * (time.process_time() - started) / len(split.image)
    kept = Column("image", list(states))
    weight = model.rerank_weights["image"]
    print(f"\nFlickr8k dev, {options.queries} captions of 5,000 against {len(split.image)} pictures")
    print(
        "| depth | R@1 | R@5 | ms a query, pictures kept | pictures anew | pairs |\n|---|---|---|---|---|---|"
    )
    for depth in DEPTHS:
        hits, cost = first.hits, 0.0
        if depth:
            stage = Rerank(model, depth, weight=weight, scale=standardised)
            started = time.process_time()
            hits = stage(Run(queries, kept, first.hits)).hits
            cost = 1000 * (time.process_time() - started) / options.queries
        found = [100 * np.mean((hits.rows[:, :n] == owner[asked][:, None]).any(axis=1)) for n in (1, 5)]
        print(
            f"| {depth} | {found[0]:.1f} | {found[1]:.1f} | {base + cost:.1f} | "
            f"{base + cost + depth * anew:.0f} |"
        )
    print(f"a picture read, decoded and looked at anew: {anew:.1f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", default="paper", choices=("paper", "tiny"))
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--data", type=Path, help="folder of the data sets, for the curve")
    parser.add_argument("--system", nargs="*", default=list(SCORERS))
    options = parser.parse_args()
    found = {name: pairs(name, options) for name in options.system}
    print(f"{options.size} size, {options.pairs} pairs, one thread, middle of {options.rounds} runs")
    print("| scorer | ms a pair, anew | features kept | states kept | anew / kept |\n|---|---|---|---|---|")
    for name, (anew, features, states) in found.items():
        print(f"| {name} | {anew:.1f} | {features:.1f} | {states:.1f} | {anew / states:.2f} |")
    clip, builtin = towers(options)
    print(f"\none text against {PICTURES} pictures; CLIP's towers {clip:.1f} ms, builtin {builtin:.1f} ms")
    print("| scorer | ms | times CLIP's towers | times builtin |\n|---|---|---|---|")
    for name, (_, _, states) in found.items():
        whole = PICTURES * states
        print(f"| {name} | {whole:.0f} | {whole / clip:,.0f} | {whole / builtin:,.0f} |")
    if options.data:
        os.environ["DIPTYCH_DATA"] = str(options.data)
        curve(options)


if __name__ == "__main__":
    main()
