"""Search among very many pictures in PostgreSQL: by a graph of their vectors (HNSW), or by binary codes.

Either finds candidates, which are then compared exactly. How many candidates a recall needs is measured on
queries that were held out, by the very statements that searches use, so that what the graphs miss is counted.
Codes stand in a table of bits beside that of the vectors, with a graph of their own.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diptych.core import Floats, Hits, Rows, Side
from diptych.engine.homes.entries import State
from diptych.engine.homes.local.coded import DEFAULT_RECALL, FEWEST, RECALLS, Hashed, check
from diptych.engine.homes.postgres.vectors import Exact, compared, hits_of
from diptych.errors import DiptychError, UsageError
from diptych.index.codes import Codes

if TYPE_CHECKING:
    from diptych.engine.homes.postgres.home import Postgres

__all__ = ["GRAPH", "Coded", "make_codes"]

GRAPH = "hnsw"
"""What is given for a code length where a graph of the vectors themselves is wanted."""

_K = 10  # hits whose recall is measured
_HELD_OUT = 100  # queries of each kind that it is measured on
_TEACH = 20_000  # pictures that a rotation is learned from
_BLOCK = 8192  # vectors that are encoded at a time
_WIDEST = 1_000  # candidates that pgvector keeps in mind while it walks a graph
_TRIED = (10, 20, 40, 64, 100, 150, 200, 300, 400, 600, 800, _WIDEST)  # candidates that are measured
_MOST_DIMENSIONS = 4_000  # of a halfvec in a graph


def make_codes(home: Postgres, by: int | str, texts: Floats, *, seed: int = 0) -> Mapping[str, Any]:
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
    if by == GRAPH and column.dimensions > _MOST_DIMENSIONS:
        raise UsageError(
            f"a graph of pgvector takes vectors of at most {_MOST_DIMENSIONS} dimensions, and {column.model} "
            f"gives {column.dimensions}; take codes of 512 bits instead"
        )
    rng = np.random.default_rng(seed)
    texts = np.asarray(texts, np.float32)
    order = rng.permutation(len(texts))
    learn, held = texts[order[: len(texts) // 2]], texts[order[len(texts) // 2 :]][:_HELD_OUT]
    drawn = exact.rows[rng.permutation(len(exact.rows))]
    count = min(_HELD_OUT, len(drawn) // 2)
    pictures = exact.of(np.sort(drawn[:count]))
    facts: dict[str, Any] = {
        "bits": 0,
        "made_with": "HNSW of half vectors",
        "id": hashlib.blake2b(f"{GRAPH}:{column.fingerprint}".encode(), digest_size=16).hexdigest(),
        "graph": True,  # of codes without, all are compared
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
    coded = Coded(home)
    coded.fill(anew=True)
    queries: dict[Side, Floats] = {"text": held, "image": pictures}
    facts["calibrations"] = [
        one
        for side, asked in queries.items()
        if len(asked) >= min(FEWEST, _HELD_OUT) // 2
        for one in coded.calibrated(asked, side)
    ]
    keep(home, facts)
    return facts


def keep(home: Postgres, facts: Mapping[str, Any], rotation: str | None = None) -> None:
    """Write down what is known of codes."""
    with home.batch(changes=False):
        home.set(home.of_column("codes"), json.dumps(facts))
        if rotation is not None:
            home.set(home.of_column("codes_rotation"), rotation)


class Coded:
    """The codes or the graph of a column's pictures.

    Args:
        home: Whose column is used.
    """

    def __init__(self, home: Postgres) -> None:
        column = home.column
        assert column is not None, "codes are of a column"
        self._home, self._column = home, column
        self.told = home.get(home.of_column("codes"))
        self.facts: dict[str, Any] = json.loads(self.told or "{}")
        self._whole: tuple[State, bool] | None = None

    @property
    def is_graph(self) -> bool:
        """Whether the vectors themselves are in a graph, and there are no codes."""
        return not self.facts.get("bits")

    @property
    def outgrown(self) -> bool:
        """Whether so many pictures came since that it should be made again."""
        new = np.count_nonzero(self._home.vectors_now("image").rows > self.facts.get("last_row", 0))
        return bool(new > self.facts.get("pictures", 0) / 4)

    @functools.cached_property
    def codes(self) -> Codes | Hashed | None:
        """What makes the codes; None if that is not to be had here, and of a graph."""
        if self.is_graph or self.facts.get("fingerprint") != self._column.fingerprint:
            return None
        try:
            if "system" not in self.facts:
                said = self._home.get(self._home.of_column("codes_rotation")) or ""
                return Codes.from_bytes(base64.b64decode(said))
            if not self._home.believed:
                return None  # nobody else says here what is loaded
            found = Hashed(self.facts["system"], self._column.fingerprint)
        except (DiptychError, ValueError):
            return None  # damaged, deleted, moved or trained anew; exact search serves as well
        return found if found.made_with == self.facts["made_with"] else None

    @property
    def table(self) -> str:
        """That holds the codes."""
        return f"code_{self._column.id}"

    @property
    def usable(self) -> bool:
        """Whether it covers all pictures as this thread sees them."""
        if self.facts.get("fingerprint") != self._column.fingerprint:
            return False
        if self.is_graph:
            return True  # which the server keeps
        if self.codes is None:
            return False
        with self._home.snapshot() as state:
            if self._whole is None or self._whole[0] != state:
                self._whole = state, self._home.covers(self.table, self._column)
            return self._whole[1]

    def fill(self, *, anew: bool = False) -> None:
        """Make the codes that are lacking, and the graph if it is not there."""
        home, column = self._home, self._column
        if self.is_graph:
            home.index_graph(f"vector_{column.id}", "vector halfvec_ip_ops", where="side = 'image'")
            return
        if self.codes is None:
            return
        home.have_codes(self.table, int(self.facts["bits"]), anew=anew)
        exact = home.vectors_now("image")
        lacking = home.without_code(self.table, column)
        for start in range(0, len(lacking), _BLOCK):
            rows = lacking[start : start + _BLOCK]
            home.put_codes(self.table, rows, self.codes.encode(exact.of(rows), "image"))
        if self.facts.get("graph"):
            home.index_graph(self.table, "code bit_hamming_ops")
        self._whole = None

    def calibrated(self, queries: Floats, side: Side) -> Iterator[dict[str, Any]]:
        """The fewest candidates with which each recall is reached; none for one that is not.

        Args:
            queries: (q, d) of that side.
            side: "text" or "image".
        """
        exact: Exact = self._home.vectors_now("image")
        expected = exact.search(queries, _K).rows
        left = list(RECALLS)
        for count in _TRIED:
            found = Quick(self, {side: count}, [side] * len(queries)).search(queries, _K).rows
            recall = float(
                np.mean([np.isin(one, two).mean() for one, two in zip(expected, found, strict=True)])
            )
            while left and recall >= left[0]:
                yield {
                    "side": side,
                    "recall": left.pop(0),
                    "candidates": count,
                    "gallery": len(exact.rows),
                    "k": _K,
                }

    def asked(self, sides: Sequence[Side], recall: float | None, k: int) -> Quick | None:
        """What searches for queries of these sides; None if only exact search promises the recall."""
        if not self.usable:
            return None
        parts: dict[Side, int] = {}
        for side in dict.fromkeys(sides):
            known = [
                one
                for one in self.facts.get("calibrations", [])
                if one["side"] == side and one["recall"] >= (recall or DEFAULT_RECALL)
            ]
            if not known or k > 10 * known[0]["k"]:
                return None
            chosen = min(known, key=lambda one: one["recall"])
            # A collection that grew needs as many more; more hits than were calibrated need more, too.
            grown = len(self._home.vectors_now("image").rows) / max(chosen["gallery"], 1)
            parts[side] = math.ceil(chosen["candidates"] * max(grown, 1.0) * max(1.0, k / chosen["k"]))
        if any(count > _WIDEST for count in parts.values()) and self.facts.get("graph"):
            return None
        return Quick(self, parts, list(sides))

    def best(self, query: Floats, side: Side, count: int, k: int, within: Rows | None) -> NDArray[Any]:
        """The k best rows of a query (d,) among so many candidates, and their scores."""
        from pgvector import Bit, HalfVector, Vector

        vectors = f"vector_{self._column.id}"
        if self.is_graph:
            near = f"SELECT row FROM {vectors} WHERE side = 'image' ORDER BY vector <#> %s LIMIT %s"
            first: Any = HalfVector(query.astype(np.float16))
        else:
            assert self.codes is not None, "it is usable"
            # By an expression that no index has, where all codes are to be compared.
            apart = "code <~> %s" if self.facts.get("graph") else "(code <~> %s) + 0"
            near = f"SELECT row FROM {self.table} ORDER BY {apart} LIMIT %s"
            first = Bit(self.codes.encode(query[None], side)[0].tobytes())
        which, values = ("", []) if within is None else (" WHERE row = ANY(%s)", [within])
        with self._home.snapshot():
            if self.facts.get("graph"):
                self._home.walk_widely(min(max(count, k), _WIDEST))
            return self._home.scored(
                f"WITH near AS MATERIALIZED ({near}) SELECT row, -(vector::vector <#> %s) AS score "
                f"FROM near JOIN {vectors} USING (row){which} ORDER BY score DESC, row LIMIT %s",
                first, max(count, k), Vector(query), *values, k,
            )  # fmt: skip


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
        exact: Exact = coded._home.vectors_now("image")
        queries = compared(np.asarray(vectors, np.float32), coded._column)
        among = None if within is None else np.asarray(within, np.int64)
        # Of few that may be found, as many more have to be looked at as there are others.
        share = 1.0 if among is None else max(len(among), 1) / max(len(exact.rows), 1)
        found = []
        for query, side in zip(queries, self._sides, strict=True):
            count = math.ceil(self._parts[side] / share)
            if among is not None and (len(among) <= count or count > _WIDEST):
                found.append(exact.best(query, k, among))
                continue
            lines = coded.best(query, side, count, k, among)
            if among is not None and len(lines) < k:  # what was asked lies far from all that may be found
                lines = exact.best(query, k, among)
            found.append(lines[np.isin(lines["row"], exact.rows)])
        return hits_of(found, k)
