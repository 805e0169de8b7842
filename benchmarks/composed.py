"""Composed queries made of the attributes of the Fashion data: the same kind of thing in another colour.

``python benchmarks/composed.py --data DIR`` (which holds ``fashion``) asks, for products of the validation
split, for "the same in COLOUR": meant are all products of the same article type and gender in that colour,
where there are 1 to 10 of them. Compared are the picture alone, the words alone, picture and words as
vectors, and CIReVL: as it answers without a model (title, change), and with the language model of --llm,
whose replies are kept on
--tape. The title of a product stands for a captioner. The encoder is the built-in one; nothing is learned.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from diptych import open_data
from diptych.data.composed import Composed, ComposedQuery
from diptych.data.readers import tables
from diptych.evaluation.composed import composed_average_precision, rank_composed, recalled
from diptych.llm import Tape, named
from diptych.provenance import commit
from diptych.systems.mllm.cirevl import CIReVL
from diptych.testing import Faulty

COLOURS = ("Black", "Blue", "Brown", "Green", "Grey", "Pink", "Purple", "Red", "White", "Yellow")


def queries(rows: list[dict[str, Any]], count: int, seed: int = 0) -> Composed:
    """Composed queries by a fixed rule, drawn with a fixed seed."""
    where: dict[tuple[str, str, str], list[str]] = {}
    for row in rows:
        where.setdefault((row["article_type"], row["gender"], row["base_colour"]), []).append(row["image"])
    found = []
    for at in np.random.default_rng(seed).permutation(len(rows)).tolist():
        row = rows[at]
        for colour in np.random.default_rng(at).permutation(COLOURS).tolist():
            meant = where.get((row["article_type"], row["gender"], colour), [])
            if colour != row["base_colour"] and 1 <= len(meant) <= 10:
                found.append(ComposedQuery(row["image"], f"the same in {colour.lower()}", tuple(meant)))
                break
        if len(found) == count:
            break
    return Composed("Fashion, the same in another colour", found, {"": [row["image"] for row in rows]})


class OneSide:
    """An encoder asked with one side of the query alone."""

    def __init__(self, encoder: Any, side: str) -> None:
        self.encoder, self.side = encoder, side

    def over(self, gallery: Any, k: int, to: Any) -> Any:
        from dataclasses import replace

        from diptych.pipeline import Rewrite, over

        other = "text" if self.side == "image" else "image"
        alone = Rewrite(lambda run: [replace(query, **{other: None}) for query in run.queries])
        return alone >> over(self.encoder, gallery, k, to=to)


def measured(data: Composed, rankings: list[list[str]]) -> dict[str, float]:
    """Without the reference itself, which every picture is most like."""
    kept = [
        (query, [name for name in ranking if name != query.reference])
        for query, ranking in zip(data.queries, rankings, strict=True)
    ]
    found = {f"R@{k}": float(np.mean([recalled(r, q.targets, k) for q, r in kept])) for k in (1, 10, 50)}
    found["mAP@10"] = float(np.mean([composed_average_precision(r, q.targets, 10) for q, r in kept]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder that holds fashion")
    parser.add_argument("--count", type=int, default=300, help="queries")
    parser.add_argument("--pictures", type=int, default=None, help="only the first of the gallery")
    parser.add_argument("--llm-count", type=int, default=60, help="queries that a language model is asked of")
    parser.add_argument("--llm", help="language model, as llm:FILE.gguf")
    parser.add_argument("--tape", type=Path, help="keeps its replies, or replays them without --llm")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    options = parser.parse_args()
    from diptych import load

    split = open_data(str(options.data / "fashion")).split("val")
    table = tables.rows(options.data / "fashion" / "val.jsonl.gz", "image", "text")
    pictures = dict(zip(split.image_id, split.image, strict=True))
    rows = [row for row in table if row["image"] in pictures][: options.pictures]
    encoder = Kept(load("builtin"), [pictures[row["image"]] for row in rows])
    titles = {row["image"]: {"caption": row["text"]} for row in rows}
    whole = queries(rows, options.count)
    some = Composed(whole.name, whole.queries[: options.llm_count], whole.gallery)
    silent = Faulty(["unreachable"])
    ways: list[tuple[str, Composed, Any]] = []
    for data in (whole, some) if options.llm or options.tape else (whole,):
        ways += [
            ("the picture alone", data, OneSide(encoder, "image")),
            ("the words alone", data, OneSide(encoder, "text")),
            ("picture and words as vectors", data, encoder),
            ("CIReVL without a model: title, change", data, CIReVL(encoder, silent, task="fashion")),
            (
                "the same, and the picture as a vector",
                data,
                CIReVL(encoder, silent, task="fashion", image_weight=1.0),
            ),
        ]
    if options.llm or options.tape:
        model: Any = named(options.llm) if options.llm else None
        model = Tape(options.tape, model) if options.tape else model
        ways.append((f"CIReVL, {Path(model.name).name}", some, CIReVL(encoder, model, task="fashion")))
    results = []
    for name, data, system in ways:
        rankings, cost = rank_composed(system, data, pictures.__getitem__, 60, meta=titles)
        found = measured(data, rankings)
        cost = cost if name.startswith("CIReVL, ") else {}
        results.append({"system": name, "queries": len(data.queries), **found, **cost})
        print(
            f"{name} ({len(data.queries)} queries): " + ", ".join(f"{k} {v:.3f}" for k, v in found.items()),
            cost,
        )
    if options.out:
        about = {"data": "fashion val", "gallery": len(rows), "commit": commit(), "results": results}
        options.out.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


class Kept:
    """An encoder that encodes each picture of the gallery once."""

    def __init__(self, inner: Any, pictures: list[Any]) -> None:
        self.inner, self.similarity = inner, inner.similarity
        self.known = dict(zip(map(id, pictures), inner.encode_image(pictures), strict=True))
        self.held = pictures  # so that no other object has their addresses

    def encode_image(self, images: Any) -> Any:
        return np.stack([self.known[id(image)] for image in images])

    def encode_text(self, texts: Any) -> Any:
        return self.inner.encode_text(texts)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
