"""Search in half precision takes one thread, and takes none from anybody else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

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


def test_a_large_mapped_file_is_searched_without_staying_mapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((5000, 64)).astype(np.float16)
    vectors.tofile(tmp_path / "vectors")
    mapped = np.memmap(tmp_path / "vectors", np.float16, "r", shape=vectors.shape)
    queries = rng.standard_normal((2, 64)).astype(np.float32)
    rows, some = np.arange(5000), np.sort(rng.choice(5000, 3000, replace=False))
    calls: list[int] = []
    real = half.let_go
    monkeypatch.setattr(half, "_MOST_MAPPED", 100_000)
    monkeypatch.setattr(half, "let_go", lambda array: (calls.append(1), real(array)))
    for places in (None, some):
        hits = half.search(queries, mapped, rows, 7, places)
        chosen = rows if places is None else places
        truth = queries @ vectors[chosen].astype(np.float32).T
        assert (hits.rows == chosen[np.argsort(-truth, axis=1, kind="stable")[:, :7]]).all()
        np.testing.assert_allclose(half.scores(queries, mapped, places), truth, rtol=1e-5, atol=1e-5)
    assert len(calls) >= 4 * 640_000 // 140_000  # more than once in each search


def test_every_finite_number_is_the_same_in_single_precision() -> None:
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    every = every[np.isfinite(every)]
    one = np.ones((1, 1), np.float32)
    for at, value in enumerate(half.scores(one, every[:, None])[0]):
        assert value == np.float32(every[at])
