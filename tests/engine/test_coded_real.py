"""Photographs with codes against exact search, on the kinds of queries that the README shows."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import diptych
from diptych.core import Item

PICTURES, ASKED = 240, 40
RECALL = 0.98

pytestmark = [pytest.mark.slow, pytest.mark.data]


@pytest.fixture(scope="module")
def photographs(
    shared_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[Item], list[Item]]:
    """A folder of photographs, and texts and photographs to ask with that are not in it."""
    source, folder = shared_data / "flickr8k", tmp_path_factory.mktemp("photographs")
    lines = (source / "dev.jsonl").read_text(encoding="utf-8").splitlines()
    captions = {entry["image"]: entry["captions"] for entry in map(json.loads, lines)}
    names = list(captions)
    with zipfile.ZipFile(source / "dev_images.zip") as pictures:
        for name in names[:PICTURES]:
            (folder / name).write_bytes(pictures.read(name))
        (folder / names[0]).with_suffix(".txt").write_text("\n".join(captions[names[0]]), encoding="utf-8")
        seen = [
            Item(image=Image.open(io.BytesIO(pictures.read(name))).convert("RGB")) for name in names[-ASKED:]
        ]
    return folder, [Item(text=captions[name][0]) for name in names[PICTURES : PICTURES + 200]], seen


@pytest.fixture(scope="module")
def collection(photographs: tuple[Path, list[Item], list[Item]]) -> Iterator[Any]:
    with diptych.open(photographs[0], model="builtin") as opened:
        opened.add()
        opened.make_codes(256)
        yield opened


@pytest.mark.parametrize("side", ["text", "image"])
def test_fresh_queries_reach_the_promised_recall(
    side: str, photographs: tuple[Path, list[Item], list[Item]], collection: Any
) -> None:
    queries = photographs[1] if side == "text" else photographs[2]
    candidates = collection.home.coded(collection.home.get("codes")).candidates(side, RECALL, 10)
    assert candidates < PICTURES / 2, "too few pictures are left out for this to be a test"
    exact = collection.search_many(queries, exact=True)
    quick = collection.search_many(queries, recall=RECALL)
    shares = [
        len({r.path for r in best} & {r.path for r in found}) / len(best)
        for best, found in zip(exact, quick, strict=True)
    ]
    # The promise is of the mean over all such queries; these are a sample of them.
    assert np.mean(shares) >= RECALL - 2 * np.std(shares) / len(shares) ** 0.5
    # What both find has the same score, as the second stage is exact.
    for best, found in zip(exact, quick, strict=True):
        scores = {r.path: r.score for r in best}
        assert [scores[r.path] for r in found if r.path in scores] == pytest.approx(
            [r.score for r in found if r.path in scores], abs=1e-3
        )


@pytest.mark.parametrize(
    "asked",
    [
        {"query": "a dog", "negative": "snow"},
        {"query": "at night", "image": "first"},
        {"image": "first", "to": "text"},
        {"query": "a dog", "to": "text"},
        {"query": "a dog", "k": 200},
    ],
    ids=["not", "both", "picture to text", "text to text", "more hits than are calibrated"],
)
def test_other_searches_are_exact(asked: dict[str, Any], collection: Any) -> None:
    first = sorted(collection.folder.glob("*.jpg"))[0]
    asked = {name: first if value == "first" else value for name, value in asked.items()}
    both = [collection.search(**asked, exact=exact) for exact in (True, False)]
    assert [(r.path, r.text, r.score) for r in both[0]] == [(r.path, r.text, r.score) for r in both[1]]
