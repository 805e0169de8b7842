"""How good the built-in model is: recall on Flickr8k and COCO-mini, zero-shot on ImageNet and Caltech.

``python benchmarks/builtin_quality.py --data DIR`` prints every figure of the model card beside chance and,
for Flickr8k, beside the targets. DIR holds the data sets as `diptych data` expects them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
from pathlib import Path

import numpy as np

from diptych.catalogue import load
from diptych.core import Floats
from diptych.data import open_data
from diptych.data.base import Split

SETS = (
    ("flickr8k", "dev", "{}"),
    ("ms_coco:mini", "train", "{}"),
    ("imagenet_sample", "test", "a photo of a {}"),
    ("caltech101", "train", "a photo of a {}"),
)
TARGETS = dict(
    zip(
        ("TqI R@1", "TqI R@5", "TqI R@10", "IqT R@1", "IqT R@5", "IqT R@10"),
        (24.0, 53.0, 66.0, 30.0, 57.0, 70.0),
        strict=True,
    )
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--model", nargs="*", default=["builtin", "builtin:concepts"])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    os.environ["DIPTYCH_DATA"] = str(options.data)
    facts = {"commit": commit(), "data": {}, "models": {}}
    vectors: dict[str, Floats] = {}
    for model in options.model:
        encoder = load(model)
        figures = facts["models"][model] = {"fingerprint": encoder.fingerprint}
        for name, part, form in SETS:
            split = open_data(name).split(part)
            facts["data"][name] = split.sha256()
            vectors["image"] = encoder.encode_image(list(split.image))
            vectors["text"] = encoder.encode_text([form.format(text) for text in split.text])
            figures[name] = recalls(vectors["image"], vectors["text"], split)
    facts["chance"] = {name: chance(open_data(name).split(part)) for name, part, _ in SETS}
    print(json.dumps(facts, indent=2) if options.json else table(facts))


def recalls(image: Floats, text: Floats, split: Split) -> dict[str, float]:
    """R@1, 5, 10 in per cent, both directions; a tie with a wrong entry counts against us."""
    scores = text @ image.T
    match = np.zeros(scores.shape, bool)
    match[split.positives[:, 1], split.positives[:, 0]] = True
    found = {}
    for direction, s, m in (("TqI", scores, match), ("IqT", scores.T, match.T)):
        asked = m.any(axis=1)  # class names that no picture shows are candidates, not queries
        best = np.where(m, s, -np.inf).max(axis=1)[asked]
        rank = 1 + (np.where(m, -np.inf, s)[asked] >= best[:, None]).sum(axis=1)
        found |= {f"{direction} R@{n}": round(float((rank <= n).mean() * 100), 1) for n in (1, 5, 10)}
    return found


def chance(split: Split) -> dict[str, float]:
    """Expected R@n in per cent of a random order."""
    found = {}
    for direction, own, candidates in (("TqI", 1, len(split.image)), ("IqT", 0, len(split.text))):
        _, positives = np.unique(split.positives[:, own], return_counts=True)
        for n in (1, 5, 10):
            missed = np.ones(len(positives))
            for draw in range(n):
                missed *= np.clip((candidates - positives - draw) / (candidates - draw), 0, 1)
            found[f"{direction} R@{n}"] = round(float((1 - missed).mean() * 100), 1)
    return found


def table(facts: dict) -> str:
    lines = [f"commit {facts['commit']}"] + [
        f"{name} split {digest}" for name, digest in facts["data"].items()
    ]
    names = list(TARGETS)
    lines.append(f"\n{'':<44}" + "".join(f"{name:>10}" for name in names))
    for name, *_ in SETS:
        for model, figures in facts["models"].items():
            lines.append(f"{name + ', ' + model:<44}" + "".join(f"{figures[name][n]:>10}" for n in names))
        lines.append(f"{name + ', chance':<44}" + "".join(f"{facts['chance'][name][n]:>10}" for n in names))
        if name == "flickr8k":
            lines.append(f"{name + ', target':<44}" + "".join(f"{TARGETS[n]:>10}" for n in names))
    for model, figures in facts["models"].items():
        lines.append(f"{model}: {figures['fingerprint']}")
    return "\n".join(lines)


def commit() -> str:
    done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


if __name__ == "__main__":
    main()
