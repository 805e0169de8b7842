"""`diptych index` where it cannot finish: processes that get a Ctrl-C, and a disk that really is full."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from diptych.engine.collection import open_collection

pytestmark = pytest.mark.slow

# A shell that starts tests in the background has them ignore Ctrl-C, and children inherit that.
PROGRAM = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from diptych.__main__ import main; main()"
)


def program(*arguments: object) -> list[str]:
    return [sys.executable, "-c", PROGRAM, *map(str, arguments)]


def draw(folder: Path, count: int, *, first: int = 0) -> None:
    folder.mkdir(exist_ok=True)
    for number in range(first, first + count):
        pixels = np.random.default_rng(number).integers(0, 256, (6, 6, 3), np.uint8)
        Image.fromarray(pixels).resize((60, 60)).save(folder / f"{number:03}.png")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--workers", "2"], "--workers and --cards are of a cluster; say which with --ray"),
        (["--ray", "nowhere"], "'nowhere' is no address of a cluster; give HOST:PORT of its head"),
        (["--ray", "--watch"], "a cluster takes in what is there; run --ray without --watch"),  # any cluster
        (["--watch", "--ray"], "a cluster takes in what is there; run --ray without --watch"),
    ],
)
def test_a_cluster_is_named_or_any_and_its_options_need_one(
    options: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from diptych.__main__ import main

    monkeypatch.setattr("sys.argv", ["diptych", "index", str(tmp_path), *options])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / ".diptych").exists()


def stored(folder: Path) -> int:
    """Pictures that a collection holds, as another process sees it; 0 before there is one."""
    file = folder / ".diptych" / "collection.sqlite"
    try:
        with sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=10) as connection:
            return int(connection.execute("SELECT count(*) FROM item WHERE side = 'image'").fetchone()[0])
    except sqlite3.OperationalError:
        return 0


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Any]:
    """Starts the program in a process of its own, which ends with the test."""
    started = []

    def start(*arguments: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            program(*arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=dict(os.environ),
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C reaches a whole console there, and so the tests")
def test_ctrl_c_keeps_what_was_indexed_and_frees_the_collection(tmp_path: Path, running: Any) -> None:
    folder = tmp_path / "photos"
    draw(folder, 240)
    process = running("index", folder, "--batch-size", "4")
    until = time.monotonic() + 120
    while stored(folder) < 8:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until, "nothing was stored"
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert out == ""
    assert (
        err.splitlines()[-1] == "interrupted; what was indexed is kept, and the next run goes on from there"
    )
    assert "Traceback" not in err
    kept = stored(folder)
    assert 8 <= kept < 240

    with open_collection(folder) as collection:  # nobody holds the lock any more
        assert collection.info()["check"] == "ok"
        assert len(collection.search("red", k=240)) == kept
        summary = collection.add()
    assert (summary.unchanged, summary.added, summary.encoded) == (kept, 240 - kept, 240 - kept)


# A small file system of one's own; where a user may have a namespace, that needs no privilege.
NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount")

STEPS = """
mount -t tmpfs -o size=3m tmpfs "$DISK" || exit 77
step() { echo "-- $1"; shift; "$@"; echo "exit $?"; }
step few "$PYTHON" -m diptych index "$PICTURES/few" --in "$DISK" --quiet
head -c $((3 * 1024 * 1024 - LEFT)) /dev/zero > "$DISK/filler" 2>/dev/null
step full "$PYTHON" -m diptych index "$PICTURES/many" --in "$DISK" --batch-size 4 --quiet
step search "$PYTHON" -m diptych search red --in "$DISK" -k 100 --json
rm "$DISK/filler"
step again "$PYTHON" -m diptych index "$PICTURES/many" --in "$DISK" --json
step found "$PYTHON" -m diptych search red --in "$DISK" -k 100 --json
"""


@pytest.mark.skipif(shutil.which("unshare") is None, reason="this system has no unshare to mount a disk with")
@pytest.mark.parametrize("left", [450_000, 0], ids=["while it indexes", "from the start"])
def test_a_full_disk_loses_nothing_and_is_told(tmp_path: Path, left: int) -> None:
    disk, pictures = tmp_path / "disk", tmp_path / "pictures"
    disk.mkdir()
    pictures.mkdir()
    draw(pictures / "few", 8)
    draw(pictures / "many", 72, first=8)
    environment = {"DISK": disk, "PICTURES": pictures, "PYTHON": sys.executable, "LEFT": left}
    done = subprocess.run(
        [*NAMESPACE, "sh", "-c", STEPS],
        env={**os.environ, **{name: str(value) for name, value in environment.items()}},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if "-- few" not in done.stdout:
        pytest.skip(f"this system lets its users mount nothing: {done.stdout.strip()}")
    said = dict(part.strip().split("\n", 1) for part in done.stdout.split("-- ")[1:])
    assert said["few"] == "exit 0"
    sentence, code = said["full"].splitlines()  # no traceback
    assert code == "exit 1"
    assert "disk" in sentence
    assert "delete" not in sentence
    if left:
        assert "is full; make room and do it again, what was stored before is whole" in sentence
    whole = search_said(said["search"])
    assert whole >= 8
    summary, code = said["again"].splitlines()
    told = json.loads(summary)
    assert code == "exit 0"
    assert (told["unchanged"], told["added"]) == (whole - 8, 80 - whole)
    assert search_said(said["found"]) == 80


def search_said(said: str) -> int:
    """How many pictures a search showed, which ended well."""
    shown, code = said.rsplit("\n", 1)
    assert code == "exit 0"
    return len(json.loads(shown)["results"])
