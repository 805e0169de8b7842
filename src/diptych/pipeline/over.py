"""How a system becomes a stage: the one place that asks what a system is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from diptych import catalogue
from diptych.core import (
    SIDES,
    Floats,
    Item,
    Rows,
    Searchable,
    Side,
    Stage,
    checked_k,
    encodes,
    offered,
    scores_pairs,
)
from diptych.errors import UsageError
from diptych.index.flat import Flat
from diptych.pipeline.encode import encode
from diptych.pipeline.rerank import Agree, Rerank, standardised
from diptych.pipeline.stages import Exhaustive, Search

__all__ = ["Indexed", "by_vectors", "over"]


@runtime_checkable
class Indexed(Protocol):
    """A gallery of one side that keeps vectors of its entries, such as a collection's."""

    side: Side

    def searchable(self, encoder: Any) -> Searchable | None:
        """What searches the vectors that an encoder made of the entries, by position; None if it has none."""
        ...

    def vectors(self, places: Rows) -> Floats:
        """The vectors (m, d) that it keeps of entries (m,)."""
        ...


def over(
    system: Any, gallery: Sequence[Item], k: int, *, to: Side = "image", index: str | None = None
) -> Stage:
    """The stage that ranks a gallery with a system; the only dispatch on what a system is.

    Args:
        system: An `Encoder` (searched through an index, its first hits ranked anew if it brings a second
            stage), a `Scorer` (every pair is scored), a `Retriever` (brings its own stage), or a ready stage.
        gallery: Entries to rank; an `Indexed` one is searched through the vectors that it keeps.
        k: Hits to keep for each query.
        to: The side of the gallery that is searched: "image" (text queries find images, TqI) or "text" (IqT).
        index: Name of the kind of index that is made of an encoder's vectors; None for the exact one, or
            that of an `Indexed` gallery.

    Raises:
        UsageError: `k` is not positive, the gallery is of the other side, the system is nothing of these, or
            an index is named and the system has no vectors.
        UnknownName, PluginError: there is no such index, or it cannot be used.
    """
    k = checked_k(k)
    if index is not None and not any(by_vectors(system, side) for side in SIDES):
        raise UsageError(
            f"an index holds vectors, and {offered(system, 'name', type(system).__name__)} searches without; "
            "leave it out",
            argument="index",
        )
    if isinstance(system, Stage):
        return system
    if callable(getattr(system, "over", None)):
        stage: Stage = system.over(gallery, k, to)
        return stage
    if isinstance(gallery, Indexed) and gallery.side != to:
        raise UsageError(f"this is a gallery of {gallery.side}s, so it cannot be searched for {to}s")
    # No more hits than entries: the number may come from somebody who wants everything.
    k = min(k, max(len(gallery), 1))
    if any(by_vectors(system, side) for side in SIDES):
        return _searched(system, gallery, k, to, index)
    if scores_pairs(system):
        return Exhaustive(system, k, to=to)
    raise UsageError(f"{type(system).__name__} is no encoder, scorer or retriever, so it cannot search")


def by_vectors(system: Any, side: Side) -> bool:
    """Whether `over` has a system make vectors of a side, rather than leave all to a stage of its own."""
    own = isinstance(system, Stage) or callable(getattr(system, "over", None))
    return not own and encodes(system, side)


def _searched(system: Any, gallery: Sequence[Item], k: int, to: Side, kind: str | None) -> Stage:
    """A search, and what a system in two stages does with its first hits."""
    keeps: Indexed | None = gallery if isinstance(gallery, Indexed) else None
    index = None if keeps is None else keeps.searchable(system)
    if kind is not None:
        everything = np.arange(len(gallery))
        if keeps is None or index is None:
            vectors = encode(system, gallery, side=to)
        else:
            vectors = keeps.vectors(everything)
        made = catalogue.named_by(catalogue.card("index", kind))(vectors.shape[-1], system.similarity)
        made.add(everything, vectors)
        index = made
    elif index is None:
        index = Flat.of(encode(system, gallery, side=to), system.similarity)
    reranked = int(offered(system, "rerank_depth", 0)) if scores_pairs(system) else 0
    agreed = int(offered(system, "agree_depth", 0))
    search = Search(system, index, min(max(k, reranked, agreed), max(len(gallery), 1)))
    stage: Stage = search
    if reranked:
        weight = float(offered(system, "rerank_weights", {}).get(to, 1.0))
        stage = stage >> Rerank(system, reranked, weight=weight, scale=standardised, k=k, to=to)
    if agreed:
        stage = stage >> Agree(system, search, agreed, k=k)
    return stage
