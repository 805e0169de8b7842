"""Filters and facets on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def photos(tmp_path: Path, run: Run) -> Path:
    for name in ("red", "green", "blue"):
        Image.new("RGB", (64, 48 if name != "red" else 80), name).save(tmp_path / f"{name}.png")
    (tmp_path / "metadata.csv").write_text("image,camera,tag\nred.png,X100,wall;old\ngreen.png,x100,old\n")
    assert run("index", str(tmp_path), "-q")[0] == 0
    return tmp_path


def test_a_search_is_limited(photos: Path, run: Run) -> None:
    place = ("--in", str(photos), "--json")
    code, out, _ = run("search", "red", "--where", "camera = X100 and not tag = wall", *place)
    found = json.loads(out)["results"]
    assert (code, [one["id"] for one in found]) == (0, ["green.png"])
    assert found[0]["meta"]["tag"] == ["old"]
    code, out, err = run("search", "red", "--where", "tag = snow", "--in", str(photos))
    assert (code, out) == (1, "")
    assert "none of the pictures fulfils: tag = snow" in err


def test_what_is_wrong_is_pointed_at(photos: Path, run: Run) -> None:
    code, out, err = run("search", "red", "--where", "camera = X100 and tga = old", "--in", str(photos))
    assert (code, out) == (2, "")
    lines = err.rstrip().split("\n")
    assert "did you mean tag" in lines[0]
    assert lines[1][len(lines[2]) - 1 :].startswith("tga")
    assert lines[2].strip() == "^"


def test_pictures_are_counted_by_their_fields(photos: Path, run: Run) -> None:
    code, out, _ = run("info", str(photos), "--facets", "camera,tag", "--json")
    assert code == 0
    assert json.loads(out) == {
        "camera": [{"value": "X100", "count": 2}, {"value": None, "count": 1}],
        "tag": [
            {"value": "old", "count": 2},
            {"value": "wall", "count": 1},
            {"value": None, "count": 1},
        ],
    }
    code, out, _ = run("info", str(photos), "--facets", "orientation", "--where", "camera is not null")
    assert [line.split() for line in out.splitlines()] == [
        ["orientation", "1", "landscape"],
        ["orientation", "1", "portrait"],
    ]
    code, _, err = run("info", str(photos), "--where", "camera is null")
    assert code == 2
    assert "--facets" in err
