"""Ranks the first hits of a search anew, by a scorer that looks at pictures and texts together.

The scorer reads the pictures from their files, as they are now: each once a search, however often the search
is widened, and one that cannot be read comes last of those that were looked at.
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core import DECODING, Floats, Forwards, Rows, Side, offered
from diptych.engine.decoding import THREADS
from diptych.engine.model import Model, model_name
from diptych.engine.opening import Opened
from diptych.engine.results import Reranked
from diptych.errors import BadData, ImageError
from diptych.media.raw import open_any
from diptych.pipeline import Hybrid

__all__ = ["Second", "second_of"]


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
    hybrid.scorer = _Once(hybrid.scorer)
    return Second(name, hybrid, calibrated=hybrid.knows_each_other)


class _Once(Forwards):
    """Scores each pair of a picture and a text once, and reads the pictures that are given by their paths."""

    def __init__(self, scorer: Any) -> None:
        self._scorer = scorer
        self._known: dict[tuple[Hashable, Hashable], float] = {}
        self._unreadable: set[Hashable] = set()

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
        with ThreadPoolExecutor(THREADS, thread_name_prefix="look") as pool:
            read = list(pool.map(self._read, [images[row] for row in rows.tolist()]))
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
