"""How near the captioner comes to what people wrote, beside captions of other pictures and beside concepts.

``python benchmarks/captions.py --data DIR [--model captioner@runs/mine]`` prints BLEU-4, ROUGE-L and CIDEr on
Flickr8k dev and on the dev photographs of COCO, of

- the captioner;
- the training caption that the built-in model finds for a picture (a caption that somebody wrote, of another
  picture), from the first caption of each training picture of both sets;
- the five likeliest of the 1,000 ImageNet classes, as a list of words;
- a caption that somebody wrote of the picture, against the others (where there are others).

DIR holds the data sets as `diptych data` expects them.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from diptych.catalogue import load
from diptych.core import Floats
from diptych.data import open_data
from diptych.data.base import Split
from diptych.metrics.captions import caption_scores
from diptych.provenance import commit

SETS = ("flickr8k", "coco_photos")
MEASURES = ("BLEU-4", "ROUGE-L", "CIDEr")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--model", default="captioner")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    os.environ["DIPTYCH_DATA"] = str(options.data)
    captioner, builtin = load(options.model), load("builtin")
    written = [texts[0] for name in SETS for texts in references(open_data(name).split("train")) if texts]
    known = builtin.encode_text(written)
    classes = [str(one) for one in open_data("imagenet_sample").split("test").text]
    facts = {"commit": commit(), "model": captioner.fingerprint, "data": {}, "scores": {}}
    for name in SETS:
        split = open_data(name).split("dev")
        wanted = references(split)
        facts["data"][name] = split.sha256()
        images, started = list(split.image), time.process_time()
        said = captioner.captions(images)
        seconds = (time.process_time() - started) / len(images)
        rows = {
            "captioner": caption_scores(said, wanted),
            "nearest training caption": caption_scores(
                nearest(builtin.encode_image(images), known, written), wanted
            ),
            "five likeliest concepts": caption_scores(concepts(builtin, images, classes), wanted),
            "a caption that somebody wrote": caption_scores(*somebody(wanted)),
        }
        facts["scores"][name] = {"pictures": len(images), "CPU seconds a picture": seconds, **rows}
    print(json.dumps(facts, indent=2) if options.json else table(facts))


def references(split: Split) -> list[list[str]]:
    """What people wrote of each picture."""
    found: list[list[str]] = [[] for _ in split.image]
    for image, text in split.pairs.tolist():
        found[image].append(split.text[text])
    return found


def nearest(images: Floats, known: Floats, written: Sequence[str]) -> list[str]:
    """For each picture the training caption that is nearest to it."""
    return [written[int(row)] for row in (images @ known.T).argmax(axis=1)]


def concepts(builtin, images, classes: Sequence[str]) -> list[str]:
    """For each picture the names of its five likeliest classes."""
    found = []
    for start in range(0, len(images), 16):
        pictures = np.stack([builtin.prepare_image(one) for one in images[start : start + 16]])
        _, logits = builtin.image_tower(pictures)
        found += [
            ", ".join(classes[row] for row in line) for line in np.argsort(-logits, axis=1)[:, :5].tolist()
        ]
    return found


def somebody(wanted: Sequence[Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    """The first caption of each picture that has several, and the others."""
    several = [texts for texts in wanted if len(texts) > 1]
    return [texts[0] for texts in several], [list(texts[1:]) for texts in several]


def table(facts) -> str:
    lines = [f"commit {facts['commit']}, model {facts['model']}"]
    for name, scores in facts["scores"].items():
        each = scores["CPU seconds a picture"]
        lines += [
            "",
            f"{name} dev ({facts['data'][name][:12]}), {scores['pictures']} pictures, {each:.3f} CPU s each",
        ]
        lines += [f"| | {' | '.join(MEASURES)} |", "|---|---|---|---|"]
        for row, values in scores.items():
            if isinstance(values, dict):
                lines.append(
                    f"| {row} | " + " | ".join(f"{100 * values[one]:.1f}" for one in MEASURES) + " |"
                )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
