"""What a walk meets, in which order, and what it says of what it cannot read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from diptych.engine.scan import expand, is_beside_picture, walk
from diptych.errors import UsageError


def tree(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return folder


def met(*paths: Path, recursive: bool = True) -> list[tuple[str, str]]:
    return [(found.path.name, found.kind) for found in walk(paths, recursive=recursive) if not found.problem]


def test_files_come_in_the_order_of_their_whole_names(tmp_path: Path) -> None:
    names = ("b.png", "a/z.JPG", "a.png", "a/b/c.webp", "a-b.png")
    tree(tmp_path, *names)
    keys = [os.fsencode(found.path.relative_to(tmp_path)) for found in walk([tmp_path])]
    assert keys == sorted(map(os.fsencode, names))
    assert [name for name, _ in met(tmp_path, recursive=False)] == ["a-b.png", "a.png", "b.png"]


def test_texts_are_those_that_caption_no_picture(tmp_path: Path) -> None:
    tree(tmp_path, "a.png", "a.txt", "b.jpg", "b.jpg.txt", "poem.txt", "captions.csv", "notes.doc")
    found = [("a.png", "image"), ("b.jpg", "image"), ("notes.doc", "other"), ("poem.txt", "text")]
    assert met(tmp_path) == found
    assert is_beside_picture(tmp_path / "a.txt")
    assert not is_beside_picture(tmp_path / "poem.txt")


def test_what_is_hidden_is_passed_over_unless_it_is_named(tmp_path: Path) -> None:
    tree(tmp_path, ".hidden.png", ".folder/a.png", "a.png")
    assert met(tmp_path) == [("a.png", "image")]
    assert met(tmp_path / ".hidden.png") == [(".hidden.png", "image")]


def test_a_file_that_is_named_too_comes_once(tmp_path: Path) -> None:
    tree(tmp_path, "a.png", "b.png")
    assert met(tmp_path, tmp_path / "b.png", tmp_path) == [("a.png", "image"), ("b.png", "image")]
    assert met(tmp_path / "b.png", tmp_path / "b.png") == [("b.png", "image")]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_what_is_no_file_has_a_problem(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "lost.png").symlink_to(tmp_path / "nowhere.png")
    problems = {found.path.name: found.problem for found in walk([tmp_path, tmp_path / "gone.png"])}
    assert problems == {
        "pipe.png": "is not a regular file",
        "lost.png": "is a link to nothing",
        "gone.png": "vanished while it was being read",
    }


def test_size_and_time_are_those_of_the_file(tmp_path: Path) -> None:
    tree(tmp_path, "a.png")
    [found] = walk([tmp_path])
    status = (tmp_path / "a.png").stat()
    assert (found.size, found.mtime_ns) == (1, status.st_mtime_ns)


def test_patterns_are_replaced_by_what_they_match(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path, "a.png", "b.png", "c/d.png", "odd[1].png")
    monkeypatch.chdir(tmp_path)
    assert expand(["?.png", "c"]) == [tmp_path / "a.png", tmp_path / "b.png", tmp_path / "c"]
    assert expand(["**/d.png"]) == [tmp_path / "c" / "d.png"]
    assert expand(["odd[1].png"]) == [tmp_path / "odd[1].png"]  # a file of that very name
    with pytest.raises(UsageError, match=r"x\*\.png matches nothing"):
        expand(["x*.png"])
    with pytest.raises(UsageError, match="nowhere does not exist"):
        expand(["nowhere"])
