"""One bad name of a list ends nothing, and what libraries write waits until the progress is over."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features


def index(*arguments: str, cwd: Path, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "diptych", "index", *arguments],
        cwd=cwd, input=given, capture_output=True, text=True, check=False, env={**os.environ, "TERM": "dumb"},
    )  # fmt: skip


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("a.jpg", "b.jpg"):
        Image.new("RGB", (30, 30), "red").save(tmp_path / name)
    return tmp_path


def test_a_missing_name_of_a_list_is_left_out_named_and_counted(photos: Path) -> None:
    given = "a.jpg\nnowhere.jpg\nb.jpg\n"
    refused = index("-", "--strict", cwd=photos, given=given)
    assert refused.returncode == 2
    assert "nowhere.jpg does not exist" in refused.stderr
    assert not (photos / ".diptych").exists()
    done = index("-", "--json", cwd=photos, given=given)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["added"] == 2
    assert [(one["path"], one["reason"]) for one in told["skipped"]] == [
        ("nowhere.jpg", "was listed and does not exist")
    ]
    spoken = index("-", cwd=photos, given=given)
    assert "skipped nowhere.jpg: was listed and does not exist" in spoken.stderr
    assert "1 skipped" in spoken.stderr


def test_a_list_of_nothing_but_missing_names_and_a_missing_name_that_was_typed_are_refused(
    photos: Path,
) -> None:
    done = index("-", cwd=photos, given="x.jpg\ny.jpg\n")
    assert done.returncode == 2
    assert "none of the 2 names that were listed exists, the first: x.jpg" in done.stderr
    assert index("a.jpg", "x.jpg", cwd=photos).returncode == 2


@pytest.mark.skipif(not features.check("libtiff"), reason="this Pillow was built without libtiff")
def test_what_decoders_write_is_told_once_after_the_progress(photos: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (300, 300, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "TIFF", compression="tiff_lzw")
    data = bytearray(buffer.getvalue())
    for at in range(2_000, 60_000, 97):
        data[at] ^= 0xFF
    for name in ("c.tif", "d.tif"):
        (photos / name).write_bytes(bytes(data) + name.encode())
    done = index(".", cwd=photos)
    (line,) = [line for line in done.stderr.splitlines() if "not yet in table" in line]
    assert line.startswith("libraries that read pictures said: ")
    assert line.count("not yet in table") == 1
    assert "2 added, 2 skipped" in done.stderr
    assert "not yet in table" not in index(".", "--rebuild", "--quiet", cwd=photos).stderr
