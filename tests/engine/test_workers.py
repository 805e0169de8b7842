"""Indexing and searching on a Ray cluster of two nodes on this machine; the last tests take one of them away.

The nodes listen on 127.0.0.2: Ray takes 127.0.0.1 for another name of the outer address.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_helpers import Paint, content

from diptych.cluster import Cluster, connected
from diptych.core import Item, Run
from diptych.engine import workers
from diptych.engine.collection import Summary, open_collection
from diptych.errors import Unreachable
from diptych.index.flat import Flat
from diptych.index.remote import on_cluster
from diptych.index.sharded import Sharded
from diptych.pipeline import Search
from diptych.testing import Colours

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(420),
    # Ray leaves sockets and files to the collector when it shuts down.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning:ray"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """A cluster of a head and one more node, one processor each."""
    before = dict(os.environ)
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DISABLE_MEMORY_MONITOR": "1", "OMP_NUM_THREADS": "1"}
    from ray import cloudpickle
    from ray.cluster_utils import Cluster as Nodes

    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # whose encoders no worker could import

    how = {"num_cpus": 1, "node_ip_address": "127.0.0.2", "object_store_memory": 80 << 20}
    found = Nodes(initialize_head=True, head_node_args={**how, "include_dashboard": False})
    try:
        found.second = found.add_node(**how)
        found.wait_for_nodes()
        yield found
    finally:
        found.shutdown()
        os.environ.clear()
        os.environ |= before


def indexed(
    folder: Path, encoder: Any, cluster: Cluster | None, *, where: str = "", **how: Any
) -> tuple[Summary, list[Any]]:
    """What indexing a folder did, into its own collection or that of a server, and what that then holds."""
    with open_collection(where or folder, model=encoder, folder=folder) as collection:
        summary = collection.add(folder, batch_size=4, cluster=cluster, **how)
        return summary, content(collection)


def painted(paint: Paint, photos: Path) -> None:
    for number in range(44):
        paint(f"{number % 3}/{number:02}.png", (number * 5, 255 - number * 5, number % 7 * 30))
        if number % 4 == 0:
            (photos / f"{number % 3}/{number:02}.txt").write_text(f"picture {number}\n")
    (photos / "0" / "bad.png").write_text("no picture")


def test_the_result_is_that_of_one_process(nodes: Any, paint: Paint, photos: Path, tmp_path: Path) -> None:
    painted(paint, photos)
    alone, expected = indexed(photos, Colours(), None)
    there = tmp_path / "there"
    photos.rename(there)
    (there / ".diptych").rename(tmp_path / "apart")
    summary, found = indexed(there, Colours(), Cluster(nodes.address))
    assert found == expected
    assert (summary.added, summary.encoded) == (alone.added, alone.encoded) == (44, 44 + 11)
    assert [one.reason for one in summary.skipped] == [one.reason for one in alone.skipped]
    again, _ = indexed(there, Colours(), Cluster(nodes.address, workers=1))
    assert (again.unchanged, again.added, again.encoded) == (44, 0, 0)


class Deadly(Colours):
    """Ends the process that encodes with it, once."""

    def __init__(self, flag: Path) -> None:
        super().__init__()
        self.flag = flag

    def encode_image(self, images: Any) -> Any:
        if len(images) == 4:  # and not the one picture by which a model is tried
            try:
                self.flag.touch(exist_ok=False)
            except FileExistsError:
                pass
            else:
                os._exit(1)
        return super().encode_image(images)


def test_what_a_killed_worker_had_is_neither_lost_nor_stored_twice(
    nodes: Any, paint: Paint, photos: Path, tmp_path: Path, postgres: Any
) -> None:
    painted(paint, photos)
    deadly, where = Deadly(tmp_path / "killed"), postgres.address("workers")
    summary, found = indexed(photos, deadly, Cluster(nodes.address), where=where)
    assert (tmp_path / "killed").exists()
    assert (summary.added, len(summary.skipped)) == (44, 1)
    assert found == indexed(photos, Colours(), None)[1]


class Endless(Colours):
    """Ends every process that encodes with it, but the one that made it."""

    def __init__(self) -> None:
        super().__init__()
        self.process = os.getpid()

    def encode_image(self, images: Any) -> Any:
        if os.getpid() != self.process:
            os._exit(1)
        return super().encode_image(images)


def test_pictures_that_end_every_worker_are_named(
    nodes: Any, paint: Paint, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_TRIES", 2)
    paint("a.png")
    with pytest.raises(Unreachable, match=r"2 workers ended one after another while they had .+a\.png"):
        indexed(photos, Endless(), Cluster(nodes.address))


class Plain:
    similarity = "cosine"

    def encode_text(self, texts: Any) -> np.ndarray:
        return np.stack([np.random.default_rng(len(text)).standard_normal(8) for text in texts])


def test_a_node_taken_away_costs_nothing_but_time(
    nodes: Any, paint: Paint, photos: Path, tmp_path: Path
) -> None:
    """Of both: a search over parts on the two nodes, then indexing."""
    vectors = np.random.default_rng(0).standard_normal((300, 8)).astype(np.float32)
    whole, parts = Flat.of(vectors), Sharded.of(vectors, shards=2)
    parts.save(tmp_path / "parts")
    run = Run([Item(text="a"), Item(text="bc")], [Item(image=row) for row in range(300)])
    expected = Search(Plain(), whole, 20)(run)
    painted(paint, photos)
    alone = indexed(photos, Colours(), None)
    (photos / ".diptych").rename(tmp_path / "apart")
    with connected(nodes.address), on_cluster(tmp_path / "parts", Cluster(nodes.address)) as there:
        found = Search(Plain(), there, 20)(run)
        assert found.notes == ()
        assert expected.hits is not None
        assert found.hits is not None
        np.testing.assert_array_equal(found.hits.rows, expected.hits.rows)
        np.testing.assert_allclose(found.hits.scores, expected.hits.scores, atol=1e-6)
        taken: list[int] = []

        def take(_: Any) -> None:
            if not taken:
                nodes.remove_node(nodes.second)
                taken.append(1)

        take(None)
        part = Search(Plain(), there, 20)(run)
        assert part.hits is not None
        assert all(note["degraded"].startswith("1 of 2 parts of the index did not") for note in part.notes)
        held = [set(map(int, shard_rows)) for shard_rows in part.hits.rows]
        assert {row % 2 for rows in held for row in rows} in ({0}, {1})  # what one of them has
    nodes.second = nodes.add_node(num_cpus=1, node_ip_address="127.0.0.2", object_store_memory=80 << 20)
    nodes.wait_for_nodes()
    taken.clear()
    summary, stored = indexed(photos, Colours(), Cluster(nodes.address), on_progress=take)
    assert taken
    assert stored == alone[1]
    assert (summary.added, summary.encoded) == (44, 55)
