"""Answers what is asked of a collection: the stage that searches it, its hits as results in plain words."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from typing import Any

import numpy as np

from diptych.core import Floats, Hits, Rows, Run, Side, encodes
from diptych.engine import calibration
from diptych.engine.answers import Missing, best_of, good_enough, results_of
from diptych.engine.arranging import Arrangement
from diptych.engine.filters import checked
from diptych.engine.fusion import DEPTH, Fused, InWords, by_vectors, fused, in_words
from diptych.engine.gallery import Gallery, gallery_of
from diptych.engine.homes.entries import Worded
from diptych.engine.listing import Listing, in_order, listing, with_copies
from diptych.engine.modelless import by_words_alone
from diptych.engine.opening import Opened
from diptych.engine.parts import vectors_of
from diptych.engine.query import Options, as_item, asked_rows, decoded, sides_of
from diptych.engine.reranking import Second, anew, second_of
from diptych.engine.results import Reranked, Results
from diptych.errors import UsageError
from diptych.pipeline import LOOKED_AT, RESCORED, Remembered, encode, over
from diptych.similarity import unit
from diptych.towers.calibration import AVERAGED

__all__ = ["search_many"]


def search_many(opened: Opened, queries: Sequence[Any], options: Options) -> list[Results]:
    """The k best matches of each query; see `Collection.search_many`."""
    return opened.home.again(lambda: _searched(opened, queries, options))


def _searched(opened: Opened, queries: Sequence[Any], options: Options) -> list[Results]:
    if isinstance(queries, str | bytes):
        raise UsageError("search_many takes a list of queries; a single one goes to search")
    if options.model is not None:
        opened = opened.using(options.model)
    options.check(opened.home)
    where = None if options.where is None else checked(options.where, opened.home.field_names())
    items = [as_item(query) for query in queries]
    if not items:
        return []
    worded = [None if options.by == "vectors" else in_words(item) for item in items]
    if options.by == "words":
        return [by_words_alone(opened, *one, options, where) for one in zip(items, worded, strict=True)]
    with _getting_ready(opened, options.to):
        model = opened.loaded()
        second = None
        if options.rerank is not None:
            second = second_of(opened, model, options.rerank, int(options.depth))
        started = time.perf_counter()
        if not encodes(model.encoder, "text") and all(worded):
            return [by_words_alone(opened, *one, options, where) for one in zip(items, worded, strict=True)]
        asked = Remembered([decoded(item, model.encoder) for item in items])
        what = "the query" if len(items) == 1 else f"{len(items)} queries"
        with model.named(what):
            vectors = vectors_of(model.encoder, asked.items, opened.home)
        for system in (model.encoder, *([second.hybrid] if second else [])):
            asked.remember(system, None, vectors)
        model.check_dimensions(vectors, what)
    with opened.home.snapshot():
        gallery, sides = gallery_of(opened, options.to, where), sides_of(items)
        own = [set() if options.itself else asked_rows(item, opened.home, options.to) for item in items]

        def searched(count: int) -> Gallery:
            if options.to != "image" or sides is None or options.exact:
                return gallery
            return gallery.searched_by(opened.home.quick(sides, options.recall, count))

        told = calibration.calibration_of(opened.home, model)
        arranged = Arrangement(opened.home, options, sides)
        mixed = _Mixed(opened, model.encoder, asked, worded, told, arranged, second)
        return _answers(mixed, searched, options, without=own, started=started)


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


class _Mixed:
    """Puts what vectors find into one order with what words find.

    Args:
        opened: What is searched.
        encoder: The system that made the collection's vectors.
        queries: What is asked, pictures decoded.
        worded: What of each query can be looked for as words.
        told: Tells how relevant hits are; see `calibration_of`.
        arranged: In which order they are listed.
        second: What ranks the first hits anew, if anything does.
    """

    def __init__(
        self,
        opened: Opened,
        encoder: Any,
        queries: Remembered,
        worded: Sequence[InWords | None],
        told: Any,
        arranged: Arrangement,
        second: Second | None,
    ) -> None:
        self.opened, self.encoder, self.queries, self.worded = opened, encoder, queries, worded
        self.arranged, self._told, self._second = arranged, told, second
        self._notes: Sequence[Mapping[str, Any]] = ()
        self._words: dict[int, Worded] = {}

    def run(self, gallery: Gallery, k: int) -> list[Fused]:
        """The entries of each query, with at least k by vector among them."""
        if any(self.worded):
            k = max(k, DEPTH)
        system = self._second.hybrid if self._second else self.encoder
        run = over(system, gallery, k, to=gallery.side)(Run(self.queries, gallery))
        assert run.hits is not None
        self._notes = run.notes
        scores = _scores(run, run.hits, cosine=self.encoder.similarity == "cosine")
        found = []
        for at, (places, line) in enumerate(zip(run.hits.rows, scores, strict=True)):
            places, line = places[places >= 0], line[places >= 0]
            if not _is_rescored(run, at):
                order = self.arranged.of_hits(at, gallery, places, line)
                places, line = places[order], line[order]
            found.append(self._mixed(gallery, at, places, line))
        return self._relevant(run, gallery, found)

    def reranked(self, query: int, to: Side) -> Reranked | None:
        """How the first hits of a query were ranked anew."""
        if self._second is None:
            return None
        return self._second.told(to, self._notes[query] if self._notes else {}, len(self.queries))

    def _relevant(self, run: Run, gallery: Gallery, found: Sequence[Fused]) -> list[Fused]:
        """The same with how relevant each is; of a second stage's scores where that is calibrated, too."""
        width = max((len(one.rows) for one in found), default=0)
        nearest = np.full((len(found), width), -np.inf, np.float32)
        orders = []
        for at, one in enumerate(found):  # a hit is judged with the next by vector, whatever the order
            scores = self._by_search(run, at, one)
            orders.append(np.argsort(-scores, kind="stable"))
            nearest[at, : len(scores)] = scores[orders[-1]]
        vectors = encode(self.encoder, self.queries)
        if self.encoder.similarity == "cosine":
            vectors = unit(vectors)
        told = calibration.percentiles(
            self._told, self.queries, vectors, nearest, to=gallery.side, entries=len(gallery)
        )
        judged = []
        for at, one in enumerate(found):
            known = np.full(len(one.rows), np.nan, np.float32)
            known[orders[at]] = told[at, : len(known)]
            if _is_rescored(run, at):
                looked = run.notes[at].get(LOOKED_AT)
                line = self._second.hybrid.rerank_lines.get(gallery.side) if self._second else None
                known = anew(known, one.rows[np.argsort(one.nearest)], looked, line)
            judged.append(replace(one, relevance=known[one.nearest]))
        return judged

    @staticmethod
    def _by_search(run: Run, at: int, one: Fused) -> Floats:
        """The search's own scores (n,) of entries, in the order of `Fused.nearest`."""
        places = np.argsort(one.nearest)
        looked = run.notes[at].get(LOOKED_AT, {}) if run.notes else {}
        scores = one.scores[places].astype(np.float32)
        for place, row in enumerate(one.rows[places].tolist()):
            if row in looked:
                scores[place] = looked[row][0]
        return scores

    def _mixed(self, gallery: Gallery, at: int, places: Rows, scores: Floats) -> Fused:
        words = self.worded[at]
        if words is None:
            return by_vectors(places, scores)
        if at not in self._words:
            self._words[at] = gallery.words(words.text, without=words.without, also=places[:DEPTH])
        vector = encode(self.encoder, self.queries)[at]

        def scored(places: Rows) -> Floats:
            scores = gallery.scores(self.encoder, vector, places)
            return np.clip(scores, -1, 1) if self.encoder.similarity == "cosine" else scores

        return fused(places, scores, self._words[at], scored)


def _answers(
    mixed: _Mixed,
    searched: Callable[[int], Gallery],
    options: Options,
    *,
    without: Sequence[Set[int]],
    started: float,
) -> list[Results]:
    """The k best entries of a gallery for each query, by the stage that `over` makes of the encoder.

    Entries whose files are not there now are left out, and others take their places.

    Args:
        mixed: Searches.
        searched: Gives what is searched, ready for so many hits of each query.
        options: How many are wanted, and which are left out.
        without: For each query, rows that are left out, too.
        started: When the search began, by `time.perf_counter`.
    """
    home, arranged = mixed.opened.home, mixed.arranged
    streams: list[list[int]] = [[] for _ in without]
    missing: Missing | None = None
    # Whatever page it is, the search takes the same steps. A hit is as relevant as it and those after it say.
    wanted = arranged.among + max(map(len, without)) + AVERAGED - 1
    while True:
        gallery = searched(wanted)
        missing = missing or Missing(mixed.opened, gallery)
        every = mixed.run(gallery, wanted)
        found = [one.some(good_enough(one, options.min_score)).first(wanted) for one in every]
        found = [one.some(in_order(stream, one.rows)) for stream, one in zip(streams, found, strict=True)]
        lists = [
            listing(
                missing.here(gallery, one.rows, options.k),
                len(one.rows),
                arranged.needed,
                without=left_out,
                fold=options.fold,
                alike=arranged.alike(gallery, one.rows),
            )
            for one, left_out in zip(found, without, strict=True)
        ]
        short = any(
            len(one.rows) == wanted and not _whole(part, wanted)
            for one, part in zip(found, lists, strict=True)
        )
        if not short or wanted >= len(gallery):
            break
        wanted = min(max(4 * wanted, options.k + missing.away + AVERAGED - 1), len(gallery))
    answered = []
    for at, (one, part) in enumerate(zip(found, lists, strict=True)):
        words = mixed.worded[at]
        # Words and vectors together have no score, but an order.
        by_score = all(by == "vectors" for by in one.by)
        scores = one.scores if by_score else -np.arange(len(one.rows), dtype=np.float32)
        entries = arranged.of_entries(part.entries, gallery, one.rows, scores)
        entries = entries[: options.needed]
        if options.fold:
            entries = with_copies(home, entries, gallery.rows, missing.is_here, without[at])
        results = results_of(home, one, entries, words)
        best = results[:1] or best_of(home, gallery, every[at], missing, words)
        said = any(result.words == 1 for result in results)  # what somebody wrote about it
        weak = all(result.word == "weak" for result in results)
        answered.append(
            Results(
                results[options.offset :],
                nothing_matches=not results or (weak and not said),
                best=best[0] if best else None,
                unknown_words=calibration.unknown_words(mixed.encoder, mixed.queries[at]),
                remark=calibration.remark(mixed.encoder, mixed.queries[at]),
                missing=part.missing,
                reranked=mixed.reranked(at, gallery.side),
                seconds=(time.perf_counter() - started) / len(found),
            )
        )
    return answered


def _whole(part: Listing, looked_at: int) -> bool:
    """Whether further hits change nothing in what is listed, nor in how relevant that is."""
    return part.complete and max(one.place for one in part.entries) <= looked_at - AVERAGED


def _scores(run: Run, hits: Hits, *, cosine: bool) -> Floats:
    """Scores (q, k) of the hits, cosines within [-1, 1]; those of a second stage are no cosines."""
    scores = hits.scores.copy()
    for at, line in enumerate(scores):
        if cosine and not _is_rescored(run, at):
            np.clip(line, -1, 1, out=line, where=np.isfinite(line))
    return scores


def _is_rescored(run: Run, query: int) -> bool:
    return bool(run.notes) and RESCORED in run.notes[query]
