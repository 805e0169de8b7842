"""Search in half precision takes one thread, and takes none from anybody else."""

from __future__ import annotations

import os
import subprocess
import sys

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
