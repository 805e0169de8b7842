"""Searches in rounds with a simulated user, on photographs with five captions each.

``python benchmarks/dialogue.py --data DIR/flickr8k`` takes the first caption of each dev photograph as what
is said first; the user knows the other four, and answers each question with the nearest of them, each once.
Hits@10
by round, cumulative and not, of: the first caption alone (plain), the next ten of it each round (paging),
EIIRwQR without feedback and with a user who takes what has all words of a kind in common with the target,
and ChatIR with questions of its list, whose dialogue is joined, or rewritten by the language model of
--llm, which also asks. Replies are kept on --tape. The encoder is the built-in one; with --learn, ChatIR is
measured as well with heads over it that learned the dialogues of train photographs, by either of its losses.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diptych import load, open_data
from diptych.core import Hits, Item, Run
from diptych.data.base import Split
from diptych.evaluation.dialogue import answering, measure_rounds, ranks_by_round
from diptych.llm import Tape, named
from diptych.pipeline import over
from diptych.provenance import commit
from diptych.similarity import unit
from diptych.systems.mllm.chatir import ChatIR
from diptych.systems.mllm.eiirwqr import EIIRwQR
from diptych.testing import Faulty


class Kept:
    """An encoder that encodes each picture of the gallery, and each text, once."""

    def __init__(self, inner: Any, pictures: Sequence[Any]) -> None:
        self.inner, self.similarity = inner, inner.similarity
        self.known = dict(zip(map(id, pictures), inner.encode_image(list(pictures)), strict=True))
        self.texts: dict[str, Any] = {}

    def encode_image(self, images: Any) -> Any:
        return np.stack([self.known[id(image)] for image in images])

    def encode_text(self, texts: Any) -> Any:
        fresh = list(dict.fromkeys(text for text in texts if text not in self.texts))
        if fresh:
            self.texts |= dict(zip(fresh, self.inner.encode_text(fresh), strict=True))
        return np.stack([self.texts[text] for text in texts])


class Learned:
    """The encoder with a head over its texts that has learned dialogues."""

    similarity = "cosine"

    def __init__(self, inner: Kept, head: Any) -> None:
        self.inner, self.head = inner, head

    def encode_image(self, images: Any) -> Any:
        return self.head.encode_image(self.inner.encode_image(images))

    def encode_text(self, texts: Any) -> Any:
        return self.head.encode_text(self.inner.encode_text(texts))


def dialogues(folder: Path, inner: Any, each: int = 6) -> Split:
    """Vectors of a folder's train photographs, and of dialogues about each of them."""
    from diptych.systems.mllm.dialogue import dialogues_of

    split = open_data(str(folder)).split("train")
    captions: list[list[str]] = [[] for _ in split.image]
    for image, text in split.pairs.tolist():
        captions[image].append(split.text[text])
    said, rows = dialogues_of(captions, each)
    images, texts = inner.encode_image(list(split.image)), inner.encode_text(said)
    pairs = np.stack([np.array(rows), np.arange(len(rows))], axis=1)
    return Split(images, texts, None, pairs)


def learned(split: Split, variant: str) -> Any:
    """A head that has learned dialogues."""
    from diptych.training.trainer import Trainer

    sides = {"image_dim": split.image.shape[1], "text_dim": split.text.shape[1]}
    head = load(f"dialogue:{variant}", epochs=12, **sides)
    return head.fit(split, Trainer(seed=0, quiet=True, device="cpu"))


class Likely:
    """A user who takes pictures whose captions are near to those of the target, as vectors of texts."""

    def __init__(self, captions: Sequence[Sequence[str]], encoder: Any, near: float) -> None:
        vectors = unit(encoder.encode_text([one for five in captions for one in five]))
        self.mean = unit(vectors.reshape(len(captions), -1, vectors.shape[1]).mean(axis=1))
        self.near = near

    def __call__(self, query: Item, shown: Sequence[Item]) -> list[bool]:
        target = self.mean[int(query.id)]
        return [float(self.mean[int(one.id)] @ target) > self.near for one in shown]


def shown_in_rounds(stage: Any, run: Run, rounds: int) -> Iterator[Run]:
    """The runs of a stage that shows ten new pictures a round, as ranks in the order shown."""
    for _, done in zip(range(rounds + 1), stage.rounds(run), strict=False):
        yield done


def paging(stage: Any, run: Run, rounds: int) -> Iterator[Run]:
    """The same search, ten more a round."""
    hits = stage(run).hits
    for at in range(rounds + 1):
        yield run.with_hits(Hits(hits.rows[:, : 10 * (at + 1)], hits.scores[:, : 10 * (at + 1)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with dev.jsonl and its pictures")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--count", type=int, default=1000, help="queries")
    parser.add_argument("--llm-count", type=int, default=40, help="queries that a language model is asked of")
    parser.add_argument("--llm-rounds", type=int, default=2)
    parser.add_argument("--learn", type=Path, help="folder with train.jsonl and its pictures")
    parser.add_argument("--llm", help="language model, as llm:FILE.gguf")
    parser.add_argument("--tape", type=Path, help="keeps its replies, or replays them without --llm")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    options = parser.parse_args()

    split = open_data(str(options.data)).split("dev")
    captions: list[list[str]] = [[] for _ in split.image]
    for image, text in split.pairs.tolist():
        captions[image].append(split.text[text])
    pictures = list(split.image)
    builtin = load("builtin")
    encoder = Kept(builtin, pictures)
    gallery = [Item(str(at), image=one) for at, one in enumerate(pictures)]
    near = Likely(captions, encoder, 0.6)
    silent, n = Faulty(["unreachable"]), len(gallery)
    results = []

    def tell(name: str, runs: Iterator[Run], count: int, *, seen: bool, asks: bool = False) -> None:
        ranks, last = ranks_by_round(runs, np.arange(count))
        found = measure_rounds(np.minimum(ranks, n))
        if seen:  # a target that was shown was found, wherever it stands among what was shown
            share = [(ranks[:, at] <= 10 * (at + 1)).mean() for at in range(ranks.shape[1])]
            found = {"Hits@10": [float(one) for one in share]}
        notes = [note for note in last.notes if note]
        if asks:
            calls = [note.get("usage", {}).get("calls", 0) for note in notes]
            found |= {
                "calls a query": float(np.mean(calls)),
                "degraded": float(np.mean(["degraded" in note for note in notes])),
            }
        results.append({"system": name, "queries": count, **found})
        hits = " ".join(f"{one:.3f}" for one in found["Hits@10"])
        print(
            f"{name} ({count} queries): Hits@10 by round {hits}",
            {k: v for k, v in found.items() if k in ("BRI", "degraded", "calls a query")},
            flush=True,
        )

    encoder.encode_text([one for five in captions for one in five])

    def ask(count: int, rounds: int, model: Any) -> None:
        queries = [Item(str(at), text=five[0]) for at, five in enumerate(captions[:count])]
        run = Run(queries, gallery)
        search = over(encoder, gallery, n)
        plain = search(run)
        tell("plain search", (plain for _ in range(rounds + 1)), count, seen=False)
        tell("paging", paging(search, run, rounds), count, seen=True)
        how: dict[str, Any] = {"shown": 10, "rounds": rounds + 1}
        for name, system in (
            ("EIIRwQR, vectors alone, no feedback", EIIRwQR(encoder, rewrite=False, rocchio=True, **how)),
            (
                "EIIRwQR, vectors alone, user",
                EIIRwQR(encoder, feedback=near, rewrite=False, rocchio=True, **how),
            ),
        ):
            tell(name, system.over(gallery, n, "image").rounds(run), count, seen=True)
        for name, who in (("ChatIR, its list of questions, joined", silent), ("ChatIR", model)):
            if who is None:
                continue
            for form in ("joined", "rewritten"):
                if who is silent and form == "rewritten":
                    continue
                chat = ChatIR(
                    encoder,
                    who,
                    answering([five[1:] for five in captions], encoder),
                    rounds=rounds,
                    form=form,
                )
                title = name if who is silent else f"{name}, {Path(who.name).name}, {form}"
                runs = chat.over(gallery, n, "image").rounds(run)
                tell(title, runs, count, seen=False, asks=who is not silent)
        if model is not None:
            told = [Item(one.id, image=one.image, text=captions[int(one.id)][1]) for one in gallery]
            system = EIIRwQR(encoder, model, feedback=near, rocchio=True, **how)
            runs = system.over(told, n, "image").rounds(Run(queries, told))
            tell(f"EIIRwQR, {Path(model.name).name}, user", runs, count, seen=True, asks=True)

    ask(min(options.count, n), options.rounds, None)
    taught = dialogues(options.learn, builtin) if options.learn else None
    for variant in () if taught is None else ("paper", "recall"):
        name = {"paper": "contrastive", "recall": "recall"}[variant]
        reads = Learned(encoder, learned(taught, variant))
        queries = [Item(str(at), text=five[0]) for at, five in enumerate(captions[: options.count])]
        user = answering([five[1:] for five in captions], encoder)
        chat = ChatIR(reads, silent, user, rounds=options.rounds, form="joined")
        runs = chat.over(gallery, n, "image").rounds(Run(queries, gallery))
        tell(
            f"ChatIR, its list of questions, joined, dialogues learned ({name})",
            runs,
            len(queries),
            seen=False,
        )
    if options.llm or options.tape:
        model: Any = named(options.llm) if options.llm else None
        model = Tape(options.tape, model) if options.tape else model
        ask(min(options.llm_count, n), options.llm_rounds, model)
    if options.out:
        about = {"data": f"{options.data.name} dev", "gallery": n, "commit": commit(), "results": results}
        options.out.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
