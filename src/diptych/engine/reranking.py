"""Ranks the first hits of a search anew, by a scorer that looks at pictures and texts together.

The scorer reads the pictures from their files, as they are now: each once a search, however often the search
is widened, and one that cannot be read comes last of those that were looked at. What a scorer makes of a
picture alone is kept, where it offers that (`diptych.engine.homes.states`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from diptych.core import DECODING, Floats, Forwards, Item, Rows, Side, offered
from diptych.engine.calibration import calibration_of, captioned
from diptych.engine.decoding import THREADS
from diptych.engine.gallery import Gallery, gallery_of
from diptych.engine.homes.base import Home
from diptych.engine.homes.states import States
from diptych.engine.model import Model, model_name
from diptych.engine.opening import Opened
from diptych.engine.results import Reranked
from diptych.errors import BadData, ImageError, UsageError
from diptych.media.pictures import DECODING as DECODED
from diptych.media.raw import open_any
from diptych.pipeline import EQUAL, Hybrid, weights_of
from diptych.pipeline.weighing import LEAST_QUERIES, line_of
from diptych.towers.calibrating import named, things
from diptych.towers.second_look import SecondLine

__all__ = ["Calibrated", "Second", "anew", "calibrate", "second_of"]

_SETTING = "rerank:"  # and the fingerprints of model and scorer
_ASKING = 200  # captions, and as many things that nothing shows
_CAPTIONS = 1_000  # among which those are that ask


class Second:
    """The second stage of one search.

    Args:
        name: Of the scorer.
        hybrid: The collection's encoder and the scorer.
        calibrated: Whether its weights are.
    """

    def __init__(self, name: str, hybrid: Hybrid, *, calibrated: bool) -> None:
        self.name, self.hybrid, self.calibrated = name, hybrid, calibrated

    def told(self, to: Side, notes: Any, queries: int) -> Reranked:
        """What results say of it.

        Args:
            to: Side that was searched.
            notes: Of one query, from its run.
            queries: How many were asked, among which the cost is divided.
        """
        cost = self.hybrid.cost
        return Reranked(
            self.name,
            self.hybrid.rerank_depth,
            self.hybrid.rerank_weights[to],
            calibrated=self.calibrated,
            pairs=round(cost.pairs / queries),
            milliseconds_a_pair=cost.milliseconds_a_pair,
            degraded=str(notes.get("degraded", "")),
        )


def second_of(opened: Opened, model: Model, scorer: Any, depth: int) -> Second:
    """The second stage that a search asks for.

    Args:
        opened: The collection.
        model: Its model.
        scorer: A system that scores pairs, another encoder, or the name of either.
        depth: First hits that it ranks anew.

    Raises:
        UsageError: it can rank nothing anew, or the depth is none.
        UnknownName, MissingData, MissingExtra: there is no such system, or it needs what is not there.
    """
    name = str(offered(scorer, "name", type(scorer).__name__))
    if isinstance(scorer, str):
        name = model_name(scorer)
        scorer = model.encoder if name == model.name else opened.scorer(name)
    hybrid = Hybrid(model.encoder, scorer, depth)
    hybrid.scorer = _Once(hybrid.scorer, opened.home)
    known = hybrid.knows_each_other
    if not known and (kept := opened.home.get(_setting(model, hybrid))) is not None:
        found = Calibrated.of_dict(json.loads(kept))
        hybrid.rerank_weights = {**EQUAL, **found.weights}
        hybrid.rerank_lines = found.lines
        known = True
    return Second(name, hybrid, calibrated=known)


def _setting(model: Model, hybrid: Hybrid) -> str:
    scorer = hybrid.scorer
    return f"{_SETTING}{model.fingerprint}:{offered(scorer, 'fingerprint', offered(scorer, 'name', ''))}"


@dataclass(frozen=True, slots=True)
class Calibrated:
    """How a scorer and a collection's search go together.

    Args:
        system: The scorer.
        depth: First hits that it looked at.
        weights: Of the scorer, by the side that is searched.
        lines: How relevant hits are, by the side that is searched.
        queries: Captions that asked.
        milliseconds_a_pair: What each pair took, reading the picture included.
    """

    system: str
    depth: int
    weights: Mapping[Side, float]
    lines: Mapping[Side, SecondLine]
    queries: int
    milliseconds_a_pair: float

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON has it."""
        lines = {side: line.as_dict() for side, line in self.lines.items()}
        return {**asdict(self), "weights": dict(self.weights), "lines": lines}

    @classmethod
    def of_dict(cls, kept: Mapping[str, Any]) -> Self:
        """What `as_dict` gave."""
        return cls(
            **{**kept, "lines": {side: SecondLine.of_dict(one) for side, one in kept["lines"].items()}}
        )


def calibrate(opened: Opened, scorer: Any, depth: int) -> Calibrated:
    """Choose how much a scorer has to say, and what its scores mean, on captions; see
    `Collection.calibrate_rerank`.
    """
    model = opened.loaded()
    second = second_of(opened, model, scorer, depth)
    hybrid, home = second.hybrid, opened.home
    images, texts = gallery_of(opened, "image"), gallery_of(opened, "text")
    pairs = _captioned(opened, images, texts)
    if len({image for image, _ in pairs.tolist()}) < LEAST_QUERIES:
        raise UsageError(
            f"what a re-ranker has to say is chosen on captions of pictures, and {opened.folder} has "
            f"{len(pairs)}; at least {LEAST_QUERIES} captioned pictures are needed"
        )
    hybrid.rerank_weights = {**EQUAL, **weights_of(hybrid, images, texts, pairs)}
    lines: dict[Side, SecondLine] = {}
    told = calibration_of(home, model)
    if told is not None:
        random = np.random.default_rng(0)
        asking = random.permutation(pairs[:, 1])[:_ASKING]
        right = [Item(text=texts[int(row)].text) for row in asking]
        said = named(things(), [[str(texts[int(row)].text)] for row in pairs[:, 1]])
        absent = [thing for thing, share in zip(things(), said, strict=True) if share < 0.5]
        wrong = [Item(text=absent[row]) for row in random.permutation(len(absent))[:_ASKING].tolist()]
        line = line_of(hybrid, told, right, wrong, images)
        if line is not None:
            lines["image"] = line
    found = Calibrated(
        second.name,
        hybrid.rerank_depth,
        hybrid.rerank_weights,
        lines,
        min(len(pairs), _ASKING),
        hybrid.cost.milliseconds_a_pair,
    )
    with opened.writing(), home.batch(changes=False):
        home.set(_setting(model, hybrid), json.dumps(found.as_dict()))
    return found


def _captioned(opened: Opened, images: Gallery, texts: Gallery) -> Rows:
    """Places (p, 2) of some of the captioned pictures and all their captions in the galleries."""
    found = []
    place, said = ({row: at for at, row in enumerate(one.rows.tolist())} for one in (images, texts))
    for first, others in captioned(opened.home, texts.rows, _CAPTIONS):
        if first in place:
            found += [(place[first], said[row]) for row in others if row in said]
    return np.array(found, np.int64).reshape(-1, 2)


def anew(
    known: Floats, rows: Rows, looked: Mapping[int, tuple[float, float]] | None, line: SecondLine | None
) -> Floats:
    """How relevant entries (n,) are, of which a scorer has looked at some.

    Args:
        known: (n,) percentiles by the search's calibration; NaN where there is none.
        rows: (n,) the entries.
        looked: Of those that the scorer looked at, what search and pair scored.
        line: Tells what the latter means; None if nothing does, so that all are NaN.
    """
    if line is None or looked is None:
        return np.full_like(known, np.nan)
    found = known.copy()
    pairs = np.array([looked.get(row, (0, np.nan))[1] for row in rows.tolist()])
    there = np.isfinite(pairs) & np.isfinite(known)
    if there.any():
        found[there] = 100 * line.percentiles(known[there] / 100, pairs[there])
    return found


class _Once(Forwards):
    """Scores each pair of a picture and a text once, and reads the pictures that are given by their paths."""

    def __init__(self, scorer: Any, home: Home) -> None:
        self._scorer, self._home = scorer, home
        self._known: dict[tuple[Hashable, Hashable], float] = {}
        self._unreadable: set[Hashable] = set()
        made_by = offered(scorer, "fingerprint")
        keeps = made_by is not None and offered(scorer, "picture_states") is not None
        self._states = States(home.place, f"{made_by} {DECODED}") if keeps else None

    def offering(self, capability: str) -> Any:
        """All is the scorer's; it reads by itself."""
        return None if capability in DECODING else self._scorer

    def score_pairs(self, images: Sequence[Any], texts: Sequence[Any], pairs: Rows) -> Floats:
        """Scores (p,) of the pairs (p, 2), masked where the picture cannot be read."""
        named = [_name(image) for image in images]
        words = [_name(text) for text in texts]
        keys = [(named[image], words[text]) for image, text in pairs.tolist()]
        new = np.array([key not in self._known and key[0] not in self._unreadable for key in keys], bool)
        if new.any():
            self._score(
                images, texts, pairs[new], named, [key for key, one in zip(keys, new, strict=True) if one]
            )
        found = np.array([self._known.get(key, np.nan) for key in keys], np.float32)
        return np.ma.masked_invalid(found)

    def _score(
        self,
        images: Sequence[Any],
        texts: Sequence[Any],
        pairs: Rows,
        named: Sequence[Hashable],
        keys: Sequence[tuple[Hashable, Hashable]],
    ) -> None:
        rows, places = np.unique(pairs[:, 0], return_inverse=True)
        asked, text = np.unique(pairs[:, 1], return_inverse=True)
        read = self._looked_at([images[row] for row in rows.tolist()])
        here = np.array([one is not None for one in read], bool)
        self._unreadable |= {named[row] for row in rows[~here].tolist()}
        kept = here[places]
        if not kept.any():
            return
        numbers = np.stack([(np.cumsum(here) - 1)[places], text], axis=1)[kept].astype(np.int64)
        scores = self._scorer.score_pairs(
            [one for one in read if one is not None], [texts[row] for row in asked.tolist()], numbers
        )
        if not np.isfinite(scores).all():
            raise BadData(
                f"{offered(self, 'name', type(self._scorer).__name__)} scores pairs with NaN or infinity, "
                "which has no place in a ranking"
            )
        looked_at = [key for key, one in zip(keys, kept.tolist(), strict=True) if one]
        self._known.update(zip(looked_at, map(float, scores), strict=True))

    def _looked_at(self, images: Sequence[Any]) -> list[Any]:
        """What the scorer takes of pictures; None of one that cannot be read."""
        found: list[Any] = [None] * len(images)
        hashes = [self._hash(image) for image in images]
        if self._states is not None:
            kept = self._states.get([key for key in hashes if key])
            found = [np.frombuffer(kept[key], np.float16) if key in kept else None for key in hashes]
        lacking = [at for at, one in enumerate(found) if one is None]
        with ThreadPoolExecutor(THREADS, thread_name_prefix="look") as pool:
            read = list(pool.map(self._read, [images[at] for at in lacking]))
        new = {at: one for at, one in zip(lacking, read, strict=True) if one is not None}
        if new and self._states is not None:
            states = np.asarray(self._scorer.picture_states(list(new.values())), np.float16)
            new = dict(zip(new, states, strict=True))
            self._states.put({key: state.tobytes() for at, state in new.items() if (key := hashes[at])})
        for at, one in new.items():
            found[at] = one
        return found

    def _hash(self, image: Any) -> bytes:
        """By which the content of an indexed picture is known; empty for any other."""
        if self._states is None or not isinstance(image, Path):
            return b""
        file = self._home.file(self._home.key(image))
        return file.hash if file is not None else b""

    def _read(self, image: Any) -> Any:
        """What the scorer takes of a picture; None if it cannot be read."""
        prepare = offered(self._scorer, "prepare_image")
        try:
            if isinstance(image, str | os.PathLike):
                picture = open_any(image, size=offered(self._scorer, "image_size"))
                picture.filename = os.fspath(image)  # type: ignore[attr-defined]  # a detector's regions have names
            else:
                picture = image
            return picture if prepare is None else prepare(picture)
        except ImageError:
            return None


def _name(content: Any) -> Hashable:
    """What tells one picture or text of a search from another."""
    return str(content) if isinstance(content, str | Path) else id(content)
