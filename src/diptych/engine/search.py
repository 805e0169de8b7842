"""Answers what is asked of a collection: the stage that searches it, its hits as results in plain words."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych.core import Floats, Hits, Rows, Run, Side
from diptych.engine import calibration
from diptych.engine.filters import checked
from diptych.engine.gallery import Gallery, gallery_of
from diptych.engine.homes.base import Stored
from diptych.engine.opening import Opened
from diptych.engine.presence import Presence
from diptych.engine.query import Options, as_item, decoded, sides_of
from diptych.engine.results import Result, Results, Word
from diptych.errors import UsageError
from diptych.media.metadata import shown
from diptych.pipeline import RESCORED, Remembered, encode, over
from diptych.similarity import unit
from diptych.towers.calibration import AVERAGED

__all__ = ["search_many"]

_LOOKED_AT = 64  # hits that are read at a time


def search_many(opened: Opened, queries: Sequence[Any], options: Options) -> list[Results]:
    """The k best matches of each query; see `Collection.search_many`."""
    if isinstance(queries, str | bytes):
        raise UsageError("search_many takes a list of queries; a single one goes to search")
    if options.model is not None:
        opened = opened.using(options.model)
    options.check(opened.home)
    where = None if options.where is None else checked(options.where, opened.home.field_names())
    items = [as_item(query) for query in queries]
    if not items:
        return []
    with _getting_ready(opened, options.to):
        model = opened.loaded()
        started = time.perf_counter()
        asked = Remembered([decoded(item, model.encoder) for item in items])
        what = "the query" if len(items) == 1 else f"{len(items)} queries"
        with model.named(what):
            vectors = encode(model.encoder, asked)
        model.check_dimensions(vectors, what)
    with opened.home.snapshot():
        gallery, sides = gallery_of(opened, options.to, where), sides_of(items)

        def searched(count: int) -> Gallery:
            if options.to != "image" or sides is None or options.exact:
                return gallery
            return gallery.searched_by(opened.home.quick(sides, options.recall, count))

        told = calibration.calibration_of(opened.home, model)
        return _answers(opened, model.encoder, searched, asked, options, told, started=started)


@contextlib.contextmanager
def _getting_ready(opened: Opened, to: Side) -> Iterator[None]:
    """Before the first search of a side, open its search files while the block loads the model."""
    if opened.is_loaded:
        yield
        return
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as beside:
        ready = beside.submit(opened.home.get_ready, to)
        yield
        ready.result()


def _answers(
    opened: Opened,
    encoder: Any,
    searched: Callable[[int], Gallery],
    queries: Remembered,
    options: Options,
    told: Any,
    *,
    started: float,
) -> list[Results]:
    """The k best entries of a gallery for each query, by the stage that `over` makes of the encoder.

    Entries whose files are not there now are left out, and others take their places.

    Args:
        opened: What is searched.
        encoder: The system that made the collection's vectors.
        searched: Gives what is searched, ready for so many hits of each query.
        queries: What is asked, pictures decoded.
        options: How many are wanted, and which are left out.
        told: Tells how relevant hits are; see `calibration_of`.
        started: When the search began, by `time.perf_counter`.
    """
    k = options.k
    missing: _Missing | None = None
    wanted = k + AVERAGED - 1  # a hit is as relevant as it and those after it say
    while True:
        gallery = searched(wanted)
        missing = missing or _Missing(opened, gallery)
        run = over(encoder, gallery, wanted, to=gallery.side)(Run(queries, gallery))
        assert run.hits is not None
        scores = _scores(run, run.hits, cosine=encoder.similarity == "cosine")
        relevance = _percentiles(run, told, encoder, scores, gallery)
        real = run.hits.rows >= 0
        good = real & _good(scores, np.where(real, relevance, 0), options.min_score)
        here = [missing.first(gallery, rows[one], k) for rows, one in zip(run.hits.rows, good, strict=True)]
        counts = good.sum(axis=1)
        short = any(
            count == wanted and (len(there) < k or max(there) > wanted - AVERAGED)
            for count, there in zip(counts, here, strict=True)
        )
        if not short or wanted >= len(gallery):
            break
        wanted = min(max(2 * k, 4 * wanted, k + missing.away + AVERAGED - 1), len(gallery))
    answered = []
    for at, found in enumerate(here):
        there = list(found)
        places = np.flatnonzero(good[at])[there]
        results = _results(list(found.values()), scores[at][places], relevance[at][places])
        best = results[:1]
        if not results:
            first = missing.first(gallery, run.hits.rows[at][real[at]], 1)
            places = np.flatnonzero(real[at])[list(first)]
            best = _results(list(first.values()), scores[at][places], relevance[at][places])
        answered.append(
            Results(
                results,
                nothing_matches=not results or results[0].word == "weak",
                best=best[0] if best else None,
                unknown_words=calibration.unknown_words(encoder, queries[at]),
                missing=(there[-1] + 1 if len(there) == k else int(counts[at])) - len(there),
                seconds=(time.perf_counter() - started) / len(queries),
            )
        )
    return answered


def _percentiles(run: Run, told: Any, encoder: Any, scores: Floats, gallery: Gallery) -> Floats:
    """How relevant hits are (q, k), NaN where that is not known, as of a second stage."""
    vectors = encode(encoder, run.queries)
    if encoder.similarity == "cosine":
        vectors = unit(vectors)
    found = calibration.percentiles(told, run.queries, vectors, scores, to=gallery.side, entries=len(gallery))
    found[[_is_rescored(run, at) for at in range(len(found))]] = np.nan
    return found


def _good(scores: Floats, relevance: Floats, least: float | Word | None) -> NDArray[np.bool_]:
    """Which hits (q, k) score enough, or are relevant enough.

    Raises:
        UsageError: a word is asked for and hits have none.
    """
    if isinstance(least, str):
        if np.isnan(relevance).any():
            raise UsageError(
                f"these results are not calibrated, so none is known to be {least}; give the lowest score as "
                "a number"
            )
        return np.asarray(relevance >= calibration.LEAST[least])
    return np.asarray(scores >= (-np.inf if least is None else least))


class _Missing:
    """Passes over entries whose files are not there; of a whole folder that is away it looks at one only.

    Args:
        opened: Of which collection.
        gallery: Its entries.
    """

    def __init__(self, opened: Opened, gallery: Gallery) -> None:
        self._presence, self._root = Presence(), opened.folder
        self._folders: set[Path] = set()
        self._away = np.zeros(len(gallery), np.bool_)

    @property
    def away(self) -> int:
        """How many entries are known to be in folders that are away."""
        return int(np.count_nonzero(self._away))

    def first(self, gallery: Gallery, hits: Rows, k: int) -> dict[int, Stored]:
        """Places among the hits (m,) of the first k that are there, and what is stored of them."""
        here: dict[int, Stored] = {}
        at = 0
        while at < len(hits) and len(here) < k:
            part = at + np.flatnonzero(~self._away[hits[at:]])[: max(k, _LOOKED_AT)]
            for place, stored in zip(part.tolist(), gallery.stored(hits[part]), strict=True):
                if self._away[hits[place]]:
                    continue
                found = "here" if stored.path is None else self._presence.of(stored.path)
                if found == "here":
                    here[place] = stored
                    if len(here) == k:
                        break
                elif found == "away" and stored.path is not None:
                    self._leave_out(gallery, stored.path)
            at = int(part[-1]) + 1 if len(part) else len(hits)
        return here

    def _leave_out(self, gallery: Gallery, path: Path) -> None:
        folder = self._presence.folder_away(path, below=self._root)
        if folder is not None and folder not in self._folders:
            self._folders.add(folder)
            self._away[gallery.below(folder)] = True


def _scores(run: Run, hits: Hits, *, cosine: bool) -> Floats:
    """Scores (q, k) of the hits, cosines within [-1, 1]; those of a second stage are no cosines."""
    scores = hits.scores.copy()
    for at, line in enumerate(scores):
        if cosine and not _is_rescored(run, at):
            np.clip(line, -1, 1, out=line, where=np.isfinite(line))
    return scores


def _is_rescored(run: Run, query: int) -> bool:
    return bool(run.notes) and RESCORED in run.notes[query]


def _results(stored: Sequence[Stored], scores: Floats, relevance: Floats) -> list[Result]:
    """Results in the order of the hits."""
    results = []
    for at, (entry, score, known) in enumerate(zip(stored, scores.tolist(), relevance.tolist(), strict=True)):
        text = "\n".join(entry.captions) or None if entry.side == "image" else entry.text
        meta = shown(entry.fields) | ({"source": entry.source} if entry.source else {})
        percentile = None if np.isnan(known) else known
        word = calibration.word(percentile)
        results.append(Result(at + 1, score, percentile, word, entry.side, entry.id, entry.path, text, meta))
    return results
