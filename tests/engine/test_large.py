"""Trees of any depth, files of any size: each is taken, or named with its limit."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from engine_helpers import Paint, content

from diptych.engine import ingest, looking, scan
from diptych.engine.collection import open_collection
from diptych.errors import UsageError
from diptych.testing import Colours

deep_only = pytest.mark.skipif(sys.platform == "win32", reason="paths there have 260 characters")


def down(folder: Path, levels: int) -> None:
    """A chain of folders below, each called "d"."""
    here = os.open(folder, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)


def clear(folder: Path) -> None:
    """Remove the chain, which is too deep for what pytest cleans with."""
    chain = [os.open(folder, os.O_RDONLY)]
    while True:
        try:
            chain.append(os.open("d", os.O_RDONLY, dir_fd=chain[-1]))
        except FileNotFoundError:
            break
    while chain:
        here = chain.pop()
        for name in os.listdir(here) if chain else ["d"]:
            (os.rmdir if name == "d" else os.unlink)(name, dir_fd=here)
        os.close(here)


@deep_only
@pytest.mark.parametrize("levels", [900, 1_900])
def test_a_deep_tree_is_walked_to_its_end(photos: Path, paint: Paint, levels: int) -> None:
    import resource

    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if most < 2 * levels:
        pytest.skip(f"this system opens {most} files at a time, and tidying up needs more")
    room = 4_000 - len(os.fsencode(photos))  # a path has 4,096 bytes
    levels = min(levels, room // 2)
    down(photos, levels)
    try:
        paint("a.jpg", "red")
        last = photos.joinpath(*["d"] * levels, "z.jpg")
        os.replace(paint("z.jpg", "blue"), last)
        with open_collection(photos, model=Colours()) as collection:
            summary = collection.add()
            assert (summary.added, summary.skipped) == (2, [])
            assert collection.search("blue", k=1)[0].path == last
            assert collection.add().unchanged == 2
    finally:
        clear(photos)


@deep_only
def test_what_lies_deeper_than_any_path_is_named(photos: Path, paint: Paint) -> None:
    import resource

    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 5_000:
        pytest.skip("this system opens too few files at a time to tidy up")
    down(photos, 2_200)
    try:
        paint("a.jpg", "red")
        found = list(scan.walk([photos]))
        assert [one.path.name for one in found if not one.problem] == ["a.jpg"]
        assert all("too long" in one.problem for one in found if one.problem)
        assert any(one.problem for one in found)
    finally:
        clear(photos)


def test_a_long_list_of_texts_is_stored_part_by_part(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "_TEXTS", 10)
    texts = [f"text number {number}" for number in range(35)]
    path = photos / "long.txt"
    path.write_text("\n".join([*texts, texts[0]]))
    with open_collection(photos, model=Colours()) as collection:
        seen: list[int] = []

        def interrupted(_: object) -> None:
            seen.append(collection.count("text"))
            if len(seen) == 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            collection.add(path, on_progress=interrupted)
        assert seen == [10, 20]
        assert collection.count("text") == 20  # what is stored stays, and is found
        summary = collection.add(path)
        assert (summary.added, summary.changed, summary.encoded) == (1, 0, 15)
        assert [text for _, _, text, _ in sorted(content(collection))] == sorted(texts)
        assert collection.get(path).text == "\n".join(texts)  # type: ignore[union-attr]
        assert collection.add(path).unchanged == 1
        os.utime(path, (1, 1))
        summary = collection.add(path)
        assert (summary.unchanged, summary.changed, summary.encoded) == (1, 0, 0)
        path.write_text("\n".join([*texts[:20], "another"]))
        summary = collection.add(path)
        assert (summary.added, summary.changed, summary.encoded) == (0, 1, 1)
        assert collection.count("text") == 21
        moved = path.rename(photos / "moved.txt")
        summary = collection.add(photos, moved)
        assert (summary.moved, summary.encoded, collection.count("text")) == (1, 0, 21)


@pytest.mark.parametrize(
    "text",
    [
        '[{"image": "a.jpg", "half \\ud83d": "x"}]',
        "[" * 5_000,
        '[{"image": "half \\ud83d.jpg", "caption": "x"}]',
    ],
    ids=["half a head", "deep", "half a name"],
)
def test_a_list_that_cannot_be_used_is_named_and_ends_nothing(photos: Path, paint: Paint, text: str) -> None:
    paint("a.jpg", "red")
    (photos / "captions.json").write_text(text)
    (photos / "metadata.csv").write_text("image,caption\na.jpg,a red thing\n")
    with open_collection(photos, model=Colours()) as collection:
        summary = collection.add()
        assert (collection.count("image"), collection.count("text")) == (1, 1)
        assert {one.path.name for one in summary.skipped} <= {"captions.json"}
        assert {one.path.name for one in collection.add().skipped} <= {"captions.json"}
        for path, reason in collection.info()["skipped"].items():
            assert path == str(photos / "captions.json")
            reason.encode()


def test_the_work_of_a_folder_of_captions_grows_with_their_number_only(
    photos: Path, paint: Paint, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    for number in range(60):
        paint(f"{number}.png", (number, 0, 0))
        (photos / f"{number}.txt").write_text(f"picture number {number}")
    with open_collection(photos, model=Colours()) as collection:
        real = collection.home.remove_skipped
        monkeypatch.setattr(collection.home, "remove_skipped", lambda keys: (asked.append(1), real(keys)))
        collection.add(batch_size=2)
        assert collection.count("text") == 60
    assert len(asked) <= 2 * 60  # and not half the square of it


def test_a_sparse_picture_is_not_read_whole(
    photos: Path, paint: Paint, monkeypatch: pytest.MonkeyPatch
) -> None:
    paint("good.jpg", "red")
    for name, size in (("zeros.jpg", 900 << 20), ("vast.jpg", 4 << 30)):
        with (photos / name).open("wb") as file:
            file.truncate(size)
    with (photos / "vast.png").open("wb") as file:
        file.write((photos / "good.jpg").read_bytes())
        file.truncate(4 << 30)
    read: list[str] = []
    real = looking.read_file
    monkeypatch.setattr(looking, "read_file", lambda path: (read.append(Path(path).name), real(path))[1])
    with open_collection(photos, model=Colours()) as collection:
        reasons = {one.path.name: one.reason for one in collection.add().skipped}
        assert collection.count("image") == 1
    assert sorted(read) == ["good.jpg", "vast.png"]
    assert "not a picture" in reasons["zeros.jpg"]
    assert "not a picture" in reasons["vast.jpg"]
    assert "too large a file (at most 1024 MiB" in reasons["vast.png"]


def test_a_pattern_that_would_lead_too_deep_is_refused(photos: Path, paint: Paint) -> None:
    if sys.platform == "win32":
        pytest.skip("paths there have 260 characters")
    levels = 1_200
    down(photos, levels)
    try:
        last = photos.joinpath(*["d"] * levels, "z.jpg")
        os.replace(paint("z.jpg", "blue"), last)
        with pytest.raises(UsageError, match="too deep for a pattern"):
            scan.expand([photos / "**" / "*.jpg"])
    finally:
        clear(photos)
