"""Search in half precision takes one thread, and takes none from anybody else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from diptych.errors import BadData
from diptych.index import half

_SEEN = """
import threading
import faiss
from diptych.index.half import one_thread

seen, begun, over = {}, threading.Event(), threading.Event()

def look(name):
    seen[name] = faiss.omp_get_max_threads()

def meanwhile():
    look("before")
    begun.set()
    over.wait()
    look("meanwhile")

other = threading.Thread(target=meanwhile)
other.start()
begun.wait()
with one_thread():
    look("inside")
    new = threading.Thread(target=look, args=("new",))
    new.start()
    new.join()
    over.set()
    other.join()
look("after")
print(*(seen[name] for name in ("inside", "before", "meanwhile", "new", "after")))
"""


def test_the_number_of_threads_is_the_caller_s_alone() -> None:
    told = subprocess.run(
        [sys.executable, "-c", _SEEN],
        env={**os.environ, "OMP_NUM_THREADS": "3"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.split() == ["1", "3", "3", "3", "3"]


def _mapped_bytes(path: Path) -> int:
    """Bytes of a file that count as memory of this process."""
    lines = Path("/proc/self/smaps").read_text().splitlines()
    starts = [at for at, line in enumerate(lines) if line.endswith(str(path))]
    found = [next(line for line in lines[at:] if line.startswith("Rss:")) for at in starts]
    return sum(int(line.split()[1]) << 10 for line in found)


def test_of_a_large_file_only_the_first_part_stays_mapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    kept, path = 1 << 18, tmp_path / "vectors"
    vectors = rng.standard_normal((200_000, 64)).astype(np.float16)  # 25 MB
    vectors.tofile(path)
    monkeypatch.setattr(half, "_MOST_MAPPED", kept)
    stored = half.Stored.of(path, vectors.dtype, vectors.shape)
    path.rename(tmp_path / "another")  # as when the file is made anew while others read
    queries = rng.standard_normal((2, 64)).astype(np.float32)
    rows, some = np.arange(200_000), np.sort(rng.choice(200_000, 3000, replace=False))
    for places in (None, some, some[some < 2048], some[some > 2048]):
        chosen = rows if places is None else places
        hits = half.search(queries, stored, rows, 7, places)
        truth = queries @ vectors[chosen].astype(np.float32).T
        assert (hits.rows == chosen[np.argsort(-truth, axis=1, kind="stable")[:, :7]]).all()
        np.testing.assert_allclose(half.scores(queries, stored, places), truth, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(half.taken(stored, chosen), vectors[chosen])
    part = slice(1000, 9000)
    np.testing.assert_array_equal(half.taken(stored, part), vectors[part])
    np.testing.assert_array_equal(half.scores(queries, stored, part), half.scores(queries, vectors[part]))
    if sys.platform == "linux":
        around = 4 << 20  # Linux maps what lies beside a page that is looked at
        assert 0 < _mapped_bytes(tmp_path / "another") <= kept + around
        assert stored.sum(dtype=np.float64) != 0
        assert _mapped_bytes(tmp_path / "another") == vectors.nbytes
        stored.let_go()
        assert _mapped_bytes(tmp_path / "another") <= kept + around


def test_a_file_that_was_cut_off_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = np.ones((20_000, 64), np.float16)
    vectors.tofile(tmp_path / "vectors")
    monkeypatch.setattr(half, "_MOST_MAPPED", 1 << 18)
    stored = half.Stored.of(tmp_path / "vectors", vectors.dtype, vectors.shape)
    os.truncate(tmp_path / "vectors", vectors.nbytes // 2)
    with pytest.raises(BadData, match="vectors was cut off while it was read; open the collection"):
        half.search(np.ones((1, 64), np.float32), stored, np.arange(20_000), 3)


def test_what_is_given_in_parts_is_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As file systems over a network may do, and Linux beyond two gigabytes."""
    vectors = np.random.default_rng(0).standard_normal((20_000, 64)).astype(np.float16)
    vectors.tofile(tmp_path / "vectors")
    monkeypatch.setattr(half, "_MOST_MAPPED", 1 << 18)
    stored = half.Stored.of(tmp_path / "vectors", vectors.dtype, vectors.shape)
    real = os.preadv
    monkeypatch.setattr(os, "preadv", lambda file, room, at: real(file, [room[0][:50]], at))
    for places in (slice(15_000, 15_100), np.arange(10_000, 10_100)):
        np.testing.assert_array_equal(half.taken(stored, places), vectors[places])


def test_every_finite_number_is_the_same_in_single_precision() -> None:
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    every = every[np.isfinite(every)]
    one = np.ones((1, 1), np.float32)
    for at, value in enumerate(half.scores(one, every[:, None])[0]):
        assert value == np.float32(every[at])
