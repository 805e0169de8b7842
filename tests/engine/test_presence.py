"""What is deleted is forgotten, what is away is kept; and no search gives what is not there."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from engine_helpers import Paint, content, names
from typer.testing import CliRunner

from diptych.cli import app
from diptych.engine.collection import Collection, open_collection
from diptych.engine.presence import Presence
from diptych.testing import Colours


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """Where a disk comes and goes, outside of the folder whose collection holds it."""
    return tmp_path / "disk"


@pytest.fixture
def filled(photos: Path, paint: Paint, disk: Path) -> Any:
    for number in range(6):
        paint(f"../disk/trip/{number}.png", (40 * number, 0, 0)).with_suffix(".txt").write_text(
            f"red {number}"
        )
    paint("home.png", "blue")
    with open_collection(photos, model=Colours()) as collection:
        collection.add(photos, disk)
        yield collection


def taken_out(disk: Path) -> Path:
    """The disk is away, and the folder that it was mounted at is empty."""
    disk.rename(disk.with_name("unmounted"))
    disk.mkdir()
    return disk.with_name("unmounted")


def test_presence(tmp_path: Path) -> None:
    for name in ("here.png", "full/other.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / ".DS_Store").touch()
    (tmp_path / "link.png").symlink_to(tmp_path / "nothing")
    expected = {
        "here.png": "here", "full/gone.png": "gone", "here.png/below.png": "gone",
        "empty/a.png": "away", "nowhere/a.png": "away", "link.png": "away",
    }  # fmt: skip
    presence = Presence()
    assert {name: presence.of(tmp_path / name) for name in expected} == expected


@pytest.mark.skipif(os.name == "nt", reason="there are no such permissions")
def test_a_folder_that_fails_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one of a network drive whose server does not answer."""

    def fails(path: Any) -> Any:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "stat", fails)
    assert Presence().of(tmp_path / "a.png") == "away"


def test_a_disk_that_is_away_loses_nothing(filled: Collection, disk: Path) -> None:
    before = content(filled)
    back = taken_out(disk)
    summary = filled.add(disk)
    assert (summary.away, summary.removed, summary.as_dict()["away"]) == (6, 0, 6)
    assert content(filled) == before
    disk.rmdir()
    back.rename(disk)
    summary = filled.add(disk)
    assert (summary.unchanged, summary.away, summary.encoded) == (6, 0, 0)


@pytest.mark.parametrize("empty", [True, False])
def test_a_folder_below_that_vanishes_as_a_whole_is_kept(
    filled: Collection, disk: Path, paint: Paint, empty: bool
) -> None:
    paint("../disk/other.png")
    filled.add(disk)
    shutil.move(disk / "trip", disk.with_name("elsewhere"))
    if empty:
        (disk / "trip").mkdir()
    summary = filled.add(disk)
    assert (summary.away, summary.removed, summary.unchanged) == (6, 0, 1)
    assert filled.add(disk, forget_missing=True).removed == 6
    assert filled.add(disk).away == 0
    assert filled.count("image") == 2


def test_deleted_files_of_a_folder_that_is_there_are_forgotten(filled: Collection, disk: Path) -> None:
    (disk / "trip" / "1.png").unlink()
    summary = filled.add(disk)
    assert (summary.removed, summary.away) == (1, 0)


def test_a_folder_that_was_renamed_is_moved(filled: Collection, disk: Path) -> None:
    (disk / "trip").rename(disk / "journey")
    summary = filled.add(disk)
    assert (summary.moved, summary.away, summary.removed, summary.encoded) == (6, 0, 0, 0)


def test_a_link_to_a_disk_that_is_away_loses_nothing(
    filled: Collection, photos: Path, disk: Path, encoder: Colours
) -> None:
    filled.remove(disk)
    (photos / "disk.png").symlink_to(disk / "trip" / "3.png")
    filled.add(photos / "disk.png")
    taken_out(disk)
    assert filled.add().away == 1


# Searching


def test_a_search_gives_what_is_there(filled: Collection, disk: Path) -> None:
    best = names(filled.search("red", k=3))
    assert len(best) == 3
    (disk / "trip" / best[0]).unlink()
    found = filled.search("red", k=3)
    assert best[0] not in names(found)
    assert names(found)[:2] == best[1:]
    assert (len(found), found.missing, found.as_dict()["missing"]) == (3, 1, 1)
    assert [one.rank for one in found] == [1, 2, 3]
    assert found[0].score == max(one.score for one in found)
    taken_out(disk)
    found = filled.search("red", k=3)
    assert (names(found), found.missing) == (["home.png"], 6)
    assert names(filled.search("red", to="text")) == []
    (one, two) = filled.search_many(["red", "blue"], k=1)
    assert (names(one), names(two), one.missing, two.missing) == (["home.png"], ["home.png"], 6, 0)


def test_a_search_through_codes_gives_what_is_there(photos: Path, paint: Paint) -> None:
    for number in range(250):
        paint(f"{number}.png", (number, 0, 100))
    with open_collection(photos, model=Colours()) as collection:
        collection.add()
        collection.make_codes(8)
        best = names(collection.search("red", k=20))
        for name in best:
            (photos / name).unlink()
        found = collection.search("red", k=20)
        assert len(found) == 20
        assert not set(names(found)) & set(best)


def test_the_command_says_what_is_away(photos: Path, paint: Paint, disk: Path) -> None:
    for number in range(3):
        paint(f"below/{number}.png", (80 * number, 0, 0))
    paint("a.png", "blue")
    run = CliRunner().invoke
    assert run(app, ["index", str(photos)]).exit_code == 0
    shutil.move(photos / "below", disk)
    told = run(app, ["index", str(photos)]).stderr
    assert "3 away" in told
    assert "--forget-missing" in told
    found = run(app, ["search", "red", "--in", str(photos)])
    assert "3 hits whose files are not there" in found.stderr
    assert f"diptych index {photos}" in found.stderr
    paths = run(app, ["search", "red", "--in", str(photos), "--paths"]).stdout
    assert paths.splitlines() == [str(photos / "a.png")]
    assert json.loads(run(app, ["index", str(photos), "--forget-missing", "--json"]).stdout)["removed"] == 3


def test_the_command_brings_the_collection_up_to_date(photos: Path, paint: Paint) -> None:
    paint("a.png", "blue")
    run = CliRunner().invoke
    assert run(app, ["index", str(photos)]).exit_code == 0
    paint("b.png", "red")
    plain = run(app, ["search", "red", "--in", str(photos), "--paths"])
    assert plain.stdout.splitlines() == [str(photos / "a.png")]
    found = run(app, ["search", "red", "--in", str(photos), "--paths", "--update"])
    assert sorted(found.stdout.splitlines()) == [str(photos / "a.png"), str(photos / "b.png")]


def test_of_a_disk_that_is_away_one_file_is_looked_at(
    filled: Collection, disk: Path, paint: Paint, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(300):
        paint(f"../disk/many/{number % 7}/{number}.png", (200, number % 256, number // 256))
    paint("away.png", (1, 1, 1)).unlink()
    filled.add(disk)
    taken_out(disk)
    looked: list[Path] = []
    of = Presence.of
    monkeypatch.setattr(Presence, "of", lambda self, path: (looked.append(path), of(self, path))[1])
    found = filled.search("red", k=3)
    assert (names(found), found.missing) == (["home.png"], 306)
    assert len(looked) <= 3


def test_which_folder_is_away(tmp_path: Path) -> None:
    (tmp_path / "mount").mkdir()
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / ".Trash").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "other.png").touch()
    expected = {
        "mount/a/b/c.png": "mount", "mount/c.png": "mount", "hidden/a/b/c.png": "hidden/a",
        "hidden/c.png": None, "full/a/b/c.png": "full/a", "full/c.png": None,
    }  # fmt: skip
    for name, folder in expected.items():
        found = Presence().folder_away(tmp_path / name, below=tmp_path)
        assert found == (None if folder is None else tmp_path / folder), name
    assert Presence().folder_away(tmp_path / "mount" / "a" / "b.png", below=tmp_path / "mount") == (
        tmp_path / "mount" / "a"
    )
