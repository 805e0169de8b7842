"""How many candidates a search on a server needs: what is promised is kept by other queries, too."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from diptych.core import Floats, Hits, Rows, Side
from diptych.engine.homes.candidates import FOUND, Coded, hits_of

PICTURES, DIMENSIONS = 800, 16


class Vectors:
    """Pictures that are compared exactly, as a home has them."""

    def __init__(self, vectors: Floats) -> None:
        self.vectors, self.rows = vectors, 3 * np.arange(len(vectors)) + 1

    def of(self, rows: Rows) -> Floats:
        return self.vectors[np.searchsorted(self.rows, rows)]

    def best(self, query: Floats, k: int, within: Rows | None = None) -> Any:
        scores = self.vectors @ query
        order = np.argsort(-scores, kind="stable")[:k]
        return np.array(list(zip(self.rows[order], scores[order], strict=True)), FOUND)

    def search(self, queries: Floats, k: int, within: Rows | None = None) -> Hits:
        return hits_of([self.best(query, k) for query in queries], k)


class Missing(Coded):
    """Finds a picture itself always, and of the other hits more with more candidates."""

    MADE_WITH, CODES_IN_GRAPH, WIDEST, TRIED = "chance", False, 1000, (10, 20, 40, 80, 160, 320, 640)

    def __init__(self, vectors: Vectors, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.home: Any = SimpleNamespace(vectors_now=lambda side: vectors)
        self.column: Any = SimpleNamespace(similarity="dot")
        self.asked, self.draw = 0, 1e5 * (1 + self.rng.random())

    @classmethod
    def check_graph(cls, column: Any) -> None: ...

    @property
    def usable(self) -> bool:
        return True

    def fill(self, *, anew: bool = False) -> None: ...

    def best(self, queries: Floats, side: Side, count: int, k: int, within: Rows | None) -> list[Any]:
        self.asked += len(queries)
        lines = [self.home.vectors_now("image").best(query, k) for query in queries]
        for query, some in zip(queries, lines, strict=True):
            luck = np.modf(self.draw * some["score"].astype(np.float64))[0] % 1
            known = np.isclose(some["score"], query @ query) | (luck < chance(count))
            some["row"][~known] = -1
        return lines


def chance(count: int) -> float:
    return 1 - 0.5 / count


@pytest.fixture(scope="module")
def vectors() -> Vectors:
    drawn = np.random.default_rng(0).standard_normal((PICTURES, DIMENSIONS)).astype(np.float32)
    return Vectors(drawn / np.linalg.norm(drawn, axis=1, keepdims=True))


@pytest.mark.parametrize("side", ["text", "image"])
def test_what_is_promised_is_found_by_queries_that_were_not_asked(vectors: Vectors, side: Any) -> None:
    for seed in range(10):
        coded = Missing(vectors, seed)
        own = np.sort(coded.rng.permutation(vectors.rows)[:300])
        asked = coded.rng.standard_normal((300, DIMENSIONS)).astype(np.float32)
        made = list(
            coded.calibrated(asked, side) if side == "text" else coded.calibrated(vectors.of(own), side, own)
        )
        assert [one["recall"] for one in made[:3]] == [0.9, 0.95, 0.98]
        for one in made:
            assert chance(one["candidates"]) >= one["recall"], (seed, one)
        assert coded.asked < 300 * len(Missing.TRIED) / 2  # what has found everything is not asked again


def test_few_queries_promise_less(vectors: Vectors) -> None:
    queries = np.random.default_rng(1).standard_normal((100, DIMENSIONS)).astype(np.float32)
    many = np.concatenate([queries, *(queries + 0.1 * at for at in range(1, 5))])
    promised = [
        {one["recall"] for one in Missing(vectors, 0).calibrated(some, "text")} for some in (queries, many)
    ]
    assert promised[0] < promised[1]
