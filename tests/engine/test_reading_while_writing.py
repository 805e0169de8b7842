"""Searches never fail and never mix states while another process fills and empties the collection."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from crash_child import Tiny
from PIL import Image

from diptych.engine.collection import open_collection

PICTURES = 60
SECONDS = 4.0

_WRITER = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from crash_child import Tiny
from diptych.engine.collection import open_collection
from diptych.engine.homes.local import database, record
from diptych.engine.rebuild import rebuilding

folder, stop, whatever = Path(sys.argv[1]), time.time() + float(sys.argv[3]), sys.argv[4] == "whatever"
database._LITTLE, record._FREE_SHARE = 0, 0.0 if whatever else 1.0
rounds = 0
while time.time() < stop:
    with open_collection(folder, model=Tiny()) as collection:
        some = sorted(folder.glob("*.png"))[rounds % 3 :: 3]
        collection.remove(*some)
        if whatever:
            collection.home.search_files("image").squeeze()
        collection.add(folder, *some, batch_size=4)
        if whatever and rounds % 2 == 0:
            collection.make_codes(64)
    if whatever and rounds % 2:
        with rebuilding(folder, model=Tiny()) as fresh:
            fresh.add(batch_size=16)
    rounds += 1
print(rounds)
"""


@pytest.mark.parametrize("what", ["removes", "whatever"])
def test_no_search_fails_beside_a_process_that_writes(tmp_path: Path, what: str) -> None:
    """A writer that removes and adds; or one that also compacts, makes codes and rebuilds."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(PICTURES):
        Image.fromarray(rng.integers(0, 256, (9, 9, 3), np.uint8)).save(folder / f"{number:03}.png")
        (folder / f"{number:03}.txt").write_text(f"red {number}\n")
    with open_collection(folder, model=Tiny()) as collection:
        collection.add()
        right = {one.id: one.score for one in collection.search("red", k=PICTURES)}
    child = [sys.executable, "-c", _WRITER, str(folder), str(Path(__file__).parent), str(SECONDS), what]
    failures: list[BaseException] = []
    searches = 0
    counts: set[int] = set()

    with subprocess.Popen(child, stdout=subprocess.PIPE, text=True) as writer:
        shared = open_collection(folder, model=Tiny())

        def ask(fresh: bool) -> None:
            nonlocal searches
            try:
                while writer.poll() is None:
                    collection = open_collection(folder, model=Tiny()) if fresh else shared
                    for result in collection.search("red", k=PICTURES):
                        assert abs(result.score - right[result.id]) < 1e-6
                        assert result.text == f"red {int(result.path.stem)}"
                    texts = collection.search("red 7", to="text", k=PICTURES)
                    assert len({one.id for one in texts}) == len(texts)
                    counts.add(len(texts))
                    collection.get("003.png")
                    assert collection.home.size > 0
                    searches += 1
                    if fresh:
                        collection.close()
                    time.sleep(0.001)
            except BaseException as error:  # noqa: BLE001 - is told below
                failures.append(error)

        threads = [threading.Thread(target=ask, args=(fresh,)) for fresh in (True, False, False)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        shared.close()
        assert writer.stdout is not None
        rounds = int(writer.stdout.read())
    assert failures == []
    assert rounds > 1
    assert searches > 10
    assert len(counts) > 1  # states in between were seen, each of them whole
