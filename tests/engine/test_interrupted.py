"""A process that is killed at any moment leaves a collection that the next run completes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from engine_helpers import content
from PIL import Image

from diptych.engine.collection import open
from diptych.testing import Colours

_PROGRAM = """
import sys, time
from diptych.testing import Colours
from diptych.engine.collection import open

class Slow(Colours):
    def encode_image(self, images):
        time.sleep(0.01)
        return super().encode_image(images)

with open(sys.argv[1], model=Slow()) as collection:
    print("ready", flush=True)
    collection.add(batch_size=4, on_progress=lambda progress: print("stored", flush=True))
"""


def start(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, str(folder)], stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    )


def make(folder: Path, count: int) -> None:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        Image.fromarray(rng.integers(0, 256, (9, 9, 3), np.uint8)).save(folder / f"{number:03}.png")
        (folder / f"{number:03}.txt").write_text(f"red {number}\nblue {number}\n")
    (folder / "bad.jpg").write_bytes(b"junk")


@pytest.mark.skipif(sys.platform == "win32", reason="there is no kill -9 there")
def test_killed_at_random_moments_it_completes_and_equals_an_uninterrupted_run(tmp_path: Path) -> None:
    make(tmp_path / "killed", 120)
    make(tmp_path / "whole", 120)
    with open(tmp_path / "whole", model=Colours()) as collection:
        collection.add()
        expected = content(collection)
        whole = [result.path.name for result in collection.search("red", k=120)]
    rng, kept = random.Random(3), [0]
    for attempt in range(6):
        process = start(tmp_path / "killed")
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        if attempt % 2 and kept[-1] < 119:  # every other time it must get somewhere
            assert process.stdout.readline() == "stored\n"
        time.sleep(rng.uniform(0.0, 0.12))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        with open(tmp_path / "killed", model=Colours()) as collection:
            info = collection.info()
            assert info["check"] == "ok"
            assert info["images"] % 4 == 0 or info["images"] >= 119  # whole batches only
            assert info["images"] >= kept[-1]
            kept.append(info["images"])
            assert len(collection.search("red", k=200)) == info["images"]
    assert kept[-1] > 0
    with open(tmp_path / "killed", model=Colours()) as collection:
        summary = collection.add()
        assert summary.added + summary.unchanged == 120
        assert [skipped.path.name for skipped in summary.skipped] == ["bad.jpg"]
        assert content(collection) == expected
        assert [result.path.name for result in collection.search("red", k=120)] == whole


@pytest.mark.skipif(sys.platform == "win32", reason="there is no kill -9 there")
def test_what_a_killed_one_left_of_search_files_goes_and_is_missed_by_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "photos"
    make(folder, 6)
    with open(folder, model=Colours()) as collection:
        collection.add()
        found = [result.id for result in collection.search("red")]
    search = folder / ".diptych" / "search"
    left = search / "image.json.0a1b2c3d.part"
    left.write_bytes(b"{")
    with open(folder, model=Colours()) as collection:
        collection.add()
        assert not list(search.glob("*.part"))
    replace = os.replace

    def removed_meanwhile(source: Path, target: Path) -> None:
        if Path(source).suffix == ".part":
            Path(source).unlink()
        replace(source, target)

    for file in search.iterdir():
        file.unlink()
    monkeypatch.setattr(os, "replace", removed_meanwhile)
    with open(folder, model=Colours()) as collection:
        assert [result.id for result in collection.search("red")] == found
        assert not (search / "image.json").exists()
    monkeypatch.undo()
    with open(folder, model=Colours()) as collection:
        assert [result.id for result in collection.search("red")] == found
        assert (search / "image.json").exists()


def test_a_killed_writer_leaves_no_lock(tmp_path: Path) -> None:
    make(tmp_path / "photos", 40)
    process = start(tmp_path / "photos")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.05)
    process.kill()
    process.wait()
    process.stdout.close()
    with open(tmp_path / "photos", model=Colours()) as collection:
        summary = collection.add()
        assert summary.added + summary.unchanged == 40
