"""A file that ended a run is named and passed over at the next; whatever else was in flight is taken."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from engine_helpers import Paint

from diptych.engine import reading
from diptych.engine.collection import open_collection
from diptych.engine.reading import Reading, Trial
from diptych.testing import Colours

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are of another kind there")

# Runs at the start of every process: a decoder with faults that marked pictures bring out.
_FAULTY = """
import os, signal, sys, time
def _spoil():
    import io, numpy, PIL.Image
    real = PIL.Image.open
    def opened(file, *args, **how):
        data = file.getvalue() if isinstance(file, io.BytesIO) else b""
        if b"ends-the-process" in data:
            os.kill(os.getpid(), signal.SIGSEGV)
        if b"takes-for-ever" in data:
            time.sleep(600)
        if b"takes-all-memory" in data:
            for _ in range(64):
                keep.append(numpy.empty(1 << 28, numpy.uint8))  # not written to, as that takes long
        return real(file, *args, **how)
    keep = []
    PIL.Image.open = opened
_spoil()
"""

_INDEX = """
import sys
from diptych.engine import reading
from diptych.engine.collection import open_collection
from diptych.testing import Colours
reading.TRIAL_SECONDS = 3.0
with open_collection(sys.argv[1], model=Colours()) as collection:
    summary = collection.add(batch_size=2)
    for one in summary.skipped:
        print(one.path.name, "|", one.reason)
    print("added", summary.added, "unchanged", summary.unchanged)
"""


@pytest.fixture
def faulty(tmp_path: Path) -> dict[str, str]:
    home = tmp_path / "faulty"
    home.mkdir()
    (home / "sitecustomize.py").write_text(_FAULTY)
    paths = [str(home), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def index(photos: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _INDEX, str(photos)], env=environment, text=True, stdout=subprocess.PIPE
    )


def mark(path: Path, how: bytes) -> None:
    path.write_bytes(path.read_bytes() + how)


def test_a_picture_that_ends_the_process_is_passed_over_next_time(
    photos: Path, paint: Paint, faulty: dict[str, str]
) -> None:
    for number in range(8):
        paint(f"{number}.png", (number, 0, 0))
    mark(photos / "5.png", b"ends-the-process")
    first = index(photos, faulty)
    first.communicate()
    assert first.returncode == -signal.SIGSEGV
    assert b"5.png" in (photos / ".diptych" / "reading").read_bytes().split(b"\0")
    second = index(photos, faulty)
    said, _ = second.communicate()
    assert second.returncode == 0
    assert "5.png | ends the process that reads it (SIGSEGV), and was being read when an earlier run" in said
    with open_collection(photos, model=Colours()) as collection:
        assert collection.count("image") == 7
        assert collection.home.skipped_file(b"5.png") is not None
    assert not (photos / ".diptych" / "reading").exists()
    third, _ = index(photos, faulty).communicate()  # nor does it end any later run
    assert "5.png | ends the process" in third
    assert "added 0 unchanged 7" in third
    paint("5.png", "red")
    fourth, _ = index(photos, faulty).communicate()
    assert "added 1 unchanged 7" in fourth


def test_a_picture_that_takes_for_ever_is_passed_over_once_somebody_has_killed_the_run(
    photos: Path, paint: Paint, faulty: dict[str, str]
) -> None:
    for number in range(4):
        paint(f"{number}.png", (number, 0, 0))
    mark(photos / "1.png", b"takes-for-ever")
    first = index(photos, faulty)
    started = time.monotonic()
    while not (photos / ".diptych" / "reading").exists() and time.monotonic() < started + 60:
        time.sleep(0.05)
    time.sleep(1)
    first.kill()
    first.communicate()
    said, _ = index(photos, faulty).communicate()
    assert "1.png | takes longer than 3 s to read, and was being read when an earlier run ended" in said
    assert "added 3" in said


@pytest.mark.skipif(sys.platform != "linux", reason="other systems limit no memory of a process")
def test_a_picture_that_takes_all_memory_is_told_so(
    paint: Paint, faulty: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", faulty["PYTHONPATH"])
    small, large = paint("small.png"), paint("large.png")
    mark(large, b"takes-all-memory")
    trial = Trial()
    assert trial.of(str(small), None, 64) == ""
    assert trial.of("s3://photos/small.png", small.read_bytes(), 64) == ""
    assert "needs more than 4 GiB of memory" in trial.of(str(large), None, 64)
    assert trial.of(str(small), None, None) == ""  # another process serves the next
    trial.end()


def test_what_was_in_flight_stays_written_down_until_it_is_dealt_with(tmp_path: Path) -> None:
    journal = tmp_path / "reading"
    killed = Reading(tmp_path)
    for name in (b"a", b"new\nline", b"\xff.jpg"):
        killed.begin(name)
    killed.done([b"a"])
    killed.begin(b"torn")
    assert killed._file is not None
    killed._file.close()
    journal.write_bytes(journal.read_bytes()[:-2])  # as a kill in the middle of a write would leave it
    after = Reading(tmp_path)
    assert list(after.suspects) == [b"new\nline", b"\xff.jpg"]
    after.done([b"new\nline"])
    after.close(lambda _: False)
    last = Reading(tmp_path)
    assert list(last.suspects) == [b"\xff.jpg"]
    last.close(lambda _: True)
    assert not journal.exists()


def test_an_interrupted_run_suspects_nobody(
    photos: Path, paint: Paint, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(40):
        paint(f"{number}.png", (number, 0, 0))

    def interrupt(_: Any) -> None:
        raise KeyboardInterrupt

    with open_collection(photos, model=Colours()) as collection:
        with pytest.raises(KeyboardInterrupt):
            collection.add(batch_size=2, on_progress=interrupt)
        assert not (photos / ".diptych" / "reading").exists()
        monkeypatch.delattr(reading.Trial, "of")  # nobody is tried
        assert collection.add().added == 38
