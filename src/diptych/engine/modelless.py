"""What is asked without a model: by words alone, or for what is newest."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from diptych.core import Item
from diptych.engine.answers import Missing, best_of, good_enough, results_of
from diptych.engine.conditions import Condition
from diptych.engine.filters import checked
from diptych.engine.fusion import InWords, by_words, in_one_order
from diptych.engine.gallery import Gallery, Unseen, limited
from diptych.engine.listing import listing, with_copies
from diptych.engine.opening import Opened
from diptych.engine.query import Options, asked_rows
from diptych.engine.results import Results
from diptych.errors import UsageError

__all__ = ["by_words_alone", "newest"]


def by_words_alone(
    opened: Opened, item: Item, words: InWords | None, options: Options, where: Condition | None
) -> Results:
    """What is found by words alone, without the model."""
    if words is None:
        raise UsageError("pictures are compared by their vectors, so ask for words only, or by both")
    started, home, side = time.perf_counter(), opened.home, options.to
    with home.snapshot():
        own = set() if options.itself else asked_rows(item, home, side)
        worded = home.words(side, words.text, without=words.without, within=limited(opened, side, where))
        gallery = Gallery(home, Unseen(worded.rows), side, fits=lambda encoder: False)
        every = by_words(replace(worded, rows=np.arange(len(worded.rows))))
        found, missing = every.some(good_enough(every, options.min_score)), Missing(opened, gallery)
        there = missing.here(gallery, found.rows, options.needed)
        part = listing(there, len(found.rows), options.needed, without=own, fold=options.fold)
        entries = part.entries
        if options.fold:
            entries = with_copies(home, entries, gallery.rows, missing.is_here, own)
        results = results_of(home, found, entries, words)
        best = results[:1] or best_of(home, gallery, every, missing, words)
    return Results(
        results[options.offset :],
        nothing_matches=not results,
        best=best[0] if best else None,
        missing=part.missing,
        seconds=time.perf_counter() - started,
    )


def newest(opened: Opened, options: Options) -> Results:
    """The newest entries of one side; see `Collection.newest`."""
    if options.model is not None:
        opened = opened.using(options.model)
    options.check(opened.home)
    where = None if options.where is None else checked(options.where, opened.home.field_names())
    started, home, side = time.perf_counter(), opened.home, options.to
    with home.snapshot():
        rows = home.newest(side, within=limited(opened, side, where))
        order = np.argsort(rows)
        gallery = Gallery(home, Unseen(rows[order]), side, fits=lambda encoder: False)
        places = np.empty(len(rows), np.int64)
        places[order] = np.arange(len(rows))
        found, missing = in_one_order(places, "date"), Missing(opened, gallery)
        there = missing.here(gallery, found.rows, options.needed)
        part = listing(there, len(found.rows), options.needed, fold=options.fold)
        entries = part.entries
        if options.fold:
            entries = with_copies(home, entries, gallery.rows, missing.is_here, frozenset())
        results = results_of(home, found, entries, None)
    return Results(
        results[options.offset :],
        nothing_matches=not results,
        best=results[0] if results else None,
        missing=part.missing,
        seconds=time.perf_counter() - started,
    )
