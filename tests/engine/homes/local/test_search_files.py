"""Search files are disposable: lost, damaged or stale, the answers are those of a literal search."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock

from diptych import similarity
from diptych.core import Index, Searchable
from diptych.engine.homes.local import search_files, snapshot
from diptych.engine.homes.local.record import Record
from diptych.engine.homes.local.search_files import SearchFiles
from diptych.index import half

DIM = 24


@pytest.fixture
def record(tmp_path: Path) -> Any:
    made = Record(tmp_path / "collection.sqlite", tmp_path)
    yield made
    made.close()


def store(record: Record, vectors: np.ndarray, *, kind: str = "cosine", start: int = 0) -> None:
    packed = similarity.pack(vectors) if kind == "hamming" else vectors.astype(np.float16)
    with record.batch():
        record.put_column("main", "drawn", "drawn:1", kind, DIM)
        for number, vector in enumerate(packed, start=start):
            file = record.put_file(f"{number}.jpg".encode(), 1, 1, b"%d" % number)
            record.put_image(file, vector.tobytes())


def vectors(count: int, seed: int = 0, *, ties: bool = False) -> np.ndarray:
    rng = np.random.default_rng(seed)
    drawn = rng.integers(-1, 2, (count, DIM)) if ties else rng.standard_normal((count, DIM))
    return drawn.astype(np.float32) if ties else similarity.unit(drawn)


def files(record: Record, tmp_path: Path, kind: str = "cosine") -> SearchFiles:
    return SearchFiles(record, "image", kind=kind, folder=tmp_path / "search")


def literal(record: Record, queries: np.ndarray, k: int, kind: str = "cosine", within: Any = None) -> Any:
    """Rows and scores of the k best by a plain sort of everything in the record."""
    rows, stored = zip(*record.vectors("image"), strict=True)
    if kind == "hamming":
        gallery = similarity.unpack(np.array([np.frombuffer(one, np.uint8) for one in stored]))
        scores = similarity.hamming(queries, gallery)
    else:
        gallery = np.array([np.frombuffer(one, np.float16) for one in stored]).astype(np.float32)
        scores = (similarity.unit(queries) if kind == "cosine" else queries) @ gallery.T
    found = []
    for line in scores:
        order = sorted(
            (-score, row)
            for score, row in zip(line.tolist(), rows, strict=True)
            if within is None or row in within
        )[:k]
        found.append(([row for _, row in order], [-score for score, _ in order]))
    return found


def assert_literal(index: SearchFiles, record: Record, queries: np.ndarray, k: int, **how: Any) -> None:
    within = how.get("within")
    hits = index.search(queries, k, None if within is None else np.array(within))
    for line, (rows, scores) in enumerate(literal(record, queries, k, **how)):
        real = hits.rows[line] >= 0
        assert hits.rows[line][real].tolist() == rows
        np.testing.assert_allclose(hits.scores[line][real], scores, atol=1e-5)


@pytest.fixture(params=["small", "large"])
def size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Small collections are scanned by NumPy in memory, large ones by faiss over the mapped file."""
    if request.param == "large":
        monkeypatch.setattr(search_files, "_SMALL_BYTES", 0)
        monkeypatch.setattr(half, "_CHUNK", 64)
        monkeypatch.setattr(snapshot, "_BLOCK_ROWS", 50)
        monkeypatch.setattr(snapshot, "_MOST_SCORES", 1500)
        monkeypatch.setattr(half, "_CONVERTED", 32)
    return str(request.param)


@pytest.mark.parametrize("k", [1, 10, 400])
@pytest.mark.parametrize("queries", [1, 20])
def test_search_equals_a_literal_one(record: Record, tmp_path: Path, size: str, k: int, queries: int) -> None:
    store(record, vectors(300))
    index = files(record, tmp_path)
    assert isinstance(index, Searchable)
    assert not isinstance(index, Index)
    assert_literal(index, record, vectors(queries, seed=1), k)
    for within in ([5], list(range(1, 300, 2)), list(range(3, 301)), [999]):
        assert_literal(index, record, vectors(queries, seed=1), k, within=within)


@pytest.mark.parametrize("kind", ["dot", "hamming"])
def test_ties_go_by_row(record: Record, tmp_path: Path, size: str, kind: str) -> None:
    drawn = vectors(300, ties=True)
    if kind == "hamming":
        drawn = np.where(drawn > 0, 1, -1).astype(np.float32)
    store(record, drawn, kind=kind)
    for k in (1, 7, 64, 100):
        assert_literal(files(record, tmp_path, kind), record, vectors(3, seed=1, ties=True), k, kind=kind)


def test_they_follow_the_record(record: Record, tmp_path: Path, size: str) -> None:
    rng = np.random.default_rng(0)
    index, there = files(record, tmp_path), 0
    assert index.search(vectors(1), 3).rows.tolist() == [[-1, -1, -1]]
    for step in range(12):
        store(record, vectors(20, seed=step), start=there)
        there += 20
        gone = rng.choice(there, 6, replace=False)
        with record.batch():
            for number in gone:
                record.remove_file(b"%d.jpg" % number)
        assert_literal(index, record, vectors(2, seed=99), 10)
        assert_literal(files(record, tmp_path), record, vectors(2, seed=99), 10)
        assert index.rows.tolist() == record.row_numbers("image").tolist()


def test_additions_are_appended_and_not_built_again(record: Record, tmp_path: Path) -> None:
    store(record, vectors(200))
    files(record, tmp_path).search(vectors(1), 1)
    path = tmp_path / "search" / "image.vectors"
    before, first = path.stat().st_ino, path.read_bytes()
    store(record, vectors(10, seed=1), start=200)
    assert_literal(files(record, tmp_path), record, vectors(2, seed=2), 5)
    assert path.stat().st_ino == before
    assert path.read_bytes()[: len(first)] == first
    assert len(path.read_bytes()) == 210 * DIM * 2


def test_many_removals_make_them_smaller_while_others_read_on(
    record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(record, vectors(100))
    reader = files(record, tmp_path).snapshot()
    before = reader.search(vectors(2, seed=2), 5)
    with record.batch():
        for number in range(40):
            record.remove_file(b"%d.jpg" % number)
    store(record, vectors(1, seed=3), start=100)
    read: list[int] = []
    real = Record.vectors

    def vectors_read(self: Record, side: Any, *, after: int = 0) -> Any:
        for row, vector in real(self, side, after=after):
            read.append(row)
            yield row, vector

    monkeypatch.setattr(Record, "vectors", vectors_read)
    smaller = files(record, tmp_path)
    smaller.snapshot()
    assert read == [101]  # what was there is copied, not read from the record
    assert (tmp_path / "search" / "image.vectors").stat().st_size == 61 * DIM * 2
    assert_literal(smaller, record, vectors(2, seed=2), 5)
    assert_literal(files(record, tmp_path), record, vectors(2, seed=2), 5)
    after = reader.search(vectors(2, seed=2), 5)
    assert (after.rows == before.rows).all()
    assert (after.scores == before.scores).all()


def test_a_few_removals_leave_them_until_they_are_squeezed(record: Record, tmp_path: Path) -> None:
    store(record, vectors(100))
    index = files(record, tmp_path)
    index.search(vectors(1), 1)
    with record.batch():
        for number in range(0, 40, 4):
            record.remove_file(b"%d.jpg" % number)
    path = tmp_path / "search" / "image.vectors"
    assert_literal(index, record, vectors(2, seed=2), 5)
    assert path.stat().st_size == 100 * DIM * 2
    index.squeeze()
    assert path.stat().st_size == 90 * DIM * 2
    assert index.snapshot().alive.all()
    assert_literal(index, record, vectors(2, seed=2), 5)
    assert_literal(files(record, tmp_path), record, vectors(2, seed=2), 5)


def test_killed_between_two_new_files_neither_is_believed(
    record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(record, vectors(100))
    files(record, tmp_path).snapshot()
    with record.batch():
        for number in range(40):
            record.remove_file(b"%d.jpg" % number)

    class Killed(BaseException):
        pass

    def replace(source: Any, target: Any) -> None:
        if Path(target).name == "image.rows":
            raise Killed
        Path(source).rename(target)

    with monkeypatch.context() as patch:
        patch.setattr(search_files.os, "replace", replace)
        with pytest.raises(Killed):
            files(record, tmp_path).snapshot()
    assert_literal(files(record, tmp_path), record, vectors(2, seed=2), 5)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


DAMAGE: dict[str, Callable[[Path], None]] = {
    "deleted": lambda folder: [path.unlink() for path in folder.iterdir()] and None,
    "a bit of a vector": lambda folder: flip(folder / "image.vectors"),
    "a bit of a row": lambda folder: flip(folder / "image.rows"),
    "vectors cut": lambda folder: (folder / "image.vectors").write_bytes(
        (folder / "image.vectors").read_bytes()[:-5]
    ) and None,
    "rows missing": lambda folder: (folder / "image.rows").unlink(),
    "vectors empty": lambda folder: (folder / "image.vectors").write_bytes(b"") and None,
    "stamp cut": lambda folder: (folder / "image.json").write_text('{"format": 1, ') and None,
    "stamp of another form": lambda folder: (folder / "image.json").write_text("[]") and None,
    "stamp of another record": lambda folder: (folder / "image.json").write_text(
        json.dumps(json.loads((folder / "image.json").read_text()) | {"collection": "other"})
    ) and None,
    "left over from an interrupted run": lambda folder: (folder / "image.vectors").write_bytes(
        (folder / "image.vectors").read_bytes() + bytes(77)
    ) and None,
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("then_add", [False, True])
def test_damaged_files_are_built_again(
    record: Record, tmp_path: Path, damage: str, then_add: bool, size: str
) -> None:
    store(record, vectors(150))
    files(record, tmp_path).search(vectors(1), 1)
    DAMAGE[damage](tmp_path / "search")
    if then_add:
        store(record, vectors(10, seed=5), start=150)
    assert_literal(files(record, tmp_path), record, vectors(3, seed=1), 10)
    count = 160 if then_add else 150
    assert json.loads((tmp_path / "search" / "image.json").read_text())["count"] == count
    assert_literal(files(record, tmp_path), record, vectors(3, seed=1), 10)


def test_a_new_record_does_not_trust_the_files_of_the_old(tmp_path: Path) -> None:
    for seed in (0, 1):
        record = Record(tmp_path / f"{seed}.sqlite", tmp_path)
        store(record, vectors(50, seed=seed))
        assert_literal(files(record, tmp_path), record, vectors(2, seed=9), 5)
        record.close()


def test_where_nothing_can_be_written_memory_serves(record: Record, tmp_path: Path, size: str) -> None:
    store(record, vectors(80))
    (tmp_path / "search").write_text("a file where the folder should be")
    assert_literal(files(record, tmp_path), record, vectors(2, seed=1), 5)


def test_while_another_process_builds_memory_serves(
    record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_files, "_LOCK_SECONDS", 0.05)
    store(record, vectors(80))
    (tmp_path / "search").mkdir()
    with FileLock(tmp_path / "search" / "image.lock"):
        assert_literal(files(record, tmp_path), record, vectors(2, seed=1), 5)
