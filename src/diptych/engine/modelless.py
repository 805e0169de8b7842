"""What is asked without a model: by words alone, or for what is newest."""

from __future__ import annotations

import time
from collections.abc import Set
from dataclasses import replace

import numpy as np

from diptych.core import Item, Rows
from diptych.engine.answers import Missing, best_of, good_enough, results_of
from diptych.engine.conditions import Condition
from diptych.engine.filters import checked
from diptych.engine.fusion import Fused, InWords, by_words, in_one_order
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
        every = by_words(replace(worded, rows=np.arange(len(worded.rows))))
        found = _listed(opened, worded.rows, every, options, words, own)
    found.seconds = time.perf_counter() - started
    return found


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
        places = np.empty(len(rows), np.int64)
        places[order] = np.arange(len(rows))
        found = _listed(opened, rows[order], in_one_order(places, "date"), options)
    found.seconds = time.perf_counter() - started
    return found


def _listed(
    opened: Opened,
    rows: Rows,
    every: Fused,
    options: Options,
    words: InWords | None = None,
    without: Set[int] = frozenset(),
) -> Results:
    """The page of entries that is asked for.

    Args:
        opened: The collection.
        rows: (n,) of all entries, ascending.
        every: Their places, best first.
        options: How they are listed.
        words: What was looked for.
        without: Rows that are left out.
    """
    home, gallery = opened.home, Gallery(opened.home, Unseen(rows), options.to, fits=lambda encoder: False)
    found, missing = every.some(good_enough(every, options.min_score)), Missing(opened, gallery)
    there = missing.here(gallery, found.rows, options.needed)
    part = listing(there, len(found.rows), options.needed, without=without, fold=options.fold)
    entries = part.entries
    if options.fold:
        entries = with_copies(home, entries, gallery.rows, missing.is_here, without)
    results = results_of(home, found, entries, words)
    best = results[:1] or best_of(home, gallery, every, missing, words)
    return Results(
        results[options.offset :],
        nothing_matches=not results,
        best=best[0] if best else None,
        missing=part.missing,
    )
