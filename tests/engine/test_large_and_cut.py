"""What an index does with pictures that are too large, and with those that are not whole."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diptych import __main__
from diptych.engine.collection import open_collection
from diptych.errors import UsageError
from diptych.media.pictures import TRUNCATED


def main(*arguments: object) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["diptych", *map(str, arguments)])
        try:
            __main__.main()
        except SystemExit as ended:
            return int(ended.code or 0)
    return 0


def drawn(path: Path, length: float = 1) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((320, 240)).save(buffer, "JPEG")
    path.write_bytes(buffer.getvalue()[: int(len(buffer.getvalue()) * length)])


def test_a_larger_picture_is_read_once_that_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("L", (30_000, 7_200), 90).save(tmp_path / "panorama.jpg")
    drawn(tmp_path / "usual.jpg")
    assert main("index", tmp_path) == 0
    told = capsys.readouterr().err
    assert "skipped panorama.jpg: too large (30000 x 7200 pixels, at most 178 million are read)" in told
    assert "to read larger pictures: --max-pixels" in told
    with open_collection(tmp_path) as opened:
        (skipped,) = opened.add().skipped
        assert skipped.known
        with pytest.raises(UsageError, match="at least 1 pixel"):
            opened.add(max_pixels=0)
    assert main("index", tmp_path, "--max-pixels", 250_000_000) == 0
    assert "1 added, 1 unchanged" in capsys.readouterr().err
    with open_collection(tmp_path) as opened:
        summary = opened.add()
        assert (summary.unchanged, summary.skipped) == (2, [])
        assert opened.count("image") == 2


def test_a_picture_that_is_cut_off_is_taken_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn(tmp_path / "whole.jpg")
    drawn(tmp_path / "cut.jpg", 0.8)
    (tmp_path / "nothing.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:200])
    assert main("index", tmp_path) == 0
    told = capsys.readouterr().err
    assert f"used in part cut.jpg: {TRUNCATED}" in told
    assert "2 added" in told
    with open_collection(tmp_path) as opened:
        summary = opened.add(check=True)
        assert [one.path.name for one in summary.skipped] == ["nothing.jpg"]
        hits = opened.search(image=tmp_path / "whole.jpg", k=2, itself=True)
        assert [hit.id for hit in hits] == ["whole.jpg", "cut.jpg"]
    drawn(tmp_path / "another.jpg", 0.7)
    with open_collection(tmp_path) as opened:
        found = opened.add().as_dict()
        assert found["in_part"] == [
            {"path": str(tmp_path / "another.jpg"), "reason": TRUNCATED, "known": False}
        ]
