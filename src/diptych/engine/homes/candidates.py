"""Search on a server among very many pictures: candidates by a graph or by binary codes, compared exactly.

What finds the candidates is each server's own: a graph of the vectors (HNSW), or codes. How many candidates a
recall needs is measured on queries that were held out, by the very requests that searches make, so that what
the graphs miss is counted. What is known of either stands in the record, with the rotation of the codes.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from diptych import similarity
from diptych.core import Floats, Hits, Rows, Searchable, Side
from diptych.engine.homes.base import Home, Vectors
from diptych.engine.homes.entries import VectorColumn
from diptych.engine.homes.local.coded import (
    DEFAULT_RECALL,
    FEWEST,
    HELD_OUT,
    RECALLS,
    Hashed,
    check,
    like_asked,
    needed,
)
from diptych.errors import DiptychError, UsageError
from diptych.index.codes import Codes
from diptych.index.two_stage import lower_end, without

__all__ = ["FOUND", "GRAPH", "Coded", "Coding", "Exact", "WithCodes", "compared", "hits_of", "keep"]

GRAPH = "hnsw"
"""What is given for a code length where a graph of the vectors themselves is wanted."""

FOUND = np.dtype([("row", np.int64), ("score", np.float32)])
"""What is found for one query: rows and their scores, the best first, ties by row."""

_K = 10  # hits whose recall is measured
_TEACH = 20_000  # pictures that a rotation is learned from


class Exact(Vectors, Protocol):
    """The vectors of one side in one state, compared exactly."""

    def best(self, query: Floats, k: int, within: Rows | None) -> NDArray[Any]:
        """The k best rows of one query (d,), as it is compared, and their scores: "row" and "score"."""
        ...


class Coded(ABC):
    """The codes or the graph of a column's pictures.

    Args:
        home: Whose column is used.

    Attributes:
        MADE_WITH: What a graph is said to be.
        CODES_IN_GRAPH: Whether codes have a graph of their own; else all of them are compared.
        TRIED: Numbers of candidates that are measured, ascending.
        WIDEST: Candidates beyond which a graph is not walked.
    """

    MADE_WITH: ClassVar[str]
    CODES_IN_GRAPH: ClassVar[bool]
    TRIED: ClassVar[Sequence[int]]
    WIDEST: ClassVar[int]

    def __init__(self, home: Coding) -> None:
        column = home.column
        assert column is not None, "codes are of a column"
        self.home, self.column = home, column
        self.told = home.get(home.of_column("codes"))
        self.facts: dict[str, Any] = json.loads(self.told or "{}")

    # What a server does in its own way

    @classmethod
    @abstractmethod
    def check_graph(cls, column: VectorColumn) -> None:
        """See that the server takes the vectors of a column into a graph.

        Raises:
            UsageError: it does not.
        """

    @property
    def most(self) -> float:
        """Candidates that can be asked for."""
        return self.WIDEST if self.facts.get("graph") else math.inf

    @property
    @abstractmethod
    def usable(self) -> bool:
        """Whether it covers all pictures as this thread sees them."""

    @abstractmethod
    def fill(self, *, anew: bool = False) -> None:
        """Make the codes that are lacking, and the graph if it is not there.

        Args:
            anew: Whether codes that are there are of others.
        """

    @abstractmethod
    def best(
        self, queries: Floats, side: Side, count: int, k: int, within: Rows | None
    ) -> list[NDArray[Any]]:
        """The k best rows of each query (q, d) among so many candidates, and their scores (`FOUND`)."""

    # What is the same on all

    @property
    def is_graph(self) -> bool:
        """Whether the vectors themselves are in a graph, and there are no codes."""
        return not self.facts.get("bits")

    @property
    def outgrown(self) -> bool:
        """Whether so many pictures came since that it should be made again."""
        new = np.count_nonzero(self.home.vectors_now("image").rows > self.facts.get("last_row", 0))
        return bool(new > self.facts.get("pictures", 0) / 4)

    @functools.cached_property
    def codes(self) -> Codes | Hashed | None:
        """What makes the codes; None if that is not to be had here, and of a graph."""
        if self.is_graph or self.facts.get("fingerprint") != self.column.fingerprint:
            return None
        try:
            if "system" not in self.facts:
                said = self.home.get(self.home.of_column("codes_rotation")) or ""
                return Codes.from_bytes(base64.b64decode(said))
            if not self.home.believed:
                return None  # nobody else says here what is loaded
            found = Hashed(self.facts["system"], self.column.fingerprint)
        except (DiptychError, ValueError):
            return None  # damaged, deleted, moved or trained anew; exact search serves as well
        return found if found.made_with == self.facts["made_with"] else None

    def calibrated(self, queries: Floats, side: Side, own: Rows | None = None) -> Iterator[dict[str, Any]]:
        """The fewest candidates with which each recall is reached; none for one that is not.

        With the margin of `diptych.index.two_stage.calibrations`. A query that has found all of its hits is
        not asked again with more candidates.

        Args:
            queries: (q, d) of that side.
            side: "text" or "image".
            own: (q) rows of the queries where they are pictures of the home; what finds itself finds that for
                nothing, so each is left out of its own hits.
        """
        exact = self.home.vectors_now("image")
        more = int(own is not None)
        k = min(_K, len(exact.rows) - more)
        if k < 1:
            return

        def others(found: Rows, at: Any) -> Rows:
            return found if own is None else without(found, own[at])

        expected = others(exact.search(queries, k + more).rows, slice(None))
        shares = np.zeros(len(queries))
        left = list(RECALLS)
        for count in self.TRIED:
            at = np.flatnonzero(shares < 1)
            if len(at):
                found = Quick(self, {side: count}, [side] * len(at)).search(queries[at], k + more).rows
                pairs = zip(expected[at], others(found, at), strict=True)
                shares[at] = [np.isin(true, some).mean() for true, some in pairs]
            while left and lower_end(shares, k) >= left[0]:
                yield {
                    "side": side,
                    "recall": left.pop(0),
                    "candidates": count,
                    "gallery": len(exact.rows),
                    "k": k,
                }
            if not left:
                return

    def asked(self, sides: Sequence[Side], recall: float | None, k: int) -> Quick | None:
        """What searches for queries of these sides; None if only exact search promises the recall."""
        if not self.usable:
            return None
        parts: dict[Side, int] = {}
        for side in dict.fromkeys(sides):
            count = needed(
                self.facts,
                side,
                recall or DEFAULT_RECALL,
                k,
                lambda: len(self.home.vectors_now("image").rows),
            )
            if count is None or count > self.most:
                return None
            parts[side] = count
        return Quick(self, parts, list(sides))


class Quick:
    """A `Searchable` for one batch of queries, each searched as its own side was calibrated.

    Args:
        coded: Searches.
        parts: How many candidates queries of a side need.
        sides: (q) sides of the queries.
    """

    def __init__(self, coded: Coded, parts: Mapping[Side, int], sides: Sequence[Side]) -> None:
        self._coded, self._parts, self._sides = coded, parts, sides

    def search(self, vectors: NDArray[Any], k: int, within: Rows | None = None) -> Hits:
        """The k best rows of each query (q, d), in the order of `sides`; only rows of `within`, if given."""
        coded = self._coded
        exact: Exact = coded.home.vectors_now("image")
        queries = compared(np.asarray(vectors, np.float32), coded.column)
        among = None if within is None else np.asarray(within, np.int64)
        # Of few that may be found, as many more have to be looked at as there are others.
        share = 1.0 if among is None else max(len(among), 1) / max(len(exact.rows), 1)
        found: list[Any] = [None] * len(queries)
        for side, part in self._parts.items():
            at = np.flatnonzero([one == side for one in self._sides])
            count = math.ceil(part / share)
            if among is not None and (len(among) <= count or count > coded.WIDEST):
                lines = [exact.best(query, k, among) for query in queries[at]]
            else:
                lines = coded.best(queries[at], side, count, k, among)
            for number, some in zip(at, lines, strict=True):
                if among is not None and len(some) < k:  # what was asked lies far from all that may be found
                    some = exact.best(queries[number], k, among)
                found[number] = some[np.isin(some["row"], exact.rows)]
        return hits_of(found, k)


class Coding(Home, Protocol):
    """A home that has codes as `WithCodes` has them."""

    known_codes: dict[VectorColumn, Coded]

    @property
    def coded_by(self) -> type[Coded]:
        """How its server searches with them."""
        ...

    def vectors_now(self, side: Side) -> Exact:
        """The vectors of a side as this thread sees them now."""
        ...

    def coded(self, told: str) -> Coded:
        """Search by codes or a graph."""
        ...


class WithCodes:
    """What a home on a server answers about codes and graphs.

    Attributes:
        coded_by: How that server searches with them.
        known_codes: Those that were asked for, by column.
    """

    coded_by: type[Coded]
    known_codes: dict[VectorColumn, Coded]

    @property
    def codes(self: Coding) -> Mapping[str, Any] | None:
        """What is known of the pictures' codes or graph; None if there are none."""
        told = self.get(self.of_column("codes"))
        return None if told is None else self.coded(told).facts or None

    def coded(self: Coding, told: str) -> Coded:
        """Search by codes or a graph.

        Args:
            told: What is said of them now, which another process may have made again.
        """
        column = self.column
        assert column is not None, "codes are of a column"
        if column not in self.known_codes or self.known_codes[column].told != told:
            self.known_codes[column] = self.coded_by(self.using(column))
        return self.known_codes[column]

    def packed(self: Coding) -> tuple[Rows, NDArray[np.uint8]] | None:
        """Rows (n,) of the pictures, ascending, and their codes (n, bits / 8); None if there are none."""
        column, told = self.column, self.get(self.of_column("codes"))
        if column is not None and column.type == "bits":
            return self.vectors_now("image").stored()
        made = None if told is None else self.coded(told).codes
        if made is None:
            return None
        rows, vectors = self.vectors_now("image").stored()
        return rows, made.encode(vectors.astype(np.float32), "image")

    def quick(self: Coding, sides: Sequence[Side], recall: float | None, k: int) -> Searchable | None:
        """What searches pictures by codes or a graph; None if only exact search promises the recall."""
        told = self.get(self.of_column("codes"))
        return None if told is None else self.coded(told).asked(sides, recall, k)

    def make_codes(
        self: Coding, by: int | str, encode_texts: Callable[[Sequence[str]], Floats]
    ) -> Mapping[str, Any]:
        """Give the pictures codes or a graph; see `Collection.make_codes`."""
        return _make(self, by, like_asked(self, encode_texts))

    def keep_codes(self: Coding, encode_texts: Callable[[Sequence[str]], Floats]) -> None:
        """Make codes of what came new; learn and calibrate them again where that is much."""
        told = self.get(self.of_column("codes"))
        if told is None or not self.last_row("image"):
            return
        coded = self.coded(told)
        if coded.outgrown and (coded.is_graph or coded.codes is not None):
            self.make_codes(coded.facts.get("system", coded.facts["bits"] or GRAPH), encode_texts)
        else:
            coded.fill()

    def take_codes(self: Coding, other: Home) -> None:
        """Have codes as another home has them, whose vectors are of the same model; the caller may write."""
        facts = other.codes
        if facts is None or self.codes is not None:
            return
        told = {**facts, "last_row": self.last_row("image"), "graph": not facts["bits"]}
        keep(self, told, other.get(other.of_column("codes_rotation")) or "")
        self.coded_by(self).fill(anew=True)


def _make(home: Coding, by: int | str, texts: Floats, *, seed: int = 0) -> Mapping[str, Any]:
    """Make codes or a graph of the pictures and calibrate them; see `Collection.make_codes`.

    Args:
        home: Whose pictures; the caller may write.
        by: Code length, run folder of a hashing system, or `GRAPH`.
        texts: (m, d) vectors of texts like those that are asked for.
        seed: Of every draw.

    Raises:
        UsageError: there is no picture yet, or no such codes.
    """
    if by != GRAPH:
        check(by)
    column, exact = home.column, home.vectors_now("image")
    if column is None or not len(exact.rows):
        raise UsageError("codes are learned from pictures, and none is indexed yet; index a folder first")
    kind = home.coded_by
    if by == GRAPH:
        kind.check_graph(column)
    rng = np.random.default_rng(seed)
    texts = np.asarray(texts, np.float32)
    order = rng.permutation(len(texts))
    learn, held = texts[order[: len(texts) // 2]], texts[order[len(texts) // 2 :]][:HELD_OUT]
    drawn = exact.rows[rng.permutation(len(exact.rows))]
    count = min(HELD_OUT, len(drawn) // 2)
    own = np.sort(drawn[:count])
    facts: dict[str, Any] = {
        "bits": 0,
        "made_with": kind.MADE_WITH,
        "id": hashlib.blake2b(f"{GRAPH}:{column.fingerprint}".encode(), digest_size=16).hexdigest(),
        "graph": by == GRAPH or kind.CODES_IN_GRAPH,  # of codes without, all are compared
        "pictures": len(exact.rows),
        "last_row": int(exact.rows[-1]),
        "texts": len(texts),
        "fingerprint": column.fingerprint,
        "calibrations": [],
    }
    rotation = b""
    if by != GRAPH:
        codes: Codes | Hashed = (
            Codes.fit(by, exact.of(np.sort(drawn[count:][:_TEACH])), learn, seed=seed)
            if isinstance(by, int)
            else Hashed(by, column.fingerprint)
        )
        rotation = codes.to_bytes() if isinstance(codes, Codes) else b""
        facts |= {"bits": codes.bits, "made_with": codes.made_with}
        facts["id"] = hashlib.blake2b(rotation or codes.made_with.encode(), digest_size=16).hexdigest()
        if isinstance(codes, Hashed):
            facts["system"] = codes.path
    keep(home, facts, base64.b64encode(rotation).decode("ascii"))
    coded = kind(home)
    coded.fill(anew=True)
    queries: dict[Side, tuple[Floats, Rows | None]] = {"text": (held, None), "image": (exact.of(own), own)}
    facts["calibrations"] = [
        one
        for side, (asked, rows) in queries.items()
        if len(asked) >= FEWEST
        for one in coded.calibrated(asked, side, rows)
    ]
    keep(home, facts)
    return facts


def keep(home: Home, facts: Mapping[str, Any], rotation: str | None = None) -> None:
    """Write down what is known of codes."""
    with home.batch(changes=False):
        home.set(home.of_column("codes"), json.dumps(facts))
        if rotation is not None:
            home.set(home.of_column("codes_rotation"), rotation)


def compared(queries: Floats, column: VectorColumn) -> Floats:
    """Queries (q, d) as they are compared."""
    return similarity.unit(queries) if column.similarity == "cosine" else queries


def hits_of(found: list[NDArray[Any]], k: int) -> Hits:
    """Hits (q, k) of what was found for each query; -1 and -inf where there are fewer."""
    hits = Hits(np.full((len(found), k), -1, np.int64), np.full((len(found), k), -np.inf, np.float32))
    for at, lines in enumerate(found):
        hits.rows[at, : len(lines)] = lines["row"]
        hits.scores[at, : len(lines)] = lines["score"]
    return hits
