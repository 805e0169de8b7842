"""What patterns and ``.diptychignore`` files leave out of a collection."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from engine_helpers import Paint
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.engine import scan
from diptych.engine.collection import Collection, open_collection
from diptych.engine.ignoring import IGNORE_FILE, Rules
from diptych.engine.rebuild import rebuilding
from diptych.errors import CollectionError, UsageError
from diptych.testing import Colours


@pytest.fixture
def filled(photos: Path, paint: Paint) -> Any:
    for name in ("a.png", "b.png", "old/c.png", "old/deep/d.png", "trip/old/e.png", "trip/f.png"):
        paint(name, (20 * len(name), 0, 0))
    with open_collection(photos, model=Colours()) as collection:
        collection.add()
        yield collection


def held(collection: Collection) -> list[str]:
    return sorted(collection.vectors("image")[0])


def excluded(summary: Any) -> list[tuple[int, str, str]]:
    return [(one.count, one.what, one.reason) for one in summary.excluded.left]


def test_a_file_says_what_its_folder_and_those_below_leave_out(filled: Collection, photos: Path) -> None:
    (photos / IGNORE_FILE).write_text("# not these\nold/\n\nb.*\n")
    summary = filled.add()
    assert excluded(summary) == [
        (1, "files", "excluded by b.* in .diptychignore"),
        (2, "folders", "excluded by old/ in .diptychignore"),
    ]
    assert (summary.removed, summary.unchanged, summary.skipped) == (4, 2, [])
    assert held(filled) == ["a.png", "trip/f.png"]
    assert (photos / "b.png").is_file()
    (photos / "trip" / IGNORE_FILE).write_text("!old/\nf.png\n")  # the nearest decides
    summary = filled.add()
    assert (2, "folders", "excluded by old/ in .diptychignore") not in excluded(summary)
    assert held(filled) == ["a.png", "trip/old/e.png"]
    (photos / IGNORE_FILE).unlink()
    assert filled.add().added == 3
    assert held(filled) == ["a.png", "b.png", "old/c.png", "old/deep/d.png", "trip/old/e.png"]


def test_a_collection_keeps_its_patterns(filled: Collection, photos: Path) -> None:
    filled.exclude("/old/", "*/f.png")
    filled.exclude("b.png", "/old/")
    assert filled.excludes == ("*/f.png", "b.png", "/old/") == tuple(filled.info()["excludes"])
    for _ in range(2):
        filled.add()
        assert held(filled) == ["a.png", "trip/old/e.png"]
    (photos / "trip" / IGNORE_FILE).write_text("!f.png")
    filled.add(photos / "trip")  # a part alone, where the collection's patterns decide before any file
    assert held(filled) == ["a.png", "trip/old/e.png"]
    filled.exclude_no_longer("*/f.png", "b.png")
    assert filled.add().added == 2
    assert filled.excludes == ("/old/",)
    with rebuilding(photos, model=Colours()) as fresh:
        assert fresh.add().added == 4
    assert open_collection(photos, model=Colours()).excludes == ("/old/",)


def test_it_holds_for_what_is_named_and_for_what_was_removed(
    filled: Collection, photos: Path, paint: Paint
) -> None:
    filled.exclude("old/")
    paint("old/new.png", "blue")
    for named in (photos / "old" / "new.png", photos / "old"):
        assert sum(one.count for one in filled.add(named).excluded.left) >= 1
        assert "old/new.png" not in held(filled)
    filled.remove(photos / "old", photos / "a.png")
    summary = filled.add()
    assert (summary.left_out, held(filled)) == (1, ["b.png", "trip/f.png"])
    filled.exclude_no_longer("old/")
    summary = filled.add()  # no longer excluded, but removed all the same
    assert (summary.left_out, held(filled)) == (4, ["b.png", "trip/f.png", "trip/old/e.png"])


def test_captions_that_are_left_out_are_not_read(filled: Collection, photos: Path) -> None:
    (photos / "a.txt").write_text("one")
    (photos / "captions.csv").write_text("image,caption\nb.png,two\n")
    (photos / "annotations").mkdir()
    (photos / "annotations" / "more.csv").write_text("image,caption\nb.png,three\n")
    filled.add()
    assert sorted(filled.home.texts(filled.home.file(b"b.png").id)) == [  # type: ignore[union-attr]
        ("three", "sidecar"), ("two", "sidecar")
    ]  # fmt: skip
    (photos / IGNORE_FILE).write_text("a.txt\n/captions.csv\nannotations/\n")
    filled.add()
    assert filled.count("text") == 0
    assert len(filled) == 6


def test_the_caption_of_a_picture_that_is_left_out_is_no_loose_text(filled: Collection, photos: Path) -> None:
    (photos / "b.txt").write_text("a caption")
    filled.exclude("b.png")
    filled.add(texts=True)
    assert filled.count("text") == 0


def test_what_systems_make_is_left_out_unless_it_is_taken_back(
    filled: Collection, photos: Path, paint: Paint
) -> None:
    for folder in ("@eaDir", ".git", ".thumbnails", "__MACOSX", "$RECYCLE.BIN", "lost+found", ".diptych"):
        paint(f"trip/{folder}/g.png", "green")
    summary = filled.add()
    assert (summary.added, excluded(summary)) == (0, [])
    filled.exclude("!@eaDir/", "!.*")
    assert filled.add().added == 3
    assert "trip/.diptych/g.png" not in held(filled)
    filled.exclude_no_longer("!@eaDir/")
    assert filled.add().removed == 1


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"ok\n!\n", "holds '!', which is no pattern (it names nothing)"),
        (b"[z-a].png\n", "holds '[z-a].png', which is no pattern (bad character range z-a"),
        (b"a*a*a*a*a*b\n", "holds 'a*a*a*a*a*b', which is no pattern (it has more than 4 stars)"),
        (b"\xff\xfe", "is no UTF-8 text"),
        (b"#" * (1 << 20) + b"\n!", "is too large (at most 1 MiB are read)"),
        (None, "is not a regular file"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_and_nothing_new_taken(
    filled: Collection, photos: Path, paint: Paint, content: bytes | None, why: str
) -> None:
    path = photos / "trip" / IGNORE_FILE
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    paint("trip/new.png", "blue")
    for known in (False, True):
        summary = filled.add()
        [skipped] = summary.skipped
        assert (skipped.path, skipped.known) == (photos / "trip", known)
        assert skipped.reason.startswith(f"has a .diptychignore that {why}")
        assert len(held(filled)) == 6  # what is known stays
    shutil.rmtree(path) if content is None else path.unlink()
    assert filled.add().added == 1
    assert filled.info()["skipped"] == {}


def test_a_link_out_of_the_folder_is_not_read(filled: Collection, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("*.png\n")
    (photos / "trip" / IGNORE_FILE).symlink_to(tmp_path / "secret")
    [skipped] = filled.add().skipped
    assert "is a link out of the folder" in skipped.reason
    assert filled.add(follow_links=True).removed == 2


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="everything can be read here")
def test_one_that_may_not_be_read(filled: Collection, photos: Path) -> None:
    (photos / IGNORE_FILE).write_text("*.png")
    (photos / IGNORE_FILE).chmod(0)
    [skipped] = filled.add().skipped
    assert "cannot be read (Permission denied)" in skipped.reason


def test_folders_outside_count_from_themselves(filled: Collection, tmp_path: Path, paint: Paint) -> None:
    for name in ("x.png", "old/y.png", "deep/z.png"):
        paint(f"../other/{name}", (0, 0, 30 * len(name)))
    (tmp_path / IGNORE_FILE).write_text("*.png")  # of nobody's business
    (tmp_path / "other" / IGNORE_FILE).write_text("/z.png\n/deep/z.png")
    filled.exclude("old/")
    summary = filled.add(tmp_path / "other")
    assert (summary.added, len(summary.excluded.left)) == (1, 2)
    assert held(filled)[0] == str(tmp_path / "other" / "x.png")


def test_a_name_counts_however_its_accents_are_written(
    filled: Collection, photos: Path, paint: Paint
) -> None:
    paint(unicodedata.normalize("NFD", "köln/é.png"), "blue")
    filled.exclude(unicodedata.normalize("NFC", "köln/"))
    assert filled.add().added == 0
    filled.exclude_no_longer("köln/")
    (photos / IGNORE_FILE).write_text(unicodedata.normalize("NFC", "é.png"), encoding="utf-8")
    assert filled.add().added == 0


@pytest.mark.parametrize("pattern", ["", " ", "# x", "!", "/", "a\nb", "[z-a]", "\\"])
def test_what_is_no_pattern_is_refused(filled: Collection, pattern: str) -> None:
    with pytest.raises(UsageError, match=r"is no pattern of files \(.*\); give one as in \.gitignore"):
        filled.exclude("*.tmp", pattern)
    assert filled.excludes == ()
    with pytest.raises(UsageError, match=r"is no pattern that .* excludes; it has none$"):
        filled.exclude_no_longer("*.tmp")


def test_patterns_that_are_damaged_are_told(filled: Collection) -> None:
    for said in ("[1]", "{", '["!"]'):
        with filled.home.batch(changes=False):
            filled.home.set("excludes", said)
        with pytest.raises(CollectionError, match=r"the patterns kept in .* are damaged"):
            filled.add()


def test_the_command(photos: Path, paint: Paint, run: Any) -> None:
    for name in ("a.png", "b.tmp.png", "old/c.png", "d.png"):
        paint(name, (20 * len(name), 0, 0))
    (photos / IGNORE_FILE).write_text("d.png")
    _, _, told = run("index", str(photos), "--exclude", "*.tmp.*", "--exclude", "old/")
    assert (
        "left out: 1 file excluded by *.tmp.*, 1 file excluded by d.png in .diptychignore, "
        "1 folder excluded by old/\n"
    ) in told
    assert "excluded  *.tmp.*  old/" in run("info", str(photos))[1]
    facts = json.loads(run("index", str(photos), "--no-exclude", "old/", "--json")[1])
    assert (facts["added"], [one["reason"] for one in facts["excluded"]]) == (
        1, ["excluded by *.tmp.*", "excluded by d.png in .diptychignore"]
    )  # fmt: skip
    code, _, told = run("index", str(photos), "--exclude", "!")
    assert code == 2
    assert "is no pattern of files" in told
    code, _, told = run("index", str(photos), "--no-exclude", "x")
    assert code == 2
    assert "excludes; it has *.tmp.*" in told
    assert (
        f"1 file left out: excluded by *.tmp.* ({photos / 'b.tmp.png'})" in run("index", str(photos), "-v")[2]
    )


_NAMES = st.sampled_from(["a.jpg", "b.jpg", "old", "new", "x.png"])
_GLOBS = ["*", "*.jpg", "!*.jpg", "?.png", "[ab].jpg", "**/new", "new/**", "a/**/b.jpg", "old/*"]
_PATTERNS = st.sampled_from(
    [*_GLOBS, "a.jpg", "!a.jpg", "/a.jpg", "old/", "/old", "!old/", "old/new", "!new/a.jpg"]
)
_FILES = st.dictionaries(st.sampled_from(["", "old", "new", "old/new"]), st.lists(_PATTERNS, max_size=4))


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
@given(_FILES, st.lists(st.lists(_NAMES, min_size=1, max_size=4), min_size=1, max_size=8))
@settings(max_examples=40, deadline=None)
def test_git_leaves_out_the_same(tmp_path_factory: Any, said: dict[str, list[str]], files: Any) -> None:
    folder = tmp_path_factory.mktemp("git")
    for parts in files:
        path = folder.joinpath(*parts[:-1], "f" if parts[-1] in {"old", "new"} else parts[-1])
        if not any(one.is_file() for one in path.parents) and not path.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("x")
    for below, patterns in said.items():
        if (folder / below).is_dir():
            for name in (".gitignore", IGNORE_FILE):
                (folder / below / name).write_text("\n".join(patterns))
    git = ["git", "-C", str(folder), "-c", "core.excludesFile="]
    subprocess.run([*git, "init", "-q"], check=True)
    listed = subprocess.run(
        [*git, "ls-files", "-z", "--others", "--exclude-standard"], check=True, capture_output=True, text=True
    ).stdout
    expected = {name for name in listed.split("\0") if name and not Path(name).name.startswith(".")}
    found = scan.walk([folder])
    ours = {one.path.relative_to(folder).as_posix() for one in found if not one.excluded}
    assert ours == expected
    rules = Rules(folder)
    everything = [path for path in folder.rglob("*") if path.is_file() and ".git" not in path.parts]
    asked = {path.relative_to(folder).as_posix() for path in everything if not rules.why(path)}
    assert {name for name in asked if not Path(name).name.startswith(".")} == expected
