"""Makes the head by which the built-in model reads other languages than English; see `towers.languages`.

    pip install 'diptych[train,languages]'
    python tools/build_languages.py src/diptych/systems/dual_tower/weights/languages.npz --data DIR

It learns from text alone to turn a vector of multilingual-e5-small into what all-MiniLM-L6-v2 says of the
same in English: from captions of Flickr30k in four languages (one translation of 7,500 photographs, those of
Flickr8k's development split left out), English captions of Flickr8k train and COCO train, and short English
names of things. Vectors are kept in --keep FOLDER for a second run. One thread, seed 0.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn import functional

from diptych import open_data
from diptych.core import Floats
from diptych.nets.joint_head import Head
from diptych.towers.calibrating import things
from diptych.towers.heads import compact
from diptych.towers.languages import HEAD, reader_of
from diptych.towers.onnx import TextTower

LANGUAGES = ("en", "de", "fr", "cs")
TRANSLATED, CAPTIONS = 7_500, 1  # photographs of Flickr30k; captions of each of Flickr8k
FORMS = ("{}", "a photo of a {}")  # of names of classes
WIDTH, DROP, INPUTS_DROP = 1024, 0.1, 0.05
EPOCHS, BATCH, RATE = 25, 1024, 2e-3
SCALE, CONTRAST = 30.0, 0.1  # factor of cosines, and weight, of the contrastive part


class Part(NamedTuple):
    """Texts, and the English sentence that each should be read as."""

    texts: list[str]
    english: list[str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("target", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--keep", type=Path, help="folder of vectors")
    options = parser.parse_args()
    os.environ["DIPTYCH_DATA"] = str(options.data)
    torch.set_num_threads(1)
    read, tower = reader_of(threads=1), TextTower(1)
    inputs, targets = [], []
    for part in parts(options.data):
        inputs.append(kept("multilingual-e5-small", read, part.texts, options.keep))
        targets.append(kept("minilm", tower, part.english, options.keep))
    arrays: dict[str, Any] = compact(learned(np.concatenate(inputs), np.concatenate(targets)).arrays(HEAD))
    np.savez_compressed(options.target, **arrays)
    print(options.target, sum(map(len, inputs)), "texts", options.target.stat().st_size, "bytes")


def parts(data: Path) -> list[Part]:
    """What is learned from, in pieces whose vectors are kept."""
    held = {Path(str(name)).name.split("_")[0] for name in names("flickr8k", "dev", data)}
    with gzip.open(data / "flickr30k-text" / "train.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    rows = [row["translated"] for row in rows if row["image"].split(".")[0] not in held][:TRANSLATED]
    english = [row["en"] for row in rows]
    found = [Part([row[language] for row in rows], english) for language in LANGUAGES]
    captions = list(open_data("flickr8k").split("train").text)
    first = [caption for at, caption in enumerate(captions) if at % 5 < CAPTIONS]
    coco = list(open_data("coco_photos").split("train").text)
    short = list(things())
    classes = [
        form.format(name) for name in open_data("imagenet_sample").split("test").text for form in FORMS
    ]
    return found + [Part(texts, texts) for texts in (first, coco, short, classes)]


def names(name: str, split: str, data: Path) -> list[str]:
    """Names of the pictures of Flickr8k, which begin with the number that Flickr30k calls them by."""
    with (data / name / f"{split}.jsonl").open(encoding="utf-8") as file:
        return [json.loads(line)["image"] for line in file]


def kept(
    name: str, encode: Callable[[Sequence[str]], Floats], texts: Sequence[str], folder: Path | None
) -> Floats:
    """Vectors (n, 384) of texts, from a folder if they are there."""
    digest = hashlib.sha256("\0".join([name, *texts]).encode()).hexdigest()[:16]
    path = None if folder is None else folder / f"{name}-{digest}.npy"
    if path is not None and path.is_file():
        return np.asarray(np.load(path), np.float32)
    vectors = np.concatenate([encode(texts[at : at + 256]) for at in range(0, len(texts), 256)])
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, vectors.astype(np.float16))
    print(f"{name}: {len(texts)} texts", flush=True)
    return np.asarray(vectors.astype(np.float16), np.float32)


def learned(inputs: Floats, targets: Floats, *, epochs: int = EPOCHS) -> Head:
    """The head that turns inputs (n, 384) into targets (n, 384)."""
    torch.manual_seed(0)
    head = Head(inputs, size=targets.shape[1], width=WIDTH, drop=DROP, inputs_drop=INPUTS_DROP)
    x, y = torch.from_numpy(inputs), functional.normalize(torch.from_numpy(targets))
    steps = epochs * -(-len(x) // BATCH)
    optimizer = torch.optim.AdamW(head.parameters(), lr=RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps + 1, pct_start=0.1)
    for epoch in range(epochs):
        total = 0.0
        for rows in torch.randperm(len(x)).split(BATCH):
            with torch.autocast("cpu", torch.bfloat16):
                found = head(x[rows])
            found, wanted = functional.normalize(found.float()), y[rows]
            near = (1 - (found * wanted).sum(dim=1)).mean()
            scores, same = SCALE * found @ wanted.T, wanted @ wanted.T > 1 - 1e-4
            # The same English sentence is the target of each of its translations.
            likely = scores.logsumexp(dim=1) - scores.masked_fill(~same, -torch.inf).logsumexp(dim=1)
            loss = near + CONTRAST * likely.mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += near.item() * len(rows)
        print(f"epoch {epoch + 1}: 1 - cosine {total / len(x):.4f}", flush=True)
    return head.eval()


if __name__ == "__main__":
    main()
