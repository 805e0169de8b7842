"""What GRACE returns of photographs that it has memorised, beside the dual tower that it hangs on.

    python benchmarks/grace.py --data DIR --pictures 300

Photographs of Flickr8k's development half are memorised with four of their captions; the fifth, which it has
never seen, is the query. For each kind of identifier: how often the first identifier that it generates from a
photograph is that photograph's own (exact match), and how often a caption that it learned and one that is new
find their photograph (R@1, R@5, R@10 in per cent, by the same evaluation as all systems); and the processor
time of learning and of a query, in which the tower looks for captions of the photograph, too. The tower
answers the same queries over the same photographs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from diptych import evaluate, load, open_data
from diptych.data.base import Loaded, Protocol, Split

KINDS = ("structured", "atomic", "numeric", "string", "semantic")
AT = ("R@1", "R@5", "R@10")
SMALL: dict[str, Any] = {
    "clusters": 10,
    "leaf": 10,
    "batch_size": 16,
    "lr": 2e-3,
}  # for a few hundred pictures


class Kept:
    """The tower, which looks at each picture and each text once for all kinds of identifiers."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.similarity, self.seen = inner, inner.similarity, {}

    def _once(self, encode: Any, items: Any) -> Any:
        fresh = [item for item in items if _key(item) not in self.seen]
        if fresh:
            self.seen |= dict(zip(map(_key, fresh), encode(fresh), strict=True))
        return np.stack([self.seen[_key(item)] for item in items])

    def encode_image(self, images: Any) -> Any:
        return self._once(self.inner.encode_image, list(images))

    def encode_text(self, texts: Any) -> Any:
        return self._once(self.inner.encode_text, list(texts))


def _key(item: Any) -> str:
    return item if isinstance(item, str) else hashlib.sha256(item.tobytes()).hexdigest()


def photographs(count: int) -> Loaded:
    """Some photographs: "learned" with their first four captions, "new" with the fifth."""
    whole = open_data("flickr8k").split("dev").take(np.arange(count))
    texts: list[list[str]] = [[] for _ in range(count)]
    for picture, text in whole.pairs.tolist():
        texts[picture].append(whole.text[text])
    parts = {}
    for name, some in (("learned", [five[:4] for five in texts]), ("new", [five[4:5] for five in texts])):
        pairs = [(at, caption) for at, captions in enumerate(some) for caption in captions]
        numbers = np.array([(at, place) for place, (at, _) in enumerate(pairs)])
        parts[name] = Split(whole.image, [caption for _, caption in pairs], None, numbers)
    protocols = {name: Protocol(name, name, "pair", captions=4 if name == "learned" else 1) for name in parts}
    return Loaded("flickr8k-memorised", parts, protocols=protocols)


def recall(system: Any, data: Loaded, which: str) -> tuple[list[float], float]:
    """R@1, R@5, R@10 of texts in per cent, and processor milliseconds a query."""
    began = time.process_time()
    found = evaluate(system, data, which).measured["text to image"]
    spent = 1000 * (time.process_time() - began) / len(data.split(which).text)
    return [100 * found[name] for name in AT], spent


def _shown(values: list[float]) -> str:
    return " / ".join(f"{one:.1f}" for one in values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--pictures", type=int, default=300)
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=KINDS)
    parser.add_argument("--set", nargs="*", default=[], help="NAME=VALUE of GRACE's settings, in JSON")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="also write the figures there")
    options = parser.parse_args()
    os.environ["DIPTYCH_DATA"] = str(options.data)
    from diptych.systems.mllm.grace import GRACE
    from diptych.training.trainer import Trainer

    data, tower = photographs(options.pictures), Kept(load("builtin", threads=1))
    pictures = tower.encode_image(data.split("learned").image)
    tower.encode_text([text for which in ("learned", "new") for text in data.split(which).text])
    lines: list[dict[str, Any]] = []
    told = dict(one.split("=", 1) for one in options.set)
    settings = SMALL | {name: json.loads(value) for name, value in told.items()}

    def tell(name: str, system: Any, exact: float | None, learning: float) -> None:
        learned, _ = recall(system, data, "learned")
        new, spent = recall(system, data, "new")
        line = {"system": name, "exact match": exact, "learned captions": learned, "new captions": new}
        lines.append({**line, "ms a query": spent, "learning, s": learning})
        said = "" if exact is None else f"exact match {100 * exact:.1f} %; "
        print(
            f"{name}: {said}captions that it learned {_shown(learned)}, new ones"
            f" {_shown(new)}; {spent:.1f} ms a query, learned in {learning:.0f} s",
            flush=True,
        )

    print(f"{options.pictures} photographs, {settings}; R@1 / R@5 / R@10 in per cent; one thread")
    tell("the tower alone", tower, None, 0.0)
    for kind in options.kinds:
        began = time.process_time()
        grace = GRACE(identifier=kind, **settings)
        grace.__dict__["_dual"] = tower
        grace.fit(data.split("learned"), Trainer(seed=options.seed))
        learning = time.process_time() - began
        own = grace.generate(pictures, "image")
        exact = float(np.mean([bool(found) and found[0][0] == at for at, found in enumerate(own)]))
        tell(f"GRACE, {kind} identifiers", grace, exact, learning)
    if options.json:
        options.json.write_text(json.dumps(lines, indent=1) + "\n")


if __name__ == "__main__":
    main()
