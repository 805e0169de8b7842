"""An index in parts answers as the whole does, and says when it answers for less."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.core import Hits, Item, Run
from diptych.errors import BadData, Unreachable, UsageError
from diptych.index.flat import Flat
from diptych.index.hamming import Hamming
from diptych.index.sharded import Sharded, merged
from diptych.pipeline import Search


class Gone:
    """A part on a machine that is away."""

    def search(self, vectors: Any, k: int, within: Any = None) -> Hits:
        raise Unreachable("its node is gone")


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 7), st.integers(1, 40), st.booleans())
def test_codes_in_parts_answer_exactly_as_the_whole(seed: int, shards: int, k: int, few: bool) -> None:
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 256, (60, 1)).astype(np.uint8)  # 8 bits: nearly all distances are shared
    rows = rng.permutation(500)[:60]
    whole, parts = Hamming(8), Sharded([Hamming(8) for _ in range(shards)])
    for index in (whole, parts):
        index.add(rows, codes)
        index.remove(rows[::9])
    queries = rng.integers(0, 256, (5, 1)).astype(np.uint8)
    within = rows[1::4] if few else None
    expected, found = whole.search(queries, k, within), parts.search(queries, k, within)
    assert found.rows.tolist() == expected.rows.tolist()
    assert found.scores.tolist() == expected.scores.tolist()


@pytest.mark.parametrize("kind", ["cosine", "dot", "hamming"])
def test_vectors_in_parts_answer_as_the_whole(kind: str) -> None:
    rng = np.random.default_rng(0)
    vectors, queries = rng.standard_normal((400, 24)), rng.standard_normal((30, 24))
    whole, parts = Flat.of(vectors, kind), Sharded.of(vectors, kind, shards=3)
    expected, found = whole.search(queries, 25), parts.search(queries, 25)
    np.testing.assert_array_equal(found.rows, expected.rows)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=0, atol=1e-5)
    assert [len(shard) for shard in parts.shards] == [134, 133, 133]  # type: ignore[arg-type]


def test_what_is_merged_keeps_ties_by_row_and_fills_up() -> None:
    one = Hits(np.array([[4, 9, -1]]), np.array([[2.0, 1.0, -np.inf]], np.float32))
    two = Hits(np.array([[3, -1]]), np.array([[2.0, -np.inf]], np.float32))
    assert merged([one, two], 2).rows.tolist() == [[3, 4]]
    all_of_it = merged([one, two], 7)
    assert all_of_it.rows.tolist() == [[3, 4, 9, -1, -1, -1, -1]]
    assert all_of_it.scores[0].tolist() == [2.0, 2.0, 1.0] + [-np.inf] * 4


def test_a_row_added_again_is_replaced_where_it_is() -> None:
    index = Sharded.of(np.eye(5), shards=2)
    index.add(np.array([3]), -np.eye(5)[:1])
    index.add(np.array([3]), np.eye(5)[:1])
    assert index.search(np.eye(5)[:1], 3).rows.tolist() == [[0, 3, 1]]


def test_a_part_that_is_away_is_left_out_and_that_is_said() -> None:
    here = Flat(2)
    here.add(np.array([5]), np.ones((1, 2)))
    index = Sharded([here, Gone()])
    with pytest.raises(
        Unreachable, match=r"1 of 2 parts .+ did not answer \(its node is gone\); search again"
    ):
        index.search(np.ones((1, 2)), 1)
    hits, missing = index.answered(np.ones((1, 2)), 2)
    assert hits.rows.tolist() == [[5, -1]]
    assert missing == "1 of 2 parts of the index did not answer (its node is gone)"
    with pytest.raises(Unreachable, match="none of 2 parts"):
        Sharded([Gone(), Gone()]).answered(np.ones((1, 2)), 1)
    with pytest.raises(UsageError, match=r"a part of this index \(Gone\) can only be searched"):
        index.add(np.array([1]), np.ones((1, 2)))


class Ones:
    similarity = "dot"

    def encode_text(self, texts: Any) -> np.ndarray:
        return np.ones((len(texts), 2), np.float32)


def test_the_search_notes_with_each_query_what_was_missing() -> None:
    run = Run([Item(text="a"), Item(text="b")], [Item(image=number) for number in range(4)])
    whole = Search(Ones(), Sharded.of(np.ones((4, 2)), "dot", shards=2), 2)(run)
    assert whole.notes == ()
    part = Search(Ones(), Sharded([Flat.of(np.ones((2, 2)), "dot"), Gone()]), 2)(run)
    assert part.hits is not None
    assert part.hits.rows.tolist() == [[0, 1]] * 2
    assert [note["degraded"][:7] for note in part.notes] == ["1 of 2 "] * 2


def test_saved_and_opened_it_answers_alike(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    index = Sharded.of(rng.standard_normal((50, 6)), shards=4)
    index.save(tmp_path / "parts")
    again, query = Sharded.open(tmp_path / "parts"), rng.standard_normal((3, 6))
    assert again.search(query, 9).scores.tolist() == index.search(query, 9).scores.tolist()
    with pytest.raises(UsageError, match="another number of parts"):
        Sharded.of(np.ones((4, 6)), shards=2).save(tmp_path / "parts")
    next((tmp_path / "parts").iterdir()).unlink()
    with pytest.raises(BadData, match="holds 3 parts of an index of 4"):
        Sharded.open(tmp_path / "parts")
    with pytest.raises(BadData, match="holds no index in parts"):
        Sharded.open(tmp_path)


def test_what_cannot_be_an_index_in_parts_is_refused() -> None:
    with pytest.raises(UsageError, match="at least one part"):
        Sharded([])
    with pytest.raises(UsageError, match="3 rows and 2 vectors"):
        Sharded.of(np.eye(2), shards=2).add(np.arange(3), np.eye(2))
    with pytest.raises(UsageError, match="k must be at least 1"):
        Sharded.of(np.eye(2), shards=2).search(np.eye(2), 0)
