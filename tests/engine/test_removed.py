"""What was removed from a collection stays out of it, though its files are there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from engine_helpers import Paint, names
from typer.testing import CliRunner

from diptych.cli import app
from diptych.engine.collection import Collection, open_collection
from diptych.engine.rebuild import rebuilding
from diptych.testing import Colours


@pytest.fixture
def filled(photos: Path, paint: Paint) -> Any:
    for name in ("a.png", "b.png", "private/c.png", "private/deep/d.png", "privately/e.png"):
        paint(name, (20 * len(name), 0, 0))
    with open_collection(photos, model=Colours()) as collection:
        collection.add()
        yield collection


def held(collection: Collection) -> list[str]:
    return sorted(collection.vectors("image")[0])


def test_a_removed_file_is_not_taken_again(filled: Collection, photos: Path, paint: Paint) -> None:
    assert filled.remove(photos / "a.png") == 1
    for _ in range(2):
        summary = filled.add()
        assert (summary.added, summary.left_out, summary.unchanged) == (0, 1, 4)
        assert summary.skipped == []
    paint("a.png", "blue")  # also with other content
    assert filled.add(photos).left_out == 1
    assert "a.png" not in names(filled.search("red", k=9))


def test_named_itself_it_is_taken_again_for_good(filled: Collection, photos: Path) -> None:
    filled.remove(photos / "a.png", photos / "b.png")
    assert filled.add(photos / "a.png").added == 1
    summary = filled.add()
    assert (summary.added, summary.left_out) == (0, 1)
    assert held(filled) == ["a.png", "private/c.png", "private/deep/d.png", "privately/e.png"]


def test_a_removed_folder_stays_out_with_what_comes_into_it(
    filled: Collection, photos: Path, paint: Paint
) -> None:
    assert filled.remove(photos / "private") == 2
    paint("private/new.png", "blue")
    summary = filled.add()
    assert (summary.added, summary.left_out) == (0, 3)
    assert held(filled) == ["a.png", "b.png", "privately/e.png"]
    # What is named in it is taken, and stays; the rest stays out.
    assert filled.add(photos / "private" / "deep").added == 1
    assert filled.add(photos / "private" / "new.png").added == 1
    assert filled.add().left_out == 1
    assert held(filled) == ["a.png", "b.png", "private/deep/d.png", "private/new.png", "privately/e.png"]
    assert filled.add(photos / "private").added == 1
    assert filled.add().left_out == 0


def test_what_was_never_taken_can_be_kept_out(filled: Collection, photos: Path, paint: Paint) -> None:
    paint("later.png", "blue")
    assert filled.remove(photos / "later.png") == 0
    assert filled.add().left_out == 1
    assert filled.remove(photos / "nowhere.png") == 0
    paint("nowhere.png", "green")  # which was a slip, and keeps nothing out
    assert filled.add().added == 1


def test_a_rebuild_keeps_it_out(filled: Collection, photos: Path) -> None:
    filled.remove(photos / "private")
    filled.close()
    with rebuilding(photos, model=Colours()) as fresh:
        summary = fresh.add()
    assert (summary.added, summary.left_out) == (3, 2)
    with open_collection(photos, model=Colours()) as collection:
        assert held(collection) == ["a.png", "b.png", "privately/e.png"]
        assert collection.add().left_out == 2


def test_progress_counts_no_removed_files(filled: Collection, photos: Path) -> None:
    filled.remove(photos / "private")
    (photos / "a.png").touch()
    totals = []
    filled.add(on_progress=lambda at: totals.append((at.done, at.total)))
    assert [done for done, _ in totals] == [1]


def test_the_command(photos: Path, paint: Paint) -> None:
    for name in ("a.png", "private/b.png"):
        paint(name, (9 * len(name), 0, 0))
    run = CliRunner().invoke
    assert run(app, ["index", str(photos)]).exit_code == 0
    told = run(app, ["remove", str(photos / "private")])
    assert (told.exit_code, told.stdout) == (0, "")
    assert "1 file forgotten" in told.stderr
    assert (photos / "private" / "b.png").is_file()
    assert "1 removed before and left out" in run(app, ["index", str(photos)]).stderr
    told = run(app, ["remove", str(photos / "nowhere.png"), "--in", str(photos)])
    assert told.exit_code == 1
    assert "nowhere.png is not there, and nothing of it was indexed" in str(told.exception)
