"""Answers what is asked of a collection: the stage that searches it, its hits as results in plain words."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from diptych.core import Floats, Hits, Run, Side
from diptych.engine import calibration
from diptych.engine.gallery import Gallery, gallery_of
from diptych.engine.homes.base import Stored
from diptych.engine.opening import Opened
from diptych.engine.presence import Presence
from diptych.engine.query import Options, as_item, decoded, sides_of
from diptych.engine.results import Result, Results
from diptych.errors import UsageError
from diptych.pipeline import RESCORED, Remembered, encode, over

__all__ = ["search_many"]


def search_many(opened: Opened, queries: Sequence[Any], options: Options) -> list[Results]:
    """The k best matches of each query; see `Collection.search_many`."""
    if isinstance(queries, str | bytes):
        raise UsageError("search_many takes a list of queries; a single one goes to search")
    options.check(opened.home)
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
        gallery, sides = gallery_of(opened, options.to), sides_of(items)

        def searched(count: int) -> Gallery:
            if options.to != "image" or opened.below is not None or sides is None or options.exact:
                return gallery
            return gallery.searched_by(opened.home.quick(sides, options.recall, count))

        return _answers(model.encoder, searched, asked, options, started=started)


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
    encoder: Any,
    searched: Callable[[int], Gallery],
    queries: Remembered,
    options: Options,
    *,
    started: float,
) -> list[Results]:
    """The k best entries of a gallery for each query, by the stage that `over` makes of the encoder.

    Entries whose files are not there now are left out, and others take their places.

    Args:
        encoder: The system that made the collection's vectors.
        searched: Gives what is searched, ready for so many hits of each query.
        queries: What is asked, pictures decoded.
        options: How many are wanted, and which are left out.
        started: When the search began, by `time.perf_counter`.
    """
    presence, k, wanted = Presence(), options.k, options.k
    lowest = -np.inf if options.min_score is None else options.min_score
    while True:
        gallery = searched(wanted)
        run = over(encoder, gallery, wanted, to=gallery.side)(Run(queries, gallery))
        assert run.hits is not None
        scores = _scores(run, run.hits, cosine=encoder.similarity == "cosine")
        real = (run.hits.rows >= 0) & (scores >= lowest)
        entries = [gallery.stored(rows[one]) for rows, one in zip(run.hits.rows, real, strict=True)]
        here = [_here(found, k, presence) for found in entries]
        short = any(
            len(found) == wanted and len(there) < k for found, there in zip(entries, here, strict=True)
        )
        if not short or wanted >= len(gallery):
            break
        wanted = min(max(2 * k, 4 * wanted), len(gallery))
    chances = calibration.probabilities(
        encoder, encode(encoder, queries), scores, to=gallery.side, entries=len(gallery)
    )
    answered = []
    for at, (found, there) in enumerate(zip(entries, here, strict=True)):
        places = np.flatnonzero(real[at])[there]
        told: list[float | None] = [None] * len(places)
        if chances is not None and not _is_rescored(run, at):
            told = chances[at][places].tolist()
        results = _results([found[one] for one in there], scores[at][places].tolist(), told)
        missing = (there[-1] + 1 if len(there) == k else len(found)) - len(there)
        nothing = not results or calibration.nothing_matches(told[0])
        seconds = (time.perf_counter() - started) / len(queries)
        answered.append(Results(results, nothing_matches=nothing, missing=missing, seconds=seconds))
    return answered


def _here(stored: Sequence[Stored], k: int, presence: Presence) -> list[int]:
    """Places of the first k entries whose files are there."""
    there = (at for at, one in enumerate(stored) if presence.of(one.path) == "here")
    return list(itertools.islice(there, k))


def _scores(run: Run, hits: Hits, *, cosine: bool) -> Floats:
    """Scores (q, k) of the hits, cosines within [-1, 1]; those of a second stage are no cosines."""
    scores = hits.scores.copy()
    for at, line in enumerate(scores):
        if cosine and not _is_rescored(run, at):
            np.clip(line, -1, 1, out=line, where=np.isfinite(line))
    return scores


def _is_rescored(run: Run, query: int) -> bool:
    return bool(run.notes) and RESCORED in run.notes[query]


def _results(
    stored: Sequence[Stored], scores: Sequence[float], chances: Sequence[float | None]
) -> list[Result]:
    """Results in the order of the hits."""
    results = []
    for at, (entry, score, chance) in enumerate(zip(stored, scores, chances, strict=True)):
        text = "\n".join(entry.captions) or None if entry.side == "image" else entry.text
        meta = {"source": entry.source} if entry.source else {}
        word = calibration.word(chance)
        results.append(Result(at + 1, score, chance, word, entry.side, entry.id, entry.path, text, meta))
    return results
